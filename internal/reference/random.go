package reference

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
)

// lengths are those at which the encoding of a length or a delta changes, and their
// neighbours.
var lengths = []int{0, 1, 2, 4, 8, 9, 12, 13, 14, 20, 255, 268, 269, 270, 300}

// Random returns a valid message, with a taste for the borders of the format.
func Random(r *rand.Rand) *Message {
	m := &Message{Type: r.IntN(4), Code: 1 + r.IntN(255), MessageID: r.IntN(1 << 16)}
	if r.IntN(20) == 0 {
		m.Code = 0 // Empty: nothing more may follow
		return m
	}
	m.Token = randomBytes(r, lengths)
	for range r.IntN(8) {
		number := r.IntN(64)
		switch r.IntN(8) {
		case 0:
			number = r.IntN(1 << 16)
		case 1:
			number = []int{0, 12, 13, 268, 269, 282, 65534, 65535}[r.IntN(8)]
		}
		m.Options = append(m.Options, Option{number, randomBytes(r, lengths)})
	}
	slices.SortStableFunc(m.Options, func(a, b Option) int { return cmp.Compare(a.Number, b.Number) })
	m.Payload = randomBytes(r, lengths)
	return m
}

func randomBytes(r *rand.Rand, lengths []int) []byte {
	b := make([]byte, lengths[r.IntN(len(lengths))])
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// Mutate returns a datagram that is nearly b: bytes changed, inserted, removed, cut off.
func Mutate(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + r.IntN(3) {
		// Errors early in the datagram are the interesting ones.
		i := r.IntN(min(len(b), 1+r.IntN(64)) + 1)
		switch r.IntN(5) {
		case 0:
			b = b[:i]
		case 1:
			b = slices.Insert(b, i, byte(r.Uint32()))
		case 2:
			b = slices.Insert(b, i, []byte{0xFF, 0xF0, 0x0F, 0xDD, 0xEE}[r.IntN(5)])
		case 3:
			if i < len(b) {
				b = slices.Delete(b, i, i+1)
			}
		case 4:
			if i < len(b) {
				b[i] ^= 1 << r.IntN(8)
			}
		}
	}
	return b
}
