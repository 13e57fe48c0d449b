package mem_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
	"github.com/coapkit/coap/transport/transporttest"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
func ip(s string) netip.Addr     { return netip.MustParseAddr(s) }

type listener interface {
	Listen(netip.AddrPort) (*mem.Conn, error)
}

func listen(t testing.TB, l listener, at netip.AddrPort) *mem.Conn {
	t.Helper()
	c, err := l.Listen(at)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// pair is a network with two Conns.
func pair(t testing.TB, cfg mem.Config) (n *mem.Network, a, b *mem.Conn) {
	t.Helper()
	n = mem.NewNetwork(cfg)
	t.Cleanup(func() { n.Close() })
	return n, listen(t, n, ap("192.0.2.1:5683")), listen(t, n, ap("192.0.2.2:5683"))
}

func send(t testing.TB, c *mem.Conn, to netip.AddrPort, data ...string) {
	t.Helper()
	for _, s := range data {
		_, err := c.WriteBatch([]transport.Datagram{{Data: []byte(s), Remote: to}})
		require.NoError(t, err)
	}
}

// receive returns the next datagram, once it is there.
func receive(t testing.TB, c *mem.Conn) transport.Datagram {
	t.Helper()
	ds := []transport.Datagram{{Data: make([]byte, 2000)}}
	n, err := c.ReadBatch(ds)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	return ds[0]
}

func want(t testing.TB, c *mem.Conn, data ...string) {
	t.Helper()
	for _, s := range data {
		d := receive(t, c)
		require.NoError(t, d.Err)
		require.Equal(t, s, string(d.Data))
	}
}

// drain returns what is in the queue after all timers of the bubble have run for a while.
func drain(t testing.TB, c *mem.Conn) (got []string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			ds := []transport.Datagram{{Data: make([]byte, 2000)}, {Data: make([]byte, 2000)}}
			n, err := c.ReadBatch(ds)
			if err != nil {
				return
			}
			for _, d := range ds[:n] {
				got = append(got, string(d.Data))
			}
		}
	}()
	<-time.After(time.Hour)
	synctest.Wait()
	c.Close()
	<-done
	return got
}

func wantIdle(t testing.TB, c *mem.Conn) {
	t.Helper()
	require.Empty(t, drain(t, c))
}

func TestConformance(t *testing.T) {
	for name, cfg := range map[string]mem.Config{
		"immediate": {},
		"delayed":   {Delay: time.Second},
	} {
		for _, addrs := range [][]string{
			{"192.0.2.1", "192.0.2.2", "192.0.2.3"},
			{"2001:db8::1", "2001:db8::2", "192.0.2.3"},
		} {
			t.Run(name+" "+addrs[0], func(t *testing.T) {
				transporttest.TestConn(t, func(t *testing.T) (a, b transport.Conn) {
					n := mem.NewNetwork(cfg)
					// A new network each: whatever is sent across is sent to nobody.
					return listen(t, n, netip.AddrPortFrom(ip(addrs[0]), 0)), listen(t, n, netip.AddrPortFrom(ip(addrs[1]), 0))
				}, transporttest.Options{
					Run:  synctest.Test,
					Dead: netip.AddrPortFrom(ip(addrs[1]), 9),
					OpenMultihomed: func(t *testing.T) (c, peer transport.Conn, at []netip.AddrPort) {
						n := mem.NewNetwork(cfg)
						h, err := n.Host(mem.Interface{Addrs: []netip.Addr{ip(addrs[0])}},
							mem.Interface{Addrs: []netip.Addr{ip("10.0.0.1"), ip("2001:db8::99")}})
						require.NoError(t, err)
						wild := listen(t, h, netip.AddrPortFrom(netip.Addr{}, 5683))
						other := "10.0.0.1"
						if ip(addrs[0]).Is6() {
							other = "2001:db8::99"
						}
						return wild, listen(t, n, netip.AddrPortFrom(ip(addrs[1]), 0)),
							[]netip.AddrPort{netip.AddrPortFrom(ip(addrs[0]), 5683), netip.AddrPortFrom(ip(other), 5683)}
					},
				})
			})
		}
	}
}

