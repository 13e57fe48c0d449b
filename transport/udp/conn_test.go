package udp_test

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/transporttest"
	"github.com/coapkit/coap/transport/udp"
)

// listen opens a socket that is closed when the test ends, and skips where the address family is
// missing.
func listen(t testing.TB, address string, cfg *udp.Config) *udp.Conn {
	t.Helper()
	c, err := udp.Listen(address, cfg)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Skipf("this system has no such address: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// receive returns the next datagram or report; a test that waits for more than 10 seconds fails.
func receive(t testing.TB, c *udp.Conn) transport.Datagram {
	t.Helper()
	timeout := time.AfterFunc(10*time.Second, func() { c.Close() })
	defer timeout.Stop()
	ds := []transport.Datagram{{Data: make([]byte, 2048)}}
	n, err := c.ReadBatch(ds)
	require.NoError(t, err, "nothing received")
	require.Equal(t, 1, n)
	return ds[0]
}

func send(t testing.TB, c *udp.Conn, d transport.Datagram) {
	t.Helper()
	n, err := c.WriteBatch([]transport.Datagram{d})
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func withPort(ip string, c *udp.Conn) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), c.LocalAddr().Port())
}

var isLinux = runtime.GOOS == "linux"

func TestConformance(t *testing.T) {
	for _, test := range []struct {
		name, address string
		max           int
		wild          string
		addrs         []string
	}{
		{"IPv4", "127.0.0.1:0", 65507, "0.0.0.0:0", []string{"127.0.0.1", "127.0.0.2", "127.1.2.3"}},
		{"IPv6", "[::1]:0", 65507, ":0", []string{"::1", "127.0.0.1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			opts := transporttest.Options{
				MaxSize:      test.max,
				NoErrors:     !isLinux,
				NoTruncation: runtime.GOOS == "windows",
			}
			if isLinux {
				opts.OpenMultihomed = func(t *testing.T) (c, peer transport.Conn, addrs []netip.AddrPort) {
					wild := listen(t, test.wild, nil)
					for _, a := range test.addrs {
						addrs = append(addrs, withPort(a, wild))
					}
					// A peer for both families is reached at its address of one of them only
					// when it says so itself, hence this wrapper.
					return wild, loopback{listen(t, test.wild, nil), test.addrs[0]}, addrs
				}
			}
			transporttest.TestConn(t, func(t *testing.T) (a, b transport.Conn) {
				return listen(t, test.address, nil), listen(t, test.address, nil)
			}, opts)
		})
	}
}

// loopback is a wildcard socket that gives an address of its own as LocalAddr.
type loopback struct {
	*udp.Conn
	ip string
}

func (l loopback) LocalAddr() netip.AddrPort { return withPort(l.ip, l.Conn) }

