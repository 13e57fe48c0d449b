package engine

import (
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/transport"
)

// What ends with a secure session. It never comes back: no answer can come, and nothing can be a duplicate.

// endSession ends all exchanges with the peer at the other end of d.Session, and forgets what has come from it. A
// request that is still in a handler keeps the row until it is answered, which is not sent. d has Data if that could not be sent
// because the session had ended.
func (e *Engine) endSession(d *transport.Datagram) {
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceUndelivered, Peer: peerOf(d, false), Datagram: clone(d.Data), Err: d.Err})
	}
	key := keyOf(d)
	hash := e.hashOf(key)
	i := e.lookUp(key, hash)
	if i == 0 {
		if d.Data != nil {
			e.stats.Dropped[exchange.DropSessionEnded]++
		}
		return
	}
	e.refer(i, key, hash, d.Remote) // lest it goes meanwhile
	r := e.rows.at(i)
	k := e.keys.at(r.key())
	k.over = true
	if r.peer != 0 {
		e.endExchanges(e.peers.at(r.peer), d)
	}
	if r.peer != 0 {
		e.rest(e.peers.at(r.peer)) // there was no exchange
	}
	for k.fixed.head != 0 {
		e.forgetRecord(k.fixed.head)
	}
	for r.evictable.head != 0 {
		e.forgetRecord(r.evictable.head)
	}
	e.release(i)
}

// endExchanges ends all exchanges with p, whose session has ended.
func (e *Engine) endExchanges(p *peer, d *transport.Datagram) {
	if h, err := codec.ParseHeader(d.Data); err == nil {
		if x, ok := e.mids.get(midKey{p, h.MessageID}); ok {
			x.unsent = x.retransmission.count == 0 && !x.renewed
		}
	}
	for _, x := range p.waiting() {
		x.unsent = !x.renewed
	}
	for p.exchanges.head != nil {
		e.end(p.exchanges.head, exchange.ErrSessionEnded, d.Err)
	}
}

// over reports whether the peer of a row was at the other end of a session that has ended.
func (e *Engine) over(row uint32) bool {
	r := e.rows.at(row)
	return r.bits == keyed && e.keys.at(r.key()).over
}

// fixed returns the queue of what is remembered of the peer of a row and may not be forgotten early, nil if there is
// none: only the end of a session has to find it.
func (e *Engine) fixed(row uint32) *fifo {
	r := e.rows.at(row)
	if r.bits != keyed {
		return nil
	}
	return &e.keys.at(r.key()).fixed
}
