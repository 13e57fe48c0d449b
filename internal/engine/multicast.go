package engine

import (
	"encoding/binary"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// What is different for requests to a group (RFC 7252 section 8). Received ones are
// Non-confirmable, never reset, errors are not sent, and responses are spread over the leisure.
// Our own have message IDs of their own and any number of responses.

// respondToGroup sends e.view after a random part of the leisure (section 8.2).
func (e *Engine) respondToGroup(x *incoming) error {
	e.view.Type = message.NonConfirmable
	buf, err := e.encode(&e.view)
	if err != nil {
		return err
	}
	delay := int64(e.rand.Float64() * float64(max(e.params.DefaultLeisure, 0)))
	// The lifetime of the message ID starts when the message is sent.
	p := e.peer(x.row)
	mid, ok := e.takeMID(p, int64(e.params.NonLifetime())+delay)
	if p.exchanges.head == nil {
		e.rest(p)
	}
	if !ok {
		e.buffers.unref(buf)
		return exchange.ErrBusy
	}
	binary.BigEndian.PutUint16(buf.b[2:], mid)
	if delay == 0 {
		e.send(buf, x.route)
		e.buffers.unref(buf)
		e.keepReply(x, nil, Exchange{})
		return nil
	}
	if !e.settled(x, recordCost+delayCost+cap(buf.b)) {
		// No memory to wait with it, and sending it at once is what the leisure is there to
		// prevent: the request is ignored, as section 8.2 allows.
		e.stats.Dropped[exchange.DropMemory]++
		e.buffers.unref(buf)
		e.freeIncoming(x)
		return nil
	}
	x.delayed = buf
	e.delayed++
	e.timers.set(&x.timer, e.now+delay)
	if x.idempotent {
		e.makeEvictable(x.record)
	}
	return nil
}

// delayCost is what a response that waits for its time is charged for, besides its record and its bytes.
const delayCost = 320

// sendDelayed sends the response to a group request when its time has come.
func (e *Engine) sendDelayed(x *incoming) {
	e.send(x.delayed, x.route)
	r := e.dedup.records.at(x.record)
	r.reply, r.flags = 0, r.flags&^flagOpen
	e.charge(x.row, recordCost-x.charged)
	e.endDelay(x)
}

// endDelay frees x, whose response does not wait any more.
func (e *Engine) endDelay(x *incoming) {
	e.delayed--
	e.buffers.unref(x.delayed)
	e.freeIncoming(x)
}

// launchToGroup sends a request of ours to a group (section 8.1): once, with a message ID that no
// message to a single peer has. Without a window it is open until it is canceled.
func (e *Engine) launchToGroup(x *exchangeState, window time.Duration) (Exchange, error) {
	if !x.open || x.con || !e.sendToGroup(x) {
		e.discard(x)
		return Exchange{}, exchange.ErrBusy
	}
	if x.state = stateSent; window > 0 {
		x.end = e.now + int64(window)
		e.timers.set(&x.timer, x.end)
	}
	return Exchange{x, x.gen}, nil
}

// sendToGroup sends the request of x, if there is a message ID for it.
func (e *Engine) sendToGroup(x *exchangeState) bool {
	mid, ok := e.groupMIDs.take(e.now, int64(x.params.NonLifetime()), midsForPeers, midsForGroups, e.rand.Uint32)
	if !ok {
		return false
	}
	x.mid = mid
	binary.BigEndian.PutUint16(x.buf.b[2:], mid)
	e.send(x.buf, x.route)
	return true
}

// windowEnds ends the collecting of responses from a group. Those that come later are not
// unexpected: the token stays known until no response can be on its way any more.
func (e *Engine) windowEnds(x *exchangeState) {
	if x.state == stateLinger {
		e.finish(x)
		return
	}
	e.events.push(Event{Kind: EventDone, User: x.user, Peer: e.info(x)})
	e.linger(x)
}

func (e *Engine) linger(x *exchangeState) {
	x.state, x.user = stateLinger, nil
	e.timers.set(&x.timer, e.now+int64(x.params.NonLifetime()+x.params.MaxLatency))
}
