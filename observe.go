package coap

import (
	"context"
	"iter"
	"net/netip"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
)

// Observation as a client (RFC 7641); package observe does the work.

// Notification is a new value of an observed resource, or says what has become of the last one.
type Notification = observe.Notification

// Open starts an exchange that may have several responses with the server that req names; see
// [exchange.Opener]. Observe and Multicast are made of it.
func (c *Client) Open(ctx context.Context, req *Request) (exchange.Responses, error) {
	ep, err := c.endpoint(c.scheme(req))
	if err != nil {
		return nil, err
	}
	if _, err := destination(req); err == nil {
		return ep.Open(ctx, c.named(ep, req))
	}
	server, req, err := c.authority(req)
	if err != nil {
		return nil, err
	}
	var responses exchange.Responses
	err = c.try(ctx, server, func(to netip.AddrPort) (again bool, err error) {
		r := *req
		r.To, r.Authority = to, server
		responses, err = ep.Open(ctx, &r)
		return true, err
	})
	return responses, err
}

// Observe ranges over the values of the resource at uri, a URI or path as for Get: the present one
// and each that follows, as far as the network allows, until ctx ends or the loop is left. The
// library registers again when a value gets stale, when the server has restarted, or when
// the address of the client has changed on the way; [Notification] has the state besides the
// value, which is nil when only the state changed. The error that is yielded is the end.
func (c *Client) Observe(ctx context.Context, uri string) iter.Seq2[Notification, error] {
	return func(yield func(Notification, error) bool) {
		req, err := NewRequest(GET, uri)
		if err != nil {
			yield(Notification{}, err)
			return
		}
		o, err := c.ObserveRequest(ctx, req)
		if err != nil {
			yield(Notification{}, err)
			return
		}
		o.All()(yield)
	}
}

// ObserveRequest starts to observe what req, a GET or FETCH, asks for; see
// [observe.Client.Observe].
func (c *Client) ObserveRequest(ctx context.Context, req *Request) (*observe.Observation, error) {
	if _, err := c.endpoint(c.scheme(req)); err != nil {
		return nil, err
	}
	return c.observing().Observe(ctx, req)
}

// observing returns what observes for c, which has an endpoint.
func (c *Client) observing() *observe.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.observer == nil {
		cfg := c.Config.orDefault()
		if c.Endpoint != nil {
			cfg = c.Endpoint.cfg
		}
		send := cfg.SendObserve
		send.Complete = c.complete
		if send.Logger == nil {
			send.Logger = cfg.Logger
		}
		c.observer = observe.NewClient(c, send)
	}
	return c.observer
}

// complete fetches the rest of a representation of which first is the first block.
func (c *Client) complete(ctx context.Context, req *Request, first *Response) error {
	ep, err := c.endpoint(c.scheme(req))
	if err != nil || !first.Options.Has(message.OptionBlock2) {
		return err
	}
	return ep.client.Complete(ctx, req, first)
}

var _ exchange.Opener = (*Client)(nil)
