package udp

import (
	"net/netip"
	"syscall"
)

const (
	msgTrunc     = syscall.MSG_TRUNC
	sourceIsHint = true
)

func setReuseAddr(fd uintptr) error { return setReuseAddrPort(fd) }

// setSocketOptions asks for packet info. A dual-stack socket gives that of IPv4
// in the form of IPv6, with a mapped address.
func setSocketOptions(fd uintptr, f family) error {
	if f == inet6 {
		return setInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_RECVPKTINFO, 1)
	}
	if err := setInt(fd, syscall.IPPROTO_IP, syscall.IP_RECVDSTADDR, 1); err != nil {
		return err
	}
	return setInt(fd, syscall.IPPROTO_IP, syscall.IP_RECVIF, 1)
}

func parsePacketInfo(level, typ int, data []byte, pi *packetInfo) {
	switch {
	case level == syscall.IPPROTO_IP && typ == syscall.IP_RECVDSTADDR && len(data) >= 4:
		pi.dst = addr4(data)
	case level == syscall.IPPROTO_IP && typ == syscall.IP_RECVIF && len(data) >= 4:
		// struct sockaddr_dl: length, family, interface index (16 bits), ...
		pi.ifIndex = int(native.Uint16(data[2:]))
	case level == syscall.IPPROTO_IPV6 && typ == syscall.IPV6_PKTINFO:
		parsePacketInfo6(data, pi)
	}
}

// appendPacketInfo cannot choose an interface for IPv4, only the source address.
func appendPacketInfo(b []byte, is4 bool, from netip.Addr, ifIndex int) []byte {
	if is4 {
		if !from.IsValid() {
			return b
		}
		b, data := appendControl(b, syscall.IPPROTO_IP, syscall.IP_SENDSRCADDR, 4)
		putAddr4(data, from)
		return b
	}
	b, data := appendControl(b, syscall.IPPROTO_IPV6, syscall.IPV6_PKTINFO, sizeofPacketInfo6)
	putPacketInfo6(data, from, ifIndex)
	return b
}
