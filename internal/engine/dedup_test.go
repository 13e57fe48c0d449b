package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// A duplicate CON gets the same acknowledgement, a duplicate NON silence; neither is
// processed again.
//
// Proves 7252-4.5-01, 7252-4.5-03, 7252-4.3-05.
func TestDuplicates(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("request", "CON POST mid=1 tok=01 pay=x")
	r.respond(r.handle("request", "POST"), "2.04 pay=first")
	s := r.want("response", "ACK 2.04 mid=1 tok=01 pay=first")
	for range 5 {
		r.advance(40 * time.Second)
		r.receive("again", "CON POST mid=1 tok=01 pay=x")
		require.Equal(t, s.raw, r.want("the same", "ACK 2.04").raw)
		r.idle("the handler runs once")
	}
	r.receive("request", "NON POST mid=2 tok=01 pay=x")
	r.respond(r.handle("request", "POST"), "2.04")
	r.want("response", "NON 2.04")
	for range 5 {
		r.advance(25 * time.Second)
		r.receive("again", "NON POST mid=2 tok=01 pay=x")
		r.idle("a duplicate NON is ignored")
	}
	require.Equal(t, uint64(10), r.e.Stats().Duplicates)
	require.Equal(t, uint64(2), r.e.Stats().Requests)
	r.quiet()
}

// A reply outlives EXCHANGE_LIFETIME, a NON its NON_LIFETIME, neither by a nanosecond.
//
// Proves 7252-4.5-01, 7252-4.5-03.
func TestDuplicateLifetimes(t *testing.T) {
	for typ, lifetime := range map[string]time.Duration{"CON": 247 * time.Second, "NON": 145 * time.Second} {
		r := newRig(t, Config{})
		r.receive("request", "%s POST mid=1", typ)
		r.respond(r.handle("request", "POST"), "2.04")
		r.out = nil
		r.advance(lifetime - 1)
		r.receive("a duplicate", "%s POST mid=1", typ)
		require.Empty(t, r.events)
		r.out = nil
		r.sleep(1)
		r.receive("a new request with an old message ID", "%s POST mid=1", typ)
		r.respond(r.handle("is one", "POST"), "2.04")
		r.out = nil
		r.advance(lifetime - 1)
		r.receive("a duplicate of that", "%s POST mid=1", typ)
		require.Empty(t, r.events, "it is remembered for its own lifetime")
		r.quiet()
	}
}

// A new message may take the place of one that has expired and was not removed yet. Removing that
// leaves the new one alone.
func TestNewMessageInPlaceOfExpired(t *testing.T) {
	r := newRig(t, Config{})
	for i := range 10 { // expired ones in front
		r.receive("request", "CON POST mid=%d", 100+i)
		r.respond(r.handle("request", "POST"), "2.04")
	}
	r.receive("request", "CON POST mid=1")
	r.respond(r.handle("request", "POST"), "2.04")
	r.now = r.now.Add(247 * time.Second)
	r.receive("the same bytes, a lifetime later", "CON POST mid=1")
	r.respond(r.handle("is new", "POST"), "2.04")
	r.out = nil
	r.sleep(10 * time.Second)
	require.Equal(t, 1, r.e.Stats().Remembered)
	checkEngine(t, r.e)
	r.receive("a duplicate of the new one", "CON POST mid=1")
	r.want("is found", "ACK 2.04 mid=1")
	r.idle("and not processed again")
	r.quiet()
}

// CONs and NONs have different lifetimes and different queues.
func TestConAndNonQueues(t *testing.T) {
	r := newRig(t, Config{})
	for i := range 20 {
		typ := []string{"CON", "NON"}[i%2]
		r.receive("request", "%s GET mid=%d", typ, i)
		r.respond(r.handle("request", "GET"), "2.05")
		r.advance(time.Second)
		checkEngine(t, r.e)
	}
	r.out = nil
	require.Equal(t, 20, r.e.Stats().Remembered)
	r.advance(145*time.Second + time.Duration(forgetSlack))
	require.Equal(t, 10, r.e.Stats().Remembered, "the NONs have gone")
	checkEngine(t, r.e)
	r.advance(102 * time.Second)
	require.Equal(t, 0, r.e.Stats().Remembered, "the CONs have gone")
	r.quiet()
}

