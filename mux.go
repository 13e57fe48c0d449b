package coap

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/linkformat"
	"github.com/coapkit/coap/message"
)

// Mux is a [Handler] that hands a request to the handler whose pattern matches its method and
// path best. The patterns are those of net/http, without hosts:
//
//	"GET /sensors/{id}"    one segment for {id}, which is not empty
//	"/files/{rest...}"     all segments from there on, at least one
//	"/files/"              the same without a name
//	"GET /{$}"             the root only; "/files/{$}" the path with the trailing slash only
//
// A pattern without a method matches every method. Of two patterns that match, the more specific
// one wins; registering two of which neither is more specific panics. A path that matches
// no pattern is answered with 4.04, one that matches with other methods only with
// 4.05 (RFC 7252 section 5.8).
//
// Each Uri-Path option is one segment. A slash within a segment separates nothing, and
// percent-encoding in a pattern is resolved when it is registered.
//
// The Mux also looks after the options of a request: critical ones that the route does not
// understand are answered with 4.02 (RFC 7252 section 5.4.1).
//
// It serves the resource /.well-known/core, a list of the paths of all patterns without
// wildcards with the attributes that their Route gives (RFC 6690 section 4), unless
// a pattern for that path is registered.
//
// The zero value is an empty Mux. All methods may be called concurrently.
type Mux struct {
	tree atomic.Pointer[tree] // of patterns; nil: to be made

	mu         sync.Mutex // guards the rest
	patterns   []*pattern
	links      []byte // the text of /.well-known/core; nil: to be made
	middleware []func(Handler) Handler
}

// Route says more about the resources behind a pattern. The zero value is right for most.
type Route struct {
	// Preconditions says that the handler calls [Request.Precondition] before it changes
	// anything. Without it a request with If-Match or If-None-Match is answered
	// with 4.02, since its sender must not believe that the condition was looked at.
	Preconditions bool
	// Formats are the content formats that the handler can answer in, if it says so in
	// advance. A request that accepts another one is answered with 4.06 before the handler
	// runs. Without it, the response to a GET or FETCH is checked afterwards.
	Formats []ContentFormat
	// Body says how long the body of a request may be, and whether the handler reads it as a
	// stream while it arrives. The zero value gathers up to 1 MiB and then runs the
	// handler, which sees it as Payload.
	Body blockwise.Mode
	// Observable says that clients may observe the resource by GET or FETCH (RFC 7641): whoever
	// changes it calls Notify of the Server, and the handler is called to render what
	// observers are sent.
	Observable bool
	// Attributes are those of the link in /.well-known/core, such as rt, if, sz, title. The
	// content formats, ct, are taken from Formats if they are not among them.
	Attributes []linkformat.Param
	// Placement says which goroutine runs the handler.
	Placement Placement
	// Unlisted keeps the resource out of /.well-known/core.
	Unlisted bool
	// Understands are the critical options, besides those of the URI and Accept, that the
	// handler understands.
	Understands []OptionNumber
}

// NewMux returns an empty Mux.
func NewMux() *Mux { return new(Mux) }

