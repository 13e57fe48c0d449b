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

// zoneCache remembers the interfaces that were asked for last. The zero value is ready for use, by
// several goroutines.
type zoneCache struct {
	last atomic.Pointer[[]zoneEntry] // the newest first; does not change any more
}

// maxZones is how many are remembered: a host has a few links.
const maxZones = 8

type zoneEntry struct {
	name  string
	index int
}

func (z *zoneCache) all() []zoneEntry {
	if all := z.last.Load(); all != nil {
		return *all
	}
	return nil
}

func (z *zoneCache) add(e zoneEntry) {
	all := append([]zoneEntry{e}, z.all()...)
	all = all[:min(len(all), maxZones)]
	z.last.Store(&all)
}

// name is the name of an interface, or its index in digits when it has none.
func (z *zoneCache) name(index int) string {
	for _, e := range z.all() {
		if e.index == index {
			return e.name
		}
	}
	e := zoneEntry{name: strconv.Itoa(index), index: index}
	if ifi, err := net.InterfaceByIndex(index); err == nil {
		e.name = ifi.Name
	}
	z.add(e)
	return e.name
}

// index is the index of the interface that a zone names; 0 when there is none.
func (z *zoneCache) index(name string) int {
	for _, e := range z.all() {
		if e.name == name {
			return e.index
		}
	}
	e := zoneEntry{name: name}
	if ifi, err := net.InterfaceByName(name); err == nil {
		e.index = ifi.Index
	} else if i, err := strconv.Atoi(name); err == nil && i > 0 {
		e.index = i
	}
	if e.index > 0 {
		z.add(e)
	}
	return e.index
}
