package coap

import (
	"sync"
	"sync/atomic"
	"time"
)

// Placement says which goroutine runs a handler. Whatever it says, a handler may block: nobody waits
// for it.
type Placement uint8

const (
	// Adaptive runs a handler on the goroutine that receives datagrams as long as it is quick, and on
	// others, workers, while it is not: when its calls take more than some 20 microseconds, or one
	// takes more than a millisecond. It is the right choice for nearly all.
	Adaptive Placement = iota
	// Inline runs the handler on the goroutine that receives, always. That is for handlers that never
	// wait: others wait a millisecond or two for one that does, then the rest of what has
	// arrived is dealt with by another goroutine.
	Inline
	// OnWorker runs each call on a goroutine of its own. That is for handlers which always wait
	// for something, and for tests that count on the order of goroutines.
	OnWorker
)

const (
	// slowCall is from which mean duration of its calls on a route moves to workers, and
	// quickCall below which it moves back.
	slowCall  = 20 * time.Microsecond
	quickCall = 10 * time.Microsecond
	// longestSample is what longer calls count as, so that one of them, which a collection of garbage
	// may have delayed, moves nothing.
	longestSample = 4 * slowCall
	// firstSamples is how many calls of a route are timed at first, sampleEvery one of how many after
	// that.
	firstSamples = 8
	sampleEvery  = 16
	// probation is how many calls a route stays on workers at least. It doubles with each move that follows
	// soon after the last, so that a route which is slow now and then stays there.
	probation    = 64
	maxProbation = 1 << 20
)

// pace is how quick a route is. It may be used by several endpoints at once.
type pace struct {
	fixed Placement
	state atomic.Uint32 // of the paceX

	mu        sync.Mutex
	mean      time.Duration
	calls     int // timed since the last move
	probation int
}

const (
	paceNew uint32 = iota // each call is timed
	paceQuick
	paceSlow
)

// sampler chooses the calls to be timed, at distances that no pattern of requests follows.
type sampler struct{ left, random uint32 }

func (s *sampler) due() bool {
	if s.left > 0 {
		s.left--
		return false
	}
	s.random = s.random*1664525 + 1013904223
	s.left = sampleEvery/2 + s.random>>24%sampleEvery
	return true
}

// place returns where to run the next call, and whether to time it.
func (p *pace) place(s *sampler) (where Placement, timed bool) {
	if p.fixed != Adaptive {
		return p.fixed, false
	}
	switch p.state.Load() {
	case paceNew:
		return Inline, true
	case paceSlow:
		return OnWorker, true
	}
	return Inline, s.due()
}

// sample notes how long a call took.
func (p *pace) sample(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	p.mean += (min(took, longestSample) - p.mean) / 8
	switch slow := p.state.Load() == paceSlow; {
	case !slow && p.mean > slowCall:
		p.slow()
	case slow && p.mean < quickCall && p.calls >= p.probation:
		p.calls = 0
		p.state.Store(paceQuick)
	case !slow && p.calls == firstSamples:
		p.state.Store(paceQuick)
	}
}

// stalled notes that a call has held up the loop.
func (p *pace) stalled() {
	if p.fixed != Adaptive {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow()
}

// slow moves the route to workers. The lock is held.
func (p *pace) slow() {
	if p.calls > p.probation && p.state.Load() == paceQuick {
		p.probation = 0 // it was quick for so long that this may be an accident
	}
	p.mean, p.calls = longestSample, 0
	p.probation = min(max(2*p.probation, probation), maxProbation)
	p.state.Store(paceSlow)
}
