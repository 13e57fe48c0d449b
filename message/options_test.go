package message

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func unhexBytes(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// Proves 7252-3.1-01, 7252-3.1-s04, 7252-3.1-s05, 7252-3.1-s10, 7252-3.1-s12, 7252-3.1-s13,
// 7252-3.1-s16, 7252-3.1-s19, 7252-3.1-s21, 7252-3.1-s22, 7252-3.1-s25, 7252-3-s37,
// 7252-3-s39, 7252-3-s42.
func TestDecodeOptions(t *testing.T) {
	x13, x269 := strings.Repeat("78", 13), strings.Repeat("78", 269)
	for _, c := range []struct {
		name, wire string
		want       []Option
		payload    string
	}{
		{"nothing", "", nil, ""},
		{"only payload", "ff 61", nil, "61"},
		{"figure 16", "bb 74656d7065726174757265", []Option{{11, []byte("temperature")}}, ""},
		{"option 0", "00", []Option{{0, []byte{}}}, ""},
		{"payload", "40 ff 00ff", []Option{{4, []byte{}}}, "00ff"},
		{"delta 0 repeats", "b161 0162 00", []Option{{11, []byte("a")}, {11, []byte("b")}, {11, []byte{}}}, ""},
		{"marker inside a value", "42 ffff 11 ff", []Option{{4, []byte{255, 255}}, {5, []byte{255}}}, ""},
		{"delta 12", "c0", []Option{{12, []byte{}}}, ""},
		{"delta 13", "d0 00", []Option{{13, []byte{}}}, ""},
		{"delta 268", "d0 ff", []Option{{268, []byte{}}}, ""},
		{"delta 269", "e0 0000", []Option{{269, []byte{}}}, ""},
		{"delta 65535", "e0 fef2", []Option{{65535, []byte{}}}, ""},
		{"sum 65535", "e0 fef1 10", []Option{{65534, []byte{}}, {65535, []byte{}}}, ""},
		{"extension of 255", "d1 ff ff", []Option{{268, []byte{255}}}, ""},
		{"length 13", "0d 00" + x13, []Option{{0, bytes.Repeat([]byte("x"), 13)}}, ""},
		{"length 269", "0e 0000" + x269, []Option{{0, bytes.Repeat([]byte("x"), 269)}}, ""},
		{"both long", "dd 01 00" + x13, []Option{{14, bytes.Repeat([]byte("x"), 13)}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unhexBytes(t, c.wire)
			o, payload, err := decodeOptions(b)
			require.NoError(t, err)
			require.Equal(t, c.payload, hex.EncodeToString(payload))
			var got []Option
			for n, v := range o.All() {
				got = append(got, Option{n, v})
			}
			require.Equal(t, c.want, got)
			require.Equal(t, len(c.want), o.Len())
			require.Equal(t, len(c.want) == 0, o.Empty())

			var built Options // the same bytes by hand
			for _, opt := range c.want {
				built.Add(opt.Number, opt.Value)
			}
			require.True(t, built.Equal(&o))
			enc, err := built.Encoded()
			require.NoError(t, err)
			require.True(t, bytes.HasPrefix(b, enc))
		})
	}
}

// Proves 7252-3.1-02, 7252-3.1-03, 7252-3-04.
func TestDecodeOptionsErrors(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       FormatError
	}{
		{"marker without payload", "ff", ErrPayloadMissing},
		{"marker without payload after an option", "40 ff", ErrPayloadMissing},
		{"delta 15", "f0", ErrOptionDeltaReserved},
		{"delta 15 with length 14", "fe 0000", ErrOptionDeltaReserved},
		{"length 15", "0f", ErrOptionLengthReserved},
		{"length 15 after a long delta", "df 00", ErrOptionLengthReserved},
		{"no extended delta", "d0", ErrOptionHeaderTruncated},
		{"half an extended delta", "e0 00", ErrOptionHeaderTruncated},
		{"no extended length", "0d", ErrOptionHeaderTruncated},
		{"half an extended length", "0e 00", ErrOptionHeaderTruncated},
		{"no extended length after delta", "dd 00", ErrOptionHeaderTruncated},
		{"value cut", "42 00", ErrOptionValueTruncated},
		{"long value cut", "0e ffff 00", ErrOptionValueTruncated},
		{"number 65536", "e0 fef3", ErrOptionNumberOverflow},
		{"sum 65536", "e0 fef2 10", ErrOptionNumberOverflow},
		{"largest delta", "e0 ffff", ErrOptionNumberOverflow},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, payload, err := decodeOptions(unhexBytes(t, c.wire))
			require.Equal(t, c.want, err)
			require.Zero(t, o)
			require.Nil(t, payload)
			require.Contains(t, err.Error(), "malformed message: ")
		})
	}
}

