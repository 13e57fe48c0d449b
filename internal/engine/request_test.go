package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// acknowledge answers the request s with an Empty Acknowledgement.
func (r *rig) acknowledge(s sent) {
	r.Helper()
	r.receive("acknowledgement", "ACK 0.00 mid=%d", s.MessageID)
}

// At most NSTART interactions are outstanding; the others wait and go in order. What ends an
// interaction makes room for one more.
//
// Proves 7252-4.7-01.
func TestNStart(t *testing.T) {
	for _, nstart := range []int{1, 3} {
		for _, how := range []string{"piggybacked", "acknowledged", "reset", "separate", "canceled"} {
			t.Run(fmt.Sprintf("%d %s", nstart, how), func(t *testing.T) {
				r := newRig(t, Config{Params: exchange.Params{NStart: nstart}})
				ids := map[uint16]Exchange{}
				var all []Exchange
				for i := range 10 {
					all = append(all, r.request(i, "CON GET pay=%d", i))
				}
				other := r.request("other", "CON GET to=B")
				require.Equal(t, nstart+1, len(r.out), "NSTART is per peer")
				r.out = r.out[:nstart]
				r.cancel(other)
				require.Equal(t, 10-nstart, r.e.Stats().Queued)
				for i := range 10 {
					s := r.want("in order", "CON GET pay=%d", i)
					ids[s.MessageID] = all[i]
					switch how {
					case "piggybacked":
						r.receive("response", "ACK 2.05 mid=%d tok=%s", s.MessageID, hexOf(s))
						r.response("response", i, "2.05")
					case "acknowledged":
						r.acknowledge(s)
					case "reset":
						r.receive("rejected", "RST 0.00 mid=%d", s.MessageID)
						r.end("rejected", i, exchange.ErrReset)
					case "separate":
						r.receive("response, the ACK is lost", "NON 2.05 mid=%d tok=%s", i, hexOf(s))
						r.response("response", i, "2.05")
					case "canceled":
						r.cancel(all[i])
					}
					require.Len(t, r.out, min(nstart, 10-i-1), "one more is sent for each that ended")
					checkEngine(t, r.e)
				}
				r.idle("all are sent")
				require.Len(t, ids, 10)
				require.Zero(t, r.e.Stats().Queued)
				r.quiet()
			})
		}
	}
}

// A Confirmable request that nobody answers makes room when it is given up.
func TestNStartAfterTimeout(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "CON GET pay=1")
	r.request(2, "CON GET pay=2")
	r.advance(93 * time.Second)
	r.end("first", 1, exchange.ErrNotAcknowledged)
	for range 5 {
		r.want("first", "CON GET pay=1")
	}
	s := r.want("then the second", "CON GET pay=2")
	require.GreaterOrEqual(t, s.at, 62*time.Second)
	require.LessOrEqual(t, s.at, 93*time.Second)
}

func TestNoWait(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{QueuePerPeer: 2}})
	r.request(1, "CON GET pay=1")
	_, err := r.try(RequestOptions{NoWait: true}, "CON GET")
	require.Equal(t, exchange.ErrBusy, err, "NSTART is used up")
	_, err = r.try(RequestOptions{NoWait: true}, "CON GET to=B")
	require.NoError(t, err, "another peer")
	r.request(2, "CON GET pay=2")
	r.request(3, "CON GET pay=3")
	_, err = r.try(RequestOptions{}, "CON GET")
	require.Equal(t, exchange.ErrBusy, err, "the queue is full")
	_, err = r.e.Ping(r.now, Target{Remote: addresses["A"]}, RequestOptions{})
	require.Equal(t, exchange.ErrBusy, err, "for pings as well")
	require.Equal(t, 4, r.e.Stats().Exchanges)
	require.Equal(t, 2, r.e.Stats().Queued)
	checkEngine(t, r.e)
	r.quiet()
}

