package coap

import (
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
	s := &stream{ep: ep, op: req.Code.String(), to: to, ready: make(chan struct{}, 1)}
	opts, m, err := ep.requestOptions(to, req)
	if err == nil {
		opts.User, opts.Open = s, true
		if opts.Window = req.Window; opts.Window <= 0 {
			opts.Window = ep.cfg.Params.WithDefaults().NonLifetime()
		}
		if to.Addr().IsMulticast() {
			m.Type = message.NonConfirmable // (RFC 7252 section 8.1)
		}
		ep.mu.Lock()
		if ep.closed {
			err = ErrClosed
		} else {
			s.id, err = ep.eng.Request(time.Now(), engine.Target{Remote: to, IfIndex: req.IfIndex}, &m, opts)
		}
		ep.flush()
	}
	if err != nil {
		return nil, &OpError{Op: s.op, Peer: to, Err: err}
	}
	return s, nil
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
	p := &pushed{ep: ep, finished: done}
	m := message.Message{Type: message.NonConfirmable, Code: w.Code, Token: token, Options: w.Options, Payload: w.Payload}
	if confirmable {
		m.Type = message.Confirmable
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
		return nil, &OpError{Op: "notify", Peer: to.Addr, Err: err}
	}
	return p, nil
}

// pushed is a notification on its way.
type pushed struct {
	ep       *Endpoint
	id       engine.Exchange
	finished func(error)
	err      error
}

func (p *pushed) settle(ev *engine.Event) {
	if ev.Kind == engine.EventEnd {
		p.err = ev.Err
	}
}

// wake calls back. No lock is held.
func (p *pushed) wake() {
	if p.finished != nil {
		p.finished(p.err)
	}
}

func (p *pushed) Forget() {
	p.ep.mu.Lock()
	p.ep.eng.Cancel(time.Now(), p.id)
	p.ep.flush()
}

var (
	_ exchange.Opener = (*Endpoint)(nil)
	_ exchange.Pusher = (*Endpoint)(nil)
)
