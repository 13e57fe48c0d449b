package observe

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"net/netip"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// The list of observers (RFC 7641 section 4.1). It is searched by client and token, by the path of
// what has changed, and by client; all of it is guarded by Server.mu. Most clients observe one
// resource, with a request that others make as well: such an observer is one object, see client,
// and whatever it shares is in its group and its route.

// peerKey tells clients apart: by the session where there is one, else by both addresses.
// Notifications stay within the session of the request (RFC 7641 section 7).
type peerKey struct {
	session any
	remote  netip.AddrPort
	local   netip.AddrPort
}

func keyOf(p exchange.Peer, group bool) peerKey {
	switch {
	case p.Session != nil:
		return peerKey{session: p.Session}
	case group:
		return peerKey{remote: p.Addr} // the local end is whatever the system would answer from
	}
	return peerKey{remote: p.Addr, local: p.Local}
}

// client is a peer with observers, or with a notification on its way.
type client struct {
	remote      netip.AddrPort
	route       *route // of the request that it was entered by
	next        *client
	crowd       *crowd // nil while first is its only one
	observers   int32
	outstanding int32    // notifications on their way (section 4.5.1)
	first       observer // its first observer, here to save an object
}

// crowd is what a client with several observers needs.
type crowd struct {
	byToken map[string]*observer
	byID    map[uint16]*observer // see observer.id
	waiting list                 // those that have something to tell, in order
}

// clients finds clients. Those with one hash form a chain.
type clients struct {
	seed     maphash.Seed
	plain    map[uint32]*client
	sessions map[any]*client
	n, peak  int
}

func newClients() clients {
	return clients{seed: maphash.MakeSeed(), plain: make(map[uint32]*client), sessions: make(map[any]*client)}
}

func (t *clients) hash(a netip.AddrPort) uint32 {
	var b [18]byte
	ip := a.Addr().As16()
	copy(b[:], ip[:])
	binary.BigEndian.PutUint16(b[16:], a.Port())
	return uint32(maphash.Bytes(t.seed, b[:]))
}

func (t *clients) get(k peerKey) *client {
	if k.session != nil {
		return t.sessions[k.session]
	}
	c := t.plain[t.hash(k.remote)]
	for c != nil && (c.remote != k.remote || c.route.local != k.local) {
		c = c.next
	}
	return c
}

func (t *clients) add(c *client) {
	t.n++
	t.peak = max(t.peak, t.n)
	if s := c.route.peer.Session; s != nil {
		t.sessions[s] = c
		return
	}
	h := t.hash(c.remote)
	c.next = t.plain[h]
	t.plain[h] = c
}

func (t *clients) remove(c *client) {
	t.n--
	if s := c.route.peer.Session; s != nil {
		delete(t.sessions, s)
		return
	}
	h := t.hash(c.remote)
	if first := t.plain[h]; first != c {
		for first.next != c {
			first = first.next
		}
		first.next = c.next
	} else if c.next != nil {
		t.plain[h] = c.next
	} else {
		delete(t.plain, h)
	}
	c.next = nil
	// A map keeps its memory: copying an eighth after seven eighths were deleted is constant per deletion.
	if t.peak > 1024 && t.n < t.peak/8 {
		plain := make(map[uint32]*client, len(t.plain))
		for h, c := range t.plain {
			plain[h] = c
		}
		t.plain, t.peak = plain, t.n
	}
}

// observer is an entry of the list.
type observer struct {
	from       *client
	group      *group
	route      *route
	prev, next *observer // in the list that place names
	flight     *flight   // its confirmable notification, while that is on its way

	due         int64 // when the time has come that it waits for, see place
	confirmedAt int64
	order       int64  // when what it was told last, or is about to be told, was begun to be made
	ahead       uint32 // how far its sequence number is ahead of the clock at that time

	at       uint32 // position in group.observers
	version  uint32 // of the group that it has been looked at for
	nons     uint32 // since the last confirmable notification
	every    uint32 // one of how many is confirmable
	token    [shortToken]byte
	tokenLen uint8 // longToken: see Server.longTokens
	place    place
	flags    flags
	handling uint16 // requests of it in handlers
	id       uint16 // exchange.Notice.ID of its last notification, if hasID
	format   message.ContentFormat
}

const (
	shortToken = 8
	longToken  = shortToken + 1
)

// flags are what is true or not of an observer.
type flags uint16