// RFC 7252 section 5.3.2: the source endpoint of the response must be the destination endpoint of
// the request, which a socket bound to the wildcard address has to care for.
//
// Proves 7252-5.3.2-01.
func TestReplyLeavesFromTheAddressThatWasAsked(t *testing.T) {
	if !isLinux {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	for _, test := range []struct{ address, asked, peer string }{
		{"0.0.0.0:0", "127.0.0.2", "127.0.0.1:0"},
		{":0", "127.0.0.2", "127.0.0.1:0"}, // packet info of IPv4 on a dual-stack socket
		{":0", "::1", "[::1]:0"},
		{"[::]:0", "::1", "[::1]:0"},
	} {
		t.Run(test.address+" asked at "+test.asked, func(t *testing.T) {
			server, client := listen(t, test.address, nil), listen(t, test.peer, nil)
			asked := withPort(test.asked, server)
			send(t, client, transport.Datagram{Data: []byte("q"), Remote: asked})
			q := receive(t, server)
			require.Equal(t, asked, q.Local)
			require.Equal(t, client.LocalAddr(), q.Remote)
			require.False(t, q.Group.IsValid())
			require.NotZero(t, q.IfIndex)
			send(t, server, transport.Datagram{Data: []byte("a"), Remote: q.Remote, Local: q.Local})
			require.Equal(t, asked, receive(t, client).Remote)
		})
	}
}

func TestListenForms(t *testing.T) {
	for _, test := range []struct {
		address, local string
		reach, miss    []string
	}{
		{":0", "::", []string{"127.0.0.1", "::1"}, nil},
		{"0.0.0.0:0", "0.0.0.0", []string{"127.0.0.1"}, nil},
		{"[::]:0", "::", []string{"::1"}, []string{"127.0.0.1"}},
		{"127.0.0.1:0", "127.0.0.1", []string{"127.0.0.1"}, nil},
		{"[::ffff:127.0.0.1]:0", "127.0.0.1", []string{"127.0.0.1"}, nil},
		{"localhost:0", "", nil, nil},
	} {
		t.Run(test.address, func(t *testing.T) {
			c := listen(t, test.address, nil)
			if test.local != "" {
				require.Equal(t, test.local, c.LocalAddr().Addr().String())
			}
			require.NotZero(t, c.LocalAddr().Port())
			for _, ip := range test.reach {
				peer := listen(t, net.JoinHostPort(ip, "0"), nil)
				send(t, peer, transport.Datagram{Data: []byte("x"), Remote: withPort(ip, c)})
				require.Equal(t, peer.LocalAddr(), receive(t, c).Remote)
			}
			for _, ip := range test.miss {
				// The port is free in the other family.
				other, err := udp.Listen(withPort(ip, c).String(), nil)
				require.NoError(t, err)
				other.Close()
			}
		})
	}
}

func TestListenErrors(t *testing.T) {
	for _, address := range []string{
		"", "127.0.0.1", "224.0.1.187:5683", "[ff02::fd]:5683", "127.0.0.1:99999", "[::1:5683", "192.0.2.77:0",
	} {
		c, err := udp.Listen(address, nil)
		require.Error(t, err, "%q", address)
		require.Nil(t, c)
	}
	first := listen(t, "127.0.0.1:0", nil)
	_, err := udp.Listen(first.LocalAddr().String(), nil)
	require.Error(t, err, "the port is taken")

	refusal := errors.New("refused")
	_, err = udp.Listen(":0", &udp.Config{Control: func(string, string, syscall.RawConn) error { return refusal }})
	require.ErrorIs(t, err, refusal)
}

func TestConfig(t *testing.T) {
	if !isLinux {
		t.Skip("options are read back as Linux has them")
	}
	called := ""
	c := listen(t, "127.0.0.1:0", &udp.Config{
		ReadBuffer: 1 << 16, WriteBuffer: 1 << 16, ReuseAddr: true,
		Control: func(network, address string, _ syscall.RawConn) error {
			called = network + " " + address
			return nil
		},
	})
	require.Equal(t, "udp4 127.0.0.1:0", called)
	again, err := udp.Listen(c.LocalAddr().String(), &udp.Config{ReuseAddr: true})
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestWriteErrorsAreAboutOneDatagram(t *testing.T) {
	c4, peer := listen(t, "127.0.0.1:0", nil), listen(t, "127.0.0.1:0", nil)
	good := transport.Datagram{Data: []byte("good"), Remote: peer.LocalAddr()}
	bad := []struct {
		d    transport.Datagram
		want error
	}{
		{transport.Datagram{}, syscall.EDESTADDRREQ},
		{transport.Datagram{Remote: netip.MustParseAddrPort("127.0.0.1:0")}, syscall.EDESTADDRREQ},
		{transport.Datagram{Remote: netip.MustParseAddrPort("[::1]:5683")}, syscall.EAFNOSUPPORT},
		{transport.Datagram{Remote: peer.LocalAddr(), Data: make([]byte, 65508)}, transport.ErrTooLarge},
		{transport.Datagram{Remote: peer.LocalAddr(), Data: make([]byte, 1<<20)}, transport.ErrTooLarge},
	}
	for _, b := range bad {
		ds := []transport.Datagram{good, b.d, good}
		n, err := c4.WriteBatch(ds)
		require.Equal(t, 1, n)
		require.ErrorIs(t, err, b.want)
		n, err = c4.WriteBatch(ds[n+1:])
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, "good", string(receive(t, peer).Data))
		require.Equal(t, "good", string(receive(t, peer).Data))
	}
}

// An IPv4-mapped destination, which netip users get by accident, is an IPv4 destination.
func TestMappedDestination(t *testing.T) {
	peer := listen(t, "127.0.0.1:0", nil)
	for _, address := range []string{"127.0.0.1:0", ":0"} {
		c := listen(t, address, nil)
		send(t, c, transport.Datagram{Data: []byte("x"), Remote: withPort("::ffff:127.0.0.1", peer)})
		d := receive(t, peer)
		require.Equal(t, "127.0.0.1", d.Remote.Addr().String())
	}
}

// linkLocal is a link-local address of this host with its zone.
func linkLocal(t testing.TB) (netip.Addr, net.Interface) {
	t.Helper()
	ifs, err := net.Interfaces()
	require.NoError(t, err)
	for _, ifi := range ifs {
		addrs, _ := ifi.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() && ifi.Flags&net.FlagUp != 0 {
				return p.Addr().WithZone(ifi.Name), ifi
			}
		}
	}
	t.Skip("no interface has a link-local IPv6 address")
	return netip.Addr{}, net.Interface{}
}

