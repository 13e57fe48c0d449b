package engine

import (
	"bytes"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// world is two engines, a client and a server, and a network between them that loses,
// duplicates and reorders, all from one seed.
type world struct {
	testing.TB
	now    time.Time
	start  time.Time
	random *rand.Rand
	ends   [2]*Engine // client, server
	todo   agenda
	n      int
	log    hash.Hash // of all that was sent and all that happened

	loss, duplicate float64
	slow            func(nonce uint64) time.Duration // how long the handler takes

	runs   map[uint64]int           // of the handler
	result map[uint64]error         // of the exchange: nil for a response
	first  map[uint64]time.Time     // transmission
	second map[uint64]time.Duration // after the first
	late   map[uint64]time.Duration // end after the first transmission
}

// errand is something that is done at a time.
type errand struct {
	at time.Time
	n  int // what is due at the same time is done in this order
	do func()
}

type agenda []errand

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].n < a[j].n
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(errand)) }
func (a *agenda) Pop() any {
	x := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return x
}

func newWorld(t testing.TB, n int, client, server Config) *world {
	start := time.Date(2014, 6, 1, 0, 0, 0, 0, time.UTC)
	w := &world{
		TB: t, now: start, start: start, random: rand.New(rand.NewPCG(uint64(n), 7)), log: sha256.New(),
		runs: map[uint64]int{}, result: map[uint64]error{}, first: map[uint64]time.Time{}, second: map[uint64]time.Duration{}, late: map[uint64]time.Duration{},
		slow: func(uint64) time.Duration { return 0 },
	}
	client.Seed, server.Seed = seed(2*n), seed(2*n+1)
	w.ends = [2]*Engine{New(client, start), New(server, start)}
	return w
}

func (w *world) after(d time.Duration, do func()) {
	w.n++
	heap.Push(&w.todo, errand{w.now.Add(d), w.n, do})
}

// names of the two ends on the network
var places = [2]string{"A", "B"}

func (w *world) settle() {
	for i, e := range w.ends {
		for {
			ev, ok := nextEvent(e)
			if !ok {
				break
			}
			w.event(e, ev)
		}
		for {
			var d transport.Datagram
			if !e.Transmit(&d) {
				break
			}
			fmt.Fprintf(w.log, "%d %v %x\n", i, w.now.Sub(w.start), d.Data)
			w.sent(i, d.Data)
			copies := 1
			if w.random.Float64() < w.duplicate {
				copies = 2
			}
			for range copies {
				if w.random.Float64() < w.loss {
					continue
				}
				data := bytes.Clone(d.Data)
				w.after(time.Duration(5+w.random.IntN(200))*time.Millisecond, func() {
					w.ends[1-i].Receive(w.now, &transport.Datagram{Data: data, Remote: addresses[places[i]], Local: addresses[places[1-i]]})
					w.settle() // while the bytes are valid
				})
			}
		}
	}
}

// sent notes when a request was sent.
func (w *world) sent(i int, b []byte) {
	var m message.Message
	require.NoError(w, codec.DecodeUDP(b, &m))
	if i == 0 && m.Code.IsRequest() {
		nonce := binary.BigEndian.Uint64(m.Payload)
		if first, ok := w.first[nonce]; !ok {
			w.first[nonce] = w.now
		} else if _, ok := w.second[nonce]; !ok {
			w.second[nonce] = w.now.Sub(first)
		}
	}
}

func (w *world) event(e *Engine, ev Event) {
	fmt.Fprintf(w.log, "event %d %v\n", ev.Kind, ev.Err)
	if ev.Kind == EventRequest {
		nonce := binary.BigEndian.Uint64(ev.Message.Payload)
		w.runs[nonce]++
		payload := bytes.Clone(ev.Message.Payload)
		answer := func() {
			require.NoError(w, e.Respond(w.now, ev.Incoming, &message.Message{Code: message.Changed, Payload: payload}))
			w.settle()
		}
		if d := w.slow(nonce); d > 0 {
			w.after(d, answer)
		} else {
			require.NoError(w, e.Respond(w.now, ev.Incoming, &message.Message{Code: message.Changed, Payload: payload}))
		}
		return
	}
	nonce := ev.User.(uint64)
	_, settled := w.result[nonce]
	require.False(w, settled, "exchange %d settles once", nonce)
	w.result[nonce] = nil
	w.late[nonce] = w.now.Sub(w.first[nonce])
	if ev.Kind == EventEnd {
		w.result[nonce] = ev.Err
		return
	}
	require.Equal(w, EventResponse, ev.Kind)
	require.Equal(w, nonce, binary.BigEndian.Uint64(ev.Message.Payload), "the answer to the right request")
}

func (w *world) request(nonce uint64, typ message.Type) {
	m := message.Message{Type: typ, Code: message.POST, Payload: binary.BigEndian.AppendUint64(nil, nonce)}
	_, err := w.ends[0].Request(w.now, Target{Remote: addresses["B"]}, &m, RequestOptions{User: nonce})
	require.NoError(w, err)
	w.settle()
}

