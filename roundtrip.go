package coap

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/engine"
	"github.com/coapkit/coap/message"
)

// waiter is one caller that waits for the end of an exchange.
type waiter struct {
	done chan struct{} // one value when it is settled
	// The rest is guarded by Endpoint.mu until then.
	resp    *Response
	settled bool
	err     error
	end     engine.Event // if the exchange ended without response
	msg     message.Message
}

// waiter returns an unused waiter. Each endpoint has its own pool: a channel that was made in
// a bubble of testing/synctest must not come to light in another.
func (ep *Endpoint) waiter() *waiter {
	if w, ok := ep.waiters.Get().(*waiter); ok {
		return w
	}
	return &waiter{done: make(chan struct{}, 1)}
}

// settle takes over the outcome. Endpoint.mu is held, so the caller is still there.
func (w *waiter) settle(ev *engine.Event) {
	w.settled = true
	switch ev.Kind {
	case engine.EventResponse:
		w.err = w.resp.Receive(&ev.Message, ev.Peer)
		w.resp.Retransmissions = ev.Retransmissions
	case engine.EventDone:
		w.resp.Reset() // none, as was wished
	case engine.EventEnd:
		w.err, w.end = ev.Err, *ev
	}
}

// wake tells the caller. No lock is held.
func (w *waiter) wake() { w.done <- struct{}{} } // has room: one settlement for each waiter

func (ep *Endpoint) free(w *waiter) {
	*w = waiter{done: w.done}
	ep.waiters.Put(w)
}

// RoundTrip sends req and waits for the response, as [RoundTripper] says. The destination is
// req.To or, if req.Authority is an IP address, that; it does not look up names, a
// [Client] does. Errors are an *[OpError] around an [EndError] or the error of
// ctx, or say what is wrong with req; those of a body in blocks are a *blockwise.Error
// around one.
//
// A body that does not fit one message is sent and received in blocks; what req.Transfer
// and req.Body wish is heeded.
func (ep *Endpoint) RoundTrip(ctx context.Context, req *Request, resp *Response) error {
	return ep.client.RoundTrip(ctx, req, resp)
}

// single is an endpoint as a RoundTripper for single messages, of which a body in blocks takes
// many.
type single struct{ ep *Endpoint }

func (s single) RoundTrip(ctx context.Context, req *Request, resp *Response) error {
	to, err := destination(req)
	if err == nil {
		err = s.ep.speaks(req.Authority.Scheme)
	}
	if err != nil {
		return &OpError{Op: req.Code.String(), Err: err}
	}
	return s.ep.roundTrip(ctx, to, nameOf(req.Authority), req, resp)
}

// destination returns where a request goes, if that is an address.
func destination(req *Request) (netip.AddrPort, error) {
	to := req.To
	if !to.IsValid() {
		addr, err := netip.ParseAddr(req.Authority.Host)
		if err != nil {
			return netip.AddrPort{}, exchange.RequestError("the request has no destination: set To, or Authority.Host to an IP address")
		}
		to = netip.AddrPortFrom(addr.Unmap(), req.Authority.Port)
	}
	if a := to.Addr(); req.IfIndex > 0 && a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
		// What answers has the zone.
		zone := strconv.Itoa(req.IfIndex)
		if i, err := net.InterfaceByIndex(req.IfIndex); err == nil {
			zone = i.Name
		}
		to = netip.AddrPortFrom(a.WithZone(zone), to.Port())
	}
	return to, nil
}

// Ping asks whether a CoAP endpoint is alive at to: it sends an Empty Confirmable message
// and waits for the Reset that it elicits (RFC 7252 section 4.3).
func (ep *Endpoint) Ping(ctx context.Context, to netip.AddrPort) error {
	return ep.roundTrip(ctx, to, "", nil, nil)
}

