package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// Receive processes one datagram, or the report that one could not be delivered. Events
// that follow from it refer to d.Data; nothing else does.
func (e *Engine) Receive(now time.Time, d *transport.Datagram) {
	e.setNow(now)
	if e.closed {
		return
	}
	e.forgetSome()
	if d.Err != nil && d.Session != nil && errors.Is(d.Err, transport.ErrSessionEnded) {
		e.endSession(d)
		return
	} else if d.Err != nil {
		e.undelivered(d)
		return
	}
	e.stats.Received++
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceReceived, Peer: peerOf(d, e.isVerified(d)), Datagram: clone(d.Data)})
	}
	h, err := codec.ParseHeader(d.Data)
	if err != nil {
		// Without a message ID nothing can be rejected; other versions are ignored
		// in silence (section 3).
		reason := exchange.DropTooShort
		if err == message.ErrVersion {
			reason = exchange.DropVersion
		}
		e.drop(d, reason, err)
		return
	}
	if h.Type == message.Acknowledgement || h.Type == message.Reset {
		e.receiveReply(d, h)
	} else {
		e.receiveMessage(d, h)
	}
}

// receiveMessage processes a CON or NON (sections 4.2 and 4.3).
func (e *Engine) receiveMessage(d *transport.Datagram, h codec.Header) {
	switch {
	case h.Type == message.Confirmable && d.Group.IsValid():
		e.drop(d, exchange.DropGroupConfirmable, nil)
		return
	case h.Code == message.Empty && h.Type == message.Confirmable && len(d.Data) == codec.HeaderSize && h.TokenNibble == 0:
		e.stats.Pings++
		e.reset(d, h)
		return
	case h.Code == message.Empty && h.Type == message.NonConfirmable:
		e.drop(d, exchange.DropEmptyNon, nil)
		return
	case h.Code.IsReserved():
		e.reject(d, h, exchange.DropReservedCode, nil)
		return
	}
	key := e.dedupKey(d)
	if i := e.findRecord(key); i != 0 {
		e.duplicate(d, h.MessageID, i)
		return
	}
	m := &e.view
	if err := codec.DecodeUDP(d.Data, m); err != nil {
		reason := exchange.DropMalformed
		if d.Truncated {
			reason = exchange.DropTruncated // cut within token or options
		}
		e.reject(d, h, reason, err)
		return
	}
	if m.Code.IsRequest() {
		e.receiveRequest(d, m, key)
	} else {
		e.receiveResponse(d, m, key)
	}
	e.view = message.Message{}
}

// receiveRequest hands a request to the layer above, once its place is secured.
func (e *Engine) receiveRequest(d *transport.Datagram, m *message.Message, key dedupKey) {
	switch {
	case d.Truncated:
		e.refuse(d, m, exchange.DropTruncated, message.RequestEntityTooLarge)
		return
	case len(m.Token) > e.limits.TokenLength:
		e.refuse(d, m, exchange.DropTokenTooLong, message.BadRequest)
		return
	case e.draining:
		e.refuse(d, m, exchange.DropClosing, message.ServiceUnavailable)
		return
	case e.handling >= e.handlers(m, e.limits.Handlers):
		e.refuse(d, m, exchange.DropBusy, message.ServiceUnavailable)
		return
	case key.row != 0 && int(e.rows.at(key.row).handling) >= e.handlers(m, e.limits.HandlersPerPeer):
		e.refuse(d, m, exchange.DropPeerBusy, message.ServiceUnavailable)
		return
	}
	row, record, reason := e.remember(d, m, key)
	if row == 0 {
		e.refuse(d, m, reason, message.ServiceUnavailable)
		return
	}
	x := e.open(d, m, row, record)
	e.stats.Requests++
	e.events.push(Event{
		Kind: EventRequest, Incoming: Incoming{x, x.gen}, Peer: peerOf(d, e.rows.at(row).verified), Group: d.Group,
		Datagram: d.Data, Message: *m,
	})
	if x.con {
		e.startAckTimer(x)
	}
}

// handlers returns how many requests may be in handlers for m to become one more. A later block
// of an upload (RFC 7959) does not compete with new requests: a handler that reads the upload
// waits for it. They have as many places again, and whoever sends one without an upload to
// belong to is told so at once.
func (e *Engine) handlers(m *message.Message, limit int) int {
	if v, ok := m.Options.Uint(message.OptionBlock1); ok && v>>4 > 0 {
		return 2 * limit
	}
	return limit
}