// model is options the obvious way.
type model []Option

func (m model) add(n OptionNumber, v []byte) model {
	i, _ := slices.BinarySearchFunc(m, n, func(o Option, n OptionNumber) int {
		if o.Number <= n {
			return -1
		}
		return 1
	})
	return slices.Insert(m, i, Option{n, v})
}

func (m model) remove(n OptionNumber) model {
	return slices.DeleteFunc(m, func(o Option) bool { return o.Number == n })
}

// check compares every way to read with the model, and the encoding with its decoding.
func (m model) check(t *testing.T, o *Options, probe OptionNumber) {
	t.Helper()
	i := 0
	cursor := o.Iter()
	for n, v := range o.All() {
		require.True(t, cursor.Next())
		require.Equal(t, n, cursor.Number())
		require.Equal(t, v, cursor.Value())
		require.Less(t, i, len(m))
		require.Equal(t, m[i].Number, n)
		require.True(t, bytes.Equal(m[i].Value, v), "value of option %d", n)
		i++
	}
	require.Equal(t, len(m), i)
	enc, err := o.Encoded()
	require.NoError(t, err)
	decoded, payload, err := decodeOptions(enc)
	require.NoError(t, err, "%x", enc)
	require.Empty(t, payload)
	require.True(t, decoded.Equal(o))
	require.Equal(t, decoded.last, o.last)

	j := slices.IndexFunc(m, func(o Option) bool { return o.Number == probe })
	v, ok := o.First(probe)
	require.Equal(t, j >= 0, ok)
	require.Equal(t, ok, o.Has(probe))
	if ok {
		require.True(t, bytes.Equal(m[j].Value, v))
	}
	var want, got []string
	for _, opt := range m {
		if opt.Number == probe {
			want = append(want, string(opt.Value))
		}
	}
	for v := range o.Values(probe) {
		got = append(got, string(v))
	}
	require.Equal(t, want, got)
}

// Random edits agree with the model, whether the list owns its bytes or borrows them, and
// a list that lends its bytes never changes.
//
// Proves 7252-3.1-01, 7252-3.1-s05.
func TestEditsAgainstModel(t *testing.T) {
	edges := []OptionNumber{0, 1, 11, 12, 13, 14, 24, 25, 26, 267, 268, 269, 270, 281, 282, 537, 538, 539, 65534, 65535}
	lengths := []int{0, 1, 2, 11, 12, 13, 14, 267, 268, 269, 270, 600}
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(31, seed))
		number := func() OptionNumber {
			if rnd.IntN(4) == 0 {
				return OptionNumber(rnd.IntN(1 << 16))
			}
			return edges[rnd.IntN(len(edges))]
		}
		var o Options
		var m model
		var lent []byte       // bytes that o borrows or borrowed
		var lentCopy []byte   // what they have to be
		var parent *Options   // list that lent them, if a list did
		var parentModel model // what it has to hold
		for range 60 {
			n := number()
			value := bytes.Repeat([]byte{byte(rnd.IntN(256))}, lengths[rnd.IntN(len(lengths))])
			switch rnd.IntN(10) {
			case 0, 1, 2, 3:
				o.Add(n, value)
				m = m.add(n, value)
			case 4:
				o.AddString(n, string(value))
				m = m.add(n, value)
			case 5:
				if rnd.IntN(2) == 0 {
					o.Set(n, value)
				} else {
					o.SetString(n, string(value))
				}
				m = m.remove(n).add(n, value)
			case 6, 7:
				if len(m) > 0 && rnd.IntN(3) > 0 {
					n = m[rnd.IntN(len(m))].Number
				}
				had := slices.ContainsFunc(m, func(o Option) bool { return o.Number == n })
				require.Equal(t, had, o.Remove(n))
				m = m.remove(n)
			case 8: // decode from a buffer with a neighbour
				enc, err := o.Encoded()
				require.NoError(t, err)
				lent = append(append(slices.Clone(enc), 0xFF), "payload"...)
				lentCopy = slices.Clone(lent)
				o, _, err = decodeOptions(lent)
				require.NoError(t, err)
				parent = nil
			case 9:
				p := o.Clone()
				parent, parentModel = &p, slices.Clone(m)
				o = p.Borrow()
				if rnd.IntN(4) == 0 {
					o.Reset()
					m = nil
				}
			}
			m.check(t, &o, n)
			require.Equal(t, lentCopy, lent, "borrowed bytes were written to")
			if parent != nil {
				parentModel.check(t, parent, n)
			}
		}
	}
}

