package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// The first message ID differs from run to run and from peer to peer.
//
// Proves 7252-4.4-s09.
func TestRandomStart(t *testing.T) {
	var first []uint16
	for n := range 100 {
		r := newRig(t, Config{Seed: seed(n)})
		for _, to := range []string{"A", "B"} {
			r.request(1, "NON GET to=%s", to)
			first = append(first, r.want("request", "NON GET to=%s", to).MessageID)
		}
	}
	slices.Sort(first)
	high := 0
	for _, mid := range first {
		if mid > midsForPeers/2 {
			high++
		}
	}
	require.Greater(t, len(slices.Compact(first)), 190, "different message IDs of 200")
	require.Greater(t, high, 60)
	require.Less(t, high, 140)
}

// One sequence serves requests, separate responses and pings, Confirmable or not.
//
// Proves 7252-4.3-s11.
func TestOneSequence(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{NStart: 10}})
	r.request(1, "CON GET")
	mid := r.want("request", "CON GET").MessageID
	r.request(2, "NON GET")
	r.want("request", "NON GET mid=%d", mid+1)
	_, err := r.e.Ping(r.now, Target{Remote: addresses["A"]}, RequestOptions{})
	require.NoError(t, err)
	r.collect()
	r.want("ping", "CON 0.00 mid=%d", mid+2)
	r.receive("request", "NON GET mid=1 tok=01")
	r.respond(r.handle("request", "GET"), "2.05")
	r.want("response", "NON 2.05 mid=%d", mid+3)
	r.receive("request", "CON GET mid=2 tok=02")
	ev := r.handle("request", "GET")
	r.advance(time.Second)
	r.want("late", "ACK 0.00 mid=2")
	r.respond(ev, "2.05")
	r.want("response", "CON 2.05 mid=%d", mid+4)
}

// The allocator against a slow, obvious one, with lifetimes of all sorts: an ID is never given out
// within its lifetime, and one is refused only while all are within theirs, give or take a part
// of 1/128.
//
// Proves 7252-4.4-02.
func TestMIDsNeverReused(t *testing.T) {
	for _, size := range []int{midsForPeers, 500} {
		random := rand.New(rand.NewPCG(1, 2))
		var a midAllocator
		freeAt := map[uint16]int64{}
		lifetimes := []int64{247e9, 145e9, 1e9}
		now, refused := int64(0), 0
		for taken := 0; taken < 200_000; {
			// A little more than the rate that lasts.
			now += random.Int64N(2 * 200e9 / int64(size))
			lifetime := lifetimes[random.IntN(3)]
			mid, ok := a.take(now, lifetime, 100, size, random.Uint32)
			if !ok {
				refused++
				if a.nextFree() <= now {
					t.Fatalf("a refusal at %d says to come back at %d", now, a.nextFree())
				}
				now = a.nextFree()
				continue
			}
			taken++
			switch {
			case int(mid) < 100 || int(mid) >= 100+size:
				t.Fatalf("message ID %d is out of range", mid)
			case freeAt[mid] > now:
				t.Fatalf("message ID %d is within its lifetime", mid)
			case len(a.parts()) > 2*midBuckets+3:
				t.Fatalf("%d buckets", len(a.parts()))
			case a.lastFree() > now+247e9*(midBuckets+1)/midBuckets:
				t.Fatalf("the last ID is free at %d, it is %d now", a.lastFree(), now)
			}
			freeAt[mid] = now + lifetime
		}
		require.NotZero(t, refused, "the test reaches the limit")
		a.expire(now + 300e9)
		require.Zero(t, a.live)
		require.Nil(t, a.buckets)
	}
}

// With one lifetime, the allocator waits at most 1/128 of it longer than necessary.
func TestMIDsAreNotWasted(t *testing.T) {
	var a midAllocator
	const size, lifetime = 1000, int64(128e9)
	random := func() uint32 { return 7 }
	for i := range int64(size) {
		_, ok := a.take(i*5e6, lifetime, 0, size, random)
		require.True(t, ok)
	}
	_, ok := a.take(lifetime-1, lifetime, 0, size, random)
	require.False(t, ok, "all are in use")
	_, ok = a.take(lifetime+1e9, lifetime, 0, size, random)
	require.True(t, ok, "1/128 of the lifetime after the first could be free")
}

