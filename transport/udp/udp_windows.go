package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
)

const (
	msgTrunc     = 0x0100
	sourceIsHint = true

	// The constants that package syscall has by the names of Unix are invented numbers.
	errnoTooLarge  = syscall.Errno(10040) // WSAEMSGSIZE
	errnoJoined    = syscall.Errno(10048) // WSAEADDRINUSE
	errnoNotJoined = syscall.Errno(10049) // WSAEADDRNOTAVAIL

	ipPacketInfo   = 19 // IP_PKTINFO
	ipv6PacketInfo = 19 // IPV6_PKTINFO
)

// WSACMSGHDR has a length of the size of a pointer and is aligned to that.
const (
	cmsgLenSize    = strconv.IntSize / 8
	cmsgHeaderSize = cmsgLenSize + 8
)

func cmsgHeader() int { return cmsgHeaderSize }

func cmsgSpace(n int) int { return cmsgHeaderSize + (n+cmsgLenSize-1)&^(cmsgLenSize-1) }

func setReuseAddr(fd uintptr) error {
	return setInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
}

func setInt(fd uintptr, level, name, value int) error {
	return os.NewSyscallError("setsockopt", syscall.SetsockoptInt(syscall.Handle(fd), level, name, value))
}

func setByte(fd uintptr, level, name, value int) error { return setInt(fd, level, name, value) }

func setMreq6(fd uintptr, name int, m *syscall.IPv6Mreq) error {
	return os.NewSyscallError("setsockopt",
		syscall.SetsockoptIPv6Mreq(syscall.Handle(fd), syscall.IPPROTO_IPV6, name, m))
}

// setMembership4 names the interface by its index, which Windows takes for an address in 0.0.0.0/8.
func setMembership4(fd uintptr, group netip.Addr, ifi *net.Interface, join bool) error {
	m := &syscall.IPMreq{Multiaddr: group.As4()}
	binary.BigEndian.PutUint32(m.Interface[:], uint32(ifi.Index))
	return os.NewSyscallError("setsockopt",
		syscall.SetsockoptIPMreq(syscall.Handle(fd), syscall.IPPROTO_IP, membershipOption(join), m))
}

// setSocketOptions asks for packet info, which is welcome but not indispensable. (That an ICMP
// error fails the next read is switched off by package net.)
func setSocketOptions(fd uintptr, f family) error {
	_ = setInt(fd, syscall.IPPROTO_IP, ipPacketInfo, 1)
	if f == inet6 {
		_ = setInt(fd, syscall.IPPROTO_IPV6, ipv6PacketInfo, 1)
	}
	return nil
}

// struct in_pktinfo has the address first here, and no more than that and the index.
const sizeofPacketInfo4 = 8

func parsePacketInfo(level, typ int, data []byte, pi *packetInfo) {
	switch {
	case level == syscall.IPPROTO_IP && typ == ipPacketInfo && len(data) >= sizeofPacketInfo4:
		pi.dst = addr4(data)
		pi.ifIndex = int(native.Uint32(data[4:]))
	case level == syscall.IPPROTO_IPV6 && typ == ipv6PacketInfo:
		parsePacketInfo6(data, pi)
	}
}

func appendPacketInfo(b []byte, is4 bool, from netip.Addr, ifIndex int) []byte {
	if is4 {
		b, data := appendControl(b, syscall.IPPROTO_IP, ipPacketInfo, sizeofPacketInfo4)
		putAddr4(data, from)
		native.PutUint32(data[4:], uint32(ifIndex))
		return b
	}
	b, data := appendControl(b, syscall.IPPROTO_IPV6, ipv6PacketInfo, sizeofPacketInfo6)
	putPacketInfo6(data, from, ifIndex)
	return b
}
