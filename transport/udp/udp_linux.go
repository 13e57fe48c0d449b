package udp

import (
	"errors"
	"net/netip"
	"syscall"

	"github.com/coapkit/coap/transport"
)

const (
	msgTrunc = syscall.MSG_TRUNC

	// hasErrorQueue says that ICMP errors come by a queue, and first of all as an
	// error of whatever call is next.
	hasErrorQueue = true
	// sourceIsHint says that a datagram is rather sent from another address than not at
	// all. Here packet info is reliable, so a refusal means something.
	sourceIsHint = false

	// Missing in package syscall; the same on all architectures.
	ipMulticastAll   = 49
	ipv6MulticastAll = 29
	soReusePort      = 15
)

func setReuseAddr(fd uintptr) error {
	return setInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
}

// setReusePort lets sockets share an address, among which the system spreads the remote endpoints.
func setReusePort(fd uintptr) error { return setInt(fd, syscall.SOL_SOCKET, soReusePort, 1) }

// setSocketOptions asks for packet info and the error queue. An IPv6 socket gets the options
// of IPv4 too, in case that it becomes a dual-stack one. There IP_PKTINFO tells what
// the mapped in6_pktinfo cannot: the address to answer a group from.
func setSocketOptions(fd uintptr, f family) error {
	opts := []struct {
		level, name, value int
		optional           bool
	}{
		{syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1, f != inet4},
		{syscall.IPPROTO_IP, syscall.IP_RECVERR, 1, true},
		// Otherwise a socket gets what any other socket of the host has joined.
		{syscall.IPPROTO_IP, ipMulticastAll, 0, true},
		{syscall.IPPROTO_IPV6, syscall.IPV6_RECVPKTINFO, 1, false},
		{syscall.IPPROTO_IPV6, syscall.IPV6_RECVERR, 1, true},
		{syscall.IPPROTO_IPV6, ipv6MulticastAll, 0, true},
	}
	for _, o := range opts {
		if o.level == syscall.IPPROTO_IPV6 && f == inet4 {
			continue
		}
		if err := setInt(fd, o.level, o.name, o.value); err != nil && !o.optional {
			return err
		}
	}
	return nil
}

// struct in_pktinfo: interface index, address to answer from, destination address. As for
// sending: interface index, source address, nothing.
const sizeofPacketInfo4 = 12

func parsePacketInfo(level, typ int, data []byte, pi *packetInfo) {
	switch {
	case level == syscall.IPPROTO_IP && typ == syscall.IP_PKTINFO && len(data) >= sizeofPacketInfo4:
		pi.ifIndex = int(native.Uint32(data))
		if reply := addr4(data[4:]); !reply.IsUnspecified() {
			pi.reply = reply
		}
		pi.dst = addr4(data[8:])
	case level == syscall.IPPROTO_IPV6 && typ == syscall.IPV6_PKTINFO:
		parsePacketInfo6(data, pi)
	}
}

// appendPacketInfo works alike on IPv4 and on dual-stack sockets: for a mapped destination
// Linux reads the control messages of IPv4.
func appendPacketInfo(b []byte, is4 bool, from netip.Addr, ifIndex int) []byte {
	if is4 {
		b, data := appendControl(b, syscall.IPPROTO_IP, syscall.IP_PKTINFO, sizeofPacketInfo4)
		native.PutUint32(data, uint32(ifIndex))
		putAddr4(data[4:], from)
		return b
	}
	b, data := appendControl(b, syscall.IPPROTO_IPV6, syscall.IPV6_PKTINFO, sizeofPacketInfo6)
	putPacketInfo6(data, from, ifIndex)
	return b
}

// isPending says whether an error may be a late one, about a datagram that was sent earlier to
// somebody else, rather than one about the call that returned it. These are the errors that
// Linux makes of ICMP messages.
func isPending(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN,
		syscall.ENONET, syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EOPNOTSUPP,
		syscall.EACCES, syscall.EMSGSIZE:
		return true
	}
	return false
}