// 200,000 requests in virtual time, as fast as the message IDs allow.
//
// Proves 7252-4.4-02.
func TestMIDsOfOneEndpointPair(t *testing.T) {
	total := 200_000
	if raceEnabled || testing.Short() {
		total = 70_000
	}
	now := time.Unix(0, 0)
	e := New(Config{Limits: exchange.Limits{QueuePerPeer: 1}}, now)
	to := Target{Remote: addresses["A"]}
	get := message.Message{Code: message.GET}
	last := make([]time.Time, 0x10000)
	var d transport.Datagram
	answer := []byte{0x68, byte(message.Content), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	waited, seen := 0, 0
	for seen < total {
		_, err := e.Request(now, to, &get, RequestOptions{})
		require.NoError(t, err)
		for !e.Transmit(&d) {
			waited++
			at, ok := e.NextTimeout()
			require.True(t, ok, "a queued request is woken up")
			now = at
			e.Advance(now)
		}
		mid := uint16(d.Data[2])<<8 | uint16(d.Data[3])
		require.True(t, last[mid].IsZero() || now.Sub(last[mid]) >= 247*time.Second, "message ID %d after %v", mid, now.Sub(last[mid]))
		require.Less(t, mid, uint16(midsForPeers), "the range of groups is not touched")
		last[mid] = now
		seen++
		copy(answer[2:], d.Data[2:12])
		e.Receive(now, &transport.Datagram{Data: answer, Remote: to.Remote})
		ev, ok := nextEvent(e)
		require.True(t, ok)
		require.Equal(t, EventResponse, ev.Kind)
		now = now.Add(time.Millisecond)
	}
	require.NotZero(t, waited, "the test reaches the limit")
	if total > 3*midsForPeers {
		require.Less(t, now.Sub(time.Unix(0, 0)), 3*253*time.Second, "a message ID is used again soon after its lifetime")
	}
}

// Proves 7252-8.1-05.
func TestMIDsExhausted(t *testing.T) {
	r := newRig(t, Config{})
	r.request(0, "NON GET")
	r.out = nil
	p := r.peerNamed("A")
	for p.mids.live < midsForPeers {
		mid, ok := r.e.takeMID(p, 100e9)
		require.True(t, ok)
		require.Less(t, int(mid), midsForPeers, "the others are for groups")
	}
	_, err := r.try(RequestOptions{NoWait: true, Params: &exchange.Params{NStart: 2}}, "CON GET")
	require.Equal(t, exchange.ErrBusy, err, "for who does not want to wait")
	_, err = r.try(RequestOptions{User: 1, Params: &exchange.Params{NStart: 2}}, "CON GET")
	require.NoError(t, err)
	r.receive("request", "NON GET mid=1 tok=07")
	r.respond(r.handle("request", "GET"), "2.05")
	r.receive("group request", "NON GET mid=2 tok=07 group")
	require.Equal(t, exchange.ErrBusy, r.tryRespond(r.handle("group request", "GET"), "2.05"))
	r.idle("there is no message ID for any")
	require.Equal(t, 2, r.e.Stats().Queued)
	r.advance(145*time.Second - 1)
	r.idle("not yet: the first has a lifetime of 145 s, and the others are behind it")
	r.advance(1)
	r.want("responses go first", "NON 2.05 tok=07")
	r.want("then requests", "CON GET")
	checkEngine(t, r.e)
}

// Proves 7252-8.1-05.
func TestGroupRange(t *testing.T) {
	var a midAllocator
	random := rand.New(rand.NewPCG(3, 4))
	for range midsForGroups {
		mid, ok := a.take(0, 1, midsForPeers, midsForGroups, random.Uint32)
		require.True(t, ok)
		require.GreaterOrEqual(t, int(mid), midsForPeers, "the IDs of groups and of peers do not overlap")
	}
	_, ok := a.take(0, 1, midsForPeers, midsForGroups, random.Uint32)
	require.False(t, ok)
}

// A start from the upper half of the random numbers is in range, whatever the size of an int.
func TestStartInRange(t *testing.T) {
	var a midAllocator
	mid, ok := a.take(0, 1, 0, midsForPeers, func() uint32 { return 0xFFFFFFFF })
	require.True(t, ok)
	require.Equal(t, uint16(0xFFFFFFFF%midsForPeers), mid)
}
