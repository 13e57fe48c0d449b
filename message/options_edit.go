package message

import (
	"slices"

	"github.com/coapkit/coap/internal/wire"
)

// MaxOptionLength is the longest option value that the format can carry, in bytes.
const MaxOptionLength = wire.MaxExt

// Reset empties the list and keeps its memory for reuse, unless the memory is borrowed.
func (o *Options) Reset() {
	if o.borrowed {
		o.buf = nil
	}
	*o = Options{buf: o.buf[:0]}
}

// Add adds an option behind those with the same or a lower number, copying value.
// Adding in order of the numbers appends and is cheapest; out of order it inserts.
//
// A value of more than [MaxOptionLength] bytes is not added; encoding the message
// then fails with [ErrOptionTooLong].
func (o *Options) Add(n OptionNumber, value []byte) {
	// In order, with a header of one byte, in memory of our own: the usual case.
	if delta := int(n) - int(o.last); uint(delta) < wire.Ext8 && len(value) < wire.Ext8 && !o.borrowed {
		o.buf = append(append(o.buf, byte(delta<<4|len(value))), value...)
		o.last = n
		return
	}
	if n < o.last {
		// What is behind n moves, and value may be a view of it.
		var tmp [64]byte
		value = append(tmp[:0], value...)
	}
	i, ok := o.makeRoom(n, len(value))
	if ok {
		copy(o.buf[i:], value)
	}
}

// AddString adds a string option; see [Options.Add].
func (o *Options) AddString(n OptionNumber, value string) {
	// In order, with a header of one byte, in memory of our own: the usual case.
	if delta := int(n) - int(o.last); uint(delta) < wire.Ext8 && len(value) < wire.Ext8 && !o.borrowed {
		o.buf = append(append(o.buf, byte(delta<<4|len(value))), value...)
		o.last = n
		return
	}
	i, ok := o.makeRoom(n, len(value))
	if ok {
		copy(o.buf[i:], value)
	}
}

// AddUint adds an integer option in its shortest form; see [Options.Add].
func (o *Options) AddUint(n OptionNumber, value uint64) {
	var tmp [8]byte
	o.Add(n, wire.AppendUint(tmp[:0], value))
}

// Set replaces all options with this number by one with this value; see [Options.Add].
func (o *Options) Set(n OptionNumber, value []byte) {
	var tmp [64]byte
	value = append(tmp[:0], value...) // it may be a view of what is removed
	o.Remove(n)
	o.Add(n, value)
}

// SetString replaces all options with this number by one with this value.
func (o *Options) SetString(n OptionNumber, value string) {
	o.Remove(n)
	o.AddString(n, value)
}

// SetUint replaces all options with this number by one with this value in its
// shortest form.
func (o *Options) SetUint(n OptionNumber, value uint64) {
	o.Remove(n)
	o.AddUint(n, value)
}

// makeRoom writes the header of a new option and returns where its value goes.
func (o *Options) makeRoom(n OptionNumber, length int) (at int, ok bool) {
	if length > MaxOptionLength {
		o.tooLong = true
		return 0, false
	}
	if n < o.last {
		return o.insert(n, length), true
	}
	o.own(maxHeader + length)
	o.buf = appendHeader(o.buf, int(n-o.last), length)
	o.last = n
	at = len(o.buf)
	o.buf = slices.Grow(o.buf, length)[:at+length]
	return at, true
}

// insert makes room before the first option with a higher number, whose delta
// becomes smaller. There is such an option.
func (o *Options) insert(n OptionNumber, length int) (at int) {
	pos, before := 0, OptionNumber(0) // where the new option starts; the number in front of it
	it := o.Iter()
	for it.Next() && it.number <= n {
		pos, before = it.end, it.number
	}
	next := it // stands on the option that follows the new one

	var head [2 * maxHeader]byte
	h := appendHeader(head[:0], int(n-before), length)
	own := len(h)
	h = appendHeader(h, int(next.number-n), next.end-next.start)
	valueStart := next.start // where the old header ends

	o.replace(pos, valueStart, len(h)+length)
	copy(o.buf[pos:], h[:own])
	copy(o.buf[pos+own+length:], h[own:])
	return pos + own
}

// Remove removes all options with this number and reports whether there was one.
func (o *Options) Remove(n OptionNumber) bool {
	if n > o.last {
		return false
	}
	from, to, before := 0, -1, OptionNumber(0)
	it := o.Iter()
	more := it.Next()
	for ; more && it.number <= n; more = it.Next() {
		if it.number < n {
			from, before = it.end, it.number
		} else {
			to = it.end
		}
	}
	if to < 0 {
		return false
	}
	if !more { // the last options go
		o.replace(from, to, 0)
		o.last = before
		return true
	}
	var head [maxHeader]byte
	h := appendHeader(head[:0], int(it.number-before), it.end-it.start)
	o.replace(from, it.start, len(h))
	copy(o.buf[from:], h)
	return true
}

// replace makes buf[from:to] n bytes long; what is in them is left open.
func (o *Options) replace(from, to, n int) {
	o.own(n)
	size := len(o.buf) - (to - from) + n
	if size > len(o.buf) {
		o.buf = slices.Grow(o.buf, size-len(o.buf))
	}
	old := len(o.buf)
	o.buf = o.buf[:max(size, old)]
	copy(o.buf[from+n:], o.buf[to:old])
	o.buf = o.buf[:size]
}

// own copies borrowed bytes before they are written to.
func (o *Options) own(extra int) {
	if o.borrowed {
		o.buf = append(make([]byte, 0, len(o.buf)+extra+32), o.buf...)
		o.borrowed = false
	}
}

const maxHeader = 5 // nibbles and two extensions of two bytes

func appendHeader(b []byte, delta, length int) []byte {
	d, _ := wire.Nibble(delta)
	l, _ := wire.Nibble(length)
	b = append(b, d<<4|l)
	return wire.AppendExt(wire.AppendExt(b, delta), length)
}
