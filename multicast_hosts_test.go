package coap_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// Groups on several hosts, as package interop has them on a network of the system.

// link is a host's place on a link of the tests: number n of link l.
func link(l, n int) mem.Interface {
	addr := netip.MustParseAddr
	return mem.Interface{
		Index: 10*n + l, Name: fmt.Sprintf("eth%d", l), Link: fmt.Sprint(l),
		Addrs: []netip.Addr{
			addr(fmt.Sprintf("10.99.%d.%d", l, n)), addr(fmt.Sprintf("2001:db8:%d::%d", l, n)), addr(fmt.Sprintf("fe80::%d:%d", l, n)),
		},
	}
}

// zoned returns the address of an interface that answers a group, as the host that has the interface here
// writes it.
func zoned(group netip.Addr, there, here mem.Interface) netip.AddrPort {
	a := there.Addrs[1]
	switch {
	case group.Is4():
		a = there.Addrs[0]
	case group.IsLinkLocalMulticast():
		a = there.Addrs[2].WithZone(here.Name)
	}
	return netip.AddrPortFrom(a, 5683)
}

// node listens on a host.
func node(t *testing.T, network *mem.Network, port uint16, ifs ...mem.Interface) *mem.Conn {
	t.Helper()
	h, err := network.Host(ifs...)
	require.NoError(t, err)
	conn, err := h.Listen(netip.AddrPortFrom(netip.Addr{}, port)) // both families
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask returns who answers a request to a group by which interface.
func ask(t *testing.T, c *coap.Client, group netip.Addr, ifIndex int) (from []netip.AddrPort) {
	t.Helper()
	req := request(t, coap.GET, netip.AddrPortFrom(group, 5683), "/who")
	req.IfIndex = ifIndex
	for r, err := range c.Multicast(t.Context(), req) {
		require.NoError(t, err)
		from = append(from, r.Peer().Addr)
	}
	return from
}

// who answers, unless it was asked in another way than a group is.
var who = coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
	if r.Path() != "/who" || !r.NonConfirmable {
		return &coap.Error{Code: coap.NotFound}
	}
	return w.Text(r.Group().String())
})

// All servers of a link answer, each from its own unicast address, whether the client names the interface,
// the zone, or nothing; over the interfaces that are meant.
//
// Proves 7252-8.1-01, 7252-8.1-02, 7252-8.2-05.
func TestGroupsOnLinks(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{Delay: time.Millisecond})
		one, two, both := link(1, 1), link(2, 2), []mem.Interface{link(1, 3), link(2, 3)}
		here := []mem.Interface{link(1, 9), link(2, 9)}
		for _, ifs := range [][]mem.Interface{{one}, {two}, both} {
			conn := node(t, network, 5683, ifs...)
			for _, g := range coap.AllNodes() {
				// The third has joined on one of its links only.
				require.NoError(t, conn.Join(g, ifs[len(ifs)-1].Index))
			}
			endpoint(t, conn, who, nil)
		}
		c := &coap.Client{Endpoint: endpoint(t, node(t, network, 0, here...), nil, nil)}
		for _, group := range coap.AllNodes() {
			first := []netip.AddrPort{zoned(group, one, here[0])}
			second := []netip.AddrPort{zoned(group, two, here[1]), zoned(group, both[1], here[1])}
			require.ElementsMatch(t, first, ask(t, c, group, here[0].Index), group)
			require.ElementsMatch(t, second, ask(t, c, group, here[1].Index), group)
			require.ElementsMatch(t, slices.Concat(first, second), ask(t, c, group, 0), group)
			if group.Is6() {
				require.ElementsMatch(t, second, ask(t, c, group.WithZone(here[1].Name), 0), group)
			}
		}
	})
}

// A server joins its groups on an interface that appears while it runs.
func TestGroupOnNewInterface(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		host, err := network.Host(link(1, 1))
		require.NoError(t, err)
		conn, err := host.Listen(netip.AddrPortFrom(netip.Addr{}, 5683))
		require.NoError(t, err)
		s := &coap.Server{Handler: who, Groups: coap.AllNodes()}
		done := make(chan error, 1)
		go func() { done <- s.Serve(t.Context(), conn) }()
		here := link(2, 9)
		c := &coap.Client{Endpoint: endpoint(t, node(t, network, 0, here), nil, nil)}
		for _, group := range coap.AllNodes() {
			require.Empty(t, ask(t, c, group, 0), "there is no server on this link")
		}
		require.NoError(t, host.Attach(link(2, 1)))
		require.Error(t, host.Attach(link(2, 1)), "the addresses are taken")
		pass(time.Minute)
		for _, group := range coap.AllNodes() {
			require.Equal(t, []netip.AddrPort{zoned(group, link(2, 1), here)}, ask(t, c, group, 0))
		}
		require.NoError(t, s.Close())
		require.NoError(t, <-done)
	})
}

