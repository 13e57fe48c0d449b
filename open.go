package coap

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/coapkit/coap/codec"
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
		err = ep.speaks(req.Authority.Scheme)
	}
	if err == nil {
		err = checkRequest(to, req, true)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, &OpError{Op: req.Code.String(), Peer: to, Err: err}
	}
	target, err := ep.target(ctx, to, nameOf(req.Authority), req)
	if err != nil {
		return nil, err
	}
	st := &stream{ep: ep, op: req.Code.String(), to: target, ready: make(chan struct{}, 1)}
	opts, m, err := ep.requestOptions(target, req)
	if err == nil {
		opts.User, opts.Open = st, true
		if opts.Window = req.Window; opts.Window <= 0 && !registers(req) {
			opts.Window = ep.cfg.Params.WithDefaults().NonLifetime()
		}
		ep.mu.Lock()
		if ep.closed {
			err = ErrClosed
		} else {
			st.sent = time.Now()
			st.id, err = ep.eng.Request(st.sent, target, &m, opts)
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
	to    engine.Target
	id    engine.Exchange
	ready chan struct{} // has a value when there may be something to take

	// The rest is guarded by Endpoint.mu.
	pending []*Response
	ended   error
	sent    time.Time // the last request
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
		s.ended = &OpError{Op: s.op, Peer: s.to.Remote, Err: ev.Err, Cause: ev.Cause}
	}
}

func (s *stream) wake() {
	select {
	case s.ready <- struct{}{}:
	default: // it is awake already
	}
	s.ep.mu.Lock()
	ended, sent := s.ended, s.sent
	s.ep.mu.Unlock()
	if errors.Is(ended, ErrNotAcknowledged) {
		s.ep.doubt(s.to.Session, sent)
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
			return &OpError{Op: s.op, Peer: s.to.Remote, Err: ctx.Err()}
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
			s.sent = time.Now()
			err = s.ep.eng.Renew(s.sent, s.id, &m)
		}
		s.ep.flush()
	}
	if err != nil {
		return &OpError{Op: s.op, Peer: s.to.Remote, Err: err}
	}
	return ended
}

func (s *stream) Close() error {
	s.ep.mu.Lock()
	if s.ended == nil {
		s.ended = &OpError{Op: s.op, Peer: s.to.Remote, Err: ErrClosed}
		s.ep.eng.Cancel(time.Now(), s.id)
	}
	s.ep.flush()
	s.wake()
	return nil
}

// Push sends a response to requests that were answered before; see [exchange.Pusher].
func (ep *Endpoint) Push(w *Response, to []exchange.Notice, ready func()) {
	b := pushes.Get().(*push)
	now := time.Now()
	ep.mu.Lock()
	sent := b.fill(ep, w, to, now)
	ep.mu.Unlock()
	if ready != nil {
		ready()
	}
	// These do not wait in the queue of the endpoint: who pushes faster than the transport
	// sends is slowed down by that.
	failed := ep.write(b.batch[:sent])
	ep.mu.Lock()
	if failed > 0 {
		ep.undelivered(b.batch[:failed])
	}
	ep.flush()
	b.options.Reset()
	pushes.Put(b)
}

// push is the memory of a call of Push.
type push struct {
	batch   []transport.Datagram
	options message.Options
	encoded []byte
	seq     uint32 // of what is encoded
}

var pushes = sync.Pool{New: func() any { return new(push) }}

// fill puts into batch what is not confirmable, hands the rest to the engine, and returns how much is in batch.
// Endpoint.mu is held.
func (b *push) fill(ep *Endpoint, w *Response, to []exchange.Notice, now time.Time) (n int) {
	var bad error
	for i := range to {
		t := &to[i]
		if i == 0 || b.seq != t.Seq {
			b.seq = t.Seq
			bad = b.encode(w)
		}
		session, _ := t.Peer.Session.(*transport.Session)
		target := engine.Target{Remote: t.Peer.Addr, Local: t.Peer.Local, IfIndex: t.Peer.IfIndex, Session: session}
		switch t.Err = bad; {
		case bad != nil:
		case ep.closed:
			t.Err = ErrClosed
		case t.Confirmable:
			p := &pushed{ep: ep, to: t.Peer.Addr, token: bytes.Clone(t.Token), finished: t.Done}
			m := p.message(w, b.options)
			if p.id, t.Err = ep.eng.Push(now, target, &m, p); t.Err == nil {
				t.Pushed = p
			}
		default:
			if n == len(b.batch) {
				b.batch = append(b.batch, transport.Datagram{})
			}
			if t.ID, t.Err = ep.eng.Notify(now, target, w.Code, t.Token, b.encoded[codec.HeaderSize:], &b.batch[n]); t.Err == nil {
				n++
			}
		}
		if t.Err != nil {
			t.Err = notSent(t.Peer.Addr, t.Err)
		}
	}
	return n
}