// Handle registers a handler for a pattern; at most one Route may say more about it. It panics
// if the pattern has a syntax error or conflicts with another: both are mistakes in a program.
func (m *Mux) Handle(pattern string, h Handler, route ...Route) {
	p, err := parsePattern(pattern)
	if err != nil {
		panic(err.Error())
	}
	if h == nil || len(route) > 1 {
		panic(fmt.Sprintf("coap: pattern %q: want a handler and at most one Route", pattern))
	}
	if len(route) == 1 {
		p.route = route[0]
	}
	if err := p.checkLink(); err != nil {
		panic(fmt.Sprintf("coap: pattern %q: %v", pattern, err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.patterns) == 0 {
		m.addWellKnown()
	}
	m.replaceWellKnown(p)
	for _, q := range m.patterns {
		if p.conflicts(q) {
			panic(fmt.Sprintf("coap: pattern %q conflicts with %q: both match some requests, and neither is more specific", p, q))
		}
	}
	for i := len(m.middleware) - 1; i >= 0; i-- {
		h = m.middleware[i](h)
	}
	p.handler = h
	if p.pace.fixed = p.route.Placement; p.route.Body.Stream {
		p.pace.fixed = OnWorker // the goroutine that receives brings the blocks that it waits for
	}
	m.insert(p)
}

// insert adds a pattern. The lock is held.
func (m *Mux) insert(p *pattern) {
	m.patterns = append(m.patterns, p)
	m.links = nil
	m.tree.Store(nil)
}

// HandleFunc registers a function for a pattern; see [Mux.Handle].
func (m *Mux) HandleFunc(pattern string, f func(w *Response, r *Request) error, route ...Route) {
	m.Handle(pattern, HandlerFunc(f), route...)
}

// Use puts middleware around the handlers that are registered from now on, the first one
// outermost. It sees the matched pattern and the path values.
func (m *Mux) Use(middleware ...func(Handler) Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.middleware = append(m.middleware, middleware...)
}

// Wrap puts middleware around h, the first one outermost, for what has to see the requests that no
// route of a [Mux] is for, too. Unlike a plain call of the middleware it keeps h known as one that
// looks after options itself, if it does: otherwise the endpoint refuses all critical options
// besides those of the URI and Accept.
func Wrap(h Handler, middleware ...func(Handler) Handler) Handler {
	_, checks := h.(exchange.OptionChecker)
	inner := h
	for i := len(middleware) - 1; i >= 0; i-- {
		h = middleware[i](h)
	}
	if checks {
		return &checker{Handler: h, inner: inner}
	}
	return h
}

// checker marks a handler as an OptionChecker, which the one inside it is.
type checker struct {
	Handler
	inner Handler
	own   pace // if inner has none
}

func (*checker) ChecksOptions() {}

func (c *checker) bodyMode(r *Request) (blockwise.Mode, error) {
	if m, ok := c.inner.(router); ok {
		return m.bodyMode(r)
	}
	return blockwise.Mode{}, nil
}

func (c *checker) observable(r *Request) bool {
	m, ok := c.inner.(router)
	return ok && m.observable(r)
}

func (c *checker) pace(r *Request) *pace {
	if m, ok := c.inner.(router); ok {
		return m.pace(r)
	}
	return &c.own
}

// router is a handler that knows more about the resource which a request is for.
type router interface {
	bodyMode(r *Request) (blockwise.Mode, error)
	observable(r *Request) bool
	pace(r *Request) *pace
}

var _ router = (*Mux)(nil)

// ServeCoAP answers r by the handler whose pattern matches.
func (m *Mux) ServeCoAP(w *Response, r *Request) error {
	p, err := m.find(r)
	if err != nil {
		return err
	}
	r.SetPattern(p.text, p.names)
	return p.handler.ServeCoAP(w, r)
}

// bodyMode says how the body of a request is dealt with, and refuses one that ServeCoAP would
// refuse whatever the body is.
func (m *Mux) bodyMode(r *Request) (blockwise.Mode, error) {
	p, err := m.find(r)
	if err != nil {
		return blockwise.Mode{}, err
	}
	return p.route.Body, nil
}

// observable reports whether the resource that r is for can be observed.
func (m *Mux) observable(r *Request) bool {
	p, _ := m.match(r)
	return p != nil && p.route.Observable
}

// pace returns how quick the route of r is. To say that there is none is quick.
func (m *Mux) pace(r *Request) *pace {
	if p, _ := m.match(r); p != nil {
		return &p.pace
	}
	return &noRoute
}

var noRoute = pace{fixed: Inline}

// find returns the pattern for r, or why it is refused.
func (m *Mux) find(r *Request) (*pattern, error) {
	p, other := m.match(r)
	understood := understoodByAll
	if p != nil {
		understood = p.understands
	}
	// A critical option that is not understood may change what the request means, so
	// it is looked at before the rest.
	if e := checkOptions(r, understood); e != nil {
		return nil, e
	}
	switch {
	case p == nil && other:
		return nil, &Error{Code: message.MethodNotAllowed}
	case p == nil:
		return nil, &Error{Code: message.NotFound}
	}
	if want, ok := r.Options.Accept(); ok && !p.offers(want) {
		return nil, &Error{Code: message.NotAcceptable}
	}
	return p, nil
}

// ChecksOptions says that the Mux does.
func (m *Mux) ChecksOptions() {}

var _ exchange.OptionChecker = (*Mux)(nil)

// tree is what requests are matched by. It does not change: with many endpoints on many processors, even a lock
// that all may hold at once would be what they wait for.
type tree struct {
	root  node
	depth int // most segments in a pattern
}

// match finds the pattern for r, or whether there is one for other methods.
func (m *Mux) match(r *Request) (found *pattern, other bool) {
	t := m.tree.Load()
	if t == nil {
		t = m.plant()
	}
	// Segments beyond the deepest pattern need not be told apart.
	var few [8][]byte
	path, total := few[:0], 0
	it := r.Options.Iter()
	for it.Next() && it.Number() <= message.OptionURIPath {
		if it.Number() < message.OptionURIPath {
			continue
		}
		if total++; len(path) <= t.depth {
			path = append(path, it.Value())
		}
	}
	if total == 0 {
		path = append(path, nil) // "/" is one empty segment, as in net/http
	}
	return t.root.match(r.Code, path)
}

// plant makes the tree.
func (m *Mux) plant() *tree {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := new(tree)
	for _, p := range m.patterns {
		t.depth = max(t.depth, len(p.segments))
		t.root.add(p, p.segments)
	}
	m.tree.Store(t)
	return t
}

// node is a node of the tree of patterns; the way to it is the segments of a path.
type node struct {
	literal map[string]*node
	wild    *node      // one segment, not empty
	exact   []*pattern // that end here, by method
	rest    []*pattern // that match everything from here on, by method
}

func (n *node) add(p *pattern, segments []segment) {
	if len(segments) == 0 {
		n.exact = append(n.exact, p)
		return
	}
	s := segments[0]
	switch {
	case s.rest:
		n.rest = append(n.rest, p)
		return
	case s.wild:
		if n.wild == nil {
			n.wild = new(node)
		}
		n.wild.add(p, segments[1:])
	default:
		if n.literal == nil {
			n.literal = make(map[string]*node)
		}
		next := n.literal[s.text]
		if next == nil {
			next = new(node)
			n.literal[s.text] = next
		}
		next.add(p, segments[1:])
	}
}

// match returns the most specific pattern for a path and a method, or whether there is one for
// other methods. Literal segments go before wildcards, and those before the rest;
// conflicts were excluded, so the first one found is the most specific.
func (n *node) match(method Code, path [][]byte) (found *pattern, other bool) {
	if len(path) == 0 {
		return choose(n.exact, method)
	}
	if next := n.literal[string(path[0])]; next != nil {
		p, o := next.match(method, path[1:])
		if p != nil {
			return p, false
		}
		other = other || o
	}
	if n.wild != nil && len(path[0]) > 0 {
		p, o := n.wild.match(method, path[1:])
		if p != nil {
			return p, false
		}
		other = other || o
	}
	p, o := choose(n.rest, method)
	return p, p == nil && (other || o)
}

// choose picks the pattern for a method: its own before the one for all methods.
func choose(patterns []*pattern, method Code) (found *pattern, other bool) {
	for _, p := range patterns {
		if p.method == method {
			return p, false
		}
		if p.method == message.Empty {
			found = p
		}
	}
	return found, found == nil && len(patterns) > 0
}
