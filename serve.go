package coap

import (
	"errors"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/engine"
	"github.com/coapkit/coap/message"
)

// call is one received request on its way through a handler. It belongs to the goroutine that runs the
// handler.
type call struct {
	ep     *Endpoint
	in     engine.Incoming
	data   []byte // the datagram: req is a view into it
	kept   []byte // memory for data that has to outlast its batch
	msg    message.Message
	req    Request
	resp   Response
	pace   *pace  // of the route
	inside uint64 // of an inline call: loop.word
}

var calls = sync.Pool{New: func() any { return new(call) }}

func newCall(ep *Endpoint) *call {
	c := calls.Get().(*call)
	c.ep = ep
	return c
}

// take makes c the call of a request event, as a view into the datagram that came with it.
func (c *call) take(ev *engine.Event) {
	ep := c.ep
	c.in, c.data, c.msg = ev.Incoming, ev.Datagram, ev.Message
	c.req.Code, c.req.NonConfirmable = c.msg.Code, c.msg.Type == message.NonConfirmable
	c.req.Arrive(exchange.Arrival{
		Context: ep.ctx, Time: ep.loop.now, Peer: ev.Peer, Group: ev.Group, Size: len(c.data), Token: c.msg.Token,
		Pusher: ep, Registry: ep.cfg.Options, Verify: ep.verify,
	})
	c.view()
}

// keep copies the datagram, which the next batch overwrites.
func (c *call) keep() {
	c.kept = append(c.kept[:0], c.data...)
	c.data = c.kept
	codec.DecodeUDP(c.data, &c.msg) // has succeeded before
	a := c.req.Arrival()
	a.Token = c.msg.Token
	c.req.Arrive(a)
	c.view()
}

// view makes the request a view into the message.
func (c *call) view() {
	c.req.Options, c.req.Payload = c.msg.Options, c.msg.Payload
	if !takesPayload(c.msg.Code) {
		c.req.Payload = nil // to be ignored (RFC 7252 section 5.5)
	}
}

// place returns where the handler is to run, and whether to time it.
func (c *call) place(s *sampler) (where Placement, timed bool) {
	c.pace = c.ep.paceOf(&c.req)
	where, timed = c.pace.place(s)
	if fixed := c.ep.cfg.Placement; fixed != Adaptive && c.pace.fixed == Adaptive {
		return fixed, false
	}
	return where, timed
}

// paceOf returns how quick the route of r is.
func (ep *Endpoint) paceOf(r *Request) *pace {
	if ep.router == nil {
		return &ep.pace
	}
	return ep.router.pace(r)
}

// work runs the handler and answers, as a worker.
func (c *call) work() {
	pace, began := c.pace, time.Now()
	drop := c.run()
	pace.sample(time.Since(began))
	c.finish(drop)
}

// run runs the handler. It returns why there must be no response, if so.
func (c *call) run() exchange.DropReason {
	err := c.ep.check(&c.req)
	if err == nil {
		err = c.handle()
	}
	return c.conclude(err)
}

// finish answers, unless drop says not to, and frees c. It is for whoever does not hold the loop.
func (c *call) finish(drop exchange.DropReason) {
	ep := c.ep
	ep.mu.Lock()
	c.respond(time.Now(), drop)
	ep.flushTogether()
	if c.reset(); cap(c.kept) <= 2*ep.limits.MessageSize {
		calls.Put(c)
	}
}

// respond hands the response to the engine. Endpoint.mu is held.
func (c *call) respond(now time.Time, drop exchange.DropReason) {
	ep := c.ep
	if drop != exchange.DropNone {
		ep.eng.Drop(now, c.in, drop)
		return
	}
	c.msg = message.Message{Code: c.resp.Code, Options: c.resp.Options, Payload: c.resp.Payload}
	err := ep.eng.Respond(now, c.in, &c.msg)
	if err == nil || errors.Is(err, ErrClosed) {
		return
	}
	ep.mu.Unlock()
	ep.log.Error("coap: response not sent", "path", c.req.Path(), "peer", c.req.Peer(), "error", err)
	c.resp.Reset()
	c.msg = message.Message{Code: message.InternalServerError, Payload: []byte(err.Error())}
	ep.mu.Lock()
	if ep.eng.Respond(now, c.in, &c.msg) != nil {
		ep.eng.Drop(now, c.in, exchange.DropBusy)
	}
}

// reset makes c ready for another request to the same endpoint.
func (c *call) reset() {
	c.data, c.pace, c.inside = nil, nil, 0
	c.in, c.req, c.msg = engine.Incoming{}, Request{}, message.Message{}
	c.resp.Reset()
}

// takesPayload reports whether a method is defined to have a payload (RFC 7252 sections 5.8.1
// and 5.8.4); methods we do not know are taken to be.
func takesPayload(method Code) bool { return method != GET && method != DELETE }

// handle calls the handler and turns a panic into an error.
func (c *call) handle() (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		p := recover()
		if p == nil {
			c.exited()
			return
		}
		c.ep.log.Error("coap: handler panicked", "path", c.req.Path(), "peer", c.req.Peer(), "panic", p, "stack", string(debug.Stack()))
		err = &Error{Code: message.InternalServerError}
	}()
	err = c.ep.gate.ServeCoAP(&c.resp, &c.req)
	returned = true
	return err
}

