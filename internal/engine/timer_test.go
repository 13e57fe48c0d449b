package engine

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The heap against a sorted list.
func TestTimerHeap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var h timerHeap
	timers := make([]timer, 100)
	set := map[*timer]int64{}
	for step := range 20_000 {
		x := &timers[random.IntN(len(timers))]
		switch random.IntN(4) {
		case 0, 1:
			at := random.Int64N(1000)
			h.set(x, at)
			set[x] = at
		case 2:
			h.stop(x)
			delete(set, x)
		case 3:
			now := random.Int64N(100)
			if x := h.due(now); x != nil {
				require.LessOrEqual(t, set[x], now)
				require.Zero(t, x.pos, "it is not set any more")
				delete(set, x)
			}
		}
		var all []int64
		for _, at := range set {
			all = append(all, at)
		}
		slices.Sort(all)
		next, ok := h.next()
		require.Equal(t, len(all) > 0, ok, "step %d", step)
		if ok {
			require.Equal(t, all[0], next, "step %d", step)
		}
		require.Len(t, h.h, len(set))
	}
	last := int64(0)
	for len(h.h) > 0 {
		x := h.due(1000)
		require.GreaterOrEqual(t, x.at, last)
		last = x.at
	}
	require.Nil(t, h.due(1000))
}