func TestLoss(t *testing.T) {
	n, a, b := pair(t, mem.Config{Loss: 0.25})
	const sent = 1000
	for range sent {
		send(t, a, b.LocalAddr(), "x")
	}
	s := n.Stats()
	require.EqualValues(t, sent, s.Sent)
	require.EqualValues(t, sent, s.Delivered+s.Lost)
	require.InDelta(t, sent/4, s.Lost, sent/20)

	cfg := n.Config()
	cfg.Loss = 1
	n.SetConfig(cfg)
	before := n.Stats().Delivered
	send(t, a, b.LocalAddr(), "x", "y", "z")
	require.Equal(t, before, n.Stats().Delivered)
}

func TestDuplicate(t *testing.T) {
	n, a, b := pair(t, mem.Config{Duplicate: 1})
	send(t, a, b.LocalAddr(), "one", "two")
	want(t, b, "one", "one", "two", "two")
	require.Equal(t, mem.Stats{Sent: 2, Delivered: 4, Duplicated: 2}, n.Stats())
}

func TestCorrupt(t *testing.T) {
	n, a, b := pair(t, mem.Config{Corrupt: 1})
	send(t, a, b.LocalAddr(), "same", "")
	got := receive(t, b).Data
	bits := 0
	for i := range got {
		for x := got[i] ^ "same"[i]; x != 0; x &= x - 1 {
			bits++
		}
	}
	require.Equal(t, 1, bits, "one bit")
	want(t, b, "")
	require.EqualValues(t, 1, n.Stats().Corrupted)
}

func TestDelay(t *testing.T) { synctest.Test(t, testDelay) }
func testDelay(t *testing.T) {
	_, a, b := pair(t, mem.Config{Delay: 3 * time.Second, Jitter: 2 * time.Second})
	for range 50 {
		start := time.Now()
		send(t, a, b.LocalAddr(), "x")
		want(t, b, "x")
		took := time.Since(start)
		require.GreaterOrEqual(t, took, 3*time.Second)
		require.LessOrEqual(t, took, 5*time.Second)
	}
}

// What was sent at the same time and is delayed alike arrives in order.
func TestDelayKeepsOrder(t *testing.T) { synctest.Test(t, testDelayKeepsOrder) }
func testDelayKeepsOrder(t *testing.T) {
	_, a, b := pair(t, mem.Config{Delay: time.Second})
	var all []string
	for i := range 100 {
		all = append(all, fmt.Sprint(i))
	}
	send(t, a, b.LocalAddr(), all...)
	want(t, b, all...)
}

func TestReorder(t *testing.T) { synctest.Test(t, testReorder) }
func testReorder(t *testing.T) {
	n, a, b := pair(t, mem.Config{Reorder: 1, ReorderBy: time.Second})
	send(t, a, b.LocalAddr(), "first")
	n.SetConfig(mem.Config{})
	send(t, a, b.LocalAddr(), "second")
	want(t, b, "second", "first")
	require.EqualValues(t, 1, n.Stats().Reordered)
}

func TestSameSeedSameFaults(t *testing.T) { synctest.Test(t, testSameSeedSameFaults) }
func testSameSeedSameFaults(t *testing.T) {
	run := func(cfg mem.Config) ([]string, mem.Stats) {
		n, a, b := pair(t, cfg)
		for i := range 200 {
			send(t, a, b.LocalAddr(), fmt.Sprint(i))
		}
		return drain(t, b), n.Stats()
	}
	cfg := mem.Config{
		Seed: 7, Loss: .1, Duplicate: .1, Corrupt: .1, Reorder: .2, Delay: time.Second, Jitter: time.Second,
	}
	got1, stats1 := run(cfg)
	got2, stats2 := run(cfg)
	require.Empty(t, cmp.Diff(got1, got2))
	require.Equal(t, stats1, stats2)
	require.EqualValues(t, len(got1), stats1.Sent+stats1.Duplicated-stats1.Lost)

	other := cfg
	other.Seed = 8
	got3, _ := run(other)
	require.NotEqual(t, got1, got3)

	// Without duplicates the same datagrams are lost.
	other = cfg
	other.Duplicate = 0
	_, stats4 := run(other)
	require.Equal(t, stats1.Lost, stats4.Lost)
}

