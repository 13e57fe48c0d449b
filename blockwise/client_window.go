package blockwise

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// pipe gets blocks of a response's body ahead of those that it has handed on, or has those of a request's
// acknowledged ahead. The goroutine of the transfer takes them in order; up to as many others as blocks may be under way each make one
// round trip after the other, and end with the pipe.
//
// What goes wrong with a block that was asked for, or sent, ahead proves nothing: the body may end before it, and
// some servers want them in order. None behind it is asked for then, and it is
// asked for again, alone, when it is its turn.
type pipe struct {
	t   *transfer
	szx uint8
	// fill makes the request for a block, that its slot has the options of. fits reports whether
	// the response is what it should be, and whether other blocks follow.
	fill   func(n int64, s *slot) error
	fits   func(n int64, s *slot) (more, ok bool)
	ctx    context.Context
	cancel context.CancelFunc
	come   chan struct{} // has a value when the next block may have come
	work   sync.WaitGroup
	// refused says that the transfer has ended with a response that is not the body, once it is closed.
	refused bool

	mu      sync.Mutex // guards the rest
	idle    *sync.Cond // where those wait who have nothing to ask for
	waiting int        // as many
	running int
	closed  bool
	latest  int64 // of the blocks that were answered, the one asked for last
	w       window
	slots   []slot // block n is in slots[n % len(slots)]
}

// slot is a place for a block. It belongs to who asks for the block until it has come, then to the
// goroutine of the transfer.
type slot struct {
	out    exchange.Request
	resp   exchange.Response
	buf    []byte // the payload of out, in an upload
	err    error
	come   bool
	unread bool // there is no payload for it
}

// parallel returns how many blocks may be under way at a time.
func (t *transfer) parallel() int {
	most := t.c.cfg.Window
	if most < 2 || t.inBlocks || !isSafe(t.req.Code) {
		return 1
	}
	if f := t.c.cfg.NStart; f != nil {
		most = min(most, f(&t.out))
	}
	return most
}

// openPipe returns a pipe that begins where the download is, nil if blocks are to be asked for one
// at a time.
func (t *transfer) openPipe() *pipe {
	szx := min(t.ask, t.down)
	if t.got&(16<<szx-1) != 0 {
		return nil // it was resumed within a block
	}
	most := t.parallel()
	base, stop := t.got>>(szx+4), min(t.limit>>(szx+4), maxNum)+1
	if t.total > 0 {
		stop = min(stop, (t.total-1)>>(szx+4)+1) // what the server estimates
	}
	if most = int(min(int64(most), stop-base)); most < 2 {
		return nil
	}
	t.options(true)
	t.out.Options.SetUint(message.OptionBlock2, blockAt(t.got, szx, false).Value())
	t.selectBy()
	p := newPipe(t, szx, newWindow(base, stop, most))
	p.fill, p.fits = p.askFor, p.holds
	p.start()
	return p
}

func newPipe(t *transfer, szx uint8, w window) *pipe {
	return &pipe{t: t, szx: szx, come: make(chan struct{}, 1), w: w, slots: make([]slot, 2*w.most)}
}

// start begins to ask, when fill and fits are set.
func (p *pipe) start() {
	p.ctx, p.cancel = context.WithCancel(p.t.ctx)
	p.idle = sync.NewCond(&p.mu)
	p.mu.Lock()
	p.hire(p.w.room())
	p.mu.Unlock()
}

// close gives up what is under way. Closing again does nothing.
func (p *pipe) close() {
	p.mu.Lock()
	p.closed = true
	p.idle.Broadcast()
	p.mu.Unlock()
	p.cancel()
	p.work.Wait()
}

// hire sees to it that n blocks are asked for. The lock is held.
func (p *pipe) hire(n int) {
	for range n {
		switch {
		case p.waiting > 0:
			p.waiting--
			p.idle.Signal()
		case p.running < p.w.most:
			p.running++
			p.work.Go(p.run)
		}
	}
}

// run asks for one block after the other.
func (p *pipe) run() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed {
		if p.w.room() == 0 {
			p.waiting++
			p.idle.Wait()
			continue
		}
		n := p.w.ask()
		s, err := p.prepare(n)
		p.mu.Unlock()
		if err == nil {
			err = p.t.c.next.RoundTrip(p.ctx, &s.out, &s.resp)
		}
		p.mu.Lock()
		p.arrived(n, s, err)
		p.hire(p.w.room() - 1)
	}
}