// The same message ID with other bytes, or at another local address, or in another
// session, or from another endpoint, is another message.
func TestWhatIsNoDuplicate(t *testing.T) {
	r := newRig(t, Config{})
	for _, l := range []string{
		"CON GET mid=1 tok=01", "CON GET mid=1 tok=02", "NON GET mid=1 tok=01", "CON POST mid=1 tok=01", "CON GET mid=1 tok=01 pay=x",
		"CON GET mid=1 tok=01 local=L2", "CON GET mid=1 tok=01 local=L3", "CON GET mid=1 tok=01 from=B", "CON GET mid=1 tok=01 from=A2", "CON GET mid=1 tok=01 session=S",
		"CON GET mid=1 tok=01 session=T", "CON GET mid=2 tok=01",
	} {
		r.receive("a new one", "%s", l)
		r.respond(r.event(l, EventRequest), "2.05")
		r.out = nil
		r.receive("a duplicate", "%s", l)
		require.Empty(t, r.events, l)
		r.out = nil
	}
	require.Equal(t, uint64(12), r.e.Stats().Duplicates)
	r.quiet()
}

// A duplicate is answered at the place it came to.
func TestDuplicateIsAnsweredFromTheSamePlace(t *testing.T) {
	r := newRig(t, Config{})
	for range 2 {
		r.receive("request", "CON GET mid=1 local=L2 from=C")
		if len(r.events) > 0 {
			r.respond(r.handle("request", "GET"), "2.05")
		}
		s := r.want("response", "ACK 2.05 local=L2 to=C")
		require.Equal(t, 3, s.ifIndex)
	}
}

const onePost = recordCost + replyStep

// Replies to requests that are not idempotent are never forgotten: with the memory full, new ones
// are refused, idempotent ones are served.
//
// Proves 7252-4.5-01.
func TestPinnedReplies(t *testing.T) {
	for name, limits := range map[string]exchange.Limits{
		"of all":      {RememberedBytes: 100 * onePost, RememberedBytesPerPeer: 1 << 30, HandlersPerPeer: 1000},
		"of one peer": {RememberedBytesPerPeer: 100 * onePost, HandlersPerPeer: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{Limits: limits})
			accepted := 0
			for i := range 200 {
				r.receive("request", "CON POST mid=%d", i)
				if len(r.events) == 0 {
					r.want("no memory to make sure that it is not performed twice", "ACK 5.03 mid=%d", i)
					continue
				}
				r.respond(r.handle("request", "POST"), "2.04 pay=%d", i)
				r.want("response", "ACK 2.04")
				accepted++
				require.Less(t, r.e.Stats().RememberedBytes, 100*onePost+1)
				checkEngine(t, r.e)
			}
			require.GreaterOrEqual(t, accepted, 99-replyRoom(1152)/onePost, "room is set aside for one large reply, then given back")
			require.Equal(t, uint64(200-accepted), r.e.Stats().Dropped[exchange.DropMemory])
			for i := range accepted {
				r.receive("again", "CON POST mid=%d", i)
				r.want("kept", "ACK 2.04 mid=%d pay=%d", i, i)
			}
			r.receive("idempotent", "CON GET mid=1000")
			r.respond(r.handle("is served", "GET"), "2.05")
			r.want("response", "ACK 2.05")
			if name == "of one peer" {
				r.receive("another peer", "CON POST mid=1 from=B")
				r.respond(r.handle("has its own share", "POST"), "2.04")
				r.want("response", "ACK 2.04 to=B")
			}
			r.idle("that is all")
			checkEngine(t, r.e)
			r.advance(250 * time.Second)
			r.receive("later", "CON POST mid=5")
			r.respond(r.handle("there is room again", "POST"), "2.04")
			r.quiet()
		})
	}
}

