package observe

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// The list of observers (RFC 7641 section 4.1). It is searched by client and token, by the path of
// what has changed, and by client; all of it is guarded by Server.mu.

// peerKey tells clients apart: by the session where there is one, else by both addresses.
// Notifications stay within the session of the request (RFC 7641 section 7).
type peerKey struct {
	session any
	remote  netip.AddrPort
	local   netip.AddrPort
}

// key identifies an entry: client endpoint and token.
type key struct {
	peer  peerKey
	token string
}

func keyOf(r *exchange.Request) key {
	p := r.Peer()
	k := peerKey{remote: p.Addr, local: p.Local}
	switch {
	case p.Session != nil:
		k = peerKey{session: p.Session}
	case r.IsMulticast():
		k.local = netip.AddrPort{} // whatever the system would answer from
	}
	return key{peer: k, token: string(r.Token())}
}

// find returns the entry for the sender of r, if any. A client that has registered by a group goes on
// with it by unicast under the same token.
func (s *Server) find(r *exchange.Request) *observer {
	k := keyOf(r)
	if o := s.observers[k]; o != nil {
		return o
	}
	k.peer.local = netip.AddrPort{}
	return s.observers[k]
}

// client is a peer with observers, or with a notification on its way.
type client struct {
	key         peerKey
	observers   int
	outstanding int         // notifications on their way (section 4.5.1)
	waiting     []*observer // that have something to tell, in order
}

// resource is what has been registered under one path.
type resource struct {
	path   string
	groups map[string]*group
	inTurn []*group // the same, in an order that does not change from run to run
}

// group are the observers that get the same bytes, but for token and sequence number.
type group struct {
	in        *resource
	key       string
	place     int // in resource.inTurn
	observers []*observer
	ready     []*observer // that may be notified now: each has a place of its client
	queued    bool        // is in Server.queue
	busy      bool        // is being rendered
}

// observer is an entry of the list.
type observer struct {
	key   key
	from  *client
	group *group
	at    int // position in group.observers
	req   *exchange.Request

	handling int  // requests of it in handlers
	live     bool // a request of it was answered with success
	removed  bool

	dirty       bool // has to be told of a change
	waiting     bool // is in client.waiting
	inFlight    bool // a notification is on its way, or about to be
	flight      uint64
	pushed      exchange.Pushed // the last notification
	confirmable bool            // it is
	replacing   replacing       // whether another one is to take its place
	force       bool            // the next one is confirmable
	nons        int             // since the last confirmable one
	every       int             // one of how many is confirmable

	seq  uint64 // the last sequence number that was given out
	sent uint64 // and that was sent

	format    message.ContentFormat
	hasFormat bool

	leisureAt   time.Time // when the notification that the leisure holds back may go
	landsAt     time.Time // when a NON no longer counts; zero: none is on its way
	retryAt     time.Time // when to try again; zero: nothing to
	settleAt    time.Time
	confirmedAt time.Time

	due time.Time // when the first of these comes
	pos int       // in the heap, from 1
}

// enter returns the entry for the sender of r, a new one if there is none, or nil if a limit is
// reached.
func (s *Server) enter(r *exchange.Request, now time.Time) *observer {
	s.mu.Lock()
	defer s.unlock()
	if o := s.find(r); o != nil {
		o.handling++
		return o
	}
	k := keyOf(r)
	p := s.peers[k.peer]
	if s.closed || len(s.observers) >= s.cfg.MaxObservers || p != nil && p.observers >= s.cfg.MaxPerPeer {
		s.stats.Refused++
		return nil
	}
	if p == nil {
		p = &client{key: k.peer}
		s.peers[k.peer] = p
	}
	o := &observer{key: k, from: p, handling: 1, confirmedAt: now}
	p.observers++
	s.observers[k] = o
	s.join(o, r.Path(), s.shareKey(o, r))
	return o
}

// reserve gives out a sequence number before a representation is made, so that of two
// representations the one that was started later has the higher number.
func (s *Server) reserve(o *observer) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextSeq(o, time.Now())
}

func (s *Server) nextSeq(o *observer, now time.Time) uint64 {
	o.seq = max(o.seq+1, s.time.at(now))
	return o.seq
}

// entered is called when a request that enter was called for has been answered.
func (s *Server) entered(o *observer, r *exchange.Request, w *exchange.Response, success bool, seq uint64, every int) {
	s.mu.Lock()
	defer s.unlock()
	o.handling--
	switch {
	case o.removed:
		// It was deregistered or reset meanwhile; a notification will not follow.
		if success {
			w.Options.Remove(message.OptionObserve)
		}
		return
	case !success:
		// The error tells the client that it is on the list no more (section 4.2), unless
		// another request of it is still being answered.
		if o.live || o.handling == 0 {
			s.remove(o, EndError)
		}
		return
	}
	s.update(o, r, w)
	o.every = every
	o.sent = max(o.sent, seq)
	if !o.live {
		o.live = true
		s.stats.Registered++
		if o.dirty {
			o.dirty = false
			s.touch(o)
		}
	}
	s.arm(o)
}

