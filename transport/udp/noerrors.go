//go:build !linux

package udp

import (
	"errors"
	"syscall"

	"github.com/coapkit/coap/transport"
)

// Unconnected sockets are not told of ICMP errors here.
const hasErrorQueue = false

// isPending knows the errors by which some systems tell of ICMP messages after all. (On Windows
// package net switches that off.)
func isPending(err error) bool {
	const (
		wsaNetReset  = syscall.Errno(10052)
		wsaConnReset = syscall.Errno(10054)
	)
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, wsaNetReset, wsaConnReset:
		return true
	}
	return false
}

func (c *Conn) readErrors([]transport.Datagram) (n int, found bool) { return 0, false }
