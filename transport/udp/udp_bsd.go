//go:build darwin || freebsd

package udp

import "syscall"

// setReuseAddrPort sets both options: only with SO_REUSEPORT do several sockets get the
// datagrams of a group on systems of the BSD family.
func setReuseAddrPort(fd uintptr) error {
	err := setInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err != nil {
		return err
	}
	return setInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEPORT, 1)
}
