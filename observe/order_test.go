package observe

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proves 7641-3.4-01, 7641-3.4-s04.
func TestFresher(t *testing.T) {
	t0 := time.Unix(1, 0)
	for name, c := range map[string]struct {
		v1, v2 uint32
		after  time.Duration
		want   bool
	}{
		"the next":                  {1, 2, 0, true},
		"the same":                  {2, 2, 0, false},
		"the one before":            {2, 1, 0, false},
		"almost half the range on":  {0, seqHalf - 1, 0, true},
		"half the range on":         {0, seqHalf, 0, false},
		"half the range back":       {seqHalf, 0, 0, false},
		"more than half back":       {seqHalf + 1, 0, 0, true},
		"rollover":                  {seqMask, 0, 0, true},
		"of 24 bits":                {1<<24 - 1, 0, 0, true},
		"half of 24 bits":           {0, 1<<23 - 1, 0, true},
		"before the rollover":       {0, seqMask, 0, false},
		"128 seconds later":         {2, 1, 128 * time.Second, false},
		"more than 128 seconds":     {2, 1, 128*time.Second + 1, true},
		"the same, much later":      {2, 2, time.Hour, true},
		"the next, earlier":         {1, 2, -time.Hour, true},
		"bits that are not counted": {1<<24 | 2, 1, 0, false},
	} {
		require.Equal(t, c.want, Fresher(c.v1, t0, c.v2, t0.Add(c.after)), name)
	}
}

// The numbers are those of a clock: as fast as allowed at most, higher after a restart, in order
// over the rollover.
//
// Proves 7641-4.4-02.
func TestClock(t *testing.T) {
	start := time.Unix(1_700_000_000, 999_999_999)
	c := newClock(start)
	for _, d := range []time.Duration{1, time.Millisecond, time.Second, 255 * time.Second, 1000 * time.Hour} {
		for _, from := range []time.Duration{0, 511 * time.Second, 100_000 * time.Hour} {
			a, b := c.at(int64(from)), c.at(int64(from+d))
			require.LessOrEqual(t, b-a, uint64(d/(256*time.Second)+1)*seqHalf)
			require.GreaterOrEqual(t, b, a)
			if d >= time.Millisecond && d < 256*time.Second {
				require.True(t, Fresher(uint32(a&seqMask), start, uint32(b&seqMask), start), "%v after %v", d, from)
			}
		}
	}
	again := newClock(start.Add(time.Minute))
	require.Greater(t, again.at(0), c.at(int64(59*time.Second)), "after a restart")
	require.Equal(t, c.at(0), c.at(int64(-time.Hour)), "it does not go back")
	require.Equal(t, uint64(seqHalf), c.at(int64(256*time.Second))-c.at(0))
}
