package echo

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// Next is what a [Client] sends by.
type Next interface {
	exchange.RoundTripper
	exchange.Opener
}

// Client answers challenges: it repeats a request that was answered by 4.01 with an Echo option, with that
// value, which nothing else than its bytes is known of (RFC 9175 section 2.3). A value
// that comes with any other response goes with the next request to the same peer, unless there is a secure session, which proves
// more than the value would. Requests
// that have an Echo option of their own are left alone. Its methods may be called
// concurrently.
type Client struct {
	next Next

	mu     sync.Mutex
	values map[netip.AddrPort][]byte // for the next request
}

// NewClient returns a Client around next.
func NewClient(next Next) *Client { return &Client{next: next} }

const (
	// maxAttempts is how often a request is sent at most: a server may have forgotten its last
	// challenge.
	maxAttempts = 4
	// patience is how long the others of a group wait for one that was challenged.
	patience = 5 * time.Second
	// maxValues is how many peers a value is kept for.
	maxValues = 256
)

// RoundTrip sends req, once more if it is challenged; see [exchange.RoundTripper].
func (c *Client) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	if req.Options.Has(message.OptionEcho) {
		return c.next.RoundTrip(ctx, req, resp)
	}
	try := req
	if value := c.take(req); value != nil {
		try = with(req, value)
	}
	for n := 1; ; n++ {
		if err := c.next.RoundTrip(ctx, try, resp); err != nil {
			return err
		}
		value := valueOf(resp)
		if value == nil {
			return nil
		}
		if n == maxAttempts || resp.Code != message.Unauthorized {
			c.keep(resp.Peer(), value)
			return nil
		}
		try = with(req, value)
	}
}

// Open opens an exchange, and another one if it is challenged; see [exchange.Opener].
func (c *Client) Open(ctx context.Context, req *exchange.Request) (exchange.Responses, error) {
	rs, err := c.next.Open(ctx, req)
	if err != nil || req.Options.Has(message.OptionEcho) {
		return rs, err
	}
	return &responses{Responses: rs, client: c, req: req.Clone()}, nil
}

// responses repeats its request when that is challenged.
type responses struct {
	exchange.Responses
	client   *Client
	req      *exchange.Request
	attempts int

	mu     sync.Mutex // guards Responses against Close, and closed
	closed bool
}

func (r *responses) current() exchange.Responses {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Responses
}

func (r *responses) Next(ctx context.Context, resp *exchange.Response) error {
	for {
		if err := r.current().Next(ctx, resp); err != nil {
			return err
		}
		value := valueOf(resp)
		if value == nil || resp.Code != message.Unauthorized {
			if r.attempts = 0; value != nil {
				r.client.keep(resp.Peer(), value)
			}
			return nil
		}
		if r.group() {
			return r.prove(ctx, resp, value)
		}
		if r.attempts++; r.attempts >= maxAttempts {
			return nil
		}
		if err := r.reopen(ctx, value); err != nil {
			return err
		}
	}
}

// group reports whether anybody may answer.
func (r *responses) group() bool {
	to, _ := destination(r.req)
	return to.Addr().IsMulticast()
}

// prove asks one member of a group again, by itself, since the value is for nobody else. If it was an
// observation that it was challenged for, the group has to be asked again.
func (r *responses) prove(ctx context.Context, resp *exchange.Response, value []byte) error {
	one := with(r.req, value)
	one.To, one.Authority, one.IfIndex = resp.Peer().Addr, exchange.Authority{}, resp.Peer().IfIndex
	one.NonConfirmable, one.Window = false, 0
	one.Options.Remove(message.OptionObserve)
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	proven := new(exchange.Response)
	switch err := r.client.RoundTrip(soon, one, proven); {
	case err == nil:
		*resp = *proven
	case ctx.Err() != nil:
		return err
	}
	return nil // if it does not answer any more, the challenge is its answer
}

// reopen starts another exchange in place of the one that has ended.
func (r *responses) reopen(ctx context.Context, value []byte) error {
	rs, err := r.client.next.Open(ctx, with(r.req, value))
	if err != nil {
		return err
	}
	r.mu.Lock()
	old, closed := r.Responses, r.closed
	r.Responses = rs
	r.mu.Unlock()
	old.Close()
	if closed {
		rs.Close()
	}
	return nil
}

func (r *responses) Renew(ctx context.Context, req *exchange.Request) error {
	r.req = req.Clone()
	return r.current().Renew(ctx, req)
}

func (r *responses) Close() error {
	r.mu.Lock()
	r.closed = true
	rs := r.Responses
	r.mu.Unlock()
	return rs.Close()
}

// with returns req with an Echo option.
func with(req *exchange.Request, value []byte) *exchange.Request {
	r := *req
	r.Options = req.Options.Borrow()
	r.Options.Set(message.OptionEcho, value)
	return &r
}

// valueOf returns a copy of the Echo option of resp, nil if it has none.
func valueOf(resp *exchange.Response) []byte {
	v, ok := resp.Options.First(message.OptionEcho)
	if !ok || len(v) == 0 || len(v) > 40 { // (section 2.2.1)
		return nil
	}
	return append([]byte(nil), v...)
}

// keep keeps a value for the next request to the peer that it came from.
func (c *Client) keep(from exchange.Peer, value []byte) {
	if from.Session != nil {
		return // a request does not tell beforehand by which session it will go
	}
	peer := from.Addr
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		c.values = make(map[netip.AddrPort][]byte)
	}
	if _, known := c.values[peer]; !known && len(c.values) >= maxValues {
		for old := range c.values {
			delete(c.values, old)
			break
		}
	}
	c.values[peer] = value
}

// take returns the value for the next request to the destination of req, which is used once.
func (c *Client) take(req *exchange.Request) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.values) == 0 {
		return nil
	}
	to, ok := destination(req)
	if !ok || req.Session != nil {
		return nil
	}
	value := c.values[to]
	delete(c.values, to)
	return value
}

// destination returns where req goes, if it says so by an address.
func destination(req *exchange.Request) (to netip.AddrPort, ok bool) {
	if req.To.IsValid() {
		return req.To, true
	}
	addr, err := netip.ParseAddr(req.Authority.Host)
	return netip.AddrPortFrom(addr.Unmap(), req.Authority.Port), err == nil
}
