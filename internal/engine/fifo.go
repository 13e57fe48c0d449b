package engine

// fifo is a queue of records, linked by their numbers.
type fifo struct{ head, tail uint32 }

// near are the neighbours of a record in one queue.
type near struct{ prev, next uint32 }

func byAge(r *record) *near  { return &r.age }
func byPeer(r *record) *near { return &r.ofPeer }

func (t *dedup) pushBack(q *fifo, i uint32, of func(*record) *near) {
	*of(t.records.at(i)) = near{prev: q.tail}
	if q.tail != 0 {
		of(t.records.at(q.tail)).next = i
	} else {
		q.head = i
	}
	q.tail = i
}

// unlink takes record i out of q, where it is.
func (t *dedup) unlink(q *fifo, i uint32, of func(*record) *near) {
	l := of(t.records.at(i))
	if l.prev != 0 {
		of(t.records.at(l.prev)).next = l.next
	} else {
		q.head = l.next
	}
	if l.next != 0 {
		of(t.records.at(l.next)).prev = l.prev
	} else {
		q.tail = l.prev
	}
	*l = near{}
}
