package transporttest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"github.com/coapkit/coap/transport"
)

func (s suite) testAddresses(t *testing.T) {
	a, b := s.pair(t)
	for _, c := range []transport.Conn{a, b} {
		local := c.LocalAddr()
		expect(t, local.Addr().IsValid(), "LocalAddr %v", local)
		expect(t, !local.Addr().IsUnspecified(), "LocalAddr %v: the suite needs one address", local)
		expect(t, !local.Addr().Is4In6(), "LocalAddr %v is IPv4-mapped", local)
		expect(t, local.Port() != 0, "LocalAddr %v: no port", local)
	}
	expect(t, a.LocalAddr() != b.LocalAddr(), "both Conns are bound to %v", a.LocalAddr())

	send(t, a, b.LocalAddr(), []byte("who am I"))
	d := s.read(t, b, 1)[0]
	expectEqual(t, a.LocalAddr(), d.Remote, "source")
	expect(t, !d.Group.IsValid(), "Group %v of a unicast datagram", d.Group)
	if d.Local.Addr().IsValid() {
		expectEqual(t, b.LocalAddr(), d.Local, "destination")
	}
	expect(t, d.IfIndex >= 0, "IfIndex %d", d.IfIndex)

	// The received addresses are good for an answer as they are.
	_, err := b.WriteBatch([]transport.Datagram{{
		Data: []byte("you"), Remote: d.Remote, Local: d.Local, IfIndex: d.IfIndex, Session: d.Session,
	}})
	expectNoError(t, err, "replying")
	reply := s.read(t, a, 1)[0]
	expectEqual(t, "you", string(reply.Data), "reply")
	expectEqual(t, b.LocalAddr(), reply.Remote, "source of the reply")
}

func (s suite) testBoundaries(t *testing.T) {
	a, b := s.pair(t)
	sent := [][]byte{[]byte("one"), {}, []byte("three"), payload(4, 600), {}, []byte("6")}
	var ds []transport.Datagram
	for _, data := range sent {
		ds = append(ds, transport.Datagram{Data: data, Remote: b.LocalAddr()})
	}
	n, err := a.WriteBatch(ds)
	expectNoError(t, err, "a batch of %d", len(ds))
	expectEqual(t, len(ds), n, "datagrams taken care of")
	n, err = a.WriteBatch(nil)
	expectNoError(t, err, "an empty batch")
	expectEqual(t, 0, n, "an empty batch")

	got := s.read(t, b, len(sent))
	for i, d := range got {
		expect(t, bytes.Equal(sent[i], d.Data), "datagram %d: got %d bytes, want %d",
			i, len(d.Data), len(sent[i]))
		expect(t, !d.Truncated, "datagram %d: Truncated", i)
	}
}

func (s suite) testSizes(t *testing.T) {
	a, b := s.pair(t)
	for _, size := range []int{0, 1, 4, 1024, 1152, 1280, 1472, 9000, s.opts.MaxSize} {
		if size > s.opts.MaxSize {
			continue
		}
		want := payload(1, size)
		send(t, a, b.LocalAddr(), want)
		ds := room(1, max(size, 1)) // exactly enough
		got := s.readInto(t, b, ds)[0]
		expectNoError(t, got.Err, "size %d", size)
		expect(t, bytes.Equal(want, got.Data), "size %d: got %d bytes, or others", size, len(got.Data))
		expect(t, !got.Truncated, "size %d: Truncated", size)
	}
}

func (s suite) testOverwrite(t *testing.T) {
	a, b := s.pair(t)
	send(t, a, b.LocalAddr(), []byte("fresh"))
	rubbish := netip.MustParseAddrPort("[2001:db8::bad]:9")
	ds := room(1, 100)
	ds[0] = transport.Datagram{
		Data: ds[0].Data, Remote: rubbish, Local: rubbish, Group: rubbish.Addr(), IfIndex: 1 << 30,
		Session: &transport.Session{}, Truncated: true, Err: errors.New("stale"),
	}
	stale := ds[0]
	got := s.readInto(t, b, ds)[0]
	expectEqual(t, "fresh", string(got.Data), "Data")
	expectNoError(t, got.Err, "Err")
	expect(t, !got.Truncated, "Truncated")
	expect(t, got.Remote != stale.Remote, "Remote is what was there before")
	expect(t, got.Local != stale.Local, "Local is what was there before")
	expect(t, got.Group != stale.Group, "Group is what was there before")
	expect(t, got.IfIndex != stale.IfIndex, "IfIndex is what was there before")
	expect(t, got.Session != stale.Session, "Session is what was there before")
}

