package observe

import (
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// attempt is a request that may become a registration: if o is not nil, it is on the list already while
// it is answered, so that no change is missed between rendering and registering.
type attempt struct {
	o       *observer
	kept    *exchange.Request
	seq     uint64
	every   int
	success bool
}

// begin puts the sender of r on the list, if there is room.
func (a *attempt) begin(s *Server, r *exchange.Request) {
	if a.o = s.enter(r, time.Now()); a.o == nil {
		return
	}
	a.kept = r.Clone()
	a.kept.Options.Remove(message.OptionObserve)
	a.every = s.cfg.ConfirmEvery
	if s.cfg.ConfirmFor != nil {
		a.every = orDefault(s.cfg.ConfirmFor(a.kept), a.every)
	}
	a.seq = s.reserve(a.o)
}

// serve answers r.
func (a *attempt) serve(s *Server, w *exchange.Response, r *exchange.Request) error {
	defer func() { // also when the handler panics
		if a.o != nil {
			s.entered(a.o, a.kept, w, a.success, a.seq, a.every)
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
	if a.success = w.Code.IsSuccess() && acceptable(w, a.kept); a.success {
		w.Options.SetUint(message.OptionObserve, a.seq&seqMask)
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
