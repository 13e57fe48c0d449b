package engine

import (
	"github.com/coapkit/coap/exchange"
)

// Reliable transmission (RFC 7252 sections 4.2 and 4.8).

// retransmission is what has to be kept of a Confirmable message until it is acknowledged: a
// time-out and a counter.
type retransmission struct {
	started int64 // first transmission
	timeout int64
	count   int
}

// startRetransmission is called when x has been sent for the first time. The first time-out is
// random between ACK_TIMEOUT and ACK_TIMEOUT * ACK_RANDOM_FACTOR.
func (e *Engine) startRetransmission(x *exchangeState) {
	x.retransmission = retransmission{started: e.now, timeout: e.firstTimeout(x)}
	e.timers.set(&x.timer, e.now+x.timeout)
}

func (e *Engine) firstTimeout(x *exchangeState) int64 {
	factor := 1 + e.rand.Float64()*(x.params.AckRandomFactor-1)
	return int64(float64(x.params.AckTimeout) * factor)
}

// expired is called when the timer of an exchange is due: for a retransmission, for the end of
// waiting, or for the end of probing.
func (x *exchangeState) expired(e *Engine) {
	switch {
	case x.con && x.state == stateSent:
		e.retransmit(x)
	case x.group:
		e.windowEnds(x)
	case x.state == stateLinger:
		e.finish(x)
	case e.now >= x.end && x.declined != 0:
		e.cease(x)
	case e.now >= x.end:
		if x.con {
			e.end(x, exchange.ErrNoSeparateResponse, nil)
		} else {
			e.end(x, exchange.ErrNotAnswered, nil)
		}
	default:
		// PROBING_RATE allows the next request; the response to this one may still come.
		e.uncount(x)
		e.timers.set(&x.timer, x.end)
		e.pump(x.peer)
	}
}

// retransmit sends a Confirmable message again, asks for what is to be sent in its place, or gives
// up.
func (e *Engine) retransmit(x *exchangeState) {
	r := &x.retransmission
	if r.count >= x.params.MaxRetransmit {
		if !e.startOver(x) {
			e.end(x, exchange.ErrNotAcknowledged, nil)
		}
		return
	}
	due := x.timer.at
	r.count++
	r.timeout *= 2
	// A call that comes late, after the host has slept, keeps to the schedule but leaves
	// ACK_TIMEOUT between two transmissions.
	next := max(due+r.timeout, e.now+int64(x.params.AckTimeout))
	switch {
	case x.outdated:
		e.events.push(Event{Kind: EventOutdated, User: x.user, Peer: e.info(x)})
	case e.now > r.started+int64(x.params.MaxTransmitSpan()):
		// All transmissions must be within MAX_TRANSMIT_SPAN: the opportunity has passed.
		// An acknowledgement of an earlier one may still come.
		r.count = x.params.MaxRetransmit
		next = max(r.started+int64(x.params.MaxTransmitWait()), e.now)
	default:
		e.stats.Retransmitted++
		if e.tracing {
			e.record(exchange.TraceEvent{Kind: exchange.TraceRetransmitted, Peer: e.info(x), Datagram: clone(x.buf.b)})
		}
		e.send(x.buf, x.route)
	}
	e.timers.set(&x.timer, next)
}

// acknowledged ends the retransmission of a Confirmable message.
func (e *Engine) acknowledged(x *exchangeState) {
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceAcknowledged, Peer: e.info(x), Datagram: clone(x.buf.b)})
	}
	switch x.kind {
	case kindResponse:
		e.finish(x)
	case kindPush:
		e.events.push(Event{Kind: EventAcked, User: x.user, Peer: e.info(x)})
		e.finish(x)
	case kindPing:
		e.pong(x)
	default:
		if x.renewed && x.early {
			// The response has come before, or will come as a notification.
			e.answered(x)
			return
		}
		// The peer has the request; it no longer counts for NSTART (section 4.7).
		x.state = stateAcked
		wait := x.params.ResponseTimeout
		switch {
		case x.declined == allClasses:
			e.cease(x)
			return
		case x.declined != 0:
			wait = min(wait, x.window)
		}
		x.end = e.now + int64(wait)
		e.timers.set(&x.timer, x.end)
		e.uncount(x)
		e.pump(x.peer)
	}
}

func (e *Engine) pong(x *exchangeState) {
	e.stats.Responses++
	e.events.push(Event{Kind: EventPong, User: x.user, Peer: e.info(x)})
	e.finish(x)
}
