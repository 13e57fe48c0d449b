package observe

import (
	"errors"

	"github.com/coapkit/coap/exchange"
)

// What becomes of a confirmable notification when the state changes before it is acknowledged
// (RFC 7641 section 4.5.2): where it would be retransmitted, the present state is rendered and sent in
// its place. What is acknowledged in time costs nothing.

// flight is a confirmable notification on its way.
type flight struct {
	o         *observer
	pushed    exchange.Pushed // nil while it is being sent
	replacing replacing
	final     bool // it has ended the observation
	over      bool // it was acknowledged or rejected, or has failed
}

// replacing says whether another notification is to take the place of one.
type replacing uint8

const (
	notReplacing  replacing = iota
	isReplacing             // the present state is being rendered and sent
	replacingOver           // and the notification, the old or the new one, was acknowledged meanwhile
)

// supersede says that f is outdated. mu is held.
func (s *Server) supersede(f *flight) {
	s.after = append(s.after, func() { f.pushed.Supersede(func() { s.retransmit(f) }) })
}

// retransmit is called when an outdated notification would be retransmitted.
func (s *Server) retransmit(f *flight) {
	s.mu.Lock()
	defer s.unlock()
	if o := f.o; o.flight == f && f.replacing == notReplacing && !o.is(removed) {
		f.replacing = isReplacing
		s.ready(o)
	}
}

// replace sends what has been rendered in place of a notification on its way, or by itself if that has just ended.
func (s *Server) replace(p exchange.Pusher, k *worker, i int) {
	sh, n := &k.replacing.ships[i], &k.replacing.notices[i]
	o, f, w := sh.o, sh.flight, &k.w
	if sh.why == EndFormat {
		w = &k.refusal
	}
	err := f.pushed.Replace(w, n.Seq)
	s.mu.Lock()
	over := f.replacing == replacingOver
	f.replacing = notReplacing
	if o.place == inHand {
		o.place = nowhere
	}
	switch {
	case err == nil:
		s.stats.Confirmable++
		s.stats.Superseded++
		if sh.final {
			s.end(sh)
		} else if o.is(dirty) && !over && !o.is(removed) {
			s.supersede(f) // once more
		}
	case errors.Is(err, exchange.ErrClosed) && o.is(inFlight) && !o.is(removed):
		s.confirm(sh, n) // the end of f, if it is told later, is not that of what follows
		b := &k.told
		b.reset()
		anew, notice := b.add()
		*anew, *notice = *sh, *n
		s.unlock()
		p.Push(w, b.notices, b.sent)
		return
	case errors.Is(err, exchange.ErrClosed):
		over = true
	case errors.Is(err, exchange.ErrBusy):
		s.stats.Postponed++
		o.set(dirty) // f is still outdated: retransmit will be called again
	default:
		s.notSent(sh, n, err)
	}
	if over {
		s.over(o)
	}
	s.unlock()
}
