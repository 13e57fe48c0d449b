package coap

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/engine"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// Open starts an exchange that may have several responses; see [exchange.Opener]. The destination
// is that of [Endpoint.RoundTrip], or a multicast address.
func (ep *Endpoint) Open(ctx context.Context, req *Request) (exchange.Responses, error) {
	return ep.echo.Open(ctx, req)
}

// Open is Endpoint.Open without an answer to challenges.
func (s single) Open(ctx context.Context, req *Request) (exchange.Responses, error) {
	ep := s.ep
	to, err := destination(req)
	if err == nil {
		err = checkRequest(to, req, true)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, &OpError{Op: req.Code.String(), Peer: to, Err: err}
	}
	st := &stream{ep: ep, op: req.Code.String(), to: to, ready: make(chan struct{}, 1)}
	opts, m, err := ep.requestOptions(to, req)
	if err == nil {
		opts.User, opts.Open = st, true
		if opts.Window = req.Window; opts.Window <= 0 && !registers(req) {
			opts.Window = ep.cfg.Params.WithDefaults().NonLifetime()
		}
		ep.mu.Lock()
		if ep.closed {
			err = ErrClosed
		} else {
			st.id, err = ep.eng.Request(time.Now(), engine.Target{Remote: to, IfIndex: req.IfIndex}, &m, opts)
		}
		ep.flush()
	}
	if err != nil {
		return nil, &OpError{Op: st.op, Peer: to, Err: err}
	}
	return st, nil
}

// registers reports whether req asks for notifications, which have no end
// (RFC 7641 section 2).
func registers(req *Request) bool {
	v, ok := req.Options.Uint(message.OptionObserve)
	return ok && v == 0
}

// maxPending is how many responses a stream keeps for who reads it: enough for a burst
// of answers from a group.
const maxPending = 256

// stream is an open exchange.
type stream struct {
	ep    *Endpoint
	op    string
	to    netip.AddrPort
	id    engine.Exchange
	ready chan struct{} // has a value when there may be something to take

	// The rest is guarded by Endpoint.mu.
	pending []*Response
	ended   error
}

// settle takes over an event. Endpoint.mu is held.
func (s *stream) settle(ev *engine.Event) {
	switch ev.Kind {
	case engine.EventResponse:
		if len(s.pending) >= maxPending {
			s.pending = append(s.pending[:0], s.pending[1:]...)
			s.ep.eng.Superseded()
		}
		r := new(Response)
		if err := r.Receive(&ev.Message, ev.Peer); err != nil {
			s.ended = err
			return
		}
		s.pending = append(s.pending, r)
		if !ev.More {
			s.ended = io.EOF
		}
	case engine.EventDone:
		s.ended = io.EOF
	case engine.EventEnd:
		s.ended = &OpError{Op: s.op, Peer: s.to, Err: ev.Err, Cause: ev.Cause}
	}
}

func (s *stream) wake() {
	select {
	case s.ready <- struct{}{}:
	default: // it is awake already
	}
}

func (s *stream) Next(ctx context.Context, resp *Response) error {
	for {
		s.ep.mu.Lock()
		var r *Response
		ended := s.ended
		if len(s.pending) > 0 {
			r = s.pending[0]
			s.pending = append(s.pending[:0], s.pending[1:]...)
		}
		s.ep.mu.Unlock()
		switch {
		case r != nil:
			m := message.Message{Code: r.Code, Options: r.Options, Payload: r.Payload}
			return resp.Receive(&m, r.Peer())
		case ended != nil:
			return ended
		}
		s.ep.loop.give()
		select {
		case <-s.ready:
		case <-ctx.Done():
			return &OpError{Op: s.op, Peer: s.to, Err: ctx.Err()}
		}
	}
}

func (s *stream) Renew(ctx context.Context, req *Request) error {
	_, m, err := s.ep.requestOptions(s.to, req)
	if err == nil {
		err = ctx.Err()
	}
	var ended error // is guarded, and complete as it is
	if err == nil {
		s.ep.mu.Lock()
		if ended = s.ended; ended == nil {
			err = s.ep.eng.Renew(time.Now(), s.id, &m)
		}
		s.ep.flush()
	}
	if err != nil {
		return &OpError{Op: s.op, Peer: s.to, Err: err}
	}
	return ended
}

func (s *stream) Close() error {
	s.ep.mu.Lock()
	if s.ended == nil {
		s.ended = &OpError{Op: s.op, Peer: s.to, Err: ErrClosed}
		s.ep.eng.Cancel(time.Now(), s.id)
	}
	s.ep.flush()
	s.wake()
	return nil
}

// Push sends a response to a request that was answered before; see [exchange.Pusher].
func (ep *Endpoint) Push(to Peer, token message.Token, w *Response, confirmable bool, done func(error)) (exchange.Pushed, error) {
	p := &pushed{ep: ep, to: to.Addr, token: bytes.Clone(token), finished: done}
	m := p.message(w)
	if !confirmable {
		m.Type = message.NonConfirmable
	}
	session, _ := to.Session.(*transport.Session)
	target := engine.Target{Remote: to.Addr, Local: to.Local, IfIndex: to.IfIndex, Session: session}
	var err error
	ep.mu.Lock()
	if ep.closed {
		err = ErrClosed
	} else {
		p.id, err = ep.eng.Push(time.Now(), target, &m, p)
	}
	ep.flush()
	if err != nil {
		return nil, p.failed(err)
	}
	return p, nil
}

// pushed is a notification on its way.
type pushed struct {
	ep       *Endpoint
	id       engine.Exchange
	to       netip.AddrPort
	token    message.Token
	finished func(error)

	// The rest is guarded by Endpoint.mu.
	outdated func()
	due      bool // outdated is to be called
	over     bool // finished is to be called
	err      error
}

func (p *pushed) message(w *Response) message.Message {
	return message.Message{Type: message.Confirmable, Code: w.Code, Token: p.token, Options: w.Options, Payload: w.Payload}
}

func (p *pushed) failed(err error) error { return &OpError{Op: "notify", Peer: p.to, Err: err} }

func (p *pushed) settle(ev *engine.Event) {
	switch ev.Kind {
	case engine.EventOutdated:
		p.due = true
	case engine.EventEnd:
		p.over, p.err = true, ev.Err
	case engine.EventAcked:
		p.over = true
	}
}

// wake calls back. No lock is held.
func (p *pushed) wake() {
	p.ep.mu.Lock()
	due, over, err := p.due, p.over, p.err
	p.due, p.over = false, false
	p.ep.mu.Unlock()
	switch {
	case over && p.finished != nil:
		p.finished(err)
	case !over && due:
		p.outdated()
	}
}

func (p *pushed) Forget() {
	p.ep.mu.Lock()
	p.ep.eng.Cancel(time.Now(), p.id)
	p.ep.flush()
}

func (p *pushed) Supersede(due func()) {
	p.ep.mu.Lock()
	defer p.ep.mu.Unlock()
	p.outdated = due
	p.ep.eng.Supersede(p.id)
}

func (p *pushed) Replace(w *Response) error {
	m := p.message(w)
	p.ep.mu.Lock()
	err := p.ep.eng.Replace(time.Now(), p.id, &m)
	p.ep.flush()
	if err != nil {
		return p.failed(err)
	}
	return nil
}

var (
	_ exchange.Opener = (*Endpoint)(nil)
	_ exchange.Pusher = (*Endpoint)(nil)
)
