// Package wire holds the number encodings that all CoAP framings share: the option
// nibble with its extension bytes (RFC 7252 section 3.1, used again for token lengths
// by RFC 8974 section 2.1 and for message lengths by RFC 8323 section 3.2) and the
// minimal unsigned integer (RFC 7252 section 3.2).
//
// Every appendX has a consumeX. Nothing here allocates beyond what the caller's
// slice needs, and nothing panics.
package wire

// Nibble values with a meaning of their own.
const (
	Ext8     = 13 // one extension byte: value minus 13
	Ext16    = 14 // two extension bytes: value minus 269
	Reserved = 15

	ext8Base  = 13
	ext16Base = 269

	// MaxExt is the largest value that nibble and extension can carry.
	MaxExt = ext16Base + 0xFFFF
)

// Nibble returns the nibble for v and the number of extension bytes that follow it.
// v must not exceed MaxExt.
func Nibble(v int) (nibble byte, ext int) {
	switch {
	case v < ext8Base:
		return byte(v), 0
	case v < ext16Base:
		return Ext8, 1
	default:
		return Ext16, 2
	}
}

// AppendExt appends the extension bytes of v, none for small values.
func AppendExt(b []byte, v int) []byte {
	switch {
	case v < ext8Base:
		return b
	case v < ext16Base:
		return append(b, byte(v-ext8Base))
	default:
		v -= ext16Base
		return append(b, byte(v>>8), byte(v))
	}
}

// ConsumeExt completes a nibble with its extension bytes at the start of b. n is the
// number of bytes used. It returns n < 0 when b is too short. The caller has
// excluded Reserved.
func ConsumeExt(nibble byte, b []byte) (v, n int) {
	switch nibble {
	case Ext8:
		if len(b) < 1 {
			return 0, -1
		}
		return int(b[0]) + ext8Base, 1
	case Ext16:
		if len(b) < 2 {
			return 0, -1
		}
		return int(b[0])<<8 + int(b[1]) + ext16Base, 2
	default:
		return int(nibble), 0
	}
}

// AppendUint appends v in network byte order without leading zero bytes; 0 appends
// nothing.
func AppendUint(b []byte, v uint64) []byte {
	for shift := 56; shift >= 0; shift -= 8 {
		if v>>shift != 0 {
			b = append(b, byte(v>>shift))
		}
	}
	return b
}

// Uint returns the value of a big-endian integer of any length. Leading zero bytes are
// accepted (RFC 7252 section 3.2). ok is false if the value needs more than 64 bits.
func Uint(b []byte) (v uint64, ok bool) {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) > 8 {
		return 0, false
	}
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v, true
}
