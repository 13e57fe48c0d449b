package observe

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// Notify says that the resources at a path, whatever their query, have changed. The handler is
// called soon, by another goroutine, to render what the observers are sent: the state that is
// current then. Notify never waits and may be called by a handler, and as often as the resource
// changes: who could not be told of one state is told of a later one. The path is written as
// for message.Options.SetPath.
func (s *Server) Notify(path string) {
	path = normalPath(path)
	s.mu.Lock()
	defer s.unlock()
	res := s.resources[path]
	if res == nil {
		return
	}
	// Backwards: where a group goes away meanwhile, the last one takes its place, which has been visited then.
	for i := len(res.inTurn) - 1; i >= 0; i = min(i, len(res.inTurn)) - 1 {
		s.change(res.inTurn[i])
		if i%someGroups == someGroups-1 {
			s.unlock()
			s.mu.Lock()
		}
	}
}

// Notify and Forget go on to other groups or observers after so many, so that requests do not wait for long.
const someGroups, someObservers = 1024, 512

// Forget removes the observers of the resources at a path without telling them, as a restart would.
// They find out when Max-Age has passed.
func (s *Server) Forget(path string) {
	path = normalPath(path)
	for n := s.Observers(path); n > 0; n -= someObservers {
		s.mu.Lock()
		if res := s.resources[path]; res != nil {
			s.forget(res, min(n, someObservers))
		}
		s.unlock()
	}
}

// forget removes some of the observers of res.
func (s *Server) forget(res *resource, n int) {
	for i := len(res.inTurn) - 1; i >= 0 && n > 0; i = min(i, len(res.inTurn)) - 1 {
		for g := res.inTurn[i]; len(g.observers) > 0 && n > 0; n-- {
			s.remove(g.observers[len(g.observers)-1], EndClosed)
		}
	}
}

// worker renders and sends notifications.
type worker struct {
	picked    []*observer
	w         exchange.Response // what they are told
	order     int64             // when that was begun to be made
	version   uint32            // what state of the group it is
	format    message.ContentFormat
	formatted bool // w was a representation in that format

	told, refused, replacing batch
	refusal                  exchange.Response
}

// batch are notifications that are about to be sent.
type batch struct {
	ships   []ship
	notices []exchange.Notice
	sent    func() // takes over the results
}

// ship is a notification that is about to be sent to one observer.
type ship struct {
	o      *observer
	flight *flight // nil: it is not confirmable
	order  int64
	final  bool // it ends the observation
	why    End
}

func (b *batch) reset() {
	clear(b.ships)
	clear(b.notices)
	b.ships, b.notices = b.ships[:0], b.notices[:0]
}

// add makes room for one more.
func (b *batch) add() (*ship, *exchange.Notice) {
	n := len(b.ships)
	if n == cap(b.ships) || n == cap(b.notices) {
		b.ships, b.notices = slices.Grow(b.ships, n+1), slices.Grow(b.notices, n+1)
	}
	b.ships, b.notices = b.ships[:n+1], b.notices[:n+1]
	return &b.ships[n], &b.notices[n]
}

func (s *Server) newWorker() *worker {
	if n := len(s.idle); n > 0 {
		k := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return k
	}
	k := new(worker)
	for _, b := range [...]*batch{&k.told, &k.refused} {
		b.sent = func() { s.sent(b) }
	}
	return k
}

// working renders and sends what is queued, until there is no more.
func (s *Server) working() {
	s.mu.Lock()
	k := s.newWorker()
	for s.queue.head != nil {
		g := s.queue.head
		if s.queue.head = g.after; g.after == nil {
			s.queue.tail = nil
		}
		g.after = nil
		s.notifyGroup(g, k)
	}
	s.running--
	k.w.Reset()
	k.refusal.Reset()
	s.idle = append(s.idle, k)
	s.unlock()
}

// shipBatch is how many notifications are sent at once.
const shipBatch = 128

