package coap_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/transport/mem"
)

// midWatch looks at what one endpoint sends to another and notes each message ID that it uses
// for another Confirmable message before EXCHANGE_LIFETIME has passed. A Filter calls it, one call
// at a time.
type midWatch struct {
	from   netip.AddrPort
	last   [1 << 16]time.Time
	token  [1 << 16][8]byte
	reused int
	fresh  int // messages that are no retransmissions
}

const exchangeLifetime = 247 * time.Second

func (w *midWatch) watch(p *mem.Packet) mem.Verdict {
	if p.Src != w.from || len(p.Data) < 12 || p.Data[0] != 0x48 {
		return mem.Verdict{}
	}
	mid := int(p.Data[2])<<8 | int(p.Data[3])
	if bytes.Equal(w.token[mid][:], p.Data[4:12]) {
		return mem.Verdict{}
	}
	if !w.last[mid].IsZero() && time.Since(w.last[mid]) < exchangeLifetime {
		w.reused++
	}
	w.fresh++
	w.last[mid] = time.Now()
	copy(w.token[mid][:], p.Data[4:])
	return mem.Verdict{}
}

// A client sends 200,000 requests to one server over one socket: no wrong answer, no message ID
// used again within its lifetime, no end in sight. That needs three lifetimes of message IDs,
// for which requests wait.
//
// Proves 7252-4.4-02, 7252-5.3.1-02.
func TestManyRequests(t *testing.T) {
	for _, test := range []struct {
		name        string
		parallel, n int
		params      coap.Params
		delay       time.Duration
	}{
		{"64 in parallel, NSTART 64", 64, 200_000, coap.Params{NStart: 64}, 0},
		{"4 in parallel, defaults", 4, 70_000, coap.Params{}, 0},
		{"16 in parallel, 5 ms away", 16, 20_000, coap.Params{NStart: 16}, 5 * time.Millisecond},
	} {
		if raceEnabled {
			test.n /= 10
		}
		bubble(t, test.name, func(t *testing.T) {
			watch := &midWatch{from: peerAddr2}
			network := mem.NewNetwork(mem.Config{Delay: test.delay, Filter: watch.watch})
			r := newRigIn(t, network, newResources(), nil)
			ep := endpoint(t, listen(t, network, peerAddr2), nil, &coap.Config{Params: test.params})
			c := &coap.Client{Endpoint: ep}
			start := time.Now()
			var next atomic.Int64
			var all sync.WaitGroup
			for range test.parallel {
				all.Go(func() {
					var resp coap.Response
					for n := next.Add(1); n <= int64(test.n) && !t.Failed(); n = next.Add(1) {
						nonce := strconv.FormatInt(n, 10)
						req := request(t, coap.GET, serverAddr, "/echo?n="+nonce)
						if err := c.Do(context.Background(), req, &resp); err != nil {
							t.Error(err)
						} else if string(resp.Payload) != nonce {
							t.Errorf("asked for %s, got %s %q", nonce, resp.Code, resp.Payload)
						}
					}
				})
			}
			all.Wait()
			require.Equal(t, test.n, watch.fresh, "requests seen")
			require.Zero(t, watch.reused, "message IDs used again within EXCHANGE_LIFETIME")
			if needed := time.Duration((test.n-1)/64512) * exchangeLifetime; needed > 0 {
				require.GreaterOrEqual(t, time.Since(start), needed, "RFC 7252 allows no more")
				require.Less(t, time.Since(start), needed*3/2, "the message IDs are used well")
			}
			require.EqualValues(t, test.n, c.Stats().Responses)
			require.Zero(t, c.Stats().TimedOut)
			require.EqualValues(t, test.n, r.ep.Stats().Requests)
			t.Logf("%d requests in %v of virtual time, %d retransmissions", test.n, time.Since(start), c.Stats().Retransmitted)
		})
	}
}

