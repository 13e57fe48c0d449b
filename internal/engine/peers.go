package engine

import (
	"encoding/binary"
	"hash/maphash"
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

// longKey is the key of a row that is keyed, and what is kept about it besides.
type longKey struct {
	peerKey
	over  bool // the session has ended
	fixed fifo // remembered messages that may not be forgotten early, oldest first
}

func keyOf(d *transport.Datagram) peerKey {
	if d.Session != nil {
		return peerKey{session: d.Session}
	}
	return peerKey{addr: d.Remote}
}

// row is what is kept about every remote endpoint. It exists while an exchange, a remembered
// message or a message ID within its lifetime needs it. There may be a million: it has no pointer,
// and what only peers need that we send something to by ourselves is in peer.
type row struct {
	hash      uint32   // by which it is found
	addr      [16]byte // or the number of the whole peerKey in Engine.keys, see bits
	peer      uint32   // in Engine.peers
	refs      int32    // exchanges, records and requests in handlers
	handling  int32    // its requests in handlers
	pinned    int32    // its remembered messages that may not be forgotten
	bytes     int32    // memory of all its remembered messages
	evictable fifo     // its remembered messages that may be forgotten, oldest first
	port      uint16
	bits      uint8 // of the address: 0, 32 or 128; keyed if the key is more than address and port
	verified  bool  // has returned a token of ours
}

const keyed = 255

// key returns the number of the key of r, which is keyed, in Engine.keys.
func (r *row) key() uint32 { return binary.BigEndian.Uint32(r.addr[:]) }

// is reports whether k is the key of r.
func (e *Engine) is(r *row, k peerKey) bool {
	if r.bits == keyed {
		own := e.keys.at(r.key())
		return own.session == k.session && (k.session != nil || own.addr == k.addr)
	}
	a := k.addr.Addr()
	return k.session == nil && k.addr.Port() == r.port && a.As16() == r.addr && a.BitLen() == int(r.bits) && a.Zone() == ""
}

// keyOfRow returns the key of r, and the address also where there is a session.
func (e *Engine) keyOfRow(r *row) peerKey {
	if r.bits == keyed {
		return e.keys.at(r.key()).peerKey
	}
	a := netip.AddrFrom16(r.addr)
	switch r.bits {
	case 0:
		a = netip.Addr{}
	case 32:
		a = a.Unmap()
	}
	return peerKey{addr: netip.AddrPortFrom(a, r.port)}
}

func (e *Engine) hashOf(k peerKey) uint32 {
	a := k.addr.Addr()
	if k.session != nil || a.Zone() != "" {
		return uint32(maphash.Comparable(e.hash, k))
	}
	var b [18]byte // which are hashed much faster than a struct
	as16 := a.As16()
	copy(b[:], as16[:])
	binary.BigEndian.PutUint16(b[16:], k.addr.Port())
	return uint32(maphash.Bytes(e.hash, b[:]))
}

// findRow returns the number of the row for k, 0 if nothing is known of that peer.
func (e *Engine) findRow(k peerKey) uint32 { return e.lookUp(k, e.hashOf(k)) }

func (e *Engine) lookUp(k peerKey, hash uint32) uint32 {
	return e.rows.find(hash, func(r *row) bool { return e.is(r, k) })
}

// row returns the row for k with one more reference, or 0 if the table is full of
// rows that are in use.
func (e *Engine) row(k peerKey, addr netip.AddrPort) uint32 {
	hash := e.hashOf(k)
	return e.refer(e.lookUp(k, hash), k, hash, addr)
}

// refer returns row i with one more reference. If i is 0, it makes the row for k, which has this hash.
func (e *Engine) refer(i uint32, k peerKey, hash uint32, addr netip.AddrPort) uint32 {
	if i == 0 {
		if e.rows.live >= e.limits.Peers && !e.evictPeer() {
			return 0
		}
		i = e.rows.get()
		r := e.rows.at(i)
		*r = row{hash: hash, addr: addr.Addr().As16(), port: addr.Port(), bits: uint8(addr.Addr().BitLen())}
		if k.session != nil || addr.Addr().Zone() != "" {
			i := e.keys.get()
			*e.keys.at(i) = longKey{peerKey: peerKey{addr: addr, session: k.session}}
			binary.BigEndian.PutUint32(r.addr[:], i)
			r.bits = keyed
		}
		e.rows.add(i, hash)
	}
	r := e.rows.at(i)
	if r.refs == 0 && r.peer != 0 {
		pull(&e.resting, &e.peers, r.peer, byRest)
	}
	r.refs++
	return i
}

// evictPeer forgets a peer that is kept for the sake of message IDs or of replies to
// idempotent requests only, the one that has been idle for longest.
func (e *Engine) evictPeer() bool {
	before := e.rows.live
	for range 16 { // one peer may have many records: do not stay here for long
		if p := e.resting.head; p != 0 {
			e.forget(e.peers.at(p).row)
		} else if !e.evictRecord(e.oldestEvictable()) {
			return false
		}
		if e.rows.live < before {
			e.stats.EvictedPeers++
			return true
		}
	}
	return false
}

// release gives back a reference to row i, which may be the last.
func (e *Engine) release(i uint32) {
	r := e.rows.at(i)
	if r.refs--; r.refs > 0 {
		return
	}
	if r.peer == 0 {
		e.forget(i)
		return
	}
	push(&e.resting, &e.peers, r.peer, byRest)
}

// forget removes row i, which nothing refers to.
func (e *Engine) forget(i uint32) {
	r := e.rows.at(i)
	if r.peer != 0 {
		e.forgetPeer(r)
	}
	if r.bits == keyed {
		e.keys.put(r.key())
	}
	e.rows.remove(i, r.hash)
}

// peer is what is kept about a remote endpoint that we send messages of our own to. It exists while an
// exchange or a message ID within its lifetime needs it, or the memory of its silence.
type peer struct {
	row uint32
	// outstanding counts the interactions that NSTART limits (section 4.7).
	outstanding int32
	mids        midAllocator
	exchanges   list[exchangeState] // all of ours with this peer
	held        *held               // nil if nothing ever had to wait
	timer       timer               // wakes the queue, or forgets
	rest        near                // in Engine.resting, if nothing refers to the row
}

// held is what NSTART and PROBING_RATE hold back.
type held struct {
	waiting []*exchangeState // those that may not start yet, in order
	// probeFree is when the next Non-confirmable request may go to a peer that did not
	// answer the last ones, given PROBING_RATE (section 4.7). probeEnd is when all that
	// have gone since its last answer are paid for.
	probeFree, probeEnd int64
}

func byRest(p *peer) *near { return &p.rest }

// waiting returns the exchanges that may not start yet.
func (p *peer) waiting() []*exchangeState {
	if p.held == nil {
		return nil
	}
	return p.held.waiting
}

// probeFree returns when PROBING_RATE allows the next Non-confirmable request.
func (p *peer) probeFree() int64 {
	if p.held == nil {
		return 0
	}
	return p.held.probeFree
}

// hold returns what is held back, to be changed.
func (p *peer) hold() *held {
	if p.held == nil {
		p.held = new(held)
	}
	return p.held
}

// peer returns the peer of row i, which it makes if there was none. Whoever takes a message ID and starts
// no exchange calls rest.
func (e *Engine) peer(i uint32) *peer {
	r := e.rows.at(i)
	if r.peer == 0 {
		r.peer = e.peers.get()
		p := e.peers.at(r.peer)
		p.row, p.timer.owner = i, p
	}
	return e.peers.at(r.peer)
}

// findPeer returns the peer that has sent d, or nil if we have nothing to do with it.
func (e *Engine) findPeer(d *transport.Datagram) *peer {
	i := e.findRow(keyOf(d))
	if i == 0 || e.rows.at(i).peer == 0 {
		return nil
	}
	return e.peers.at(e.rows.at(i).peer)
}

// isVerified reports whether the sender of d has returned a token of ours.
func (e *Engine) isVerified(d *transport.Datagram) bool {
	i := e.findRow(keyOf(d))
	return i != 0 && e.rows.at(i).verified
}

// rest is called when p has no exchange any more. It is kept as long as one of its message IDs is
// within its lifetime, and PROBING_RATE remembers that it is silent.
func (e *Engine) rest(p *peer) {
	p.mids.expire(e.now)
	until := p.probeFree()
	if p.mids.live > 0 {
		until = max(until, p.mids.lastFree())
	}
	if e.over(p.row) {
		until = 0
	}
	if until > e.now {
		if p.timer.pos == 0 || p.timer.at > until {
			e.timers.set(&p.timer, until) // an earlier one looks again
		}
		return
	}
	r := e.rows.at(p.row)
	if r.refs == 0 {
		e.forget(p.row)
		return
	}
	e.forgetPeer(r)
}

func (e *Engine) forgetPeer(r *row) {
	p := e.peers.at(r.peer)
	e.timers.stop(&p.timer)
	if r.refs == 0 {
		pull(&e.resting, &e.peers, r.peer, byRest)
	}
	e.peers.put(r.peer)
	r.peer = 0
}

// expired is called when a message ID, the probing rate or the end of a lifetime allows
// something that was not allowed before.
func (p *peer) expired(e *Engine) {
	if p.exchanges.head != nil {
		e.pump(p)
		return
	}
	e.rest(p)
}

// takeMID takes a message ID for a message to p. Its lifetime starts now.
func (e *Engine) takeMID(p *peer, lifetime int64) (uint16, bool) {
	return p.mids.take(e.now, lifetime, 0, midsForPeers, e.rand.Uint32)
}
