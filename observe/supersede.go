package observe

import (
	"errors"

	"github.com/coapkit/coap/exchange"
)

// What becomes of a confirmable notification when the state changes before it is acknowledged
// (RFC 7641 section 4.5.2): where it would be retransmitted, the present state is rendered and sent in
// its place. What is acknowledged in time costs nothing.

// replacing is the state of an observer with such a notification.
type replacing uint8

const (
	notReplacing  replacing = iota
	isReplacing             // the present state is being rendered and sent
	replacingOver           // and the notification, the old or the new one, was acknowledged meanwhile
)

// supersede says that the confirmable notification on its way to o is outdated. mu is held.
func (s *Server) supersede(o *observer) {
	p, flight := o.pushed, o.flight
	s.after = append(s.after, func() { p.Supersede(func() { s.retransmit(o, flight) }) })
}

// retransmit is called when an outdated notification would be retransmitted.
func (s *Server) retransmit(o *observer, flight uint64) {
	s.mu.Lock()
	defer s.unlock()
	if o.flight != flight || !o.inFlight || o.replacing != notReplacing || o.removed {
		return
	}
	o.replacing = isReplacing
	s.ready(o)
}

// replace sends w in place of the notification p on its way to o, or by itself if that has just ended.
func (s *Server) replace(o *observer, sh shipment, p exchange.Pushed, w *exchange.Response, final bool) {
	err := p.Replace(w)
	s.mu.Lock()
	over := o.replacing == replacingOver
	o.replacing = notReplacing
	switch {
	case err == nil:
		s.stats.Confirmable++
		s.stats.Superseded++
		if o.dirty && o.pushed != nil {
			s.supersede(o) // once more
		}
	case errors.Is(err, exchange.ErrClosed) && o.inFlight && (final || !o.removed):
		o.pushed = nil
		o.flight++ // so that the end of p, if it is told later, is not that of what follows
		flight := o.flight
		s.unlock()
		s.push(o, sh, w, true, final, flight)
		return
	case errors.Is(err, exchange.ErrClosed):
		over = true
	case errors.Is(err, exchange.ErrBusy):
		s.stats.Postponed++
		o.dirty = true // p is still outdated: retransmit will be called again
	default:
		s.notSent(o, sh, err)
	}
	if over {
		s.land(o)
	}
	s.unlock()
}
