package engine

// Message IDs (RFC 7252 section 4.4). Each peer has its own sequence with a random start;
// an ID is not used again within its lifetime. The upper end of the range is set aside for
// groups, so that an ID of a multicast message is never also that of a
// unicast message to a member (section 8.1).

const (
	midsForPeers  = 0xFC00
	midsForGroups = 0x10000 - midsForPeers
	// midBuckets is how finely lifetimes are told apart: IDs given out within one
	// part of a lifetime become free together.
	midBuckets = 128
)

// midBucket is a run of IDs that become free at one time.
type midBucket struct {
	first int64 // when the first of them could be free
	free  int64 // when the last of them is
	n     int
}

// midAllocator gives out IDs base to base+size-1 in a circle.
type midAllocator struct {
	next    uint16
	started bool
	live    int         // IDs within their lifetime; they are the last ones before next
	last    int64       // when all are free
	buckets []midBucket // oldest first; they add up to live
}

// take returns an ID whose lifetime starts now, unless all are in use. random
// chooses the first.
func (a *midAllocator) take(now, lifetime int64, base, size int, random func() uint32) (mid uint16, ok bool) {
	a.expire(now)
	if a.live >= size {
		return 0, false
	}
	if !a.started {
		a.started = true
		a.next = uint16(random() % uint32(size))
	}
	mid = uint16(base + int(a.next))
	a.next = uint16((int(a.next) + 1) % size)
	a.live++
	free := now + lifetime
	a.last = max(a.last, free)
	// The bucket lasts as long as its last ID. IDs are given out in a circle, so that a
	// short lifetime behind a long one has to wait for it.
	if n := len(a.buckets); n > 0 && free < a.buckets[n-1].first+lifetime/midBuckets {
		a.buckets[n-1].n++
		a.buckets[n-1].free = max(a.buckets[n-1].free, free)
	} else {
		a.buckets = append(a.buckets, midBucket{first: free, free: free, n: 1})
	}
	return mid, true
}

// expire frees the IDs whose lifetime has passed.
func (a *midAllocator) expire(now int64) {
	n := 0
	for n < len(a.buckets) && a.buckets[n].free <= now {
		a.live -= a.buckets[n].n
		n++
	}
	if n > 0 {
		a.buckets = append(a.buckets[:0], a.buckets[n:]...)
	}
}

// nextFree is when the oldest IDs become free; lastFree when all are.
func (a *midAllocator) nextFree() int64 { return a.buckets[0].free }
func (a *midAllocator) lastFree() int64 { return a.last }
