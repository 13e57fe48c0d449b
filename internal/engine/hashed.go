package engine

// bucketSize is how many values a bucket has room for; it and its bookkeeping fill one line of a cache. Since a bucket has the
// hashes of its values, too, a value is looked at only if it is the right one, nearly always: among a million
// of them each look costs more than the rest of a search.
const bucketSize = 7

type bucket struct {
	hashes [bucketSize]uint32
	values [bucketSize]uint32 // their numbers
	n      uint32             // of them
	more   uint32             // the number of a further bucket in hashed.further, or 0
}

const (
	// A bucket is added when there are more than fullBucket values for each, and taken away when there are less
	// than emptyBucket.
	fullBucket  = 4
	emptyBucket = 2
	// bucketChunk is how many buckets are allocated together.
	bucketChunk = 64
)

// hashed is slots whose values are found by a hash, keyed so that nobody can choose what meets in one bucket.
// It adds or takes away at most two buckets with each value (linear hashing), so that no step is longer than others.
type hashed[T any] struct {
	slots[T]
	buckets [][]bucket
	further slots[bucket]
	n       uint32 // buckets
	mask    uint32 // the lowest 2^k-1 that is at least n-1
	steps   int    // buckets and values that were looked at, for tests
}

func newHashed[T any]() hashed[T] {
	return hashed[T]{slots: newSlots[T](8, 1), further: newSlots[bucket](4, 1)}
}

// bucket returns where values with this hash are.
func (t *hashed[T]) bucket(hash uint32) *bucket {
	b := hash & t.mask
	if b >= t.n {
		b &= t.mask >> 1 // not split yet
	}
	return &t.buckets[b/bucketChunk][b%bucketChunk]
}

// next returns the bucket that continues b, or nil.
func (t *hashed[T]) next(b *bucket) *bucket {
	if b.more == 0 {
		return nil
	}
	return t.further.at(b.more)
}

// find returns the number of the value with this hash for which is returns true, or 0.
func (t *hashed[T]) find(hash uint32, is func(*T) bool) uint32 {
	if t.n == 0 {
		return 0
	}
	for b := t.bucket(hash); b != nil; b = t.next(b) {
		t.steps++
		for i, h := range b.hashes[:b.n] {
			if h != hash {
				continue
			}
			t.steps++
			if is(t.at(b.values[i])) {
				return b.values[i]
			}
		}
	}
	return 0
}

// add makes value i known by a hash.
func (t *hashed[T]) add(i, hash uint32) {
	if t.n == 0 {
		t.buckets = append(t.buckets, make([]bucket, bucketChunk))
		t.n, t.mask = bucketChunk, bucketChunk-1
	}
	t.push(i, hash)
	if t.live > fullBucket*int(t.n) {
		t.split()
	}
}

func (t *hashed[T]) push(i, hash uint32) {
	b := t.bucket(hash)
	for b.n == bucketSize {
		t.steps++
		if b.more == 0 {
			b.more = t.further.get()
		}
		b = t.further.at(b.more)
	}
	b.hashes[b.n], b.values[b.n] = hash, i
	b.n++
}

// remove forgets value i, which is known by a hash, and gives its slot back.
func (t *hashed[T]) remove(i, hash uint32) {
	t.pull(t.bucket(hash), i)
	t.put(i)
	for range 2 { // as fast as it takes to be small when the table is empty
		if t.n > bucketChunk && t.live < emptyBucket*int(t.n) {
			t.merge()
		}
	}
}

// pull takes value i out of b. The last value of the last bucket takes its place.
func (t *hashed[T]) pull(b *bucket, i uint32) {
	before := (*bucket)(nil)
	k := b.find(i)
	for k < 0 {
		t.steps++
		b, before = t.further.at(b.more), b
		k = b.find(i)
	}
	last := b
	for last.more != 0 {
		t.steps++
		last, before = t.further.at(last.more), last
	}
	last.n--
	b.hashes[k], b.values[k] = last.hashes[last.n], last.values[last.n]
	last.hashes[last.n], last.values[last.n] = 0, 0
	if last.n == 0 && before != nil {
		t.further.put(before.more)
		before.more = 0
	}
}

func (b *bucket) find(i uint32) int {
	for k, v := range b.values[:b.n] {
		if v == i {
			return k
		}
	}
	return -1
}

// split adds a bucket, and moves to it what belongs there.
func (t *hashed[T]) split() {
	if t.n%bucketChunk == 0 {
		t.buckets = append(t.buckets, make([]bucket, bucketChunk))
	}
	if t.n > t.mask {
		t.mask = t.mask<<1 | 1
	}
	old := t.n & (t.mask >> 1)
	t.n++
	t.spread(&t.buckets[old/bucketChunk][old%bucketChunk])
}

// merge takes the last bucket away.
func (t *hashed[T]) merge() {
	t.n--
	if t.n == t.mask>>1+1 {
		t.mask >>= 1
	}
	t.spread(&t.buckets[t.n/bucketChunk][t.n%bucketChunk])
	if t.n%bucketChunk == 0 {
		t.buckets[len(t.buckets)-1] = nil
		t.buckets = fit(t.buckets[:len(t.buckets)-1])
	}
}

// spread puts the values of b where they belong now.
func (t *hashed[T]) spread(b *bucket) {
	all := *b
	*b = bucket{}
	for {
		t.steps++
		for k := range all.n {
			t.push(all.values[k], all.hashes[k])
		}
		more := all.more
		if more == 0 {
			return
		}
		all = *t.further.at(more)
		t.further.put(more)
	}
}
