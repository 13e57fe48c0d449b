package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Proves 7252-3.1-s10, 7252-3.1-s12, 7252-3.1-s13, 7252-3.1-s19, 7252-3.1-s21, 7252-3.1-s22.
func TestExtBoundaries(t *testing.T) {
	for _, c := range []struct {
		v      int
		nibble byte
		ext    []byte
	}{
		{0, 0, nil},
		{12, 12, nil},
		{13, Ext8, []byte{0}},
		{268, Ext8, []byte{255}},
		{269, Ext16, []byte{0, 0}},
		{270, Ext16, []byte{0, 1}},
		{MaxExt, Ext16, []byte{255, 255}},
	} {
		nibble, n := Nibble(c.v)
		require.Equal(t, c.nibble, nibble, "nibble of %d", c.v)
		require.Equal(t, len(c.ext), n, "extension length of %d", c.v)
		b := AppendExt(nil, c.v)
		require.Equal(t, c.ext, b, "extension of %d", c.v)

		v, used := ConsumeExt(nibble, append(b, 0xAA))
		require.Equal(t, c.v, v)
		require.Equal(t, n, used)
		for cut := range b {
			_, used = ConsumeExt(nibble, b[:cut])
			require.Negative(t, used, "extension of %d cut to %d bytes", c.v, cut)
		}
	}
}

// Proves 7252-3.2-01, 7252-3.2-02.
func TestUint(t *testing.T) {
	for _, c := range []struct {
		v uint64
		b []byte
	}{
		{0, nil},
		{1, []byte{1}},
		{255, []byte{255}},
		{256, []byte{1, 0}},
		{0x10000, []byte{1, 0, 0}},
		{0x00FF00FF, []byte{0xFF, 0, 0xFF}},
		{1<<64 - 1, []byte{255, 255, 255, 255, 255, 255, 255, 255}},
	} {
		require.Equal(t, c.b, AppendUint(nil, c.v), "%d without leading zero bytes", c.v)
		for zeros := range 4 {
			v, ok := Uint(append(make([]byte, zeros), c.b...))
			require.True(t, ok)
			require.Equal(t, c.v, v, "%d with %d leading zero bytes", c.v, zeros)
		}
	}
	_, ok := Uint([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0})
	require.False(t, ok, "65 bits do not fit")
}
