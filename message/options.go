package message

import (
	"bytes"
	"iter"

	"github.com/coapkit/coap/internal/wire"
)

// Options is a list of options in order of their numbers, kept as the bytes that the
// message format gives it (RFC 7252 section 3.1). Decoding is one validating pass,
// encoding, cloning and comparing are memory copies and compares.
//
// The zero value is an empty list. Options that were decoded borrow the bytes of the
// datagram; the first change copies them, so a change never writes into a datagram. Like
// a slice, an Options value must not be copied and then changed through both copies: use
// [Options.Clone]. Reading may happen concurrently, changing may not.
type Options struct {
	buf      []byte
	last     OptionNumber // number of the last option in buf
	borrowed bool         // buf belongs to somebody else: copy before writing
	tooLong  bool         // a value did not fit: encoding reports ErrOptionTooLong
}

// Decode validates the options at the start of b, up to the end of b or to a payload marker, makes o a view of
// them, and returns the payload. After an error, which is a [FormatError], o is empty.
func (o *Options) Decode(b []byte) (payload []byte, err error) {
	number, i := 0, 0
	for i < len(b) {
		head := b[i]
		if head == payloadMarker {
			if i+1 == len(b) {
				*o = Options{}
				return nil, ErrPayloadMissing
			}
			payload = b[i+1 : len(b) : len(b)]
			break
		}
		i++
		// Most options fit their nibbles; the rest takes the long way.
		delta, length := int(head>>4), int(head&15)
		if delta >= wire.Ext8 || length >= wire.Ext8 {
			var n int
			delta, length, n, err = consumeLongHeader(head, b[i:])
			if err != nil {
				*o = Options{}
				return nil, err
			}
			i += n
		}
		number += delta
		if number > 0xFFFF {
			*o = Options{}
			return nil, ErrOptionNumberOverflow
		}
		if length > len(b)-i {
			*o = Options{}
			return nil, ErrOptionValueTruncated
		}
		i += length
	}
	o.buf, o.last, o.borrowed, o.tooLong = b[:i:i], OptionNumber(number), true, false
	return payload, nil
}

const payloadMarker = 0xFF

func consumeLongHeader(head byte, b []byte) (delta, length, n int, err error) {
	if head>>4 == wire.Reserved {
		return 0, 0, 0, ErrOptionDeltaReserved
	}
	if head&15 == wire.Reserved {
		return 0, 0, 0, ErrOptionLengthReserved
	}
	delta, n = wire.ConsumeExt(head>>4, b)
	if n < 0 {
		return 0, 0, 0, ErrOptionHeaderTruncated
	}
	length, m := wire.ConsumeExt(head&15, b[n:])
	if m < 0 {
		return 0, 0, 0, ErrOptionHeaderTruncated
	}
	return delta, length, n + m, nil
}

// wire returns the encoded options; the caller must not change them.
func (o *Options) wire() []byte { return o.buf }

// Encoded returns the options in wire form. The bytes belong to o: they are valid until
// it changes and must not be written to. err is [ErrOptionTooLong] when a
// value that was added cannot be encoded.
func (o *Options) Encoded() (b []byte, err error) {
	if o.tooLong {
		return nil, ErrOptionTooLong
	}
	return o.buf, nil
}

// Empty reports whether there is no option.
func (o *Options) Empty() bool { return len(o.buf) == 0 }

// Len returns the number of options. It walks the list.
func (o *Options) Len() int {
	n := 0
	it := o.Iter()
	for it.Next() {
		n++
	}
	return n
}

// Equal reports whether o and p hold the same options in the same order.
func (o *Options) Equal(p *Options) bool {
	// A list has one encoding only: no delta or length can be written in two ways.
	return bytes.Equal(o.buf, p.buf)
}

// Clone returns a copy that shares no memory with o.
func (o *Options) Clone() Options {
	return Options{buf: bytes.Clone(o.buf), last: o.last, tooLong: o.tooLong}
}

// Borrow returns a list of the same options that copies them before the first change, so
// that o and the result may both be read, and the result changed, while o stays as it is.
func (o *Options) Borrow() Options {
	return Options{buf: o.buf[:len(o.buf):len(o.buf)], last: o.last, borrowed: true, tooLong: o.tooLong}
}

// Iter returns a cursor before the first option. Declare it in front of the loop: a
// variable of the loop itself is copied in each round, which takes longer than Next.
//
//	it := o.Iter()
//	for it.Next() {
//		use(it.Number(), it.Value())
//	}
func (o *Options) Iter() Iter { return Iter{buf: o.buf} }

// Iter walks over options without allocating. It is invalid after the options changed.
type Iter struct {
	buf        []byte
	start, end int // the current value is buf[start:end]
	number     OptionNumber
}

// Next moves to the next option and reports whether there is one.
func (it *Iter) Next() bool {
	i := it.end
	if i >= len(it.buf) {
		return false
	}
	// The bytes were validated by Decode or written by us.
	head := it.buf[i]
	delta, length := int(head>>4), int(head&15)
	i++
	if delta >= wire.Ext8 || length >= wire.Ext8 {
		var n int
		delta, length, n, _ = consumeLongHeader(head, it.buf[i:])
		i += n
	}
	it.number += OptionNumber(delta)
	it.start, it.end = i, i+length
	return true
}

// Number returns the number of the current option.
func (it *Iter) Number() OptionNumber { return it.number }

// Value returns the value of the current option, a view into the options.
func (it *Iter) Value() []byte { return it.buf[it.start:it.end:it.end] }

// All ranges over all options in order. The values are views into the options, which
// must not change meanwhile.
func (o *Options) All() iter.Seq2[OptionNumber, []byte] {
	return func(yield func(OptionNumber, []byte) bool) {
		it := o.Iter()
		for it.Next() {
			if !yield(it.number, it.Value()) {
				return
			}
		}
	}
}

// Values ranges over the values of all options with this number, in order, as views.
func (o *Options) Values(n OptionNumber) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		it := o.Iter()
		for it.Next() && it.number <= n {
			if it.number == n && !yield(it.Value()) {
				return
			}
		}
	}
}

// First returns the value of the first option with this number, a view, and whether
// there is one.
func (o *Options) First(n OptionNumber) (value []byte, ok bool) {
	if n > o.last {
		return nil, false
	}
	// What Iter does, without its state: this is what most is done with options.
	b, number := o.buf, 0
	for i := 0; i < len(b); {
		head := b[i]
		delta, length := int(head>>4), int(head&15)
		i++
		if delta >= wire.Ext8 || length >= wire.Ext8 {
			var n int
			delta, length, n, _ = consumeLongHeader(head, b[i:])
			i += n
		}
		if number += delta; number >= int(n) {
			if number > int(n) {
				return nil, false
			}
			return b[i : i+length : i+length], true
		}
		i += length
	}
	return nil, false
}

// Has reports whether there is an option with this number.
func (o *Options) Has(n OptionNumber) bool {
	_, ok := o.First(n)
	return ok
}

// Uint returns the first option with this number as an unsigned integer. Leading zero
// bytes are accepted. ok is false if there is none or its value exceeds 64 bits.
func (o *Options) Uint(n OptionNumber) (v uint64, ok bool) {
	b, ok := o.First(n)
	if !ok {
		return 0, false
	}
	return wire.Uint(b)
}

// String returns the first option with this number as a string, without interpreting it,
// and whether there is one. It allocates the string.
func (o *Options) String(n OptionNumber) (s string, ok bool) {
	b, ok := o.First(n)
	return string(b), ok
}
