package observe

import (
	"net/netip"
	"time"

	"github.com/coapkit/coap/internal/entropy"
)

// When a notification may be sent (RFC 7641 section 4.5.1): each client has ServerConfig.Outstanding
// places. A confirmable notification has one until it is acknowledged, rejected or given up, another
// until ServerConfig.NonInterval has passed. An observer that finds no place waits in
// line with the other observers of its client, and is told of the newest state when it gets one.
// What goes to clients that have registered by a group waits for a leisure before that.
// All functions here are called with Server.mu held.

// touch makes o be told of the present state.
func (s *Server) touch(o *observer) {
	if o.removed {
		return
	}
	if o.dirty {
		s.stats.Coalesced++
		return
	}
	o.dirty = true
	// Before the first response there is nothing that a notification would follow.
	switch {
	case o.live && !o.inFlight:
		s.schedule(o)
	case o.inFlight && o.pushed != nil && o.confirmable && o.replacing == notReplacing:
		s.supersede(o)
	}
}

// schedule puts o in line, after its leisure if it has one.
func (s *Server) schedule(o *observer) {
	g := o.req.Group()
	switch {
	case !g.IsValid() || s.cfg.Leisure <= 0:
		s.line(o)
	case o.leisureAt.IsZero() && !o.waiting:
		o.leisureAt = s.nextLeisure(g).Add(entropy.N(s.cfg.Leisure))
		s.arm(o)
	}
}

// nextLeisure starts a leisure for responses to a group, now or when the last one is over, and returns its
// start.
func (s *Server) nextLeisure(group netip.Addr) time.Time {
	start := time.Now()
	if end := s.leisures[group]; end.After(start) {
		start = end
	}
	s.leisures[group] = start.Add(s.cfg.Leisure)
	return start
}

// line hands o to the workers, or puts it in line.
func (s *Server) line(o *observer) {
	if p := o.from; !o.waiting {
		o.waiting = true
		p.waiting = append(p.waiting, o)
		s.pump(p)
	}
}

// pump gives the free places of p to those who wait.
func (s *Server) pump(p *client) {
	for len(p.waiting) > 0 && p.outstanding < s.cfg.Outstanding && !s.closed {
		o := p.waiting[0]
		p.waiting = append(p.waiting[:0], p.waiting[1:]...)
		o.waiting, o.inFlight = false, true
		o.landsAt, o.retryAt, o.settleAt = time.Time{}, time.Time{}, time.Time{}
		o.flight++
		p.outstanding++
		s.ready(o)
	}
}

func (s *Server) ready(o *observer) {
	g := o.group
	g.ready = append(g.ready, o)
	s.enqueue(g)
}

// enqueue makes a worker look at g.
func (s *Server) enqueue(g *group) {
	if g.queued || g.busy || len(g.ready) == 0 {
		return
	}
	g.queued = true
	s.queue = append(s.queue, g)
	if s.running < s.cfg.Workers {
		s.running++
		s.work.Go(s.worker)
	}
}

// land gives the place of the notification to o, which is over, to the next.
func (s *Server) land(o *observer) {
	if !o.inFlight {
		return
	}
	o.inFlight = false
	o.landsAt = time.Time{}
	p := o.from
	p.outstanding--
	if !o.removed && o.dirty && o.retryAt.IsZero() {
		s.schedule(o)
	}
	s.pump(p)
	s.releasePeer(p)
	s.arm(o)
}

// arm sets the timer of o.
func (s *Server) arm(o *observer) {
	if o.removed || !o.live || s.closed {
		return
	}
	at := o.confirmedAt.Add(s.cfg.ConfirmWithin)
	if o.dirty || o.inFlight {
		at = time.Time{} // a notification will follow, and sees how long ago that is
	}
	for _, t := range [...]time.Time{o.leisureAt, o.landsAt, o.retryAt, o.settleAt} {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	o.due = at
	if at.IsZero() {
		s.timers.remove(o)
	} else {
		s.timers.set(o)
	}
	s.setTimer()
}

// setTimer makes tick be called when the first observer is due.
func (s *Server) setTimer() {
	if len(s.timers) == 0 || s.closed {
		return
	}
	at := s.timers[0].due
	if !s.timerAt.IsZero() && !at.Before(s.timerAt) {
		return // it comes in time; too early does no harm
	}
	s.timerAt = at
	s.timer.Reset(max(time.Until(at), 0))
}

// tick is called by the timer.
func (s *Server) tick() {
	s.mu.Lock()
	defer s.unlock()
	s.timerAt = time.Time{}
	for now := time.Now(); len(s.timers) > 0 && !s.closed && !s.timers[0].due.After(now); {
		o := s.timers[0]
		s.timers.remove(o)
		s.expired(o, now)
		s.arm(o)
	}
	s.setTimer()
}

// expired does what has become due for o.
func (s *Server) expired(o *observer, now time.Time) {
	past := func(t *time.Time) bool {
		if t.IsZero() || t.After(now) {
			return false
		}
		*t = time.Time{}
		return true
	}
	if past(&o.landsAt) {
		s.land(o)
	}
	if past(&o.leisureAt) && o.dirty && !o.inFlight {
		s.line(o)
	}
	if past(&o.retryAt) && o.dirty && !o.inFlight {
		s.schedule(o)
	}
	if settled := past(&o.settleAt); !o.dirty && !o.inFlight && (settled || now.Sub(o.confirmedAt) >= s.cfg.ConfirmWithin) {
		o.force = true
		s.touch(o)
	}
}

// heap has the observers that wait for a time, the first to be due in front.
type heap []*observer

func (h *heap) set(o *observer) {
	if o.pos == 0 {
		*h = append(*h, o)
		o.pos = len(*h)
	}
	h.fix(o.pos - 1)
}

func (h *heap) remove(o *observer) {
	if o.pos == 0 {
		return
	}
	i, last := o.pos-1, len(*h)-1
	(*h)[i] = (*h)[last]
	(*h)[i].pos = i + 1
	(*h)[last] = nil
	*h = (*h)[:last]
	o.pos = 0
	if i < last {
		h.fix(i)
	}
}

func (h *heap) fix(i int) {
	a := *h
	for i > 0 && a[i].due.Before(a[(i-1)/2].due) {
		a.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		least := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < len(a) && a[child].due.Before(a[least].due) {
				least = child
			}
		}
		if least == i {
			return
		}
		a.swap(i, least)
		i = least
	}
}

func (h heap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}