// Nothing wrong that is sent to a group has an answer, neither a Reset nor an error, and the servers go
// on.
//
// Proves 7252-8.1-03.
func TestGroupIsSilent(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		conn := node(t, network, 5683, link(1, 1))
		server := endpoint(t, conn, who, nil)
		noisy := node(t, network, 0, link(1, 8))
		c := &coap.Client{Endpoint: endpoint(t, node(t, network, 0, link(1, 9)), nil, nil)}
		for i, group := range coap.AllNodes() {
			require.NoError(t, conn.Join(group, 0))
			before := server.Stats().Sent
			for _, noise := range []struct {
				what   string
				data   []byte
				reason coap.DropReason
			}{
				{"ping", []byte{0x40, 0, 0x10, 1}, exchange.DropGroupConfirmable},
				{"CON GET /who", []byte{0x40, 1, 0x10, 2, 0xb3, 'w', 'h', 'o'}, exchange.DropGroupConfirmable},
				{"NON, token length 15", []byte{0x5f, 1, 0x10, 4}, exchange.DropMalformed},
				{"NON, marker without payload", []byte{0x50, 1, 0x10, 6, 0xff}, exchange.DropMalformed},
				{"NON, code of a reserved class", []byte{0x50, 0x21, 0x10, 7}, exchange.DropReservedCode},
				{"NON, Empty", []byte{0x50, 0, 0x10, 8}, exchange.DropEmptyNon},
				{"NON response that nobody waits for", []byte{0x51, 0x45, 0x10, 9, 1}, exchange.DropUnexpected},
				{"NON GET /, which is 4.04", []byte{0x50, 1, 0x10, 10}, exchange.DropSuppressed},
				{"NON GET with critical option 9999", []byte{0x50, 1, 0x10, 11, 0xe0, 0x26, 0x02}, exchange.DropBadOption},
				{"version 2", []byte{0x90, 1, 0x10, 12}, exchange.DropVersion},
				{"nothing", []byte{}, exchange.DropTooShort},
			} {
				drops := server.Stats().Dropped[noise.reason]
				// Each group has message IDs of its own, lest the same be duplicates.
				if len(noise.data) > 2 {
					noise.data[2] += byte(i)
				}
				_, err := noisy.WriteBatch([]transport.Datagram{{Data: noise.data, Remote: netip.AddrPortFrom(group, 5683), IfIndex: 81}})
				require.NoError(t, err)
				pass(10 * time.Second)
				require.Equal(t, drops+1, server.Stats().Dropped[noise.reason], noise.what)
			}
			require.Equal(t, before, server.Stats().Sent, "nothing was sent to %v", group)
			require.Len(t, ask(t, c, group, 0), 1)
		}
	})
}

// The members of a group are observed together: each notifies by itself, who leaves the group's link
// becomes stale, who comes is found, and all are told in the end.
func TestObserveGroup(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{Delay: 20 * time.Millisecond})
		var servers []*coap.Endpoint
		meters := make([]meter, 3)
		for i := range meters {
			meters[i].Size = 20
			if i == 1 {
				meters[i].Size = 2000 // its rest is fetched by unicast
			}
			conn := node(t, network, 5683, link(1, i+1))
			require.NoError(t, conn.Join(groupAddr.Addr(), 0))
			servers = append(servers, endpoint(t, conn, meters[i].Mux(), nil))
		}
		c := &coap.Client{Endpoint: endpoint(t, node(t, network, 0, link(1, 9)), nil, nil)}
		network.Cut(link(1, 3).Addrs[0], link(1, 9).Addrs[0])
		values := map[netip.Addr]string{}
		states := map[netip.Addr]string{}
		first, steps := 0, 0
		began := time.Now()
		for n, err := range c.ObserveGroup(t.Context(), request(t, coap.GET, groupAddr, "/meter")) {
			require.NoError(t, err)
			from := n.Peer.Addr.Addr()
			states[from] = n.State.String()
			if n.Response != nil {
				var v int
				fmt.Sscan(string(n.Response.Payload), &v)
				values[from] = fmt.Sprint(v, " ", len(n.Response.Payload))
			}
			switch {
			case first == 0 && len(values) == 2:
				first = 1
				require.LessOrEqual(t, time.Since(began), defaultLeisure+time.Second)
				require.Zero(t, servers[2].Observers("/meter"), "it was not reached")
				network.Heal()
				for i := range meters {
					meters[i].Set(7)
					servers[i].Notify("/meter")
				}
			case first == 1 && values[link(1, 1).Addrs[0]] == "7 22" && values[link(1, 2).Addrs[0]] == "7 2002":
				first = 2
				// The first one vanishes; asking for it finds the third.
				require.NoError(t, servers[0].Close())
			case first == 2 && states[link(1, 1).Addrs[0]] == "ended":
				first = 3
			}
			if steps++; first == 3 || steps > 100 {
				break
			}
		}
		require.Equal(t, 3, first, "%v %v", values, states)
		require.Equal(t, "7 22", values[link(1, 3).Addrs[0]])
		require.Equal(t, "live", states[link(1, 3).Addrs[0]])
		// A registration that has just left may be dealt with after the request to forget it; then the
		// next notification is rejected.
		pass(time.Minute)
		for _, s := range servers[1:] {
			s.Notify("/meter")
		}
		pass(time.Minute)
		for i, s := range servers[1:] {
			require.Zero(t, s.Observers("/meter"), "member %d was told", i)
		}
		pass(20 * time.Minute)
		require.Zero(t, sizes(c.Stats()))
	})
}
