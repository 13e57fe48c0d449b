package dtls

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/coapkit/coap/transport"
)

// maxPiped is how many datagrams may wait for a handshake.
const maxPiped = 32

// maxLater is how many bytes may wait for the session that comes of a handshake: more than clients send before they have an answer.
const maxLater = 16 << 10

// pipe is the net.PacketConn that the library of the handshake reads and writes. It knows what the library is at, and can be cut
// off from the network, so that nothing leaves any more under keys that have found another owner.
type pipe struct {
	conn    *Conn
	remote  netip.AddrPort
	local   netip.AddrPort
	ifIndex int
	onWrite func(b []byte) (_ []byte, again bool) // sees what is sent, may change it, and says whether it was sent before

	mu      sync.Mutex
	changed sync.Cond
	inbox   [][]byte
	later   [][]byte // not for the library
	waits   int      // the length of it all
	cut     bool     // nothing goes in or out any more
	closed  bool
	expired bool     // the read deadline has passed
	parked  bool     // the library waits for a datagram
	working bool     // it has a place among those that compute
	flight  [][]byte // what was sent since the last datagram was read
}

func newPipe(c *Conn, d *transport.Datagram) *pipe {
	p := &pipe{conn: c, remote: d.Remote, local: d.Local, ifIndex: d.IfIndex}
	p.changed.L = &p.mu
	return p
}

// deliver puts a datagram into the pipe, which keeps it. It reports false if there is no room.
func (p *pipe) deliver(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.inbox) >= maxPiped {
		return false
	}
	p.inbox = append(p.inbox, b)
	p.changed.Broadcast()
	return true
}

// deliverLater keeps a datagram that is not for the library. It reports false if there is no room.
func (p *pipe) deliverLater(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits+len(b) > maxLater {
		return false
	}
	p.waits += len(b)
	p.later = append(p.later, b)
	return true
}

// ReadFrom takes a place to compute, since that follows, and gives the last one back.
func (p *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	p.rest()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for !p.closed && !p.expired && (p.cut || len(p.inbox) == 0) {
			p.parked = true
			p.changed.Broadcast()
			p.changed.Wait()
		}
		p.parked = false
		switch {
		case p.closed:
			return 0, nil, net.ErrClosed
		case p.expired:
			return 0, nil, os.ErrDeadlineExceeded
		case p.working:
			data := p.inbox[0]
			p.inbox = p.inbox[1:]
			p.flight = nil
			return copy(b, data), net.UDPAddrFromAddrPort(p.remote), nil
		}
		p.mu.Unlock()
		took := false
		select {
		case p.conn.work <- struct{}{}:
			took = true
		case <-p.conn.ctx.Done():
		}
		p.mu.Lock()
		if p.working = took; !took {
			return 0, nil, net.ErrClosed
		}
	}
}

// rest gives back the place to compute, if there is one.
func (p *pipe) rest() {
	p.mu.Lock()
	working := p.working
	p.working = false
	p.mu.Unlock()
	if working {
		<-p.conn.work
	}
}

// WriteTo sends a datagram to the one peer that there is.
func (p *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return len(b), nil
	}
	n := len(b)
	b, again := p.onWrite(b)
	b = bytes.Clone(b)
	for len(b) > 0 {
		one := b
		if _, rest, ok := nextRecord(b, 0); again && ok {
			// Perhaps it was too much at once (RFC 6347 section 4.1.1.1). And there are those that read no more than the
			// first record of a datagram that they have had already.
			one = b[:len(b)-len(rest)]
		}
		b = b[len(one):]
		if len(p.flight) < maxPiped {
			p.flight = append(p.flight, one)
		}
		// The lock is held, so that nothing leaves after the pipe was cut.
		if _, err := p.conn.inner.WriteBatch([]transport.Datagram{{Data: one, Remote: p.remote, Local: p.local, IfIndex: p.ifIndex}}); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// detach cuts the pipe and waits until the library has dealt with all that it has read. It returns the last flight that was sent.
func (p *pipe) detach() (flight [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for !p.parked && !p.closed {
		p.changed.Wait()
	}
	return p.flight
}

// sentThis reports whether b is the beginning of something that was sent in the flight.
func (p *pipe) sentThis(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sent := range p.flight {
		if len(b) >= headerSize+quoted && bytes.HasPrefix(sent, b) {
			return true
		}
	}
	return false
}

// left returns what has come and was not read.
func (p *pipe) left() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := append(p.inbox, p.later...)
	p.inbox, p.later, p.waits = nil, nil, 0
	return left
}

// Close ends reading. The transport below stays open.
func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed.Broadcast()
	return nil
}

func (p *pipe) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(p.conn.inner.LocalAddr()) }

// SetReadDeadline is called with a time long past, to end a ReadFrom, or the zero time.
func (p *pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expired = !t.IsZero()
	p.changed.Broadcast()
	return nil
}

func (p *pipe) SetWriteDeadline(time.Time) error { return nil } // writing does not wait
func (p *pipe) SetDeadline(t time.Time) error    { return p.SetReadDeadline(t) }
