//go:build linux

package interop

import (
	"fmt"
	"net/netip"
	"net/rpc"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
)

// What it takes several hosts to see: groups, addresses, interfaces, and what the network reports.

// quick is a leisure that costs no time.
const quick = 30 * time.Millisecond

// sameLink returns the addresses of hosts on a link that answer a request to a group, as the host
// that asks by the interface dev writes them.
func sameLink(group netip.Addr, link int, dev string, hosts ...*host) (addrs []netip.AddrPort) {
	for _, h := range hosts {
		addrs = append(addrs, service(scoped(group, h.on(link), dev)))
	}
	return addrs
}

// scoped returns the address that a host sends from to a group, with dev as zone if it needs one.
func scoped(group netip.Addr, s side, dev string) netip.Addr {
	switch {
	case group.Is4():
		return s.v4
	case group.IsLinkLocalMulticast():
		return s.local.WithZone(dev)
	}
	return s.v6
}

// peers returns who has answered.
func peers(answers []Answer) (addrs []netip.AddrPort) {
	for _, a := range answers {
		addrs = append(addrs, a.Peer)
	}
	return addrs
}

// All servers of a link answer a request to a group, each from its own unicast address, whether the
// client names the interface, the zone, or nothing.
//
// Proves 7252-8.1-01, 7252-8.1-02, 7252-8.2-05, 7252-7.1-01.
func TestNetnsGroup(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	client, servers := l.host(1), []*host{l.host(1), l.host(1), l.host(1)}
	for _, s := range servers {
		s.serve(ServeArgs{Groups: coap.AllNodes(), Leisure: quick})
	}
	client.warm(1, servers...)
	own := client.on(1)
	for _, group := range coap.AllNodes() {
		asks := []Ask{{URI: who(group)}, {URI: who(group), IfIndex: own.index}}
		if group.Is6() {
			asks = append(asks, Ask{URI: who(group.WithZone(own.dev))})
		}
		for _, ask := range asks {
			ask.Want = len(servers)
			answers := client.multicast(ask)
			require.ElementsMatch(t, sameLink(group, 1, own.dev, servers...), peers(answers), "%+v", answers)
			for _, a := range answers {
				requireMember(t, group, own, servers, a)
			}
		}
		for _, s := range servers {
			require.Len(t, s.seen(), len(asks), "no server is reached more than once")
		}
	}
}

// requireMember checks what both ends know of an answer to a request to a group.
func requireMember(t *testing.T, group netip.Addr, own side, servers []*host, a Answer) {
	t.Helper()
	require.Empty(t, a.Err)
	require.Equal(t, own.index, a.IfIndex)
	require.Equal(t, scoped(group, own, own.dev), a.Local.Addr())
	i := slices.IndexFunc(servers, func(s *host) bool { return s.on(1).index == a.Seen.IfIndex })
	require.NotEqual(t, -1, i, "the index of the interface of a server: %+v", a)
	there := servers[i].on(1)
	want := Seen{
		Path: "/who", NonConfirmable: true, Group: group, IfIndex: there.index,
		Peer: netip.AddrPortFrom(scoped(group, own, there.dev), a.Local.Port()),
	}
	if group.Is4() { // for IPv6 the system does not say what it would answer from
		want.Local = service(there.v4)
	}
	require.Equal(t, want, a.Seen)
	require.Equal(t, service(scoped(group, there, own.dev)), a.Peer)
}