func TestExchangesLimit(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{Exchanges: 2}, Params: exchange.Params{NStart: 9}})
	r.request(1, "CON GET")
	x := r.request(2, "CON GET to=B")
	_, err := r.try(RequestOptions{}, "CON GET")
	require.Equal(t, exchange.ErrBusy, err)
	r.cancel(x)
	r.request(3, "CON GET")
	r.out = nil
	// Responses are not limited by what we ask, but they are by what others ask.
	for i := range 3 {
		r.receive("request", "CON GET mid=%d tok=01 from=B", i)
		ev := r.handle("request", "GET")
		r.advance(600 * time.Millisecond)
		r.want("late", "ACK 0.00 mid=%d to=B", i)
		err := r.tryRespond(ev, "2.05")
		if i < 2 {
			require.NoError(t, err)
			r.want("response", "CON 2.05 to=B")
			continue
		}
		require.Equal(t, exchange.ErrBusy, err, "no place for a separate response")
		require.Equal(t, uint64(2), r.e.Stats().Separate)
		r.advance(94 * time.Second)
		require.NoError(t, r.tryRespond(ev, "2.05"), "it can be tried again")
	}
	require.Equal(t, uint64(2), r.e.Stats().LostResponses)
	checkEngine(t, r.e)
	r.quiet()
}

func TestCancel(t *testing.T) {
	r := newRig(t, Config{})
	first := r.request(1, "CON GET pay=1")
	second := r.request(2, "CON GET pay=2")
	r.request(3, "CON GET pay=3")
	r.cancel(second)
	require.Equal(t, 1, r.e.Stats().Queued)
	s := r.want("first", "CON GET pay=1")
	r.cancel(first)
	r.want("the second was canceled in the queue", "CON GET pay=3")
	r.receive("the response to a canceled request", "CON 2.05 mid=5 tok=%s", hexOf(s))
	r.want("is rejected", "RST 0.00 mid=5")
	r.receive("a piggybacked one", "ACK 2.05 mid=%d tok=%s", s.MessageID, hexOf(s))
	r.idle("is ignored")
	r.cancel(first)
	r.cancel(second)
	r.cancel(Exchange{})
	r.idle("canceling twice is harmless")
	require.Equal(t, uint64(2), r.e.Stats().Canceled)
	r.timesOut(3)
	r.cancel(first) // its memory may serve another exchange by now
	r.request(4, "CON GET pay=4")
	r.cancel(first)
	r.want("the new one is not touched", "CON GET pay=4")
	require.Equal(t, 1, r.e.Stats().Exchanges)
	r.quiet()
}

// timesOut lets the exchange of user time out.
func (r *rig) timesOut(user any) {
	r.Helper()
	r.advance(93 * time.Second)
	r.end("time-out", user, exchange.ErrNotAcknowledged)
	r.out = nil
}

// Proves 7252-4.2-s02, 7252-4.3-s13.
func TestPing(t *testing.T) {
	ping := func(r *rig) Exchange {
		x, err := r.e.Ping(r.now, Target{Remote: addresses["A"]}, RequestOptions{User: "ping"})
		require.NoError(t, err)
		r.collect()
		return x
	}
	r := newRig(t, Config{})
	ping(r)
	s := r.want("ping", "CON 0.00")
	r.receive("pong of another endpoint", "RST 0.00 mid=%d from=B", s.MessageID)
	r.receive("pong to another ping", "RST 0.00 mid=%d", s.MessageID+1)
	r.idle("ignored")
	r.receive("pong", "RST 0.00 mid=%d", s.MessageID)
	require.Equal(t, "ping", r.event("pong", EventPong).User)

	ping(r)
	s = r.want("ping", "CON 0.00")
	r.receive("some answer a ping with an acknowledgement", "ACK 0.00 mid=%d", s.MessageID)
	r.event("they live, too", EventPong)

	ping(r)
	s = r.want("ping", "CON 0.00")
	r.advance(93 * time.Second)
	for range 4 {
		require.Equal(t, s.raw, r.want("again", "CON 0.00").raw)
	}
	r.end("nobody there", "ping", exchange.ErrNotAcknowledged)

	r.cancel(ping(r))
	r.want("ping", "CON 0.00")
	r.request(1, "CON GET")
	s = r.want("request", "CON GET")
	ping(r)
	r.idle("a ping waits for NSTART")
	r.acknowledge(s)
	r.want("and goes", "CON 0.00")
	r.quiet()
}

