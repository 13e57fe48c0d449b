package coap

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/udp"
)

// Client sends requests to any number of servers over one socket, and over another one if some of them are
// secure: those with coaps URIs. The zero value is ready to use, but for coaps, which needs Config.Secure: it
// opens a socket with the first request. Close it when it is no longer needed. Its
// fields must not be changed after first use; all methods may be called concurrently.
type Client struct {
	// Endpoint sends the requests, those for coaps URIs if its transport is a transport.Dialer, else those for coap
	// URIs. Nil makes the client open a UDP socket of its own on a random port, for both address families, and what
	// Config.Secure opens.
	Endpoint *Endpoint
	// Config configures the endpoint that the client opens. It may be nil.
	Config *Config
	// Base is the server for requests that name only a path. [Dial] sets it.
	Base Authority
	// Resolver looks up host names. Nil means net.DefaultResolver.
	Resolver Resolver

	mu       sync.Mutex
	own      *Endpoint
	secure   *Endpoint // own, for coaps
	observer *observe.Client
	closed   bool
	resolved names
}

// Dial returns a client for the server that uri names, such as "coap://example.com", after
// looking up its name. No message is sent. cfg may be nil, but not for coaps; see Config.Secure.
func Dial(ctx context.Context, uri string, cfg *Config) (*Client, error) {
	u, err := message.ParseURI(uri)
	if err != nil {
		return nil, err
	}
	if len(u.Path) > 0 || len(u.Query) > 0 {
		return nil, &message.URIError{URI: uri, Reason: "a server to dial has neither path nor query; give them to Get"}
	}
	c := &Client{Config: cfg, Base: Authority{Scheme: u.Scheme, Host: u.Host, Port: u.Port}}
	if _, isIP := u.Addr(); !isIP {
		if _, err := c.resolve(ctx, c.Base); err != nil {
			return nil, err
		}
	}
	if _, err := c.endpoint(u.Scheme); err != nil {
		return nil, err
	}
	return c, nil
}

// Get gets a representation of the resource at uri, which is an absolute URI or, with a
// Base, a path with an optional query. A response with an error code is not an
// error of Go; see [Response.Err].
func (c *Client) Get(ctx context.Context, uri string) (*Response, error) {
	return c.send(ctx, GET, uri, 0, nil)
}

// Post has the resource at uri process body; see [Client.Get].
func (c *Client) Post(ctx context.Context, uri string, format ContentFormat, body []byte) (*Response, error) {
	return c.send(ctx, POST, uri, format, body)
}

// Put makes body the representation of the resource at uri; see [Client.Get].
func (c *Client) Put(ctx context.Context, uri string, format ContentFormat, body []byte) (*Response, error) {
	return c.send(ctx, PUT, uri, format, body)
}

// Delete deletes the resource at uri; see [Client.Get].
func (c *Client) Delete(ctx context.Context, uri string) (*Response, error) {
	return c.send(ctx, DELETE, uri, 0, nil)
}

// Fetch gets the parts of the resource at uri that body selects (RFC 8132 section 2);
// see [Client.Get].
func (c *Client) Fetch(ctx context.Context, uri string, format ContentFormat, body []byte) (*Response, error) {
	return c.send(ctx, FETCH, uri, format, body)
}

// Patch changes parts of the resource at uri as body says (RFC 8132 section 3); see [Client.Get].
func (c *Client) Patch(ctx context.Context, uri string, format ContentFormat, body []byte) (*Response, error) {
	return c.send(ctx, PATCH, uri, format, body)
}

// IPatch is Patch with a change that may be applied twice (RFC 8132 section 3); see [Client.Get].
func (c *Client) IPatch(ctx context.Context, uri string, format ContentFormat, body []byte) (*Response, error) {
	return c.send(ctx, IPATCH, uri, format, body)
}

