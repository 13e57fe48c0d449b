package engine

import (
	"encoding/binary"
	"hash/maphash"
	"math"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// Deduplication (RFC 7252 section 4.5).

// dedup remembers the CONs and NONs that were received.
type dedup struct {
	records hashed[record]
	// In each queue all live equally long, and those in front have arrived first: queues take
	// the place of timers. Records that may be forgotten early have queues of their own, where
	// what was answered late is behind what was answered before it.
	queues  [lifetimes][2]fifo // the second of each pair: evictable
	replies replies
	bytes   int
	soonest int64 // before that no record has to be removed, but for one that was answered late
}

// The lifetimes of what is remembered.
const (
	lifetimeNon = iota
	lifetimeCon
	lifetimes
)

// dedupKey identifies a received message. The hash is one of its bytes and of the local
// address that it was sent to, so that a peer which uses a message ID again for something
// else is served, not answered with a stale reply.
type dedupKey struct {
	row  uint32 // 0: nothing is known of the peer
	peer uint32 // the hash of the peer
	hash uint64
}

// record is the memory of one received message. There may be a million: it has no pointer, and
// what only a request in a handler needs is in incoming.
type record struct {
	hash    uint64 // of the message
	bucket  uint32 // the hash by which it is found
	row     uint32
	expires int64
	age     near   // in dedup.queues
	ofPeer  near   // in row.evictable, or in longKey.fixed
	reply   uint32 // what a duplicate is answered with, or the number of the request that is open
	size    uint16 // of the reply; 0: there is none
	flags   recordFlags
}

func byAge(r *record) *near  { return &r.age }
func byPeer(r *record) *near { return &r.ofPeer }

type recordFlags uint8

const (
	flagCon       recordFlags = 1 << iota
	flagOpen                  // its request is not answered yet: see incoming
	flagEvictable             // may be forgotten early
	flagPinned                // answers a request that is not idempotent: must not be forgotten early
	flagAnswering             // its response is on its way, see Engine.answering
)

// recordCost is what a record is charged for besides its reply: itself and the row of its
// peer, their buckets, and what chunks in part use takes.
const recordCost = 144

func (r *record) lifetime() int {
	if r.flags&flagCon != 0 {
		return lifetimeCon
	}
	return lifetimeNon
}

// queue returns the queue that r is in.
func (t *dedup) queue(r *record) *fifo {
	if r.flags&flagEvictable != 0 {
		return &t.queues[r.lifetime()][1]
	}
	return &t.queues[r.lifetime()][0]
}

func (e *Engine) dedupKey(d *transport.Datagram) dedupKey {
	// Nobody can choose bytes that make up for another local address, since the hash of the bytes is keyed.
	local := d.Local.Addr().As16()
	hash := maphash.Bytes(e.hash, d.Data) ^
		(binary.BigEndian.Uint64(local[:8])+uint64(d.Local.Port())*0x9E3779B97F4A7C15)*0xBF58476D1CE4E5B9 ^
		binary.BigEndian.Uint64(local[8:])*0x94D049BB133111EB
	peer := keyOf(d)
	by := e.hashOf(peer)
	return dedupKey{row: e.lookUp(peer, by), peer: by, hash: hash}
}

// bucket returns the hash by which the record with this key is found.
func (k dedupKey) bucket() uint32 { return uint32(k.hash) ^ k.peer }

// findRecord returns the number of the memory of an earlier copy of the message with this key,
// 0 if there is none.
func (e *Engine) findRecord(key dedupKey) uint32 {
	if key.row == 0 {
		return 0
	}
	return e.dedup.records.find(key.bucket(), func(r *record) bool {
		return r.hash == key.hash && r.row == key.row && r.expires > e.now
	})
}

// duplicate answers a message that was received before as it was answered then, without
// processing it. The hash is one of the local address, too, so that the answer leaves from
// where the first one did.
func (e *Engine) duplicate(d *transport.Datagram, mid uint16, i uint32) {
	r := e.dedup.records.at(i)
	e.stats.Duplicates++
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceDuplicate, Peer: peerOf(d, e.rows.at(r.row).verified), Datagram: clone(d.Data)})
	}
	switch {
	case r.flags&flagCon == 0:
		// Silently ignored.
	case r.size > 0:
		e.sendStateless(e.dedup.replies.get(r.reply, int(r.size), &e.buffers), d)
	case r.flags&flagOpen != 0 && !e.incoming.at(r.reply).acked:
		// A copy that the network has made: its sender does not retransmit before the
		// acknowledgement is due.
	default:
		// The response went or will go separately (section 5.2.2).
		e.emptyAck(d, mid)
	}
}

