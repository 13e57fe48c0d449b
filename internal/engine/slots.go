package engine

import "math/bits"

// What there may be a million of is kept in slots: values without pointers in chunks, named by
// numbers. A chunk never moves, and is given back when nothing in it is used. So neither growing nor
// shrinking copies anything, and the garbage collector has nothing to look at.

// slots holds values of one kind. Each is named by a number, never 0. A value stays in its
// place until it is put back.
type slots[T any] struct {
	shift  uint8 // a chunk has 1<<shift slots, at most 256
	width  int   // values in a slot
	chunks []chunk[T]
	vacant []uint32 // numbers of chunks that were given back; checked when they are used
	open   uint32   // the first chunk with room, by its number plus 1
	live   int
	empty  int    // chunks without a used slot
	spare  uint32 // one of them by its number plus 1, or 0
	keep   int    // how many of them are kept, lest a load that goes up and down allocates all the time
}

type chunk[T any] struct {
	values     []T
	used       [4]uint64 // a bit for each slot
	live       int
	prev, next uint32 // neighbours among those with room
}

// newSlots returns slots of width values, 1<<shift of them in a chunk.
func newSlots[T any](shift uint8, width int) slots[T] {
	return slots[T]{shift: shift, width: width, keep: 1}
}

// at returns the value with number i, where the slots are one value wide.
func (s *slots[T]) at(i uint32) *T {
	i--
	return &s.chunks[i>>(s.shift&31)].values[i&(1<<(s.shift&31)-1)]
}

// all returns the values of slot i.
func (s *slots[T]) all(i uint32) []T {
	i--
	from := int(i&(1<<s.shift-1)) * s.width
	return s.chunks[i>>s.shift].values[from : from+s.width]
}

// get returns the number of a slot that was not used. Its values are zero.
func (s *slots[T]) get() uint32 {
	if s.open == 0 {
		s.grow()
	}
	n := s.open - 1
	c := &s.chunks[n]
	if c.live == 0 {
		s.empty--
		if s.spare == s.open {
			s.spare = 0
		}
	}
	w := 0
	for c.used[w] == ^uint64(0) {
		w++
	}
	bit := bits.TrailingZeros64(^c.used[w])
	c.used[w] |= 1 << bit
	s.live++
	if c.live++; c.live == 1<<s.shift {
		s.unlink(c)
	}
	return n<<s.shift + uint32(w*64+bit) + 1
}

// put gives slot i back.
func (s *slots[T]) put(i uint32) {
	clear(s.all(i))
	i--
	n := i >> s.shift
	c := &s.chunks[n]
	if c.live == 1<<s.shift {
		s.link(n)
	}
	i &= 1<<s.shift - 1
	c.used[i/64] &^= 1 << (i % 64)
	s.live--
	if c.live--; c.live > 0 {
		return
	}
	if s.empty++; s.empty <= s.keep {
		s.spare = n + 1
		return
	}
	if s.spare > n+1 { // the list of chunks can only get shorter at its end
		s.spare, n = n+1, s.spare-1
	}
	s.empty--
	s.unlink(&s.chunks[n])
	s.giveBack(n)
}

// grow makes a chunk with room.
func (s *slots[T]) grow() {
	n := uint32(len(s.chunks))
	for len(s.vacant) > 0 {
		last := s.vacant[len(s.vacant)-1]
		s.vacant = s.vacant[:len(s.vacant)-1]
		if last < n && s.chunks[last].values == nil {
			n = last
			break
		}
	}
	if int(n) == len(s.chunks) {
		s.chunks = append(s.chunks, chunk[T]{})
	}
	s.chunks[n].values = make([]T, s.width<<s.shift)
	s.empty++
	s.link(n)
}

// giveBack leaves the memory of a chunk to the collector.
func (s *slots[T]) giveBack(n uint32) {
	s.chunks[n] = chunk[T]{}
	s.vacant = append(s.vacant, n)
	last := len(s.chunks)
	for last > 0 && s.chunks[last-1].values == nil {
		last--
	}
	if last == 0 {
		s.vacant = nil
	}
	s.chunks = fit(s.chunks[:last])
}

// fit gives memory back when less than a quarter of a list of chunks is used.
func fit[T any](s []T) []T {
	if cap(s) > 16 && len(s) < cap(s)/4 {
		return append(make([]T, 0, 2*len(s)), s...)
	}
	return s
}

// link puts chunk n in front of those with room.
func (s *slots[T]) link(n uint32) {
	s.chunks[n].prev, s.chunks[n].next = 0, s.open
	if s.open != 0 {
		s.chunks[s.open-1].prev = n + 1
	}
	s.open = n + 1
}

func (s *slots[T]) unlink(c *chunk[T]) {
	if c.prev != 0 {
		s.chunks[c.prev-1].next = c.next
	} else {
		s.open = c.next
	}
	if c.next != 0 {
		s.chunks[c.next-1].prev = c.prev
	}
	c.prev, c.next = 0, 0
}

// each calls do with the numbers of all used slots, in order. do may put back the one it is
// called with.
func (s *slots[T]) each(do func(i uint32)) {
	for n := 0; n < len(s.chunks); n++ {
		for w, used := range s.chunks[n].used { // a copy
			for ; used != 0; used &= used - 1 {
				do(uint32(n)<<s.shift + uint32(w*64+bits.TrailingZeros64(used)) + 1)
			}
		}
	}
}
