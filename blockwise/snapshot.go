package blockwise

import (
	"bytes"
	"io"
	"time"

	"github.com/coapkit/coap/message"
)

// snapshotKey names a served representation, whoever asks for it.
type snapshotKey struct{ op, etag string }

// snapshot is a body that was served, with what belongs to it. It never changes, so peers share it
// and its bytes may be sent after it was forgotten.
//
// A peer gets blocks of it only after the handler has given that very body to a request
// of this peer: access is decided by the handler, each time (RFC 7959 section 7).
type snapshot struct {
	key     snapshotKey
	code    message.Code
	options message.Options // without Block and Size options
	body    []byte
	made    time.Time
	shared  bool // it is in table.snapshots
	refs    int
	cost    int
}

// share returns the snapshot for what a handler has answered: one that is kept already, or a new
// one, for which it makes room. It returns nil if there is none.
func (t *table) share(now time.Time, e *entry, k snapshotKey, code message.Code, options *message.Options, body []byte) *snapshot {
	old := t.snapshots[k]
	// Equal tags of unequal bodies are a mistake of the handler, or the bodies depend on who
	// asks. It must not become our mistake.
	if old != nil && old.code == code && bytes.Equal(old.body, body) && old.options.Equal(options) {
		old.refs++ // before others go
		if !t.charge(e, 0, old.cost) {
			t.unshare(old)
			return nil
		}
		return old
	}
	s := &snapshot{key: k, code: code, made: now, refs: 1, cost: len(body)}
	if !t.charge(e, s.cost, s.cost) {
		return nil
	}
	t.account(e, -s.cost, 0) // it is the snapshot's from now on, and goes with the last reference
	t.bytes += s.cost
	s.options, s.body = options.Clone(), bytes.Clone(body)
	t.stats.Snapshots++
	if t.snapshots[k] == nil {
		s.shared = true
		t.snapshots[k] = s
	}
	return s
}

func (t *table) unshare(s *snapshot) {
	if s.refs--; s.refs > 0 {
		return
	}
	t.bytes -= s.cost
	t.stats.Snapshots--
	if s.shared {
		delete(t.snapshots, s.key)
	}
}

// download is what a peer may ask for more blocks of: a snapshot, or a reader.
type download struct {
	alias key // under which it is found, too, if it answers a FETCH

	snap *snapshot
	next int64 // behind the last byte that the peer has asked for, or where it asks a reader
	left int64 // bytes that it has not asked for yet, if it asks for none twice
	end  bool  // it has asked for the last block

	// Without a snapshot; used by whoever has set busy.
	live    source
	body    io.Reader // to be closed
	code    message.Code
	options message.Options
}

// reach is how far from where it is expected a peer may ask for a block, in blocks: it may have asked
// for several at a time, which come in any order.
const reach = 64

// expects reports whether a request for this block is part of this transfer. A peer that asks for
// a place further away may mean another version, of which it was notified.
func (d *download) expects(b Block) bool {
	way := b.Offset() - d.next
	return d.snap == nil || max(way, -way) <= reach<<(b.SZX+4)
}

// asked notes that the peer was given n bytes from off on. It reports whether it has asked for all.
func (d *download) asked(off int64, n int, more bool) (all bool) {
	d.next = max(d.next, off+int64(n))
	d.left -= int64(n)
	d.end = d.end || !more
	return d.end && d.left <= 0
}