// noise is what a group must not answer, and must survive.
var noise = []struct {
	what   string
	data   []byte
	reason coap.DropReason
}{
	{"ping", []byte{0x40, 0, 0x10, 1}, exchange.DropGroupConfirmable},
	{"CON GET /who", []byte{0x40, 1, 0x10, 2, 0xb3, 'w', 'h', 'o'}, exchange.DropGroupConfirmable},
	{"CON, option cut off", []byte{0x40, 1, 0x10, 3, 0xb3, 'w'}, exchange.DropGroupConfirmable},
	{"NON, token length 15", []byte{0x5f, 1, 0x10, 4}, exchange.DropMalformed},
	{"NON, option cut off", []byte{0x50, 1, 0x10, 5, 0xb3, 'w'}, exchange.DropMalformed},
	{"NON, marker without payload", []byte{0x50, 1, 0x10, 6, 0xff}, exchange.DropMalformed},
	{"NON, code of a reserved class", []byte{0x50, 0x21, 0x10, 7}, exchange.DropReservedCode},
	{"NON, Empty", []byte{0x50, 0, 0x10, 8}, exchange.DropEmptyNon},
	{"NON response that nobody waits for", []byte{0x51, 0x45, 0x10, 9, 1}, exchange.DropUnexpected},
	{"NON GET /, which is 4.04", []byte{0x50, 1, 0x10, 10}, exchange.DropSuppressed},
	{"NON GET with critical option 9999", []byte{0x50, 1, 0x10, 11, 0xe0, 0x26, 0x02}, exchange.DropBadOption},
	{"version 2", []byte{0x90, 1, 0x10, 12}, exchange.DropVersion},
	{"nothing", []byte{}, exchange.DropTooShort},
}

// Nothing wrong that is sent to a group has an answer, neither a Reset nor an error, and the
// servers go on.
//
// Proves 7252-8.1-03.
func TestNetnsGroupIsSilent(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	client, servers := l.host(1), []*host{l.host(1), l.host(1)}
	for _, s := range servers {
		s.serve(ServeArgs{Groups: coap.AllNodes(), Leisure: -1})
	}
	client.warm(1, servers...)
	var sent []uint64
	for _, s := range servers {
		sent = append(sent, s.serverStats().Sent)
	}
	own := client.on(1)
	for i, group := range coap.AllNodes() {
		var packets []Packet
		drops := map[coap.DropReason]uint64{}
		for _, n := range noise {
			packets = append(packets, Packet{Remote: service(group), IfIndex: own.index, Data: n.data})
			drops[n.reason] += uint64(i + 1) // each group adds its share
		}
		client.call("Send", packets, nil)
		for _, s := range servers {
			for reason, count := range drops {
				s.call("Dropped", Drops{reason, count}, nil)
			}
		}
		// A ping to each is answered with a Reset, which comes after whatever they
		// have sent before.
		last := Last{Data: []byte{0x70, 0, 0x20, byte(i)}, Count: len(servers)}
		packets = nil
		var want []Packet
		for _, to := range sameLink(group, 1, own.dev, servers...) {
			packets = append(packets, Packet{Remote: to, Data: []byte{0x40, 0, 0x20, byte(i)}})
			want = append(want, Packet{Remote: to, IfIndex: own.index, Data: last.Data})
		}
		client.call("Send", packets, nil)
		var got []Packet
		client.call("Receive", last, &got)
		require.ElementsMatch(t, want, got, "answers to nothing but the pings")
		for k, s := range servers {
			require.Equal(t, sent[k]+uint64(i+1), s.serverStats().Sent, "nor was any sent")
		}
	}
}

// Servers spread their answers over the leisure. What is asserted is that there is time between
// the first and the last of twelve, not how much at most.
//
// Proves 7252-8.2-03.
func TestNetnsLeisure(t *testing.T) {
	t.Parallel()
	const leisure = 300 * time.Millisecond
	l := newLab(t)
	client, servers := l.host(1), []*host{l.host(1), l.host(1), l.host(1)}
	for _, s := range servers {
		s.serve(ServeArgs{Groups: coap.AllNodes(), Leisure: leisure})
	}
	client.warm(1, servers...)
	ask := Ask{URI: who(coap.AllNodes()[0]), Want: len(servers), Window: patience}
	answers := make([][]Answer, 4)
	var calls []*rpc.Call
	for i := range answers {
		calls = append(calls, client.start("Multicast", ask, &answers[i]))
	}
	var delays []time.Duration
	for i, call := range calls {
		client.wait(call)
		require.Len(t, answers[i], len(servers))
		for _, a := range answers[i] {
			require.Empty(t, a.Err)
			delays = append(delays, a.After)
		}
	}
	// By chance this fails once in 10^10 times.
	require.Greater(t, slices.Max(delays)-slices.Min(delays), leisure/10, "%v", delays)
}

