package engine

import (
	"time"

	"github.com/coapkit/coap/message"
)

// The No-Response option (RFC 7967): a client says which classes of responses it does not want.
// First the server.

// interest is what the sender of a request wants to hear.
type interest struct {
	stated bool
	unless uint8 // a bit for each class that is not wanted: 1<<(class-1)
}

// interestOf reads the option, which is elective: one of wrong length is ignored.
func interestOf(m *message.Message) interest {
	v, ok := m.Options.First(message.OptionNoResponse)
	switch {
	case !ok || len(v) > 1:
		return interest{}
	case len(v) == 0:
		return interest{stated: true}
	}
	return interest{stated: true, unless: v[0]}
}

// unwanted reports whether a response is not to be sent. To a group, errors are sent only on
// request (RFC 7252 section 8.2, RFC 7967 section 2.1). A 2.31 always is: the sender of a body in
// blocks waits for it.
func (x *incoming) unwanted(c message.Code) bool {
	if !x.wants.stated {
		return x.group && c.IsError()
	}
	return c != message.Continue && x.wants.unless&(1<<(c.Class()-1)) != 0
}

// Then the client. Who declines a class of responses cannot tell a response that was suppressed from one
// that was lost (section 2.1): that there is none is no failure, and ends with EventDone.

// allClasses are those of the option for the classes that responses have.
const allClasses = 1<<(2-1) | 1<<(4-1) | 1<<(5-1)

// someTime is how long responses of the other classes are waited for by default, where the RFC wants
// a time that fits the application.
const someTime = 10 * time.Second

// decline notes what the request m says about its response.
func (x *exchangeState) decline(m *message.Message, window time.Duration) {
	x.declined = interestOf(m).unless & allClasses
	if x.window = window; window <= 0 {
		x.window = someTime
	}
}

// oneWay reports whether nothing at all will come back: neither an acknowledgement nor a response.
// Such a request is not outstanding in the sense of NSTART and PROBING_RATE (RFC 7252 section 4.7);
// how often to send one is for the application to know (RFC 7967 section 3.2).
func (x *exchangeState) oneWay() bool { return !x.con && !x.open && x.declined == allClasses }

// cease ends a request that has had no response, as was to be expected. Its token stays known for as
// long as a server that does not know the option may answer: TOKEN_REUSE_TIME (section 3.1).
func (e *Engine) cease(x *exchangeState) {
	e.events.push(Event{Kind: EventDone, User: x.user, Peer: e.info(x)})
	p := x.peer
	if k := (midKey{p, x.mid}); !x.group {
		if y, ok := e.mids.get(k); ok && y == x {
			e.mids.del(k)
		}
	}
	if !x.con && x.counted {
		p.hold().probeFree = max(p.probeFree(), x.probe) // the peer has not answered
	}
	serverDelay := 2 * x.params.DefaultLeisure // MAX_SERVER_RESPONSE_DELAY has to be longer than a leisure
	x.state, x.user = stateLinger, nil
	e.timers.set(&x.timer, e.now+int64(x.params.NonLifetime()+serverDelay+x.params.MaxLatency))
	if x.counted {
		e.uncount(x)
		e.pump(p)
	}
}
