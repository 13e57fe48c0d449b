package blockwise

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The window doubles with each round trip up to where it was lost last, then grows by one; it halves at
// a sign of loss, once for what was under way; and it never asks too far ahead or behind the end.
func TestWindow(t *testing.T) {
	w := newWindow(1, 1000, 16)
	round := func(lose ...int64) (asked int) {
		var under []int64
		for w.room() > 0 {
			under = append(under, w.ask())
		}
		for _, n := range under {
			lost := len(lose) > 0 && n-under[0] < lose[0]
			w.answered(n, lost)
			w.base++
		}
		return len(under)
	}
	var limits []int
	for range 5 {
		limits = append(limits, round())
	}
	require.Equal(t, []int{2, 4, 8, 16, 16}, limits, "slow start")
	require.Equal(t, 16, round(16), "all of them are lost")
	limits = limits[:0]
	for range 4 {
		limits = append(limits, round())
	}
	require.Equal(t, []int{8, 9, 10, 11}, limits, "halved once, then one more with each window")
	for range 5 {
		round(16)
	}
	require.Equal(t, 1, w.limit, "never none")

	w = newWindow(10, 1000, 16)
	for range 100 {
		for w.room() > 0 {
			w.ask()
		}
		w.answered(w.next-1, false)
	}
	require.EqualValues(t, 10+32, w.next, "while block 10 is missing, no more than twice the window is kept")

	w = newWindow(10, 13, 16)
	w.answered(w.ask(), false)
	for w.room() > 0 {
		w.ask()
	}
	require.EqualValues(t, 13, w.next, "nothing behind the end")
	w.end(11)
	w.end(12)
	require.EqualValues(t, 11, w.stop)
}
