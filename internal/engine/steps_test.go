package engine

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// load is a server under a load of requests, and the time.
type load struct {
	testing.TB
	e        *Engine
	now      time.Time
	request  []byte
	response message.Message
	in, out  transport.Datagram
}

func newLoad(t testing.TB, limits exchange.Limits) *load {
	now := time.Unix(0, 0)
	l := &load{TB: t, e: New(Config{Limits: limits}, now), now: now, request: []byte{0x44, 1, 0, 1, 1, 2, 3, 4, 0xb1, 't'}}
	l.response = message.Message{Code: message.Content, Payload: []byte("twenty bytes of text")}
	l.response.Options.AddUint(message.OptionContentFormat, 0)
	l.out.Data = make([]byte, 0, 2048)
	return l
}

// serve has a request of one peer answered, or its duplicate.
func (l *load) serve(peer int, mid uint16) {
	l.request[2], l.request[3] = byte(mid>>8), byte(mid)
	l.in = transport.Datagram{Data: l.request, Remote: addr(peer), Local: addresses["L1"]}
	l.e.Receive(l.now, &l.in)
	if ev, ok := nextEvent(l.e); ok {
		if err := l.e.Respond(l.now, ev.Incoming, &l.response); err != nil {
			l.Fatal(err)
		}
	}
	if !l.e.Transmit(&l.out) {
		l.Fatal("no response")
	}
}

// steps returns how many links were followed in tables, and deadlines moved, so far. Everything else that
// a call does is a fixed number of steps.
func (l *load) steps() int {
	return l.e.rows.steps + l.e.dedup.records.steps + l.e.timers.steps
}

// cost returns the steps of one of 500 calls, on average and at most.
func (l *load) cost(do func(i int)) (mean float64, most int) {
	const calls = 500
	for i := range calls {
		before := l.steps()
		do(i)
		n := l.steps() - before
		mean += float64(n) / calls
		most = max(most, n)
	}
	return mean, most
}

// With values spread over as many buckets by a keyed hash, one call follows a few links, whatever their number.
const (
	meanSteps = 12
	mostSteps = 60
)

func (l *load) requireFlat(what string, do func(i int)) {
	l.Helper()
	mean, most := l.cost(do)
	require.Less(l, mean, float64(meanSteps), "%s: steps on average", what)
	require.Less(l, most, mostSteps, "%s: steps at most", what)
}

// sizes of a load. Nothing may take more steps with the larger ones.
func loads() []int {
	if raceEnabled || testing.Short() {
		return []int{10, 1000, 10_000}
	}
	return []int{10, 1000, 100_000}
}

// A request costs the same whether there are 10 clients or 100,000: of a new client, of one that is known,
// a duplicate, one for which another reply has to be forgotten, and one when others expire.
func TestStepsDoNotGrowWithClients(t *testing.T) {
	for _, n := range loads() {
		l := newLoad(t, exchange.Limits{Peers: n + 500})
		for i := range n {
			l.now = l.now.Add(time.Millisecond)
			l.serve(i, 1)
		}
		at := func(what string) string { return fmt.Sprintf("%d clients, %s", n, what) }
		l.requireFlat(at("a duplicate"), func(i int) { l.serve(i%n, 1) })
		require.Equal(t, uint64(500), l.e.Stats().Duplicates)
		l.requireFlat(at("of one that is known"), func(i int) { l.serve(i%n, uint16(2+i)) })
		l.requireFlat(at("of a new one"), func(i int) { l.serve(n+i, 1) })
		require.Zero(t, l.e.Stats().EvictedPeers)
		evicted := l.e.Stats().EvictedReplies
		l.requireFlat(at("in place of another one"), func(i int) { l.serve(n+500+i, 1) })
		require.Greater(t, l.e.Stats().EvictedPeers, uint64(400))
		require.Greater(t, l.e.Stats().EvictedReplies, evicted)
		checkHashed(t, &l.e.rows)
		l.now = l.now.Add(247 * time.Second)
		remembered := l.e.Stats().Remembered
		l.requireFlat(at("while others expire"), func(i int) { l.serve(n+i, 3) })
		if n >= 1000 {
			require.Less(t, l.e.Stats().Remembered, remembered)
		}
	}
}