const (
	live      flags = 1 << iota // a request of it was answered with success
	removed                     // it is on the list no more
	dirty                       // it has to be told of a change
	inFlight                    // a notification is on its way, or about to be
	force                       // the next one is confirmable
	hasID                       // the last one was not confirmable, and may be rejected
	hasFormat                   // it was told a content format
)

func (o *observer) is(f flags) bool { return o.flags&f != 0 }
func (o *observer) set(f flags)     { o.flags |= f }
func (o *observer) clear(f flags)   { o.flags &^= f }

func (s *Server) tokenOf(o *observer) message.Token {
	if o.tokenLen == longToken {
		return s.longTokens[o]
	}
	return o.token[:o.tokenLen]
}

// peerOf describes the client as notifications go to it.
func (o *observer) peer() exchange.Peer {
	p := o.route.peer
	p.Addr = o.from.remote
	return p
}

// find returns the entry for the sender of r, if any, and its client. A client that has registered by a group goes on
// with it by unicast under the same token.
func (s *Server) find(r *exchange.Request) (*observer, *client) {
	k := keyOf(r.Peer(), r.IsMulticast())
	c := s.clients.get(k)
	if o := s.observerOf(c, r.Token()); o != nil || k.session != nil {
		return o, c
	}
	k.local = netip.AddrPort{}
	if o := s.observerOf(s.clients.get(k), r.Token()); o != nil {
		return o, o.from
	}
	return nil, c
}

func (s *Server) observerOf(c *client, token message.Token) *observer {
	switch {
	case c == nil:
	case c.crowd != nil:
		return c.crowd.byToken[string(token)]
	case !c.first.is(removed) && string(s.tokenOf(&c.first)) == string(token):
		return &c.first
	}
	return nil
}

// crowdOf returns the crowd of c, which has or gets several observers.
func (s *Server) crowdOf(c *client) *crowd {
	if c.crowd == nil {
		c.crowd = &crowd{byToken: make(map[string]*observer), byID: make(map[uint16]*observer)}
		if o := &c.first; !o.is(removed) {
			c.crowd.byToken[string(s.tokenOf(o))] = o
			if o.is(hasID) {
				c.crowd.byID[o.id] = o
			}
		}
	}
	return c.crowd
}

// enter puts the sender of r on the list, in g, or finds it there; nil if a limit is reached.
func (s *Server) enter(r *exchange.Request, g *group, route *route) *observer {
	o, c := s.find(r)
	if o != nil {
		if o.handling == math.MaxUint16 {
			s.stats.Refused++
			return nil
		}
		o.handling++
		return o
	}
	if s.closed || s.count >= s.cfg.MaxObservers || c != nil && int(c.observers) >= s.cfg.MaxPerPeer {
		s.stats.Refused++
		return nil
	}
	if c == nil {
		c = &client{remote: r.Peer().Addr, route: route}
		route.users++
		s.clients.add(c)
		o = &c.first
	} else {
		o = new(observer)
		s.crowdOf(c)
	}
	o.from, o.route, o.handling, o.confirmedAt = c, route, 1, s.now()
	route.users++
	if t := r.Token(); len(t) <= shortToken {
		o.tokenLen = uint8(copy(o.token[:], t))
	} else {
		o.tokenLen = longToken
		s.longTokens[o] = append(message.Token(nil), t...)
	}
	if c.crowd != nil {
		c.crowd.byToken[string(r.Token())] = o
	}
	c.observers++
	s.count++
	s.join(o, g)
	return o
}

// number gives out the sequence number for what is told as it was at a time; for each observer numbers rise in
// the order in which they are given out.
func (s *Server) number(o *observer, order int64) uint32 {
	v := s.time.at(order)
	next := s.time.at(o.order) + uint64(o.ahead) + 1
	o.ahead = 0
	if next > v {
		o.ahead = uint32(next - v)
		v = next
	}
	o.order = order
	return uint32(v & seqMask)
}

// entered is called when a request that attempt.begin was called for has been answered.
func (s *Server) entered(a *attempt, w *exchange.Response) {
	s.mu.Lock()
	defer s.unlock()
	o := a.o
	o.handling--
	defer s.let(a.group)
	switch {
	case o.is(removed):
		// It was deregistered or reset meanwhile; a notification will not follow.
		if a.success {
			w.Options.Remove(message.OptionObserve)
		}
		return
	case !a.success:
		// The error tells the client that it is on the list no more (section 4.2), unless
		// another request of it is still being answered.
		if o.is(live) || o.handling == 0 {
			s.remove(o, EndError)
		}
		return
	}
	s.update(o, a, w)
	switch {
	case !o.is(live):
		o.set(live)
		s.stats.Registered++
		if o.is(dirty) {
			o.clear(dirty)
			s.touch(o)
		} else {
			s.rest(o)
		}
	case o.place == confirming:
		s.rest(o)
	}
	s.setTimer()
}

