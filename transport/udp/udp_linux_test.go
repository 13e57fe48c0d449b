package udp_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/udp"
)

// deadPort is an address that nobody listens to.
func deadPort(t testing.TB, ip string) netip.AddrPort {
	t.Helper()
	c := listen(t, net.JoinHostPort(ip, "0"), nil)
	require.NoError(t, c.Close())
	return c.LocalAddr()
}

// The report quotes what was sent, so that a message layer can check it against what it sent
// (RFC 7252 section 4.2).
func TestReportsQuoteWhatWasSent(t *testing.T) {
	for _, test := range []struct{ address, dead string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"0.0.0.0:0", "127.0.0.1"},
		{":0", "127.0.0.1"},
		{":0", "::1"},
		{"[::1]:0", "::1"},
	} {
		t.Run(test.address+" to "+test.dead, func(t *testing.T) {
			c, dead := listen(t, test.address, nil), deadPort(t, test.dead)
			send(t, c, transport.Datagram{Data: []byte("@\x01\x12\x34 quoted"), Remote: dead})
			d := receive(t, c)
			require.ErrorIs(t, d.Err, syscall.ECONNREFUSED)
			require.Equal(t, dead, d.Remote)
			require.Equal(t, "@\x01\x12\x34 quoted", string(d.Data))
			require.Equal(t, withPort(test.dead, c), d.Local, "the address that it was sent from")
			require.False(t, d.Group.IsValid())
		})
	}
}

// The errors come back in the order of sending, several in one batch, none lost.
func TestReportsInBatches(t *testing.T) {
	c, dead := listen(t, ":0", nil), deadPort(t, "127.0.0.1")
	const sent = 30
	for i := range sent {
		send(t, c, transport.Datagram{Data: []byte{byte(i)}, Remote: dead})
	}
	ds := make([]transport.Datagram, 7)
	for got := 0; got < sent; {
		for i := range ds {
			ds[i] = transport.Datagram{Data: make([]byte, 10)}
		}
		n, err := c.ReadBatch(ds)
		require.NoError(t, err)
		for _, d := range ds[:n] {
			require.ErrorIs(t, d.Err, syscall.ECONNREFUSED)
			require.Equal(t, []byte{byte(got)}, d.Data)
			got++
		}
	}
}

// A datagram that the system itself finds too long leaves an entry in the error queue, which takes
// its memory from received datagrams: if nobody took it out, reception would end.
func TestRefusedWritesDoNotStarveReception(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		c := listen(t, address, &udp.Config{ReadBuffer: 4096})
		peer := listen(t, address, nil)
		huge := transport.Datagram{Data: make([]byte, 65530), Remote: peer.LocalAddr()}
		for range 1000 {
			_, err := c.WriteBatch([]transport.Datagram{huge})
			require.ErrorIs(t, err, transport.ErrTooLarge)
		}
		// What is still in the queue may fill the buffer: a read empties it, as a server's
		// loop does all the time.
		received := make(chan transport.Datagram, 1)
		go func() {
			ds := []transport.Datagram{{Data: make([]byte, 100)}}
			if n, _ := c.ReadBatch(ds); n == 1 {
				received <- ds[0]
			}
			close(received)
		}()
		for done := false; !done; {
			send(t, peer, transport.Datagram{Data: []byte("x"), Remote: c.LocalAddr()})
			select {
			case d := <-received:
				require.Equal(t, "x", string(d.Data))
				require.NoError(t, d.Err)
				done = true
			default:
			}
		}
	}
}

// A writer that takes away the pending error must not keep the report from the reader, even if that
// was waiting already.
func TestWriterDoesNotSwallowReports(t *testing.T) {
	c, peer, dead := listen(t, ":0", nil), listen(t, "127.0.0.1:0", nil), deadPort(t, "127.0.0.1")
	for i := range 200 {
		done := make(chan transport.Datagram, 1)
		go func() {
			ds := []transport.Datagram{{Data: make([]byte, 10)}}
			_, _ = c.ReadBatch(ds)
			done <- ds[0]
		}()
		n, err := c.WriteBatch([]transport.Datagram{
			{Data: []byte{byte(i)}, Remote: dead},
			{Data: []byte("fine"), Remote: peer.LocalAddr()},
			{Data: []byte("fine"), Remote: peer.LocalAddr()},
		})
		require.NoError(t, err)
		require.Equal(t, 3, n)
		d := <-done
		require.ErrorIs(t, d.Err, syscall.ECONNREFUSED)
		require.Equal(t, []byte{byte(i)}, d.Data)
	}
}

