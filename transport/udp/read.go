package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/coapkit/coap/transport"
)

// controlRoom is the space for control messages, received and sent. An IPv4 datagram on a
// dual-stack socket of Linux comes with two kinds of packet info, 72 bytes. What a Control
// hook may have asked for beyond that is cut off.
const controlRoom = 128

// ReadBatch implements [transport.Conn]. It returns received datagrams, one only where the system has
// no call for several, or as many reports of undelivered ones as there are and ds has room for.
//
// The room that each element offers should hold the largest datagram expected (at
// most 65527 bytes); what does not fit is cut off and Truncated says so.
func (c *Conn) ReadBatch(ds []transport.Datagram) (int, error) {
	if len(ds) == 0 {
		return 0, nil
	}
	for p := (patience{}); ; {
		n, err := c.readSome(ds)
		if err == nil {
			if n > 0 {
				return n, nil
			}
			continue // strays were all there was
		}
		if errors.Is(err, net.ErrClosed) {
			return 0, err
		}
		kicked := errors.Is(err, os.ErrDeadlineExceeded)
		if kicked {
			// Reset before looking: a kick that comes later is seen next time.
			_ = c.udp.SetReadDeadline(time.Time{})
		}
		n, found := c.readErrors(ds)
		if n > 0 {
			return n, nil
		}
		// On Windows this is a datagram longer than the room offered, which is gone now.
		dropped := !hasErrorQueue && isTooLarge(err)
		// A read that fails and leaves no trace in the error queue could go on
		// failing, and must not become a busy loop.
		if !kicked && !found && !dropped && !p.pause(c.done, err) {
			return 0, err
		}
	}
}

// patience bounds how fast, and how long, a read that fails is repeated.
type patience struct{ failures int }

const (
	quickFailures = 16                     // repeated at once: ICMP errors come in small bursts
	maxFailures   = quickFailures + 64     // then the socket is beyond hope, after some 6 s
	maxPause      = 100 * time.Millisecond // between two attempts
)

// pause waits before the next attempt. It returns false when the socket is of no more use. An
// ICMP error is never a reason to think so, however many come: anybody can send them.
func (p *patience) pause(done <-chan struct{}, err error) bool {
	p.failures++
	if p.failures <= quickFailures {
		return true
	}
	slow := p.failures - quickFailures
	if p.failures > maxFailures && !isPending(err) {
		return false
	}
	t := time.NewTimer(min(maxPause, time.Millisecond<<min(slow, 10)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-done: // the next read says net.ErrClosed
	}
	return true
}

// readOne waits for one datagram. It returns 0 if that was a stray.
func (c *Conn) readOne(d *transport.Datagram) (int, error) {
	room := d.Data
	if err := c.read(d); err != nil {
		return 0, err
	}
	if c.strays(d) {
		d.Data = room
		return 0, nil
	}
	return 1, nil
}

// read waits for one datagram. When it fails it leaves *d alone.
func (c *Conn) read(d *transport.Datagram) error {
	var control [controlRoom]byte
	n, oobn, flags, from, err := c.udp.ReadMsgUDPAddrPort(d.Data, control[:])
	if err != nil {
		return err
	}
	var pi packetInfo
	parseControl(control[:oobn], &pi)
	*d = transport.Datagram{
		Data:      d.Data[:n],
		Remote:    unmap(from),
		IfIndex:   pi.ifIndex,
		Truncated: flags&msgTrunc != 0,
	}
	c.setLocal(d, &pi)
	return nil
}

// setLocal fills Local and Group from the packet info, as far as there is one.
func (c *Conn) setLocal(d *transport.Datagram, pi *packetInfo) {
	dst, reply := pi.dst.Unmap(), pi.reply
	if !dst.IsValid() {
		if !c.local.Addr().IsUnspecified() {
			dst = c.local.Addr()
		}
		d.Local = netip.AddrPortFrom(dst, c.local.Port())
		return
	}
	// The system knows the broadcast addresses of its interfaces; what it would
	// answer from another address than the one that was asked is one of them.
	if dst.IsMulticast() || dst == broadcast || reply.IsValid() && reply != dst {
		d.Group = dst
		dst = reply
	}
	if dst.IsLinkLocalUnicast() && dst.Is6() {
		dst = dst.WithZone(c.zone(pi.ifIndex, d.Remote.Addr()))
	}
	d.Local = netip.AddrPortFrom(dst, c.local.Port())
}

// broadcast is the limited broadcast address of IPv4.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