// With all message IDs in their lifetime, a request that is not to wait fails at once.
func TestNoMessageIDLeft(t *testing.T) {
	if raceEnabled {
		t.Skip("the same as without the race detector, and slow")
	}
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, newResources(), nil)
		ep := endpoint(t, listen(t, r.net, peerAddr2), nil, nil)
		req := request(t, coap.GET, serverAddr, "/plain")
		req.NoWait = true
		start := time.Now()
		var resp coap.Response
		n := 0
		var err error
		for ; err == nil; n++ {
			err = ep.RoundTrip(t.Context(), req, &resp)
		}
		require.ErrorIs(t, err, coap.ErrBusy)
		require.Greater(t, n, 60_000)
		require.Zero(t, time.Since(start))
		got := async(t.Context(), ep, request(t, coap.GET, serverAddr, "/plain"))
		require.False(t, got.IsDone(), "waits")
		pass(exchangeLifetime + 5*time.Second)
		got.RequireCode(t, "message IDs are free again", "2.05")
	})
}

// Through 30 % loss, duplicates and reordering, each exchange gets its own answer or times out when
// the RFC says so; no request is performed twice; and the share of time-outs is that
// of five attempts of which all fail.
//
// Proves 7252-4.2-05, 7252-4.5-01, 7252-5.3.2-02.
func TestLossyNetwork(t *testing.T) {
	const loss, duplicate = 0.3, 0.1
	clients, each := 200, 50
	if raceEnabled {
		clients = 40
	}
	bubble(t, "", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{
			Seed: 7, Loss: loss, Duplicate: duplicate, Reorder: 0.2, ReorderBy: 30 * time.Millisecond,
			Delay: 5 * time.Millisecond, Jitter: 20 * time.Millisecond, Queue: 1 << 16,
		})
		var mu sync.Mutex
		performed := make(map[string]int)
		newRigIn(t, network, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			mu.Lock()
			defer mu.Unlock()
			performed[string(r.Payload)]++
			return w.Text("done " + string(r.Payload))
		}), nil)
		var answered, timedOut atomic.Int64
		var all sync.WaitGroup
		for i := range clients {
			ep := endpoint(t, listen(t, network, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 5683)), nil, nil)
			all.Go(func() {
				var resp coap.Response
				for j := range each {
					req := request(t, coap.POST, serverAddr, "/perform")
					req.Payload = fmt.Appendf(nil, "%d/%d", i, j)
					start := time.Now()
					err := ep.RoundTrip(context.Background(), req, &resp)
					took := time.Since(start)
					switch {
					case err == nil && string(resp.Payload) == "done "+string(req.Payload):
						answered.Add(1)
					case errors.Is(err, coap.ErrNotAcknowledged) && took >= 62*time.Second && took <= 93*time.Second:
						timedOut.Add(1)
					case errors.Is(err, coap.ErrNoSeparateResponse) && took >= exchangeLifetime && took <= exchangeLifetime+93*time.Second:
						timedOut.Add(1)
					default:
						t.Errorf("%s after %v: %v %q", req.Payload, took, err, resp.Payload)
					}
				}
			})
		}
		all.Wait()
		for what, n := range performed {
			require.Equal(t, 1, n, "times that %s was performed", what)
		}
		require.EqualValues(t, clients*each, answered.Load()+timedOut.Load())
		require.GreaterOrEqual(t, int64(len(performed)), answered.Load())

		// An attempt works if the request arrives and one of the replies to it and to its
		// duplicate does. (A duplicate that overtakes the handler makes the response a
		// separate one, with attempts of its own: less than 0.1 % fewer time-outs.)
		works := (1 - loss) * ((1-duplicate)*(1-loss) + duplicate*(1-loss*loss))
		n, p := float64(clients*each), math.Pow(1-works, 5)
		got, sigma := float64(timedOut.Load())/n, math.Sqrt(p*(1-p)/n)
		t.Logf("%v exchanges: %.2f%% timed out, expected %.2f%% ± %.2f%%", n, 100*got, 100*p, 100*sigma)
		require.InDelta(t, p, got, 5*sigma, "share of time-outs")
		s := network.Stats()
		require.NotZero(t, [...]uint64{s.Lost, s.Duplicated, s.Reordered})
	})
}

