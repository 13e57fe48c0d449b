package engine

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"net/netip"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// Deduplication (RFC 7252 section 4.5).

// dedup remembers the CONs and NONs that were received. Within one class of lifetime, those
// that arrived first are forgotten first, so two queues take the place of timers.
type dedup struct {
	entries   table[dedupKey, *entry]
	con       list[entry] // all, in order of arrival
	non       list[entry]
	evictable list[entry] // those that may be forgotten early, oldest first
	bytes     int
}

// dedupKey identifies a received message. The hash is one of its bytes and of the local
// address that it was sent to, so that a peer which uses a message ID again for something
// else is served, not answered with a stale reply.
type dedupKey struct {
	peer *peer // nil: nothing is known of the peer
	mid  uint16
	hash uint64
}

// entry is one received message: while a handler works on it, the promise to answer;
// afterwards, the memory of what was answered.
type entry struct {
	gen     uint32
	key     dedupKey
	expires int64
	local   netip.AddrPort
	ifIndex int
	reply   *buffer // what a duplicate is answered with; nil: with an Empty acknowledgement
	token   message.Token
	short   [tokenLength]byte // room for a token of usual length
	bytes   int               // memory that is charged for it

	size       uint16 // of the message, in bytes
	con        bool
	group      bool
	wants      interest
	idempotent bool
	mapped     bool // is found by its key
	pending    bool // the layer above has not answered yet
	acked      bool // an Empty acknowledgement was sent, or is all that will be

	timer     timer // of the Empty acknowledgement, or of a delayed response to a group
	age       links[entry]
	evict     links[entry] // in dedup.evictable
	peerEvict links[entry] // in peer.evictable
}

func ageLinks(x *entry) *links[entry]   { return &x.age }
func evictLinks(x *entry) *links[entry] { return &x.evict }
func peerLinks(x *entry) *links[entry]  { return &x.peerEvict }

// entryCost is what an entry is charged for besides its reply: itself, its share of two
// tables, and of the row of its peer.
const entryCost = 672

func (e *Engine) dedupKey(d *transport.Datagram, h codec.Header) dedupKey {
	var s maphash.Hash
	s.SetSeed(e.hash)
	s.Write(d.Data)
	a := d.Local.Addr().As16()
	s.Write(a[:])
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], d.Local.Port())
	s.Write(port[:])
	return dedupKey{peer: e.findPeer(d), mid: h.MessageID, hash: s.Sum64()}
}

// findEntry returns the memory of an earlier copy of the message with this key.
func (e *Engine) findEntry(key dedupKey) *entry {
	if key.peer == nil {
		return nil
	}
	x, ok := e.dedup.entries.get(key)
	if !ok || x.expires <= e.now {
		return nil
	}
	return x
}

// duplicate answers a message that was received before as it was answered then, without
// processing it.
func (e *Engine) duplicate(d *transport.Datagram, x *entry) {
	e.stats.Duplicates++
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceDuplicate, Peer: peerOf(d, x.key.peer), Datagram: clone(d.Data)})
	}
	switch {
	case !x.con:
		// Silently ignored.
	case x.reply != nil:
		e.send(x.reply, x.route())
	case x.pending && !x.acked:
		// A copy that the network has made: its sender does not retransmit before the
		// acknowledgement is due.
	default:
		// The response went or will go separately (section 5.2.2).
		e.emptyAck(d, x.key.mid)
	}
}

func (x *entry) route() route { return route{peer: x.key.peer, local: x.local, ifIndex: x.ifIndex} }

