package observe

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

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
	for _, g := range res.inTurn {
		for _, o := range g.observers {
			s.touch(o)
		}
	}
}

// Forget removes the observers of the resources at a path without telling them, as a restart would.
// They find out when Max-Age has passed.
func (s *Server) Forget(path string) {
	s.mu.Lock()
	defer s.unlock()
	res := s.resources[normalPath(path)]
	if res == nil {
		return
	}
	var all []*observer
	for _, g := range res.inTurn {
		all = append(all, g.observers...)
	}
	for _, o := range all {
		s.remove(o, EndClosed)
	}
}

// worker renders and sends what is queued, until there is no more.
func (s *Server) worker() {
	var w exchange.Response
	s.mu.Lock()
	for len(s.queue) > 0 {
		g := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		s.notifyGroup(g, &w)
	}
	s.running--
	s.unlock()
}

// shipment is a notification that is about to be sent.
type shipment struct {
	o   *observer
	req *exchange.Request
	seq uint64
}

// notifyGroup renders once for all observers of g that are ready. mu is held, but not meanwhile.
func (s *Server) notifyGroup(g *group, w *exchange.Response) {
	ready, now := g.ready, time.Now()
	g.ready, g.queued, g.busy = nil, false, true
	var ships []shipment
	for _, o := range ready {
		switch {
		case o.removed || s.closed:
			s.land(o)
		case o.group != g: // it has registered anew, for something else
			s.ready(o)
		default:
			o.dirty = false
			ships = append(ships, shipment{o, o.req, s.nextSeq(o, now)})
		}
	}
	if len(ships) > 0 {
		s.stats.Rendered++
		s.unlock()
		s.render(w, ships[0].req)
		for _, sh := range ships {
			s.ship(sh, w)
		}
		s.mu.Lock()
	}
	g.busy = false
	s.enqueue(g)
}

// render asks the handler for the present state.
func (s *Server) render(w *exchange.Response, r *exchange.Request) {
	w.Reset()
	r = r.Clone() // the handler may do with it what it likes
	settle(w, r, s.call(w, r))
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

// ship sends w, with a sequence number, to one observer.
func (s *Server) ship(sh shipment, w *exchange.Response) {
	o := sh.o
	v := *w // options and payload are shared: what differs is put on a copy
	v.Options = w.Options.Borrow()
	s.mu.Lock()
	if o.removed || sh.seq <= o.sent {
		// Gone, or another request of it was answered with a newer state meanwhile.
		if o.replacing == isReplacing && o.pushed != nil {
			s.after = append(s.after, o.pushed.Forget)
			o.pushed = nil
		}
		o.replacing = notReplacing
		s.land(o)
		s.unlock()
		return
	}
	why := s.address(o, sh, &v)
	final := !v.Code.IsSuccess()
	now := time.Now()
	replace := o.replacing == isReplacing && o.pushed != nil
	con := replace || final || o.force || o.nons >= o.every-1 || now.Sub(o.confirmedAt) >= s.cfg.ConfirmWithin
	previous, flight := o.pushed, o.flight
	o.sent = sh.seq
	if !replace {
		o.replacing = notReplacing
	}
	if !replace || final {
		o.pushed = nil
	}
	if final {
		s.remove(o, why) // keeps its place until the error has arrived
	} else {
		s.launched(o, con, now)
	}
	s.unlock()
	if replace {
		s.replace(o, sh, previous, &v, final)
		return
	}
	if previous != nil {
		// Only the newest notification is waited for to be rejected.
		previous.Forget()
	}
	s.push(o, sh, &v, con, final, flight)
}

// push sends v, which is addressed to o. final says that it ends the observation.
func (s *Server) push(o *observer, sh shipment, v *exchange.Response, con, final bool, flight uint64) {
	p, err := sh.req.Pusher().Push(sh.req.Peer(), sh.req.Token(), v, con, func(err error) { s.done(o, flight, con, err) })
	s.mu.Lock()
	defer s.unlock()
	if err != nil {
		s.notSent(o, sh, err)
		return
	}
	if con {
		s.stats.Confirmable++
	} else {
		s.stats.NonConfirmable++
	}
	if final || o.flight != flight || con && !o.inFlight {
		return
	}
	if o.removed {
		s.after = append(s.after, p.Forget)
		s.land(o)
		return
	}
	o.pushed, o.confirmable = p, con
	if o.dirty && con {
		s.supersede(o)
	}
}

// address makes v the notification for one observer: with its sequence number, or an error and
// why that ends the observation.
func (s *Server) address(o *observer, sh shipment, v *exchange.Response) End {
	why := EndError
	if f, ok := v.Options.ContentFormat(); v.Code == message.Content {
		switch {
		case ok && !o.hasFormat:
			o.format, o.hasFormat = f, true
		case ok && f != o.format:
			// (RFC 7641 section 4.2)
			fail(v, &exchange.Error{Code: message.NotAcceptable})
			why = EndFormat
		}
	}
	validate(v, sh.req)
	if v.Code.IsSuccess() {
		v.Options.SetUint(message.OptionObserve, sh.seq&seqMask)
	}
	return why
}

// launched notes that a notification leaves now.
func (s *Server) launched(o *observer, con bool, now time.Time) {
	if con {
		o.nons, o.force = 0, false
		return
	}
	o.nons++
	o.landsAt = now.Add(s.cfg.NonInterval)
	o.settleAt = now.Add(max(s.cfg.Settle, s.cfg.NonInterval))
	s.arm(o)
}

// done is called when a notification was acknowledged or rejected, or has failed.
func (s *Server) done(o *observer, flight uint64, con bool, err error) {
	s.mu.Lock()
	defer s.unlock()
	if o.flight == flight {
		o.pushed = nil // it is over
	}
	switch {
	case err == nil:
		o.confirmedAt = time.Now()
	case con || errors.Is(err, exchange.ErrReset):
		s.remove(o, endOf(err)) // (section 4.5)
	}
	switch {
	case o.flight != flight:
	case o.replacing != notReplacing:
		o.replacing = replacingOver // who replaces it goes on with its place
	default:
		s.land(o)
	}
}

func endOf(err error) End {
	switch {
	case errors.Is(err, exchange.ErrReset):
		return EndReset
	case errors.Is(err, exchange.ErrUnreachable):
		return EndUnreachable
	case errors.Is(err, exchange.ErrClosed):
		return EndClosed
	}
	return EndTimeout
}

// notSent deals with a notification that the endpoint did not take.
func (s *Server) notSent(o *observer, sh shipment, err error) {
	switch {
	case o.removed:
	case errors.Is(err, exchange.ErrBusy):
		s.stats.Postponed++
		o.dirty = true
		o.retryAt = time.Now().Add(retryDelay())
	case errors.Is(err, exchange.ErrClosed):
		s.remove(o, EndClosed)
	default:
		s.cfg.Logger.Error("observe: notification not sent", "path", o.group.in.path, "peer", sh.req.Peer(), "error", err)
		s.remove(o, EndUnsendable)
		s.after = append(s.after, func() {
			w := exchange.Response{Code: message.InternalServerError}
			sh.req.Pusher().Push(sh.req.Peer(), sh.req.Token(), &w, true, nil)
		})
	}
	s.land(o)
}
