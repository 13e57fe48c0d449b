package mem

import (
	"net"
	"net/netip"
	"syscall"
)

// Rebind puts the Conn behind a NAT, or lets the NAT it is behind forget it and choose
// anew: from now on others see what it sends come from the public address, which is
// returned, and reach it there. What is sent to the address it had before vanishes without a
// report. The Conn itself notices nothing: LocalAddr and Datagram.Local stay.
//
// The public address may be chosen: a zero Addr means the address that others saw until now, port
// 0 (as in the zero AddrPort) a port that was not used before.
//
// Errors match syscall.EADDRINUSE when another host has the address or somebody the port,
// syscall.EADDRNOTAVAIL when the host has no address of the same family, net.ErrClosed.
func (c *Conn) Rebind(public netip.AddrPort) (netip.AddrPort, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	public, err := c.rebind(public)
	if err != nil {
		return netip.AddrPort{}, opError("rebind", c.local, public, err)
	}
	return public, nil
}

func (c *Conn) rebind(public netip.AddrPort) (netip.AddrPort, error) {
	n := c.net
	if c.closed {
		return public, net.ErrClosed
	}
	private := c.own(public.Addr().Unmap())
	if !private.IsValid() {
		return public, syscall.EADDRNOTAVAIL
	}
	ip := public.Addr().Unmap().WithZone("")
	switch {
	case ip.IsValid():
	case c.public.IsValid():
		ip = c.public.Addr()
	default:
		ip = private.Addr().WithZone("")
	}
	if owner := n.addrs[addressOf(ip, "")]; owner != nil && owner.host != c.host {
		return public, syscall.EADDRINUSE
	}
	public = netip.AddrPortFrom(ip, public.Port())
	if public.Port() == 0 {
		public = n.publicPort(c.host, ip)
	}
	if public.Port() == 0 || n.nat[public] != nil || public != private && c.host.find(public) != nil {
		return public, syscall.EADDRINUSE
	}
	c.forget()
	if !c.public.IsValid() {
		n.dead[netip.AddrPortFrom(private.Addr().WithZone(""), private.Port())] = true
	}
	delete(n.dead, public)
	c.public, c.private = public, private
	n.nat[public] = c
	return public, nil
}

// own is an address of the Conn itself, of the family of another one if that is valid.
func (c *Conn) own(like netip.Addr) netip.AddrPort {
	for _, i := range c.host.ifs {
		for _, a := range i.Addrs {
			if (!like.IsValid() || a.Is4() == like.Is4()) && c.family&familyOf(a) != 0 &&
				(c.wildcard() || a == c.local.Addr()) {
				return netip.AddrPortFrom(a, c.local.Port())
			}
		}
	}
	return netip.AddrPort{}
}

// publicPort chooses a port that no NAT has given out and nobody listens to; port 0 when there
// is none left.
func (n *Network) publicPort(h *Host, ip netip.Addr) netip.AddrPort {
	for range 1<<16 - firstPort {
		n.natPort = max(n.natPort+1, firstPort)
		p := netip.AddrPortFrom(ip, n.natPort)
		if n.nat[p] == nil && !n.dead[p] && h.find(p) == nil {
			return p
		}
	}
	return netip.AddrPortFrom(ip, 0)
}

// forget lets the NAT forget the Conn.
func (c *Conn) forget() {
	if c.public.IsValid() {
		delete(c.net.nat, c.public)
		c.net.dead[c.public] = true
	}
}