// notifyGroup tells the observers of g that are ready, and looks for those that have to be told. It renders once, unless
// something changes meanwhile. mu is held, but not while it renders and sends.
func (s *Server) notifyGroup(g *group, k *worker) {
	g.queued, g.busy = false, true
	rendered := false
	// One round through all of them; then it is the turn of other groups.
	for range len(g.observers)/shipBatch + 2 {
		s.sweep(g)
		newest := s.pick(g, k)
		switch {
		case len(k.picked) > 0:
			if !rendered || k.version != g.version || k.order <= newest {
				rendered = true
				k.order, k.version = s.begun(), g.version
				s.stats.Rendered++
				s.unlock()
				s.render(k, g.req)
				s.mu.Lock()
			}
			s.address(g, k)
			s.setTimer()
			s.unlock()
			s.send(g.req.Pusher(), k)
			s.mu.Lock()
			s.expire() // also sets the timer for what was sent
		case g.sweeping:
			s.unlock()
			s.mu.Lock()
		}
	}
	g.busy = false
	s.enqueue(g)
}

// pick takes observers that are ready, and returns when what the last one was told was begun to be made.
func (s *Server) pick(g *group, k *worker) (newest int64) {
	clear(k.picked)
	k.picked = k.picked[:0]
	for len(k.picked) < shipBatch && g.ready.head != nil {
		o := g.ready.head
		s.unlist(o)
		o.place = inHand
		o.clear(dirty)
		newest = max(newest, o.order)
		k.picked = append(k.picked, o)
	}
	return newest
}

// render asks the handler for the present state.
func (s *Server) render(k *worker, r *exchange.Request) {
	w := &k.w
	w.Reset()
	c := r.Clone() // the handler may do with it what it likes
	settle(w, c, s.call(w, c))
	k.format, k.formatted = w.Options.ContentFormat()
	k.formatted = k.formatted && w.Code == message.Content
	validate(w, r)
	k.refusal.Reset()
}

// call calls the handler and turns a panic into an error.
func (s *Server) call(w *exchange.Response, r *exchange.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Logger.Error("observe: handler panicked", "path", r.Path(), "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("observe: handler panicked: %v", p)
		}
	}()
	err = s.next.ServeCoAP(w, r)
	if _, coded := errors.AsType[*exchange.Error](err); err != nil && !coded {
		s.cfg.Logger.Error("observe: handler failed", "path", r.Path(), "error", err)
	}
	return err
}

// address makes notifications of what has been rendered for those that were picked.
func (s *Server) address(g *group, k *worker) {
	k.told.reset()
	k.refused.reset()
	k.replacing.reset()
	now := s.now()
	for _, o := range k.picked {
		switch f := o.flight; {
		case o.is(removed):
			o.place = nowhere
			s.land(o)
		case o.group != g: // it has registered anew, for something else
			o.place = nowhere
			s.ready(o)
		case o.order > k.order:
			// Another request of it was answered with a newer state meanwhile, or is being answered: that may take long.
			if f != nil && f.replacing == isReplacing {
				s.after = append(s.after, f.pushed.Forget)
				o.flight = nil
			}
			if o.handling > 0 {
				o.set(dirty)
			}
			o.place = nowhere
			s.over(o)
		default:
			s.addressOne(o, k, now)
		}
	}
}

func (s *Server) addressOne(o *observer, k *worker, now int64) {
	b, final, why := &k.told, !k.w.Code.IsSuccess(), EndError
	switch {
	case k.formatted && !o.is(hasFormat):
		o.format = k.format
		o.set(hasFormat)
	case k.formatted && o.format != k.format:
		// (RFC 7641 section 4.2)
		b, final, why = &k.refused, true, EndFormat
		if k.refusal.Code == message.Empty {
			k.refusal = k.w
			k.refusal.Options = k.w.Options.Clone()
			fail(&k.refusal, &exchange.Error{Code: message.NotAcceptable})
		}
	}
	replaces := o.flight != nil
	if replaces {
		b = &k.replacing
	}
	sh, n := b.add()
	*sh = ship{o: o, flight: o.flight, order: k.order, final: final, why: why}
	n.Peer, n.Token = o.route.peer, s.tokenOf(o)
	n.Peer.Addr = o.from.remote
	n.Seq = s.number(o, k.order)
	if !replaces && (final || o.is(force) || o.nons+1 >= o.every || now-o.confirmedAt >= int64(s.cfg.ConfirmWithin)) {
		s.confirm(sh, n)
	}
}

