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

// change notes that what the observers of g are told has changed. They are looked at by a worker.
func (s *Server) change(g *group) {
	g.version++
	if !g.sweeping {
		g.sweeping, g.visited = true, 0
	} else if g.visited > 0 {
		g.again = true
	}
	s.enqueue(g)
}

// sweepBatch bounds how many observers are looked at in one go, so that requests do not wait for long.
const sweepBatch = 1024

// sweep goes on looking at the observers of g, until some are ready.
func (s *Server) sweep(g *group) {
	for n := 0; g.sweeping && n < sweepBatch && g.ready.n < shipBatch; n++ {
		if g.visited < len(g.observers) {
			g.visited++
			s.catchUp(g.observers[g.visited-1])
			continue
		}
		g.sweeping, g.again, g.visited = g.again, false, 0
	}
}

// catchUp makes o be told of the changes that it has not been looked at for.
func (s *Server) catchUp(o *observer) {
	if n := o.group.version - o.version; n > 0 {
		o.version = o.group.version
		s.stats.Coalesced += uint64(n - 1)
		s.touch(o)
	}
}

// touch makes o be told of the present state.
func (s *Server) touch(o *observer) {
	if o.is(removed) {
		return
	}
	if o.is(dirty) {
		s.stats.Coalesced++
		return
	}
	o.set(dirty)
	// Before the first response there is nothing that a notification would follow.
	switch f := o.flight; {
	case o.is(live) && !o.is(inFlight):
		s.schedule(o)
	case f != nil && f.pushed != nil && !f.final && f.replacing == notReplacing:
		s.supersede(f)
	}
}

// schedule puts o in line, after its leisure if it has one.
func (s *Server) schedule(o *observer) {
	g := o.route.group
	switch {
	case !g.IsValid() || s.cfg.Leisure <= 0:
		s.line(o)
	case o.place != atLeisure && o.place != inLine:
		s.await(o, atLeisure, s.nextLeisure(g)+int64(entropy.N(s.cfg.Leisure)))
		s.setTimer()
	}
}

// nextLeisure starts a leisure for responses to a group, now or when the last one is over, and returns its
// start.
func (s *Server) nextLeisure(group netip.Addr) int64 {
	start := max(s.now(), s.leisures[group])
	s.leisures[group] = start + int64(s.cfg.Leisure)
	return start
}

// line hands o to the workers, or puts it in line.
func (s *Server) line(o *observer) {
	c := o.from
	if o.place == inLine {
		return
	}
	s.unlist(o)
	if int(c.outstanding) < s.cfg.Outstanding && (c.crowd == nil || c.crowd.waiting.head == nil) {
		s.start(o)
		return
	}
	o.place = inLine
	s.crowdOf(c).waiting.push(o)
}

// pump gives the free places of c to those who wait.
func (s *Server) pump(c *client) {
	for c.crowd != nil && c.crowd.waiting.head != nil && int(c.outstanding) < s.cfg.Outstanding && !s.closed {
		o := c.crowd.waiting.head
		s.unlist(o)
		s.start(o)
	}
}

// start gives a place to o.
func (s *Server) start(o *observer) {
	o.set(inFlight)
	o.from.outstanding++
	s.ready(o)
}

func (s *Server) ready(o *observer) {
	g := o.group
	o.place = inReady
	g.ready.push(o)
	s.enqueue(g)
}

// enqueue makes a worker look at g.
func (s *Server) enqueue(g *group) {
	if g.queued || g.busy || s.closed || g.ready.n == 0 && !g.sweeping {
		return
	}
	g.queued = true
	if s.queue.tail != nil {
		s.queue.tail.after = g
	} else {
		s.queue.head = g
	}
	s.queue.tail = g
	if s.running < s.cfg.Workers {
		s.running++
		s.work.Go(s.working)
	}
}

// land gives the place of the notification to o, which is over, to the next.
func (s *Server) land(o *observer) {
	if !o.is(inFlight) {
		return
	}
	o.clear(inFlight)
	c := o.from
	c.outstanding--
	if !o.is(removed) && o.is(dirty) {
		s.schedule(o)
	}
	s.pump(c)
	s.releaseClient(c)
}

// over is land for an observer that has nothing more to be told now.
func (s *Server) over(o *observer) {
	s.land(o)
	if o.is(live) && !o.is(dirty|inFlight|removed) {
		s.rest(o)
		s.setTimer()
	}
}

// retry makes o, whose notification the endpoint had no room for, wait for some time before the next attempt.
func (s *Server) retry(o *observer) {
	s.stats.Postponed++
	o.clear(dirty)
	s.land(o)
	o.set(dirty)
	s.await(o, atRetry, s.now()+int64(retryDelay()))
	s.setTimer()
}

// retryDelay is how long to wait after the endpoint had no room for a notification.
func retryDelay() time.Duration { return time.Second + entropy.N(2*time.Second) }