// While a peer does not answer, Non-confirmable requests to it are sent at PROBING_RATE on
// average, whatever NSTART is, whether they are canceled or not, and whatever their size.
//
// Proves 7252-4.7-02.
func TestProbingRate(t *testing.T) {
	for _, nstart := range []int{1, 4} {
		for _, rate := range []float64{1, 20} {
			for _, cancel := range []bool{false, true} {
				for _, size := range []int{8, 1000} {
					name := fmt.Sprintf("NSTART %d rate %v cancel %v size %d", nstart, rate, cancel, size)
					t.Run(name, func(t *testing.T) {
						r := newRig(t, Config{Params: exchange.Params{NStart: nstart, ProbingRate: rate}})
						var ids []Exchange
						for i := range 40 {
							ids = append(ids, r.request(i, "NON POST pay=%s", strings.Repeat("x", size)))
							if cancel && i%2 == 0 {
								r.cancel(ids[i])
							}
						}
						length := 0
						for r.e.Stats().Exchanges > 0 {
							r.advance(100 * time.Second)
							require.Less(t, r.elapsed(), 1000*time.Hour, "all get their turn")
							checkEngine(t, r.e)
						}
						require.NotEmpty(t, r.out)
						for i, s := range r.out {
							length = len(s.raw)
							// What went before this one, less the first burst.
							paid := float64((i - nstart + 1) * length)
							require.GreaterOrEqual(t, s.at.Seconds()*rate+1e-3, paid, "datagram %d", i)
						}
						last := r.out[len(r.out)-1].at.Seconds()
						require.LessOrEqual(t, last*rate, float64(len(r.out)*length)+1, "no more is kept back than that")
					})
				}
			}
		}
	}
}

// A peer that answers is not held back.
func TestProbingRateIsForSilentPeers(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{NStart: 2}})
	for i := range 20 {
		r.request(i, "NON POST")
	}
	for i := range 20 {
		s := r.want("next", "NON POST")
		switch i % 3 {
		case 0:
			r.receive("answer", "NON 2.04 mid=%d tok=%s", i, hexOf(s))
			r.response("answer", i, "2.04")
		case 1:
			r.receive("rejected", "RST 0.00 mid=%d", s.MessageID)
			r.end("rejected", i, exchange.ErrReset)
		case 2:
			r.receive("an answer of no use", "NON 2.04 mid=%d tok=%s opt=65001:", i, hexOf(s))
			r.end("an answer of no use", i, exchange.ErrBadOption)
		}
	}
	require.Zero(t, r.elapsed())
	r.quiet()
}

// An answer to anything shows that the peer answers.
func TestProbingRateAfterSilence(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{ProbingRate: 0.01}})
	r.cancel(r.request(1, "NON GET"))
	r.want("request", "NON GET")
	r.request(2, "NON GET")
	r.noneSent("silence so far")
	r.advance(time.Minute)
	r.noneSent("silence still")

	r = newRig(t, Config{Params: exchange.Params{ProbingRate: 0.01}})
	s := r.request(1, "NON GET")
	r.want("request", "NON GET")
	r.cancel(s)
	r.request(2, "CON GET")
	q := r.want("request", "CON GET")
	r.receive("answer", "ACK 2.05 mid=%d tok=%s", q.MessageID, hexOf(q))
	r.response("answer", 2, "2.05")
	r.request(3, "NON GET")
	r.want("at once", "NON GET")
}

func TestProbingRateOff(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{ProbingRate: -1}})
	for i := range 100 {
		r.request(i, "NON GET")
	}
	require.Len(t, r.out, 100)
	r.quiet()
}

// A rate so low that the time does not fit a clock means "never again until it answers".
func TestProbingRateTiny(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{ProbingRate: 1e-300, NStart: 100}})
	for i := range 50 {
		r.request(i, "NON GET")
	}
	r.out = nil
	r.advance(150 * time.Second)
	require.Len(t, r.events, 50, "all end")
	r.request(1, "NON GET")
	r.advance(10000 * time.Hour)
	r.noneSent("and nothing is sent")
	x := r.request(2, "CON GET")
	r.cancel(x)
	checkEngine(t, r.e)
}

// A Confirmable request is not subject to PROBING_RATE, it has its back-off.
func TestProbingAndConfirmable(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "NON GET")
	s := r.want("first", "NON GET")
	length := time.Duration(len(s.raw)) * time.Second
	r.request(2, "CON GET")
	r.idle("NSTART")
	r.advance(length - 1)
	r.idle("NSTART still")
	r.advance(1)
	r.want("the response to the first is not expected any more", "CON GET")
	r.receive("but welcome", "NON 2.05 mid=1 tok=%s", hexOf(s))
	r.response("late", 1, "2.05")
}