// A flood that fills every table of a server is refused and counted, costs no more memory than the
// limits say, and is forgotten.
func TestLimits(t *testing.T) {
	bubble(t, "peers", func(t *testing.T) {
		r := newRig(t, newResources(), &coap.Config{Limits: coap.Limits{Peers: 10}})
		for i := range 10 {
			p := r.newPeer(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.20"), uint16(1000+i)))
			p.send("CON GET mid=1 path=slow")
		}
		r.peer.send("CON GET mid=1 tok=01 path=plain")
		r.peer.want("no room", "ACK 5.03 mid=1 tok=01")
		require.EqualValues(t, 1, r.ep.Stats().Dropped[exchange.DropPeers])
		pass(slowTime)
		r.peer.sendHex("40000002")
		r.peer.want("a ping needs no room", "RST 0.00 mid=2")
		require.Equal(t, 10, r.ep.Stats().Peers)
		r.requireForgotten()
	})
	bubble(t, "memory for replies that must be kept", func(t *testing.T) {
		s := newResources()
		r := newRig(t, s, &coap.Config{Limits: coap.Limits{RememberedBytes: 10_000, RememberedBytesPerPeer: 8_000}})
		n := 0
		for ; ; n++ {
			r.peer.send("CON POST mid=%d path=count", n)
			if got := r.peer.next("a reply"); got.Code.IsError() {
				require.Equal(t, coap.ServiceUnavailable, got.Code, "no memory")
				break
			}
		}
		require.Positive(t, n)
		require.Equal(t, n, s.Count("POST /count"), "not performed")
		require.EqualValues(t, 1, r.ep.Stats().Dropped[exchange.DropMemory])
		r.peer.send("CON POST mid=0 path=count")
		r.peer.want("the first is still remembered", "ACK 2.05 pay=1")
		for i := range 100 {
			r.peer.send("CON GET mid=%d path=plain", 10_000+i)
			r.peer.want("what is idempotent is served all the same", "ACK 2.05")
		}
		require.LessOrEqual(t, r.ep.Stats().RememberedBytes, 10_000)
		pass(exchangeLifetime + 3*time.Second)
		r.peer.send("CON POST mid=%d path=count", n)
		r.peer.want("EXCHANGE_LIFETIME has passed", "ACK 2.05")
		r.requireForgotten()
	})
	bubble(t, "queue", func(t *testing.T) {
		r := newRig(t, nil, &coap.Config{Limits: coap.Limits{QueuePerPeer: 3}})
		for range 4 {
			async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/x"))
		}
		synctest.Wait()
		require.ErrorIs(t, r.ep.RoundTrip(t.Context(), request(t, coap.GET, peerAddr, "/x"), new(coap.Response)), coap.ErrBusy)
		require.Equal(t, 3, r.ep.Stats().Queued)
	})
	bubble(t, "token", func(t *testing.T) {
		r := newRig(t, newResources(), &coap.Config{Limits: coap.Limits{TokenLength: 8}})
		r.peer.send("CON GET mid=1 tok=0102030405060708 path=plain")
		r.peer.want("", "ACK 2.05 tok=0102030405060708")
		r.peer.send("CON GET mid=2 tok=010203040506070809 path=plain")
		r.peer.want("not kept", "ACK 4.00 mid=2 tok=010203040506070809")
		r.peer.send("NON GET mid=3 tok=010203040506070809 path=plain")
		r.peer.wantNothing("not kept")
		require.EqualValues(t, 2, r.ep.Stats().Dropped[exchange.DropTokenTooLong])
	})
}