// run goes on until nothing is left to do.
func (w *world) run() {
	for step := 0; ; step++ {
		var next time.Time
		which := -1
		if len(w.todo) > 0 {
			next, which = w.todo[0].at, 2
		}
		for i, e := range w.ends {
			if at, ok := e.NextTimeout(); ok && (which < 0 || at.Before(next)) {
				next, which = at, i
			}
		}
		if which < 0 {
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		if which == 2 {
			heap.Pop(&w.todo).(errand).do()
		} else {
			w.ends[which].Advance(w.now)
			w.settle()
		}
		if step%20_000 == 0 {
			checkEngine(w, w.ends[0])
			checkEngine(w, w.ends[1])
		}
	}
}

// Thousands of exchanges over a network that loses 30% each way, duplicates and reorders. Each
// settles once, with its own answer or when the RFC says; the handler runs at most once for
// each; the share of failures is what MAX_RETRANSMIT allows; and nothing is left.
//
// Proves 7252-4.2-s09, 7252-4.2-s13, 7252-4.5-01, 7252-5.3.1-01.
func TestLossyNetwork(t *testing.T) {
	total := 10_000
	if raceEnabled || testing.Short() {
		total = 2000
	}
	const loss, duplicate = 0.3, 0.1
	// A transmission fails if the request is lost, or the reply. Each copy that arrives is replied
	// to: by the response, or by its copy from the memory of replies.
	arrives := func(p float64) float64 { // at least one copy of a datagram that arrives with p
		return (1-duplicate)*p + duplicate*(1-(1-p)*(1-p))
	}
	fails := 1 - arrives((1-loss)*arrives(1-loss))
	for _, test := range []struct {
		name string
		slow time.Duration
	}{{"piggybacked", 0}, {"separate", 5 * time.Second}} {
		t.Run(test.name, func(t *testing.T) {
			limits := exchange.Limits{QueuePerPeer: total, HandlersPerPeer: 1024}
			w := newWorld(t, 1, Config{Limits: limits, Params: exchange.Params{NStart: 50}}, Config{Limits: limits})
			w.loss, w.duplicate = loss, duplicate
			w.slow = func(uint64) time.Duration { return test.slow }
			for i := range uint64(total) {
				w.request(i, message.Confirmable)
			}
			w.run()
			require.Len(t, w.result, total, "each settles")
			failed, unanswered := 0, 0
			for nonce, err := range w.result {
				switch err {
				case nil:
				case exchange.ErrNotAcknowledged:
					failed++
					require.Equal(t, 31*w.second[nonce], w.late[nonce], "given up at the right time")
					require.LessOrEqual(t, w.late[nonce], 93*time.Second)
				case exchange.ErrNoSeparateResponse:
					unanswered++
				default:
					t.Fatalf("exchange %d ended with %v", nonce, err)
				}
			}
			for nonce, n := range w.runs {
				require.Equal(t, 1, n, "the handler ran once for %d", nonce)
			}
			n := float64(total)
			p := math.Pow(fails, 5)
			bound := 5 * math.Sqrt(n*p*(1-p))
			t.Logf("%d of %d not acknowledged, expected %.0f ± %.0f; %d without separate response", failed, total, n*p, bound, unanswered)
			lost := math.Pow(1-arrives(1-loss), 5) // all transmissions of a separate response
			if test.slow == 0 {
				require.InDelta(t, n*p, float64(failed), bound)
				require.Zero(t, unanswered)
			} else {
				require.LessOrEqual(t, float64(failed), n*p+bound, "a separate response acknowledges as well")
				require.LessOrEqual(t, float64(unanswered), n*lost+5*math.Sqrt(n*lost)+1)
			}
			require.Equal(t, uint64(failed+unanswered), w.ends[0].Stats().TimedOut)
			requireEmpty(t, w.ends[0])
			requireEmpty(t, w.ends[1])
		})
	}
}

// The same with Non-confirmable requests: an answer comes if both datagrams get through.
func TestLossyNetworkNonConfirmable(t *testing.T) {
	const total, loss = 2000, 0.3
	limits := exchange.Limits{QueuePerPeer: total}
	w := newWorld(t, 2, Config{Limits: limits, Params: exchange.Params{NStart: 50, ProbingRate: -1}}, Config{Limits: limits})
	w.loss = loss
	for i := range uint64(total) {
		w.request(i, message.NonConfirmable)
	}
	w.run()
	failed := 0
	for nonce, err := range w.result {
		if err != nil {
			require.Equal(t, exchange.ErrNotAnswered, err)
			require.Equal(t, 145*time.Second, w.late[nonce])
			failed++
		}
	}
	p := 1 - (1-loss)*(1-loss)
	require.InDelta(t, total*p, float64(failed), 5*math.Sqrt(total*p*(1-p)))
	require.Len(t, w.result, total)
	requireEmpty(t, w.ends[0])
	requireEmpty(t, w.ends[1])
}

// The same seed and the same calls give the same bytes at the same times.
func TestDeterminism(t *testing.T) {
	run := func(n int) string {
		w := newWorld(t, n, Config{Params: exchange.Params{NStart: 5}}, Config{})
		w.loss, w.duplicate = 0.3, 0.2
		w.slow = func(nonce uint64) time.Duration { return time.Duration(nonce%4) * time.Second }
		for i := range uint64(300) {
			w.request(i, message.Type(i%3%2))
		}
		w.run()
		return fmt.Sprintf("%x", w.log.Sum(nil))
	}
	first := run(1)
	require.Equal(t, first, run(1))
	require.NotEqual(t, first, run(2))
}
