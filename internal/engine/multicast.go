package engine

import (
	"encoding/binary"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// What is different for requests to a group (RFC 7252 section 8): they are Non-confirmable,
// never reset, errors are not sent, and responses are spread over the leisure.

// respondToGroup sends e.view after a random part of the leisure (section 8.2).
func (e *Engine) respondToGroup(x *entry) error {
	if e.view.Code.IsError() {
		e.stats.Dropped[exchange.DropSuppressed]++
		e.keepReply(x, nil)
		return nil
	}
	e.view.Type = message.NonConfirmable
	buf, err := e.encode(&e.view)
	if err != nil {
		return err
	}
	delay := int64(e.rand.Float64() * float64(max(e.params.DefaultLeisure, 0)))
	// The lifetime of the message ID starts when the message is sent.
	mid, ok := e.takeMID(x.key.peer, int64(e.params.NonLifetime())+delay)
	if !ok {
		e.buffers.unref(buf)
		return exchange.ErrBusy
	}
	binary.BigEndian.PutUint16(buf.b[2:], mid)
	if delay == 0 {
		e.send(buf, x.route())
		e.buffers.unref(buf)
		e.keepReply(x, nil)
		return nil
	}
	gen := x.gen
	e.keepReply(x, buf)
	if x.gen != gen {
		// No memory to wait with it, and sending it at once is what the leisure is there to
		// prevent: the request is ignored, as section 8.2 allows.
		e.stats.Dropped[exchange.DropMemory]++
		return nil
	}
	e.delayed++
	e.timers.set(&x.timer, e.now+delay)
	return nil
}

// sendDelayed sends the response to a group request when its time has come.
func (e *Engine) sendDelayed(x *entry) {
	e.send(x.reply, x.route())
	e.buffers.unref(x.reply)
	x.reply = nil
	e.delayed--
	e.charge(x, entryCost)
}