// receiveResponse processes a response in a CON or NON: a separate one, or one that came
// instead of or before the acknowledgement (sections 5.2.2, 5.2.3, 5.3.2).
func (e *Engine) receiveResponse(d *transport.Datagram, m *message.Message, key dedupKey) {
	h := codec.Header{Type: m.Type, Code: m.Code, MessageID: m.MessageID}
	x := e.matchToken(d, m.Token)
	if x == nil {
		e.reject(d, h, exchange.DropUnexpected, nil)
		return
	}
	if x.state == stateLinger {
		if isNotification(m) || m.Type == message.Confirmable && !x.group {
			e.reject(d, h, exchange.DropLate, nil) // its sender would go on
		} else {
			e.drop(d, exchange.DropLate, nil) // its sender did no wrong
		}
		return
	}
	if d.Truncated {
		e.reject(d, h, exchange.DropTruncated, nil)
		e.unusable(x, exchange.ErrResponseTooLarge, nil)
		return
	}
	if bad := misunderstood(x, m); bad != nil {
		e.reject(d, h, exchange.DropBadOption, bad)
		e.unusable(x, exchange.ErrBadOption, bad)
		return
	}
	if row, i, _ := e.remember(d, m, key); row != 0 {
		if i != 0 { // else there is no memory: a second copy will be unexpected
			// Only the acknowledgement is needed again, and that is made anew.
			e.charge(row, recordCost)
			e.makeEvictable(i)
		}
		e.release(row)
	}
	if m.Type == message.Confirmable {
		e.emptyAck(d, m.MessageID)
	}
	e.respond(x, d, m)
}

// unusable ends an exchange of ours whose response cannot be used. Other members of a group may
// do better.
func (e *Engine) unusable(x *exchangeState, why exchange.EndError, cause error) {
	if !x.group {
		e.end(x, why, cause)
	}
}

// respond hands the response to a request of ours to the layer above and settles the request,
// unless others may follow.
func (e *Engine) respond(x *exchangeState, d *transport.Datagram, m *message.Message) {
	row := e.findRow(keyOf(d))
	if row != 0 {
		r := e.rows.at(row)
		r.verified = true // a token of ours came back
		if r.peer != 0 {
			e.peers.at(r.peer).answers()
		}
	}
	e.stats.Responses++
	more := x.open && (x.group || isNotification(m))
	if x.renewed && !x.registers && m.Type == message.Acknowledgement {
		more = false // the response to what deregisters, whatever it says
	}
	e.events.push(Event{
		Kind: EventResponse, User: x.user, Peer: peerOf(d, row != 0), Datagram: d.Data, Message: *m,
		More: more, Retransmissions: x.retransmission.count,
	})
	if more {
		e.keepOpen(x, m)
		return
	}
	if x.state == stateQueued {
		e.unqueue(x)
	}
	x.state = stateAcked
	e.finish(x)
}

// misunderstood returns what is wrong with a response that has a critical option which is not
// understood (section 5.4.1), nil if it has none.
func misunderstood(x *exchangeState, m *message.Message) error {
	it := m.Options.Iter()
	for it.Next() {
		if n := it.Number(); n.Critical() && !slices.Contains(x.understood, n) {
			return &message.OptionError{Number: n, Reason: n.String() + " in " + m.Code.String()}
		}
	}
	return nil
}

// receiveReply processes an ACK or RST. Neither is ever answered (section 4.2).
func (e *Engine) receiveReply(d *transport.Datagram, h codec.Header) {
	empty := h.Code == message.Empty
	if empty && (len(d.Data) != codec.HeaderSize || h.TokenNibble != 0) || !empty && (h.Type == message.Reset || !h.Code.IsResponse()) {
		e.drop(d, exchange.DropBadReply, nil)
		return
	}
	x := e.matchMID(d, h.MessageID)
	switch {
	case x == nil && h.Type == message.Reset:
		e.unmatchedReset(d, h.MessageID)
	case x == nil || !x.con && h.Type == message.Acknowledgement || x.state == stateAcked && empty && h.Type == message.Acknowledgement:
		// Nothing outstanding, or a NON, which nobody may acknowledge (section 4.3), or the
		// second copy of an acknowledgement.
		e.drop(d, exchange.DropUnmatchedAck, nil)
	case h.Type == message.Acknowledgement && x.kind == kindPush && h.MessageID != x.mid:
		x.heard = true // see startOver
	case h.Type == message.Reset && x.kind == kindPing:
		e.pong(x)
	case h.Type == message.Reset && x.state == stateAcked:
		// No longer outstanding (section 4.2). The peer has the request: this rejects something else that
		// somebody has sent it with our message ID.
		e.unmatchedReset(d, h.MessageID)
	case h.Type == message.Reset:
		e.end(x, exchange.ErrReset, nil)
	case empty || x.kind != kindRequest:
		// The acknowledgement of a response may carry whatever it likes (section 5.2.2).
		e.acknowledged(x)
	default:
		e.receivePiggybacked(d, x)
	}
}

