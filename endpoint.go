package coap

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/engine"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport"
)

// Endpoint is a CoAP endpoint on one transport: it sends requests and, if it has a handler,
// answers those of others (RFC 7252 section 4.1). [Server] and [Client] are made of it.
// All methods may be called concurrently.
type Endpoint struct {
	conn    transport.Conn
	dialer  transport.Dialer // conn, if it has secure sessions
	cfg     *Config
	log     *slog.Logger
	blocks  *blockwise.Server // around the user's handler
	handler *observe.Server   // around blocks
	gate    *echo.Server      // around handler
	checks  bool              // the user's handler checks options itself
	client  *blockwise.Client // around echo
	echo    *echo.Client      // around single
	verify  func(Peer)        // verified
	router  router            // the user's handler, if it is one
	pace    pace              // of a handler that is none
	loop    *loop
	limits  Limits
	waiters sync.Pool // of *waiter

	ctx    context.Context // of the requests in handlers; ends with Close
	cancel context.CancelFunc
	read   chan struct{} // closed when the read loop has ended
	idle   chan struct{} // closed when nothing is under way after Shutdown

	// mu guards the rest. No system call, callback or channel operation happens under it.
	mu       sync.Mutex
	eng      *engine.Engine
	timer    *time.Timer
	timerAt  time.Time     // when timer fires; zero: not set
	flushing bool          // somebody is in flush, and the only user of out and traces
	flushed  chan struct{} // if not nil, to be closed when flushing is over
	draining bool
	closed   bool
	closeErr error // why the read loop ended
	out      []transport.Datagram
	traces   []exchange.TraceEvent
	resets   resets // see open.go
}

// NewEndpoint starts an endpoint on conn, which it closes in the end. handler answers the
// requests of others; nil answers each with 4.04. The error is about cfg.
func NewEndpoint(conn transport.Conn, handler Handler, cfg *Config) (*Endpoint, error) {
	cfg = cfg.orDefault()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if handler == nil {
		handler = HandlerFunc(func(*Response, *Request) error { return &Error{Code: message.NotFound} })
	}
	ep := &Endpoint{
		conn: conn, cfg: cfg, log: cfg.logger(), limits: cfg.Limits.WithDefaults(),
		read: make(chan struct{}), idle: make(chan struct{}),
		eng: engine.New(cfg.engine(), time.Now()),
		out: make([]transport.Datagram, batchSize),
	}
	ep.dialer, _ = conn.(transport.Dialer)
	_, ep.checks = handler.(exchange.OptionChecker)
	serve, send := cfg.blocks(handler)
	ep.blocks = blockwise.NewServer(handler, serve)
	ep.handler = observe.NewServer(ep.blocks, cfg.observe(handler))
	ep.gate = echo.NewServer(ep.handler, cfg.echo())
	ep.echo = echo.NewClient(single{ep})
	ep.client = blockwise.NewClient(ep.echo, send)
	ep.verify = ep.verified
	ep.router, _ = handler.(router)
	ep.ctx, ep.cancel = context.WithCancel(context.Background())
	ep.loop = newLoop(ep)
	ep.timer = time.AfterFunc(time.Hour, ep.advance)
	ep.timer.Stop()
	go ep.loop.run()
	return ep, nil
}

// LocalAddr returns the address that the endpoint is bound to.
func (ep *Endpoint) LocalAddr() netip.AddrPort { return ep.conn.LocalAddr() }

// BlockwiseStats returns the counters of block-wise transfer, as a server and as a client.
func (ep *Endpoint) BlockwiseStats() (blockwise.Stats, blockwise.ClientStats) {
	return ep.blocks.Stats(), ep.client.Stats()
}

// Notify says that the resources at a path, such as "/sensors/7", have changed, whatever their query:
// their observers are told. It never waits and may be called by a handler, and as often as a
// resource changes; see [observe.Server.Notify].
func (ep *Endpoint) Notify(path string) { ep.handler.Notify(path) }

// Forget removes the observers of the resources at a path without telling them; see
// [observe.Server.Forget].
func (ep *Endpoint) Forget(path string) { ep.handler.Forget(path) }

