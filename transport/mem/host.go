package mem

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
)

// Interface is a network interface of a host.
type Interface struct {
	// Index is what Datagram.IfIndex says; 1 or more, unique in its host. 0 means its
	// place in the list, from 1.
	Index int
	// Name is the zone of link-local addresses. Empty means "mem" and the Index.
	Name string
	// Addrs are its addresses, without zones; no other interface of the network has the same,
	// save for link-local ones on another link.
	Addrs []netip.Addr
	// Link names the link that the interface is attached to. Datagrams to groups and to link-local
	// addresses reach interfaces with the same Link only. Empty is a link like others.
	Link string
}

// Host is a computer with one or more interfaces.
type Host struct {
	net   *Network
	ifs   []*iface // guarded by net.mu
	conns []*Conn  // guarded by net.mu
	port  uint16   // the last port that was chosen; guarded by net.mu
}

// iface is immutable.
type iface struct {
	Interface
	host *Host
}

// The ports that systems choose from (RFC 6335 section 6).
const firstPort = 49152

// broadcast is the limited broadcast address of IPv4, which behaves as a group that every
// wildcard Conn for IPv4 has joined.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Host adds a host to the network. It is an error if there is an address twice or one that is not
// unicast, or an index twice.
func (n *Network) Host(ifs ...Interface) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hostLocked(ifs)
}

// Attach adds interfaces to the host, as when a network is plugged in. Errors are as for
// [Network.Host]; then nothing is added.
func (h *Host) Attach(ifs ...Interface) error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	before := len(h.ifs)
	err := h.attach(ifs)
	if err != nil {
		h.ifs = h.ifs[:before]
	}
	return err
}

func (n *Network) hostLocked(ifs []Interface) (*Host, error) {
	h := &Host{net: n, port: firstPort - 1}
	return h, h.attach(ifs)
}

func (h *Host) attach(ifs []Interface) error {
	n := h.net
	mine := make(map[address]*iface)
	for _, itf := range ifs {
		i := &iface{Interface: itf, host: h}
		if i.Index == 0 {
			i.Index = len(h.ifs) + 1
		}
		if i.Name == "" {
			i.Name = "mem" + strconv.Itoa(i.Index)
		}
		if i.Index < 0 || h.byIndex(i.Index) != nil {
			return fmt.Errorf("mem: interface %s: index %d: %w", i.Name, i.Index, syscall.EINVAL)
		}
		i.Addrs = slices.Clone(itf.Addrs)
		for k, ip := range i.Addrs {
			ip = ip.Unmap().WithZone("")
			if !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip == broadcast {
				return fmt.Errorf("mem: %v is no unicast address: %w", ip, syscall.EINVAL)
			}
			key := addressOf(ip, i.Link)
			if n.addrs[key] != nil || mine[key] != nil {
				return fmt.Errorf("mem: address %v: %w", ip, syscall.EADDRINUSE)
			}
			mine[key] = i
			i.Addrs[k] = i.zoned(ip)
		}
		h.ifs = append(h.ifs, i)
	}
	for key, i := range mine {
		n.addrs[key] = i
	}
	return nil
}

// zoned adds the zone to an address that needs one.
func (i *iface) zoned(ip netip.Addr) netip.Addr {
	if ip.Is6() && ip.IsLinkLocalUnicast() {
		return ip.WithZone(i.Name)
	}
	return ip
}

// Listen opens a Conn on a host of its own, with that one address, or on the host that
// has the address already. Port 0 chooses one. The zone of a link-local address becomes the name of
// its interface. For a wildcard address, use [Host.Listen].
//
// Errors match syscall.EADDRINUSE when the port is taken, syscall.EINVAL when the address
// is not a unicast address, net.ErrClosed when the network is closed.
func (n *Network) Listen(at netip.AddrPort) (*Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ip := at.Addr().Unmap()
	if i := n.addrs[addressOf(ip, "")]; i != nil {
		return i.host.listenLocked(at)
	}
	h, err := n.hostLocked([]Interface{{Name: ip.Zone(), Addrs: []netip.Addr{ip}}})
	if err != nil {
		return nil, opError("listen", at, netip.AddrPort{}, err)
	}
	return h.listenLocked(at)
}

