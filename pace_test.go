package coap

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sampleAll notes calls that take so long.
func (p *pace) sampleAll(n int, took time.Duration) {
	for range n {
		p.sample(took)
	}
}

// where is where the next call runs.
func (p *pace) where() Placement {
	var s sampler
	where, _ := p.place(&s)
	return where
}

// A route moves to workers when its calls are slow, and back when they are quick again.
func TestPaceMoves(t *testing.T) {
	var p pace
	p.sampleAll(1000, time.Microsecond)
	require.Equal(t, Inline, p.where())
	p.sampleAll(1, time.Second)
	require.Equal(t, Inline, p.where(), "one long call may be a collection of garbage")
	p.sampleAll(16, time.Microsecond)
	p.sampleAll(4, 200*time.Microsecond)
	require.Equal(t, OnWorker, p.where())
	p.sampleAll(1000, 15*time.Microsecond)
	require.Equal(t, OnWorker, p.where(), "not quick enough to move back")
	p.sampleAll(100, time.Microsecond)
	require.Equal(t, Inline, p.where())
}

// A route that waits is found in its first calls.
func TestPaceOfNewRoute(t *testing.T) {
	var p pace
	var s sampler
	calls := 0
	for p.where() == Inline {
		_, timed := p.place(&s)
		require.True(t, timed, "the first calls are all timed")
		p.sample(200 * time.Microsecond)
		calls++
	}
	require.LessOrEqual(t, calls, 4)
}

// A route that is slow now and then stays on workers for longer and longer.
func TestPaceDoesNotFlap(t *testing.T) {
	var p pace
	last := 0
	for range 30 {
		p.stalled()
		n := 0
		for ; p.where() == OnWorker; n++ {
			p.sample(time.Microsecond)
		}
		require.GreaterOrEqual(t, n, min(2*last, maxProbation))
		last = n
	}
	require.Equal(t, maxProbation, last)

	p.sampleAll(2*maxProbation, time.Microsecond)
	p.stalled()
	p.sampleAll(probation, time.Microsecond)
	require.Equal(t, Inline, p.where(), "it was quick for long: that was an accident")
}

// A fixed route stays where it is.
func TestPaceFixed(t *testing.T) {
	for _, fixed := range []Placement{Inline, OnWorker} {
		p := pace{fixed: fixed}
		p.sampleAll(100, time.Second)
		p.stalled()
		require.Equal(t, fixed, p.where())
	}
}

// One call in some sixteen is timed, at no fixed distance.
func TestSampler(t *testing.T) {
	var s sampler
	distances := make(map[int]int)
	last, timed := 0, 0
	for i := range 16_000 {
		if s.due() {
			distances[i-last]++
			last = i
			timed++
		}
	}
	require.InDelta(t, 1000, timed, 100)
	require.Greater(t, len(distances), 8)
}
