package mem

import (
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// place is where a member of a group is.
type place struct {
	conn  *Conn
	iface *iface
}

// Join makes the Conn receive datagrams sent to a group, on the interface with the given index or,
// when that is 0, on the one that the group's zone names, else on all interfaces of its host.
// Joining again is harmless. Unlike on many systems, a Conn that is bound to a unicast address
// receives from groups, too. Who joins on several interfaces of one link gets each datagram
// several times. A datagram to a group reaches the members on the host that it comes
// from as well.
//
// Errors match syscall.EINVAL when group is no multicast address, syscall.EAFNOSUPPORT when
// the Conn is not bound to its family, syscall.ENODEV when there is no such interface,
// net.ErrClosed.
func (c *Conn) Join(group netip.Addr, ifIndex int) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	group, ifs, err := c.memberships(group, ifIndex)
	if err != nil {
		return opError("join", c.local, netip.AddrPortFrom(group, c.local.Port()), err)
	}
	for _, i := range ifs {
		if p := (place{c, i}); !c.net.isMember(group, p) {
			c.net.groups[group] = append(c.net.groups[group], p)
		}
	}
	return nil
}

// Leave ends what [Conn.Join] began, on one interface or, with index 0, on all. Leaving a group
// that was not joined is harmless. Errors are as for Join.
func (c *Conn) Leave(group netip.Addr, ifIndex int) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	group, ifs, err := c.memberships(group, ifIndex)
	if err != nil {
		return opError("leave", c.local, netip.AddrPortFrom(group, c.local.Port()), err)
	}
	c.net.removeMembers(group, func(p place) bool { return p.conn == c && slices.Contains(ifs, p.iface) })
	return nil
}

// memberships is the group without zone, and the interfaces that are meant.
func (c *Conn) memberships(group netip.Addr, ifIndex int) (netip.Addr, []*iface, error) {
	group = group.Unmap()
	zone := group.Zone()
	group = group.WithZone("")
	switch {
	case c.closed:
		return group, nil, net.ErrClosed
	case !group.IsMulticast():
		return group, nil, syscall.EINVAL
	case c.family&familyOf(group) == 0:
		return group, nil, syscall.EAFNOSUPPORT
	}
	via, err := c.outgoing(ifIndex, zone)
	if via == nil {
		return group, c.host.ifs, err
	}
	return group, []*iface{via}, nil
}

func (n *Network) isMember(group netip.Addr, p place) bool {
	return slices.Contains(n.groups[group], p)
}

func (n *Network) removeMembers(group netip.Addr, gone func(place) bool) {
	n.groups[group] = slices.DeleteFunc(n.groups[group], gone)
	if len(n.groups[group]) == 0 {
		delete(n.groups, group)
	}
}

func (c *Conn) leaveAll() {
	for group := range c.net.groups {
		c.net.removeMembers(group, func(p place) bool { return p.conn == c })
	}
}

// MulticastInterfaces returns the indices of the interfaces of the host that have an address of the
// family of the group, or 0 alone if there is none.
func (c *Conn) MulticastInterfaces(group netip.Addr) []int {
	var indices []int
	for _, i := range c.host.ifs {
		if i.source(group).IsValid() {
			indices = append(indices, i.Index)
		}
	}
	if len(indices) == 0 {
		return []int{0}
	}
	return indices
}