// Drop the second of a kind, and other things that a script can do.
func TestFilter(t *testing.T) { synctest.Test(t, testFilter) }
func testFilter(t *testing.T) {
	seen := map[string]int{}
	n, a, b := pair(t, mem.Config{Filter: func(p *mem.Packet) mem.Verdict {
		s := string(p.Data)
		seen[s]++
		require.Equal(t, ap("192.0.2.1:5683"), p.Src)
		require.Equal(t, ap("192.0.2.2:5683"), p.Dst)
		switch s {
		case "ack":
			return mem.Verdict{Drop: seen[s] == 2}
		case "late":
			return mem.Verdict{Delay: time.Minute}
		case "thrice":
			return mem.Verdict{Copies: 2}
		case "flip":
			return mem.Verdict{Corrupt: true}
		case "error":
			return mem.Verdict{Err: syscall.EHOSTUNREACH}
		case "edit":
			p.Data[0] = 'E'
		case "replace":
			p.Data = []byte("something longer than that")
		}
		return mem.Verdict{}
	}})
	send(t, a, b.LocalAddr(), "ack", "late", "ack", "ack", "thrice", "edit", "replace", "error", "flip")
	want(t, b, "ack", "ack", "thrice", "thrice", "thrice", "Edit", "something longer than that")
	require.NotEqual(t, "flip", string(receive(t, b).Data))
	start := time.Now()
	want(t, b, "late")
	require.Equal(t, time.Minute, time.Since(start))
	report := receive(t, a)
	require.Equal(t, syscall.EHOSTUNREACH, report.Err)
	require.Equal(t, "error", string(report.Data))
	require.Equal(t, mem.Stats{Sent: 9, Delivered: 9, Duplicated: 2, Corrupted: 1, Filtered: 2}, n.Stats())
}

func TestFilterMayReconfigure(t *testing.T) {
	var n *mem.Network
	n, a, b := pair(t, mem.Config{})
	n.SetConfig(mem.Config{Filter: func(*mem.Packet) mem.Verdict {
		n.SetConfig(mem.Config{Loss: 1})
		return mem.Verdict{}
	}})
	send(t, a, b.LocalAddr(), "x")
	require.EqualValues(t, 1, n.Stats().Lost)
}

func TestCut(t *testing.T) { synctest.Test(t, testCut) }
func testCut(t *testing.T) {
	n, a, b := pair(t, mem.Config{Delay: time.Second})
	c := listen(t, n, ap("192.0.2.3:5683"))
	send(t, a, b.LocalAddr(), "under way")
	n.Cut(ip("192.0.2.2"), ip("192.0.2.1"))
	send(t, a, b.LocalAddr(), "lost")
	send(t, b, a.LocalAddr(), "lost")
	send(t, a, c.LocalAddr(), "others")
	want(t, b, "under way")
	want(t, c, "others")
	n.Heal()
	send(t, a, b.LocalAddr(), "again")
	want(t, b, "again")
	require.EqualValues(t, 2, n.Stats().Lost)
	wantIdle(t, a)
}

func TestMTU(t *testing.T) {
	n, a, b := pair(t, mem.Config{MTU: 10})
	big := transport.Datagram{Data: make([]byte, 11), Remote: b.LocalAddr()}
	_, err := a.WriteBatch([]transport.Datagram{big})
	require.ErrorIs(t, err, transport.ErrTooLarge)
	send(t, a, b.LocalAddr(), "1234567890")
	want(t, b, "1234567890")
	require.Equal(t, mem.Stats{Sent: 1, Delivered: 1, TooBig: 1}, n.Stats())
}

func TestOverflow(t *testing.T) {
	n, a, b := pair(t, mem.Config{Queue: 3})
	send(t, a, b.LocalAddr(), "1", "2", "3", "4", "5")
	want(t, b, "1", "2", "3")
	send(t, a, b.LocalAddr(), "6")
	want(t, b, "6")
	require.EqualValues(t, 2, n.Stats().Overflow)
}

func TestUnreachable(t *testing.T) { synctest.Test(t, testUnreachable) }
func testUnreachable(t *testing.T) {
	n, a, b := pair(t, mem.Config{Delay: time.Second})
	start := time.Now()
	for _, dead := range []string{"192.0.2.2:9", "198.51.100.1:5683"} {
		send(t, a, ap(dead), "hello?")
		d := receive(t, a)
		require.Empty(t, cmp.Diff(transport.Datagram{
			Data: []byte("hello?"), Remote: ap(dead), Local: a.LocalAddr(), IfIndex: 1, Err: syscall.ECONNREFUSED,
		}, d, cmp.Comparer(func(x, y netip.AddrPort) bool { return x == y }),
			cmp.Comparer(func(x, y netip.Addr) bool { return x == y })))
	}
	require.Equal(t, 4*time.Second, time.Since(start), "two round trips")
	require.EqualValues(t, 2, n.Stats().Refused)

	// Who closes meanwhile gets nothing any more, nor does the report find him.
	send(t, a, b.LocalAddr(), "late")
	b.Close()
	a2 := listen(t, n, ap("192.0.2.1:0"))
	a.Close()
	n.SetConfig(mem.Config{NoUnreachable: true})
	send(t, a2, ap("192.0.2.2:9"), "hello?")
	wantIdle(t, a2)
	require.EqualValues(t, 4, n.Stats().Refused)
}

