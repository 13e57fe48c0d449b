package engine

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// addr returns the address of the peer with number n.
func addr(n int) netip.AddrPort {
	var a [16]byte
	a[0], a[1] = 0x20, 0x01
	binary.BigEndian.PutUint32(a[12:], uint32(n))
	return netip.AddrPortFrom(netip.AddrFrom16(a), 5683)
}

// A peer is known while something of it is: a handler, a reply, a message ID of ours.
func TestLifeOfAPeer(t *testing.T) {
	r := newRig(t, Config{})
	peers := func() int { return r.e.Stats().Peers }
	r.receive("request", "CON GET mid=1")
	ev := r.handle("request", "GET")
	require.Equal(t, 1, peers())
	r.respond(ev, "2.05")
	r.advance(247*time.Second - 1)
	require.Equal(t, 1, peers(), "a reply is remembered")
	r.advance(time.Duration(forgetSlack) + 1)
	require.Equal(t, 0, peers(), "and forgotten")

	r.cancel(r.request(1, "CON GET"))
	r.advance(247*time.Second - 1)
	require.Equal(t, 1, peers(), "a message ID is within its lifetime")
	checkEngine(t, r.e)
	r.advance(1)
	require.Equal(t, 0, peers(), "and free again")

	r.cancel(r.request(1, "CON GET"))
	r.advance(200 * time.Second)
	r.cancel(r.request(2, "NON GET"))
	r.advance(145*time.Second - 1)
	require.Equal(t, 1, peers(), "the last message ID decides")
	r.advance(1)
	require.Equal(t, 0, peers())
	requireEmpty(t, r.e)
}

// Peers are told apart by all that is in their addresses, and their addresses come back whole.
func TestPeersApart(t *testing.T) {
	r := newRig(t, Config{})
	session := &transport.Session{}
	var keys []peerKey
	for _, s := range []string{
		"192.0.2.1:5683", "[::ffff:192.0.2.1]:5683", "[2001:db8::1]:5683", "[2001:db8::1]:5684", "[fe80::1%a]:5683", "[fe80::1%b]:5683", "[fe80::1]:5683", "[::]:0",
	} {
		keys = append(keys, peerKey{addr: netip.MustParseAddrPort(s)})
	}
	keys = append(keys, peerKey{}, peerKey{addr: keys[0].addr, session: session}, peerKey{addr: keys[0].addr, session: new(transport.Session)})
	var rows []uint32
	for i, k := range keys {
		find := peerKey{addr: k.addr}
		if k.session != nil {
			find = peerKey{session: k.session}
		}
		require.Zero(t, r.e.findRow(find), "key %d", i)
		row := r.e.row(find, k.addr)
		require.NotContains(t, rows, row, "key %d", i)
		rows = append(rows, row)
		require.Equal(t, k, r.e.keyOfRow(r.e.rows.at(row)), "key %d", i)
		require.Equal(t, row, r.e.findRow(find), "key %d", i)
	}
	for i, row := range rows {
		require.True(t, r.e.is(r.e.rows.at(row), keys[i]))
		r.e.release(row)
	}
	requireEmpty(t, r.e)
}

// Closing ends all exchanges, in the order in which their peers came.
func TestCloseInOrder(t *testing.T) {
	r := newRig(t, Config{})
	for i := range 1000 {
		_, err := r.e.Request(r.now, Target{Remote: addr(i)}, &message.Message{Code: message.GET}, RequestOptions{User: i})
		require.NoError(t, err)
	}
	r.e.Close()
	r.collect()
	for i := range 1000 {
		r.end("closed", i, exchange.ErrClosed)
	}
	require.Zero(t, r.e.Stats().Exchanges)
}

// A full table forgets who has been idle for longest, but nobody who is needed.
func TestPeersLimit(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{Peers: 100}})
	open := r.request("open", "CON GET to=B")
	r.receive("not idempotent", "CON POST mid=1 from=C")
	r.respond(r.handle("not idempotent", "POST"), "2.04")
	r.out = nil
	for i := range 1000 {
		d := transport.Datagram{Data: []byte{0x40, 1, 0, 1}, Remote: addr(i), Local: addresses["L1"]}
		if i%3 == 0 {
			x, err := r.e.Request(r.now, Target{Remote: addr(i)}, &message.Message{Code: message.GET}, RequestOptions{})
			require.NoError(t, err)
			r.cancel(x)
			continue
		}
		r.datagram(d)
		r.respond(r.handle("request", "GET"), "2.05")
	}
	require.Equal(t, 100, r.e.Stats().Peers)
	require.Equal(t, uint64(902), r.e.Stats().EvictedPeers)
	checkEngine(t, r.e)
	r.out = nil
	r.receive("the reply to a request that is not idempotent is kept", "CON POST mid=1 from=C")
	r.want("the same", "ACK 2.04 mid=1 to=C")
	r.cancel(open)
	r.quiet()

	r = newRig(t, Config{Limits: exchange.Limits{Peers: 1}})
	r.request(1, "CON GET")
	_, err := r.try(RequestOptions{}, "CON GET to=B")
	require.Equal(t, exchange.ErrBusy, err)
	r.request(2, "CON GET")
	r.quiet()
}