// roundTrip sends req, or a ping if it is nil, to the server that has this address and name.
func (ep *Endpoint) roundTrip(ctx context.Context, to netip.AddrPort, name string, req *Request, resp *Response) error {
	op := "ping"
	if req != nil {
		op = req.Code.String()
	}
	if err := checkRequest(to, req, false); err != nil {
		return &OpError{Op: op, Peer: to, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return &OpError{Op: op, Peer: to, Err: err}
	}
	for again := true; ; again = false {
		target, err := ep.target(ctx, to, name, req)
		if err != nil {
			return err
		}
		begin := time.Now()
		cause, unsent, err := ep.attempt(ctx, target, req, resp)
		if err == nil {
			return nil
		}
		if err == ErrNotAcknowledged {
			ep.doubt(target.Session, begin)
		}
		if err == ErrSessionEnded && again && ep.repeats(req, unsent) {
			continue
		}
		return &OpError{Op: op, Peer: to, Err: err, Cause: cause}
	}
}

// attempt is roundTrip over one session. unsent says of a failure that the request was not sent at all.
func (ep *Endpoint) attempt(ctx context.Context, to engine.Target, req *Request, resp *Response) (cause error, unsent bool, err error) {
	w := ep.waiter()
	w.resp = resp
	id, err := ep.launch(to, req, w)
	if err != nil {
		ep.free(w)
		return nil, true, err
	}
	ep.loop.give()
	select {
	case <-w.done:
	case <-ctx.Done():
		if !ep.giveUp(id, w) {
			return nil, false, ctx.Err()
		}
	}
	cause, unsent, err = w.end.Cause, w.end.Unsent, w.err
	ep.free(w)
	return cause, unsent, err
}

// checkRequest refuses what cannot be sent, and says what to do. Several responses are possible
// only to those who are open for them.
func checkRequest(to netip.AddrPort, req *Request, open bool) error {
	switch {
	case !to.IsValid() || to.Port() == 0 || to.Addr().IsUnspecified():
		return exchange.RequestError("the destination needs an address and a port")
	case to.Addr().IsMulticast() && !open && !oneWay(req):
		return exchange.RequestError("the destination is a multicast group, whose members all may answer: use Open, or the address of one peer")
	case to.Addr().IsMulticast() && req.Code == GET && req.Options.Has(message.OptionETag):
		return exchange.RequestError("a GET to a multicast group must have no ETag (RFC 7252 section 8.2.1): each member has entity-tags of its own")
	case req != nil && !req.Code.IsRequest():
		return exchange.RequestError("the code is no method")
	case req != nil && len(req.Payload) > 0 && !takesPayload(req.Code):
		return exchange.RequestError("the method takes no payload; to get what a payload selects, use FETCH")
	}
	return nil
}

// launch hands a request, or a ping if req is nil, to the engine.
func (ep *Endpoint) launch(to engine.Target, req *Request, w *waiter) (id engine.Exchange, err error) {
	var opts engine.RequestOptions
	if req != nil {
		if opts, w.msg, err = ep.requestOptions(to, req); err != nil {
			return id, err
		}
	}
	opts.User = w
	ep.mu.Lock()
	if ep.closed {
		err = ErrClosed
	} else if req != nil {
		id, err = ep.eng.Request(time.Now(), to, &w.msg, opts)
	} else {
		id, err = ep.eng.Ping(time.Now(), to, opts)
	}
	if err == nil && oneWay(req) {
		ep.sentOneWay() // it is over already
		return id, nil
	}
	if ep.eng.Exchanges() > 1 {
		ep.flushTogether() // who waits for an answer that has come with others is about to ask for more
	} else {
		ep.flush()
	}
	return id, err
}

// blockOptions are the critical options that block-wise transfer understands in a response.
var blockOptions = [...]OptionNumber{message.OptionBlock1, message.OptionBlock2}

// requestOptions translates a request for the engine.
func (ep *Endpoint) requestOptions(to engine.Target, req *Request) (opts engine.RequestOptions, m message.Message, err error) {
	if opts.Params, err = ep.cfg.paramsFor(to.Remote, req); err != nil {
		return opts, m, err
	}
	opts.NoWait, opts.Understood, opts.Window = req.NoWait, blockOptions[:], req.Window
	if len(req.Understands) > 0 {
		opts.Understood = append(slices.Clone(req.Understands), blockOptions[:]...)
	}
	if req.Series != nil && to.Session == nil { // else a token is used once (RFC 9175 section 4.2)
		opts.Token = &req.Series.Token
	}
	m = message.Message{Code: req.Code, Options: req.Options, Payload: req.Payload}
	if req.NonConfirmable || to.Remote.Addr().IsMulticast() { // (RFC 7252 section 8.1)
		m.Type = message.NonConfirmable
	}
	return opts, m, nil
}

// giveUp cancels an exchange for its caller. It reports true if the exchange was settled
// meanwhile, so that there is an outcome after all; otherwise w is free again.
func (ep *Endpoint) giveUp(id engine.Exchange, w *waiter) (settled bool) {
	ep.mu.Lock()
	if settled = w.settled; !settled {
		ep.eng.Cancel(time.Now(), id)
	}
	ep.flush()
	if settled {
		<-w.done
		return true
	}
	ep.free(w)
	return false
}

// passes reports whether an error of sending is one that passes, so that the message is
// treated as lost on the way.
func passes(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EAGAIN) ||
		errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.EPERM)
}

var _ exchange.RoundTripper = (*Endpoint)(nil)