// Observers returns how many observers the resources at a path have.
func (ep *Endpoint) Observers(path string) int { return ep.handler.Observers(path) }

// EchoStats returns the counters of what unknown peers are asked to prove.
func (ep *Endpoint) EchoStats() echo.Stats { return ep.gate.Stats() }

// verified notes that a peer has proven its address.
func (ep *Endpoint) verified(p Peer) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.eng.Verify(p.Addr)
}

// ObserveStats returns the counters of observation as a server.
func (ep *Endpoint) ObserveStats() observe.Stats { return ep.handler.Stats() }

// Stats returns the counters of the endpoint and the sizes of its tables.
func (ep *Endpoint) Stats() Stats {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.eng.Stats()
}

// readFailed closes the endpoint after the transport has failed.
func (ep *Endpoint) readFailed(err error) {
	if !errors.Is(err, net.ErrClosed) {
		ep.log.Error("coap: transport failed", "error", err)
	}
	ep.close(err)
}

// results are the events that have to be dealt with outside of the lock.
type results struct {
	event   engine.Event // the one in hand, kept here so that it is not allocated anew
	settled []settler
}

// settler is who started an exchange of ours: a waiter, a stream, or a notification.
type settler interface {
	settle(ev *engine.Event) // takes over an event, while Endpoint.mu is held
	wake()                   // is called after that, while it is not
}

// collect takes over the events of the engine. It reports whether there was a request, which only a received
// datagram brings; c is its call then. The lock is held.
func (ep *Endpoint) collect(r *results, c *call) (request bool) {
	for ep.eng.Event(&r.event) {
		if r.event.Kind == engine.EventRequest {
			c.take(&r.event)
			request = true
			continue
		}
		s := r.event.User.(settler)
		s.settle(&r.event)
		r.settled = append(r.settled, s)
	}
	return request
}

// dispatch tells those that collect has found. The lock is not held.
func (ep *Endpoint) dispatch(r *results) {
	for i, s := range r.settled {
		s.wake()
		r.settled[i] = nil
	}
	r.settled = r.settled[:0]
}

// advance is called by the timer.
func (ep *Endpoint) advance() {
	var done results
	ep.mu.Lock()
	ep.timerAt = time.Time{}
	if !ep.closed {
		ep.eng.Advance(time.Now())
		ep.collect(&done, nil)
	}
	ep.mu.Unlock()
	ep.dispatch(&done)
	ep.mu.Lock()
	ep.flush()
}

// flush sends what the engine wants to be sent, sets the timer and releases the lock, which
// the caller holds. If somebody else is in flush already, he sends it.
func (ep *Endpoint) flush() {
	if ep.flushing {
		ep.mu.Unlock()
		return
	}
	ep.flushing = true
	ep.send()
}

// flushTogether is flush for who is one of several. Others that are about to send something do so first, so that it
// leaves in the same batch.
func (ep *Endpoint) flushTogether() {
	if ep.flushing {
		ep.mu.Unlock()
		return
	}
	ep.flushing = true
	ep.mu.Unlock()
	runtime.Gosched()
	ep.mu.Lock()
	ep.send()
}

// send is flush for who has set flushing.
func (ep *Endpoint) send() {
	for {
		n := 0
		for n < len(ep.out) && ep.eng.Transmit(&ep.out[n]) {
			n++
		}
		ep.traces = ep.eng.Traces(ep.traces[:0])
		if n == 0 && len(ep.traces) == 0 {
			break
		}
		ep.mu.Unlock()
		ep.report(ep.traces)
		failed := ep.write(ep.out[:n])
		ep.mu.Lock()
		if failed > 0 {
			ep.undelivered(ep.out[:failed])
		}
	}
	ep.flushing = false
	ep.setTimer()
	flushed := ep.flushed
	ep.flushed = nil
	idle := ep.draining && ep.eng.Idle()
	if idle {
		ep.draining = false
	}
	ep.mu.Unlock()
	if idle {
		close(ep.idle)
	}
	if flushed != nil {
		close(flushed)
	}
}