func TestListen(t *testing.T) {
	n := mem.NewNetwork(mem.Config{})
	a := listen(t, n, ap("192.0.2.1:0"))
	b := listen(t, n, ap("192.0.2.1:0"))
	require.NotEqual(t, a.LocalAddr(), b.LocalAddr())
	require.NotZero(t, a.LocalAddr().Port())
	_, err := n.Listen(a.LocalAddr())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	for _, bad := range []string{"0.0.0.0:1", "[::]:1", "224.0.1.187:5683", "[ff02::fd]:5683", "255.255.255.255:1"} {
		_, err := n.Listen(ap(bad))
		require.ErrorIs(t, err, syscall.EINVAL, bad)
	}
	_, err = n.Listen(netip.AddrPort{})
	require.ErrorIs(t, err, syscall.EINVAL)
	mapped := listen(t, n, ap("[::ffff:192.0.2.9]:7"))
	require.Equal(t, ap("192.0.2.9:7"), mapped.LocalAddr())

	port := a.LocalAddr()
	require.NoError(t, a.Close())
	listen(t, n, port) // free again
	require.NoError(t, n.Close())
	require.NoError(t, n.Close())
	_, err = n.Listen(ap("192.0.2.1:0"))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = b.ReadBatch(make([]transport.Datagram, 1))
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestHostErrors(t *testing.T) {
	n := mem.NewNetwork(mem.Config{})
	itf := func(index int, addrs ...string) mem.Interface {
		i := mem.Interface{Index: index}
		for _, a := range addrs {
			i.Addrs = append(i.Addrs, ip(a))
		}
		return i
	}
	h, err := n.Host(itf(3, "192.0.2.1", "fe80::1"), itf(5, "192.0.2.2"))
	require.NoError(t, err)
	for _, bad := range [][]mem.Interface{
		{itf(1, "192.0.2.1")},                      // of another host
		{itf(1, "10.0.0.1"), itf(2, "10.0.0.1")},   // twice
		{itf(1, "10.0.0.1"), itf(1, "10.0.0.2")},   // index twice
		{itf(-1, "10.0.0.1")},                      //
		{itf(1, "fe80::1")},                        // on the same link
		{itf(1, "224.0.0.1")}, {itf(1, "0.0.0.0")}, // no unicast
	} {
		_, err := n.Host(bad...)
		require.Error(t, err, "%v", bad)
	}
	_, err = n.Host(mem.Interface{Addrs: []netip.Addr{ip("fe80::1")}, Link: "another"})
	require.NoError(t, err)
	_, err = h.Listen(ap("192.0.2.99:0"))
	require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)

	listen(t, h, ap("192.0.2.1:5683"))
	listen(t, h, ap("192.0.2.2:5683"))
	listen(t, h, ap("[::]:5683"))
	for _, taken := range []string{"0.0.0.0:5683", "[fe80::1]:5683", "192.0.2.1:5683"} {
		_, err = h.Listen(ap(taken))
		require.ErrorIs(t, err, syscall.EADDRINUSE, taken)
	}
	_, err = h.Listen(netip.AddrPortFrom(netip.Addr{}, 5683))
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}

// eth0 and eth1 of a host are attached to different links.
func twoLinks(t testing.TB) (n *mem.Network, h *mem.Host) {
	t.Helper()
	n = mem.NewNetwork(mem.Config{})
	h, err := n.Host(
		mem.Interface{Index: 2, Name: "eth0", Link: "west", Addrs: []netip.Addr{ip("192.0.2.1"), ip("fe80::1"), ip("2001:db8::1")}},
		mem.Interface{Index: 3, Name: "eth1", Link: "east", Addrs: []netip.Addr{ip("198.51.100.1"), ip("fe80::1")}})
	require.NoError(t, err)
	return n, h
}

