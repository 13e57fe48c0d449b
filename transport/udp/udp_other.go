//go:build !linux && !darwin && !freebsd && !windows

package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

const (
	msgTrunc     = 0x10 // MSG_TRUNC where it is known
	sourceIsHint = true

	errnoTooLarge  = syscall.EMSGSIZE
	errnoJoined    = syscall.EADDRINUSE
	errnoNotJoined = syscall.EADDRNOTAVAIL

	cmsgLenSize = 4
)

func cmsgHeader() int { return 12 }

func cmsgSpace(n int) int { return 12 + (n+3)&^3 }

func setReuseAddr(uintptr) error { return errors.ErrUnsupported }

func setSocketOptions(uintptr, family) error { return nil }

func setMulticast(uintptr, family, int, bool) error { return nil }

func setMembership4(uintptr, netip.Addr, *net.Interface, bool) error { return errors.ErrUnsupported }

func setMembership6(uintptr, netip.Addr, *net.Interface, bool) error { return errors.ErrUnsupported }

func parsePacketInfo(int, int, []byte, *packetInfo) {}

func appendPacketInfo(b []byte, _ bool, _ netip.Addr, _ int) []byte { return b }
