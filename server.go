package coap

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/udp"
)

// Server answers requests with a [Handler]. Its fields must not be changed once it
// serves. All methods may be called concurrently, before, while and after it serves.
type Server struct {
	// Addr is the UDP address to listen on, "host:port"; an empty host stands for all
	// addresses of both families. "" means ":5683".
	Addr string
	// Handler answers the requests. Nil answers each with 4.04.
	Handler Handler
	// Config may be nil.
	Config *Config
	// Groups are the multicast groups to join, for discovery those of
	// [AllNodes]. None by default: whoever can reach a group reaches all its members at once.
	Groups []netip.Addr
	// Interfaces are the names of the interfaces on which to join them. None means all, those
	// that come up later included.
	Interfaces []string
	// Sockets is how many sockets ListenAndServe listens with, 0 means 1. More than one let as many processors
	// work, on Linux: the system gives each client to one of them, see [udp.ListenShared]. Each has an [Endpoint]
	// of its own, and with it all limits of Config.
	Sockets int

	mu    sync.Mutex
	eps   []*Endpoint
	ended bool
}

// ListenAndServe listens on addr, such as ":5683", and answers requests with handler until ctx
// ends; see [Server.ListenAndServe].
func ListenAndServe(ctx context.Context, addr string, handler Handler) error {
	s := Server{Addr: addr, Handler: handler}
	return s.ListenAndServe(ctx)
}

// ListenAndServe listens on Addr and serves until ctx ends or the server is closed, then
// returns nil. Any other error says why it could not listen or go on.
func (s *Server) ListenAndServe(ctx context.Context) error {
	addr := s.Addr
	if addr == "" {
		addr = ":5683"
	}
	conns, err := udp.ListenShared(addr, max(s.Sockets, 1), nil)
	if err != nil {
		return err
	}
	all := make([]transport.Conn, len(conns))
	for i, c := range conns {
		all[i] = c
	}
	return s.Serve(ctx, all...)
}

// Serve serves on conns, at least one, which it closes in the end; see [Server.ListenAndServe]. If there are
// Groups, the first must have the method Join of *udp.Conn. Several are for [udp.ListenShared]: what comes from one
// client has to come out of one of them.
func (s *Server) Serve(ctx context.Context, conns ...transport.Conn) error {
	if len(conns) == 0 {
		return errors.New("coap: there is no transport to serve on")
	}
	eps, err := s.start(conns)
	if err != nil || eps == nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { closeAll(eps) })
	defer stop()
	leave, err := joinGroups(conns[0], s.Groups, s.Interfaces)
	if err != nil {
		closeAll(eps)
		return err
	}
	defer leave()
	// Whatever ends one of them ends the server.
	ended := make(chan error, len(eps))
	for _, ep := range eps {
		go func() { ended <- ep.wait() }()
	}
	err = <-ended
	_ = closeAll(eps)
	for range len(eps) - 1 {
		if e := <-ended; err == nil {
			err = e
		}
	}
	return err
}

// start starts the endpoints, unless the server was ended before.
func (s *Server) start(conns []transport.Conn) (eps []*Endpoint, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
	case s.eps != nil:
		err = errors.New("coap: the server serves already; use another Server for another address")
	default:
		for _, conn := range conns {
			var ep *Endpoint
			if ep, err = NewEndpoint(conn, s.Handler, s.Config); err != nil {
				break
			}
			eps = append(eps, ep)
		}
	}
	if len(eps) == len(conns) {
		s.eps = eps
		return eps, nil
	}
	closeAll(eps)
	for _, conn := range conns {
		conn.Close()
	}
	return nil, err
}

func closeAll(eps []*Endpoint) error {
	var err error
	for _, ep := range eps {
		err = errors.Join(err, ep.Close())
	}
	return err
}

// endpoints returns the endpoints, if the server serves, and keeps it from starting
// later if end is set.
func (s *Server) endpoints(end bool) []*Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = s.ended || end
	return s.eps
}

// LocalAddr returns the address that the server listens on, the zero AddrPort before
// it serves.
func (s *Server) LocalAddr() netip.AddrPort {
	if eps := s.endpoints(false); eps != nil {
		return eps[0].LocalAddr()
	}
	return netip.AddrPort{}
}

// Notify says that the resources at a path have changed; see [Endpoint.Notify]. Before the server
// serves there is nobody to be told.
func (s *Server) Notify(path string) {
	for _, ep := range s.endpoints(false) {
		ep.Notify(path)
	}
}

// Forget removes the observers of the resources at a path without telling them.
func (s *Server) Forget(path string) {
	for _, ep := range s.endpoints(false) {
		ep.Forget(path)
	}
}

// Observers returns how many observers the resources at a path have.
func (s *Server) Observers(path string) int {
	n := 0
	for _, ep := range s.endpoints(false) {
		n += ep.Observers(path)
	}
	return n
}

// Stats returns the counters of the server, of all its sockets together.
func (s *Server) Stats() Stats {
	var sum Stats
	for _, ep := range s.endpoints(false) {
		one := ep.Stats()
		sum.Add(&one)
	}
	return sum
}

// Shutdown answers new requests with 5.03, waits for handlers and their separate responses, and
// closes; see [Endpoint.Shutdown]. A server that has not started will not.
func (s *Server) Shutdown(ctx context.Context) error {
	eps := s.endpoints(true)
	errs := make([]error, len(eps))
	var wg sync.WaitGroup
	for i, ep := range eps {
		wg.Go(func() { errs[i] = ep.Shutdown(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close closes the server at once; see [Endpoint.Close]. A server that has not started
// will not.
func (s *Server) Close() error { return closeAll(s.endpoints(true)) }
