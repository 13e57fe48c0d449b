package dtls

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"sync"
)

// Records and their protection, from the end of the handshake on (RFC 6347 section 4.1, RFC 5246 section 6.2.3.3,
// RFC 9146 sections 3 to 5).

type contentType uint8

const (
	typeChangeCipherSpec contentType = 20
	typeAlert            contentType = 21
	typeHandshake        contentType = 22
	typeData             contentType = 23
	typeCID              contentType = 25 // with a connection ID; the real type is inside
)

const (
	// headerSize is the length of the header of a record without a connection ID.
	headerSize = 13
	// maxPlaintext is how much a record can carry (RFC 5246 section 6.2.1).
	maxPlaintext = 1 << 14
	// maxSequence is the highest sequence number (RFC 6347 section 4.1).
	maxSequence = 1<<48 - 1
	version12   = 0xFEFD
)

// record is one record of a datagram, as it stands there.
type record struct {
	typ      contentType
	epoch    uint16
	sequence uint64
	cid      []byte
	body     []byte
	whole    []byte
}

// nextRecord takes the first record off a datagram. Connection IDs to us have the length cidLen. ok is false
// if what is there is no record of DTLS 1.2.
func nextRecord(b []byte, cidLen int) (r record, rest []byte, ok bool) {
	if len(b) < headerSize || b[1] != 0xFE || b[2] != 0xFD && b[2] != 0xFF {
		return r, nil, false // a ClientHello may say 1.0 (RFC 6347 section 4.2.1)
	}
	r.typ = contentType(b[0])
	n := headerSize
	if r.typ == typeCID {
		if n += cidLen; cidLen == 0 || len(b) < n {
			return r, nil, false
		}
		r.cid = b[11 : 11+cidLen]
	}
	word := binary.BigEndian.Uint64(b[3:])
	r.epoch, r.sequence = uint16(word>>48), word&maxSequence
	end := n + int(binary.BigEndian.Uint16(b[n-2:]))
	if end > len(b) {
		return r, nil, false
	}
	if r.body, r.whole = b[n:end], b[:end]; r.epoch != 0 && b[2] != version12&0xFF {
		return r, nil, false
	}
	return r, b[end:], true
}

// explicitNonce is what of the nonce travels in a record (RFC 5288 section 3, RFC 6655 section 3).
const explicitNonce = 8

// protection is one direction of a session: what its records are sealed or opened with.
type protection struct {
	cipher.AEAD
	iv  [4]byte
	cid []byte // in the records of this direction
}

// additional appends what is authenticated besides the n bytes of plaintext (RFC 5246 section 6.2.3.3; with a connection ID
// RFC 9146 section 5.3).
func (p *protection) additional(b []byte, typ contentType, word uint64, n int) []byte {
	if typ != typeCID {
		b = binary.BigEndian.AppendUint64(b, word)
		b = append(b, byte(typ), version12>>8, version12&0xFF)
		return binary.BigEndian.AppendUint16(b, uint16(n))
	}
	b = binary.BigEndian.AppendUint64(b, 1<<64-1)
	b = append(b, byte(typeCID), byte(len(p.cid)), byte(typeCID), version12>>8, version12&0xFF)
	b = binary.BigEndian.AppendUint64(b, word)
	b = append(b, p.cid...)
	return binary.BigEndian.AppendUint16(b, uint16(n))
}

// maxAdditional is the most that additional appends.
const maxAdditional = 23 + 255

// work is memory that the ciphers are lent.
type work struct {
	nonce      [12]byte
	additional [maxAdditional]byte
	sealed     []byte
}

var works = sync.Pool{New: func() any { return new(work) }}

// seal appends the record that carries data.
func (p *protection) seal(dst []byte, typ contentType, word uint64, data []byte) []byte {
	outer := typ
	if len(p.cid) > 0 {
		outer = typeCID
	}
	dst = append(dst, byte(outer), version12>>8, version12&0xFF)
	dst = binary.BigEndian.AppendUint64(dst, word)
	if outer == typeCID {
		dst = append(dst, p.cid...)
	}
	header := len(dst) + 2
	dst = append(dst, 0, 0)
	w := works.Get().(*work)
	defer works.Put(w)
	copy(w.nonce[:], p.iv[:])
	binary.BigEndian.PutUint64(w.nonce[4:], word)
	dst = append(dst, w.nonce[4:]...)
	body := len(dst)
	dst = append(dst, data...)
	if outer == typeCID {
		dst = append(dst, byte(typ)) // and no padding
	}
	plain := dst[body:]
	dst = p.Seal(dst[:body], w.nonce[:], plain, p.additional(w.additional[:0], outer, word, len(plain)))
	binary.BigEndian.PutUint16(dst[header-2:], uint16(len(dst)-header))
	return dst
}

// open decrypts r in place. ok is false unless it is authentic, and r is as it was then: it may be of a handshake.
func (p *protection) open(r *record) (typ contentType, data []byte, ok bool) {
	n := len(r.body) - explicitNonce - p.Overhead()
	if n < 0 || !bytes.Equal(r.cid, p.cid) {
		return 0, nil, false // the connection ID is in each record, or in none (RFC 9146 section 3)
	}
	w := works.Get().(*work)
	defer works.Put(w)
	copy(w.nonce[:], p.iv[:])
	copy(w.nonce[4:], r.body)
	sealed := r.body[explicitNonce:]
	w.sealed = append(w.sealed[:0], sealed...)
	plain, err := p.Open(sealed[:0], w.nonce[:], sealed, p.additional(w.additional[:0], r.typ, uint64(r.epoch)<<48|r.sequence, n))
	if err != nil {
		copy(sealed, w.sealed) // the ciphers clear it
		return 0, nil, false
	}
	if r.typ != typeCID {
		return r.typ, plain, true
	}
	for len(plain) > 0 && plain[len(plain)-1] == 0 { // padding
		plain = plain[:len(plain)-1]
	}
	if len(plain) == 0 {
		return 0, nil, false
	}
	return contentType(plain[len(plain)-1]), plain[:len(plain)-1], true
}

// window keeps records from being taken twice (RFC 6347 section 4.1.2.6).
type window struct {
	next uint64 // the highest sequence number so far, and 1
	seen uint64 // bit i: next-1-i
}

// fresh reports whether a sequence number may still be taken.
func (w *window) fresh(n uint64) bool {
	switch back := w.next - 1 - n; {
	case n >= w.next:
		return true
	case back >= 64:
		return false
	default:
		return w.seen&(1<<back) == 0
	}
}

// take marks a sequence number, and reports whether it is the highest so far.
func (w *window) take(n uint64) (newest bool) {
	if n >= w.next {
		if shift := n + 1 - w.next; shift < 64 {
			w.seen <<= shift
		} else {
			w.seen = 0
		}
		w.seen |= 1
		w.next = n + 1
		return true
	}
	w.seen |= 1 << (w.next - 1 - n)
	return false
}
