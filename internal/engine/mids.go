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
	buckets *[]midBucket // oldest first, if there are several; they add up to live
	first   int64        // of the only bucket, if there is one
	last    int64        // when all are free
	live    int32        // IDs within their lifetime; they are the last ones before next
	next    uint16
	started bool
}

// take returns an ID whose lifetime starts now, unless all are in use. random
// chooses the first.
func (a *midAllocator) take(now, lifetime int64, base, size int, random func() uint32) (mid uint16, ok bool) {
	a.expire(now)
	if int(a.live) >= size {
		return 0, false
	}
	if !a.started {
		a.started = true
		a.next = uint16(random() % uint32(size))
	}
	mid = uint16(base + int(a.next))
	a.next = uint16((int(a.next) + 1) % size)
	a.count(now+lifetime, lifetime/midBuckets, size/midBuckets)
	return mid, true
}

// count adds an ID to the newest bucket, or to a new one if that is full by its width and has enough IDs:
// a peer that gets few messages needs no more than one.
// The bucket lasts as long as its last ID. IDs are given out in a circle, so that a
// short lifetime behind a long one has to wait for it.
func (a *midAllocator) count(free, width int64, enough int) {
	switch {
	case a.live == 0:
		a.first = free
	case a.buckets == nil && int(a.live) >= enough && free >= a.first+width:
		a.buckets = &[]midBucket{{first: a.first, free: a.last, n: int(a.live)}, {first: free}}
	case a.buckets != nil:
		if b := (*a.buckets)[len(*a.buckets)-1]; b.n >= enough && free >= b.first+width {
			*a.buckets = append(*a.buckets, midBucket{first: free})
		}
	}
	if a.buckets != nil {
		b := &(*a.buckets)[len(*a.buckets)-1]
		b.n++
		b.free = max(b.free, free)
	}
	a.live++
	a.last = max(a.last, free)
}

// expire frees the IDs whose lifetime has passed.
func (a *midAllocator) expire(now int64) {
	if a.buckets == nil {
		if a.last <= now {
			a.live = 0
		}
		return
	}
	n, b := 0, *a.buckets
	for n < len(b) && b[n].free <= now {
		a.live -= int32(b[n].n)
		n++
	}
	switch len(b) - n {
	case 0:
		a.buckets = nil
	case 1: // what ends last is in it
		a.buckets, a.first = nil, b[n].first
	default:
		if n > 0 {
			*a.buckets = append(b[:0], b[n:]...)
		}
	}
}

// inUse reports whether a message ID of the peers' range was given out and is within its lifetime.
func (a *midAllocator) inUse(now int64, mid uint16) bool {
	a.expire(now)
	return mid < midsForPeers && (int(a.next)+midsForPeers-1-int(mid))%midsForPeers < int(a.live)
}

// nextFree is when the oldest IDs become free; lastFree when all are.
func (a *midAllocator) nextFree() int64 {
	if a.buckets == nil {
		return a.last
	}
	return (*a.buckets)[0].free
}

func (a *midAllocator) lastFree() int64 { return a.last }
