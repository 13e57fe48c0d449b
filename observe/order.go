package observe

import "time"

// seqBits is the width of the Observe option in a response (RFC 7641 section 4.4).
const (
	seqBits = 24
	seqMask = 1<<seqBits - 1
	seqHalf = 1 << (seqBits - 1)
)

// freshTime is how long the order of sequence numbers says something: more than MAX_LATENCY
// (RFC 7641 section 3.4).
const freshTime = 128 * time.Second

// Fresher reports whether a notification with the sequence number v2 that arrived at t2 was sent
// more recently than the freshest one so far, with v1 at t1 (RFC 7641 section 3.4). The times
// have to be of a clock that is not set, such as that of time.Now.
func Fresher(v1 uint32, t1 time.Time, v2 uint32, t2 time.Time) bool {
	v1, v2 = v1&seqMask, v2&seqMask
	return v1 < v2 && v2-v1 < seqHalf ||
		v1 > v2 && v1-v2 > seqHalf ||
		t2.After(t1.Add(freshTime))
}

// ticksPerSecond is the rate of the clock of sequence numbers: 2^23 ticks in 256 seconds, the
// most that section 4.4 allows.
const ticksPerSecond = seqHalf / 256

// clock makes sequence numbers of time. It starts with the time of day, so that a restarted
// server goes on with higher numbers, and is not changed when that is set.
type clock struct {
	base  uint64
	start time.Time
}

func newClock(now time.Time) clock {
	return clock{base: ticks(now.Unix(), now.Nanosecond()), start: now}
}

// at returns the number for a time, in nanoseconds since the start.
func (c clock) at(now int64) uint64 {
	now = max(now, 0)
	return c.base + ticks(now/int64(time.Second), int(now%int64(time.Second)))
}

func ticks(seconds int64, nanoseconds int) uint64 {
	return uint64(seconds)*ticksPerSecond + uint64(nanoseconds)*ticksPerSecond/uint64(time.Second)
}
