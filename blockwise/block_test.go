package blockwise

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/message"
)

// Proves 7959-2.2-s05, 7959-2.2-s07, 7959-2.2-s08, 7959-2.2-s09, 7959-2.2-s10, 7959-2.2-s11, 7959-2.2-s12, 7959-2.2-s24.
func TestBlock(t *testing.T) {
	for _, c := range []struct {
		value  uint64
		length int
		want   Block
		text   string
		offset int64
	}{
		{0, 0, Block{}, "0/0/16", 0},
		{33, 1, Block{Num: 2, SZX: 1}, "2/0/32", 64},
		{59, 1, Block{Num: 3, More: true, SZX: 3}, "3/1/128", 384},
		{0xff, 1, Block{Num: 15, More: true, SZX: 7}, "15/1/2048", 30720},
		{0x100, 2, Block{Num: 16}, "16/0/16", 256},
		{0xfffff6, 3, Block{Num: 0xfffff, SZX: 6}, "1048575/0/1024", 1<<30 - 1024},
	} {
		var o message.Options
		o.AddUint(message.OptionBlock1, c.value)
		v, _ := o.First(message.OptionBlock1)
		require.Len(t, v, c.length)
		b, ok := ParseBlock(&o, message.OptionBlock1)
		require.True(t, ok)
		require.Equal(t, c.want, b)
		require.Equal(t, c.value, b.Value())
		require.Equal(t, c.text, b.String())
		require.Equal(t, c.offset, b.Offset())
	}
	var o message.Options
	_, ok := ParseBlock(&o, message.OptionBlock1)
	require.False(t, ok)
	o.Add(message.OptionBlock1, make([]byte, 4))
	_, ok = ParseBlock(&o, message.OptionBlock1)
	require.False(t, ok)
}

func TestExponent(t *testing.T) {
	for size, want := range map[int]uint8{0: 6, 1: 0, 16: 0, 17: 0, 31: 0, 32: 1, 1023: 5, 1024: 6, 1 << 20: 6} {
		require.Equal(t, want, exponent(size), "size %d", size)
	}
	require.Equal(t, uint8(6), aligned(1<<20, 6))
	require.Equal(t, uint8(2), aligned(64, 6))
	require.Equal(t, uint8(0), aligned(48, 6))
}

// What may be performed again after a change (safe), and what after a loss (idempotent).
//
// Proves 8132-2-s07, 8132-3-s10.
func TestMethods(t *testing.T) {
	for method, want := range map[message.Code]struct{ safe, idempotent bool }{
		message.GET: {true, true}, message.FETCH: {true, true},
		message.PUT: {false, true}, message.DELETE: {false, true}, message.IPATCH: {false, true},
		message.POST: {false, false}, message.PATCH: {false, false},
	} {
		require.Equal(t, want.safe, isSafe(method), "%v is safe", method)
		require.Equal(t, want.idempotent, method.IsIdempotent(), "%v is idempotent", method)
	}
}

// Proves 9175-3.3-02, 9175-3.3-s02.
func TestOperation(t *testing.T) {
	op := func(edit func(o *message.Options)) string {
		var o message.Options
		o.AddString(message.OptionURIPath, "a")
		edit(&o)
		return string(appendOperation(nil, message.PUT, &o))
	}
	plain := op(func(*message.Options) {})
	for n, same := range map[message.OptionNumber]bool{
		message.OptionBlock1: true, message.OptionBlock2: true, message.OptionSize1: true, message.OptionSize2: true,
		message.OptionObserve: true, message.OptionETag: true, message.OptionIfNoneMatch: true, message.OptionEcho: true,
		message.OptionRequestTag: false, message.OptionURIQuery: false, message.OptionAccept: false, message.OptionContentFormat: false,
		message.OptionIfMatch: false, message.OptionURIHost: false, message.OptionNoResponse: false,
	} {
		got := op(func(o *message.Options) { o.Add(n, []byte("x")) })
		require.Equal(t, same, got == plain, "%v", n)
	}
	// Where one value ends and another begins makes a difference.
	ab := op(func(o *message.Options) {
		o.AddString(message.OptionURIPath, "ab")
		o.AddString(message.OptionURIPath, "c")
	})
	require.NotEqual(t, ab, op(func(o *message.Options) {
		o.AddString(message.OptionURIPath, "a")
		o.AddString(message.OptionURIPath, "bc")
	}))
}
