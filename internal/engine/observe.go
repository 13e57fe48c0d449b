package engine

import (
	"encoding/binary"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
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
	if x.group || x.renewed && (x.state == stateQueued || x.state == stateSent && x.con && m.Type != message.Acknowledgement) {
		// A group answers until its window ends. And a notification says nothing about a
		// renewal that is on its way, unless no acknowledgement can tell them apart.
		return
	}
	e.timers.stop(&x.timer)
	if y, ok := e.mids.get(midKey{x.peer, x.mid}); ok && y == x {
		e.mids.del(midKey{x.peer, x.mid})
	}
	x.state, x.renewed = stateOpen, false
	e.uncount(x)
	e.pump(x.peer)
}

// Renew sends m, a request, in an open exchange that has been answered, under the same token
// (RFC 7641 section 3.3.1). If it is not answered, the exchange ends. An error leaves the exchange as
// it was: ErrBusy, too, which says that it has not been answered yet or that there is no room to wait.
func (e *Engine) Renew(now time.Time, id Exchange, m *message.Message) error {
	e.setNow(now)
	x := id.x
	if x == nil || x.gen != id.gen {
		return exchange.ErrClosed
	}
	if p := x.peer; x.state != stateOpen || len(p.waiting) >= e.limits.QueuePerPeer {
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
	e.buffers.unref(x.buf)
	x.buf, x.con, x.renewed = buf, m.Type == message.Confirmable, true
	_, err = e.launch(x, false)
	return err
}

// Push sends m, a response with the token of a request that was answered already. A Confirmable
// one ends with EventAcked or EventEnd; a Non-confirmable one with EventEnd if it is rejected
// within NON_LIFETIME, or with nothing. To forget it sooner, cancel it.
func (e *Engine) Push(now time.Time, to Target, m *message.Message, user any) (Exchange, error) {
	e.setNow(now)
	to.IfIndex = backBy(to.Remote, to.IfIndex)
	x, err := e.newExchange(kindPush, m.Type == message.Confirmable, to, RequestOptions{User: user})
	if err != nil {
		return Exchange{}, err
	}
	e.view = *m
	x.buf, err = e.encode(&e.view)
	e.view = message.Message{}
	if err != nil {
		e.discard(x)
		return Exchange{}, err
	}
	return e.launch(x, false)
}