// write sends a batch and moves those that failed, with their error, to its front.
func (ep *Endpoint) write(batch []transport.Datagram) (failed int) {
	for i := 0; i < len(batch); {
		n, err := ep.conn.WriteBatch(batch[i:])
		i += n
		if err == nil {
			break
		}
		batch[failed], batch[i] = batch[i], batch[failed]
		batch[failed].Err = err
		failed++
		i++
	}
	return failed
}

// undelivered tells the engine of datagrams that could not be sent. The lock is held.
func (ep *Endpoint) undelivered(batch []transport.Datagram) {
	over := false
	for i := range batch {
		d := &batch[i]
		over = over || sessionEnded(d)
		if ep.closed || errors.Is(d.Err, net.ErrClosed) || passes(d.Err) {
			// Like a datagram that was lost on the way: retransmission deals with it.
			ep.eng.NotSent(d)
			continue
		}
		ep.eng.Receive(time.Now(), d)
	}
	var done results
	ep.collect(&done, nil)
	if len(done.settled) == 0 && !over {
		return
	}
	ep.mu.Unlock()
	ep.dispatch(&done)
	for i := range batch {
		ep.leave(&batch[i])
	}
	ep.mu.Lock()
}

// setTimer makes the timer fire when the engine wants to be called. The lock is held.
func (ep *Endpoint) setTimer() {
	at, ok := ep.eng.NextTimeout()
	if ep.closed || !ok || !ep.timerAt.IsZero() && !at.Before(ep.timerAt) {
		return
	}
	ep.timerAt = at
	ep.timer.Reset(max(time.Until(at), 0))
}

func (ep *Endpoint) report(traces []exchange.TraceEvent) {
	if len(traces) == 0 {
		return
	}
	debug := ep.cfg.debug()
	for _, t := range traces {
		if debug {
			ep.log.Debug("coap: "+t.Kind.String(), "peer", t.Peer.Addr, "bytes", len(t.Datagram), "reason", t.Reason, "error", t.Err)
		}
		if ep.cfg.Trace != nil {
			ep.cfg.Trace(t)
		}
	}
}

// Shutdown stops taking new requests, which get 5.03, waits until handlers have returned and
// their separate responses are acknowledged, then closes. If ctx ends first, it closes at
// once and returns the error of ctx.
func (ep *Endpoint) Shutdown(ctx context.Context) error {
	ep.mu.Lock()
	if !ep.closed && !ep.eng.Draining() {
		ep.eng.Drain()
		ep.draining = true
	}
	ep.flush()
	var err error
	select {
	case <-ep.idle:
	case <-ep.read: // closed meanwhile
	case <-ctx.Done():
		err = ctx.Err()
	}
	if e := ep.Close(); err == nil {
		err = e
	}
	return err
}

// Close ends all exchanges with ErrClosed and closes the transport. The context of requests
// in handlers ends; it does not wait for handlers to return. Closing again does nothing.
func (ep *Endpoint) Close() error {
	err := ep.close(nil)
	<-ep.read
	return err
}

func (ep *Endpoint) close(why error) error {
	var done results
	ep.mu.Lock()
	if ep.closed {
		ep.mu.Unlock()
		return nil
	}
	ep.closed, ep.closeErr = true, why
	ep.timer.Stop()
	ep.eng.Close()
	ep.collect(&done, nil)
	ep.mu.Unlock()
	ep.dispatch(&done)
	// What was to be sent before, such as the acknowledgement of the last response, still is.
	ep.mu.Lock()
	if ep.flushing {
		flushed := make(chan struct{})
		ep.flushed = flushed
		ep.mu.Unlock()
		<-flushed
	} else {
		ep.flush()
	}
	ep.cancel()
	_ = ep.blocks.Shutdown(ep.ctx) // which has ended: gives up bodies on their way
	ep.handler.Stop()              // which does not wait: a handler may have called Close
	ep.loop.give()                 // it may hold the loop, too, which is waited for
	return ep.conn.Close()
}

// wait returns when the read loop has ended, with the error that ended it, nil after Close.
func (ep *Endpoint) wait() error {
	<-ep.read
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if errors.Is(ep.closeErr, net.ErrClosed) {
		return nil
	}
	return ep.closeErr
}
