//go:build linux || darwin || freebsd

package udp

import (
	"os"
	"syscall"
)

const (
	errnoTooLarge  = syscall.EMSGSIZE
	errnoJoined    = syscall.EADDRINUSE
	errnoNotJoined = syscall.EADDRNOTAVAIL
)

func setInt(fd uintptr, level, name, value int) error {
	return os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), level, name, value))
}

// setByte sets an option whose value some systems insist on being a byte.
func setByte(fd uintptr, level, name, value int) error {
	return os.NewSyscallError("setsockopt", syscall.SetsockoptByte(int(fd), level, name, byte(value)))
}

func setMreq6(fd uintptr, name int, m *syscall.IPv6Mreq) error {
	return os.NewSyscallError("setsockopt", syscall.SetsockoptIPv6Mreq(int(fd), syscall.IPPROTO_IPV6, name, m))
}
