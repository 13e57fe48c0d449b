package engine

import (
	"net/netip"
	"time"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// Responses to requests of others: piggybacked on the acknowledgement if they are ready in
// time, separate otherwise (RFC 7252 section 5.2).

// Incoming identifies a received request that wants an answer: one call of Respond or Drop.
type Incoming struct {
	x   *entry
	gen uint32
}

func (x *entry) keepToken(t message.Token) {
	x.token = append(x.short[:0], t...)
}

// startAckTimer lets the response have EmptyAckDelay to be piggybacked.
func (e *Engine) startAckTimer(x *entry) {
	if e.params.EmptyAckDelay <= 0 {
		e.ackEmpty(x)
		return
	}
	e.timers.set(&x.timer, e.now+int64(e.params.EmptyAckDelay))
}

// expired is called when a response is late, or when it is time to answer a group request.
func (x *entry) expired(e *Engine) {
	if x.group {
		e.sendDelayed(x)
		return
	}
	e.ackEmpty(x)
}

// ackEmpty promises a separate response.
func (e *Engine) ackEmpty(x *entry) {
	x.acked = true
	e.stats.EmptyAcks++
	e.view = message.Message{Type: message.Acknowledgement, MessageID: x.key.mid}
	if buf, err := e.encode(&e.view); err == nil {
		e.send(buf, x.route())
		e.buffers.unref(buf)
	}
}

// Respond answers a received request with m, of which code, options and payload count; m is
// not kept. A response to a Confirmable request is piggybacked if no acknowledgement has
// gone yet, else sent as a separate Confirmable message; one to a Non-confirmable
// request is Non-confirmable (section 5.2.3). The error is ErrTooLarge, a
// FormatError, ErrClosed, or ErrBusy if a separate response finds no place; the request
// stays unanswered then and Respond may be called again.
func (e *Engine) Respond(now time.Time, id Incoming, m *message.Message) error {
	e.setNow(now)
	x := id.x
	if x == nil || x.gen != id.gen || !x.pending || e.closed {
		return exchange.ErrClosed
	}
	e.view = *m
	defer func() { e.view = message.Message{} }()
	e.view.Token = x.token
	if isChallenge(m) {
		x.idempotent = true // nothing was done, so forged requests need not use up the memory
	}
	switch {
	case x.unwanted(m.Code) && !isChallenge(m):
		e.suppress(x, exchange.DropSuppressed)
	case x.group:
		return e.respondToGroup(x)
	case x.con && !x.acked:
		e.view.Type, e.view.MessageID = message.Acknowledgement, x.key.mid
		buf, err := e.encode(&e.view)
		if err != nil {
			return err
		}
		e.timers.stop(&x.timer)
		e.send(buf, x.route())
		e.keepReply(x, buf)
	default:
		if err := e.respondSeparately(x); err != nil {
			return err
		}
		e.keepReply(x, nil)
	}
	return nil
}

// respondSeparately sends e.view in a message of its own.
func (e *Engine) respondSeparately(x *entry) error {
	e.view.Type = message.NonConfirmable
	con := x.con && !isChallenge(&e.view)
	if con {
		e.view.Type = message.Confirmable
	}
	buf, err := e.encode(&e.view)
	if err != nil {
		return err
	}
	key := x.key.peer.key
	s, err := e.newExchange(kindResponse, con, Target{Remote: key.addr, Local: x.local, IfIndex: x.ifIndex, Session: key.session}, RequestOptions{})
	if err != nil {
		e.buffers.unref(buf)
		return err
	}
	s.buf = buf
	if e.limitUnverified && !x.key.peer.verified {
		s.params.MaxRetransmit = min(s.params.MaxRetransmit, x.affordable(len(buf.b))-1)
	}
	if _, err = e.launch(s, false); err == nil {
		e.stats.Separate++
	}
	return err
}

// Drop ends a received request without a response: it is rejected in silence if it came in a
// NON (section 4.3), and acknowledged if it came in a CON.
func (e *Engine) Drop(now time.Time, id Incoming, why exchange.DropReason) {
	e.setNow(now)
	x := id.x
	if x == nil || x.gen != id.gen || !x.pending || e.closed {
		return
	}
	e.suppress(x, why)
}

// suppress settles a request without a response: a CON is acknowledged all the same.
func (e *Engine) suppress(x *entry, why exchange.DropReason) {
	e.stats.Dropped[why]++
	if e.tracing {
		k := x.key.peer.key
		d := transport.Datagram{Remote: k.addr, Local: x.local, IfIndex: x.ifIndex, Session: k.session}
		e.record(exchange.TraceEvent{Kind: exchange.TraceDropped, Peer: peerOf(&d, x.key.peer), Reason: why})
	}
	e.timers.stop(&x.timer)
	if x.con && !x.acked {
		e.ackEmpty(x)
	}
	e.keepReply(x, nil)
}

// keepReply settles a request: buf, if any, is what duplicates are answered with. It takes
// over the reference to buf.
func (e *Engine) keepReply(x *entry, buf *buffer) {
	x.pending, x.token = false, nil
	e.handling--
	x.key.peer.handling--
	if !x.mapped { // expired, or never remembered
		if buf != nil {
			e.buffers.unref(buf)
		}
		e.freeEntry(x)
		return
	}
	cost := entryCost
	if buf != nil {
		cost += cap(buf.b)
	}
	if cost > x.bytes && !e.makeMemory(x.key.peer, cost-x.bytes) && x.idempotent {
		e.stats.EvictedReplies++
		if buf != nil {
			e.buffers.unref(buf)
		}
		e.unmap(x)
		return
	}
	x.reply = buf
	e.charge(x, cost)
	e.makeEvictable(x)
}

// isChallenge reports whether m asks for a proof that the peer is where it says: 4.01 with an Echo
// option. It must not be retransmitted, and is the answer to a group as well (RFC 9175 section 2.4,
// draft-ietf-core-groupcomm-bis section 6.3.1).
func isChallenge(m *message.Message) bool {
	return m.Code == message.Unauthorized && m.Options.Has(message.OptionEcho)
}

// affordable returns how often a response of n bytes, at least once, may be sent in answer to x and after an
// Empty Acknowledgement, if the sender's address may be forged (RFC 9175 section 2.4).
func (x *entry) affordable(n int) int {
	from := x.key.peer.key.addr.Addr()
	budget := exchange.Amplification*exchange.PacketSize(from, int(x.size)) - exchange.PacketSize(from, codec.HeaderSize)
	return max(budget/exchange.PacketSize(from, n), 1)
}

// Verify notes that a peer has shown that it receives what is sent to its address.
func (e *Engine) Verify(peer netip.AddrPort) {
	if p, ok := e.peers.get(peerKey{addr: peer}); ok {
		p.verified = true
	}
}
