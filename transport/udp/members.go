package udp

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/coapkit/coap/transport"
)

// member is a membership: a group without zone on an interface.
type member struct {
	group   netip.Addr
	ifIndex int
}

// members is a set of memberships. The zero value is empty; all methods may be called
// concurrently, and reading does not wait.
type members struct {
	mu sync.Mutex // held while the set is replaced
	// now is a map that does not change any more.
	now atomic.Pointer[map[member]bool]
}

func (ms *members) set(m member, is bool) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if ms.all()[m] == is {
		return
	}
	next := maps.Clone(ms.all())
	if next == nil {
		next = map[member]bool{}
	}
	if next[m] = true; !is {
		delete(next, m)
	}
	ms.now.Store(&next)
}

// all returns the set, which must not be changed.
func (ms *members) all() map[member]bool {
	if now := ms.now.Load(); now != nil {
		return *now
	}
	return nil
}

// strays reports whether a datagram came by an interface on which its group was not joined, while
// it was on another. Linux compares only the groups of IPv6: once a socket has joined one
// somewhere, it gets what comes by any interface on which some socket of the host has joined it. And of
// sockets that share an address each gets what is for all.
func (c *Conn) strays(d *transport.Datagram) bool {
	if c.follows && d.Group.IsValid() {
		return true
	}
	if !d.Group.Is6() || d.IfIndex == 0 {
		return false
	}
	joined := c.joined.all()
	if joined[member{d.Group, d.IfIndex}] {
		return false
	}
	for m := range joined {
		if m.group == d.Group {
			return true
		}
	}
	return false // the Control hook may have joined it
}
