package message

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The options of RFC 7641, 7959, 7967 and 9175: what follows from the number, and what the RFCs say of
// their values. A second one of those that are not repeatable is ignored, or refused if it is critical, and the
// setters do not make one.
//
// Proves 7641-2-s16, 7959-2.1-02, 7959-4-03, 7967-2-01, 7967-2-s04, 7967-2.1-s17.
func TestOptionsOfExtensions(t *testing.T) {
	for _, c := range []struct {
		number                       OptionNumber
		critical, unsafe, noCacheKey bool
		format                       Format
		min, max                     int
		repeatable                   bool
	}{
		{OptionObserve, false, true, false, FormatUint, 0, 3, false},
		{OptionBlock1, true, true, false, FormatUint, 0, 3, false},
		{OptionBlock2, true, true, false, FormatUint, 0, 3, false},
		{OptionSize1, false, false, true, FormatUint, 0, 4, false},
		{OptionSize2, false, false, true, FormatUint, 0, 4, false},
		{OptionNoResponse, false, true, false, FormatUint, 0, 1, false},
		{OptionEcho, false, false, true, FormatOpaque, 1, 40, false},
		{OptionRequestTag, false, false, false, FormatOpaque, 0, 8, true},
	} {
		t.Run(c.number.String(), func(t *testing.T) {
			n := c.number
			require.Equal(t, c.critical, n.Critical(), "critical")
			require.Equal(t, c.unsafe, n.Unsafe(), "unsafe to forward")
			require.Equal(t, c.noCacheKey, n.NoCacheKey(), "no part of the cache key")
			d, ok := (*Registry)(nil).Lookup(n)
			require.True(t, ok)
			require.Equal(t, Definition{n, d.Name, c.format, c.min, c.max, c.repeatable}, d)

			keeps := func(lengths ...int) bool {
				var o Options
				for _, l := range lengths {
					o.Add(n, make([]byte, l))
				}
				if c.critical {
					return (*Registry)(nil).Check(&o, nil) == nil
				}
				return !(*Registry)(nil).DropInvalid(&o)
			}
			require.True(t, keeps(c.min))
			require.True(t, keeps(c.max))
			require.False(t, keeps(c.max+1), "too long")
			require.Equal(t, c.min == 0, keeps(0), "empty")
			require.Equal(t, c.repeatable, keeps(c.min, c.max), "twice")

			var o Options
			if c.format == FormatUint {
				for v, length := range map[uint64]int{0: 0, 1: 1, 255: 1} {
					o.SetUint(n, v)
					b, _ := o.First(n)
					require.Len(t, b, length, "shortest form of %d", v)
					got, ok := o.Uint(n)
					require.True(t, ok)
					require.Equal(t, v, got)
				}
				require.Equal(t, 1, o.Len(), "one, however often it is set")
			}
		})
	}
}