// update replaces what is kept of an entry by what a new request says (section 4.1).
func (s *Server) update(o *observer, a *attempt, w *exchange.Response) {
	if o.group.in != a.group.in && o.is(live) {
		s.ended(o, EndReplaced)
	}
	if o.group != a.group {
		s.catchUp(o)
		ready := o.place == inReady
		if ready {
			s.unlist(o)
		}
		s.leave(o)
		s.join(o, a.group)
		if ready {
			s.ready(o)
		}
		if a.version != a.group.version {
			s.touch(o) // what it was answered may be outdated
		}
	}
	if a.route != o.route {
		a.route.users++
		s.leaveRoute(o.route)
		o.route = a.route
	}
	if g := o.route.group; g.IsValid() && s.cfg.Leisure > 0 {
		s.nextLeisure(g) // that of the response
	}
	o.clear(hasFormat)
	if f, ok := w.Options.ContentFormat(); ok {
		o.format = f
		o.set(hasFormat)
	}
	o.confirmedAt, o.every = s.now(), a.every
}

func (s *Server) deregister(r *exchange.Request) {
	s.mu.Lock()
	defer s.unlock()
	if o, _ := s.find(r); o != nil {
		s.remove(o, EndDeregistered)
	}
}

// rejected is called when a client has rejected a message of ours: perhaps a notification, whose id is that of
// its Notice (section 4.5).
func (s *Server) rejected(from exchange.Peer, id uint16) bool {
	s.mu.Lock()
	defer s.unlock()
	k := keyOf(from, false)
	o := s.notified(s.clients.get(k), id)
	if o == nil && k.session == nil {
		k.local = netip.AddrPort{}
		o = s.notified(s.clients.get(k), id)
	}
	if o == nil {
		return false
	}
	s.remove(o, EndReset)
	return true
}

// notified returns the observer whose last notification has this id.
func (s *Server) notified(c *client, id uint16) *observer {
	switch {
	case c == nil:
	case c.crowd != nil:
		return c.crowd.byID[id]
	case c.first.is(hasID) && c.first.id == id && !c.first.is(removed):
		return &c.first
	}
	return nil
}

// setID notes the id of the last notification to o, or that there is none: only the newest is waited for to
// be rejected.
func (s *Server) setID(o *observer, id uint16, known bool) {
	c := o.from.crowd
	if c != nil && o.is(hasID) && c.byID[o.id] == o {
		delete(c.byID, o.id)
	}
	o.clear(hasID)
	if !known {
		return
	}
	o.id = id
	o.set(hasID)
	if c != nil {
		c.byID[id] = o
	}
}

// remove takes o off the list. What is on its way to it is given up, but for an error response
// that is its end.
func (s *Server) remove(o *observer, why End) {
	if o.is(removed) {
		return
	}
	s.setID(o, 0, false)
	o.set(removed)
	s.count--
	landed := o.place == inReady || o.place == landing
	s.unlist(o)
	s.leave(o)
	if o.is(live) {
		s.ended(o, why)
	}
	c := o.from
	c.observers--
	if c.crowd != nil {
		delete(c.crowd.byToken, string(s.tokenOf(o)))
	}
	if o.tokenLen == longToken {
		delete(s.longTokens, o)
	}
	if f := o.flight; f != nil && f.pushed != nil && !f.final {
		s.after = append(s.after, f.pushed.Forget)
		o.flight, landed = nil, true
	}
	if landed {
		s.land(o)
	} else {
		s.releaseClient(c)
	}
	s.leaveRoute(o.route)
}

func (s *Server) ended(o *observer, why End) {
	s.stats.Ended[why]++
	if s.cfg.OnEnd != nil {
		peer, path := o.peer(), o.group.in.path
		s.after = append(s.after, func() { s.cfg.OnEnd(peer, path, why) })
	}
}

// releaseClient forgets c if nothing refers to it.
func (s *Server) releaseClient(c *client) {
	if c.observers == 0 && c.outstanding == 0 && c.route != nil {
		s.clients.remove(c)
		s.leaveRoute(c.route)
		c.route = nil
	}
}

// normalPath writes a path as requests have it.
func normalPath(path string) string {
	var o message.Options
	if o.SetPath(path) != nil {
		return path
	}
	return o.Path()
}