// receivePiggybacked processes a response in an acknowledgement (section 5.2.1): besides the
// message ID, the token has to match.
func (e *Engine) receivePiggybacked(d *transport.Datagram, x *exchangeState) {
	m := &e.view
	err := codec.DecodeUDP(d.Data, m)
	bad := misunderstood(x, m)
	switch {
	case err != nil && !d.Truncated:
		e.drop(d, exchange.DropMalformed, err)
	case err == nil && (len(m.Token) != tokenLength || binary.BigEndian.Uint64(m.Token) != x.token):
		e.drop(d, exchange.DropTokenMismatch, nil)
	case d.Truncated:
		e.drop(d, exchange.DropTruncated, err)
		e.end(x, exchange.ErrResponseTooLarge, nil)
	case bad != nil:
		e.drop(d, exchange.DropBadOption, bad)
		e.end(x, exchange.ErrBadOption, bad)
	default:
		e.respond(x, d, m)
	}
	e.view = message.Message{}
}

// undelivered processes the report that a datagram of ours was not delivered. To be
// believed, it has to quote the beginning of a message that waits for an answer, with its
// message ID (section 4.2); the more it quotes, the more has to agree. Where the system
// quotes nothing, which is a weakness of its interface, all unanswered exchanges
// with that peer end.
func (e *Engine) undelivered(d *transport.Datagram) {
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceUndelivered, Peer: peerOf(d, false), Datagram: clone(d.Data), Err: d.Err})
	}
	p := e.findPeer(d)
	if p == nil {
		e.stats.Dropped[exchange.DropUndelivered]++
		return
	}
	why := exchange.ErrUnreachable
	if errors.Is(d.Err, transport.ErrTooLarge) {
		why = exchange.ErrTooLarge // for the path, within the limit of ours though it is
	}
	if d.Data == nil {
		// Ending one starts those that wait: they are none of those.
		var unanswered []Exchange
		for x := p.exchanges.head; x != nil; x = x.of.next {
			if x.state == stateSent {
				unanswered = append(unanswered, Exchange{x, x.gen})
			}
		}
		for _, id := range unanswered {
			if id.x.gen == id.gen {
				e.end(id.x, why, d.Err)
			}
		}
		return
	}
	h, err := codec.ParseHeader(d.Data)
	x, ok := e.mids.get(midKey{p, h.MessageID})
	if err != nil || !ok || x.state != stateSent || !bytes.HasPrefix(x.buf.b, d.Data) {
		e.stats.Dropped[exchange.DropUndelivered]++
		return
	}
	e.end(x, why, d.Err)
}

// reject rejects a message: a unicast CON by a Reset, everything else by ignoring it. A
// response that nobody waits for is reset even in a NON, so that its sender stops
// (RFC 7252 section 4.3, RFC 7641 section 3.6). Never in answer to a group (section 8.1).
func (e *Engine) reject(d *transport.Datagram, h codec.Header, why exchange.DropReason, err error) {
	e.drop(d, why, err)
	if d.Group.IsValid() || h.Type == message.NonConfirmable && why != exchange.DropUnexpected && why != exchange.DropLate {
		return
	}
	e.reset(d, h)
}

func (e *Engine) reset(d *transport.Datagram, h codec.Header) {
	e.stats.Resets++
	buf := e.buffers.get(codec.HeaderSize)
	buf.b = codec.AppendHeader(buf.b, message.Reset, message.Empty, h.MessageID)
	e.sendStateless(buf, d)
}

// emptyAck acknowledges a CON (section 4.2).
func (e *Engine) emptyAck(d *transport.Datagram, mid uint16) {
	e.stats.EmptyAcks++
	buf := e.buffers.get(codec.HeaderSize)
	buf.b = codec.AppendHeader(buf.b, message.Acknowledgement, message.Empty, mid)
	e.sendStateless(buf, d)
}

// busyMaxAge is how long a refused client is asked to wait, in seconds (section 5.9.3.4).
const busyMaxAge = 2

// refuse answers a Confirmable request without keeping anything, and drops any other.
func (e *Engine) refuse(d *transport.Datagram, m *message.Message, why exchange.DropReason, code message.Code) {
	e.drop(d, why, nil)
	if m.Type != message.Confirmable {
		return
	}
	r := &e.refusal
	r.Reset()
	r.Type, r.Code, r.MessageID, r.Token = message.Acknowledgement, code, m.MessageID, m.Token
	switch code {
	case message.ServiceUnavailable:
		r.Options.AddUint(message.OptionMaxAge, busyMaxAge)
	case message.RequestEntityTooLarge:
		r.Options.AddUint(message.OptionSize1, uint64(e.limits.ReceiveSize))
	}
	buf := e.buffers.get(codec.SizeUDP(r))
	var err error
	if buf.b, err = codec.AppendUDP(buf.b, r); err != nil {
		e.buffers.unref(buf)
		return
	}
	e.sendStateless(buf, d)
}
