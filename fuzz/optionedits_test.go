package fuzz

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/coapkit/coap/message"
)

// modelOption and model are what Options is, without the wire form: a list that stays
// sorted by number, new options behind those with the same number.
type modelOption struct {
	number message.OptionNumber
	value  string
}

type model []modelOption

func (m model) add(n message.OptionNumber, v string) model {
	i := 0
	for i < len(m) && m[i].number <= n {
		i++
	}
	return slices.Insert(slices.Clone(m), i, modelOption{n, v})
}

func (m model) remove(n message.OptionNumber) model {
	return slices.DeleteFunc(slices.Clone(m), func(o modelOption) bool { return o.number == n })
}

func (m model) String() string {
	var b strings.Builder
	for _, o := range m {
		fmt.Fprintf(&b, "%d:%x ", o.number, o.value)
	}
	return b.String()
}

func listOptions(o *message.Options) model {
	var m model
	for n, v := range o.All() {
		m = append(m, modelOption{n, string(v)})
	}
	return m
}

// bytecode hands out the fuzzer's input as the operands of edits. At the end it hands
// out zeros.
type bytecode struct{ b []byte }

func (c *bytecode) next() byte {
	if len(c.b) == 0 {
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// number prefers few numbers, so that edits meet, at distances around the limits of the
// delta encoding.
func (c *bytecode) number() message.OptionNumber {
	near := []message.OptionNumber{0, 1, 11, 12, 13, 14, 24, 25, 268, 269, 270, 282, 537, 538, 65534, 65535}
	if v := c.next(); v < 0xF0 {
		return near[v%16]
	}
	return message.OptionNumber(c.next())<<8 | message.OptionNumber(c.next())
}

func (c *bytecode) value() string {
	v := c.next()
	length := int(v) % 16
	if v >= 0xF0 {
		length = []int{12, 13, 14, 255, 268, 269, 270, 1000}[v%8]
	}
	return strings.Repeat(string(rune('a'+v%26)), length)
}

// Kinds of edits. Only add at the end: the corpus encodes them as numbers.
const (
	editAdd = iota
	editAddString
	editAddUint
	editSet
	editSetString
	editSetUint
	editRemove
	editReset
	editClone  // go on with a clone
	editBorrow // go on with a borrowed copy
	editDecode // go on with what the encoding decodes to
	editCount
)

// editor applies the same edits to options and model. kept are lists that edits of
// their copies must not change.
type editor struct {
	t     *testing.T
	o     message.Options
	model model
	kept  []keptOptions
}

type keptOptions struct {
	o     message.Options
	model model
	how   string
}

func (e *editor) step(c *bytecode) (what string) {
	switch kind := c.next() % editCount; kind {
	case editAdd, editAddString, editSet, editSetString:
		return e.setValue(kind, c.number(), c.value())
	case editAddUint, editSetUint:
		var b [8]byte
		for i := range b[:c.next()%9] {
			b[i] = c.next()
		}
		return e.setUint(kind, c.number(), binary.LittleEndian.Uint64(b[:]))
	case editRemove:
		n := c.number()
		had := e.o.Remove(n)
		without := e.model.remove(n)
		if had != (len(without) < len(e.model)) {
			e.t.Fatalf("Remove(%d) returned %v, options were %v", n, had, e.model)
		}
		e.model = without
		return fmt.Sprintf("Remove(%d)", n)
	case editReset:
		e.o.Reset()
		e.model = nil
		return "Reset()"
	default:
		return e.replace(kind)
	}
}

func (e *editor) setValue(kind byte, n message.OptionNumber, v string) (what string) {
	switch kind {
	case editAdd:
		e.o.Add(n, []byte(v))
	case editAddString:
		e.o.AddString(n, v)
	case editSet:
		e.o.Set(n, []byte(v))
	case editSetString:
		e.o.SetString(n, v)
	}
	if kind == editSet || kind == editSetString {
		e.model = e.model.remove(n)
	}
	e.model = e.model.add(n, v)
	return fmt.Sprintf("edit %d: number %d, %d bytes", kind, n, len(v))
}

func (e *editor) setUint(kind byte, n message.OptionNumber, v uint64) (what string) {
	if kind == editAddUint {
		e.o.AddUint(n, v)
	} else {
		e.o.SetUint(n, v)
		e.model = e.model.remove(n)
	}
	big := binary.BigEndian.AppendUint64(nil, v)
	e.model = e.model.add(n, string(bytes.TrimLeft(big, "\x00")))
	return fmt.Sprintf("edit %d: number %d, value %d", kind, n, v)
}

// replace goes on with a copy.
func (e *editor) replace(kind byte) (what string) {
	was := e.o
	switch kind {
	case editClone:
		e.o, what = was.Clone(), "Clone()"
	case editBorrow:
		e.o, what = was.Borrow(), "Borrow()"
	case editDecode:
		encoded, err := was.Encoded()
		if err != nil {
			e.t.Fatalf("Encoded: %v", err)
		}
		// The bytes behind the options belong to somebody else.
		if e.o, _, err = decodeOptions(encoded); err != nil {
			e.t.Fatalf("%x does not decode: %v", encoded, err)
		}
		what = "Decode(Encoded())"
	}
	e.kept = append(e.kept, keptOptions{was, e.model, what})
	return what
}

func (e *editor) check(what string) {
	e.t.Helper()
	if got := listOptions(&e.o); got.String() != e.model.String() {
		e.t.Fatalf("after %s: options\n%v, want\n%v", what, got, e.model)
	}
	for _, k := range e.kept {
		if got := listOptions(&k.o); got.String() != k.model.String() {
			e.t.Fatalf("after %s: options from before %s became\n%v, want\n%v", what, k.how, got, k.model)
		}
	}
	e.checkLookups(what)
	encoded, err := e.o.Encoded()
	if err != nil {
		e.t.Fatalf("after %s: Encoded: %v", what, err)
	}
	decoded, rest, err := decodeOptions(encoded)
	if err != nil || len(rest) > 0 || !decoded.Equal(&e.o) {
		e.t.Fatalf("after %s: %x decodes to %v, payload %x, %v", what, encoded, listOptions(&decoded), rest, err)
	}
}

func (e *editor) checkLookups(what string) {
	e.t.Helper()
	if e.o.Len() != len(e.model) || e.o.Empty() != (len(e.model) == 0) {
		e.t.Fatalf("after %s: Len %d, Empty %v, want %d options", what, e.o.Len(), e.o.Empty(), len(e.model))
	}
	for _, n := range []message.OptionNumber{0, 11, 12, 269, 65535} {
		var want []string
		for _, o := range e.model {
			if o.number == n {
				want = append(want, o.value)
			}
		}
		var got []string
		for v := range e.o.Values(n) {
			got = append(got, string(v))
		}
		first, ok := e.o.First(n)
		if !slices.Equal(got, want) || ok != (len(want) > 0) || ok && string(first) != want[0] || e.o.Has(n) != ok {
			e.t.Fatalf("after %s: option %d has values %q, first %q %v, want %q", what, n, got, first, ok, want)
		}
	}
}

func FuzzOptionEdits(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{editAdd, 2, 4, editAdd, 1, 2, editAdd, 13, 0xF5, editRemove, 1})                  // out of order
	f.Add([]byte{editAddString, 2, 1, editDecode, editAddString, 0, 3, editBorrow, editSet, 2, 0}) // copy on write
	f.Add([]byte{editAddUint, 2, 1, 0, 9, editSetUint, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, editReset, editAdd, 3, 3})
	f.Add([]byte{editAdd, 15, 0xF7, editAdd, 0, 0xF7, editAdd, 9, 1, editRemove, 9, editRemove, 0, editClone, editRemove, 15})
	f.Fuzz(func(t *testing.T, program []byte) {
		e := &editor{t: t}
		c := &bytecode{program}
		for steps := 0; len(c.b) > 0 && steps < 100; steps++ {
			e.check(e.step(c))
			if len(e.kept) > 0 && steps%2 == 1 {
				e.kept = e.kept[max(0, len(e.kept)-4):] // checking all of them takes too long
			}
		}
	})
}

func decodeOptions(b []byte) (o message.Options, payload []byte, err error) {
	payload, err = o.Decode(b)
	return o, payload, err
}