// prepare returns the slot of block n, with the request for it. The lock is held.
func (p *pipe) prepare(n int64) (*slot, error) {
	s := p.slot(n)
	if s.out.Code == 0 {
		s.out = p.t.out
		s.out.Options = p.t.out.Options.Clone()
	}
	s.come, s.err = false, nil
	return s, p.fill(n, s)
}

// askFor asks for block n of a response's body.
func (p *pipe) askFor(n int64, s *slot) error {
	s.out.Options.SetUint(message.OptionBlock2, Block{Num: uint32(n), SZX: p.szx}.Value())
	return nil
}

// arrived notes how the request for block n has ended. The lock is held.
func (p *pipe) arrived(n int64, s *slot, err error) {
	s.err, s.come = err, true
	lost := errors.Is(err, exchange.ErrTimeout)
	if err == nil {
		p.latest = max(p.latest, n)
		lost = s.resp.Retransmissions > 0
	}
	p.w.answered(n, lost)
	switch more, ok := p.fits(n, s); {
	case !ok:
		p.w.end(n)
	case !more:
		p.w.end(n + 1)
	}
	if n == p.w.base {
		select {
		case p.come <- struct{}{}:
		default:
		}
	}
}

// holds reports whether a slot has block n of a response's body, which may be one of another body, and whether others
// follow.
func (p *pipe) holds(n int64, s *slot) (more, ok bool) {
	if s.err != nil || s.resp.Code != p.t.resp.Code {
		return false, false
	}
	b, has := ParseBlock(&s.resp.Options, message.OptionBlock2)
	if !has || b.SZX != p.szx || int64(b.Num) != n || b.More && len(s.resp.Payload) != b.Size() {
		return false, false
	}
	return b.More, true
}

// take waits for the next block. It returns nil if there is none that fits.
func (p *pipe) take() *slot {
	for {
		p.mu.Lock()
		s, over := p.slot(p.w.base), p.w.base >= p.w.stop
		come := s.come
		p.mu.Unlock()
		switch {
		case over:
			return nil
		case come:
			return s
		}
		<-p.come
	}
}

// taken makes room for another block in place of the one that take has returned.
func (p *pipe) taken() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slot(p.w.base).come = false
	p.w.base++
	p.hire(p.w.room())
}

func (p *pipe) slot(n int64) *slot { return &p.slots[n%int64(len(p.slots))] }

// downloadAhead gets blocks until the body is complete or the rest is to be asked for one at a time.
func (t *transfer) downloadAhead(p *pipe) (more, changed bool, err error) {
	defer p.close()
	for more = true; more && !changed && err == nil; {
		s := p.take()
		if s == nil {
			p.close()
			return p.askAlone()
		}
		t.asked = t.got
		more, changed, err = t.take(&s.resp)
		p.taken()
	}
	return more, changed, err
}

// maxPause is how long a transfer pauses when a server that is asked for several blocks at a time
// says that it is too much.
const maxPause = time.Minute

// askAlone decides whether the next block, which did not come as it should, is asked for again when
// nothing else is under way. The pipe is closed.
func (p *pipe) askAlone() (more, changed bool, err error) {
	t, s := p.t, p.slot(p.w.base)
	switch code := s.resp.Code; {
	case !s.come: // it was not asked for: the body is longer than was said
	case s.err != nil && !p.alive(s):
		return false, false, t.interrupted(s.err)
	case s.err != nil:
	case code == message.ServiceUnavailable || code == message.TooManyRequests:
		pause := s.resp.Options.MaxAge() // (RFC 7252 section 5.9.3.4, RFC 8516 section 3)
		if pause > maxPause {
			*t.resp, s.resp = s.resp, *t.resp
			t.strip()
			p.refused = true
			return false, false, nil
		}
		return true, false, t.pause(pause)
	}
	return true, false, nil
}

// alive reports whether there is hope for a block that there was no response to: one that was asked for
// later had its, or it was refused for want of room.
func (p *pipe) alive(s *slot) bool {
	var end exchange.EndError
	if !errors.As(s.err, &end) {
		return false
	}
	return end == exchange.ErrBusy || end == exchange.ErrReset || end.Timeout() && p.latest > p.w.base
}

// pause waits, unless the transfer is given up.
func (t *transfer) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-t.ctx.Done():
		return t.interrupted(t.ctx.Err())
	}
}
