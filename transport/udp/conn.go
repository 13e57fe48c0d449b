package udp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/coapkit/coap/transport"
)

// Config adjusts a [Conn]. The zero value, and a nil *Config, are what most programs want. It
// is not kept after [Listen] has returned.
type Config struct {
	// ReadBuffer and WriteBuffer are the sizes of the kernel's buffers in bytes. 0 or
	// less leaves what the system gives. The system may round them and cap them silently
	// (on Linux at net.core.rmem_max and wmem_max).
	ReadBuffer, WriteBuffer int

	// ReuseAddr lets several sockets be bound to the same address and port, which several
	// programs that listen to the same group on one host need. Datagrams to a group
	// then reach all of them, but a datagram to a single address reaches
	// only one, usually the youngest: any program of the same user can take them away.
	// So it is off by default, and a port that is in use is an error.
	ReuseAddr bool

	// MulticastHops is the hop limit (IPv4: time to live) of datagrams sent to groups,
	// 1 to 255. 0 or less means 1: they do not leave the link.
	MulticastHops int

	// NoMulticastLoop keeps datagrams that are sent to a group from the members of that group on
	// this host, which otherwise get them too. (On Windows the receiving sockets decide
	// that, so set it there.)
	NoMulticastLoop bool

	// Control, when not nil, is called with the new socket before it is bound, as the
	// Control field of net.ListenConfig is, for options that this package does not know
	// (binding to a device, traffic class). An error from it ends Listen.
	Control func(network, address string, c syscall.RawConn) error
}

// Conn is a UDP socket. It implements [transport.Conn]; all its methods may be called
// concurrently.
type Conn struct {
	udp    *net.UDPConn
	raw    syscall.RawConn
	local  netip.AddrPort // what the socket is bound to; never changes
	family family
	zones  zoneCache
	joined members

	reading, writing *batch // nil: one datagram at a time

	follows bool // another socket that shares the address gets what is for all

	closed atomic.Bool
	done   chan struct{} // closed by Close
}

var _ transport.Conn = (*Conn)(nil)

// family is the set of address families that a socket carries.
type family uint8

const (
	inet4 family = 1 << iota
	inet6
)

// Listen opens a socket. The forms of address are:
//
//	":5683"                  all addresses, IPv4 and IPv6 (where the system has both)
//	"0.0.0.0:5683"           all IPv4 addresses
//	"[::]:5683"              all IPv6 addresses, and only those
//	"192.0.2.1:5683"         one address
//	"[fe80::1%eth0]:5683"    one link-local address
//	"localhost:5683"         the first address that the name resolves to
//
// Port 0 lets the system choose one; [Conn.LocalAddr] tells which. A group address is
// refused: listen to a wildcard address and call [Conn.Join].
//
// Errors are those of the system: syscall.EADDRINUSE, for one, when the port is taken.
func Listen(address string, cfg *Config) (*Conn, error) {
	return listen(address, cfg, nil)
}

// ListenShared opens n sockets, at least 1, that share an address: the system gives each remote endpoint
// to one of them, and to the same for as long as none is closed, so that several processors can
// work on what arrives. Datagrams to groups and broadcasts come out of the first only, which is the one to
// join groups with. The error is errors.ErrUnsupported where the system does not spread datagrams, which
// Linux does; other programs of the same user could bind to the address as well.
func ListenShared(address string, n int, cfg *Config) ([]*Conn, error) {
	if n == 1 {
		c, err := Listen(address, cfg)
		return []*Conn{c}, err
	}
	var conns []*Conn
	for len(conns) < n {
		c, err := listen(address, cfg, setReusePort)
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return nil, err
		}
		if len(conns) == 0 { // port 0 has become one
			host, _, _ := net.SplitHostPort(address)
			address = net.JoinHostPort(host, strconv.Itoa(int(c.local.Port())))
		}
		c.follows = len(conns) > 0
		conns = append(conns, c)
	}
	return conns, nil
}

// listen is Listen with another option, if share is not nil.
func listen(address string, cfg *Config, share func(fd uintptr) error) (*Conn, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	network, err := networkOf(address)
	if err != nil {
		return nil, err
	}
	c := &Conn{done: make(chan struct{})}
	lc := net.ListenConfig{Control: func(network, address string, rc syscall.RawConn) error {
		return c.prepare(network, address, rc, cfg, share)
	}}
	pc, err := lc.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	c.udp = pc.(*net.UDPConn)
	if err := c.setup(network, cfg); err != nil {
		c.udp.Close()
		return nil, err
	}
	c.startBatches()
	return c, nil
}

// networkOf says which network of package net an address is listened to by. With "udp",
// net would make even "0.0.0.0" a dual-stack socket; here whoever writes down a family means it.
func networkOf(address string) (string, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil: // no host, or a name
		return "udp", nil
	case ip.IsMulticast():
		return "", &net.AddrError{Err: "cannot listen to a group, join it", Addr: address}
	case ip.Unmap().Is4():
		return "udp4", nil
	default:
		return "udp6", nil
	}
}

// prepare sets what must be set before the socket is bound: a datagram that arrives between
// bind and a later setsockopt would come without packet info.
func (c *Conn) prepare(network, address string, rc syscall.RawConn, cfg *Config, share func(fd uintptr) error) error {
	c.family = inet4
	if strings.HasSuffix(network, "6") {
		c.family = inet6
	}
	var optErr error
	err := rc.Control(func(fd uintptr) {
		if cfg.ReuseAddr {
			optErr = setReuseAddr(fd)
		}
		if optErr == nil && share != nil {
			optErr = share(fd)
		}
		if optErr == nil {
			optErr = setSocketOptions(fd, c.family)
		}
		if optErr == nil {
			optErr = setMulticast(fd, c.family, max(cfg.MulticastHops, 1), !cfg.NoMulticastLoop)
		}
	})
	if err == nil {
		err = optErr
	}
	if err == nil && cfg.Control != nil {
		err = cfg.Control(network, address, rc)
	}
	return err
}

// setup does what can wait until the socket is bound. Of c.family it knows the
// family of the socket; a socket for both is an IPv6 socket that nobody restricted to IPv6.
func (c *Conn) setup(network string, cfg *Config) error {
	local := c.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	c.local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	if network == "udp" && c.family == inet6 && c.local.Addr().IsUnspecified() {
		c.family |= inet4
	}
	var err error
	if c.raw, err = c.udp.SyscallConn(); err != nil {
		return err
	}
	if cfg.ReadBuffer > 0 {
		if err := c.udp.SetReadBuffer(cfg.ReadBuffer); err != nil {
			return fmt.Errorf("udp: read buffer: %w", err)
		}
	}
	if cfg.WriteBuffer > 0 {
		if err := c.udp.SetWriteBuffer(cfg.WriteBuffer); err != nil {
			return fmt.Errorf("udp: write buffer: %w", err)
		}
	}
	return nil
}

// LocalAddr is the address that the socket is bound to. For a socket that serves IPv4
// and IPv6 it is "[::]" with the port.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Close closes the socket and ends blocked calls with an error that matches net.ErrClosed.
// Closing again is harmless and returns nil.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	close(c.done)
	return c.udp.Close()
}
