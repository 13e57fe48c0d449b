package engine

// fifo is a queue of values in slots, linked by their numbers.
type fifo struct{ head, tail uint32 }

// near are the neighbours of a value in one queue.
type near struct{ prev, next uint32 }

// push puts value i, which is in no queue by these links, at the end of q.
func push[T any](q *fifo, s *slots[T], i uint32, of func(*T) *near) {
	*of(s.at(i)) = near{prev: q.tail}
	if q.tail != 0 {
		of(s.at(q.tail)).next = i
	} else {
		q.head = i
	}
	q.tail = i
}

// pull takes value i out of q, where it is.
func pull[T any](q *fifo, s *slots[T], i uint32, of func(*T) *near) {
	l := of(s.at(i))
	if l.prev != 0 {
		of(s.at(l.prev)).next = l.next
	} else {
		q.head = l.next
	}
	if l.next != 0 {
		of(s.at(l.next)).prev = l.prev
	} else {
		q.tail = l.prev
	}
	*l = near{}
}