// A peer with many remembered replies does not make one step long.
func TestPeerWithManyRepliesIsHardToEvict(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{Peers: 1}})
	for i := range 40 {
		r.receive("request", "CON GET mid=%d", i)
		r.respond(r.handle("request", "GET"), "2.05")
	}
	r.out = nil
	for range 2 {
		r.receive("request", "CON GET mid=1 from=B")
		r.want("no room yet", "ACK 5.03 mid=1 to=B")
		checkEngine(t, r.e)
	}
	r.receive("request", "CON GET mid=1 from=B")
	r.handle("room", "GET")
	require.Equal(t, uint64(40), r.e.Stats().EvictedReplies)
	require.Equal(t, uint64(1), r.e.Stats().EvictedPeers)
}

// Requests that are not idempotent take at most seven eighths of the table, so that others can always
// make room for each other.
func TestPinnedPeers(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{Peers: 80}})
	post := func(i, mid int) bool {
		r.datagram(transport.Datagram{Data: []byte{0x40, 2, byte(mid >> 8), byte(mid)}, Remote: addr(i), Local: addresses["L1"]})
		served := len(r.events) > 0
		if served {
			r.respond(r.handle("request", "POST"), "2.04")
		}
		checkEngine(t, r.e)
		return served
	}
	for i := range 100 {
		require.Equal(t, i < 70, post(i, 1), "peer %d", i)
	}
	r.dropped("all places for such peers are taken", exchange.DropPeers, 30)
	require.Equal(t, message.ServiceUnavailable, r.out[len(r.out)-1].Code)
	require.True(t, post(0, 2), "one that has a place")
	for i := range 50 {
		r.datagram(transport.Datagram{Data: []byte{0x40, 1, 0, 3}, Remote: addr(1000 + i), Local: addresses["L1"]})
		r.respond(r.handle("idempotent", "GET"), "2.05")
	}
	require.Equal(t, 80, r.e.Stats().Peers)
	require.False(t, post(1049, 4), "one that has no such place")
	r.advance(250 * time.Second)
	require.True(t, post(100, 1))
	r.quiet()
}

// memoryInUse returns the bytes of live objects, and of the pages that hold them.
func memoryInUse() (live, inuse uint64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.HeapInuse
}

// 100,000 peers come, are remembered, and go. All memory comes back.
func TestMemoryComesBack(t *testing.T) {
	peers := 100_000
	if raceEnabled || testing.Short() {
		peers = 20_000
	}
	now := time.Unix(0, 0)
	e := New(Config{}, now)
	var d transport.Datagram
	request := []byte{0x44, 1, 0, 1, 1, 2, 3, 4, 0xb4, 't', 'e', 'm', 'p'}
	response := message.Message{Code: message.Content, Payload: []byte("21.5 C")}
	get := message.Message{Code: message.GET}
	wave := func(n int) {
		for i := range n {
			in := transport.Datagram{Data: request, Remote: addr(i), Local: addresses["L1"]}
			e.Receive(now, &in)
			ev, _ := nextEvent(e)
			require.NoError(t, e.Respond(now, ev.Incoming, &response))
			if !e.Transmit(&d) {
				t.Fatal("no response")
			}
		}
	}
	for range 3 { // what stays for ever is there before we measure
		wave(1000)
		for e.dedup.records.live > 0 {
			now = now.Add(time.Second)
			e.Advance(now)
		}
	}
	liveBefore, before := memoryInUse()
	wave(peers)
	require.Equal(t, peers, e.Stats().Peers)
	liveFull, _ := memoryInUse()
	per := float64(liveFull-liveBefore) / float64(peers)
	t.Logf("%.0f bytes per remembered peer with one piggybacked reply of %d bytes", per, len(d.Data))
	if !raceEnabled {
		require.Less(t, per, float64(recordCost+replyRoom(len(d.Data)))*1.2)
	}
	// Besides, each is asked something and does not answer.
	for i := range peers {
		if _, err := e.Request(now, Target{Remote: addr(i)}, &get, RequestOptions{}); err != nil {
			t.Fatal(err)
		}
		e.Transmit(&d)
	}
	both, bothPages := memoryInUse()
	t.Logf("%.0f bytes with a request of ours under way as well", float64(both-liveBefore)/float64(peers))
	for {
		at, ok := e.NextTimeout()
		if !ok {
			break
		}
		now = at
		e.Advance(now)
		for e.Transmit(&d) {
		}
		for {
			if _, ok := nextEvent(e); !ok {
				break
			}
		}
	}
	requireEmpty(t, e)
	liveAfter, after := memoryInUse()
	t.Logf("live: %d before, %d full, %d after; pages: %d before, %d full, %d after", liveBefore, both, liveAfter, before, bothPages, after)
	require.Less(t, int(liveAfter)-int(liveBefore), int(both-liveBefore)/100, "bytes of live objects that stay")
	if peers == 100_000 {
		// The free lists keep a few objects, each of which may hold a page.
		require.Less(t, int(after)-int(before), int(bothPages-before)/20, "bytes of pages that stay")
	}
	runtime.KeepAlive(e)
}
