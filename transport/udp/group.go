package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// Join makes the socket receive datagrams sent to a group, on the interface with the given index
// or, when that is 0, on the one that the group's zone names, else on every
// interface that is up and capable of multicast. Joining again is harmless.
//
// With index 0, interfaces that cannot carry the group (no address of its family) are passed
// over; it is an error only when none is left. Membership does not follow later changes by
// itself: call Join again when interfaces have come up; memberships that exist stay.
//
// The socket should be bound to a wildcard address: many systems do not give datagrams for a
// group to a socket that is bound to a unicast address. Groups for CoAP are 224.0.1.187, ff02::fd
// and ff05::fd (RFC 7252 section 12.8).
//
// Errors are the system's, or match syscall.EINVAL when group is no multicast address,
// syscall.EAFNOSUPPORT when the socket does not carry its family, net.ErrClosed after Close.
func (c *Conn) Join(group netip.Addr, ifIndex int) error {
	if err := c.membership(group, ifIndex, true); err != nil {
		return fmt.Errorf("udp: join %v: %w", group, err)
	}
	return nil
}

// Leave ends what [Conn.Join] began, on one interface or, with index 0, on all. Leaving
// a group that was not joined is harmless. Errors are as for Join.
func (c *Conn) Leave(group netip.Addr, ifIndex int) error {
	if err := c.membership(group, ifIndex, false); err != nil {
		return fmt.Errorf("udp: leave %v: %w", group, err)
	}
	return nil
}

func (c *Conn) membership(group netip.Addr, ifIndex int, join bool) error {
	group = group.Unmap()
	if err := c.checkGroup(group); err != nil {
		return err
	}
	if zone := group.Zone(); ifIndex == 0 && zone != "" {
		if ifIndex = c.zones.index(zone); ifIndex == 0 {
			return fmt.Errorf("no interface %q", zone)
		}
	}
	ifs, err := interfaces(ifIndex)
	if err != nil {
		return err
	}
	group = group.WithZone("")
	if join {
		c.leaveVanished(group, ifs)
	}
	done := false
	err = errors.New("no interface capable of multicast")
	for i := range ifs {
		if e := c.member(group, &ifs[i], join); e != nil {
			err = fmt.Errorf("on %s: %w", ifs[i].Name, e)
		} else {
			done = true
		}
	}
	if done {
		return nil
	}
	return err
}

// member joins or leaves on one interface. That it is so already is success.
func (c *Conn) member(group netip.Addr, ifi *net.Interface, join bool) error {
	set, already := setMembership6, errnoNotJoined
	if join {
		already = errnoJoined
	}
	if group.Is4() {
		set = setMembership4
	}
	var err error
	if e := c.raw.Control(func(fd uintptr) { err = set(fd, group, ifi, join) }); e != nil {
		return e
	}
	if errors.Is(err, already) {
		err = nil
	}
	if err == nil {
		c.joined.set(member{group, ifi.Index}, join)
	}
	return err
}

// leaveVanished gives up memberships of a group on interfaces that are not there any more. The
// system counts them, and on Linux a socket may have no more than 20 of IPv4.
func (c *Conn) leaveVanished(group netip.Addr, ifs []net.Interface) {
	for m := range c.joined.all() {
		there := slices.ContainsFunc(ifs, func(i net.Interface) bool { return i.Index == m.ifIndex })
		if m.group != group || there {
			continue
		}
		if _, err := net.InterfaceByIndex(m.ifIndex); err != nil { // it is not just down
			_ = c.member(group, &net.Interface{Index: m.ifIndex}, false)
			c.joined.set(m, false)
		}
	}
}

func (c *Conn) checkGroup(group netip.Addr) error {
	switch {
	case !group.IsMulticast():
		return syscall.EINVAL
	case group.Is4() && c.family&inet4 == 0, group.Is6() && c.family&inet6 == 0:
		return syscall.EAFNOSUPPORT
	}
	return nil
}

// interfaces is the interface with the given index, whatever it says of itself, or all that
// are up and capable of multicast.
func interfaces(ifIndex int) ([]net.Interface, error) {
	if ifIndex != 0 {
		ifi, err := net.InterfaceByIndex(ifIndex)
		if err != nil {
			return nil, err
		}
		return []net.Interface{*ifi}, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	const want = net.FlagUp | net.FlagMulticast
	var ifs []net.Interface
	for _, ifi := range all {
		if ifi.Flags&want == want {
			ifs = append(ifs, ifi)
		}
	}
	return ifs, nil
}

// MulticastInterfaces returns the indices of the interfaces that a datagram to a group can be sent by:
// those that are up, can multicast or are that of the host itself, and have an address of the
// family of the group. If they cannot be told it returns 0 alone, which lets the system choose one.
func (c *Conn) MulticastInterfaces(group netip.Addr) []int {
	all, err := net.Interfaces()
	if err != nil {
		return []int{0}
	}
	var indices []int
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 && i.Flags&(net.FlagMulticast|net.FlagLoopback) != 0 && hasFamily(&i, group) {
			indices = append(indices, i.Index)
		}
	}
	if len(indices) == 0 {
		return []int{0}
	}
	return indices
}

func hasFamily(i *net.Interface, group netip.Addr) bool {
	addrs, err := i.Addrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap().Is4() == group.Is4() {
			return true
		}
	}
	return false
}
