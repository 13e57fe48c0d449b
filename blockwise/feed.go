package blockwise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/coapkit/coap/exchange"
)

// feed connects the blocks of a streamed upload to the handler that reads them. Blocks are
// sent by one request at a time, the one that has set entry.busy; cur, whole and eof belong to
// the goroutine that reads.
type feed struct {
	ctx    context.Context // of the request in the handler
	cancel context.CancelCauseFunc
	blocks chan []byte   // one may wait; closed after the last
	free   chan []byte   // buffers to be used again
	done   chan struct{} // closed when the handler has returned

	cur, whole []byte
	eof        bool

	// Valid when done is closed.
	resp    exchange.Response
	err     error
	dropped sync.Once // resp was discarded
}

func newFeed(parent context.Context) *feed {
	f := &feed{blocks: make(chan []byte, 1), free: make(chan []byte, 3), done: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancelCause(parent)
	return f
}

// Read gives the handler what has come. It waits for the next block until the transfer is
// given up.
func (f *feed) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, context.Cause(f.ctx)
	}
	for len(f.cur) == 0 && !f.eof {
		if f.whole != nil {
			f.free <- f.whole // has room: one is read, one waits, one is being sent
			f.whole = nil
		}
		select {
		case b, ok := <-f.blocks:
			f.cur, f.whole, f.eof = b, b, !ok
		case <-f.ctx.Done():
			return 0, context.Cause(f.ctx)
		}
	}
	if f.eof {
		return 0, io.EOF
	}
	n := copy(p, f.cur)
	f.cur = f.cur[n:]
	return n, nil
}

