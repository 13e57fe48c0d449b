package engine

import (
	"encoding/binary"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// A Confirmable notification that has become outdated while it waits for its acknowledgement
// (RFC 7641 section 4.5.2): the present attempt to deliver it is completed, then the present state is
// sent in its place, in a new message, with what is left of retransmissions.

// maxSuperseded is how many message IDs of an exchange are known besides the present one:
// MAX_RETRANSMIT by default.
const maxSuperseded = 4

// Supersede says that a notification is outdated. When it would be retransmitted, there is an
// EventOutdated instead, to be answered by Replace. It does nothing if the notification is
// not Confirmable or its exchange is over.
func (e *Engine) Supersede(id Exchange) {
	if x := id.x; x != nil && x.gen == id.gen && x.kind == kindPush {
		x.outdated = true
	}
}

// Replace sends m, a Confirmable notification, in place of one that is outdated. The time-out of the
// attempt, which EventOutdated has begun, starts now. The exchange goes on with the old events to come;
// a Reset of any of its messages ends it. An error leaves the exchange as it was: ErrBusy if there
// is no message ID, ErrClosed if the exchange is over.
func (e *Engine) Replace(now time.Time, id Exchange, m *message.Message) error {
	e.setNow(now)
	x := id.x
	if x == nil || x.gen != id.gen || e.closed {
		return exchange.ErrClosed
	}
	p := x.peer
	p.mids.expire(e.now)
	if x.state != stateQueued && p.mids.live >= midsForPeers {
		return exchange.ErrBusy
	}
	e.view = *m
	buf, err := e.encode(&e.view)
	e.view = message.Message{}
	if err != nil {
		return err
	}
	e.buffers.unref(x.buf)
	x.buf, x.outdated = buf, false
	if x.state == stateQueued {
		return nil // it has not been sent yet
	}
	if len(x.superseded) == maxSuperseded {
		e.forgetSuperseded(x, 1)
	}
	x.superseded = append(x.superseded, x.mid)
	x.mid, _ = e.takeMID(p, int64(x.params.ExchangeLifetime()))
	binary.BigEndian.PutUint16(buf.b[2:], x.mid)
	e.mids.set(midKey{p, x.mid}, x)
	x.started = e.now
	e.timers.set(&x.timer, e.now+x.timeout)
	e.send(buf, x.route)
	return nil
}

// startOver is called when the last retransmission has timed out. If the client has acknowledged a
// message that was superseded, that was no news about the present state, but of the client: it is there,
// and is told of the present state in another series of transmissions.
func (e *Engine) startOver(x *exchangeState) bool {
	if !x.heard {
		return false
	}
	x.heard, x.outdated = false, true
	x.count, x.timeout = 0, e.firstTimeout(x)
	e.events.push(Event{Kind: EventOutdated, User: x.user, Peer: e.info(x)})
	e.timers.set(&x.timer, e.now+x.timeout)
	return true
}

// forgetSuperseded makes the oldest n messages of x that were superseded unknown.
func (e *Engine) forgetSuperseded(x *exchangeState, n int) {
	for _, mid := range x.superseded[:n] {
		k := midKey{x.peer, mid}
		if y, ok := e.mids.get(k); ok && y == x && mid != x.mid {
			e.mids.del(k)
		}
	}
	x.superseded = append(x.superseded[:0], x.superseded[n:]...)
}