// confirm makes a notification confirmable.
func (s *Server) confirm(sh *ship, n *exchange.Notice) {
	f := &flight{o: sh.o, final: sh.final}
	sh.flight, sh.o.flight = f, f
	n.Confirmable = true
	n.Done = func(err error) { s.done(f, err) }
}

// send sends what address has made.
func (s *Server) send(p exchange.Pusher, k *worker) {
	if b := &k.told; len(b.ships) > 0 {
		p.Push(&k.w, b.notices, b.sent)
	}
	if b := &k.refused; len(b.ships) > 0 {
		p.Push(&k.refusal, b.notices, b.sent)
	}
	for i := range k.replacing.ships {
		s.replace(p, k, i)
	}
}

// sent takes over the results of a batch.
func (s *Server) sent(b *batch) {
	s.mu.Lock()
	defer s.unlock()
	lands := s.now() + int64(s.cfg.NonInterval)
	for i := range b.ships {
		sh, n := &b.ships[i], &b.notices[i]
		o := sh.o
		if o.place == inHand {
			o.place = nowhere
		}
		switch {
		case n.Err != nil:
			s.notSent(sh, n, n.Err)
		case sh.flight != nil:
			s.launched(sh, n)
		default:
			s.stats.NonConfirmable++
			o.nons++
			if o.is(removed) {
				s.land(o)
				continue
			}
			s.setID(o, n.ID, true)
			s.await(o, landing, lands)
		}
	}
}

// launched notes that a confirmable notification is on its way.
func (s *Server) launched(sh *ship, n *exchange.Notice) {
	o, f := sh.o, sh.flight
	s.stats.Confirmable++
	f.pushed = n.Pushed
	if o.is(removed) {
		if o.flight == f {
			s.after = append(s.after, f.pushed.Forget)
			o.flight = nil
		}
		s.land(o)
		return
	}
	o.nons = 0
	o.clear(force)
	s.setID(o, 0, false)
	switch {
	case sh.final:
		s.end(sh)
	case o.is(dirty) && !f.over:
		s.supersede(f)
	}
}

// end removes the observer of a final notification, which keeps its place until that has arrived; but not if
// it has registered anew since.
func (s *Server) end(sh *ship) {
	if sh.flight.final = sh.o.order == sh.order; sh.flight.final {
		s.remove(sh.o, sh.why)
	}
}

// done is called when a confirmable notification was acknowledged or rejected, or has failed.
func (s *Server) done(f *flight, err error) {
	s.mu.Lock()
	defer s.unlock()
	o := f.o
	current := o.flight == f
	f.over = true
	if current {
		o.flight = nil
	}
	if err == nil {
		o.confirmedAt = s.now()
	} else {
		s.remove(o, endOf(err)) // (section 4.5)
	}
	switch {
	case !current:
	case f.replacing != notReplacing:
		f.replacing = replacingOver // who replaces it goes on with its place
	default:
		s.over(o)
	}
}

func endOf(err error) End {
	switch {
	case errors.Is(err, exchange.ErrReset):
		return EndReset
	case errors.Is(err, exchange.ErrUnreachable):
		return EndUnreachable
	case errors.Is(err, exchange.ErrSessionEnded):
		return EndSession
	case errors.Is(err, exchange.ErrClosed):
		return EndClosed
	}
	return EndTimeout
}

// notSent deals with a notification that the endpoint did not take.
func (s *Server) notSent(sh *ship, n *exchange.Notice, err error) {
	o := sh.o
	if f := o.flight; f != nil && f.pushed == nil {
		o.flight = nil
	}
	switch {
	case o.is(removed):
	case errors.Is(err, exchange.ErrBusy):
		s.retry(o)
	case errors.Is(err, exchange.ErrClosed), errors.Is(err, exchange.ErrSessionEnded):
		s.remove(o, endOf(err))
	default:
		s.cfg.Logger.Error("observe: notification not sent", "path", o.group.in.path, "peer", n.Peer, "error", err)
		p, last := o.group.req.Pusher(), exchange.Notice{Peer: n.Peer, Token: bytes.Clone(n.Token), Confirmable: true}
		s.remove(o, EndUnsendable)
		s.after = append(s.after, func() {
			w := exchange.Response{Code: message.InternalServerError}
			p.Push(&w, []exchange.Notice{last}, nil)
		})
	}
	s.land(o)
}