// The memory that was set aside is enough for any reply: a pinned one never exceeds the limit.
func TestPinnedRepliesOfAnySize(t *testing.T) {
	for _, size := range []int{64, 100, 300, 600, 1152, 3000} {
		limits := exchange.Limits{MessageSize: size, RememberedBytes: 20*(recordCost+replyRoom(size)) - 1}
		limits.RememberedBytesPerPeer = limits.RememberedBytes
		r := newRig(t, Config{Limits: limits})
		payload := make([]byte, size-5)
		for i := range 40 {
			r.receive("request", "CON POST mid=%d", i)
			if len(r.events) > 0 {
				ev := r.handle("request", "POST")
				require.NoError(t, r.e.Respond(r.now, ev.Incoming, &message.Message{Code: message.Changed, Payload: payload}))
			}
			require.LessOrEqual(t, r.e.Stats().RememberedBytes, limits.RememberedBytes)
		}
		require.Equal(t, 19, r.e.Stats().Remembered)
		checkEngine(t, r.e)
		r.quiet()
	}
}

// A request is remembered, however short memory is, while its separate response is on its way: if a copy of it were
// performed again, the older answer could arrive after the newer one.
//
// Proves 7252-4.5-01.
func TestRememberedWhileAnswering(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{EmptyAckDelay: -1}, Limits: exchange.Limits{RememberedBytesPerPeer: 10 * onePost, RememberedBytes: 15 * onePost}})
	r.receive("request", "CON GET mid=1 tok=0a")
	slow := r.handle("request", "GET")
	r.want("a promise", "ACK 0.00 mid=1")
	r.respond(slow, "2.05")
	resp := r.want("the response", "CON 2.05 tok=0a")
	others := func(first int) {
		for i := range 40 {
			r.receive("another", "CON GET mid=%d tok=0b", first+i)
			r.want("a promise", "ACK 0.00 mid=%d", first+i)
			r.respond(r.handle("another", "GET"), "2.05")
			r.receive("it has it", "ACK 0.00 mid=%d", r.want("its response", "CON 2.05 tok=0b").MessageID)
			checkEngine(t, r.e)
		}
	}
	others(100)
	require.NotZero(t, r.e.Stats().EvictedReplies)
	r.receive("the copy of a request", "CON GET mid=1 tok=0a")
	r.want("the same promise", "ACK 0.00 mid=1")
	require.Empty(t, r.events, "it is not performed again")
	r.receive("it has the response", "ACK 0.00 mid=%d", resp.MessageID)
	checkEngine(t, r.e)
	others(200)
	r.receive("a copy later", "CON GET mid=1 tok=0a")
	r.want("a promise", "ACK 0.00 mid=1")
	r.respond(r.handle("performed again, as idempotent requests may be", "GET"), "2.05")
}

// Replies to idempotent requests are forgotten when memory is short, those first that
// arrived first; a duplicate is then processed again.
func TestEvictedReplies(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{RememberedBytesPerPeer: 10 * onePost, RememberedBytes: 15 * onePost}})
	serve := func(from string, mid int) bool {
		r.receive("request", "CON GET mid=%d from=%s", mid, from)
		served := len(r.events) > 0
		if served {
			r.respond(r.handle("request", "GET"), "2.05")
		}
		r.want("response", "ACK 2.05 mid=%d to=%s", mid, from)
		require.LessOrEqual(t, r.e.Stats().RememberedBytes, 15*onePost)
		checkEngine(t, r.e)
		return served
	}
	for i := range 15 {
		require.True(t, serve("A", i))
	}
	require.Equal(t, 10, r.e.Stats().Remembered, "the share of one peer")
	require.Equal(t, uint64(5), r.e.Stats().EvictedReplies)
	for i := 5; i < 15; i++ {
		require.False(t, serve("A", i), "the newest are kept: %d", i)
	}
	require.True(t, serve("A", 0), "the oldest are not")
	for i := range 8 {
		require.True(t, serve("B", i))
	}
	require.Equal(t, 15, r.e.Stats().Remembered, "the limit of all")
	for i := range 8 {
		require.False(t, serve("B", i), "the oldest of all had to go, whoever sent them")
	}
	require.True(t, serve("A", 6), "those of A were older")
	r.quiet()
}