// A server with several addresses on two links answers each request from the address that it was
// sent to, and by the way that the system knows to the client.
func TestNetnsTwoInterfaces(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	client, server := l.host(1, 2), l.host(1, 2)
	server.ip("addr add 10.99.1.200/24 dev %s", server.on(1).dev)
	server.ip("addr add 2001:db8:1::200/64 dev %s nodad", server.on(1).dev)
	server.serve(ServeArgs{})
	for _, link := range []int{1, 2} {
		here, there := client.on(link), server.on(link)
		addrs := []netip.Addr{there.v4, there.v6, there.local.WithZone(here.dev)}
		if link == 1 {
			addrs = append(addrs, netip.MustParseAddr("10.99.1.200"), netip.MustParseAddr("2001:db8:1::200"))
		}
		for _, addr := range addrs {
			a := client.get(addr)
			require.Empty(t, a.Err, addr)
			require.Equal(t, service(addr), a.Peer)
			require.Equal(t, here.index, a.IfIndex)
			require.Equal(t, there.index, a.Seen.IfIndex)
			require.Equal(t, addr.WithZone(""), a.Seen.Local.Addr().WithZone(""))
			require.Equal(t, a.Local.Addr().WithZone(""), a.Seen.Peer.Addr().WithZone(""))
		}
	}

	// A host answers on all interfaces for all its addresses: here comes a request by link 1
	// for an address of link 2.
	far := server.on(2)
	client.ip("route add %v/32 via %v\nroute add %v/128 via %v", far.v4, server.on(1).v4, far.v6, server.on(1).v6)
	for _, addr := range []netip.Addr{far.v4, far.v6} {
		a := client.get(addr)
		require.Empty(t, a.Err, addr)
		require.Equal(t, service(addr), a.Peer)
		require.Equal(t, server.on(1).index, a.Seen.IfIndex)
	}
}

// The zone of a link-local address, the interface of a request, and the interfaces of a server say
// which link is meant.
func TestNetnsInterfaces(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	client, one, two, half := l.host(1, 2), l.host(1), l.host(2), l.host(1, 2)
	// The same link-local address is on both links, on different hosts; deprecated, so that they do
	// not use it where they have the choice.
	twin := netip.MustParseAddr("fe80::77")
	one.ip("addr add %v/64 dev %s nodad preferred_lft 0", twin, one.on(1).dev)
	two.ip("addr add %v/64 dev %s nodad preferred_lft 0", twin, two.on(2).dev)
	one.serve(ServeArgs{Groups: coap.AllNodes(), Leisure: quick})
	two.serve(ServeArgs{Groups: coap.AllNodes(), Leisure: quick})
	half.serve(ServeArgs{Groups: coap.AllNodes(), Leisure: quick, Interfaces: []string{half.on(2).dev}})
	half.call("Bystander", coap.AllNodes(), nil) // what its host gets is not for the server

	for link, server := range map[int]*host{1: one, 2: two} {
		here, there := client.on(link), server.on(link)
		a := client.get(twin.WithZone(here.dev))
		require.Empty(t, a.Err)
		require.Equal(t, service(twin.WithZone(here.dev)), a.Peer)
		require.Equal(t, there.index, a.Seen.IfIndex)
		require.Equal(t, here.local.WithZone(there.dev), a.Seen.Peer.Addr())
		require.Equal(t, twin.WithZone(there.dev), a.Seen.Local.Addr())
		server.seen()
	}
	client.warm(1, one)
	client.warm(2, two, half)
	for _, group := range coap.AllNodes() {
		first := sameLink(group, 1, client.on(1).dev, one)
		second := sameLink(group, 2, client.on(2).dev, two, half)
		for _, test := range []struct {
			ifIndex int
			want    []netip.AddrPort
		}{{client.on(1).index, first}, {client.on(2).index, second}, {0, slices.Concat(first, second)}} {
			answers := client.multicast(Ask{URI: who(group), IfIndex: test.ifIndex, Want: len(test.want)})
			require.ElementsMatch(t, test.want, peers(answers), "%v on %d: %+v", group, test.ifIndex, answers)
		}
		// What is asked now comes after any request to the group that went astray.
		for server, link := range map[*host]int{one: 1, two: 2, half: 1} {
			require.Empty(t, client.get(server.on(link).v4).Err)
			require.Len(t, server.seen(), 3, "two requests to the group, and this one")
		}
	}
}

