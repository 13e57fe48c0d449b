package observe

import "time"

// When something is to be done for an observer. What is due after a time that is the same for all, as
// nearly everything is, waits in a list, whose first is due first; the rest is in a heap. Nothing here
// costs more with many observers than with few, but for the heap, whose cost grows with the logarithm.
// All functions here are called with Server.mu held.

// place is where an observer is, and what it waits for.
type place uint8

const (
	nowhere    place = iota
	inReady          // in the list of its group
	inHand           // a worker has it
	inLine           // in the list of its client
	landing          // for its notification, which is not confirmable, to count no more
	settling         // for the state to have lasted
	confirming       // for the last confirmable notification to be too long ago
	atConfirm        // the same or the former, in the heap
	atLeisure        // in the heap, for its turn among those that have registered by a group
	atRetry          // in the heap, until the endpoint may have room again
)

// list is a doubly linked list of observers.
type list struct {
	head, tail *observer
	n          int
}

func (l *list) push(o *observer) {
	if o.prev = l.tail; l.tail != nil {
		l.tail.next = o
	} else {
		l.head = o
	}
	l.tail = o
	l.n++
}

func (l *list) remove(o *observer) {
	if o.prev != nil {
		o.prev.next = o.next
	} else {
		l.head = o.next
	}
	if o.next != nil {
		o.next.prev = o.prev
	} else {
		l.tail = o.prev
	}
	o.prev, o.next = nil, nil
	l.n--
}

// listOf returns the list that o is in, nil if it is in none.
func (s *Server) listOf(o *observer) *list {
	switch o.place {
	case inReady:
		return &o.group.ready
	case inLine:
		return &o.from.crowd.waiting
	case landing:
		return &s.landing
	case settling:
		return &s.settling
	case confirming:
		return &s.confirming
	}
	return nil
}

// unlist takes o from where it waits, unless a worker has it.
func (s *Server) unlist(o *observer) {
	switch l := s.listOf(o); {
	case l != nil:
		l.remove(o)
	case o.place >= atConfirm:
		s.timers.remove(o)
	}
	if o.place != inHand {
		o.place = nowhere
	}
}

// await makes o wait in a place until it is due there.
func (s *Server) await(o *observer, p place, due int64) {
	s.unlist(o)
	o.place, o.due = p, due
	if p >= atConfirm {
		s.timers.add(o)
		return
	}
	if l := s.listOf(o); l.tail == nil || l.tail.due <= due {
		l.push(o)
	} else {
		// Its time was counted from an earlier moment than that of the others.
		o.place = atConfirm
		s.timers.add(o)
	}
}

// rest makes o, which has nothing to be told, wait until it has to confirm that it is there.
func (s *Server) rest(o *observer) {
	s.await(o, confirming, o.confirmedAt+int64(s.cfg.ConfirmWithin))
}

// settle is rest after a notification at a time that was not confirmable: the state is sent once more when it has lasted.
func (s *Server) settle(o *observer, sent int64) {
	at, latest := sent+int64(max(s.cfg.Settle, s.cfg.NonInterval)), o.confirmedAt+int64(s.cfg.ConfirmWithin)
	if at <= latest {
		s.await(o, settling, at)
	} else {
		s.await(o, atConfirm, latest)
	}
}

// firstDue returns the observer that is due first, nil if there is none.
func (s *Server) firstDue() *observer {
	first := s.timers.first()
	for _, o := range [...]*observer{s.landing.head, s.settling.head, s.confirming.head} {
		if o != nil && (first == nil || o.due < first.due) {
			first = o
		}
	}
	return first
}

// setTimer makes tick be called when the first observer is due.
func (s *Server) setTimer() {
	o := s.firstDue()
	if o == nil || s.closed || s.timerAt != 0 && o.due >= s.timerAt {
		return // it comes in time; too early does no harm
	}
	s.timerAt = max(o.due, 1)
	s.timer.Reset(max(time.Duration(o.due-s.now()), 0))
}

// tickBatch bounds how many observers one call of tick deals with, so that requests do not wait for long.
const tickBatch = 512

// tick is called by the timer.
func (s *Server) tick() {
	s.mu.Lock()
	defer s.unlock()
	s.timerAt = 0
	s.expire()
}

// expire does what is due.
func (s *Server) expire() {
	now := s.now()
	for range tickBatch {
		o := s.firstDue()
		if o == nil || o.due > now || s.closed {
			break
		}
		s.expired(o)
	}
	s.setTimer()
}

// expired does what has become due for o.
func (s *Server) expired(o *observer) {
	p := o.place
	s.unlist(o)
	switch p {
	case landing:
		if s.land(o); !o.is(dirty) {
			s.settle(o, o.due-int64(s.cfg.NonInterval))
		}
	case atLeisure:
		s.line(o)
	case atRetry:
		s.schedule(o)
	default:
		o.set(force)
		s.touch(o)
	}
}

// heap has observers that wait for a time, the first to be due in front.
type heap struct {
	a   []*observer
	pos map[*observer]int
}

func (h *heap) first() *observer {
	if len(h.a) == 0 {
		return nil
	}
	return h.a[0]
}

func (h *heap) add(o *observer) {
	if h.pos == nil {
		h.pos = make(map[*observer]int)
	}
	h.a = append(h.a, o)
	h.pos[o] = len(h.a) - 1
	h.fix(len(h.a) - 1)
}

func (h *heap) remove(o *observer) {
	i, last := h.pos[o], len(h.a)-1
	h.swap(i, last)
	h.a[last] = nil
	h.a = h.a[:last]
	delete(h.pos, o)
	if i < last {
		h.fix(i)
	}
	if last == 0 {
		*h = heap{} // what has been large gives its memory back
	}
}

func (h *heap) fix(i int) {
	for i > 0 && h.a[i].due < h.a[(i-1)/2].due {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		least := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < len(h.a) && h.a[child].due < h.a[least].due {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h *heap) swap(i, j int) {
	h.a[i], h.a[j] = h.a[j], h.a[i]
	h.pos[h.a[i]], h.pos[h.a[j]] = i, j
}
