package dtls

import (
	"errors"
	"net"
	"time"

	"github.com/coapkit/coap/transport"
)

// Where a datagram belongs: to a session, by its connection ID or its address; to a handshake, by its address; or to
// nobody (RFC 9146 section 6, RFC 6347 section 4.2.8).

// read reads the transport below until it ends.
func (c *Conn) read() {
	defer c.done.Done()
	ds := make([]transport.Datagram, batchSize)
	room := make([]byte, batchSize*readSize)
	for {
		for i := range ds {
			ds[i] = transport.Datagram{Data: room[i*readSize : (i+1)*readSize : (i+1)*readSize]}
		}
		n, err := c.inner.ReadBatch(ds)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				c.in.close(err)
				go c.shut(true)
			}
			return
		}
		now := time.Now()
		for i := range ds[:n] {
			c.receive(&ds[i], now)
		}
	}
}

// receive processes a datagram.
func (c *Conn) receive(d *transport.Datagram, now time.Time) {
	switch {
	case d.Err != nil:
		c.undelivered(d)
		return
	case d.Truncated || d.Group.IsValid():
		c.drop(&c.stats.Malformed)
		return
	}
	given := false // the handshake has got the whole datagram
	for rest := d.Data; len(rest) > 0; {
		r, after, ok := nextRecord(rest, c.cfg.ConnectionID)
		if !ok {
			c.drop(&c.stats.Malformed)
			return
		}
		rest = after
		if r.epoch == 0 && r.typ == typeCID {
			c.drop(&c.stats.Malformed) // only what is encrypted has a connection ID (RFC 9146 section 3)
			continue
		}
		if r.epoch == 0 {
			given = given || c.shake(d, &r)
			continue
		}
		if c.unprotect(d, &r, now) || given {
			continue
		}
		// Its handshake may end in between: then there is a session now.
		if given = c.shakeProtected(d); !given && !c.unprotect(d, &r, now) {
			c.drop(&c.stats.Unknown)
		}
	}
}

func (c *Conn) drop(counter *uint64) {
	c.mu.Lock()
	*counter++
	c.mu.Unlock()
}

// find returns the session that a record seems to belong to.
func (c *Conn) find(d *transport.Datagram, r *record) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.typ == typeCID {
		return c.byCID[string(r.cid)]
	}
	return c.byAddr[d.Remote]
}

// unprotect processes a record of an established session. It reports whether there is one.
func (c *Conn) unprotect(d *transport.Datagram, r *record, now time.Time) bool {
	s := c.find(d, r)
	if s == nil {
		return false
	}
	typ, data, newest, ok := s.openRecord(r)
	if !ok {
		c.drop(&c.stats.NotAuthentic)
		// It may be of a handshake that replaces the session.
		return !c.isShaking(d.Remote)
	}
	if !c.locate(s, d, r.typ == typeCID && newest, now) {
		return true
	}
	switch typ {
	case typeData:
		in := *d
		in.Data, in.Session = data, s.handle
		c.in.put(&in)
	case typeAlert:
		c.alerted(s, data)
	case typeHandshake:
		// It repeats the end of the handshake, since it has not got our part of that.
		c.mu.Lock()
		remote, local, ifIndex := s.remote, s.local, s.ifIndex
		c.mu.Unlock()
		for _, b := range s.lastFlight(now) {
			_, _ = c.inner.WriteBatch([]transport.Datagram{{Data: b, Remote: remote, Local: local, IfIndex: ifIndex}})
		}
	}
	return true
}

// locate notes that s is alive, and where: it has moved to the sender of d if that was the newest record, and had a
// connection ID (RFC 9146 section 6). It reports false if s has ended.
func (c *Conn) locate(s *session, d *transport.Datagram, newest bool, now time.Time) bool {
	c.mu.Lock()
	if s.ended != nil {
		c.mu.Unlock()
		return false
	}
	s.used = int64(now.Sub(c.epoch))
	s.heard = s.used
	moved := newest && s.remote != d.Remote
	if moved {
		if c.byAddr[s.remote] == s {
			delete(c.byAddr, s.remote)
		}
		s.remote = d.Remote
		c.byAddr[s.remote] = s
		c.stats.Moved++
	}
	if d.Remote == s.remote && s.ended == nil {
		s.local, s.ifIndex = d.Local, d.IfIndex
	}
	c.mu.Unlock()
	if moved {
		c.tell(SessionEvent{Kind: SessionMoves, Addr: d.Remote, Identity: *s.identity(), Client: s.client})
	}
	return true
}

// alerted processes an alert of the peer.
func (c *Conn) alerted(s *session, data []byte) {
	switch {
	case len(data) != 2:
	case data[1] == closeNotify:
		c.end(s, ClosedByPeer, true) // and answer (RFC 5246 section 7.2.1)
	case data[0] == alertFatal:
		c.end(s, FailedAtPeer, false)
	}
}

