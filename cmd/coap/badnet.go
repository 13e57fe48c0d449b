package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coapkit/coap/transport"
)

// badNetwork is a transport.Conn on top of another one that loses and delays datagrams on
// purpose, in both directions. It keeps their order. Reports of undelivered datagrams are never
// lost.
type badNetwork struct {
	conn  transport.Conn
	delay time.Duration
	// lose decides about each datagram; it is called under mu.
	lose func(d *transport.Datagram, incoming bool) bool
	// watch, if not nil, is told what became of each datagram. It may be called concurrently.
	watch func(d *transport.Datagram, incoming, lost bool)

	mu             sync.Mutex
	sent, received lane
	arrived        chan transport.Datagram // waits for ReadBatch
	all, lost      atomic.Uint64           // datagrams

	closing sync.Once
	quit    chan struct{} // closed by Close
	failed  chan struct{} // closed when conn has failed, with readErr
	readErr error
	done    sync.WaitGroup
}

// laneLength is how many datagrams may be under way in one direction. More are lost.
const laneLength = 1024

// newBadNetwork puts a bad network in front of conn, which it closes in the end.
func newBadNetwork(conn transport.Conn, delay time.Duration, lose func(d *transport.Datagram, incoming bool) bool, watch func(d *transport.Datagram, incoming, lost bool)) *badNetwork {
	if watch == nil {
		watch = func(*transport.Datagram, bool, bool) {}
	}
	b := &badNetwork{
		conn: conn, delay: delay, lose: lose, watch: watch,
		sent: newLane(), received: newLane(), arrived: make(chan transport.Datagram, laneLength),
		quit: make(chan struct{}), failed: make(chan struct{}),
	}
	b.done.Go(b.receive)
	b.done.Go(func() { b.sent.run(b.quit, b.deliver) })
	b.done.Go(func() { b.received.run(b.quit, b.arrive) })
	return b
}

// randomLoss loses a share of all datagrams, from 0 to 1. The same seed loses the same ones.
func randomLoss(share float64, seed uint64) func(*transport.Datagram, bool) bool {
	random := rand.New(rand.NewPCG(seed, 0))
	return func(*transport.Datagram, bool) bool { return random.Float64() < share }
}

// counts returns how many datagrams were lost, and of how many.
func (b *badNetwork) counts() (lost, all uint64) { return b.lost.Load(), b.all.Load() }

// drops decides whether a datagram is lost, counts it, and says so.
func (b *badNetwork) drops(d *transport.Datagram, incoming bool) bool {
	b.mu.Lock()
	lost := b.lose(d, incoming)
	b.mu.Unlock()
	b.all.Add(1)
	if lost {
		b.lost.Add(1)
	}
	b.watch(d, incoming, lost)
	return lost
}

// carry puts a datagram on its way. A way that is full loses it.
func (b *badNetwork) carry(way lane, d *transport.Datagram) {
	if !way.add(copyOf(d), b.delay) {
		b.lost.Add(1)
	}
}

// WriteBatch implements transport.Conn. What fails after the delay is reported as undelivered.
func (b *badNetwork) WriteBatch(ds []transport.Datagram) (int, error) {
	for i := range ds {
		select {
		case <-b.quit:
			return i, net.ErrClosed
		default:
		}
		switch {
		case b.drops(&ds[i], false):
		case b.delay == 0:
			if _, err := b.conn.WriteBatch(ds[i : i+1]); err != nil {
				return i, err
			}
		default:
			b.carry(b.sent, &ds[i])
		}
	}
	return len(ds), nil
}

// deliver sends a datagram whose delay is over.
func (b *badNetwork) deliver(d transport.Datagram) {
	one := []transport.Datagram{d}
	if _, err := b.conn.WriteBatch(one); err != nil {
		d.Err = err
		b.arrive(d)
	}
}

// receive reads from below until that fails.
func (b *badNetwork) receive() {
	room := make([]byte, longestDatagram)
	for {
		one := []transport.Datagram{{Data: room}}
		if _, err := b.conn.ReadBatch(one); err != nil {
			b.readErr = err
			close(b.failed)
			return
		}
		if one[0].Err == nil && b.drops(&one[0], true) {
			continue
		}
		b.carry(b.received, &one[0])
	}
}

// arrive has a datagram wait for ReadBatch, if there is room.
func (b *badNetwork) arrive(d transport.Datagram) {
	select {
	case b.arrived <- d:
	default:
		b.lost.Add(1)
	}
}

// ReadBatch implements transport.Conn.
func (b *badNetwork) ReadBatch(ds []transport.Datagram) (int, error) {
	select {
	case <-b.failed:
		return 0, b.readErr
	default:
	}
	select {
	case d := <-b.arrived:
		hand(&ds[0], d)
	case <-b.failed:
		return 0, b.readErr
	}
	for n := 1; n < len(ds); n++ {
		select {
		case d := <-b.arrived:
			hand(&ds[n], d)
		default:
			return n, nil
		}
	}
	return len(ds), nil
}

// hand copies a datagram into the room that the reader offers.
func hand(to *transport.Datagram, d transport.Datagram) {
	room := to.Data
	n := copy(room, d.Data)
	d.Truncated = d.Truncated || n < len(d.Data)
	d.Data = room[:n]
	*to = d
}

// LocalAddr implements transport.Conn.
func (b *badNetwork) LocalAddr() netip.AddrPort { return b.conn.LocalAddr() }

// Join joins a group, if the socket behind the network can.
func (b *badNetwork) Join(group netip.Addr, ifIndex int) error {
	if socket, ok := b.conn.(groupSocket); ok {
		return socket.Join(group, ifIndex)
	}
	return errors.New("the socket cannot join groups")
}

// Close implements transport.Conn. What is under way is lost.
func (b *badNetwork) Close() (err error) {
	b.closing.Do(func() {
		close(b.quit)
		err = b.conn.Close()
		b.done.Wait()
	})
	return err
}

// copyOf returns a datagram that shares no memory with d.
func copyOf(d *transport.Datagram) transport.Datagram {
	c := *d
	c.Data = append([]byte(nil), d.Data...)
	return c
}

// lane is one direction of a network with delay. Each datagram takes the same time, so they stay
// in order.
type lane struct{ queue chan underWay }

type underWay struct {
	d   transport.Datagram
	due time.Time
}

func newLane() lane { return lane{make(chan underWay, laneLength)} }

// add has d arrive after a delay, if there is room for it.
func (l lane) add(d transport.Datagram, delay time.Duration) bool {
	select {
	case l.queue <- underWay{d, time.Now().Add(delay)}:
		return true
	default:
		return false
	}
}

// run delivers what is due, until quit is closed.
func (l lane) run(quit <-chan struct{}, deliver func(transport.Datagram)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case u := <-l.queue:
			timer.Reset(time.Until(u.due))
			select {
			case <-timer.C:
				deliver(u.d)
			case <-quit:
				return
			}
		case <-quit:
			return
		}
	}
}
