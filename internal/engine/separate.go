package engine

import (
	"math"
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
	x   *incoming
	gen uint32
}

// incoming is a received request in a handler, or one whose response waits for the leisure of
// a group. What is remembered of it afterwards is its record.
type incoming struct {
	gen uint32
	row uint32 // of its peer, a reference
	route
	record  uint32 // 0: it is not remembered
	charged int    // what the record is charged for meanwhile

	mid        uint16
	size       uint16 // of the message, in bytes
	con        bool
	group      bool
	wants      interest
	safe       bool // only reads
	idempotent bool
	pending    bool // the layer above has not answered yet
	acked      bool // an Empty acknowledgement was sent, or is all that will be

	token   message.Token
	short   [tokenLength]byte // room for a token of usual length
	delayed *buffer           // the response to a group that waits for its time
	timer   timer             // of the Empty acknowledgement, or of what is delayed
	number  uint32            // in Engine.incoming
}

// open makes the request that m is one in a handler. It takes over the reference to row.
func (e *Engine) open(d *transport.Datagram, m *message.Message, row, record uint32) *incoming {
	i := e.incoming.get()
	x := e.incoming.at(i)
	*x = incoming{
		gen: e.gen, row: row, record: record, route: e.routeTo(row, d.Local, backBy(d.Remote, d.IfIndex)),
		mid: m.MessageID, size: uint16(min(len(d.Data), math.MaxUint16)),
		con: m.Type == message.Confirmable, group: d.Group.IsValid(),
		wants: interestOf(m), safe: m.Code == message.GET || m.Code == message.FETCH, idempotent: isIdempotent(m.Code),
		pending: true, number: i,
	}
	x.token = append(x.short[:0], m.Token...)
	x.timer.owner = x
	e.gen++
	e.handling++
	e.rows.at(row).handling++
	if record != 0 {
		r := e.dedup.records.at(record)
		r.reply, r.flags = i, r.flags|flagOpen
		x.charged = e.setAside(m.Code, x.group)
		e.charge(row, x.charged)
	}
	return x
}

// freeIncoming frees a request that is answered.
func (e *Engine) freeIncoming(x *incoming) {
	row := x.row
	e.timers.stop(&x.timer)
	e.incoming.put(x.number)
	e.release(row)
}

// startAckTimer lets the response have EmptyAckDelay to be piggybacked.
func (e *Engine) startAckTimer(x *incoming) {
	if e.params.EmptyAckDelay <= 0 {
		e.ackEmpty(x)
		return
	}
	e.timers.set(&x.timer, e.now+int64(e.params.EmptyAckDelay))
}

// expired is called when a response is late, or when it is time to answer a group request.
func (x *incoming) expired(e *Engine) {
	if x.group {
		e.sendDelayed(x)
		return
	}
	e.ackEmpty(x)
}

// ackEmpty promises a separate response.
func (e *Engine) ackEmpty(x *incoming) {
	x.acked = true
	if e.over(x.row) {
		return
	}
	e.stats.EmptyAcks++
	e.view = message.Message{Type: message.Acknowledgement, MessageID: x.mid}
	if buf, err := e.encode(&e.view); err == nil {
		e.send(buf, x.route)
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
	if e.over(x.row) {
		e.suppress(x, exchange.DropSessionEnded)
		return nil
	}
	e.view = *m
	defer func() { e.view = message.Message{} }()
	e.view.Token = x.token
	if isChallenge(m) {
		// Nothing was done, so forged requests need not use up the memory: what only reads is forgotten, and a
		// duplicate of it challenged once more. One of the others is not performed when its sender has proven
		// itself meanwhile, by asking for the same again.
		if x.idempotent = true; x.safe && x.record != 0 && !x.group {
			e.forgetRecord(x.record)
		}
	}
	switch {
	case x.unwanted(m.Code) && !isChallenge(m):
		e.suppress(x, exchange.DropSuppressed)
	case x.group:
		return e.respondToGroup(x)
	case x.con && !x.acked:
		e.view.Type, e.view.MessageID = message.Acknowledgement, x.mid
		buf, err := e.encode(&e.view)
		if err != nil {
			return err
		}
		e.send(buf, x.route)
		e.keepReply(x, buf, Exchange{})
	default:
		s, err := e.respondSeparately(x)
		if err != nil {
			return err
		}
		e.keepReply(x, nil, s)
	}
	return nil
}

// respondSeparately sends e.view in a message of its own.
func (e *Engine) respondSeparately(x *incoming) (Exchange, error) {
	e.view.Type = message.NonConfirmable
	con := x.con && !isChallenge(&e.view)
	if con {
		e.view.Type = message.Confirmable
	}
	buf, err := e.encode(&e.view)
	if err != nil {
		return Exchange{}, err
	}
	to := Target{Remote: x.remote, Local: x.local, IfIndex: x.ifIndex, Session: x.session}
	s, err := e.newExchange(kindResponse, con, to, RequestOptions{})
	if err != nil {
		e.buffers.unref(buf)
		return Exchange{}, err
	}
	s.buf = buf
	if e.limitUnverified && !e.rows.at(x.row).verified {
		s.params.MaxRetransmit = min(s.params.MaxRetransmit, x.affordable(len(buf.b))-1)
	}
	id, err := e.launch(s, false)
	if err == nil {
		e.stats.Separate++
	}
	return id, err
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
func (e *Engine) suppress(x *incoming, why exchange.DropReason) {
	e.stats.Dropped[why]++
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceDropped, Peer: e.peerAt(x.row, &x.route), Reason: why})
	}
	if x.con && !x.acked {
		e.ackEmpty(x)
	}
	e.keepReply(x, nil, Exchange{})
}