// undelivered processes the report that a datagram of ours was not delivered.
func (c *Conn) undelivered(d *transport.Datagram) {
	c.mu.Lock()
	h, s := c.shaking[party{d.Remote, true}], c.byAddr[d.Remote]
	c.mu.Unlock()
	switch {
	case h != nil && (d.Data == nil || h.sentThis(d.Data)):
		h.stop(NotSent, d.Err)
	case s != nil && s.client && (d.Data == nil || s.sentThis(d.Data)):
		// What it has carried is not known any more.
		c.in.report(transport.Datagram{Remote: d.Remote, Local: d.Local, IfIndex: d.IfIndex, Session: s.handle, Err: d.Err})
	default:
		c.drop(&c.stats.Undelivered)
	}
}

// end ends a session, and tells the peer if it is to be told.
func (c *Conn) end(s *session, why error, tellPeer bool) {
	c.mu.Lock()
	if s.ended != nil {
		c.mu.Unlock()
		return
	}
	c.remove(s, why)
	c.mu.Unlock()
	c.bury(s, tellPeer)
}

// remove takes s out of the tables. Conn.mu is held; bury is to follow without it.
func (c *Conn) remove(s *session, why error) {
	s.ended = why
	delete(c.sessions, s.handle)
	if len(s.keys.ReadCID) > 0 {
		delete(c.byCID, string(s.keys.ReadCID))
	}
	if c.byAddr[s.remote] == s {
		delete(c.byAddr, s.remote)
	}
	c.unlink(s)
	c.stats.Ended++
	if e, ok := why.(Ending); ok && int(e) < len(c.stats.EndedBy) {
		c.stats.EndedBy[e]++
	}
}

// bury tells of the end of s, which was removed.
func (c *Conn) bury(s *session, tellPeer bool) {
	if tellPeer {
		c.alert(s, alertWarning, closeNotify)
	}
	c.in.report(transport.Datagram{Remote: s.remote, Local: s.local, IfIndex: s.ifIndex, Session: s.handle, Err: s.ended})
	c.tell(SessionEvent{Kind: SessionEnds, Addr: s.remote, Identity: *s.identity(), Client: s.client, Err: s.ended})
}

// add makes s an established session. Those that have to go for it are removed; bury is to follow for them. Conn.mu is held.
func (c *Conn) add(s *session, now time.Time) (gone []*session) {
	if old := c.byAddr[s.remote]; old != nil {
		// The peer has proven to be there and to want a new session. If the old one has a connection ID, it may be of
		// somebody else, who has moved on.
		if len(old.keys.ReadCID) == 0 {
			c.remove(old, Replaced)
			gone = append(gone, old)
		}
	}
	for len(c.sessions) >= c.cfg.MaxSessions {
		old := c.idlest()
		c.remove(old, Evicted)
		gone = append(gone, old)
	}
	c.sessions[s.handle] = s
	if len(s.keys.ReadCID) > 0 {
		c.byCID[string(s.keys.ReadCID)] = s
	}
	c.byAddr[s.remote] = s
	s.used = int64(now.Sub(c.epoch))
	s.heard = s.used
	c.link(s)
	if c.order.oldest == s {
		c.setSweeper(s.used)
	}
	c.stats.Begun++
	return gone
}

// link puts s at the end of the list of sessions.
func (c *Conn) link(s *session) {
	s.queued = s.used
	s.older, s.newer = c.order.newest, nil
	if s.older != nil {
		s.older.newer = s
	} else {
		c.order.oldest = s
	}
	c.order.newest = s
}

func (c *Conn) unlink(s *session) {
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		c.order.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		c.order.newest = s.older
	}
	s.older, s.newer = nil, nil
}

// idlest returns the session that has been idle for the longest time, more or less. A use does not move a session in the list; that
// is done here, when it comes to the front.
func (c *Conn) idlest() *session {
	for range 64 {
		s := c.order.oldest
		if s.used == s.queued {
			return s
		}
		c.unlink(s)
		c.link(s)
	}
	return c.order.oldest
}

func (c *Conn) setSweeper(used int64) {
	if c.cfg.IdleTimeout > 0 && !c.closed {
		c.sweeper.Reset(time.Until(c.epoch.Add(time.Duration(used) + c.cfg.IdleTimeout)))
	}
}

// sweep closes sessions that have been idle for too long.
func (c *Conn) sweep() {
	var gone []*session
	now := int64(time.Since(c.epoch))
	c.mu.Lock()
	for s := c.order.oldest; s != nil && !c.closed; s = c.order.oldest {
		if s.used != s.queued {
			c.unlink(s)
			c.link(s)
			continue
		}
		if now-s.used < int64(c.cfg.IdleTimeout) {
			c.setSweeper(s.used)
			break
		}
		c.remove(s, Idle)
		gone = append(gone, s)
	}
	c.mu.Unlock()
	for _, s := range gone {
		c.bury(s, true)
	}
}
