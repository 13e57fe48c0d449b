package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
)

// A response to a group request is sent at a random time within the leisure.
//
// Proves 7252-8-01, 7252-8.1-02, 7252-8.2-03, 7252-8.2-s05, 7252-5.2.3-01.
func TestLeisure(t *testing.T) {
	var at []time.Duration
	for n := range 300 {
		r := newRig(t, Config{Seed: seed(n)})
		r.receive("request", "NON GET mid=1 tok=0102 group")
		ev := r.handle("request", "GET")
		require.Equal(t, group, ev.Group, "the layer above knows")
		r.respond(ev, "2.05 pay=hello")
		require.Zero(t, r.e.Stats().Handling)
		if n%2 == 0 {
			r.receive("a duplicate meanwhile", "NON GET mid=1 tok=0102 group")
		}
		r.advance(5 * time.Second)
		s := r.want("response", "NON 2.05 tok=0102 pay=hello local=L1")
		at = append(at, s.at)
		r.receive("a duplicate", "NON GET mid=1 tok=0102 group")
		r.advance(time.Minute)
		r.idle("one response")
		checkEngine(t, r.e)
		r.quiet()
	}
	var quarter [4]int
	for _, d := range at {
		quarter[min(d*4/(5*time.Second), 3)]++
	}
	for i, n := range quarter {
		require.InDelta(t, 75, n, 35, "responses in quarter %d of the leisure: %v", i, quarter)
	}
}

func TestLeisureConfigured(t *testing.T) {
	for name, leisure := range map[string]time.Duration{"none": -1, "1s": time.Second} {
		t.Run(name, func(t *testing.T) {
			for n := range 50 {
				r := newRig(t, Config{Seed: seed(n), Params: exchange.Params{DefaultLeisure: leisure}})
				r.receive("request", "NON GET mid=1 tok=0102 group")
				r.respond(r.handle("request", "GET"), "2.05")
				r.advance(max(leisure, 0))
				r.want("response", "NON 2.05")
				checkEngine(t, r.e)
			}
		})
	}
}

// Error responses to a group are not sent, and nothing is reset or acknowledged.
//
// Proves 7252-8.1-03, 7252-8.1-01, 7252-8.2-01.
func TestGroupSilence(t *testing.T) {
	r := newRig(t, Config{})
	for i, code := range []string{"4.00", "4.04", "5.00", "5.03"} {
		r.receive("request", "NON GET mid=%d tok=0102 group", i)
		r.respond(r.handle("request", "GET"), "%s", code)
	}
	r.dropped("suppressed", exchange.DropSuppressed, 4)
	r.receive("request", "NON GET mid=9 tok=0102 group")
	r.e.Drop(r.now, r.handle("request", "GET").Incoming, exchange.DropBadOption)
	r.receive("a Confirmable request must not go to a group", "CON GET mid=10 tok=0102 group")
	require.Equal(t, uint64(1), r.e.Stats().Dropped[exchange.DropGroupConfirmable])
	r.receive("nobody handles it yet", "NON GET mid=11 group")
	r.handle("request", "GET")
	r.advance(time.Minute)
	r.idle("silence")
	require.Zero(t, r.e.Stats().Resets)
	require.Zero(t, r.e.Stats().EmptyAcks)
}

// The message ID of a delayed response lives from when it is sent.
//
// Proves 7252-4.4-02.
func TestLeisureAndMessageID(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("request", "NON GET mid=1 group")
	r.respond(r.handle("request", "GET"), "2.05")
	r.advance(5 * time.Second)
	at := r.want("response", "NON 2.05").at
	p := r.peerNamed("A")
	require.GreaterOrEqual(t, time.Duration(p.mids.nextFree()), at+145*time.Second)
	r.quiet()
}

// Responses that wait for their time take memory. When it runs out they are dropped and counted,
// not sent at once, which is what the leisure is to prevent.
//
// Proves 7252-8.2-03.
func TestLeisureWithoutMemory(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{RememberedBytesPerPeer: 4 * (recordCost + delayCost + 64)}})
	for i := range 20 {
		r.receive("request", "NON GET mid=%d tok=%02x group", i, i)
		r.respond(r.handle("request", "GET"), "2.05")
		r.noneSent(fmt.Sprintf("response %d waits", i))
		checkEngine(t, r.e)
	}
	r.advance(5 * time.Second)
	require.Len(t, r.out, 4)
	for _, s := range r.out {
		require.GreaterOrEqual(t, s.Token[0], byte(16), "the newest are kept")
	}
	require.Equal(t, uint64(16), r.e.Stats().EvictedReplies)
	r.quiet()

	r = newRig(t, Config{Limits: exchange.Limits{RememberedBytesPerPeer: 1}})
	r.receive("request", "NON GET mid=1 group")
	r.respond(r.handle("request", "GET"), "2.05")
	r.advance(time.Minute)
	r.idle("no memory at all")
	require.Equal(t, uint64(1), r.e.Stats().Dropped[exchange.DropMemory])
	r.quiet()
}

// A POST to a group is performed once, like any other.
func TestGroupPost(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("request", "NON POST mid=1 group")
	r.respond(r.handle("request", "POST"), "2.04")
	r.receive("again", "NON POST mid=1 group")
	r.advance(time.Minute)
	r.want("one response", "NON 2.04")
	r.receive("again", "NON POST mid=1 group")
	r.idle("no more")
	checkEngine(t, r.e)
	r.quiet()
}
