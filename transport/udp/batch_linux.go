//go:build linux && (amd64 || arm64) && !portable

package udp

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"github.com/coapkit/coap/transport"
)

// Several datagrams in one system call, by recvmmsg and sendmmsg. It halves what a request costs: most
// of that is the way into the kernel and back, and package net takes it for each datagram.

// maxBatch is how many datagrams one call reads. Eight have nearly all of the gain.
const maxBatch = 64

// maxSend is how many datagrams one call sends. A call that sends is not announced to the scheduler: else, since it
// takes long, that has another thread wait for events, and the system wakes that for each datagram that has
// left. So the call must be short: some 60 us.
const maxSend = 16

// message is struct mmsghdr.
type message struct {
	syscall.Msghdr
	n uint32 // the length of the datagram
	_ [4]byte
}

// envelope is what belongs to a message besides its bytes.
type envelope struct {
	addr    syscall.RawSockaddrInet6 // or one of IPv4, which is shorter
	iov     syscall.Iovec
	control [controlRoom]byte
}

// batch is the memory of one direction.
type batch struct {
	mu        sync.Mutex // held by whoever uses it
	messages  [maxBatch]message
	envelopes [maxBatch]envelope
	number    uintptr               // of the system call
	from, n   int                   // which messages to move
	asked     int                   // how many the system was told to
	moved     int                   // how many were
	errno     syscall.Errno         // why not
	move      func(fd uintptr) bool // calls the system; kept, since a closure would be allocated each time
}

func newBatch(number uintptr) *batch {
	b := &batch{number: number}
	b.move = b.call
	for i := range b.messages {
		m, e := &b.messages[i], &b.envelopes[i]
		m.Name = (*byte)(unsafe.Pointer(&e.addr))
		m.Iov, m.Iovlen = &e.iov, 1
		m.Control = &e.control[0]
	}
	return b
}

// call makes the system call, and returns false when it would have to wait.
func (b *batch) call(fd uintptr) bool {
	b.asked = b.n - b.from
	if b.number == sysSendmmsg {
		b.asked = min(b.asked, maxSend)
	}
	for {
		var n uintptr
		var errno syscall.Errno
		if first := &b.messages[b.from]; b.number == sysSendmmsg {
			n, _, errno = syscall.RawSyscall6(b.number, fd, uintptr(unsafe.Pointer(first)), uintptr(b.asked), syscall.MSG_DONTWAIT, 0, 0)
		} else {
			n, _, errno = syscall.Syscall6(b.number, fd, uintptr(unsafe.Pointer(first)), uintptr(b.asked), syscall.MSG_DONTWAIT, 0, 0)
		}
		switch b.moved, b.errno = int(n), errno; errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		return true
	}
}

// lend makes data what message i is read into or sent from.
func (b *batch) lend(i int, data []byte) {
	e := &b.envelopes[i]
	e.iov.Base = unsafe.SliceData(data)
	e.iov.SetLen(len(data))
}

// giveBack forgets the bytes that were lent for the first n messages.
func (b *batch) giveBack(n int) {
	for i := range b.envelopes[:n] {
		b.envelopes[i].iov.Base = nil
	}
}

func (c *Conn) startBatches() {
	c.reading, c.writing = newBatch(syscall.SYS_RECVMMSG), newBatch(sysSendmmsg)
}

// readSome waits for datagrams and reads as many as are there. It returns how many of them are no strays.
// An error leaves ds alone.
func (c *Conn) readSome(ds []transport.Datagram) (int, error) {
	b := c.reading
	if b == nil || !b.mu.TryLock() {
		return c.readOne(&ds[0]) // another goroutine reads
	}
	defer b.mu.Unlock()
	b.from, b.n = 0, min(len(ds), maxBatch)
	for i := range b.n {
		m := &b.messages[i]
		b.lend(i, ds[i].Data)
		m.Namelen = uint32(unsafe.Sizeof(b.envelopes[i].addr))
		m.SetControllen(controlRoom)
		m.Flags = 0
	}
	defer b.giveBack(b.n)
	if err := c.raw.Read(b.move); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, b.errno
	}
	n := 0
	for i := range b.moved {
		d := &ds[n]
		d.Data, ds[i].Data = ds[i].Data, d.Data
		room := d.Data
		if c.opened(d, &b.messages[i], &b.envelopes[i]); c.strays(d) {
			d.Data = room
			continue
		}
		n++
	}
	return n, nil
}

