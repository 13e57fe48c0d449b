package engine

// link makes a value an element of a hash table.
type link struct {
	hash uint32 // keyed, so that nobody can choose what meets in one bucket
	next uint32 // in the bucket
}

func (l *link) chain() *link { return l }

// linked is a pointer to a value with a link.
type linked[T any] interface {
	*T
	chain() *link
}

// bucketChunk is how many buckets are allocated together.
const bucketChunk = 256

// hashed is slots whose values are found by a hash. It has about as many buckets as values, and adds or takes
// away one or two with each value (linear hashing), so that no step is longer than others.
type hashed[T any, P linked[T]] struct {
	slots[T]
	buckets [][]uint32 // the first value of each
	n       uint32     // buckets
	mask    uint32     // the lowest 2^k-1 that is at least n-1
	steps   int        // links that were followed, for tests
}

func (t *hashed[T, P]) bucket(hash uint32) *uint32 {
	b := hash & t.mask
	if b >= t.n {
		b &= t.mask >> 1 // not split yet
	}
	return &t.buckets[b/bucketChunk][b%bucketChunk]
}

// first returns the first value that may have this hash; link.next leads to the others.
func (t *hashed[T, P]) first(hash uint32) uint32 {
	if t.n == 0 {
		return 0
	}
	t.steps++
	return *t.bucket(hash)
}

// add makes value i known by its hash.
func (t *hashed[T, P]) add(i uint32) {
	if t.n == 0 {
		t.buckets = append(t.buckets, make([]uint32, bucketChunk))
		t.n, t.mask = bucketChunk, bucketChunk-1
	}
	t.push(i)
	if t.live > int(t.n) {
		t.split()
	}
}

func (t *hashed[T, P]) push(i uint32) {
	l := P(t.at(i)).chain()
	b := t.bucket(l.hash)
	l.next, *b = *b, i
}

// remove forgets value i and gives its slot back.
func (t *hashed[T, P]) remove(i uint32) {
	l := P(t.at(i)).chain()
	at := t.bucket(l.hash)
	for *at != i {
		t.steps++
		at = &P(t.at(*at)).chain().next
	}
	*at = l.next
	t.put(i)
	for range 2 { // as fast as it takes to be small when the table is empty
		if t.n > bucketChunk && t.live < int(t.n)/2 {
			t.merge()
		}
	}
}

// split adds a bucket, and moves to it what belongs there.
func (t *hashed[T, P]) split() {
	if t.n%bucketChunk == 0 {
		t.buckets = append(t.buckets, make([]uint32, bucketChunk))
	}
	if t.n > t.mask {
		t.mask = t.mask<<1 | 1
	}
	old := t.n & (t.mask >> 1)
	from := &t.buckets[old/bucketChunk][old%bucketChunk]
	i := *from
	*from = 0
	t.n++
	for i != 0 {
		t.steps++
		next := P(t.at(i)).chain().next
		t.push(i)
		i = next
	}
}

// merge takes the last bucket away.
func (t *hashed[T, P]) merge() {
	t.n--
	last := &t.buckets[t.n/bucketChunk][t.n%bucketChunk]
	i := *last
	*last = 0
	if t.n == t.mask>>1+1 {
		t.mask >>= 1
	}
	for i != 0 {
		t.steps++
		next := P(t.at(i)).chain().next
		t.push(i)
		i = next
	}
	if t.n%bucketChunk == 0 {
		t.buckets[len(t.buckets)-1] = nil
		t.buckets = fit(t.buckets[:len(t.buckets)-1])
	}
}
