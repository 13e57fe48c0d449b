package observe

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// ClientConfig configures a [Client]. The zero value works. It is not modified after use.
type ClientConfig struct {
	// Complete, if not nil, is called for a notification that has only the first block of a
	// representation. It gets the rest with further requests and puts the whole into first,
	// or returns an error if that is not possible (RFC 7959 section 2.6). req is the
	// registration.
	Complete func(ctx context.Context, req *exchange.Request, first *exchange.Response) error
	// Jitter is how long to wait after Max-Age has passed without a notification, before
	// registering again: the given time to three times of it. 0 means 5 seconds, so
	// that it is 5 to 15 (RFC 7641 section 3.3.1).
	Jitter time.Duration
	// MaxBackoff is the longest pause between attempts to register that fail: the first is Jitter
	// to two times of it, and they double. 0 means 5 minutes.
	MaxBackoff time.Duration
	// MaxFailures is how many attempts may fail in a row before the observation ends with the
	// error of the last. 0 means that it goes on until it is closed.
	MaxFailures int
	// Poll asks for the state after each Max-Age where the server does not
	// accept observers. Without it, such an observation ends with ErrNotObservable after the
	// first value.
	Poll bool
	// Backlog is how many values are kept for a caller that does not take them in time, 0 means
	// 16. Older ones give way to newer ones.
	Backlog int
	// Logger gets failures that are dealt with; nil is silent.
	Logger *slog.Logger
}

func (c ClientConfig) withDefaults() ClientConfig {
	c.Jitter = orDefault(c.Jitter, 5*time.Second)
	c.MaxBackoff = orDefault(c.MaxBackoff, 5*time.Minute)
	c.Backlog = orDefault(c.Backlog, 16)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Client observes resources. All its methods may be called concurrently.
type Client struct {
	opener exchange.Opener
	cfg    ClientConfig

	mu            sync.Mutex
	registrations map[resourceKey]*registration
	closed        bool
}

// NewClient returns a Client that registers by opener.
func NewClient(opener exchange.Opener, cfg ClientConfig) *Client {
	return &Client{opener: opener, cfg: cfg.withDefaults(), registrations: make(map[resourceKey]*registration)}
}

// Observe starts to observe what req, a GET or FETCH, asks for. It does not wait for the first
// value, and an error is only about a request that cannot be sent at all: a server that cannot be
// reached is tried again. The observation goes on until it is closed, ctx ends, or the server
// ends it. req is copied; the Observe option is added. With req.Session it ends with that session.
//
// Of several observations of the same resource only the first one registers, and all get the
// notifications (RFC 7641 section 3.1).
func (c *Client) Observe(ctx context.Context, req *exchange.Request) (*Observation, error) {
	switch {
	case req.Code != message.GET && req.Code != message.FETCH:
		return nil, exchange.RequestError("only GET and FETCH requests can observe, this one is " + req.Code.String())
	case req.Body != nil:
		return nil, exchange.RequestError("the request of an observation is sent again: give its body as Payload")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k, err := target(req)
	if err != nil {
		return nil, err
	}
	o := &Observation{client: c, ready: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, exchange.ErrClosed
	}
	// It waits for mu, that is, until o is complete.
	o.stop = context.AfterFunc(ctx, func() { o.end(context.Cause(ctx)) })
	r := c.registrations[k]
	if r == nil {
		r = newRegistration(c, k, req)
		c.registrations[k] = r
		go r.run()
	}
	o.r = r
	r.join(o)
	return o, nil
}

// Close ends all observations with exchange.ErrClosed, as Observation.Close does, and waits until nothing
// of them is left. It always returns nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	var all []*Observation
	for _, r := range c.registrations {
		all = append(all, r.members...)
	}
	c.mu.Unlock()
	for _, o := range all {
		o.end(exchange.ErrClosed)
	}
	return nil
}

// resourceKey tells apart what is observed.
type resourceKey struct {
	session any // that the caller has chosen
	request string
}

// target identifies the resource and representation that req asks for: where it goes, and the
// cache key (RFC 7641 section 3.1).
func target(req *exchange.Request) (resourceKey, error) {
	var options message.Options
	it := req.Options.Iter()
	for it.Next() {
		n := it.Number()
		if n != message.OptionObserve && (n.Unsafe() || !n.NoCacheKey()) {
			options.Add(n, it.Value())
		}
	}
	encoded, err := options.Encoded()
	if err != nil {
		return resourceKey{}, err
	}
	b := append([]byte{byte(req.Code)}, req.Authority.String()...)
	b = append(append(b, ' '), req.To.String()...)
	b = append(strconv.AppendInt(append(b, ' '), int64(req.IfIndex), 10), ' ')
	b = append(strconv.AppendInt(b, int64(len(encoded)), 10), ' ')
	return resourceKey{req.Session, string(append(append(b, encoded...), req.Payload...))}, nil
}