// A request costs the same whether 10 messages of its peer are remembered or 50,000.
func TestStepsDoNotGrowWithMessages(t *testing.T) {
	for _, n := range []int{10, 1000, 50_000} {
		l := newLoad(t, exchange.Limits{RememberedBytesPerPeer: (n + 500) * (recordCost + 32)})
		for i := range n {
			l.serve(0, uint16(i))
		}
		require.Equal(t, n, l.e.Stats().Remembered)
		at := func(what string) string { return fmt.Sprintf("%d messages, %s", n, what) }
		l.requireFlat(at("a duplicate"), func(i int) { l.serve(0, uint16(i%n)) })
		l.requireFlat(at("another one"), func(i int) { l.serve(0, uint16(n+i)) })
		require.Zero(t, l.e.Stats().EvictedReplies)
		l.requireFlat(at("in place of another one"), func(i int) { l.serve(0, uint16(n+500+i)) })
		require.Equal(t, uint64(500), l.e.Stats().EvictedReplies)
		checkHashed(t, &l.e.dedup.records)
	}
}

// A request of ours costs as many steps as its deadline, the logarithm of their number.
func TestStepsOfDeadlines(t *testing.T) {
	get := message.Message{Type: message.Confirmable, Code: message.GET}
	for _, n := range loads() {
		l := newLoad(t, exchange.Limits{})
		ask := func(i int) Exchange {
			x, err := l.e.Request(l.now, Target{Remote: addr(i)}, &get, RequestOptions{})
			if err != nil || !l.e.Transmit(&l.out) {
				t.Fatal("no request")
			}
			return x
		}
		for i := range n {
			l.now = l.now.Add(time.Microsecond)
			ask(i)
		}
		log := int(math.Log2(float64(n)))
		var all []Exchange
		_, most := l.cost(func(i int) { all = append(all, ask(n+i)) })
		require.Less(t, most, 2*log+mostSteps, "%d exchanges, one more", n)
		_, most = l.cost(func(i int) { l.e.Cancel(l.now, all[i]) })
		require.Less(t, most, 4*log+mostSteps, "%d exchanges, one less", n)
		_, most = l.cost(func(i int) { l.serve(i%n, 1) })
		require.Less(t, most, 4*log+mostSteps, "%d exchanges, a request of one of the peers", n)
	}
}

// Nothing is allocated for a request in the steady state of many clients.
func TestAllocsOfManyClients(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const clients = 5000
	l := newLoad(t, exchange.Limits{})
	i := 0
	serve := func() {
		l.now = l.now.Add(20 * time.Millisecond)
		l.serve(i%clients, uint16(i/clients))
		i++
	}
	for range 20_000 {
		serve()
	}
	require.Zero(t, testing.AllocsPerRun(5000, serve))
}

// What a client that has been answered costs, with 20 bytes of payload in the answer.
func TestBytesOfClient(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs more memory")
	}
	const clients = 100_000
	l := newLoad(t, exchange.Limits{})
	l.serve(0, 1)
	_, before := memoryInUse()
	for i := range clients {
		l.serve(i, 1)
	}
	_, after := memoryInUse()
	require.Equal(t, clients, l.e.Stats().Remembered)
	each := float64(after-before) / clients
	t.Logf("%.0f bytes of heap in use for each client, %d in Stats.RememberedBytes", each, l.e.Stats().RememberedBytes/clients)
	require.Less(t, each, 200.0)
	require.Less(t, each, 1.1*float64(l.e.Stats().RememberedBytes/clients), "what is charged is what is used")
	l.serve(1, 1)
	require.Equal(t, uint64(2), l.e.Stats().Duplicates)
}
