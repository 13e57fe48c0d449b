package blockwise

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/entropy"
)

// tags tells apart operations that a server would mix up, by a Request-Tag (RFC 9175 section
// 3.5.2). The first of several goes without, which is shortest. A tag is used once only, so no
// tag is recycled (section 3.4).
//
// Only transfers in blocks are known here: most requests need one message and are not slowed down.
type tags struct {
	active atomic.Int64 // len(absent)

	mu     sync.Mutex
	absent map[uint64]time.Time // operations without a tag, by hash: zero while under way, else until when their blocks may be on their way
	next   uint64
}

// maxAbsent bounds tags.absent; when it is full, each operation gets a tag.
const maxAbsent = 4096

// fresh returns a tag that was not used before.
func (t *tags) fresh() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.freshLocked()
}

func (t *tags) freshLocked() []byte {
	if t.next == 0 {
		// A client that was started again on the same port should not begin with the same.
		t.next = uint64(entropy.N(1 << 15))
	}
	t.next++
	b := binary.BigEndian.AppendUint64(nil, t.next)
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// clashes reports whether a request may be taken for a part of an operation that goes without tag.
func (t *tags) clashes(now time.Time, r *exchange.Request) bool {
	if t.active.Load() == 0 || isSafe(r.Code) {
		return false
	}
	h := operationHash(r)
	t.mu.Lock()
	defer t.mu.Unlock()
	until, is := t.absent[h]
	return is && (until.IsZero() || until.After(now))
}

// acquire returns the tag for an operation, nil if it goes without: then release has to follow.
func (t *tags) acquire(now time.Time, r *exchange.Request) (h uint64, tag []byte) {
	h = operationHash(r)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.purge(now)
	if _, is := t.absent[h]; is || len(t.absent) >= maxAbsent {
		return h, t.freshLocked()
	}
	if t.absent == nil {
		t.absent = make(map[uint64]time.Time)
	}
	t.absent[h] = time.Time{}
	t.active.Store(int64(len(t.absent)))
	return h, nil
}

// release ends an operation without tag, requests of which may still arrive before until.
func (t *tags) release(h uint64, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.absent[h] = until
}

// purge forgets operations whose messages have all arrived or are lost. The lock is held.
func (t *tags) purge(now time.Time) {
	for h, until := range t.absent {
		if !until.IsZero() && !until.After(now) {
			delete(t.absent, h)
		}
	}
	t.active.Store(int64(len(t.absent)))
}

// operationHash tells operations apart that go to the same server or to another. Two with the same
// hash get a tag that they would not need, no more.
func operationHash(r *exchange.Request) uint64 {
	var tmp [256]byte
	to := struct {
		addr netip.AddrPort
		name exchange.Authority
	}{r.To, r.Authority}
	return hash(appendOperation(tmp[:0], r.Code, &r.Options)) ^ maphash.Comparable(seed, to)
}