func TestNoRoute(t *testing.T) {
	c, peer := listen(t, ":0", nil), listen(t, "127.0.0.1:0", nil)
	// 240.0.0.0/4 is reserved; whatever the system says, it is about this datagram alone.
	for range 10 {
		n, err := c.WriteBatch([]transport.Datagram{{Remote: netip.MustParseAddrPort("240.0.0.1:5683")}})
		if err != nil {
			var errno syscall.Errno
			require.True(t, errors.As(err, &errno), "%v", err)
			require.Zero(t, n)
		}
		send(t, c, transport.Datagram{Data: []byte("x"), Remote: peer.LocalAddr()})
		require.Equal(t, "x", string(receive(t, peer).Data))
	}
}

func TestForeignLocalAddressIsAnError(t *testing.T) {
	peer4 := listen(t, "127.0.0.1:0", nil)
	c := listen(t, ":0", nil)
	n, err := c.WriteBatch([]transport.Datagram{{
		Data: []byte("x"), Remote: peer4.LocalAddr(), Local: withPort("198.51.100.7", c),
	}})
	require.Zero(t, n)
	var errno syscall.Errno
	require.True(t, errors.As(err, &errno), "%v", err)
	// Of the other family it can only be a mistake without consequences.
	send(t, c, transport.Datagram{Data: []byte("x"), Remote: peer4.LocalAddr(), Local: withPort("::1", c)})
	receive(t, peer4)
}

// multicastInterface is an interface that can carry groups, and loops them back.
func multicastInterface(t testing.TB, group netip.Addr) net.Interface {
	t.Helper()
	ifs, err := net.Interfaces()
	require.NoError(t, err)
	for _, ifi := range ifs {
		const want = net.FlagUp | net.FlagMulticast
		addrs, _ := ifi.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && ifi.Flags&want == want && p.Addr().Is4() == group.Is4() {
				return ifi
			}
		}
	}
	t.Skipf("no interface can carry %v", group)
	return net.Interface{}
}

// RFC 7252 section 8.1: a server should be aware that a request arrived via multicast.
//
// Proves 7252-8.1-02.
func TestGroups(t *testing.T) {
	for _, test := range []struct{ address, group string }{
		{"0.0.0.0:0", "224.0.1.187"},
		{":0", "224.0.1.187"},
		{":0", "ff02::fd"},
		{"[::]:0", "ff05::fd"},
	} {
		t.Run(test.address+" "+test.group, func(t *testing.T) {
			group := netip.MustParseAddr(test.group)
			ifi := multicastInterface(t, group)
			server, client := listen(t, test.address, nil), listen(t, test.address, nil)
			require.NoError(t, server.Join(group, ifi.Index))
			require.NoError(t, server.Join(group, ifi.Index), "again")
			require.NoError(t, server.Join(group, 0), "everywhere")
			require.NoError(t, server.Join(group.WithZone(zoneOf(group, ifi)), 0), "by zone")
			to := netip.AddrPortFrom(group, server.LocalAddr().Port())
			send(t, client, transport.Datagram{Data: []byte("all"), Remote: to, IfIndex: ifi.Index})

			d := receive(t, server)
			require.Equal(t, "all", string(d.Data))
			require.Equal(t, group, d.Group)
			require.Equal(t, ifi.Index, d.IfIndex)
			require.Equal(t, server.LocalAddr().Port(), d.Local.Port())
			require.False(t, d.Local.Addr().IsMulticast())
			if group.Is4() {
				require.True(t, d.Local.Addr().IsValid(), "Linux tells what address to answer from")
			}
			send(t, server, transport.Datagram{Data: []byte("me"), Remote: d.Remote, Local: d.Local, IfIndex: d.IfIndex})
			reply := receive(t, client)
			require.Equal(t, "me", string(reply.Data))
			require.False(t, reply.Remote.Addr().IsMulticast())

			// Unicast on the same socket is told apart.
			send(t, client, transport.Datagram{Data: []byte("you"), Remote: reply.Remote, IfIndex: ifi.Index})
			require.False(t, receive(t, server).Group.IsValid())

			require.NoError(t, server.Leave(group, 0))
			require.NoError(t, server.Leave(group, ifi.Index), "again")
			send(t, client, transport.Datagram{Data: []byte("gone"), Remote: to, IfIndex: ifi.Index})
			send(t, client, transport.Datagram{Data: []byte("end"), Remote: reply.Remote, IfIndex: ifi.Index})
			require.Equal(t, "end", string(receive(t, server).Data), "no member any more")
		})
	}
}

