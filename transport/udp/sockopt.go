//go:build linux || darwin || freebsd || windows

package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// setMulticast sets hop limit and loopback. The options of IPv4 are separate ones, which on an
// IPv6 socket not every system has: there they are best effort.
func setMulticast(fd uintptr, f family, hops int, loop bool) error {
	looped := 0
	if loop {
		looped = 1
	}
	err := errors.Join(
		setByte(fd, syscall.IPPROTO_IP, syscall.IP_MULTICAST_TTL, hops),
		setByte(fd, syscall.IPPROTO_IP, syscall.IP_MULTICAST_LOOP, looped))
	if f == inet4 {
		return err
	}
	return errors.Join(
		setInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_HOPS, hops),
		setInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_LOOP, looped))
}

func setMembership6(fd uintptr, group netip.Addr, ifi *net.Interface, join bool) error {
	option := syscall.IPV6_LEAVE_GROUP
	if join {
		option = syscall.IPV6_JOIN_GROUP
	}
	return setMreq6(fd, option, &syscall.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(ifi.Index)})
}

// membershipOption is the option for IPv4.
func membershipOption(join bool) int {
	if join {
		return syscall.IP_ADD_MEMBERSHIP
	}
	return syscall.IP_DROP_MEMBERSHIP
}