// When memory is short, what has arrived first is forgotten first, Confirmable or not.
func TestOldestOfBothKinds(t *testing.T) {
	r := newRig(t, Config{})
	for i := range 12 {
		r.receive("request", "%s GET mid=%d", []string{"CON", "NON", "NON"}[i%3], i)
		r.respond(r.handle("request", "GET"), "2.05")
		r.advance(time.Second)
	}
	for i := range 12 {
		n := r.e.oldestEvictable()
		require.NotZero(t, n)
		lifetime := []time.Duration{247 * time.Second, 145 * time.Second, 145 * time.Second}[i%3]
		require.Equal(t, time.Duration(i)*time.Second+lifetime, time.Duration(r.e.dedup.records.at(n).expires))
		require.True(t, r.e.evictRecord(n))
		checkEngine(t, r.e)
	}
	require.False(t, r.e.evictRecord(r.e.oldestEvictable()), "nothing is left")
	r.out = nil
	r.quiet()
}

// A request under way is not forgotten, and what is in a handler is answered whether it was
// remembered or not.
func TestEvictionWhileHandling(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{RememberedBytesPerPeer: 3*recordCost + 64, HandlersPerPeer: 100}})
	var evs []Event
	for i := range 10 {
		r.receive("request", "CON GET mid=%d tok=01", i)
		evs = append(evs, r.handle("request", "GET"))
	}
	require.Equal(t, 3, r.e.Stats().Remembered, "for the others there is no memory")
	checkEngine(t, r.e)
	for i := range 3 {
		r.receive("again", "CON GET mid=%d tok=01", i)
		r.idle("remembered, and in a handler")
	}
	for i, ev := range evs {
		r.respond(ev, "2.05 pay=%d", i)
		checkEngine(t, r.e)
		r.want("piggybacked", "ACK 2.05 mid=%d tok=01 pay=%d", i, i)
	}
	require.Equal(t, 0, r.e.Stats().Handling)
	r.quiet()
}

// Memory that ran out while a handler worked: its reply goes out, but is not kept.
func TestReplyTooLargeToKeep(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{RememberedBytesPerPeer: recordCost + 64}})
	r.receive("request", "CON GET mid=1")
	ev := r.handle("request", "GET")
	r.respond(ev, "2.05 pay=%0100d", 7)
	r.want("response", "ACK 2.05")
	require.Equal(t, 0, r.e.Stats().Remembered)
	require.Equal(t, uint64(1), r.e.Stats().EvictedReplies)
	requireEmpty(t, r.e)
}

// A handler that outlives the memory of its request still answers, once.
func TestHandlerOutlivesItsEntry(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("request", "CON POST mid=1 tok=01")
	ev := r.handle("request", "POST")
	r.advance(300 * time.Second)
	r.want("late", "ACK 0.00 mid=1")
	require.Equal(t, 0, r.e.Stats().Remembered)
	require.Equal(t, 1, r.e.Stats().Handling)
	checkEngine(t, r.e)
	r.respond(ev, "2.04")
	r.acknowledge(r.want("response", "CON 2.04 tok=01"))
	require.Equal(t, exchange.ErrClosed, r.tryRespond(ev, "2.04"))
	r.quiet()
}

