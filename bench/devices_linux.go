package main

import (
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// deviceList is many devices at one socket, each at an address of its own, for a client to talk to.
type deviceList struct {
	p       *packets
	hold    int            // answer nobody before as many have been asked
	waiting map[uint32]ask // by device
	answers []byte
}

// ask is a request that waits for its answer.
type ask struct {
	from   unix.RawSockaddrInet4
	header [12]byte
	length int
}

// deviceAddr returns the address of device i.
func deviceAddr(port uint16, i int) netip.AddrPort {
	n := 127<<24 | 128<<16 | uint32(i)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), port)
}

// serveDevices answers every request with 2.05 and a text until its parent ends.
func serveDevices(t serveTask) error {
	p, err := openPackets()
	if err != nil {
		return err
	}
	d := &deviceList{p: p, hold: t.Hold, waiting: map[uint32]ask{}, answers: append([]byte{0xC0, 0xFF}, shortText...)}
	announce(deviceAddr(p.port(), 0))
	go untilParentEnds()
	runtime.LockOSThread()
	for {
		n, err := p.receive()
		if err != nil {
			return err
		}
		if n == 0 {
			p.wait(100)
		}
		for i := range n {
			b, at := p.received(i)
			d.asked(b, at, &p.in.peers[i])
		}
		if err := p.flush(); err != nil {
			return err
		}
		if d.hold > 0 && len(d.waiting) >= d.hold {
			if err := d.release(); err != nil {
				return err
			}
		}
	}
}

func (d *deviceList) asked(b []byte, at uint32, from *unix.RawSockaddrInet4) {
	if len(b) < 4 || b[1] == 0 || b[0]&15 > 8 || len(b) < 4+int(b[0]&15) {
		return
	}
	a := ask{from: *from, length: 4 + int(b[0]&15)}
	copy(a.header[:], b[:a.length])
	if d.hold > 0 {
		d.waiting[at] = a
		return
	}
	d.answer(at, &a)
}

func (d *deviceList) answer(at uint32, a *ask) {
	to := d.p.next(at, &a.from)
	b := append(to[:0], a.header[:a.length]...)
	b[0], b[1] = 0x60|b[0]&15, 0x45
	d.p.queue(len(append(b, d.answers...)))
	if d.p.n == batchLen {
		_ = d.p.flush()
	}
}

// release answers all that wait, no faster than a client can take it, and whoever asks again.
func (d *deviceList) release() error {
	d.hold = 0
	for at, a := range d.waiting {
		d.answer(at, &a)
		if d.p.n == 0 {
			time.Sleep(500 * time.Microsecond)
		}
	}
	d.waiting = nil
	return d.p.flush()
}
