package blockwise

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"slices"

	"github.com/coapkit/coap/message"
)

// upload is the body of a request on its way in. It is pure: what it says is put into effect by
// the Server, which guards it by its lock.
type upload struct {
	first  message.Options // of the first block, without Block options: those of the request
	block2 Block           // of the first block, if has2: how the client wants the response
	has2   bool

	limit int64
	next  int64   // offset of the block that has to come next
	body  []byte  // what has come, unless it is streamed
	most  int     // how many blocks may wait for their turn
	early []piece // those that do, by offset
	waits int     // what they occupy

	feed *feed  // to the handler, if it is streamed
	last uint64 // hash of the last block then
	size int    // and its length
}

// piece is a block that has come before its turn.
type piece struct {
	off  int64
	data []byte
}

// pieceBytes is what a piece occupies besides its data.
const pieceBytes = 48

// verdict is what becomes of a block.
type verdict uint8

const (
	takeBlock   verdict = iota // the next one
	repeatBlock                // has come before: to be acknowledged again, nothing else
	earlyBlock                 // to be kept until it is the next one
	otherBlock                 // is not what came before at its place (4.08)
	gapBlock                   // not in sequence (4.08)
	largeBlock                 // exceeds the limit (4.13)
)

// judge decides about a block with NUM greater than 0. Its length has been checked.
func (u *upload) judge(b Block, payload []byte) verdict {
	off := b.Offset()
	end := off + int64(len(payload))
	switch {
	case off == u.next && end > u.limit:
		return largeBlock
	case off == u.next:
		return takeBlock
	case off < u.next && end <= u.next && b.More && u.holds(off, payload):
		return repeatBlock
	case off < u.next && u.feed == nil:
		return otherBlock
	case b.More && u.feed == nil && end < u.limit && off <= u.next+int64(u.most)*int64(b.Size()):
		return u.judgeEarly(off, payload)
	}
	return gapBlock
}

// judgeEarly decides about a block that is not far from the next.
func (u *upload) judgeEarly(off int64, payload []byte) verdict {
	i, found := u.find(off)
	switch {
	case found && bytes.Equal(u.early[i].data, payload):
		return repeatBlock
	case found:
		return otherBlock
	case len(u.early) >= u.most:
		return gapBlock
	}
	return earlyBlock
}

func (u *upload) find(off int64) (i int, found bool) {
	return slices.BinarySearchFunc(u.early, off, func(p piece, off int64) int { return cmp.Compare(p.off, off) })
}

// keep keeps a copy of a block that has come before its turn.
func (u *upload) keep(off int64, payload []byte) {
	i, _ := u.find(off)
	u.early = slices.Insert(u.early, i, piece{off, bytes.Clone(payload)})
	u.waits += len(payload) + pieceBytes
}

// turn returns the kept block whose turn it is, nil if it has not come. last says that the last block has been
// taken. ok is false if the blocks contradict each other: one of other size than those around it says otherwise
// than they about the same bytes, or one lies behind the last.
func (u *upload) turn(last bool) (data []byte, ok bool) {
	if last && len(u.early) > 0 {
		return nil, false
	}
	for len(u.early) > 0 && u.early[0].off <= u.next {
		p := u.early[0]
		if p.off == u.next {
			return p.data, true
		}
		if p.off+int64(len(p.data)) > u.next || !u.holds(p.off, p.data) {
			return nil, false
		}
		u.early = slices.Delete(u.early, 0, 1)
		u.waits -= len(p.data) + pieceBytes
	}
	return nil, true
}

// holds reports whether payload came before at this offset. Of a stream only the last block is
// known.
func (u *upload) holds(off int64, payload []byte) bool {
	if u.feed == nil {
		return bytes.Equal(u.body[off:off+int64(len(payload))], payload)
	}
	return off+int64(len(payload)) == u.next && len(payload) == u.size && hash(payload) == u.last
}

// take adds the next block. A stream only notes it.
func (u *upload) take(payload []byte) {
	u.next += int64(len(payload))
	if u.feed != nil {
		u.last, u.size = hash(payload), len(payload)
		return
	}
	u.body = append(u.body, payload...)
}

// room returns how much capacity body needs for n more bytes: it doubles, and never trusts what
// the sender claims (RFC 7959 section 7).
func (u *upload) room(n int) int {
	need := len(u.body) + n
	if need <= cap(u.body) {
		return cap(u.body)
	}
	return int(min(max(int64(need), int64(2*cap(u.body)), 1024), max(u.limit, int64(need))))
}

// reserve gives body the capacity that room has said.
func (u *upload) reserve(capacity int) {
	if capacity > cap(u.body) {
		u.body = append(make([]byte, 0, capacity), u.body...)
	}
}

var seed = maphash.MakeSeed()

func hash(b []byte) uint64 { return maphash.Bytes(seed, b) }