// maxErrors bounds how long one call may be busy with errors that nobody wants to hear of.
const maxErrors = 256

// readErrors takes what waits in the error queue, and stores what is worth reporting in ds. It
// returns how many these are, and whether there was anything at all. It does not block.
func (c *Conn) readErrors(ds []transport.Datagram) (n int, found bool) {
	left := maxErrors
	err := c.raw.Control(func(fd uintptr) {
		for ; n < len(ds) && left > 0; left-- {
			wanted, ok := c.readError(int(fd), &ds[n])
			if !ok {
				return
			}
			found = true
			if wanted {
				n++
			}
		}
		// There may be more, and no error pending to remind us.
		c.kick()
	})
	if err != nil {
		return 0, false // closed
	}
	return n, found
}

// readError takes one entry off the error queue; ok is false when it is empty. The system gives
// the beginning of the datagram that was sent as data, and where it was sent to as address.
func (c *Conn) readError(fd int, d *transport.Datagram) (wanted, ok bool) {
	var control [4 * controlRoom]byte
	n, oobn, _, to, err := syscall.Recvmsg(fd, d.Data, control[:],
		syscall.MSG_ERRQUEUE|syscall.MSG_DONTWAIT)
	for err == syscall.EINTR {
		n, oobn, _, to, err = syscall.Recvmsg(fd, d.Data, control[:],
			syscall.MSG_ERRQUEUE|syscall.MSG_DONTWAIT)
	}
	if err != nil {
		return false, false
	}
	errno, wanted := parseError(control[:oobn])
	if !wanted {
		return false, true
	}
	var pi packetInfo
	parseControl(control[:oobn], &pi)
	*d = transport.Datagram{Data: d.Data[:n], Remote: c.addrPort(to), IfIndex: pi.ifIndex, Err: errno}
	c.setLocal(d, &pi)
	d.Group = netip.Addr{}
	return true, true
}

func (c *Conn) addrPort(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 {
			a = a.WithZone(c.zones.name(int(sa.ZoneId)))
		}
		return netip.AddrPortFrom(a, uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// struct sock_extended_err: error number, origin, ICMP type, ICMP code, padding,
// then two numbers that do not matter here.
const (
	sizeofExtendedErr = 16

	originICMP  = 2
	originICMP6 = 3
)

// parseError finds the error in the control messages of an entry of the error queue, and says
// whether it means that a datagram was not delivered.
func parseError(control []byte) (errno syscall.Errno, wanted bool) {
	for {
		level, typ, data, rest, ok := nextControl(control)
		if !ok {
			return 0, false
		}
		is4 := level == syscall.IPPROTO_IP && typ == syscall.IP_RECVERR
		is6 := level == syscall.IPPROTO_IPV6 && typ == syscall.IPV6_RECVERR
		if (is4 || is6) && len(data) >= sizeofExtendedErr {
			errno = syscall.Errno(native.Uint32(data))
			return errno, errno != 0 && isUndelivered(data[4], data[5], data[6])
		}
		control = rest
	}
}

// isUndelivered chooses among ICMP messages. RFC 7252 section 4.2: Source Quench and Time Exceeded
// should be ignored, and Packet Too Big when messages fit the minimum MTU (section 4.6), which
// is the system's business anyway. What the system itself refused to send (origin
// "local") the writer was told already.
func isUndelivered(origin, typ, code byte) bool {
	const (
		unreachable, fragmentationNeeded, parameterProblem = 3, 4, 12 // RFC 792
		unreachable6, parameterProblem6                    = 1, 4     // RFC 4443
	)
	switch origin {
	case originICMP:
		return typ == unreachable && code != fragmentationNeeded || typ == parameterProblem
	case originICMP6:
		return typ == unreachable6 || typ == parameterProblem6
	}
	return false
}