// remember makes an entry for a message. It fails when the peer table is full, or when the
// message must not be processed twice and there is no memory to make sure of it.
func (e *Engine) remember(d *transport.Datagram, m *message.Message, key dedupKey) (*entry, exchange.DropReason) {
	idempotent := m.Code.IsResponse() || m.Code.IsIdempotent()
	p := e.peer(keyOf(d), d.Remote)
	if p == nil {
		return nil, exchange.DropPeers
	}
	key.peer = p
	// The reply to a request that is not idempotent has to be kept whatever its
	// size: room for it is set aside now.
	cost := entryCost
	if !idempotent {
		cost += bufferRoom(e.limits.MessageSize)
	}
	fits := e.makeMemory(p, cost)
	if !fits && !idempotent {
		e.release(p)
		return nil, exchange.DropMemory
	}
	x := e.entryPool.get()
	*x = entry{
		gen: x.gen, key: key, con: m.Type == message.Confirmable, group: d.Group.IsValid(), idempotent: idempotent,
		local: d.Local, ifIndex: backBy(d.Remote, d.IfIndex), size: uint16(min(len(d.Data), math.MaxUint16)),
	}
	x.timer.owner = x
	if !fits {
		// Served, but not remembered: a duplicate is processed again, as section 4.5
		// allows for idempotent requests.
		e.stats.EvictedReplies++
		return x, exchange.DropNone
	}
	x.mapped = true
	e.dedup.entries.set(key, x)
	e.charge(x, cost)
	x.expires = e.now + int64(e.params.NonLifetime())
	if x.con {
		x.expires = e.now + int64(e.params.ExchangeLifetime())
	}
	e.dedup.ofAge(x).pushBack(x, ageLinks)
	return x, exchange.DropNone
}

// ofAge returns the queue of those that live as long as x.
func (t *dedup) ofAge(x *entry) *list[entry] {
	if x.con {
		return &t.con
	}
	return &t.non
}

// charge changes what x is charged for.
func (e *Engine) charge(x *entry, cost int) {
	e.dedup.bytes += cost - x.bytes
	x.key.peer.bytes += cost - x.bytes
	x.bytes = cost
}

// makeMemory forgets replies to idempotent requests until cost bytes more are within the
// limits, oldest first: those of this peer for its share, anybody's for the whole.
func (e *Engine) makeMemory(p *peer, cost int) bool {
	for p.bytes+cost > e.limits.RememberedBytesPerPeer {
		if !e.evictEntry(p.evictable.head) {
			return false
		}
	}
	for e.dedup.bytes+cost > e.limits.RememberedBytes {
		if !e.evictEntry(e.dedup.evictable.head) {
			return false
		}
	}
	return true
}

func (e *Engine) evictEntry(x *entry) bool {
	if x == nil {
		return false
	}
	e.stats.EvictedReplies++
	e.unmap(x)
	return true
}

// makeEvictable allows to forget x when memory is short. x is not pending.
func (e *Engine) makeEvictable(x *entry) {
	if x.mapped && x.idempotent {
		e.dedup.evictable.pushBack(x, evictLinks)
		x.key.peer.evictable.pushBack(x, peerLinks)
	}
}

// unmap forgets that x was received. A pending x lives on until it is answered.
func (e *Engine) unmap(x *entry) {
	e.dedup.evictable.remove(x, evictLinks)
	x.key.peer.evictable.remove(x, peerLinks)
	e.dedup.ofAge(x).remove(x, ageLinks)
	// A later message with the same key may have taken the place of one that has expired.
	if y, ok := e.dedup.entries.get(x.key); ok && y == x {
		e.dedup.entries.del(x.key)
	}
	e.charge(x, 0)
	x.mapped = false
	if !x.pending {
		e.freeEntry(x)
	}
}

// freeEntry frees an entry that is neither mapped nor pending.
func (e *Engine) freeEntry(x *entry) {
	if x.group && x.timer.pos != 0 {
		// Its response waited for the leisure.
		e.delayed--
		e.stats.Dropped[exchange.DropMemory]++
	}
	e.timers.stop(&x.timer)
	if x.reply != nil {
		e.buffers.unref(x.reply)
	}
	p := x.key.peer
	*x = entry{gen: x.gen + 1}
	e.entryPool.put(x)
	e.release(p)
}

// forgetSlack is by how much entries may outlive their lifetime, so that the driver need
// not wake up for each. They are not found any more meanwhile.
const forgetSlack = int64(2e9)

// next is when expired entries should be removed.
func (t *dedup) next() (int64, bool) {
	at, ok := int64(0), false
	for _, l := range [...]*list[entry]{&t.con, &t.non} {
		if l.head != nil && (!ok || l.head.expires+forgetSlack < at) {
			at, ok = l.head.expires+forgetSlack, true
		}
	}
	return at, ok
}

// expireEntries removes expired entries, at most n of each kind.
func (e *Engine) expireEntries(n int) {
	for _, l := range [...]*list[entry]{&e.dedup.con, &e.dedup.non} {
		for i := 0; i < n && l.head != nil && l.head.expires <= e.now; i++ {
			e.unmap(l.head)
		}
	}
}