// encode encodes w with the sequence number.
func (b *push) encode(w *Response) (err error) {
	if _, err = w.Options.Encoded(); err == nil {
		copyOptions(&b.options, w, b.seq)
		m := message.Message{Code: w.Code, Options: b.options, Payload: w.Payload}
		b.encoded, err = codec.AppendUDP(b.encoded[:0], &m)
	}
	return err
}

// copyOptions makes o the options of w as a notification: with a sequence number, unless it is an error
// (RFC 7641 section 3.2).
func copyOptions(o *message.Options, w *Response, seq uint32) {
	o.Reset()
	it := w.Options.Iter()
	for it.Next() {
		if it.Number() != message.OptionObserve {
			o.Add(it.Number(), it.Value())
		}
	}
	if w.Code.IsSuccess() {
		o.SetUint(message.OptionObserve, uint64(seq))
	}
}

func notSent(to netip.AddrPort, err error) error { return &OpError{Op: "notify", Peer: to, Err: err} }

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

func (p *pushed) message(w *Response, o message.Options) message.Message {
	return message.Message{Type: message.Confirmable, Code: w.Code, Token: p.token, Options: o, Payload: w.Payload}
}

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

func (p *pushed) Replace(w *Response, seq uint32) error {
	if _, err := w.Options.Encoded(); err != nil {
		return notSent(p.to, err)
	}
	var o message.Options
	copyOptions(&o, w, seq)
	m := p.message(w, o)
	p.ep.mu.Lock()
	err := p.ep.eng.Replace(time.Now(), p.id, &m)
	p.ep.flush()
	if err != nil {
		return notSent(p.to, err)
	}
	return nil
}

// resets hands Resets on to those who have pushed.
type resets struct {
	ep *Endpoint

	// The rest is guarded by Endpoint.mu.
	watchers []*func(Peer, uint16) bool // is not changed, but replaced
	pending  []reset
}

type reset struct {
	from Peer
	id   uint16
}

// Watch tells of Resets; see [exchange.Pusher].
func (ep *Endpoint) Watch(rejected func(from Peer, id uint16) bool) (stop func()) {
	r, w := &ep.resets, &rejected
	ep.mu.Lock()
	defer ep.mu.Unlock()
	r.ep = ep
	r.watchers = append(slices.Clone(r.watchers), w)
	ep.eng.WatchResets(r)
	return func() {
		ep.mu.Lock()
		defer ep.mu.Unlock()
		r.watchers = slices.DeleteFunc(slices.Clone(r.watchers), func(other *func(Peer, uint16) bool) bool { return other == w })
		if len(r.watchers) == 0 {
			ep.eng.WatchResets(nil)
		}
	}
}

func (r *resets) settle(ev *engine.Event) {
	r.pending = append(r.pending, reset{ev.Peer, ev.Message.MessageID})
}

// wake tells of all that are pending. No lock is held.
func (r *resets) wake() {
	r.ep.mu.Lock()
	pending, watchers := r.pending, r.watchers
	r.pending = nil
	r.ep.mu.Unlock()
	for _, p := range pending {
		known := slices.ContainsFunc(watchers, func(w *func(Peer, uint16) bool) bool { return (*w)(p.from, p.id) })
		r.ep.mu.Lock()
		r.ep.eng.Rejected(known)
		r.ep.mu.Unlock()
	}
}

var (
	_ exchange.Opener = (*Endpoint)(nil)
	_ exchange.Pusher = (*Endpoint)(nil)
)