func TestWildcardAndRouting(t *testing.T) {
	n, h := twoLinks(t)
	east, err := n.Host(mem.Interface{Index: 9, Name: "wlan0", Link: "east", Addrs: []netip.Addr{ip("198.51.100.2"), ip("fe80::2")}})
	require.NoError(t, err)
	server, client := listen(t, h, netip.AddrPortFrom(netip.Addr{}, 5683)), listen(t, east, ap("0.0.0.0:0"))
	require.Equal(t, ap("[::]:5683"), server.LocalAddr())

	for asked, ifIndex := range map[string]int{"192.0.2.1:5683": 2, "198.51.100.1:5683": 3} {
		send(t, client, ap(asked), "q")
		q := receive(t, server)
		require.Equal(t, ap(asked), q.Local)
		require.Equal(t, ifIndex, q.IfIndex)
		require.Equal(t, ip("198.51.100.2"), q.Remote.Addr())
		_, err := server.WriteBatch([]transport.Datagram{{Data: []byte("a"), Remote: q.Remote, Local: q.Local}})
		require.NoError(t, err)
		require.Equal(t, ap(asked), receive(t, client).Remote)
	}
	// Left to itself, the server sends by the link that the client is attached to.
	send(t, server, netip.AddrPortFrom(ip("198.51.100.2"), client.LocalAddr().Port()), "hi")
	require.Equal(t, ap("198.51.100.1:5683"), receive(t, client).Remote)

	to := netip.AddrPortFrom(ip("198.51.100.2"), client.LocalAddr().Port())
	for _, bad := range []struct {
		d    transport.Datagram
		want error
	}{
		{transport.Datagram{Remote: to, Local: ap("203.0.113.1:5683")}, syscall.EADDRNOTAVAIL},
		{transport.Datagram{Remote: to, IfIndex: 77}, syscall.ENODEV},
		{transport.Datagram{Remote: ap("[fe80::2%nosuch]:1")}, syscall.ENODEV},
		{transport.Datagram{Remote: ap("[fe80::2]:1")}, syscall.EINVAL},
		{transport.Datagram{Remote: ap("[2001:db8::7]:1"), IfIndex: 3}, nil}, // from fe80::1, as there is no better one
		{transport.Datagram{}, syscall.EDESTADDRREQ},
		{transport.Datagram{Remote: ap("192.0.2.1:0")}, syscall.EDESTADDRREQ},
	} {
		_, err := server.WriteBatch([]transport.Datagram{bad.d})
		require.ErrorIs(t, err, bad.want, "%v", bad.d)
	}
	_, err = client.WriteBatch([]transport.Datagram{{Remote: ap("[2001:db8::1]:5683")}})
	require.ErrorIs(t, err, syscall.EAFNOSUPPORT)
	only4, err := n.Host(mem.Interface{Addrs: []netip.Addr{ip("203.0.113.9")}})
	require.NoError(t, err)
	_, err = listen(t, only4, netip.AddrPort{}).WriteBatch([]transport.Datagram{{Remote: ap("[2001:db8::1]:5683")}})
	require.ErrorIs(t, err, syscall.ENETUNREACH)
}

func TestZones(t *testing.T) {
	n, h := twoLinks(t)
	east, err := n.Host(mem.Interface{Index: 9, Name: "wlan0", Link: "east", Addrs: []netip.Addr{ip("fe80::2")}})
	require.NoError(t, err)
	server, client := listen(t, h, ap("[::]:5683")), listen(t, east, ap("[fe80::2]:1234"))
	require.Equal(t, ap("[fe80::2%wlan0]:1234"), client.LocalAddr())

	// The zone of the one is not the zone of the other.
	for _, zone := range []string{"wlan0", "9"} {
		send(t, client, netip.AddrPortFrom(ip("fe80::1").WithZone(zone), 5683), "q")
		q := receive(t, server)
		require.Equal(t, ap("[fe80::2%eth1]:1234"), q.Remote)
		require.Equal(t, ap("[fe80::1%eth1]:5683"), q.Local)
		require.Equal(t, 3, q.IfIndex)
		_, err = server.WriteBatch([]transport.Datagram{{Data: []byte("a"), Remote: q.Remote, Local: q.Local}})
		require.NoError(t, err)
		require.Equal(t, ap("[fe80::1%wlan0]:5683"), receive(t, client).Remote)
	}
	// On the other link nobody has that address.
	send(t, server, ap("[fe80::2%eth0]:1234"), "x")
	d := receive(t, server)
	require.Equal(t, syscall.ECONNREFUSED, d.Err)
	require.Equal(t, ap("[fe80::2%eth0]:1234"), d.Remote)

	alone := mem.NewNetwork(mem.Config{})
	c := listen(t, alone, ap("[fe80::1%eth7]:5683"))
	require.Equal(t, ap("[fe80::1%eth7]:5683"), c.LocalAddr())
	send(t, c, ap("[fe80::1%eth7]:5683"), "me")
	require.Equal(t, ap("[fe80::1%eth7]:5683"), receive(t, c).Remote)
}

