package mem

import (
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/coapkit/coap/transport"
)

// Conn is an endpoint of a simulated network. It implements [transport.Conn]; all its
// methods may be called concurrently. Datagrams that are larger than the room offered are cut off,
// and Truncated says so.
type Conn struct {
	net    *Network
	host   *Host
	local  netip.AddrPort // what it is bound to, with a zone; never changes
	family family         // never changes

	ready chan struct{} // holds a token when the queue may not be empty
	done  chan struct{} // closed by Close

	// Guarded by net.mu:
	closed  bool
	queue   []*flight
	public  netip.AddrPort // behind a NAT, where others see it
	private netip.AddrPort // behind a NAT, where it sees itself
}

var _ transport.Conn = (*Conn)(nil)

// ReadBatch implements [transport.Conn].
func (c *Conn) ReadBatch(ds []transport.Datagram) (int, error) {
	for {
		n, err := c.take(ds)
		if n > 0 || err != nil || len(ds) == 0 {
			return n, err
		}
		select {
		case <-c.ready:
		case <-c.done:
		}
	}
}

// take moves datagrams from the queue to ds, without waiting.
func (c *Conn) take(ds []transport.Datagram) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return 0, opError("read", c.local, netip.AddrPort{}, net.ErrClosed)
	}
	n := min(len(ds), len(c.queue))
	for i, f := range c.queue[:n] {
		c.fill(&ds[i], f)
		c.net.release(f)
	}
	c.queue = slices.Delete(c.queue, 0, n)
	if len(c.queue) > 0 {
		c.wake() // another reader may be waiting
	}
	return n, nil
}

// fill makes a Datagram of what has arrived.
func (c *Conn) fill(d *transport.Datagram, f *flight) {
	room := d.Data
	*d = transport.Datagram{Data: room[:copy(room, f.data)], IfIndex: f.in.Index}
	if f.err != nil {
		d.Err, d.Local, d.Remote = f.err, f.local, zonedPort(f.in, f.dst)
		return
	}
	d.Remote = zonedPort(f.in, f.src)
	d.Truncated = len(f.data) > len(room)
	dst := f.dst.Addr()
	switch {
	case dst.IsMulticast() || dst == broadcast:
		d.Group = dst
		d.Local = netip.AddrPortFrom(c.address(f.in, f.src.Addr()), c.local.Port())
	case f.dst == c.public:
		d.Local = c.private
	default:
		d.Local = zonedPort(f.in, f.dst)
	}
}

func zonedPort(i *iface, ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(i.zoned(ap.Addr()), ap.Port())
}

// enqueue adds to the queue; it returns false when that is full.
func (c *Conn) enqueue(f *flight) bool {
	limit := c.net.cfg.Queue
	if limit <= 0 {
		limit = 1024
	}
	if len(c.queue) >= limit {
		return false
	}
	c.queue = append(c.queue, f)
	c.wake()
	return true
}

func (c *Conn) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// WriteBatch implements [transport.Conn]. Errors match:
//
//	transport.ErrTooLarge    more bytes than Config.MTU
//	syscall.EDESTADDRREQ     no Remote
//	syscall.EAFNOSUPPORT     a Remote of a family that the Conn is not bound to
//	syscall.EADDRNOTAVAIL    Local is not an address of the host
//	syscall.ENODEV           IfIndex or the zone of Remote names no interface
//	syscall.EINVAL           a link-local Remote without zone, IfIndex and link-local Local
//	syscall.ENETUNREACH      the host has no address of that family to send from
//	net.ErrClosed            the Conn is closed
//
// The port of Local is not used.
func (c *Conn) WriteBatch(ds []transport.Datagram) (int, error) {
	for i := range ds {
		if err := c.write(&ds[i]); err != nil {
			return i, opError("write", c.local, ds[i].Remote, err)
		}
	}
	return len(ds), nil
}

func (c *Conn) write(d *transport.Datagram) error {
	n := c.net
	f, filter, watch, err := c.prepare(d)
	if err != nil {
		return err
	}
	if filter != nil || len(watch) > 0 {
		n.filterMu.Lock()
		defer n.filterMu.Unlock()
	}
	var v Verdict
	if filter != nil {
		v = n.filter(f, filter)
	}
	seen, err := c.launch(f, v)
	for i := range seen {
		for _, f := range watch {
			f(&seen[i].Packet, seen[i].Verdict)
		}
	}
	return err
}

// launch sends a datagram on its way and returns what there is to be told of it.
func (c *Conn) launch(f *flight, v Verdict) ([]sight, error) {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		n.release(f)
		return nil, net.ErrClosed
	}
	n.launch(f, v)
	seen := n.seen
	n.seen = nil
	return seen, nil
}