// A Confirmable response is acknowledged again when it comes again. With no memory for
// that it is an unexpected one, and nothing leaks.
//
// Proves 7252-4.5-01.
func TestDuplicateResponses(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "CON GET")
	q := r.want("request", "CON GET")
	r.receive("response", "CON 2.05 mid=7 tok=%s", hexOf(q))
	r.response("response", 1, "2.05")
	r.want("acknowledgement", "ACK 0.00 mid=7")
	for range 3 {
		r.receive("again", "CON 2.05 mid=7 tok=%s", hexOf(q))
		r.want("again", "ACK 0.00 mid=7")
		r.idle("one event")
	}
	r.request(2, "NON GET")
	q = r.want("request", "NON GET")
	r.receive("response", "NON 2.05 mid=8 tok=%s", hexOf(q))
	r.response("response", 2, "2.05")
	r.receive("again", "NON 2.05 mid=8 tok=%s", hexOf(q))
	r.idle("ignored, not rejected as unexpected")
	r.quiet()

	r = newRig(t, Config{Limits: exchange.Limits{RememberedBytes: 1}})
	r.request(1, "CON GET")
	q = r.want("request", "CON GET")
	r.receive("response", "CON 2.05 mid=7 tok=%s", hexOf(q))
	r.response("response", 1, "2.05")
	r.want("acknowledgement", "ACK 0.00 mid=7")
	r.quiet()
}

// The allocation budget: receiving and responding, rejecting, and answering a duplicate
// allocate nothing in the steady state.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	now := time.Unix(0, 0)
	e := New(Config{}, now)
	request := []byte{0x44, 1, 0, 0, 1, 2, 3, 4, 0xb4, 't', 'e', 'm', 'p'}
	response := message.Message{Code: message.Content, Payload: []byte("21.5 C")}
	var in, out transport.Datagram
	out.Data = make([]byte, 0, 2048)
	mid := 0
	receive := func(b []byte) {
		in = transport.Datagram{Data: b, Remote: addresses["A"], Local: addresses["L1"]}
		e.Receive(now, &in)
	}
	serve := func() {
		mid++
		request[2], request[3] = byte(mid>>8), byte(mid)
		now = now.Add(100 * time.Millisecond)
		receive(request)
		ev, ok := nextEvent(e)
		if !ok || e.Respond(now, ev.Incoming, &response) != nil || !e.Transmit(&out) {
			t.Fatal("no response")
		}
	}
	for range 10_000 { // past the lifetime, so that as much is forgotten as is remembered
		serve()
	}
	require.Zero(t, testing.AllocsPerRun(1000, serve), "receive and respond")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		receive(request)
		if !e.Transmit(&out) {
			t.Fatal("no reply")
		}
	}), "duplicate")
	bad := []byte{0x40, 1, 0, 1, 0xFF}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		receive(bad)
		if !e.Transmit(&out) {
			t.Fatal("no reset")
		}
	}), "malformed")
	require.Zero(t, testing.AllocsPerRun(1000, func() { receive(bad[:3]) }), "too short")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		receive(codec.AppendHeader(bad[:0:5], message.Confirmable, message.Empty, 9))
		e.Transmit(&out)
	}), "ping")
	get := message.Message{Code: message.GET}
	answer := []byte{0x68, byte(message.Content), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	ask := func() {
		now = now.Add(100 * time.Millisecond)
		if _, err := e.Request(now, Target{Remote: addresses["A"]}, &get, RequestOptions{}); err != nil || !e.Transmit(&out) {
			t.Fatal("no request")
		}
		copy(answer[2:], out.Data[2:12])
		receive(answer)
		if _, ok := nextEvent(e); !ok {
			t.Fatal("no response")
		}
	}
	for range 10_000 {
		ask()
	}
	require.Zero(t, testing.AllocsPerRun(1000, ask), "request and response")
}