func TestGroups(t *testing.T) { synctest.Test(t, testGroups) }
func testGroups(t *testing.T) {
	n, h := twoLinks(t)
	server := listen(t, h, netip.AddrPortFrom(netip.Addr{}, 5683))
	west := listen(t, n, ap("192.0.2.7:5683")) // on link "", as all hosts that Listen makes
	wh, err := n.Host(mem.Interface{Name: "w", Link: "west", Addrs: []netip.Addr{ip("192.0.2.8"), ip("fe80::8")}})
	require.NoError(t, err)
	client := listen(t, wh, netip.AddrPortFrom(netip.Addr{}, 1234))

	group := ip("224.0.1.187")
	to := netip.AddrPortFrom(group, 5683)
	require.NoError(t, west.Join(group, 0))
	require.NoError(t, server.Join(group, 3))
	send(t, client, to, "nobody on this link is a member")
	require.NoError(t, server.Join(group, 0))
	require.NoError(t, server.Join(group, 2), "again")
	send(t, client, to, "all")
	d := receive(t, server)
	require.Equal(t, "all", string(d.Data))
	require.Equal(t, group, d.Group)
	require.Equal(t, ap("192.0.2.1:5683"), d.Local)
	require.Equal(t, 2, d.IfIndex)
	_, err = server.WriteBatch([]transport.Datagram{{Data: []byte("me"), Remote: d.Remote, Local: d.Local, IfIndex: d.IfIndex}})
	require.NoError(t, err)
	d = receive(t, client)
	require.Equal(t, ap("192.0.2.1:5683"), d.Remote)
	require.False(t, d.Group.IsValid())

	// IPv6 goes between link-local addresses.
	require.NoError(t, server.Join(ip("ff02::fd%eth0"), 0))
	send(t, client, ap("[ff02::fd%w]:5683"), "six")
	d = receive(t, server)
	require.Equal(t, ip("ff02::fd"), d.Group)
	require.Equal(t, ap("[fe80::8%eth0]:1234"), d.Remote)
	require.Equal(t, ap("[fe80::1%eth0]:5683"), d.Local)

	// Another port is another matter, and so is a Conn that has left.
	send(t, client, netip.AddrPortFrom(group, 5684), "port")
	require.NoError(t, server.Leave(group, 0))
	require.NoError(t, server.Leave(group, 0), "again")
	send(t, client, to, "left")

	require.ErrorIs(t, server.Join(ip("192.0.2.1"), 0), syscall.EINVAL)
	require.ErrorIs(t, server.Join(group, 99), syscall.ENODEV)
	require.ErrorIs(t, west.Join(ip("ff02::fd"), 0), syscall.EAFNOSUPPORT)
	wantIdle(t, client)
	wantIdle(t, server)
	wantIdle(t, west)
	require.ErrorIs(t, server.Join(group, 0), net.ErrClosed)
}

// A sender that is a member hears itself, and each member has its own luck.
func TestGroupFaultsArePerMember(t *testing.T) {
	n := mem.NewNetwork(mem.Config{Loss: 0.5})
	group := netip.AddrPortFrom(ip("224.0.1.187"), 5683)
	for i := range 100 {
		c := listen(t, n, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 5683))
		require.NoError(t, c.Join(group.Addr(), 0))
		if i == 99 {
			send(t, c, group, "all")
		}
	}
	s := n.Stats()
	require.EqualValues(t, 1, s.Sent)
	require.EqualValues(t, 100, s.Delivered+s.Lost)
	require.InDelta(t, 50, s.Lost, 20)
}

func TestBroadcast(t *testing.T) {
	n := mem.NewNetwork(mem.Config{})
	h, err := n.Host(mem.Interface{Addrs: []netip.Addr{ip("192.0.2.1")}})
	require.NoError(t, err)
	server, client := listen(t, h, ap("0.0.0.0:5683")), listen(t, n, ap("192.0.2.2:5683"))
	send(t, client, ap("255.255.255.255:5683"), "all")
	d := receive(t, server)
	require.Equal(t, ip("255.255.255.255"), d.Group)
	require.Equal(t, ap("192.0.2.1:5683"), d.Local)
	require.EqualValues(t, 1, n.Stats().Delivered, "not to a Conn that is bound to one address")
}