// remember makes a record of a message and returns its number and that of the row of its peer,
// with one more reference for the caller. The record is 0 if there is no memory for it:
// a duplicate is processed again then, as section 4.5 allows for idempotent requests. The row is 0
// when the peer table is full, or when the message must not be processed twice and there
// is no memory to make sure of it.
func (e *Engine) remember(d *transport.Datagram, m *message.Message, key dedupKey) (row, i uint32, why exchange.DropReason) {
	idempotent := isIdempotent(m.Code)
	if idempotent || e.mayPin(key.row) {
		row = e.refer(key.row, keyOf(d), key.peer, d.Remote)
	}
	if row == 0 {
		return 0, 0, exchange.DropPeers
	}
	if !e.makeMemory(row, e.setAside(m.Code, d.Group.IsValid())) {
		if !idempotent {
			e.release(row)
			return 0, 0, exchange.DropMemory
		}
		e.stats.EvictedReplies++
		return row, 0, exchange.DropNone
	}
	i = e.dedup.records.get()
	r := e.dedup.records.at(i)
	*r = record{hash: key.hash, bucket: key.bucket(), row: row}
	if m.Type == message.Confirmable {
		r.flags = flagCon
	}
	r.expires = e.now + e.lifetimes[r.lifetime()]
	e.dedup.soonest = min(e.dedup.soonest, r.expires)
	e.rows.at(row).refs++
	if !idempotent {
		e.pin(r, 1)
	}
	e.dedup.records.add(i, r.bucket)
	push(e.dedup.queue(r), &e.dedup.records.slots, i, byAge)
	if q := e.fixed(row); q != nil {
		push(q, &e.dedup.records.slots, i, byPeer)
	}
	return row, i, exchange.DropNone
}

// mayPin reports whether a message of the peer of this row, 0 for a new one, may be remembered that may not be
// forgotten early. Some of the table is for peers without such, which can make room for each other: else who
// forges the addresses of requests that are not idempotent would shut out everybody.
func (e *Engine) mayPin(row uint32) bool {
	return e.pinned < e.limits.Peers-e.limits.Peers/8 || row != 0 && e.rows.at(row).pinned > 0
}

// pin notes that there is one more or less record of a peer that may not be forgotten.
func (e *Engine) pin(r *record, more int32) {
	p := e.rows.at(r.row)
	if p.pinned == 0 {
		e.pinned++
	}
	r.flags ^= flagPinned
	if p.pinned += more; p.pinned == 0 {
		e.pinned--
	}
}

// setAside returns the memory that a message with this code is charged for at first. The reply to a
// request that is not idempotent has to be kept whatever its size, that to a group in its buffer
// for a while.
func (e *Engine) setAside(c message.Code, group bool) int {
	switch size := e.limits.MessageSize; {
	case isIdempotent(c):
		return recordCost
	case group:
		return recordCost + max(delayCost+bufferRoom(size), replyRoom(size))
	default:
		return recordCost + replyRoom(size)
	}
}

// isIdempotent reports whether a message with this code may be processed again.
func isIdempotent(c message.Code) bool { return c.IsResponse() || c.IsIdempotent() }

// charge changes what a peer is charged for.
func (e *Engine) charge(row uint32, more int) {
	e.dedup.bytes += more
	e.rows.at(row).bytes += int32(more)
}

// charged returns what r is charged for.
func (e *Engine) charged(r *record) int {
	if r.flags&flagOpen != 0 {
		return e.incoming.at(r.reply).charged
	}
	return recordCost + replyRoom(int(r.size))
}