// An interface that appears while a server runs is joined by joining again, however many have come
// and gone before, and what was joined stays so, even if its link fails for a while.
func TestNetnsNewInterface(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	client, server := l.host(1, 2), l.host(1)
	server.serve(ServeArgs{Groups: coap.AllNodes(), Leisure: quick, ByHand: true})
	for range 25 { // more than the memberships that Linux lets a socket have
		server.ip("link add brief type veth peer name other\nlink set brief up\naddr add 10.99.3.1/24 dev brief")
		server.call("Join", coap.AllNodes(), nil)
		server.ip("link del brief")
	}
	l.plug(server, 2)
	require.Empty(t, client.get(server.on(2).v4).Err, "unicast works at once")
	for range 2 {
		server.call("Join", coap.AllNodes(), nil)
		for _, group := range coap.AllNodes() {
			for _, link := range []int{1, 2} {
				here := client.on(link)
				answers := client.multicast(Ask{URI: who(group), IfIndex: here.index, Want: 1})
				require.Equal(t, sameLink(group, link, here.dev, server), peers(answers), "%+v", answers)
			}
			both := client.multicast(Ask{URI: who(group), Want: 2})
			want := append(sameLink(group, 1, client.on(1).dev, server), sameLink(group, 2, client.on(2).dev, server)...)
			require.ElementsMatch(t, want, peers(both), "who is reached by both links answers on both")
		}
		// IPv6 addresses go with the link.
		s := server.on(1)
		server.ip("link set %[1]s down\nlink set %[1]s up\naddr replace %[2]v/64 dev %[1]s nodad\naddr replace %[3]v/64 dev %[1]s nodad",
			s.dev, s.v6, s.local.WithZone(""))
		l.ready(server, 1)
	}
}

// A report of the network that a request cannot be delivered ends it at once, without a
// retransmission; that of others goes on.
func TestNetnsUnreachable(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	client, server := l.host(1), l.host(1)
	server.serve(ServeArgs{})
	here, there := client.on(1), server.on(1)
	var addrs []netip.Addr
	for _, addr := range []netip.Addr{there.v4, there.v6, there.local.WithZone(here.dev)} {
		require.Empty(t, client.get(addr).Err)
		addrs = append(addrs, addr)
	}
	type failure struct {
		uri   string
		errno syscall.Errno
	}
	failures := []failure{
		{who(netip.MustParseAddr("203.0.113.1")), syscall.ENETUNREACH},
		{who(netip.MustParseAddr("2001:db8:ff::1")), syscall.ENETUNREACH},
	}
	for _, addr := range addrs {
		failures = append(failures, failure{coapURI(addr, 9, "/who"), syscall.ECONNREFUSED})
	}
	for _, f := range failures {
		for _, non := range []bool{false, true} {
			a := client.do(Ask{URI: f.uri, NonConfirmable: non})
			require.Equal(t, coap.ErrUnreachable, a.End, "%s: %s", f.uri, a.Err)
			require.Equal(t, f.errno, a.Errno, "%s: %s", f.uri, a.Err)
		}
	}
	stats := client.clientStats()
	require.Zero(t, stats.Retransmitted)
	require.Zero(t, stats.TimedOut)
	require.EqualValues(t, 2*len(failures), stats.Unreachable)
	for _, addr := range addrs {
		require.Empty(t, client.get(addr).Err)
	}
}

