package engine

import (
	"net/netip"

	"github.com/coapkit/coap/transport"
)

// peerKey tells endpoints apart: the secure session or connection where there is one, else
// the address (RFC 7252 section 4.1). The local address is not part of it: message IDs
// are unique per remote endpoint whatever local address they leave from. It takes part in
// finding duplicates and in matching instead.
type peerKey struct {
	addr    netip.AddrPort
	session *transport.Session
}

func keyOf(d *transport.Datagram) peerKey {
	if d.Session != nil {
		return peerKey{session: d.Session}
	}
	return peerKey{addr: d.Remote}
}

// peer is a row of the table: everything kept about one remote endpoint. It exists while an
// exchange, a remembered message or a message ID within its lifetime needs it.
type peer struct {
	key  peerKey
	refs int // exchanges and entries

	mids      midAllocator
	exchanges list[exchangeState] // all of ours with this peer
	waiting   []*exchangeState    // those that may not start yet, in order
	// outstanding counts the interactions that NSTART limits (section 4.7).
	outstanding int
	// probeFree is when the next Non-confirmable request may go to a peer that did not
	// answer the last ones, given PROBING_RATE (section 4.7). probeEnd is when all that
	// have gone since its last answer are paid for.
	probeFree, probeEnd int64

	handling  int         // its requests in handlers
	evictable list[entry] // its remembered messages that may be forgotten, oldest first
	bytes     int         // memory of all its remembered messages
	verified  bool        // has returned a token of ours

	timer timer // wakes the queue, or forgets the row
	rest  links[peer]
}

func restLinks(p *peer) *links[peer] { return &p.rest }

func (e *Engine) findPeer(d *transport.Datagram) *peer {
	p, _ := e.peers.get(keyOf(d))
	return p
}

// peer returns the row for key with one more reference, or nil if the table is full of
// rows that are in use.
func (e *Engine) peer(key peerKey, addr netip.AddrPort) *peer {
	p, ok := e.peers.get(key)
	if !ok {
		if e.peers.len() >= e.limits.Peers && !e.evictPeer() {
			return nil
		}
		p = e.peerPool.get()
		p.key = peerKey{addr: addr, session: key.session}
		p.timer.owner = p
		e.peers.set(key, p)
	}
	if p.rest.in {
		e.resting.remove(p, restLinks)
	}
	p.refs++
	return p
}

// evictPeer forgets a peer that is kept for the sake of message IDs or of replies to
// idempotent requests only, the one that has been idle for longest.
func (e *Engine) evictPeer() bool {
	before := e.peers.len()
	for range 16 { // one peer may have many entries: do not stay here for long
		if p := e.resting.head; p != nil {
			e.forget(p)
		} else if !e.evictEntry(e.dedup.evictable.head) {
			return false
		}
		if e.peers.len() < before {
			e.stats.EvictedPeers++
			return true
		}
	}
	return false
}

// release gives back a reference to p, which may be the last.
func (e *Engine) release(p *peer) {
	if p.refs--; p.refs > 0 {
		return
	}
	p.mids.expire(e.now)
	until := max(p.probeFree, 0)
	if p.mids.live > 0 {
		until = max(until, p.mids.lastFree())
	}
	if until <= e.now {
		e.forget(p)
		return
	}
	e.resting.pushBack(p, restLinks)
	e.timers.set(&p.timer, until)
}

func (e *Engine) forget(p *peer) {
	e.timers.stop(&p.timer)
	e.resting.remove(p, restLinks)
	e.peers.del(p.tableKey())
	*p = peer{mids: midAllocator{buckets: p.mids.buckets[:0]}, waiting: p.waiting[:0]}
	e.peerPool.put(p)
}

func (p *peer) tableKey() peerKey {
	if p.key.session != nil {
		return peerKey{session: p.key.session}
	}
	return p.key
}

// expired is called when a message ID, the probing rate or the end of a lifetime allows
// something that was not allowed before.
func (p *peer) expired(e *Engine) {
	if p.refs > 0 {
		e.pump(p)
		return
	}
	p.refs++ // look again whether anything is left to remember
	e.resting.remove(p, restLinks)
	e.release(p)
}

// takeMID takes a message ID for a message to p. Its lifetime starts now.
func (e *Engine) takeMID(p *peer, lifetime int64) (uint16, bool) {
	return p.mids.take(e.now, lifetime, 0, midsForPeers, e.rand.Uint32)
}
