package fuzz

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/coapkit/coap/observe"
)

// maxLatency is MAX_LATENCY (RFC 7252 section 4.8.2).
const maxLatency = 100 * time.Second

// notification is one that the network still has to deliver.
type notification struct {
	index int // in the order of sending
	seq   uint32
	at    time.Duration // of arrival
}

// schedule makes notifications of bytes, five for each: the pause before it, how fast its sequence
// number grows in that pause, and the delay, of which 0xFFFF means that it is lost. No number grows faster than
// RFC 7641 section 4.4 allows.
func schedule(first uint32, steps []byte) (all []notification) {
	const perSecond = 1 << 23 / 256
	seq, sent := uint64(first), time.Duration(0)
	for i := 0; len(steps) >= 5 && i < 1000; i, steps = i+1, steps[5:] {
		pause := time.Duration(binary.BigEndian.Uint16(steps)) * 10 * time.Millisecond
		sent += pause
		fastest := uint64(pause) * perSecond / uint64(time.Second)
		seq += max(1, fastest*uint64(steps[2])/255)
		if pause == 0 {
			sent += time.Second / perSecond // it takes as long as one number lasts
		}
		sent++ // rounding
		delay := binary.BigEndian.Uint16(steps[3:])
		if delay == 0xFFFF {
			continue
		}
		at := sent + time.Duration(delay)*maxLatency/0x10000
		all = append(all, notification{i, uint32(seq) & 0xFFFFFF, at})
	}
	return all
}

// FuzzObserveOrder delivers notifications with any delays up to MAX_LATENCY, in any order: one is
// taken for the freshest so far if and only if it was sent after all that have been taken.
func FuzzObserveOrder(f *testing.F) {
	f.Add(uint32(0), []byte{0, 1, 255, 0, 0, 0, 1, 255, 0, 0})
	f.Add(uint32(0xFFFFFF), []byte{0, 1, 0, 255, 0, 0, 1, 0, 0, 0, 0, 1, 0, 255, 255})
	f.Add(uint32(1<<23), []byte{255, 255, 255, 0, 0, 255, 255, 255, 255, 254, 0, 0, 255, 0, 0})
	f.Fuzz(func(t *testing.T, first uint32, steps []byte) {
		all := schedule(first, steps)
		slices.SortStableFunc(all, func(a, b notification) int { return int(a.at - b.at) })
		start := time.Unix(0, 0)
		freshest := -1 // in all
		for i, n := range all {
			if freshest < 0 {
				freshest = i
				continue
			}
			have := all[freshest]
			got := observe.Fresher(have.seq, start.Add(have.at), n.seq, start.Add(n.at))
			if want := n.index > have.index; got != want {
				t.Fatalf("number %d (%#06x, at %v) is fresher than number %d (%#06x, at %v): got %v, want %v",
					n.index, n.seq, n.at, have.index, have.seq, have.at, got, want)
			}
			if got {
				inOrder := n.at-have.at <= 128*time.Second // else the numbers say nothing
				if inOrder && observe.Fresher(n.seq, start.Add(n.at), have.seq, start.Add(n.at)) {
					t.Fatalf("%#06x and %#06x are both fresher than the other", have.seq, n.seq)
				}
				freshest = i
			}
		}
	})
}