// The bytes belong to the caller again as soon as a call has returned: what it does with them then
// must not change what is delivered, and they must not change any more.
func (s suite) testRetention(t *testing.T) {
	a, b := s.pair(t)
	const rounds = 8
	buf := make([]byte, 64)
	for i := range rounds {
		copy(buf, payload(uint64(i), len(buf)))
		send(t, a, b.LocalAddr(), buf)
		scribble(buf)
	}
	var earlier [][]byte
	for i := range rounds {
		ds := room(1, 64)
		got := s.readInto(t, b, ds)[0]
		expect(t, bytes.Equal(payload(uint64(i), 64), got.Data),
			"datagram %d changed with the sender's buffer", i)
		expect(t, &ds[0].Data[0] == &got.Data[0], "Data is not in the room offered")
		scribble(got.Data)
		earlier = append(earlier, got.Data)
	}
	for i, data := range earlier {
		expect(t, bytes.Equal(bytes.Repeat([]byte{0xAA}, 64), data), "buffer %d was written to later", i)
	}
}

func (s suite) testTruncation(t *testing.T) {
	if s.opts.NoTruncation {
		t.Skip("Options.NoTruncation")
	}
	a, b := s.pair(t)
	want := payload(1, 100)
	for _, size := range []int{99, 1, 100} {
		send(t, a, b.LocalAddr(), want)
		d := s.readInto(t, b, room(1, size))[0]
		expect(t, bytes.Equal(want[:size], d.Data), "room %d: got %d bytes", size, len(d.Data))
		expectEqual(t, size < len(want), d.Truncated, "room %d: Truncated", size)
		expectEqual(t, a.LocalAddr(), d.Remote, "room %d", size)
	}
}

func (s suite) testTooLarge(t *testing.T) {
	if s.opts.TooLarge < 0 {
		t.Skip("Options.TooLarge")
	}
	a, b := s.pair(t)
	to := b.LocalAddr()
	ds := []transport.Datagram{
		{Data: []byte("before"), Remote: to},
		{Data: make([]byte, s.opts.TooLarge), Remote: to},
		{Data: []byte("after"), Remote: to},
	}
	n, err := a.WriteBatch(ds)
	expectErrorIs(t, err, transport.ErrTooLarge, "%d bytes", s.opts.TooLarge)
	expectEqual(t, 1, n, "index of the datagram that the error is about")
	n, err = a.WriteBatch(ds[n+1:])
	expectNoError(t, err, "the rest of the batch")
	expectEqual(t, 1, n, "the rest of the batch")
	got := s.read(t, b, 2)
	expectEqual(t, "before", string(got[0].Data), "first datagram")
	expectEqual(t, "after", string(got[1].Data), "second datagram")
}

const (
	writers   = 8
	perWriter = 8
)

// expectAll expects each of the numbered datagrams once.
func expectAll(t *testing.T, ds []transport.Datagram) {
	t.Helper()
	seen := make([]bool, writers*perWriter)
	for _, d := range ds {
		expectNoError(t, d.Err, "Err")
		expectEqual(t, 300, len(d.Data), "size")
		i := int(binary.BigEndian.Uint32(d.Data))
		expect(t, i < len(seen) && bytes.Equal(numbered(i), d.Data), "datagram %d is mixed up", i)
		expect(t, !seen[i], "datagram %d came twice", i)
		seen[i] = true
	}
	expectEqual(t, len(seen), len(ds), "datagrams")
}

// numbered is 300 bytes that begin with a number.
func numbered(i int) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(i)), payload(uint64(i), 296)...)
}

// writeNumbered sends writers*perWriter numbered datagrams from as many goroutines.
func writeNumbered(t *testing.T, c transport.Conn, to netip.AddrPort) {
	t.Helper()
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var ds []transport.Datagram
			for i := range perWriter {
				ds = append(ds, transport.Datagram{Data: numbered(w*perWriter + i), Remote: to})
			}
			_, errs[w] = c.WriteBatch(ds)
		})
	}
	wg.Wait()
	expectNoError(t, errors.Join(errs...), "WriteBatch")
}

func (s suite) testConcurrentWriters(t *testing.T) {
	a, b := s.pair(t)
	writeNumbered(t, a, b.LocalAddr())
	got := s.read(t, b, writers*perWriter)
	expectAll(t, got)
}

func (s suite) testConcurrentReaders(t *testing.T) {
	a, b := s.pair(t)
	const readers = 4
	batches := make(chan batch, readers)
	read := func() {
		ds := room(3, 400)
		n, err := b.ReadBatch(ds)
		batches <- batch{ds[:max(n, 0)], err}
	}
	for range readers {
		go read()
	}
	writeNumbered(t, a, b.LocalAddr())
	var got []transport.Datagram
	for len(got) < writers*perWriter {
		next := s.await(t, b, batches)
		expectNoError(t, next.err, "ReadBatch")
		got = append(got, next.ds...)
		go read()
	}
	expectAll(t, got)
	expectNoError(t, b.Close(), "Close")
	for range readers {
		expectErrorIs(t, s.await(t, b, batches).err, net.ErrClosed, "ReadBatch")
	}
}

