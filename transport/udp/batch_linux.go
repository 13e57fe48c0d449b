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

// Datagrams of one length to one peer that follow each other, as the blocks of a body do, go as one to the system, which cuts
// it apart again as late as it can (UDP_SEGMENT, Linux 4.18): such a datagram costs a fourth.
const (
	solUDP     = 17
	udpSegment = 103
	// maxSegment is the longest datagram that this is done with. A longer one may not fit the path, and the system
	// does not cut and fragment.
	maxSegment = 1232
	// maxRefusals is how often in a row the system may refuse that until it is not tried any more.
	maxRefusals = 3
)

// message is struct mmsghdr.
type message struct {
	syscall.Msghdr
	n uint32 // the length of the datagram
	_ [4]byte
}

// envelope is what belongs to a message besides its bytes.
type envelope struct {
	addr    syscall.RawSockaddrInet6 // or one of IPv4, which is shorter
	control [controlRoom]byte
}

// batch is the memory of one direction.
type batch struct {
	mu        sync.Mutex // held by whoever uses it
	messages  [maxBatch]message
	envelopes [maxBatch]envelope
	data      [maxBatch]syscall.Iovec // of the datagrams, of which a message may have several
	first     [maxBatch + 1]int       // the first datagram of each message
	refused   int                     // how often in a row several were refused as one
	number    uintptr                 // of the system call
	from, n   int                     // which messages to move
	asked     int                     // how many the system was told to
	moved     int                     // how many were
	errno     syscall.Errno           // why not
	move      func(fd uintptr) bool   // calls the system; kept, since a closure would be allocated each time
}

func newBatch(number uintptr) *batch {
	b := &batch{number: number}
	b.move = b.call
	for i := range b.messages {
		m, e := &b.messages[i], &b.envelopes[i]
		m.Name = (*byte)(unsafe.Pointer(&e.addr))
		m.Iov, m.Iovlen = &b.data[i], 1
		m.Control = &e.control[0]
	}
	return b
}

// call makes the system call, and returns false when it would have to wait.
func (b *batch) call(fd uintptr) bool {
	b.asked = b.n - b.from
	if b.number == sysSendmmsg {
		for b.asked = 1; b.from+b.asked < b.n && b.first[b.from+b.asked+1]-b.first[b.from] <= maxSend; {
			b.asked++
		}
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

// lend makes data what datagram i is read into or sent from.
func (b *batch) lend(i int, data []byte) {
	b.data[i].Base = unsafe.SliceData(data)
	b.data[i].SetLen(len(data))
}

// giveBack forgets the bytes that were lent for the first n datagrams.
func (b *batch) giveBack(n int) {
	for i := range b.data[:n] {
		b.data[i].Base = nil
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
	bad := c.pack(b, ds, 0, b.refused < maxRefusals) // about what comes after the messages
	defer b.giveBack(len(ds))
	for tries := 0; b.from < b.n; {
		if err := c.raw.Write(b.move); err != nil {
			return b.first[b.from], err
		}
		if b.errno == 0 {
			for _, m := range b.messages[b.from : b.from+b.moved] {
				if m.Iovlen > 1 {
					b.refused = 0
				}
			}
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
		if b.messages[b.from].Iovlen > 1 {
			b.refused++
			bad = c.pack(b, ds, b.first[b.from], false)
			continue
		}
		return b.first[b.from], tooLarge(b.errno)
	}
	return b.first[b.n], bad
}

// pack makes messages of the datagrams from the one with this number on. An error is about the first that is in none.
func (c *Conn) pack(b *batch, ds []transport.Datagram, from int, together bool) error {
	b.from, b.n, b.first[0] = 0, 0, from
	for i := from; i < len(ds); b.n++ {
		n := 1
		if together {
			n = run(ds[i:])
		}
		if err := c.address(b, b.n, &ds[i], i, n); err != nil {
			return err
		}
		for j := range n {
			b.lend(i+j, ds[i+j].Data)
		}
		i += n
		b.first[b.n+1] = i
	}
	return nil
}

// run returns how many datagrams, from the first on, can go as one: all as long as the first, but for the last, which may be
// shorter, to the same peer by the same way.
func run(ds []transport.Datagram) int {
	d := &ds[0]
	if len(d.Data) > maxSegment || d.Remote.Addr().IsMulticast() {
		return 1
	}
	n := 1
	for n < min(len(ds), maxSend) {
		next := &ds[n]
		if len(next.Data) == 0 || len(next.Data) > len(d.Data) || next.Remote != d.Remote || next.Local != d.Local || next.IfIndex != d.IfIndex {
			break
		}
		if n++; len(next.Data) < len(d.Data) {
			break
		}
	}
	return n
}

// address makes message i of a batch carry n datagrams like d, from the one with the number first on.
func (c *Conn) address(b *batch, i int, d *transport.Datagram, first, n int) error {
	to := unmap(d.Remote)
	if err := c.checkDestination(to); err != nil {
		return err
	}
	m, e := &b.messages[i], &b.envelopes[i]
	m.Iov = &b.data[first]
	m.Iovlen = uint64(n)
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
	if n > 1 {
		var size []byte
		control, size = appendControl(control, solUDP, udpSegment, 2)
		binary.NativeEndian.PutUint16(size, uint16(len(d.Data)))
	}
	m.SetControllen(len(control))
	m.Flags = 0
	return nil
}