// keepReply settles a request: buf, if any, is what duplicates are answered with. It takes
// over the reference to buf. s, if any, is the separate response: the request is remembered as long as that
// may be retransmitted, or a copy of it would be performed again and an older state told after a newer one.
func (e *Engine) keepReply(x *incoming, buf *buffer, s Exchange) {
	size := 0
	if buf != nil {
		size = len(buf.b)
	}
	switch i := x.record; {
	case e.settled(x, recordCost+replyRoom(size)):
		r := e.dedup.records.at(i)
		r.reply, r.size, r.flags = 0, uint16(size), r.flags&^flagOpen
		if buf != nil {
			r.reply = e.dedup.replies.keep(buf, &e.buffers)
		}
		switch {
		case !x.idempotent:
		case s.x != nil && s.x.gen == s.gen: // it waits for an acknowledgement
			s.x.answers, e.answering[i] = i, s.x
			r.flags |= flagAnswering
		default:
			e.makeEvictable(i)
		}
	case buf != nil:
		e.buffers.unref(buf)
	}
	e.freeIncoming(x)
}

// endAnswer is called when x, a separate response, ends.
func (e *Engine) endAnswer(x *exchangeState) {
	if i := x.answers; i != 0 {
		delete(e.answering, i)
		e.dedup.records.at(i).flags &^= flagAnswering
		e.makeEvictable(i)
	}
}

// settled notes that a request is answered. It reports whether it is remembered at this cost;
// it is not if it had no record, or if its reply may be forgotten and there is no memory for it.
func (e *Engine) settled(x *incoming, cost int) bool {
	x.pending, x.token = false, nil
	e.handling--
	e.rows.at(x.row).handling--
	if x.record == 0 { // expired, or never remembered
		return false
	}
	if more := cost - x.charged; more > 0 && !e.makeMemory(x.row, more) && x.idempotent {
		e.evictRecord(x.record)
		return false
	}
	e.charge(x.row, cost-x.charged)
	x.charged = cost
	return true
}

// isChallenge reports whether m asks for a proof that the peer is where it says: 4.01 with an Echo
// option. It must not be retransmitted, and is the answer to a group as well (RFC 9175 section 2.4,
// draft-ietf-core-groupcomm-bis section 6.3.1).
func isChallenge(m *message.Message) bool {
	return m.Code == message.Unauthorized && m.Options.Has(message.OptionEcho)
}

// affordable returns how often a response of n bytes, at least once, may be sent in answer to x and after an
// Empty Acknowledgement, if the sender's address may be forged (RFC 9175 section 2.4).
func (x *incoming) affordable(n int) int {
	from := x.remote.Addr()
	budget := exchange.Amplification*exchange.PacketSize(from, int(x.size)) - exchange.PacketSize(from, codec.HeaderSize)
	return max(budget/exchange.PacketSize(from, n), 1)
}

// Verify notes that a peer has shown that it receives what is sent to its address.
func (e *Engine) Verify(peer netip.AddrPort) {
	if i := e.findRow(peerKey{addr: peer}); i != 0 {
		e.rows.at(i).verified = true
	}
}
