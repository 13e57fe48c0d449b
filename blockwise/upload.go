package blockwise

import (
	"bytes"
	"hash/maphash"

	"github.com/coapkit/coap/message"
)

// upload is the body of a request on its way in. It is pure: what it says is put into effect by
// the Server, which guards it by its lock.
type upload struct {
	first  message.Options // of the first block, without Block options: those of the request
	block2 Block           // of the first block, if has2: how the client wants the response
	has2   bool

	limit int64
	next  int64  // offset of the block that has to come next
	body  []byte // what has come, unless it is streamed

	feed *feed  // to the handler, if it is streamed
	last uint64 // hash of the last block then
	size int    // and its length
}

// verdict is what becomes of a block.
type verdict uint8

const (
	takeBlock   verdict = iota // the next one
	repeatBlock                // has come before: to be acknowledged again, nothing else
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
	}
	return gapBlock
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