// A request and its response in the steady state: as much is forgotten as is remembered.
func BenchmarkServe(b *testing.B) {
	for _, peers := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			now := time.Unix(0, 0)
			e := New(Config{}, now)
			request := []byte{0x44, 1, 0, 0, 1, 2, 3, 4, 0xb4, 't', 'e', 'm', 'p'}
			response := message.Message{Code: message.Content, Payload: []byte("21.5 C")}
			out := transport.Datagram{Data: make([]byte, 0, 2048)}
			var in transport.Datagram
			step := 247 * time.Second / time.Duration(max(peers, 1000))
			i := 0
			serve := func() {
				i++
				request[2], request[3] = byte(i/peers>>8), byte(i/peers)
				now = now.Add(step)
				in = transport.Datagram{Data: request, Remote: addr(i % peers), Local: addresses["L1"]}
				e.Receive(now, &in)
				ev, _ := nextEvent(e)
				if err := e.Respond(now, ev.Incoming, &response); err != nil {
					b.Fatal(err)
				}
				e.Transmit(&out)
			}
			for range 2 * max(peers, 1000) {
				serve()
			}
			b.ReportAllocs()
			for b.Loop() {
				serve()
			}
		})
	}
}

func BenchmarkDuplicate(b *testing.B) {
	now := time.Unix(0, 0)
	e := New(Config{}, now)
	request := []byte{0x44, 1, 0, 0, 1, 2, 3, 4, 0xb4, 't', 'e', 'm', 'p'}
	in := transport.Datagram{Data: request, Remote: addresses["A"], Local: addresses["L1"]}
	e.Receive(now, &in)
	ev, _ := nextEvent(e)
	_ = e.Respond(now, ev.Incoming, &message.Message{Code: message.Content})
	var out transport.Datagram
	b.ReportAllocs()
	for b.Loop() {
		e.Receive(now, &in)
		e.Transmit(&out)
	}
}

func BenchmarkMalformed(b *testing.B) {
	now := time.Unix(0, 0)
	e := New(Config{}, now)
	in := transport.Datagram{Data: []byte{0x40, 1, 0, 1, 0xFF}, Remote: addresses["A"], Local: addresses["L1"]}
	var out transport.Datagram
	b.ReportAllocs()
	for b.Loop() {
		e.Receive(now, &in)
		e.Transmit(&out)
	}
}

func BenchmarkRequest(b *testing.B) {
	now := time.Unix(0, 0)
	e := New(Config{}, now)
	get := message.Message{Code: message.GET}
	answer := []byte{0x68, byte(message.Content), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	var out transport.Datagram
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(10 * time.Millisecond)
		if _, err := e.Request(now, Target{Remote: addresses["A"]}, &get, RequestOptions{}); err != nil {
			b.Fatal(err)
		}
		e.Transmit(&out)
		copy(answer[2:], out.Data[2:12])
		e.Receive(now, &transport.Datagram{Data: answer, Remote: addresses["A"]})
		nextEvent(e)
	}
}

// What was answered late stands behind what was answered before it, and may expire sooner. When that has gone, the
// driver is not told to come again and again for what Advance does not do.
func TestLateAnswerExpires(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("the first", "NON GET mid=1")
	first := r.handle("the first", "GET")
	r.advance(10 * time.Second)
	r.receive("the second", "NON GET mid=2")
	r.respond(r.handle("the second", "GET"), "2.05")
	r.advance(10 * time.Second)
	r.respond(first, "2.05")
	r.out = nil
	r.advance(126 * time.Second) // past the lifetime of the first
	r.receive("another", "NON GET mid=3")
	r.respond(r.handle("another", "GET"), "2.05")
	r.out = nil
	require.True(t, r.e.evictRecord(r.e.oldestEvictable()), "the second is forgotten")
	r.now = r.now.Add(2 * time.Second)
	r.e.Advance(r.now)
	at, ok := r.e.NextTimeout()
	require.True(t, !ok || at.After(r.now), "what is due is done")
}
