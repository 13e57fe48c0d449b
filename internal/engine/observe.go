package engine

import (
	"encoding/binary"
	"time"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// Exchanges with several responses and responses that nobody has just asked for: what
// observation (RFC 7641) needs of the message layer. Which response is the freshest, when to ask
// again and whom to notify is for package observe to know.

// isNotification reports whether a response says that others will follow: a success with an
// Observe option (RFC 7641 section 3.2).
func isNotification(m *message.Message) bool {
	return m.Code.IsSuccess() && m.Options.Has(message.OptionObserve)
}

// keepOpen makes x wait for further responses, without a time-out. m is the one that has come.
func (e *Engine) keepOpen(x *exchangeState, m *message.Message) {
	if x.group || x.renewed && (!x.registers || x.state == stateQueued || x.state == stateSent && x.con && m.Type != message.Acknowledgement) {
		// A group answers until its window ends. A notification is no response to a request that
		// deregisters, and says nothing about a renewal that is on its way, unless no
		// acknowledgement can tell them apart. It may be
		// the response, and have overtaken the acknowledgement.
		x.early = x.registers && x.state == stateSent
		return
	}
	e.answered(x)
}

// answered makes x, an open exchange, wait for what follows the response to its request.
func (e *Engine) answered(x *exchangeState) {
	e.timers.stop(&x.timer)
	if y, ok := e.mids.get(midKey{x.peer, x.mid}); ok && y == x {
		e.mids.del(midKey{x.peer, x.mid})
	}
	x.state, x.renewed, x.early = stateOpen, false, false
	e.uncount(x)
	e.pump(x.peer)
}

// Renew sends m, a request, in an open exchange under the same token (RFC 7641 section 3.3.1): one
// that has been answered, or one with a group that has no window. If one peer does not answer, the
// exchange ends. An error leaves the exchange as it was: ErrBusy, too, which says that it has not
// been answered yet or that there is no room to wait.
func (e *Engine) Renew(now time.Time, id Exchange, m *message.Message) error {
	e.setNow(now)
	x := id.x
	if x == nil || x.gen != id.gen {
		return exchange.ErrClosed
	}
	if x.group && (x.state != stateSent || x.end != 0) || !x.group && (x.state != stateOpen || len(x.peer.waiting()) >= e.limits.QueuePerPeer) {
		return exchange.ErrBusy
	}
	binary.BigEndian.PutUint64(e.token[:], x.token)
	e.view = *m
	e.view.Token = e.token[:]
	buf, err := e.encode(&e.view)
	e.view = message.Message{}
	if err != nil {
		return err
	}
	if !x.group {
		e.buffers.unref(x.buf)
		x.buf, x.con, x.renewed = buf, m.Type == message.Confirmable, true
		action, _ := m.Options.Uint(message.OptionObserve)
		x.registers, x.early = action == 0, false
		_, err = e.launch(x, false)
		return err
	}
	old := x.buf
	if x.buf = buf; !e.sendToGroup(x) {
		x.buf, old, err = old, buf, exchange.ErrBusy
	}
	e.buffers.unref(old)
	return err
}

// Push sends m, a response with the token of a request that was answered already, in a Confirmable message. It ends
// with EventAcked or EventEnd. To forget it sooner, cancel it.
func (e *Engine) Push(now time.Time, to Target, m *message.Message, user any) (Exchange, error) {
	e.setNow(now)
	to.IfIndex = backBy(to.Remote, to.IfIndex)
	x, err := e.newExchange(kindPush, true, to, RequestOptions{User: user})
	if err != nil {
		return Exchange{}, err
	}
	e.view = *m
	e.view.Type = message.Confirmable
	x.buf, err = e.encode(&e.view)
	e.view = message.Message{}
	if err != nil {
		e.discard(x)
		return Exchange{}, err
	}
	return e.launch(x, false)
}

// Notify makes d a Non-confirmable notification, for the caller to send: header and token, then rest, the encoded
// options and payload. Nothing is kept of it but its message ID, which is returned: a Reset within the lifetime of
// that is an EventRejected. The error is ErrTooLarge, ErrBusy, ErrClosed, ErrSessionEnded or a FormatError; nothing has changed then.
func (e *Engine) Notify(now time.Time, to Target, code message.Code, token message.Token, rest []byte, d *transport.Datagram) (mid uint16, err error) {
	e.setNow(now)
	if e.closed {
		return 0, exchange.ErrClosed
	}
	m := &e.view
	*m = message.Message{Type: message.NonConfirmable, Code: code, Token: token}
	defer func() { e.view = message.Message{} }()
	if codec.SizeUDP(m)+len(rest) > e.limits.MessageSize {
		return 0, exchange.ErrTooLarge
	}
	key := peerKey{addr: to.Remote}
	if to.Session != nil {
		key = peerKey{session: to.Session}
	}
	data, err := codec.AppendUDP(d.Data[:0], m)
	if err != nil {
		return 0, err
	}
	row := e.row(key, to.Remote)
	if row == 0 {
		return 0, exchange.ErrBusy
	}
	defer e.release(row)
	if e.over(row) {
		return 0, exchange.ErrSessionEnded
	}
	p := e.peer(row)
	mid, ok := e.takeMID(p, e.lifetimes[lifetimeNon])
	if p.exchanges.head == nil {
		e.rest(p)
	}
	if !ok {
		return 0, exchange.ErrBusy
	}
	binary.BigEndian.PutUint16(data[2:], mid)
	r := e.routeTo(row, to.Local, backBy(to.Remote, to.IfIndex))
	*d = transport.Datagram{Data: append(data, rest...), Remote: r.remote, Local: r.local, IfIndex: r.ifIndex, Session: r.session}
	e.stats.Sent++
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceSent, Peer: e.peerAt(row, &r), Datagram: clone(d.Data)})
	}
	return mid, nil
}

// WatchResets makes Resets that no exchange is waiting for, but whose message ID we have used within its lifetime, be told by
// EventRejected with this user; nil ends that.
func (e *Engine) WatchResets(user any) { e.watcher = user }

// unmatchedReset processes a Reset that is about no exchange: perhaps about a notification.
func (e *Engine) unmatchedReset(d *transport.Datagram, mid uint16) {
	p := e.findPeer(d)
	if e.watcher == nil || p == nil || !p.mids.inUse(e.now, mid) {
		e.drop(d, exchange.DropUnmatchedReset, nil)
		return
	}
	e.events.push(Event{Kind: EventRejected, User: e.watcher, Peer: peerOf(d, e.rows.at(p.row).verified), Message: message.Message{Type: message.Reset, MessageID: mid}})
}

// Rejected counts the Reset of an EventRejected: it was about a notification, or about nothing.
func (e *Engine) Rejected(known bool) {
	if known {
		e.stats.LostResponses++
	} else {
		e.stats.Dropped[exchange.DropUnmatchedReset]++
	}
}
