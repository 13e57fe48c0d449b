package udp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
)

const (
	msgTrunc     = syscall.MSG_TRUNC
	sourceIsHint = true

	// The names of RFC 3542, which package syscall lacks here.
	ipv6RecvPacketInfo = 61
	ipv6PacketInfo     = 46
)

func setReuseAddr(fd uintptr) error { return setReuseAddrPort(fd) }

// setMembership4 names the interface by one of its addresses.
func setMembership4(fd uintptr, group netip.Addr, ifi *net.Interface, join bool) error {
	m := &syscall.IPMreq{Multiaddr: group.As4()}
	addrs, err := ifi.Addrs()
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			m.Interface = p.Addr().As4()
			return os.NewSyscallError("setsockopt",
				syscall.SetsockoptIPMreq(int(fd), syscall.IPPROTO_IP, membershipOption(join), m))
		}
	}
	return fmt.Errorf("no IPv4 address: %w", syscall.EADDRNOTAVAIL)
}

// setSocketOptions asks for packet info. A dual-stack socket gives that of IPv4
// in the form of IPv6, with a mapped address.
func setSocketOptions(fd uintptr, f family) error {
	if f == inet4 {
		return setInt(fd, syscall.IPPROTO_IP, syscall.IP_RECVPKTINFO, 1)
	}
	return setInt(fd, syscall.IPPROTO_IPV6, ipv6RecvPacketInfo, 1)
}

// struct in_pktinfo: interface index, source address for sending, destination address.
const sizeofPacketInfo4 = 12

func parsePacketInfo(level, typ int, data []byte, pi *packetInfo) {
	switch {
	case level == syscall.IPPROTO_IP && typ == syscall.IP_PKTINFO && len(data) >= sizeofPacketInfo4:
		pi.ifIndex = int(native.Uint32(data))
		pi.dst = addr4(data[8:])
	case level == syscall.IPPROTO_IPV6 && typ == ipv6PacketInfo:
		parsePacketInfo6(data, pi)
	}
}

func appendPacketInfo(b []byte, is4 bool, from netip.Addr, ifIndex int) []byte {
	if is4 {
		b, data := appendControl(b, syscall.IPPROTO_IP, syscall.IP_PKTINFO, sizeofPacketInfo4)
		native.PutUint32(data, uint32(ifIndex))
		putAddr4(data[4:], from)
		return b
	}
	b, data := appendControl(b, syscall.IPPROTO_IPV6, ipv6PacketInfo, sizeofPacketInfo6)
	putPacketInfo6(data, from, ifIndex)
	return b
}