// update replaces what is kept of an entry by what a new request says (section 4.1).
func (s *Server) update(o *observer, r *exchange.Request, w *exchange.Response) {
	path, share := r.Path(), s.shareKey(o, r)
	if o.group.in.path != path && o.live {
		s.ended(o, EndReplaced)
	}
	if o.group.in.path != path || o.group.key != share {
		s.leave(o)
		s.join(o, path, share)
	}
	o.req = r
	if g := r.Group(); g.IsValid() && s.cfg.Leisure > 0 {
		s.nextLeisure(g) // that of the response
	}
	o.format, o.hasFormat = w.Options.ContentFormat()
	o.confirmedAt = time.Now()
}

// join puts o among those that get the same answer.
func (s *Server) join(o *observer, path, share string) {
	res := s.resources[path]
	if res == nil {
		res = &resource{path: path, groups: make(map[string]*group)}
		s.resources[path] = res
	}
	g := res.groups[share]
	if g == nil {
		g = &group{in: res, key: share}
		g.place = len(res.inTurn)
		res.groups[share], res.inTurn = g, append(res.inTurn, g)
	}
	o.group, o.at = g, len(g.observers)
	g.observers = append(g.observers, o)
}

// leave undoes join. o may still be in group.ready.
func (s *Server) leave(o *observer) {
	g := o.group
	last := len(g.observers) - 1
	g.observers[o.at] = g.observers[last]
	g.observers[o.at].at = o.at
	g.observers[last] = nil
	g.observers = g.observers[:last]
	if last > 0 {
		return
	}
	delete(g.in.groups, g.key)
	end := len(g.in.inTurn) - 1
	g.in.inTurn[g.place] = g.in.inTurn[end]
	g.in.inTurn[g.place].place = g.place
	g.in.inTurn[end] = nil
	if g.in.inTurn = g.in.inTurn[:end]; len(g.in.groups) == 0 && s.resources[g.in.path] == g.in {
		delete(s.resources, g.in.path)
	}
}

// shareKey is equal for requests that have the same answer: method, options, block size among
// them, and payload. Observe has no part in it (RFC 7641 section 2).
func (s *Server) shareKey(o *observer, r *exchange.Request) string {
	options := r.Options.Borrow()
	options.Remove(message.OptionObserve)
	encoded, _ := options.Encoded()
	b := append([]byte{byte(r.Code)}, strconv.Itoa(len(encoded))...)
	b = append(append(append(b, ' '), encoded...), r.Payload...)
	if perPeer := s.cfg.PerPeer; r.Peer().Identity != nil || perPeer != nil && perPeer(r) {
		b = append(append(b, 0), o.key.token...)
		b = append(b, r.Peer().Addr.String()...)
		b = append(b, r.Peer().Local.String()...)
	}
	return string(b)
}

func (s *Server) deregister(r *exchange.Request) {
	s.mu.Lock()
	defer s.unlock()
	if o := s.find(r); o != nil {
		s.remove(o, EndDeregistered)
	}
}

// remove takes o off the list. What is on its way to it is given up, but for an error response
// that is its end.
func (s *Server) remove(o *observer, why End) {
	if o.removed {
		return
	}
	o.removed = true
	delete(s.observers, o.key)
	s.leave(o)
	s.timers.remove(o)
	p := o.from
	p.observers--
	if o.waiting {
		o.waiting = false
		p.waiting = slices.DeleteFunc(p.waiting, func(q *observer) bool { return q == o })
	}
	if o.pushed != nil {
		s.after = append(s.after, o.pushed.Forget)
		o.pushed = nil
		s.land(o)
	}
	s.releasePeer(p)
	if o.live {
		s.ended(o, why)
	}
}

func (s *Server) ended(o *observer, why End) {
	s.stats.Ended[why]++
	if s.cfg.OnEnd != nil {
		peer, path := o.req.Peer(), o.group.in.path
		s.after = append(s.after, func() { s.cfg.OnEnd(peer, path, why) })
	}
}

// releasePeer forgets p if nothing refers to it.
func (s *Server) releasePeer(p *client) {
	if p.observers == 0 && p.outstanding == 0 && s.peers[p.key] == p {
		delete(s.peers, p.key)
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
