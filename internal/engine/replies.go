package engine

// The replies that are remembered. Short ones are in slots without pointers, as most are: a small
// state or an empty 2.04. Others keep the buffer that they were sent from.

const (
	replyStep = 8   // bytes by which the sizes of slots differ
	maxShort  = 128 // bytes of the longest reply in a slot
	// bufferCost is what a buffer takes besides its bytes.
	bufferCost = 64
)

type replies struct {
	short [maxShort / replyStep]slots[byte]
	long  slots[*buffer]
}

func newReplies() replies {
	r := replies{long: newSlots[*buffer](4, 1)}
	for i := range r.short {
		r.short[i] = newSlots[byte](8, (i+1)*replyStep)
	}
	return r
}

// replyRoom returns the bytes that a reply of this size is charged for. It does not get less with
// a larger size.
func replyRoom(size int) int {
	if size <= maxShort {
		return (size + replyStep - 1) / replyStep * replyStep
	}
	return bufferRoom(size) + bufferCost
}

// keep remembers what is in buf and returns where. It takes over the reference to buf.
func (r *replies) keep(buf *buffer, from *buffers) uint32 {
	size := len(buf.b)
	if size > maxShort {
		i := r.long.get()
		*r.long.at(i) = buf
		return i
	}
	s := &r.short[(size-1)/replyStep]
	i := s.get()
	copy(s.all(i), buf.b)
	from.unref(buf)
	return i
}

// get returns a buffer with the reply of this size that keep has put at i. The caller has a
// reference to it.
func (r *replies) get(i uint32, size int, from *buffers) *buffer {
	if size > maxShort {
		buf := *r.long.at(i)
		buf.refs++
		return buf
	}
	buf := from.get(size)
	buf.b = append(buf.b, r.short[(size-1)/replyStep].all(i)[:size]...)
	return buf
}

// forget gives back the memory of the reply of this size at i.
func (r *replies) forget(i uint32, size int, to *buffers) {
	switch {
	case size > maxShort:
		to.unref(*r.long.at(i))
		r.long.put(i)
	case size > 0:
		r.short[(size-1)/replyStep].put(i)
	}
}