// opened fills in what has arrived.
func (c *Conn) opened(d *transport.Datagram, m *message, e *envelope) {
	var pi packetInfo
	parseControl(e.control[:min(int(m.Controllen), controlRoom)], &pi)
	*d = transport.Datagram{
		Data:      d.Data[:min(int(m.n), len(d.Data))],
		Remote:    c.sender(&e.addr),
		IfIndex:   pi.ifIndex,
		Truncated: int(m.Flags)&msgTrunc != 0,
	}
	c.setLocal(d, &pi)
}

func (c *Conn) sender(a *syscall.RawSockaddrInet6) netip.AddrPort {
	switch a.Family {
	case syscall.AF_INET:
		a := (*syscall.RawSockaddrInet4)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), hostOrder(a.Port))
	case syscall.AF_INET6:
		ip := netip.AddrFrom16(a.Addr).Unmap()
		if a.Scope_id != 0 {
			ip = ip.WithZone(c.zones.name(int(a.Scope_id)))
		}
		return netip.AddrPortFrom(ip, hostOrder(a.Port))
	}
	return netip.AddrPort{}
}

// hostOrder is a port from network byte order, or into it.
func hostOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// writeSome sends datagrams in order and returns how many have gone. The error is about the next one.
func (c *Conn) writeSome(ds []transport.Datagram) (int, error) {
	b := c.writing
	if b == nil || len(ds) == 1 || !b.mu.TryLock() {
		return c.writeEach(ds)
	}
	defer b.mu.Unlock()
	for done := 0; done < len(ds); {
		n, err := c.writeBatch(b, ds[done:min(done+maxBatch, len(ds))])
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(ds), nil
}

// writeBatch sends as many datagrams as one batch has room for.
func (c *Conn) writeBatch(b *batch, ds []transport.Datagram) (int, error) {
	var bad error // about ds[b.n]
	for b.from, b.n = 0, 0; b.n < len(ds); b.n++ {
		if bad = c.address(b, b.n, &ds[b.n]); bad != nil {
			break
		}
	}
	defer b.giveBack(b.n)
	for tries := 0; b.from < b.n; {
		if err := c.raw.Write(b.move); err != nil {
			return b.from, err
		}
		if b.errno == 0 {
			if b.from += b.moved; b.moved < b.asked {
				c.kick() // an error that was met after the first datagram is swallowed by the system
			}
			tries = 0
			continue
		}
		c.kick()
		if tries++; isPending(b.errno) && tries < writeTries {
			continue
		}
		return b.from, tooLarge(b.errno)
	}
	return b.n, bad
}

// address makes message i of a batch carry d.
func (c *Conn) address(b *batch, i int, d *transport.Datagram) error {
	to := unmap(d.Remote)
	if err := c.checkDestination(to); err != nil {
		return err
	}
	m, e := &b.messages[i], &b.envelopes[i]
	b.lend(i, d.Data)
	if c.family == inet4 {
		a := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&e.addr))
		*a = syscall.RawSockaddrInet4{Family: syscall.AF_INET, Port: hostOrder(to.Port()), Addr: to.Addr().As4()}
		m.Namelen = syscall.SizeofSockaddrInet4
	} else {
		e.addr = syscall.RawSockaddrInet6{Family: syscall.AF_INET6, Port: hostOrder(to.Port()), Addr: to.Addr().As16()}
		if zone := to.Addr().Zone(); zone != "" {
			e.addr.Scope_id = uint32(c.zones.index(zone))
		}
		m.Namelen = syscall.SizeofSockaddrInet6
	}
	control := c.appendControl(e.control[:0], to.Addr(), d.Local, d.IfIndex)
	m.SetControllen(len(control))
	m.Flags = 0
	return nil
}