func TestZones(t *testing.T) {
	ip, ifi := linkLocal(t)
	client := listen(t, netip.AddrPortFrom(ip, 0).String(), nil)
	require.Equal(t, ip, client.LocalAddr().Addr())
	server := listen(t, ":0", nil)
	asked := netip.AddrPortFrom(ip, server.LocalAddr().Port())
	send(t, client, transport.Datagram{Data: []byte("q"), Remote: asked})
	q := receive(t, server)
	require.Equal(t, client.LocalAddr(), q.Remote, "the zone is kept")
	require.Equal(t, asked, q.Local)
	require.NotZero(t, q.IfIndex)
	send(t, server, transport.Datagram{Data: []byte("a"), Remote: q.Remote, Local: q.Local})
	require.Equal(t, asked, receive(t, client).Remote)

	// A zone may be an index as well.
	byIndex := netip.AddrPortFrom(ip.WithZone(strconv.Itoa(ifi.Index)), server.LocalAddr().Port())
	send(t, client, transport.Datagram{Data: []byte("q"), Remote: byIndex})
	require.Equal(t, ip.Zone(), receive(t, server).Remote.Addr().Zone())

	// From a link-local address to one that is not: the other end has no zone to learn from.
	global := listen(t, "[::1]:0", nil)
	send(t, global, transport.Datagram{Data: []byte("q"), Remote: asked})
	q = receive(t, server)
	require.Equal(t, asked.Addr().WithZone(""), q.Local.Addr().WithZone(""))
	require.NotEmpty(t, q.Local.Addr().Zone())
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	if !isLinux {
		t.Skip("promised for Linux")
	}
	pairs := map[string]func() (server *udp.Conn, to netip.AddrPort){
		"IPv4": func() (*udp.Conn, netip.AddrPort) {
			c := listen(t, "0.0.0.0:0", nil)
			return c, withPort("127.0.0.1", c)
		},
		"dual stack": func() (*udp.Conn, netip.AddrPort) {
			c := listen(t, ":0", nil)
			return c, withPort("127.0.0.1", c)
		},
		"IPv6": func() (*udp.Conn, netip.AddrPort) {
			c := listen(t, ":0", nil)
			return c, withPort("::1", c)
		},
		"link-local": func() (*udp.Conn, netip.AddrPort) {
			ip, _ := linkLocal(t)
			c := listen(t, ":0", nil)
			return c, netip.AddrPortFrom(ip, c.LocalAddr().Port())
		},
	}
	for name, open := range pairs {
		t.Run(name, func(t *testing.T) {
			server, to := open()
			client := listen(t, netip.AddrPortFrom(to.Addr(), 0).String(), nil)
			data, room := make([]byte, 100), make([]byte, 2048)
			ds := make([]transport.Datagram, 1)
			exchange := func() {
				ds[0] = transport.Datagram{Data: data, Remote: to}
				mustBatch(t, client.WriteBatch, ds)
				ds[0] = transport.Datagram{Data: room}
				mustBatch(t, server.ReadBatch, ds)
				ds[0] = transport.Datagram{Data: data, Remote: ds[0].Remote, Local: ds[0].Local, IfIndex: ds[0].IfIndex}
				mustBatch(t, server.WriteBatch, ds)
				ds[0] = transport.Datagram{Data: room}
				mustBatch(t, client.ReadBatch, ds)
			}
			require.Zero(t, testing.AllocsPerRun(500, exchange), "allocations of a request and its reply")
		})
	}
}

func mustBatch(t testing.TB, f func([]transport.Datagram) (int, error), ds []transport.Datagram) {
	if _, err := f(ds); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		b.Run(ip, func(b *testing.B) {
			c := listen(b, ":0", nil)
			data, room := make([]byte, 100), make([]byte, 2048)
			ds := make([]transport.Datagram, 1)
			to := withPort(ip, c)
			b.ReportAllocs()
			for b.Loop() {
				ds[0] = transport.Datagram{Data: data, Remote: to, Local: to}
				mustBatch(b, c.WriteBatch, ds)
				ds[0] = transport.Datagram{Data: room}
				mustBatch(b, c.ReadBatch, ds)
			}
		})
	}
}
