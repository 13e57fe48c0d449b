package engine

// The memory of the engine: everything that comes and goes with traffic is taken from free
// lists, so that a steady load allocates nothing, and given back to the collector when
// the load has gone.

// spare is how many free objects are kept besides half of those in use.
const spare = 64

// shrink gives memory back when a slice uses little of it.
func shrink[T any](s []T) []T {
	if cap(s) > 16*spare && len(s) < cap(s)/8 {
		return append(make([]T, 0, cap(s)/4), s...)
	}
	return s
}

// pool is a free list of objects.
type pool[T any] struct {
	free []*T
	live int
}

func (p *pool[T]) get() *T {
	p.live++
	if n := len(p.free); n > 0 {
		x := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		return x
	}
	return new(T)
}

// put takes back an object that the caller has cleared.
func (p *pool[T]) put(x *T) {
	p.live--
	p.free = append(p.free, x)
	for n := len(p.free); n > p.live/2+spare; n-- {
		p.free[n-1] = nil
		p.free = p.free[:n-1]
	}
	p.free = shrink(p.free)
}

// buffer holds one encoded message. What sends it, what may have to send it again and
// what remembers it as a reply share it by counting references.
type buffer struct {
	b     []byte
	refs  int
	class int
}

// sizes of the buffers that are kept for reuse. Larger ones are left to the collector.
var bufferSizes = [...]int{64, 128, 256, 512, 1280}

type buffers struct {
	classes [len(bufferSizes)]pool[buffer]
}

// bufferRoom returns the capacity of the buffer that get returns for size.
func bufferRoom(size int) int {
	for _, room := range bufferSizes {
		if size <= room {
			return room
		}
	}
	return size
}

// get returns an empty buffer with room for size bytes and one reference.
func (s *buffers) get(size int) *buffer {
	for i := range bufferSizes {
		if size <= bufferSizes[i] {
			b := s.classes[i].get()
			if b.b == nil {
				b.b = make([]byte, 0, bufferSizes[i])
			}
			b.b, b.refs, b.class = b.b[:0], 1, i
			return b
		}
	}
	return &buffer{b: make([]byte, 0, size), refs: 1, class: -1}
}

func (s *buffers) unref(b *buffer) {
	if b.refs--; b.refs > 0 {
		return
	}
	scribble(b.b)
	if b.class >= 0 {
		s.classes[b.class].put(b)
	}
}

// table is a map that gives memory back after it was large.
type table[K comparable, V any] struct {
	m    map[K]V
	peak int
}

func (t *table[K, V]) len() int { return len(t.m) }

func (t *table[K, V]) get(k K) (V, bool) {
	v, ok := t.m[k]
	return v, ok
}

func (t *table[K, V]) set(k K, v V) {
	if t.m == nil {
		t.m = make(map[K]V)
	}
	t.m[k] = v
	t.peak = max(t.peak, len(t.m))
}

func (t *table[K, V]) del(k K) {
	delete(t.m, k)
	// Copying an eighth after seven eighths were deleted is constant per deletion.
	if t.peak > 16*spare && len(t.m) < t.peak/8 {
		m := make(map[K]V, len(t.m))
		for k, v := range t.m {
			m[k] = v
		}
		t.m, t.peak = m, len(m)
	}
}

// queue is a FIFO of values.
type queue[T any] struct {
	q    []T
	head int
}

func (q *queue[T]) len() int { return len(q.q) - q.head }

func (q *queue[T]) push(v T) { q.q = append(q.q, v) }

// pop takes out the value that was pushed first, if there is one.
func (q *queue[T]) pop() (v T, ok bool) {
	ok = q.popTo(&v)
	return v, ok
}

func (q *queue[T]) popTo(v *T) bool {
	if q.head == len(q.q) {
		return false
	}
	var zero T
	*v, q.q[q.head] = q.q[q.head], zero
	if q.head++; q.head == len(q.q) {
		q.q, q.head = shrink(q.q[:0]), 0
	} else if q.head > 256 && q.head > len(q.q)/2 {
		n := copy(q.q, q.q[q.head:])
		clear(q.q[n:])
		q.q, q.head = q.q[:n], 0
	}
	return true
}

// list is a doubly linked list whose links are in the elements.
type list[T any] struct{ head, tail *T }

// links are the neighbours of an element in one list.
type links[T any] struct {
	prev, next *T
	in         bool
}

func (l *list[T]) pushBack(x *T, of func(*T) *links[T]) {
	lx := of(x)
	*lx = links[T]{prev: l.tail, in: true}
	if l.tail != nil {
		of(l.tail).next = x
	} else {
		l.head = x
	}
	l.tail = x
}

func (l *list[T]) remove(x *T, of func(*T) *links[T]) {
	lx := of(x)
	if !lx.in {
		return
	}
	if lx.prev != nil {
		of(lx.prev).next = lx.next
	} else {
		l.head = lx.next
	}
	if lx.next != nil {
		of(lx.next).prev = lx.prev
	} else {
		l.tail = lx.prev
	}
	*lx = links[T]{}
}
