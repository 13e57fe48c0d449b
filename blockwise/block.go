package blockwise

import (
	"strconv"

	"github.com/coapkit/coap/message"
)

// Block is the value of a Block1 or Block2 option (RFC 7959 section 2.2).
type Block struct {
	// Num is the number of the block, counted in blocks of this size.
	Num uint32
	// More says that blocks follow.
	More bool
	// SZX is the size exponent, 0 to 6 for 16 to 1024 bytes; 7 is reserved.
	SZX uint8
}

const (
	maxSZX   = 6
	maxNum   = 1<<20 - 1
	maxValue = 3 // bytes
)

// ParseBlock returns the first Block option with this number, [message.OptionBlock1] or
// [message.OptionBlock2], and whether there is one of valid length.
func ParseBlock(o *message.Options, n message.OptionNumber) (b Block, ok bool) {
	v, ok := o.First(n)
	if !ok || len(v) > maxValue {
		return Block{}, false
	}
	u, _ := o.Uint(n)
	return Block{Num: uint32(u >> 4), More: u&8 != 0, SZX: uint8(u & 7)}, true
}

// Value returns the value of the option, to be added with [message.Options.AddUint].
func (b Block) Value() uint64 {
	v := uint64(b.Num)<<4 | uint64(b.SZX&7)
	if b.More {
		v |= 8
	}
	return v
}

// Size returns the size of the block in bytes.
func (b Block) Size() int { return 16 << b.SZX }

// Offset returns the position of the first byte of the block in the body.
func (b Block) Offset() int64 { return int64(b.Num) << (b.SZX + 4) }

// String returns the block as RFC 7959 section 3 writes it: "2/0/64".
func (b Block) String() string {
	more := "/0/"
	if b.More {
		more = "/1/"
	}
	return strconv.FormatUint(uint64(b.Num), 10) + more + strconv.Itoa(b.Size())
}

// blockAt returns the block of this size at an offset, which is a multiple of the size.
func blockAt(off int64, szx uint8, more bool) Block {
	return Block{Num: uint32(off >> (szx + 4)), SZX: szx, More: more}
}

// longest returns the length of the longest body that NUM can count in blocks of this size.
func longest(szx uint8) int64 { return (maxNum + 1) << (szx + 4) }

// exponent returns the largest SZX whose blocks have at most size bytes; 0 stands for the
// largest there is.
func exponent(size int) uint8 {
	if size == 0 {
		return maxSZX
	}
	szx := uint8(maxSZX)
	for szx > 0 && 16<<szx > size {
		szx--
	}
	return szx
}

// aligned returns the largest SZX, at most szx, of which off is a multiple.
func aligned(off int64, szx uint8) uint8 {
	for szx > 0 && off&(16<<szx-1) != 0 {
		szx--
	}
	return szx
}

// optionBlock reads a Block option of a request and rejects what has to be treated like an option
// that is not understood (RFC 7252 sections 5.4.3 and 5.4.5).
func optionBlock(o *message.Options, n message.OptionNumber) (b Block, has bool, err error) {
	v, has := o.First(n)
	if !has {
		return Block{}, false, nil
	}
	if len(v) > maxValue {
		return b, true, &message.OptionError{Number: n, Reason: n.String() + ": " + strconv.Itoa(len(v)) + " bytes, want 0 to 3"}
	}
	times := 0
	for range o.Values(n) {
		times++
	}
	if times > 1 {
		return b, true, &message.OptionError{Number: n, Reason: n.String() + " occurs twice"}
	}
	b, _ = ParseBlock(o, n)
	return b, true, nil
}