func TestTooLarge(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{MessageSize: 100}})
	// 4 bytes of header, 8 of token, 1 of payload marker
	r.request(1, "CON POST pay=%s", strings.Repeat("x", 87))
	require.Len(t, r.want("fits", "CON POST").raw, 100)
	_, err := r.try(RequestOptions{}, "CON POST to=B pay=%s", strings.Repeat("x", 88))
	require.Equal(t, exchange.ErrTooLarge, err)
	require.Equal(t, 1, r.e.Stats().Peers, "a request that fails leaves nothing")
	r.receive("request", "CON GET mid=1")
	ev := r.handle("request", "GET")
	require.Equal(t, exchange.ErrTooLarge, r.tryRespond(ev, "2.05 pay=%s", strings.Repeat("x", 96)))
	r.respond(ev, "5.00 pay=%s", strings.Repeat("x", 95))
	require.Len(t, r.want("it can be answered otherwise", "ACK 5.00").raw, 100)
	checkEngine(t, r.e)
}

// The default keeps a message within 1152 bytes.
//
// Proves 7252-4.6-02.
func TestDefaultMessageSize(t *testing.T) {
	r := newRig(t, Config{})
	_, err := r.try(RequestOptions{}, "CON POST pay=%s", strings.Repeat("x", 1153-13))
	require.Equal(t, exchange.ErrTooLarge, err)
	_, err = r.try(RequestOptions{}, "CON POST pay=%s", strings.Repeat("x", 1152-13))
	require.NoError(t, err)
}

// What the codec refuses is refused without a trace.
func TestUnencodable(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{MessageSize: 65535}})
	var m message.Message
	m.Code = message.POST
	m.Options.Add(message.OptionURIPath, make([]byte, message.MaxOptionLength+1))
	_, err := r.e.Request(r.now, Target{Remote: addresses["A"]}, &m, RequestOptions{})
	require.Equal(t, message.ErrOptionTooLong, err)
	requireEmpty(t, r.e)
}

// Close ends each exchange once, queued, sent and acknowledged ones; nothing
// happens afterwards.
func TestClose(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "CON GET")
	r.acknowledge(r.want("request", "CON GET"))
	r.request(2, "CON GET")
	r.request(3, "CON GET")
	r.request(4, "NON GET")
	for i := range 2000 {
		_, err := r.e.Request(r.now, Target{Remote: addr(i)}, &message.Message{Code: message.GET}, RequestOptions{User: 5 + i})
		require.NoError(t, err)
	}
	r.receive("request", "CON GET mid=1")
	ev := r.handle("request", "GET")
	r.receive("request", "CON GET mid=2")
	late := r.handle("request", "GET")
	r.collect()
	r.out = nil
	r.advance(time.Second)
	r.respond(late, "2.05")
	r.receive("request", "CON GET mid=4")
	r.handle("to be acknowledged soon", "GET")
	r.receive("request", "NON GET mid=5 group")
	r.respond(r.handle("to be answered soon", "GET"), "2.05")
	r.out = nil
	r.e.Close()
	r.collect()
	var users []int
	for _, ev := range r.events {
		require.Equal(t, EventEnd, ev.Kind)
		require.Equal(t, exchange.ErrClosed, ev.Err)
		users = append(users, ev.User.(int))
	}
	slices.Sort(users)
	require.Len(t, slices.Compact(users), 2004, "each ends")
	require.Len(t, r.events, 2004, "once")
	r.events = nil
	require.Equal(t, 0, r.e.Stats().Exchanges)
	require.Equal(t, 0, r.e.Stats().Queued)

	r.e.Close()
	_, err := r.try(RequestOptions{}, "CON GET")
	require.Equal(t, exchange.ErrClosed, err)
	_, err = r.e.Ping(r.now, Target{Remote: addresses["A"]}, RequestOptions{})
	require.Equal(t, exchange.ErrClosed, err)
	require.Equal(t, exchange.ErrClosed, r.tryRespond(ev, "2.05"))
	r.e.Drop(r.now, ev.Incoming, exchange.DropBusy)
	r.receive("request", "CON GET mid=2")
	r.receive("ping", "CON 0.00 mid=3")
	_, ok := r.e.NextTimeout()
	require.False(t, ok, "a closed engine waits for nothing")
	r.sleep(time.Hour)
	r.idle("nothing is processed any more")
}