func zoneOf(group netip.Addr, ifi net.Interface) string {
	if group.Is4() {
		return ""
	}
	return ifi.Name
}

// What another socket of the host has joined is not this socket's business.
func TestMembershipIsPerSocket(t *testing.T) {
	for _, test := range []struct{ address, loopback, group string }{
		{"0.0.0.0:0", "127.0.0.1", "224.0.1.187"},
		{":0", "::1", "ff02::fd"},
	} {
		group := netip.MustParseAddr(test.group)
		ifi := multicastInterface(t, group)
		member := listen(t, test.address, &udp.Config{ReuseAddr: true})
		other := listen(t, member.LocalAddr().String(), &udp.Config{ReuseAddr: true})
		require.NoError(t, member.Join(group, ifi.Index))
		client := listen(t, test.address, nil)
		to := netip.AddrPortFrom(group, member.LocalAddr().Port())
		send(t, client, transport.Datagram{Data: []byte("all"), Remote: to, IfIndex: ifi.Index})
		require.Equal(t, "all", string(receive(t, member).Data))
		// Of two sockets of one port the later one gets unicast.
		send(t, client, transport.Datagram{Data: []byte("mark"), Remote: withPort(test.loopback, other)})
		require.Equal(t, "mark", string(receive(t, other).Data))
	}
}

func TestMulticastOptions(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0"} {
		c := listen(t, address, &udp.Config{MulticastHops: 7, NoMulticastLoop: true})
		group := netip.MustParseAddr("224.0.1.187")
		ifi := multicastInterface(t, group)
		require.NoError(t, c.Join(group, ifi.Index))
		send(t, c, transport.Datagram{
			Data: []byte("all"), Remote: netip.AddrPortFrom(group, c.LocalAddr().Port()), IfIndex: ifi.Index,
		})
		mark := listen(t, "127.0.0.1:0", nil)
		send(t, mark, transport.Datagram{Data: []byte("mark"), Remote: withPort("127.0.0.1", c)})
		require.Equal(t, "mark", string(receive(t, c).Data), "not looped back")
	}
}

func TestBroadcastIsAGroup(t *testing.T) {
	c := listen(t, ":0", nil)
	ifi := multicastInterface(t, netip.MustParseAddr("224.0.1.187"))
	for _, ip := range []string{"255.255.255.255", subnetBroadcast(t, ifi)} {
		n, err := c.WriteBatch([]transport.Datagram{{Data: []byte("all"), Remote: withPort(ip, c), IfIndex: ifi.Index}})
		if err != nil {
			t.Skipf("this system does not send to %s: %v", ip, err)
		}
		require.Equal(t, 1, n)
		d := receive(t, c)
		require.NoError(t, d.Err)
		require.Equal(t, ip, d.Group.String())
		require.NotEqual(t, ip, d.Local.Addr().String())
	}
}

// subnetBroadcast is the last address of the interface's IPv4 network.
func subnetBroadcast(t testing.TB, ifi net.Interface) string {
	addrs, err := ifi.Addrs()
	require.NoError(t, err)
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is4() {
			continue
		}
		b := p.Masked().Addr().As4()
		for bit := p.Bits(); bit < 32; bit++ {
			b[bit/8] |= 0x80 >> (bit % 8)
		}
		return netip.AddrFrom4(b).String()
	}
	t.Skipf("%s has no IPv4 address", ifi.Name)
	return ""
}

func TestJoinErrors(t *testing.T) {
	c := listen(t, "0.0.0.0:0", nil)
	require.ErrorIs(t, c.Join(netip.MustParseAddr("192.0.2.1"), 0), syscall.EINVAL)
	require.ErrorIs(t, c.Join(netip.Addr{}, 0), syscall.EINVAL)
	require.ErrorIs(t, c.Join(netip.MustParseAddr("ff02::fd"), 0), syscall.EAFNOSUPPORT)
	require.Error(t, c.Join(netip.MustParseAddr("224.0.1.187"), 1<<30))
	c6 := listen(t, "[::]:0", nil)
	require.ErrorIs(t, c6.Join(netip.MustParseAddr("224.0.1.187"), 0), syscall.EAFNOSUPPORT)
	require.Error(t, c6.Join(netip.MustParseAddr("ff02::fd%nosuchif"), 0))
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Join(netip.MustParseAddr("224.0.1.187"), 1), net.ErrClosed)
}