// prepare makes a flight of a datagram.
func (c *Conn) prepare(d *transport.Datagram) (f *flight, filter func(*Packet) Verdict, watch []func(*Packet, Verdict), err error) {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		return nil, nil, nil, net.ErrClosed
	}
	if len(d.Data) > n.mtu() {
		n.stats.TooBig++
		return nil, nil, nil, transport.ErrTooLarge
	}
	via, src, err := c.route(d)
	if err != nil {
		return nil, nil, nil, err
	}
	n.stats.Sent++
	f = n.newFlight()
	f.data = append(f.data[:0], d.Data...)
	f.from, f.via = c, via
	f.local = netip.AddrPortFrom(src, c.local.Port())
	f.src = netip.AddrPortFrom(src.WithZone(""), c.local.Port())
	f.dst = netip.AddrPortFrom(d.Remote.Addr().Unmap().WithZone(""), d.Remote.Port())
	if c.public.IsValid() && c.public.Addr().Is4() == src.Is4() {
		f.src = c.public
	}
	return f, n.cfg.Filter, n.watch, nil
}

// route chooses the interface and the address that a datagram leaves by.
func (c *Conn) route(d *transport.Datagram) (via *iface, src netip.Addr, err error) {
	to := d.Remote.Addr().Unmap()
	if !to.IsValid() || d.Remote.Port() == 0 {
		return nil, src, syscall.EDESTADDRREQ
	}
	if c.family&familyOf(to) == 0 {
		return nil, src, syscall.EAFNOSUPPORT
	}
	via, err = c.outgoing(d.IfIndex, to.Zone())
	if err != nil {
		return nil, src, err
	}
	if from := c.wanted(d.Local, to); from.IsValid() {
		i := c.host.ifaceOf(from)
		switch {
		case i == nil:
			return nil, src, syscall.EADDRNOTAVAIL
		case via == nil && (from.IsLinkLocalUnicast() || !to.IsLinkLocalUnicast()):
			via = i
		}
		src = i.zoned(from)
	}
	if via == nil && to.Is6() && to.IsLinkLocalUnicast() {
		return nil, src, syscall.EINVAL
	}
	if !src.IsValid() {
		via, src = c.host.choose(via, to)
	}
	if via == nil || !src.IsValid() {
		return nil, src, syscall.ENETUNREACH
	}
	return via, src, nil
}

// outgoing is the interface that the caller asks for; nil when it leaves the choice.
func (c *Conn) outgoing(ifIndex int, zone string) (*iface, error) {
	var via *iface
	switch {
	case ifIndex > 0:
		via = c.host.byIndex(ifIndex)
	case zone != "":
		via = c.host.byZone(zone)
	default:
		return nil, nil
	}
	if via == nil {
		return nil, syscall.ENODEV
	}
	return via, nil
}

// wanted is the source address that is not a matter of routing; the zero Addr when it is.
func (c *Conn) wanted(local netip.AddrPort, to netip.Addr) netip.Addr {
	from := local.Addr().Unmap()
	switch {
	case !c.wildcard():
		return c.local.Addr()
	case local.Port() == 0, from.IsUnspecified(), from.IsMulticast(), from.Is4() != to.Is4():
		return netip.Addr{}
	}
	return from
}

// choose does what routing would: an interface on the destination's link if there is one, else the
// first that has an address of the right family.
func (h *Host) choose(via *iface, to netip.Addr) (*iface, netip.Addr) {
	if via != nil {
		return via, via.source(to)
	}
	var best *iface
	owner := h.net.addrs[addressOf(to, "")]
	for _, i := range h.ifs {
		if !i.source(to).IsValid() {
			continue
		}
		if owner != nil && owner == i {
			return i, to
		}
		if best == nil || owner != nil && i.Link == owner.Link && best.Link != owner.Link {
			best = i
		}
	}
	if best == nil {
		return nil, netip.Addr{}
	}
	return best, best.source(to)
}

// address is the address that the Conn answers to another one from, on an interface.
func (c *Conn) address(i *iface, to netip.Addr) netip.Addr {
	if !c.wildcard() {
		return c.local.Addr()
	}
	return i.source(to)
}

// LocalAddr is the address that the Conn is bound to, even behind a NAT. For both families
// it is "[::]" with the port.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

func (c *Conn) wildcard() bool { return c.local.Addr().IsUnspecified() }

// hears says whether the Conn receives broadcasts on an interface.
func (c *Conn) hears(i *iface) bool {
	return c.wildcard() && c.family&inet4 != 0 && i.source(broadcast).IsValid()
}

// Close ends blocked calls with an error that matches net.ErrClosed, and drops what waits to be
// read. What the Conn has sent arrives. Closing again is harmless and returns nil.
func (c *Conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.closeLocked()
	return nil
}

func (c *Conn) closeLocked() {
	if c.closed {
		return
	}
	c.closed = true
	close(c.done)
	isThis := func(o *Conn) bool { return o == c }
	c.net.conns = slices.DeleteFunc(c.net.conns, isThis)
	c.host.conns = slices.DeleteFunc(c.host.conns, isThis)
	c.leaveAll()
	c.forget()
	for _, f := range c.queue {
		c.net.release(f)
	}
	c.queue = nil
}
