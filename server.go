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

	mu    sync.Mutex
	ep    *Endpoint
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
	conn, err := udp.Listen(addr, nil)
	if err != nil {
		return err
	}
	return s.Serve(ctx, conn)
}

// Serve serves on conn, which it closes in the end; see [Server.ListenAndServe]. If there are
// Groups, conn must have the method Join of *udp.Conn.
func (s *Server) Serve(ctx context.Context, conn transport.Conn) error {
	s.mu.Lock()
	if s.ended || s.ep != nil {
		running := !s.ended
		s.mu.Unlock()
		conn.Close()
		if running {
			return errors.New("coap: the server serves already; use another Server for another address")
		}
		return nil
	}
	ep, err := NewEndpoint(conn, s.Handler, s.Config)
	if err == nil {
		s.ep = ep
	}
	s.mu.Unlock()
	if err != nil {
		conn.Close()
		return err
	}
	stop := context.AfterFunc(ctx, func() { ep.Close() })
	defer stop()
	leave, err := joinGroups(conn, s.Groups, s.Interfaces)
	if err != nil {
		ep.Close()
		return err
	}
	defer leave()
	return ep.wait()
}

// endpoint returns the endpoint, if the server serves, and keeps it from starting
// later if end is set.
func (s *Server) endpoint(end bool) *Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = s.ended || end
	return s.ep
}

// LocalAddr returns the address that the server listens on, the zero AddrPort before
// it serves.
func (s *Server) LocalAddr() netip.AddrPort {
	if ep := s.endpoint(false); ep != nil {
		return ep.LocalAddr()
	}
	return netip.AddrPort{}
}

// Notify says that the resources at a path have changed; see [Endpoint.Notify]. Before the server
// serves there is nobody to be told.
func (s *Server) Notify(path string) {
	if ep := s.endpoint(false); ep != nil {
		ep.Notify(path)
	}
}

// Forget removes the observers of the resources at a path without telling them.
func (s *Server) Forget(path string) {
	if ep := s.endpoint(false); ep != nil {
		ep.Forget(path)
	}
}

// Observers returns how many observers the resources at a path have.
func (s *Server) Observers(path string) int {
	if ep := s.endpoint(false); ep != nil {
		return ep.Observers(path)
	}
	return 0
}

// Stats returns the counters of the server.
func (s *Server) Stats() Stats {
	if ep := s.endpoint(false); ep != nil {
		return ep.Stats()
	}
	return Stats{}
}

// Shutdown answers new requests with 5.03, waits for handlers and their separate responses, and
// closes; see [Endpoint.Shutdown]. A server that has not started will not.
func (s *Server) Shutdown(ctx context.Context) error {
	if ep := s.endpoint(true); ep != nil {
		return ep.Shutdown(ctx)
	}
	return nil
}

// Close closes the server at once; see [Endpoint.Close]. A server that has not started
// will not.
func (s *Server) Close() error {
	if ep := s.endpoint(true); ep != nil {
		return ep.Close()
	}
	return nil
}