// Listen opens a Conn on one address of the host or on several: 0.0.0.0 stands for all its IPv4
// addresses, :: for all its IPv6 addresses, and the zero Addr for all. Port 0
// chooses one.
//
// Errors match syscall.EADDRINUSE when the port is taken, syscall.EADDRNOTAVAIL when the
// host does not have the address, net.ErrClosed when the network is closed.
func (h *Host) Listen(at netip.AddrPort) (*Conn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.listenLocked(at)
}

func (h *Host) listenLocked(at netip.AddrPort) (*Conn, error) {
	ip := at.Addr().Unmap()
	c := &Conn{
		net: h.net, host: h, family: familyOf(ip),
		ready: make(chan struct{}, 1), done: make(chan struct{}),
	}
	switch {
	case h.net.closed:
		return nil, opError("listen", at, netip.AddrPort{}, net.ErrClosed)
	case !ip.IsValid():
		ip, c.family = netip.IPv6Unspecified(), inet4|inet6
	case !ip.IsUnspecified():
		i := h.ifaceOf(ip)
		if i == nil {
			return nil, opError("listen", at, netip.AddrPort{}, syscall.EADDRNOTAVAIL)
		}
		ip = i.zoned(ip)
	}
	c.local = netip.AddrPortFrom(ip, at.Port())
	if at.Port() == 0 {
		c.local = netip.AddrPortFrom(ip, h.freePort(c))
	}
	if c.local.Port() == 0 || h.conflicts(c) {
		return nil, opError("listen", at, netip.AddrPort{}, syscall.EADDRINUSE)
	}
	h.conns = append(h.conns, c)
	h.net.conns = append(h.net.conns, c)
	return c, nil
}

// freePort chooses a port for c; 0 when all are taken.
func (h *Host) freePort(c *Conn) uint16 {
	for range 1<<16 - firstPort {
		h.port = max(h.port+1, firstPort)
		probe := Conn{family: c.family, local: netip.AddrPortFrom(c.local.Addr(), h.port)}
		if !h.conflicts(&probe) {
			return h.port
		}
	}
	return 0
}

// conflicts says whether another Conn gets datagrams that c would get.
func (h *Host) conflicts(c *Conn) bool {
	for _, o := range h.conns {
		if o.local.Port() == c.local.Port() && o.family&c.family != 0 &&
			(o.local == c.local || o.wildcard() || c.wildcard()) {
			return true
		}
	}
	return false
}

// find returns the Conn that listens to one of the host's addresses; nil when none does. Who is
// behind a NAT is reached through it only.
func (h *Host) find(dst netip.AddrPort) *Conn {
	for _, c := range h.conns {
		if c.local.Port() == dst.Port() && !c.public.IsValid() && c.family&familyOf(dst.Addr()) != 0 &&
			(c.wildcard() || c.local.Addr().WithZone("") == dst.Addr()) {
			return c
		}
	}
	return nil
}

// ifaceOf is the interface with an address: of a link-local one with a zone, the interface that
// the zone names.
func (h *Host) ifaceOf(ip netip.Addr) *iface {
	for _, i := range h.ifs {
		for _, a := range i.Addrs {
			if a.WithZone("") == ip.WithZone("") && (ip.Zone() == "" || i.isZone(ip.Zone())) {
				return i
			}
		}
	}
	return nil
}

func (h *Host) byIndex(index int) *iface {
	for _, i := range h.ifs {
		if i.Index == index {
			return i
		}
	}
	return nil
}

func (h *Host) byZone(zone string) *iface {
	for _, i := range h.ifs {
		if i.isZone(zone) {
			return i
		}
	}
	return nil
}

func (i *iface) isZone(zone string) bool {
	if zone == i.Name {
		return true
	}
	index, err := strconv.Atoi(zone)
	return err == nil && index == i.Index
}

// source is the interface's address to talk to another one from; the zero Addr when it has none of
// that family. Link-local addresses talk to link-local ones.
func (i *iface) source(to netip.Addr) netip.Addr {
	var other netip.Addr
	local := to.IsLinkLocalUnicast() || to.IsLinkLocalMulticast()
	for _, a := range i.Addrs {
		if a.Is4() != to.Is4() {
			continue
		}
		if a.IsLinkLocalUnicast() == local {
			return a
		}
		if !other.IsValid() {
			other = a
		}
	}
	return other
}

// family is a set of address families.
type family uint8

const (
	inet4 family = 1 << iota
	inet6
)

func familyOf(ip netip.Addr) family {
	if ip.Is4() {
		return inet4
	}
	return inet6
}