func (c *Client) send(ctx context.Context, method Code, uri string, format ContentFormat, body []byte) (*Response, error) {
	req, err := NewRequest(method, uri)
	if err != nil {
		return nil, err
	}
	if takesPayload(method) && (len(body) > 0 || format != 0 || method == FETCH) {
		req.Options.SetContentFormat(format)
		req.Payload = body
	}
	resp := new(Response)
	if err := c.Do(ctx, req, resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// Do sends req and waits for the response, which it stores in resp, reusing its memory. The
// request goes to req.To, or else to the server that req.Authority or Base names. If
// a name stands for several addresses, the next is tried when one cannot be reached.
func (c *Client) Do(ctx context.Context, req *Request, resp *Response) error {
	ep, err := c.endpoint(c.scheme(req))
	if err != nil {
		return err
	}
	if _, err := destination(req); err == nil {
		return ep.RoundTrip(ctx, c.named(ep, req), resp)
	}
	server, req, err := c.authority(req)
	if err != nil {
		return err
	}
	return c.try(ctx, server, func(to netip.AddrPort) (again bool, err error) {
		r := *req // all blocks of a body go to one address
		r.To, r.Authority = to, server
		err = ep.RoundTrip(ctx, &r, resp)
		// What was not delivered may go elsewhere. What was perhaps delivered only if
		// doing it twice does no harm.
		again = errors.Is(err, ErrUnreachable) || unconnected(err) || errors.Is(err, ErrNotAcknowledged) && req.Code.IsIdempotent()
		return again && untouched(req, err), err
	})
}

// untouched reports whether a request that has failed can be made again from its beginning: what
// went to a sink cannot be taken back, and a reader that is no io.Seeker was read.
func untouched(req *Request, err error) bool {
	if _, seeks := req.Body.(io.Seeker); req.Body != nil && !seeks {
		return false
	}
	start := int64(0)
	if req.Transfer != nil {
		start = req.Transfer.Resume.Offset
	}
	broken, inBlocks := errors.AsType[*blockwise.Error](err)
	return !inBlocks || broken.Position.Offset <= start
}

// authority returns the server that a request is for, and the request as it is to be sent there.
func (c *Client) authority(req *Request) (Authority, *Request, error) {
	server := req.Authority
	if server != (Authority{}) {
		return server, req, nil
	}
	if server = c.Base; server == (Authority{}) {
		return server, nil, &OpError{Op: req.Code.String(), Err: exchange.RequestError("the request names no server: use an absolute URI such as coap://host/path, or Dial")}
	}
	if _, err := netip.ParseAddr(server.Host); err != nil && !req.Options.Has(message.OptionURIHost) {
		// The server may have several names (RFC 7252 section 5.10.1).
		named := *req
		named.Options = req.Options.Borrow()
		named.Options.SetString(message.OptionURIHost, server.Host)
		req = &named
	}
	return server, req, nil
}

// RoundTrip is [Client.Do] by the name that [RoundTripper] gives it.
func (c *Client) RoundTrip(ctx context.Context, req *Request, resp *Response) error {
	return c.Do(ctx, req, resp)
}

// Ping asks whether the server that uri names is alive, without asking for a resource
// (RFC 7252 section 4.3).
func (c *Client) Ping(ctx context.Context, uri string) error {
	server := c.Base
	if uri != "" && !strings.HasPrefix(uri, "/") {
		u, err := message.ParseURI(uri)
		if err != nil {
			return err
		}
		server = Authority{Scheme: u.Scheme, Host: u.Host, Port: u.Port}
	}
	if server == (Authority{}) {
		return &OpError{Op: "ping", Err: exchange.RequestError("there is no server to ping: use an absolute URI such as coap://host, or Dial")}
	}
	ep, err := c.endpoint(server.Scheme)
	if err != nil {
		return err
	}
	return c.try(ctx, server, func(to netip.AddrPort) (bool, error) {
		err := ep.roundTrip(ctx, to, nameOf(server), nil, nil)
		return errors.Is(err, ErrUnreachable) || unconnected(err) || errors.Is(err, ErrNotAcknowledged), err
	})
}

// try calls do for the addresses of a server until one works, or it says to stop.
func (c *Client) try(ctx context.Context, server Authority, do func(netip.AddrPort) (again bool, err error)) error {
	if a, err := netip.ParseAddr(server.Host); err == nil {
		_, err = do(netip.AddrPortFrom(a.Unmap(), server.Port))
		return err
	}
	addrs, err := c.resolve(ctx, server)
	if err != nil {
		return err
	}
	var a netip.Addr
	for _, a = range addrs {
		var again bool
		if again, err = do(netip.AddrPortFrom(a, server.Port)); err == nil {
			c.prefer(server.Host, a)
			return nil
		}
		if !again {
			break
		}
	}
	if errors.Is(err, ErrTimeout) || errors.Is(err, ErrUnreachable) || unconnected(err) || errors.Is(err, context.DeadlineExceeded) {
		c.forget(server.Host, a) // it may have moved
	}
	return err
}

// scheme returns that of the URI of req, "" if nothing is known of it.
func (c *Client) scheme(req *Request) string {
	switch {
	case req.Session != nil && c.Endpoint == nil:
		return "coaps"
	case req.Session != nil:
		return ""
	case req.Authority != (Authority{}):
		return req.Authority.Scheme
	}
	return c.Base.Scheme
}

// named returns req, which has an address, with the name that the server there has to prove to be.
func (c *Client) named(ep *Endpoint, req *Request) *Request {
	if ep.dialer == nil || req.Session != nil || req.Authority != (Authority{}) {
		return req
	}
	r := *req
	r.Authority = c.Base
	return &r
}

// endpoint returns the endpoint to send with for URIs of a scheme, opening one if need be.
func (c *Client) endpoint(scheme string) (*Endpoint, error) {
	if c.Endpoint != nil {
		if err := c.Endpoint.speaks(scheme); err != nil {
			return nil, &OpError{Op: "dial", Err: err}
		}
		return c.Endpoint, nil
	}
	own, open := &c.own, func() (transport.Conn, error) { return udp.Listen(":0", nil) }
	if scheme == "coaps" {
		own, open = &c.secure, c.Config.orDefault().openSecure
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, &OpError{Op: "dial", Err: ErrClosed}
	case *own != nil:
		return *own, nil
	}
	conn, err := open()
	if err != nil {
		return nil, err
	}
	if *own, err = NewEndpoint(conn, nil, c.Config); err != nil {
		conn.Close()
	}
	return *own, err
}

// endpoints returns those that the client has opened.
func (c *Client) endpoints() (all []*Endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ep := range [...]*Endpoint{c.own, c.secure} {
		if ep != nil {
			all = append(all, ep)
		}
	}
	return all
}

// Stats returns the counters of the endpoint, or of those that the client has opened, together.
func (c *Client) Stats() Stats {
	if c.Endpoint != nil {
		return c.Endpoint.Stats()
	}
	var sum Stats
	for _, ep := range c.endpoints() {
		one := ep.Stats()
		sum.Add(&one)
	}
	return sum
}

// Close ends the observations of the client, closes the sockets that it opened, if any, and ends its
// exchanges with ErrClosed. An Endpoint that it was given stays open.
func (c *Client) Close() error {
	c.mu.Lock()
	observer := c.observer
	c.closed = true
	c.mu.Unlock()
	if observer != nil {
		observer.Close()
	}
	return closeAll(c.endpoints())
}

var _ exchange.RoundTripper = (*Client)(nil)
