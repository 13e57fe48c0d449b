package exchange

import (
	"fmt"
	"math"
	"time"
)

// Params are the transmission parameters of RFC 7252 section 4.8. The zero value of
// each field stands for the default. All endpoints that talk to each other should use
// the same ones (section 4.8.1); changing them is safe only where the network is known.
type Params struct {
	// AckTimeout is ACK_TIMEOUT: the least time before the first retransmission. 0
	// means 2 s. Less than 1 s is not safe on the Internet.
	AckTimeout time.Duration
	// AckRandomFactor is ACK_RANDOM_FACTOR: the first time-out is AckTimeout times a random
	// number between 1 and this. 0 means 1.5; values below 1 are refused.
	AckRandomFactor float64
	// MaxRetransmit is MAX_RETRANSMIT: how often a Confirmable message is repeated. 0
	// means 4, a negative number never. More than 20 is refused.
	MaxRetransmit int
	// NStart is NSTART: how many interactions with one peer may be outstanding at a
	// time. 0 means 1. More requests wait in a queue.
	NStart int
	// DefaultLeisure is DEFAULT_LEISURE: responses to a multicast request are spread
	// over this time (section 8.2). 0 means 5 s, a negative value no delay.
	DefaultLeisure time.Duration
	// ProbingRate is PROBING_RATE in bytes per second: how fast Non-confirmable
	// requests are sent to a peer that does not answer (section 4.7). 0 means 1, a
	// negative value no limit.
	ProbingRate float64
	// MaxLatency is MAX_LATENCY: the longest time a datagram may be on its way. 0
	// means 100 s.
	MaxLatency time.Duration

	// ResponseTimeout is how long a request waits for the separate response after its
	// acknowledgement. The RFC leaves it open (section 5.2.2). 0 means
	// EXCHANGE_LIFETIME; use a context to wait shorter for one request.
	ResponseTimeout time.Duration
	// EmptyAckDelay is how long a server lets a Confirmable request wait for the
	// response before it sends an Empty acknowledgement (section 5.2.2). 0
	// means a quarter of AckTimeout, a negative value at once.
	EmptyAckDelay time.Duration
}

// WithDefaults returns p with the defaults in place of zero fields.
func (p Params) WithDefaults() Params {
	set(&p.AckTimeout, 2*time.Second)
	set(&p.AckRandomFactor, 1.5)
	set(&p.MaxRetransmit, 4)
	set(&p.NStart, 1)
	set(&p.DefaultLeisure, 5*time.Second)
	set(&p.ProbingRate, 1)
	set(&p.MaxLatency, 100*time.Second)
	p.MaxRetransmit = max(p.MaxRetransmit, 0)
	set(&p.ResponseTimeout, p.ExchangeLifetime())
	set(&p.EmptyAckDelay, p.AckTimeout/4)
	return p
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate returns an error that names a field whose value is out of range and the
// range.
func (p Params) Validate() error {
	switch {
	case p.AckTimeout < 0:
		return fmt.Errorf("coap: Params.AckTimeout is %v, want more than 0, or 0 for 2s", p.AckTimeout)
	case p.AckRandomFactor != 0 && (p.AckRandomFactor < 1 || math.IsNaN(p.AckRandomFactor) || p.AckRandomFactor > 10):
		return fmt.Errorf("coap: Params.AckRandomFactor is %v, want 1 to 10, or 0 for 1.5 (RFC 7252 section 4.8.1)", p.AckRandomFactor)
	case p.MaxRetransmit > 20:
		return fmt.Errorf("coap: Params.MaxRetransmit is %d, want at most 20", p.MaxRetransmit)
	case p.NStart < 0:
		return fmt.Errorf("coap: Params.NStart is %d, want at least 1, or 0 for 1", p.NStart)
	case math.IsNaN(p.ProbingRate):
		return fmt.Errorf("coap: Params.ProbingRate is not a number")
	case p.MaxLatency < 0 || p.ResponseTimeout < 0:
		return fmt.Errorf("coap: Params.MaxLatency is %v and ResponseTimeout %v, want none negative", p.MaxLatency, p.ResponseTimeout)
	}
	return nil
}

// The time values that follow from the parameters (RFC 7252 section 4.8.2). They expect
// that defaults are in place: see [Params.WithDefaults].

// MaxTransmitSpan is the longest time from the first transmission of a Confirmable
// message to its last retransmission: 45 s by default.
func (p Params) MaxTransmitSpan() time.Duration {
	return p.scaled(math.Exp2(float64(p.MaxRetransmit)) - 1)
}

// MaxTransmitWait is the longest time from the first transmission of a Confirmable message
// until its sender gives up waiting for an acknowledgement: 93 s by default.
func (p Params) MaxTransmitWait() time.Duration {
	return p.scaled(math.Exp2(float64(p.MaxRetransmit)+1) - 1)
}

func (p Params) scaled(f float64) time.Duration {
	return time.Duration(float64(p.AckTimeout) * f * p.AckRandomFactor)
}

// ExchangeLifetime is how long the message ID of a Confirmable message must not be used
// again: 247 s by default. It covers the case, excluded by the RFC, that the last waiting
// period exceeds MaxLatency.
func (p Params) ExchangeLifetime() time.Duration {
	last := p.MaxTransmitWait() - p.MaxTransmitSpan()
	if last < p.MaxLatency {
		last = 0
	} else {
		last -= p.MaxLatency
	}
	return p.MaxTransmitSpan() + last + 2*p.MaxLatency + p.AckTimeout
}

// NonLifetime is how long the message ID of a Non-confirmable message must not be used
// again: 145 s by default.
func (p Params) NonLifetime() time.Duration { return p.MaxTransmitSpan() + p.MaxLatency }
