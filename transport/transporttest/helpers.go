package transporttest

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/coapkit/coap/transport"
)

// pair opens two Conns that are closed when the test ends.
func (s suite) pair(t *testing.T) (a, b transport.Conn) {
	t.Helper()
	a, b = s.open(t)
	closeAfter(t, a, b)
	return a, b
}

func closeAfter(t *testing.T, conns ...transport.Conn) {
	t.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})
}

// send sends one datagram and expects that to work.
func send(t *testing.T, c transport.Conn, to netip.AddrPort, data []byte) {
	t.Helper()
	n, err := c.WriteBatch([]transport.Datagram{{Data: data, Remote: to}})
	expectNoError(t, err, "sending %d bytes to %v", len(data), to)
	expectEqual(t, 1, n, "datagrams taken care of")
}

// room offers space for n datagrams of the given size.
func room(n, size int) []transport.Datagram {
	ds := make([]transport.Datagram, n)
	for i := range ds {
		ds[i].Data = make([]byte, size)
	}
	return ds
}

// batch is what a call of ReadBatch returned.
type batch struct {
	ds  []transport.Datagram
	err error
}

// start calls ReadBatch on another goroutine, which ends when c is closed at the latest.
func start(c transport.Conn, ds []transport.Datagram) <-chan batch {
	done := make(chan batch, 1)
	go func() {
		n, err := c.ReadBatch(ds)
		if n < 0 || n > len(ds) {
			n = 0
		}
		done <- batch{ds[:n], err}
	}()
	return done
}

// await returns what start promised, and fails the test when it takes too long.
func (s suite) await(t *testing.T, c transport.Conn, done <-chan batch) batch {
	t.Helper()
	timeout := time.NewTimer(s.opts.Timeout)
	defer timeout.Stop()
	select {
	case b := <-done:
		return b
	case <-timeout.C:
	}
	_ = c.Close()
	t.Fatalf("ReadBatch: nothing within %v", s.opts.Timeout)
	return batch{}
}

// readInto returns the next datagrams, undelivered reports included.
func (s suite) readInto(t *testing.T, c transport.Conn, ds []transport.Datagram) []transport.Datagram {
	t.Helper()
	b := s.await(t, c, start(c, ds))
	expectNoError(t, b.err, "ReadBatch")
	expect(t, len(b.ds) > 0, "ReadBatch returned nothing and no error")
	return b.ds
}

// read returns the next n datagrams.
func (s suite) read(t *testing.T, c transport.Conn, n int) []transport.Datagram {
	t.Helper()
	var got []transport.Datagram
	for len(got) < n {
		got = append(got, s.readInto(t, c, room(n-len(got), 65536))...)
	}
	for _, d := range got {
		expectNoError(t, d.Err, "an undelivered report about %v instead of a datagram", d.Remote)
	}
	return got
}

// payload is n bytes that differ from those of another seed.
func payload(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func scribble(b []byte) { copy(b, bytes.Repeat([]byte{0xAA}, len(b))) }