func TestRebind(t *testing.T) { synctest.Test(t, testRebind) }
func testRebind(t *testing.T) {
	n, a, b := pair(t, mem.Config{Delay: time.Second})
	own := a.LocalAddr()
	reply := func(d transport.Datagram, data string) { send(t, b, d.Remote, data) }

	send(t, a, b.LocalAddr(), "1")
	before := receive(t, b)
	require.Equal(t, own, before.Remote)

	first, err := a.Rebind(ap("203.0.113.1:0"))
	require.NoError(t, err)
	require.Equal(t, ip("203.0.113.1"), first.Addr())
	require.Equal(t, own, a.LocalAddr())
	send(t, a, b.LocalAddr(), "2")
	d := receive(t, b)
	require.Equal(t, first, d.Remote, "the other side sees the public address")
	reply(before, "to the old address")
	reply(d, "to the new one")
	got := receive(t, a)
	require.Equal(t, "to the new one", string(got.Data))
	require.Equal(t, own, got.Local)

	// What is under way to a mapping that is forgotten meanwhile is lost.
	reply(d, "too late")
	second, err := a.Rebind(netip.AddrPort{})
	require.NoError(t, err)
	require.Equal(t, first.Addr(), second.Addr())
	require.NotEqual(t, first.Port(), second.Port())
	send(t, a, b.LocalAddr(), "3")
	require.Equal(t, second, receive(t, b).Remote)
	reply(d, "still too late")
	send(t, b, second, "in time")
	want(t, a, "in time")

	// A report finds who sent from behind the NAT.
	send(t, a, ap("192.0.2.99:9"), "hello?")
	got = receive(t, a)
	require.Equal(t, syscall.ECONNREFUSED, got.Err)
	require.Equal(t, own, got.Local)

	for _, taken := range []netip.AddrPort{second, ap("192.0.2.2:0"), b.LocalAddr()} {
		_, err = a.Rebind(taken)
		require.ErrorIs(t, err, syscall.EADDRINUSE, "%v", taken)
	}
	_, err = a.Rebind(ap("[2001:db8::1]:0"))
	require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
	back, err := a.Rebind(own)
	require.NoError(t, err)
	require.Equal(t, own, back)
	send(t, b, own, "home")
	want(t, a, "home")
	require.EqualValues(t, 4, n.Stats().Refused, "three to old addresses, one to nobody")
	wantIdle(t, b)
	require.NoError(t, a.Close())
	_, err = a.Rebind(netip.AddrPort{})
	require.ErrorIs(t, err, net.ErrClosed)
}

// A bubble ends only when no goroutine is left.
func TestNothingIsLeftAfterClose(t *testing.T) { synctest.Test(t, testNothingIsLeft) }
func testNothingIsLeft(t *testing.T) {
	n, a, b := pair(t, mem.Config{Delay: time.Hour})
	send(t, a, b.LocalAddr(), "never arrives")
	for range 3 {
		go func() { _, _ = b.ReadBatch(make([]transport.Datagram, 1)) }()
	}
	synctest.Wait()
	require.NoError(t, n.Close())
	_, err := a.WriteBatch([]transport.Datagram{{Remote: b.LocalAddr()}})
	require.ErrorIs(t, err, net.ErrClosed)
	<-time.After(2 * time.Hour)
	require.Zero(t, n.Stats().Delivered)
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	_, a, b := pair(t, mem.Config{})
	ds := make([]transport.Datagram, 1)
	data, room := bytes.Repeat([]byte{1}, 100), make([]byte, 200)
	require.Zero(t, testing.AllocsPerRun(500, func() {
		ds[0] = transport.Datagram{Data: data, Remote: b.LocalAddr()}
		if _, err := a.WriteBatch(ds); err != nil {
			t.Fatal(err)
		}
		ds[0] = transport.Datagram{Data: room}
		if _, err := b.ReadBatch(ds); err != nil {
			t.Fatal(err)
		}
	}))
}

