package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/coapkit/coap/transport"
)

// crowd is a transport for many clients of one server, each with an address of its own, at one socket. It is turned around:
// the remote address of a datagram says which client it is of, and the other end is always the server. So one dtls.Conn can have a session
// of its own for each client. It never sleeps, so that the server does not pay for waking it up.
type crowd struct {
	p      *packets
	to     unix.RawSockaddrInet4
	closed atomic.Bool

	in, taken int // datagrams that were received, and those of them that were handed on

	// What is let through, so that handshakes stay unfinished; nil for all. They are set before anything else is done.
	sends, receives func(b []byte) bool

	mu   sync.Mutex // guards what is sent
	sent int        // datagrams
}

func openCrowd(server netip.AddrPort) (*crowd, error) {
	p, err := openPackets()
	if err != nil {
		return nil, err
	}
	return &crowd{p: p, to: *sockaddr(server)}, nil
}

// member returns the address that stands for client i.
func member(i int) netip.AddrPort {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 127<<24|64<<16|uint32(i)&(1<<22-1))
	return netip.AddrPortFrom(netip.AddrFrom4(b), 5684)
}

func (c *crowd) ReadBatch(ds []transport.Datagram) (n int, err error) {
	for n == 0 {
		if c.taken == c.in {
			if c.in, err = c.p.receive(); err != nil {
				return 0, err
			}
			if c.taken = 0; c.in == 0 {
				runtime.Gosched()
			}
		}
		if c.closed.Load() {
			return 0, net.ErrClosed
		}
		for n < len(ds) && c.taken < c.in {
			b, at := c.p.received(c.taken)
			c.taken++
			if c.receives != nil && !c.receives(b) {
				continue
			}
			ds[n] = transport.Datagram{Data: ds[n].Data[:copy(ds[n].Data, b)], Remote: member(int(at))}
			n++
		}
	}
	return n, nil
}

func (c *crowd) WriteBatch(ds []transport.Datagram) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	for i := range ds {
		if c.sends != nil && !c.sends(ds[i].Data) {
			continue
		}
		who := ds[i].Remote.Addr().As4()
		room := c.p.next(binary.BigEndian.Uint32(who[:]), &c.to)
		c.p.queue(copy(room[:], ds[i].Data))
		c.sent++
		if c.p.n == batchLen || i == len(ds)-1 {
			if err := c.p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(ds), c.p.flush()
}

func (c *crowd) LocalAddr() netip.AddrPort { return member(0) }

// Close ends ReadBatch, and nothing more is sent. The socket stays until the process ends.
func (c *crowd) Close() error {
	c.closed.Store(true)
	return nil
}

// sentSoFar returns how many datagrams have left.
func (c *crowd) sentSoFar() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}