// makeMemory forgets replies to idempotent requests until cost bytes more are within the
// limits, oldest first: those of this peer for its share, anybody's for the whole.
func (e *Engine) makeMemory(row uint32, cost int) bool {
	p := e.rows.at(row)
	for int(p.bytes)+cost > e.limits.RememberedBytesPerPeer {
		if !e.evictRecord(p.evictable.head) {
			return false
		}
	}
	for e.dedup.bytes+cost > e.limits.RememberedBytes {
		if !e.evictRecord(e.oldestEvictable()) {
			return false
		}
	}
	return true
}

// oldestEvictable returns the first to be forgotten early, the one that has arrived first, or 0.
func (e *Engine) oldestEvictable() uint32 {
	con, non := e.dedup.queues[lifetimeCon][1].head, e.dedup.queues[lifetimeNon][1].head
	if con == 0 || non == 0 {
		return con | non
	}
	if e.dedup.records.at(con).expires-e.lifetimes[lifetimeCon] <= e.dedup.records.at(non).expires-e.lifetimes[lifetimeNon] {
		return con
	}
	return non
}

func (e *Engine) evictRecord(i uint32) bool {
	if i == 0 {
		return false
	}
	e.stats.EvictedReplies++
	e.forgetRecord(i)
	return true
}

// makeEvictable allows to forget record i when memory is short.
func (e *Engine) makeEvictable(i uint32) {
	r := e.dedup.records.at(i)
	if r.flags&flagPinned != 0 {
		e.pin(r, -1)
	}
	pull(e.dedup.queue(r), &e.dedup.records.slots, i, byAge)
	if q := e.fixed(r.row); q != nil {
		pull(q, &e.dedup.records.slots, i, byPeer)
	}
	r.flags |= flagEvictable
	push(e.dedup.queue(r), &e.dedup.records.slots, i, byAge)
	push(&e.rows.at(r.row).evictable, &e.dedup.records.slots, i, byPeer)
}

// forgetRecord forgets that a message was received. Its request, if it is open, goes on without.
func (e *Engine) forgetRecord(i uint32) {
	r := e.dedup.records.at(i)
	row := r.row
	e.charge(row, -e.charged(r))
	if r.flags&flagPinned != 0 {
		e.pin(r, -1)
	}
	pull(e.dedup.queue(r), &e.dedup.records.slots, i, byAge)
	if r.flags&flagEvictable != 0 {
		pull(&e.rows.at(row).evictable, &e.dedup.records.slots, i, byPeer)
	} else if q := e.fixed(row); q != nil {
		pull(q, &e.dedup.records.slots, i, byPeer)
	}
	if r.flags&flagOpen != 0 {
		x := e.incoming.at(r.reply)
		x.record, x.charged = 0, 0
		if x.delayed != nil {
			e.stats.Dropped[exchange.DropMemory]++
			e.endDelay(x)
		}
	} else {
		if r.flags&flagAnswering != 0 {
			e.answering[i].answers = 0
			delete(e.answering, i)
		}
		e.dedup.replies.forget(r.reply, int(r.size), &e.buffers)
	}
	e.dedup.records.remove(i, r.bucket)
	e.release(row)
}

// forgetSlack is by how much records may outlive their lifetime, so that the driver need
// not wake up for each. They are not found any more meanwhile.
const forgetSlack = int64(2e9)

// next is when expired records should be removed.
func (t *dedup) next() (int64, bool) {
	at, ok := int64(0), false
	for class := range t.queues {
		for _, q := range t.queues[class] {
			if q.head == 0 {
				continue
			}
			if due := t.records.at(q.head).expires + forgetSlack; !ok || due < at {
				at, ok = due, true
			}
		}
	}
	return at, ok
}

// forgetSome makes forgetting keep pace with remembering.
func (e *Engine) forgetSome() {
	if e.now >= e.dedup.soonest {
		e.expireRecords(2)
	}
}

// expireRecords removes expired records, at most n of each queue.
func (e *Engine) expireRecords(n int) {
	e.dedup.soonest = math.MaxInt64
	for class := range e.dedup.queues {
		for k := range e.dedup.queues[class] {
			q := &e.dedup.queues[class][k]
			for i := 0; i < n && q.head != 0 && e.dedup.records.at(q.head).expires <= e.now; i++ {
				e.forgetRecord(q.head)
			}
			if q.head != 0 {
				e.dedup.soonest = min(e.dedup.soonest, e.dedup.records.at(q.head).expires)
			}
		}
	}
}
