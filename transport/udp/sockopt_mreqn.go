//go:build linux || freebsd

package udp

import (
	"net"
	"net/netip"
	"os"
	"syscall"
)

func setMembership4(fd uintptr, group netip.Addr, ifi *net.Interface, join bool) error {
	m := &syscall.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(ifi.Index)}
	return os.NewSyscallError("setsockopt",
		syscall.SetsockoptIPMreqn(int(fd), syscall.IPPROTO_IP, membershipOption(join), m))
}