// Every pair of numbers and lengths at the edges of the encoding, in and out of order.
func TestInsertAndRemoveAtEdges(t *testing.T) {
	edges := []OptionNumber{0, 12, 13, 268, 269, 281, 282, 537, 538, 65535}
	lengths := []int{0, 12, 13, 268, 269}
	for _, a := range edges {
		for _, b := range edges {
			for _, c := range edges {
				for i, length := range lengths {
					value := bytes.Repeat([]byte{1}, length)
					other := bytes.Repeat([]byte{2}, lengths[len(lengths)-1-i])
					var o Options
					var m model
					for _, opt := range []Option{{a, value}, {c, other}, {b, value}} {
						o.Add(opt.Number, opt.Value)
						m = m.add(opt.Number, opt.Value)
					}
					m.check(t, &o, b)
					for _, n := range []OptionNumber{b, a, c} {
						o.Remove(n)
						m = m.remove(n)
						m.check(t, &o, n)
					}
					require.True(t, o.Empty())
				}
			}
		}
	}
}

func TestAppendToViewsLeavesTheDatagramAlone(t *testing.T) {
	datagram := append(unhexBytes(t, "41 01 71 02 ff 6869"), make([]byte, 16)...)[:7]
	want := slices.Clone(datagram[:cap(datagram)])
	o, payload, err := decodeOptions(datagram)
	require.NoError(t, err)
	first, _ := o.First(4)
	_ = append(first, 0xEE)
	_ = append(payload, 0xEE)
	it := o.Iter()
	it.Next()
	_ = append(it.Value(), 0xEE)
	o.AddString(11, "x")
	o.AddString(1, "x")
	require.Equal(t, want, datagram[:cap(datagram)])
}

func TestCloneAndReset(t *testing.T) {
	wire := unhexBytes(t, "41 01 71 02")
	o, _, err := decodeOptions(wire)
	require.NoError(t, err)
	c := o.Clone()
	wire[1] = 9
	tag, ok := c.ETag()
	require.True(t, ok)
	require.Equal(t, []byte{1}, tag, "a clone is not a view")
	c.SetAccept(CBOR)
	require.False(t, o.Has(OptionAccept))
	o.Reset()
	require.True(t, o.Empty())
	o.AddUint(4, 7)
	require.Equal(t, byte(9), wire[1], "a reset list does not reuse borrowed memory")
	require.Equal(t, byte(0x41), wire[0])
}

func TestOptionTooLong(t *testing.T) {
	var o Options
	o.Add(4, make([]byte, MaxOptionLength))
	_, err := o.Encoded()
	require.NoError(t, err)
	require.Equal(t, 1, o.Len())
	for _, add := range []func(){
		func() { o.Add(4, make([]byte, MaxOptionLength+1)) },
		func() { o.AddString(3, strings.Repeat("x", MaxOptionLength+1)) },
	} {
		add()
		require.Equal(t, 1, o.Len())
		_, err = o.Encoded()
		require.Equal(t, ErrOptionTooLong, err)
		clone, borrowed := o.Clone(), o.Borrow()
		_, err = clone.Encoded()
		require.Equal(t, ErrOptionTooLong, err)
		_, err = borrowed.Encoded()
		require.Equal(t, ErrOptionTooLong, err)
		o.Reset()
		_, err = o.Encoded()
		require.NoError(t, err)
		o.Add(4, nil)
	}
}

