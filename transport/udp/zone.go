package udp

import (
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
)

// zone names the zone of an address on the interface with the given index, preferring what the
// address of the other end already says, which package net has looked up in its own cache.
func (c *Conn) zone(ifIndex int, remote netip.Addr) string {
	if z := remote.Zone(); z != "" || ifIndex == 0 {
		return z
	}
	return c.zones.name(ifIndex)
}

// zoneCache remembers the interface that was last asked for. A link-local address of this
// host talking to an address of another scope is rare, and then nearly always on the
// same link; more than one entry is not worth it. The zero value is ready for use, by
// several goroutines.
type zoneCache struct {
	last atomic.Pointer[zoneEntry]
}

// zoneEntry is immutable.
type zoneEntry struct {
	name  string
	index int
}

// name is the name of an interface, or its index in digits when it has none.
func (z *zoneCache) name(index int) string {
	if e := z.last.Load(); e != nil && e.index == index {
		return e.name
	}
	e := &zoneEntry{name: strconv.Itoa(index), index: index}
	if ifi, err := net.InterfaceByIndex(index); err == nil {
		e.name = ifi.Name
	}
	z.last.Store(e)
	return e.name
}

// index is the index of the interface that a zone names; 0 when there is none.
func (z *zoneCache) index(name string) int {
	if e := z.last.Load(); e != nil && e.name == name {
		return e.index
	}
	e := &zoneEntry{name: name}
	if ifi, err := net.InterfaceByName(name); err == nil {
		e.index = ifi.Index
	} else if i, err := strconv.Atoi(name); err == nil && i > 0 {
		e.index = i
	}
	if e.index > 0 {
		z.last.Store(e)
	}
	return e.index
}
