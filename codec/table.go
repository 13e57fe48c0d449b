package codec

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

const (
	rowBytes      = 8  // bytes of a field on one row
	maxFieldBytes = 64 // bytes of a field that are shown
)

const hexDigits = "0123456789abcdef"

// table writes rows of three columns: offset, bytes, meaning. A row starts with field, bits
// or plain and lasts until end.
type table struct {
	out []byte
	b   []byte
	at  int // where the next field starts

	// The bytes of the current field that are on no row yet.
	rowAt, rowEnd int
}

// field starts a row for the next n bytes and steps over them. Those that do not fit
// the row follow on rows of their own after end.
func (t *table) field(n int) *table {
	t.rowAt, t.rowEnd = t.at, t.at+n
	t.at += n
	t.bytesRow()
	for range rowBytes - min(n, rowBytes) {
		t.text("   ")
	}
	return t.text("  ")
}

// bits starts a row for those bits of b that the mask selects.
func (t *table) bits(b, mask byte) *table {
	t.plain()
	for i := 7; i >= 0; i-- {
		c := byte('.')
		if mask>>i&1 != 0 {
			c = '0' + b>>i&1
		}
		t.out = append(t.out, c)
		if i == 4 {
			t.out = append(t.out, ' ')
		}
	}
	return t.text(" ")
}

// plain starts a row without offset and bytes.
func (t *table) plain() *table { return t.text("                               ") }

// end ends the row and writes those for the rest of the field, up to a limit.
func (t *table) end() {
	t.text("\n")
	limit := min(t.rowEnd, t.rowAt-rowBytes+maxFieldBytes)
	for t.rowAt < limit {
		t.bytesRow()
		t.text("\n")
	}
	if left := t.rowEnd - t.rowAt; left > 0 {
		t.text("      ... ").count(left, "more byte").text("\n")
	}
	t.rowAt, t.rowEnd = 0, 0
}

// bytesRow writes the offset and the bytes that fit a row.
func (t *table) bytesRow() {
	for limit := 0x1000; limit > max(t.rowAt, 1); limit >>= 4 {
		t.text("0")
	}
	t.out = strconv.AppendInt(t.out, int64(t.rowAt), 16)
	t.text(" ")
	for range min(rowBytes, t.rowEnd-t.rowAt) {
		b := t.b[t.rowAt]
		t.out = append(t.out, ' ', hexDigits[b>>4], hexDigits[b&15])
		t.rowAt++
	}
}

// text appends s, which is not from the datagram.
func (t *table) text(s string) *table {
	t.out = append(t.out, s...)
	return t
}

func (t *table) num(v int) *table { return t.uint(uint64(v)) }

func (t *table) uint(v uint64) *table {
	t.out = strconv.AppendUint(t.out, v, 10)
	return t
}

// count appends n and a word, in the plural if need be.
func (t *table) count(n int, word string) *table {
	t.num(n).text(" ").text(word)
	if n != 1 {
		t.text("s")
	}
	return t
}

// quote appends the start of v as a quoted string. This is the only way in which text from
// the datagram gets into the explanation: everything that is not printable is escaped, so
// that no terminal sequence and no change of the writing direction comes through.
func (t *table) quote(v []byte) *table {
	start := clip(v)
	t.out = strconv.AppendQuote(t.out, string(start))
	if len(start) < len(v) {
		t.text("...")
	}
	return t
}

// clip returns the start of v that is shown, cut between characters.
func clip(v []byte) []byte {
	if len(v) <= maxFieldBytes {
		return v
	}
	n := maxFieldBytes
	for n > maxFieldBytes-utf8.UTFMax && !utf8.RuneStart(v[n]) {
		n--
	}
	return v[:n]
}

// isText reports whether the start of v is text that a person can read.
func isText(v []byte) bool {
	start := clip(v)
	for len(start) > 0 {
		r, n := utf8.DecodeRune(start)
		if r == utf8.RuneError && n == 1 || unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		start = start[n:]
	}
	return true
}