// send hands a block over. It returns when the handler has read the one before, or has
// returned, or the transfer was given up: then the error says why.
func (f *feed) send(ctx context.Context, payload []byte) error {
	var b []byte
	select {
	case b = <-f.free:
	default:
	}
	b = append(b[:0], payload...)
	select {
	case f.blocks <- b:
	case <-f.done:
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// abort ends the context of the handler and makes Read fail.
func (f *feed) abort(reason Reason) { f.cancel(&Error{Reason: reason}) }

// returned reports whether the handler has returned.
func (f *feed) returned() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// failed reports whether the handler has answered with an error.
func (f *feed) failed() bool { return f.returned() && (f.err != nil || f.resp.Code.IsError()) }

// beginStream starts the handler of a streamed upload, if there may be one more, and gives it
// the first block.
func (s *Server) beginStream(w *exchange.Response, r *exchange.Request, a asked, e *entry) error {
	f := newFeed(r.Context())
	e.up.feed, e.busy = f, true
	now := time.Now()
	s.mu.Lock()
	if old := s.t.uploads[e.key]; old != nil {
		s.t.end(old, ErrReplaced)
	}
	if s.closing || !s.streamFree(now, e.key.peer) || !s.t.add(now, e) {
		s.unlock()
		f.cancel(nil)
		return s.busy(w, s.cfg.Lifetime/8)
	}
	e.up.take(r.Payload)
	s.running++
	s.unlock()
	go s.runStream(f, s.streamRequest(f, r, e.up))
	return s.sendStream(w, r, a, e)
}

// streamFree makes sure that one more stream may start: it ends the one that was idle longest, if
// that is long. The lock is held.
func (s *Server) streamFree(now time.Time, k peerKey) bool {
	if s.running >= 2*s.cfg.Streams {
		return false // handlers of transfers that were given up, which do not notice
	}
	idle := func(l *list) bool {
		e := l.oldestStream()
		if e == nil || now.Sub(e.used) < s.cfg.Lifetime/8 {
			return false
		}
		s.t.end(e, ErrEvicted)
		return true
	}
	if p := s.t.peers[k]; p != nil && p.streams >= s.cfg.StreamsPerPeer && !idle(&p.entries) {
		return false
	}
	return s.t.streams < s.cfg.Streams || idle(&s.t.all)
}

// streamRequest makes the request for the handler of a stream. It outlives r.
func (s *Server) streamRequest(f *feed, r *exchange.Request, u *upload) *exchange.Request {
	in := *r
	in.Options, in.Payload, in.Body = u.first, nil, f
	return in.Detach(f.ctx)
}

// runStream runs the handler of a stream.
func (s *Server) runStream(f *feed, r *exchange.Request) {
	defer func() {
		if p := recover(); p != nil {
			f.err = fmt.Errorf("coap: handler of a streamed body panicked: %v\n%s", p, debug.Stack())
		}
		// What it points to is the handler's, who does not wait for the last block.
		f.resp.Payload = append([]byte(nil), f.resp.Payload...)
		if f.err != nil && f.ctx.Err() != nil {
			// Nobody is there to be told, and it may be but what Read has said.
			if _, given := errors.AsType[*Error](f.err); !given && !errors.Is(f.err, context.Canceled) {
				s.cfg.Logger.Error("coap: streamed handler failed", "path", r.Path(), "peer", r.Peer(), "error", f.err)
			}
		}
		close(f.done)
		if _, aborted := errors.AsType[*Error](context.Cause(f.ctx)); aborted {
			f.discard()
		}
		f.cancel(nil)
		s.mu.Lock()
		s.running--
		s.checkIdle()
		s.mu.Unlock()
	}()
	f.err = s.next.ServeCoAP(&f.resp, r)
}

// proceedStream takes the next block of a streamed upload. The lock is held, and released.
func (s *Server) proceedStream(w *exchange.Response, r *exchange.Request, a asked, e *entry) error {
	if e.busy {
		// The block before is still waiting for the handler.
		s.unlock()
		return s.busy(w, time.Second)
	}
	e.busy = true
	e.up.take(r.Payload)
	s.unlock()
	return s.sendStream(w, r, a, e)
}

// sendStream gives a block to the handler and answers when that can take the next one; after
// the last block, when it has returned. The caller has set busy.
func (s *Server) sendStream(w *exchange.Response, r *exchange.Request, a asked, e *entry) error {
	f, last := e.up.feed, !a.block1.More
	err := f.pass(r.Context(), r.Payload, last)
	s.mu.Lock()
	e.busy = false
	if !e.listed() && err == nil {
		err = &Error{Reason: ErrReplaced} // or the like, while this one was waiting
	}
	failed := f.failed()
	switch {
	case err != nil || failed:
		s.t.end(e, 0)
	case last:
		s.t.stats.Completed++
		s.t.end(e, 0)
	default:
		s.t.touch(time.Now(), e)
	}
	s.unlock()
	switch {
	case err != nil:
		f.abort(ErrShutdown) // unless it was for another reason
		if errors.Is(err, ErrShutdown) || r.Context().Err() != nil {
			return s.busy(w, s.cfg.Lifetime)
		}
		return s.incomplete(w, a, "the transfer was given up")
	case last || failed:
		*w = f.resp
		inner := *r
		inner.Options, inner.Payload = e.up.first, nil
		if !a.has2 {
			a.block2, a.has2 = e.up.block2, e.up.has2
		}
		return s.deliver(w, &inner, a, f.err)
	}
	return s.goOn(w, a)
}

// pass sends a block and, if it is the last one, waits for the handler. What comes after that has
// returned is discarded.
func (f *feed) pass(ctx context.Context, payload []byte, last bool) error {
	err := f.send(ctx, payload)
	if last && err == nil {
		close(f.blocks)
		select {
		case <-f.done:
		case <-f.ctx.Done():
			err = context.Cause(f.ctx)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if f.returned() {
		return nil // its context ends then, too
	}
	return err
}

// discard closes the body of the response that nobody will get. It is called after abort, and by
// runStream if there was one.
func (f *feed) discard() {
	if f.returned() {
		f.dropped.Do(func() {
			body, _ := f.resp.TakeBody()
			closeBody(body)
		})
	}
}

// checkIdle tells Shutdown when no handler is left. The lock is held.
func (s *Server) checkIdle() {
	if s.closing && s.running == 0 {
		close(s.idle)
	}
}

// Shutdown ends all transfers: their memory is freed, the contexts of streamed handlers end, and
// new ones are answered with 5.03. It waits for streamed handlers to return until ctx ends,
// then returns the error of ctx. Requests that are no part of a transfer are still served.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		for _, e := range s.t.uploads {
			s.t.end(e, ErrShutdown)
		}
		for _, e := range s.t.downloads {
			s.t.end(e, ErrShutdown)
		}
		if s.timer != nil {
			s.timer.Stop()
		}
		s.checkIdle()
	}
	s.unlock()
	select {
	case <-s.idle:
		return nil
	default:
	}
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
