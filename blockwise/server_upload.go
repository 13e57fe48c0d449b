package blockwise

import (
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// serveBlock1 answers a request that carries a block of its body. r has no Block options any
// more.
func (s *Server) serveBlock1(w *exchange.Response, r *exchange.Request, a asked) error {
	b := a.block1
	switch {
	case b.More && len(r.Payload) != b.Size():
		return refuse(w, message.BadRequest, "a block that is not the last has to have the size that it states")
	case a.block2.Num > 0:
		return refuse(w, message.BadRequest, "the response cannot be asked for from the middle before the request is complete")
	case b.Num > 0:
		return s.proceed(w, r, a)
	case b.More:
		return s.begin(w, r, a)
	}
	s.forget(r)
	return s.serveWhole(w, r, a)
}

// forget gives up the upload that a new one takes the place of.
func (s *Server) forget(r *exchange.Request) {
	var tmp [usualOperation]byte
	op := appendOperation(tmp[:0], r.Code, &r.Options)
	s.mu.Lock()
	if e := s.t.upload(keyOf(r.Peer()), op); e != nil {
		s.t.end(e, ErrReplaced)
	}
	s.unlock()
}

// begin starts an upload with its first block. One that the peer has under way for the
// same operation is forgotten (RFC 7959 section 2.5).
func (s *Server) begin(w *exchange.Response, r *exchange.Request, a asked) error {
	mode, err := s.mode(r)
	if err != nil {
		return err
	}
	claimed, _ := r.Options.Size1()
	if int64(len(r.Payload)) > mode.Limit || int64(claimed) > mode.Limit {
		s.forget(r)
		return s.tooLarge(w, a, mode.Limit)
	}
	u := &upload{first: r.Options.Clone(), block2: a.block2, has2: a.has2, limit: mode.Limit, most: s.cfg.Ahead}
	e := &entry{key: key{keyOf(r.Peer()), operation(r)}, up: u}
	if mode.Stream {
		return s.beginStream(w, r, a, e)
	}
	s.mu.Lock()
	switch {
	case s.closing:
		s.mu.Unlock()
		return s.busy(w, s.cfg.Lifetime)
	case !s.t.add(time.Now(), e) || !s.gather(e, r.Payload):
		s.t.end(e, ErrEvicted)
		s.unlock()
		return s.tooLarge(w, a, s.capacity(e.up.limit))
	}
	s.unlock()
	return s.goOn(w, a)
}

// gather adds a block to an upload that is not streamed, if there is room. The lock is held.
func (s *Server) gather(e *entry, payload []byte) bool {
	u := e.up
	for _, capacity := range [...]int{u.room(len(payload)), len(u.body) + len(payload)} {
		grow := max(capacity-cap(u.body), 0)
		if s.t.charge(e, grow, grow) {
			u.reserve(capacity)
			u.take(payload)
			return true
		}
	}
	return false
}

// capacity is how long a gathered body can be at most.
func (s *Server) capacity(limit int64) int64 {
	return min(limit, int64(max(min(s.cfg.Bytes, s.cfg.BytesPerPeer)-2*entryBytes, 0)))
}

// goOn answers 2.31 (RFC 7959 section 2.9.1): neither payload nor Block2.
func (s *Server) goOn(w *exchange.Response, a asked) error {
	w.Reset()
	w.Code = message.Continue
	acknowledge(w, a, min(a.block1.SZX, s.szx), true)
	return nil
}

// proceed takes a block that is not the first.
func (s *Server) proceed(w *exchange.Response, r *exchange.Request, a asked) error {
	b := a.block1
	var tmp [usualOperation]byte
	op := appendOperation(tmp[:0], r.Code, &r.Options)
	s.mu.Lock()
	e := s.t.upload(keyOf(r.Peer()), op)
	if e == nil {
		s.unlock()
		return s.incomplete(w, a, "the block belongs to no transfer; start with block 0")
	}
	switch e.up.judge(b, r.Payload) {
	case otherBlock:
		// Two bodies are mixed up here: nothing that follows could make one of them.
		s.t.end(e, ErrReplaced)
		s.unlock()
		return s.incomplete(w, a, "the block is not what came before at its place; start with block 0")
	case gapBlock:
		s.unlock()
		return s.incomplete(w, a, "the block is not the next, nor what came before")
	case earlyBlock:
		if n := len(r.Payload) + pieceBytes; !s.t.charge(e, n, n) {
			s.unlock()
			return s.incomplete(w, a, "there is no room for a block before its turn")
		}
		e.up.keep(b.Offset(), r.Payload)
		s.t.touch(time.Now(), e)
		s.unlock()
		return s.goOn(w, a)
	case largeBlock:
		limit := e.up.limit
		s.t.end(e, ErrTooLarge)
		s.unlock()
		return s.tooLarge(w, a, limit)
	case repeatBlock:
		s.t.touch(time.Now(), e)
		s.unlock()
		return s.goOn(w, a)
	}
	if e.up.feed != nil {
		return s.proceedStream(w, r, a, e) // unlocks
	}
	waited := e.up.waits
	for p, ok := r.Payload, true; p != nil || !ok; p, ok = e.up.turn(!b.More) {
		switch {
		case !ok:
			s.t.end(e, ErrReplaced)
			s.unlock()
			return s.incomplete(w, a, "blocks contradict each other; start with block 0")
		case !s.gather(e, p):
			s.t.end(e, ErrEvicted)
			s.unlock()
			return s.tooLarge(w, a, s.capacity(e.up.limit))
		}
	}
	s.t.account(e, e.up.waits-waited, e.up.waits-waited)
	if b.More {
		s.t.touch(time.Now(), e)
		s.unlock()
		return s.goOn(w, a)
	}
	s.t.stats.Completed++
	s.t.detach(e) // what it occupies is accounted for while the handler runs
	s.unlock()
	defer s.release(e)
	return s.complete(w, r, a, e.up)
}

// complete runs the handler with the whole body and the options of the first block, those that
// the client need not repeat included.
func (s *Server) complete(w *exchange.Response, r *exchange.Request, a asked, u *upload) error {
	inner := *r
	inner.Options, inner.Payload = u.first, u.body
	if !a.has2 {
		a.block2, a.has2 = u.block2, u.has2
	}
	inner.Gathered()
	return s.deliver(w, &inner, a, s.next.ServeCoAP(w, &inner))
}

func (s *Server) release(e *entry) {
	s.mu.Lock()
	s.t.release(e)
	s.unlock()
}

// Continues reports whether r is a later block of an upload that is under way, or asks for a later
// block of a response that is kept. Such a request needs no turn of its own in a limit on running
// handlers, so that new requests cannot starve the transfers that have begun.
func (s *Server) Continues(r *exchange.Request) bool {
	b1, has1 := ParseBlock(&r.Options, message.OptionBlock1)
	b2, has2 := ParseBlock(&r.Options, message.OptionBlock2)
	if (!has1 || b1.Num == 0) && (!has2 || b2.Num == 0) {
		return false
	}
	var tmp, tmp2 [usualOperation]byte
	op, selection := appendOperation(tmp[:0], r.Code, &r.Options), appendSelection(tmp2[:0], r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if has1 && b1.Num > 0 {
		e := s.t.upload(keyOf(r.Peer()), op)
		// The last block of a gathered body runs the handler.
		return e != nil && (b1.More || e.up.feed != nil)
	}
	e := s.t.download(keyOf(r.Peer()), selection)
	return e != nil && e.down.expects(b2)
}
