package observe

import (
	"context"
	"encoding/binary"
	"net/netip"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// What observers have in common, so that it is kept and made once: where they are reached, and what
// they are told.

// route is how notifications go to clients: what their requests have in common besides the address they
// came from.
type route struct {
	routeKey
	peer   exchange.Peer  // without Addr
	local  netip.AddrPort // tells clients apart; see keyOf
	users  int
	shared bool // is in Server.routes
}

// routeKey tells routes apart. Clients that have proven an identity have routes of their own.
type routeKey struct {
	pusher                     exchange.Pusher
	group                      netip.Addr // by which they have registered
	local                      netip.AddrPort
	ifIndex                    int
	session                    any
	verified, secure, reliable bool
}

// routeOf returns the route to the sender of r.
func (s *Server) routeOf(r *exchange.Request) *route {
	p := r.Peer()
	k := routeKey{
		pusher: r.Pusher(), group: r.Group(), local: p.Local, ifIndex: p.IfIndex, session: p.Session,
		verified: p.Verified, secure: p.Secure, reliable: p.Reliable,
	}
	shared := p.Identity == nil // else it may be of any type
	if t := s.routes[k]; t != nil && shared {
		return t
	}
	t := &route{routeKey: k, peer: p, local: keyOf(p, r.IsMulticast()).local, shared: shared}
	t.peer.Addr = netip.AddrPort{}
	if shared {
		s.routes[k] = t
	}
	return t
}

// leaveRoute gives a reference to t back.
func (s *Server) leaveRoute(t *route) {
	if t.users--; t.users <= 0 && t.shared && s.routes[t.routeKey] == t {
		delete(s.routes, t.routeKey)
	}
}

// watch makes p tell of rejections, and returns a number for it. mu is not held.
func (s *Server) watch(r *exchange.Request) uint32 {
	p := r.Pusher()
	s.watching.Lock()
	defer s.watching.Unlock()
	if w, ok := s.watched[p]; ok {
		return w.number
	}
	s.pushers++
	w := watched{number: s.pushers, stop: p.Watch(s.rejected)}
	if s.watched == nil {
		s.watched = make(map[exchange.Pusher]watched)
	}
	s.watched[p] = w
	context.AfterFunc(r.Context(), func() { s.unwatch(p) }) // when its endpoint is closed
	return w.number
}

// watched is a Pusher that observers are reached by.
type watched struct {
	number uint32
	stop   func()
}

func (s *Server) unwatch(p exchange.Pusher) {
	s.watching.Lock()
	defer s.watching.Unlock()
	if w, ok := s.watched[p]; ok {
		w.stop()
		delete(s.watched, p)
	}
}

func (s *Server) unwatchAll() {
	s.watching.Lock()
	defer s.watching.Unlock()
	for _, w := range s.watched {
		w.stop()
	}
	clear(s.watched)
}

// resource is what has been registered under one path.
type resource struct {
	path   string
	inTurn []*group // in an order that does not change from run to run
}

// group are the observers that get the same bytes, but for token and sequence number.
type group struct {
	in    *resource
	key   string
	req   *exchange.Request // the first of their requests, which stands for all
	place int               // in resource.inTurn
	users int               // attempts that may put an observer into it

	observers []*observer
	version   uint32 // counts the changes
	visited   int    // how many of observers have been looked at for the present one
	sweeping  bool   // there are others
	again     bool   // those that were need it once more

	ready  list   // observers that may be notified now: each has a place of its client
	queued bool   // is in Server.queue
	busy   bool   // is being rendered
	after  *group // in the queue
}

// share appends to b what is equal for requests that have the same answer: method, options, block size among
// them, and payload. Observe has no part in it (RFC 7641 section 2).
func (s *Server) share(b []byte, r *exchange.Request, pusher uint32) []byte {
	b = binary.AppendUvarint(b, uint64(pusher)) // it has an end of its own
	b = append(b, byte(r.Code))
	it := r.Options.Iter()
	for it.Next() {
		if it.Number() == message.OptionObserve {
			continue
		}
		b = binary.AppendUvarint(b, 1+uint64(it.Number()))
		b = binary.AppendUvarint(b, uint64(len(it.Value())))
		b = append(b, it.Value()...)
	}
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(len(r.Payload)))
	b = append(b, r.Payload...)
	if perPeer := s.cfg.PerPeer; r.Peer().Identity != nil || perPeer != nil && perPeer(r) {
		b = binary.AppendUvarint(b, uint64(len(r.Token())))
		b = append(b, r.Token()...)
		b = append(b, r.Peer().Addr.String()...)
		b = append(b, ' ')
		b = append(b, r.Peer().Local.String()...)
	}
	return b
}

// hold returns the group for requests with this key, to which r belongs, until let is called.
func (s *Server) hold(key []byte, r *exchange.Request) *group {
	g := s.groups[string(key)]
	if g == nil {
		path := r.Path()
		res := s.resources[path]
		if res == nil {
			res = &resource{path: path}
			s.resources[path] = res
		}
		g = &group{in: res, key: string(key), req: r.Clone(), place: len(res.inTurn)}
		g.req.Options.Remove(message.OptionObserve)
		s.groups[g.key], res.inTurn = g, append(res.inTurn, g)
	}
	g.users++
	return g
}

// let undoes hold.
func (s *Server) let(g *group) {
	g.users--
	s.releaseGroup(g)
}

// join puts o among those that get the same answer.
func (s *Server) join(o *observer, g *group) {
	o.group, o.at, o.version = g, uint32(len(g.observers)), g.version
	g.observers = append(g.observers, o)
}

// leave undoes join.
func (s *Server) leave(o *observer) {
	g := o.group
	last := len(g.observers) - 1
	moved := g.observers[last]
	g.observers[o.at] = moved
	moved.at = o.at
	g.observers[last] = nil
	g.observers = g.observers[:last]
	if moved != o && g.sweeping && int(moved.at) < g.visited {
		s.catchUp(moved) // it would not be come by any more
	}
	if cap(g.observers) > 1024 && last < cap(g.observers)/4 {
		g.observers = append(make([]*observer, 0, cap(g.observers)/2), g.observers...)
	}
	s.releaseGroup(g)
}

// releaseGroup forgets g if nothing refers to it.
func (s *Server) releaseGroup(g *group) {
	if len(g.observers) > 0 || g.users > 0 || s.groups[g.key] != g {
		return
	}
	delete(s.groups, g.key)
	res := g.in
	end := len(res.inTurn) - 1
	res.inTurn[g.place] = res.inTurn[end]
	res.inTurn[g.place].place = g.place
	res.inTurn[end] = nil
	if res.inTurn = res.inTurn[:end]; end == 0 {
		delete(s.resources, res.path)
	}
}
