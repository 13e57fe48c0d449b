package observe

import (
	"math"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// attempt is a request that may become a registration: if o is not nil, it is on the list already while
// it is answered, so that no change is missed between rendering and registering.
type attempt struct {
	o       *observer
	group   *group
	route   *route
	version uint32 // of group when it began
	seq     uint32
	every   uint32
	success bool
}

// begin puts the sender of r, which has no Observe option any more, on the list, if there is room.
func (a *attempt) begin(s *Server, r *exchange.Request) {
	every := s.cfg.ConfirmEvery
	if s.cfg.ConfirmFor != nil {
		every = orDefault(s.cfg.ConfirmFor(r), every)
	}
	a.every = uint32(min(every, math.MaxInt32))
	var room [128]byte
	key := s.share(room[:0], r, s.watch(r))
	s.mu.Lock()
	defer s.unlock()
	a.group, a.route = s.hold(key, r), s.routeOf(r)
	if a.o = s.enter(r, a.group, a.route); a.o == nil {
		s.let(a.group)
		return
	}
	a.version = a.group.version
	// The number is given out before the representation is made, so that of two
	// representations the one that was started later has the higher number.
	a.seq = s.number(a.o, s.begun())
}

// serve answers r.
func (a *attempt) serve(s *Server, w *exchange.Response, r *exchange.Request) error {
	defer func() { // also when the handler panics
		if a.o != nil {
			s.entered(a, w)
		}
	}()
	err := s.next.ServeCoAP(w, r)
	if a.o == nil {
		w.Options.Remove(message.OptionObserve) // (RFC 7641 section 4.1)
		return err
	}
	if err != nil {
		return err
	}
	if w.Code == message.Empty {
		w.Code = message.Content
	}
	// A later 4.06 would not go with an Observe option.
	if a.success = w.Code.IsSuccess() && acceptable(w, a.group.req); a.success {
		w.Options.SetUint(message.OptionObserve, uint64(a.seq))
	} else {
		w.Options.Remove(message.OptionObserve)
	}
	return nil
}

// maxGathered is the longest body of a registration in several blocks, in bytes: it is kept for as long
// as the observation.
const maxGathered = 8192

// isLastBlock reports whether r is the end of a FETCH of several blocks.
func isLastBlock(r *exchange.Request) bool {
	v, ok := r.Options.Uint(message.OptionBlock1)
	return ok && r.Code == message.FETCH && v>>4 > 0 && v&8 == 0
}

// serveGathered answers a FETCH of several blocks by its last one. It is a registration if the first or
// the last block says so; the token is that of the last, since that is the request that the
// notifications answer.
func (s *Server) serveGathered(w *exchange.Response, r *exchange.Request) error {
	var a attempt
	action, asked := r.Options.Uint(message.OptionObserve)
	if asked && action == deregister {
		s.deregister(r)
	}
	r.Options.Remove(message.OptionObserve)
	r.OnGathered(func(whole *exchange.Request) {
		if v, ok := whole.Options.Uint(message.OptionObserve); ok && !asked {
			action, asked = v, true
		}
		whole.Options.Remove(message.OptionObserve)
		if asked && action == register && observable(whole) && len(whole.Payload) <= maxGathered {
			a.begin(s, whole)
		}
	})
	return a.serve(s, w, r)
}