func (s suite) testLocalAddress(t *testing.T) {
	if s.opts.OpenMultihomed == nil {
		t.Skip("no Options.OpenMultihomed")
	}
	c, peer, addrs := s.opts.OpenMultihomed(t)
	closeAfter(t, c, peer)
	expect(t, len(addrs) >= 2, "OpenMultihomed: %d addresses, want at least 2", len(addrs))
	for _, asked := range addrs {
		send(t, peer, asked, []byte("to "+asked.String()))
		d := s.read(t, c, 1)[0]
		expectEqual(t, asked, d.Local, "Local: the address that was asked")
		_, err := c.WriteBatch([]transport.Datagram{{
			Data: []byte("reply"), Remote: d.Remote, Local: d.Local, IfIndex: d.IfIndex,
		}})
		expectNoError(t, err, "replying from %v", asked)
		expectEqual(t, asked, s.read(t, peer, 1)[0].Remote, "the reply's source is the address that was asked")
	}
	// An unknown Local is no reason not to send.
	for _, local := range []netip.AddrPort{{}, netip.AddrPortFrom(netip.Addr{}, addrs[0].Port())} {
		_, err := c.WriteBatch([]transport.Datagram{{Data: []byte("x"), Remote: peer.LocalAddr(), Local: local}})
		expectNoError(t, err, "Local %v", local)
		s.read(t, peer, 1)
	}
}

// dead is an address that nobody listens to.
func (s suite) dead(t *testing.T) netip.AddrPort {
	t.Helper()
	if s.opts.Dead.IsValid() {
		return s.opts.Dead
	}
	c, other := s.open(t)
	expectNoError(t, c.Close(), "Close")
	expectNoError(t, other.Close(), "Close")
	return c.LocalAddr()
}

// One destination that cannot be reached disturbs neither the others nor reception.
func (s suite) testUndelivered(t *testing.T) {
	a, b := s.pair(t)
	dead := s.dead(t)
	const rounds = 20
	for range rounds {
		n, err := a.WriteBatch([]transport.Datagram{
			{Data: []byte("to nobody"), Remote: dead},
			{Data: []byte("to b"), Remote: b.LocalAddr()},
			{Data: []byte("to nobody"), Remote: dead},
		})
		expectNoError(t, err, "sending to %v must not fail because of %v", b.LocalAddr(), dead)
		expectEqual(t, 3, n, "datagrams taken care of")
		expectEqual(t, "to b", string(s.read(t, b, 1)[0].Data), "b received")
		send(t, b, a.LocalAddr(), []byte("to a"))
	}
	reports, received := 0, 0
	for received < rounds || reports == 0 && !s.opts.NoErrors {
		for _, d := range s.readInto(t, a, room(4, 1500)) {
			if d.Err == nil {
				expectEqual(t, "to a", string(d.Data), "a received")
				received++
				continue
			}
			reports++
			checkReport(t, d, dead)
		}
	}
	send(t, b, a.LocalAddr(), []byte("still there?"))
	for {
		for _, d := range s.readInto(t, a, room(4, 1500)) {
			if d.Err == nil {
				expectEqual(t, "still there?", string(d.Data), "a received")
				return
			}
		}
	}
}

func checkReport(t *testing.T, d transport.Datagram, dead netip.AddrPort) {
	t.Helper()
	expectEqual(t, dead, d.Remote, "Remote of a report: the destination")
	expect(t, bytes.HasPrefix([]byte("to nobody"), d.Data), "quoted %q", d.Data)
	expect(t, !d.Group.IsValid(), "Group %v of a report", d.Group)
	var errno syscall.Errno
	expect(t, errors.As(d.Err, &errno), "report %v does not match a syscall.Errno", d.Err)
}

func (s suite) testCloseEndsReads(t *testing.T) {
	a, _ := s.pair(t)
	// Whether the reads have begun to wait when Close comes is not certain, and must not
	// matter.
	var waiting []<-chan batch
	for range 3 {
		waiting = append(waiting, start(a, room(2, 100)))
	}
	expectNoError(t, a.Close(), "Close")
	for _, done := range waiting {
		got := s.await(t, a, done)
		expectErrorIs(t, got.err, net.ErrClosed, "ReadBatch")
		expectEqual(t, 0, len(got.ds), "datagrams together with an error")
	}
}

func (s suite) testCloseTwice(t *testing.T) {
	a, _ := s.pair(t)
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = a.Close() })
	}
	wg.Wait()
	expectNoError(t, errors.Join(errs...), "closing at the same time")
	expectNoError(t, a.Close(), "Close")
}

func (s suite) testUseAfterClose(t *testing.T) {
	a, b := s.pair(t)
	local := a.LocalAddr()
	expectNoError(t, a.Close(), "Close")
	n, err := a.WriteBatch([]transport.Datagram{{Data: []byte("x"), Remote: b.LocalAddr()}})
	expectErrorIs(t, err, net.ErrClosed, "WriteBatch")
	expectEqual(t, 0, n, "WriteBatch")
	n, err = a.ReadBatch(room(1, 10))
	expectErrorIs(t, err, net.ErrClosed, "ReadBatch")
	expectEqual(t, 0, n, "ReadBatch")
	expectEqual(t, local, a.LocalAddr(), "LocalAddr after Close")
}