// Several readers share what arrives together.
func TestReadersWakeEachOther(t *testing.T) { synctest.Test(t, testReadersWakeEachOther) }
func testReadersWakeEachOther(t *testing.T) {
	_, a, b := pair(t, mem.Config{Delay: time.Second})
	const readers = 5
	got := make(chan string, readers)
	for range readers {
		go func() {
			ds := []transport.Datagram{{Data: make([]byte, 10)}}
			_, err := b.ReadBatch(ds)
			got <- fmt.Sprint(string(ds[0].Data), err)
		}()
	}
	synctest.Wait()
	for range readers {
		send(t, a, b.LocalAddr(), "x")
	}
	for range readers {
		require.Equal(t, "x<nil>", <-got)
	}
}

// Who watches is told of each datagram in order, with all that becomes of it.
func TestWatch(t *testing.T) { synctest.Test(t, testWatch) }
func testWatch(t *testing.T) {
	n, a, b := pair(t, mem.Config{})
	var seen []string
	n.Watch(func(p *mem.Packet, v mem.Verdict) {
		seen = append(seen, fmt.Sprintf("%v %s %+v", p.Dst, p.Data, v))
	})
	others := 0
	n.Watch(func(*mem.Packet, mem.Verdict) { others++ })
	write := func(cfg mem.Config, to netip.AddrPort, data string) {
		n.SetConfig(cfg)
		send(t, a, to, data)
	}
	verdict := func(v mem.Verdict) mem.Config {
		return mem.Config{Filter: func(p *mem.Packet) mem.Verdict { return v }}
	}
	write(mem.Config{}, b.LocalAddr(), "plain")
	write(mem.Config{Loss: 1}, b.LocalAddr(), "loss")
	write(mem.Config{Delay: time.Second, Duplicate: 1}, b.LocalAddr(), "twice")
	write(mem.Config{Reorder: 1}, b.LocalAddr(), "late")
	write(verdict(mem.Verdict{Drop: true, Delay: 1}), b.LocalAddr(), "drop")
	write(verdict(mem.Verdict{Err: syscall.EHOSTUNREACH}), b.LocalAddr(), "error")
	write(verdict(mem.Verdict{Copies: 2, Delay: 1}), b.LocalAddr(), "thrice")
	write(mem.Config{Filter: func(p *mem.Packet) mem.Verdict {
		p.Data = []byte("other")
		return mem.Verdict{}
	}}, b.LocalAddr(), "this")
	n.Cut(a.LocalAddr().Addr(), b.LocalAddr().Addr())
	write(mem.Config{}, b.LocalAddr(), "cut")
	n.Heal()
	group := netip.AddrPortFrom(netip.MustParseAddr("224.0.1.187"), b.LocalAddr().Port())
	write(mem.Config{}, group, "nobody")
	require.NoError(t, b.Join(group.Addr(), 0))
	write(mem.Config{}, group, "member")
	to := b.LocalAddr().String()
	require.Equal(t, []string{
		to + " plain {Drop:false Err:<nil> Delay:0s Copies:0 Corrupt:false}",
		to + " loss {Drop:true Err:<nil> Delay:0s Copies:0 Corrupt:false}",
		to + " twice {Drop:false Err:<nil> Delay:1s Copies:1 Corrupt:false}",
		to + " late {Drop:false Err:<nil> Delay:10ms Copies:0 Corrupt:false}",
		to + " drop {Drop:true Err:<nil> Delay:0s Copies:0 Corrupt:false}",
		to + " error {Drop:false Err:no route to host Delay:0s Copies:0 Corrupt:false}",
		to + " thrice {Drop:false Err:<nil> Delay:1ns Copies:2 Corrupt:false}",
		to + " other {Drop:false Err:<nil> Delay:0s Copies:0 Corrupt:false}",
		to + " cut {Drop:true Err:<nil> Delay:0s Copies:0 Corrupt:false}",
		group.String() + " nobody {Drop:true Err:<nil> Delay:0s Copies:0 Corrupt:false}",
		to + " member {Drop:false Err:<nil> Delay:0s Copies:0 Corrupt:false}",
	}, seen)
	ds := []transport.Datagram{{Data: make([]byte, 10)}}
	_, err := b.ReadBatch(ds)
	require.NoError(t, err)
	require.Equal(t, "plain", string(ds[0].Data))

	n.SetConfig(mem.Config{Corrupt: 1})
	send(t, a, b.LocalAddr(), "x")
	require.Regexp(t, "Corrupt:true}$", seen[len(seen)-1])
	require.NotContains(t, seen[len(seen)-1], " x ", "as it arrives")
	require.Len(t, seen, 12)
	require.Equal(t, 12, others, "watchers do not replace each other")
}