// exited answers for a handler that has ended its goroutine by runtime.Goexit. If that holds the loop, another
// one goes on with it.
func (c *call) exited() {
	l := c.ep.loop
	c.ep.log.Error("coap: handler ended its goroutine", "path", c.req.Path(), "peer", c.req.Peer())
	if c.inside != 0 && l.rob(c.inside) {
		go l.run()
	}
	c.finish(c.conclude(&Error{Code: message.InternalServerError}))
}

// conclude makes the response of what the handler has left: it turns errors into codes and applies
// the rules that hold for all resources. It returns why there must be no
// response, if so.
func (c *call) conclude(err error) exchange.DropReason {
	w, r := &c.resp, &c.req
	if err != nil && !c.fail(err) {
		return exchange.DropBadOption
	}
	switch w.Code {
	case message.Empty:
		w.Code = message.Content
	case message.Valid:
		w.Payload = nil // (RFC 7252 section 5.9.1.3)
	}
	if !w.Code.IsResponse() {
		c.ep.log.Error("coap: handler set a code that is no response code", "path", r.Path(), "code", w.Code)
		fail(w, message.InternalServerError, "")
	}
	negotiate(w, r)
	return exchange.DropNone
}

// fail makes the response to an error of the handler. It returns false if there must be none.
func (c *call) fail(err error) bool {
	w, r := &c.resp, &c.req
	bad, isBad := errors.AsType[*message.OptionError](err)
	coded, isCoded := errors.AsType[*Error](err)
	switch {
	case isBad:
		// Critical options that are not understood: 4.02 for a CON, silence
		// for a NON (RFC 7252 section 5.4.1).
		if r.NonConfirmable {
			return false
		}
		fail(w, message.BadOption, bad.Reason)
	case isCoded:
		// Options that the handler has set say more about the error, such as Max-Age in
		// 5.03 or Size1 in 4.13; the diagnostic has no Content-Format.
		w.Options.Remove(message.OptionContentFormat)
		w.Options.Remove(message.OptionETag)
		w.Code, w.Payload = coded.Code, []byte(strings.ToValidUTF8(coded.Diagnostic, "\uFFFD"))
	default:
		c.ep.log.Error("coap: handler failed", "path", r.Path(), "peer", r.Peer(), "error", err)
		fail(w, message.InternalServerError, "")
	}
	return true
}

func fail(w *Response, code Code, diagnostic string) {
	w.Reset()
	w.Code = code
	if diagnostic != "" {
		w.Payload = []byte(diagnostic)
	}
}

// negotiate applies Accept and ETag of the request to a successful response
// (RFC 7252 sections 5.10.4 and 5.10.6.2).
func negotiate(w *Response, r *Request) {
	if w.Code != message.Content || r.Code != GET && r.Code != FETCH {
		return
	}
	if want, ok := r.Options.Accept(); ok {
		if have, ok := w.Options.ContentFormat(); ok && have != want {
			fail(w, message.NotAcceptable, "")
			return
		}
	}
	tag, ok := w.Options.ETag()
	if !ok || w.Options.Has(message.OptionBlock2) {
		return // of blocks, block-wise transfer has compared it
	}
	for t := range r.Options.ETags() {
		if string(t) == string(tag) {
			w.Code, w.Payload = message.Valid, nil
			w.Options.Remove(message.OptionContentFormat)
			return
		}
	}
}

// check refuses what no handler should have to look at: methods nobody has defined
// (RFC 7252 section 5.8), and options, unless the handler checks those itself.
func (ep *Endpoint) check(r *Request) error {
	if r.Code.Name() == "" {
		return &Error{Code: message.MethodNotAllowed}
	}
	if ep.checks {
		return nil
	}
	return checkOptions(r, understoodWithBlocks)
}

// understoodByAll reports whether the library deals with a critical option for every handler.
func understoodByAll(n OptionNumber) bool {
	switch n {
	case message.OptionURIHost, message.OptionURIPort, message.OptionURIPath, message.OptionURIQuery, message.OptionAccept:
		return true
	}
	return false
}

// understoodWithBlocks is understoodByAll before block-wise transfer has taken its options away.
func understoodWithBlocks(n OptionNumber) bool {
	return n == message.OptionBlock1 || n == message.OptionBlock2 || understoodByAll(n)
}

// checkOptions refuses a request with a critical option that is not understood, and takes away
// the elective options that have to be ignored. A request to a proxy at something that is
// none is told so (RFC 7252 section 5.7.2).
func checkOptions(r *Request, understood func(OptionNumber) bool) error {
	for _, n := range [...]OptionNumber{message.OptionProxyURI, message.OptionProxyScheme} {
		if r.Options.Has(n) && !understood(n) {
			return &Error{Code: message.ProxyingNotSupported}
		}
	}
	if bad := r.Registry().Check(&r.Options, understood); bad != nil {
		return bad
	}
	r.Registry().DropInvalid(&r.Options)
	return nil
}
