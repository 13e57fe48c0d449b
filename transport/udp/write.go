package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/coapkit/coap/transport"
)

// writeTries is how often a write that met a pending error is tried in all. Each
// failure takes one such error from the socket, so the second attempt usually succeeds; more are
// for when ICMP errors arrive just then.
const writeTries = 4

// WriteBatch implements [transport.Conn]. The error is about ds[n] alone: the system's
// (syscall.ENETUNREACH without a route, syscall.EADDRNOTAVAIL or EINVAL when Local is not
// an address of this host, syscall.EAFNOSUPPORT for a family that the socket does not carry) or
// [transport.ErrTooLarge].
//
// The port of Local is not used: datagrams leave from the port that the socket is bound to.
func (c *Conn) WriteBatch(ds []transport.Datagram) (int, error) { return c.writeSome(ds) }

// writeEach sends one datagram after the other.
func (c *Conn) writeEach(ds []transport.Datagram) (int, error) {
	for i := range ds {
		if err := c.write(&ds[i]); err != nil {
			return i, err
		}
	}
	return len(ds), nil
}

func (c *Conn) write(d *transport.Datagram) error {
	to := unmap(d.Remote)
	if err := c.checkDestination(to); err != nil {
		return err
	}
	var buf [controlRoom]byte
	control := c.appendControl(buf[:0], to.Addr(), d.Local, d.IfIndex)
	for try := 1; ; try++ {
		_, _, err := c.udp.WriteMsgUDPAddrPort(d.Data, control, to)
		if err == nil {
			return nil
		}
		c.kick()
		switch {
		case sourceIsHint && len(control) > 0 && !isTooLarge(err) && !errors.Is(err, net.ErrClosed):
			control = nil
		case isPending(err) && try < writeTries:
		default:
			return tooLarge(err)
		}
	}
}

// tooLarge says what is special about an error by the name that all transports use.
func tooLarge(err error) error {
	if isTooLarge(err) {
		return fmt.Errorf("%w: %w", transport.ErrTooLarge, err)
	}
	return err
}

// kick makes the reader look into the socket's error queue. A writer that meets a pending error
// takes away what would have woken the reader, and the queue shares its memory with
// received datagrams: what stays there forever ends reception.
//
// A deadline in the past is the only way to wake a reader that package net offers.
func (c *Conn) kick() {
	if hasErrorQueue {
		_ = c.udp.SetReadDeadline(past)
	}
}

var past = time.Unix(1, 0)

// checkDestination refuses what package net would refuse with an error that nobody can classify.
func (c *Conn) checkDestination(to netip.AddrPort) error {
	need := inet6
	if to.Addr().Is4() {
		need = inet4
	}
	var errno syscall.Errno
	switch {
	case !to.Addr().IsValid() || to.Port() == 0:
		errno = syscall.EDESTADDRREQ
	case c.family&need == 0:
		errno = syscall.EAFNOSUPPORT
	default:
		return nil
	}
	return &net.OpError{
		Op: "write", Net: "udp", Source: net.UDPAddrFromAddrPort(c.local),
		Addr: net.UDPAddrFromAddrPort(to), Err: os.NewSyscallError("sendmsg", errno),
	}
}

// appendControl appends the control message that makes a datagram leave from a local address and
// by an interface; nothing where there is nothing to choose.
func (c *Conn) appendControl(b []byte, to netip.Addr, local netip.AddrPort, ifIndex int) []byte {
	from := local.Addr().Unmap()
	switch {
	case local.Port() == 0, from.IsUnspecified(), from.IsMulticast(), from.Is4() != to.Is4(),
		from == c.local.Addr():
		from = netip.Addr{}
	case ifIndex == 0 && from.Zone() != "" && to.Zone() == "":
		// The system wants to know the link of a link-local source.
		ifIndex = c.zones.index(from.Zone())
	}
	if !from.IsValid() && ifIndex <= 0 {
		return b
	}
	return appendPacketInfo(b, to.Is4(), from, max(ifIndex, 0))
}

func isTooLarge(err error) bool { return errors.Is(err, errnoTooLarge) }