// Proves 7252-3.2-01, 7252-3.2-02.
func TestUintOptions(t *testing.T) {
	for _, c := range []struct {
		v    uint64
		wire string
	}{{0, ""}, {1, "01"}, {255, "ff"}, {256, "0100"}, {60, "3c"}, {1<<32 - 1, "ffffffff"}, {1<<64 - 1, "ffffffffffffffff"}} {
		var o Options
		o.AddUint(1, 5)
		o.SetUint(60, 77)
		o.SetUint(60, c.v)
		b, ok := o.First(60)
		require.True(t, ok)
		require.Equal(t, c.wire, hex.EncodeToString(b))
		o.Set(60, append(make([]byte, 2), b...))
		v, ok := o.Uint(60)
		require.True(t, ok)
		require.Equal(t, c.v, v)
	}
	var o Options
	o.Add(60, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0})
	_, ok := o.Uint(60)
	require.False(t, ok, "more than 64 bits")
	_, ok = o.Uint(61)
	require.False(t, ok)
}

func TestIterationStops(t *testing.T) {
	var o Options
	for i := range 5 {
		o.AddUint(11, uint64(i))
	}
	seen := 0
	for range o.All() {
		if seen++; seen == 2 {
			break
		}
	}
	for range o.Values(11) {
		if seen++; seen == 4 {
			break
		}
	}
	require.Equal(t, 4, seen)
}

func TestMessageCloneAndReset(t *testing.T) {
	var o Options
	o.AddString(OptionURIPath, "a")
	m := Message{Type: NonConfirmable, Code: POST, MessageID: 7, Token: Token{1, 2}, Options: o, Payload: []byte("hi")}
	c := m.Clone()
	require.Equal(t, m.String(), c.String())
	m.Token[0], m.Payload[0] = 9, 'H'
	require.Equal(t, Token{1, 2}, c.Token)
	require.Equal(t, "hi", string(c.Payload))
	c.Options.AddString(OptionURIPath, "b")
	_ = append(c.Token, 0xEE)
	require.Equal(t, []string{`Uri-Path:"a"`, `Uri-Path:"b"`}, list(&c.Options))
	require.Equal(t, "hi", string(c.Payload), "growing one part leaves the others")
	m.Reset()
	require.True(t, m.Options.Empty())
	require.Zero(t, m.Code)
	require.Nil(t, m.Payload)
}

func TestMessageString(t *testing.T) {
	var m Message
	m.Code, m.MessageID, m.Token, m.Payload = GET, 0x7d34, Token{0x71}, make([]byte, 12)
	require.NoError(t, m.Options.SetPath("/temperature"))
	m.Options.AddUint(65001, 258)
	require.Equal(t, `CON [0x7d34] GET token 0x71 Uri-Path:"temperature" Option 65001:0x0102 12 bytes`, m.String())
	require.Equal(t, `[type=CON code=GET mid=32052 token=71 options=Uri-Path:"temperature" Option 65001:0x0102 payload=12]`,
		m.LogValue().String())
}

func TestOptionString(t *testing.T) {
	for _, c := range []struct {
		n    OptionNumber
		v    string
		want string
	}{
		{OptionIfNoneMatch, "", "If-None-Match"},
		{OptionIfNoneMatch, "\x01", "If-None-Match:0x01"},
		{OptionMaxAge, "", "Max-Age:0"},
		{OptionMaxAge, "\x00\x3c", "Max-Age:60"},
		{OptionSize1, "\x01\x00\x00\x00\x00\x00\x00\x00\x00", "Size1:0x010000000000000000"},
		{OptionETag, "\x01\xff", "ETag:0x01ff"},
		{OptionURIPath, "a\n\"", `Uri-Path:"a\n\""`},
		{OptionURIPath, "\xff", "Uri-Path:0xff"},
		{9999, "", "Option 9999:0x"},
	} {
		require.Equal(t, c.want, Option{c.n, []byte(c.v)}.String())
	}
}

// A value that is a view into the list that it is added to comes out right, although the list
// moves under it.
func TestAddOwnView(t *testing.T) {
	for _, size := range []int{4, 200} {
		var o Options
		o.AddString(11, strings.Repeat("a", size))
		o.AddString(15, strings.Repeat("b", size))
		v, _ := o.First(15)
		o.Add(3, v)
		got, _ := o.String(3)
		require.Equal(t, strings.Repeat("b", size), got)
		v, _ = o.First(15)
		o.Set(11, v)
		got, _ = o.String(11)
		require.Equal(t, strings.Repeat("b", size), got)
	}
}

func decodeOptions(b []byte) (o Options, payload []byte, err error) {
	payload, err = o.Decode(b)
	return o, payload, err
}