// A server survives a change of its addresses, even under a request that it then cannot answer, and
// answers at the new ones.
func TestNetnsRenumber(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	client, server := l.host(1), l.host(1)
	server.serve(ServeArgs{Groups: coap.AllNodes(), Leisure: quick})
	there := server.on(1)
	for i, move := range []struct{ from, to netip.Addr }{
		{there.v4, netip.MustParseAddr("10.99.1.201")},
		{there.v6, netip.MustParseAddr("2001:db8:1::201")},
	} {
		require.Empty(t, client.get(move.from).Err)
		bits := map[bool]int{true: 24, false: 64}[move.from.Is4()]
		commands := fmt.Sprintf("addr del %v/%d dev %s\naddr add %v/%d dev %s", move.from, bits, there.dev, move.to, bits, there.dev)
		if move.to.Is6() {
			commands += " nodad"
		}
		// NON POST /move
		data := append([]byte{0x50, 2, 0x30, byte(i), 0xb4, 'm', 'o', 'v', 'e', 0xff}, commands+"\n"...)
		client.call("Send", []Packet{{Remote: service(move.from), Data: data}}, nil)
		server.call("Dropped", Drops{exchange.DropUndelivered, uint64(i + 1)}, nil)
		a := client.get(move.to)
		require.Empty(t, a.Err)
		require.Equal(t, service(move.to), a.Peer)
	}
	for _, group := range coap.AllNodes() {
		answers := client.multicast(Ask{URI: who(group), IfIndex: client.on(1).index, Want: 1})
		require.Len(t, answers, 1)
		require.Empty(t, answers[0].Err, group)
	}
}

// The way back need not be the way there: the server knows the client by link 2, who sends by link 1
// and, not resolving addresses there, gets nothing by it.
func TestNetnsAsymmetricRoutes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	client, server := l.host(1, 2), l.host(1, 2)
	here, there, back := client.on(1), server.on(1), client.on(2)
	home4, home6 := netip.MustParseAddr("10.99.9.1"), netip.MustParseAddr("2001:db8:9::1")
	const mac = "02:00:00:00:00:01"
	server.ip("link set %s address %s", there.dev, mac)
	client.ip(`link set %[1]s arp off
		neigh add %[2]v lladdr %[4]s dev %[1]s nud permanent
		neigh add %[3]v lladdr %[4]s dev %[1]s nud permanent`, here.dev, there.v4, there.v6, mac)
	client.ip("addr add %v/32 dev lo\naddr add %v/128 dev lo nodad", home4, home6)
	client.ip("route add 10.99.8.0/24 via %v src %v", there.v4, home4)
	client.ip("route add 2001:db8:8::/64 via %v src %v", there.v6, home6)
	server.ip("addr add 10.99.8.1/32 dev lo\naddr add 2001:db8:8::1/128 dev lo nodad")
	server.ip("route add 10.99.9.0/24 via %v\nroute add 2001:db8:9::/64 via %v", back.v4, back.v6)
	server.serve(ServeArgs{})
	for _, addr := range []string{"10.99.8.1", "2001:db8:8::1"} {
		a := client.get(netip.MustParseAddr(addr))
		require.Empty(t, a.Err, addr)
		require.Equal(t, addr, a.Peer.Addr().String())
		require.Equal(t, there.index, a.Seen.IfIndex, "there")
		require.Equal(t, back.index, a.IfIndex, "back")
	}
}
