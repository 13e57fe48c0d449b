package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
)

func seed(n int) (s [32]byte) {
	s[0], s[1] = byte(n), byte(n>>8)
	return s
}

// transmissions returns when each copy of the first datagram was sent, and that nothing else
// was.
func (r *rig) transmissions() []time.Duration {
	r.Helper()
	var at []time.Duration
	for _, s := range r.out {
		require.Equal(r, r.out[0].raw, s.raw, "all transmissions are the same bytes")
		at = append(at, s.at)
	}
	return at
}

// Without an answer, a Confirmable message is sent again after exactly the first time-out times
// 1, 3, 7 and 15, and given up after 31 times the first time-out.
//
// Proves 7252-4.2-05, 7252-4.2-s09, 7252-4.2-s11, 7252-4.2-s12, 7252-4.2-s13.
func TestRetransmissionSchedule(t *testing.T) {
	for _, factor := range []float64{1, 1.5, 3} {
		first := map[time.Duration]bool{}
		for n := range 50 {
			p := exchange.Params{AckRandomFactor: factor}
			r := newRig(t, Config{Seed: seed(n), Params: p})
			r.request(1, "CON GET")
			r.advance(1000 * time.Second)

			at := r.transmissions()
			require.Len(t, at, 5, "MAX_RETRANSMIT is 4")
			require.Zero(t, at[0], "the first transmission is at once")
			timeout := at[1]
			require.GreaterOrEqual(t, timeout, 2*time.Second, "at least ACK_TIMEOUT")
			require.LessOrEqual(t, timeout, time.Duration(factor*float64(2*time.Second)), "at most ACK_TIMEOUT * ACK_RANDOM_FACTOR")
			for i, m := range []time.Duration{0, 1, 3, 7, 15} {
				require.Equal(t, m*timeout, at[i], "transmission %d", i)
			}
			first[timeout] = true
			r.end("nobody has answered", 1, exchange.ErrNotAcknowledged)
			require.Equal(t, uint64(4), r.e.Stats().Retransmitted)
			require.Equal(t, uint64(1), r.e.Stats().TimedOut)
			r.quiet()
		}
		if factor > 1 {
			require.Greater(t, len(first), 45, "first time-outs are random")
		}
	}
}

// Proves 7252-4.2-s13.
func TestGiveUpTime(t *testing.T) {
	for n := range 50 {
		r := newRig(t, Config{Seed: seed(n)})
		r.request(1, "CON GET")
		for len(r.out) < 2 {
			r.advance(time.Millisecond)
		}
		timeout := r.out[1].at
		r.advance(31*timeout - r.elapsed() - 1)
		require.Empty(t, r.events, "one nanosecond before 31 times the first time-out")
		r.advance(1)
		r.end("31 times the first time-out", 1, exchange.ErrNotAcknowledged)
		require.LessOrEqual(t, r.elapsed(), 93*time.Second, "MAX_TRANSMIT_WAIT")
	}
}

// After each number of transmissions, an acknowledgement ends them, and a Reset ends
// the exchange.
//
// Proves 7252-4.2-s09, 7252-4.2-s14, 7252-4.2-s13.
func TestRetransmissionEnds(t *testing.T) {
	for n := 1; n <= 5; n++ {
		for _, answer := range []string{"ACK", "RST"} {
			t.Run(fmt.Sprintf("%s after %d", answer, n), func(t *testing.T) {
				r := newRig(t, Config{})
				r.request(1, "CON GET")
				for len(r.out) < n {
					r.advance(time.Second)
				}
				mid := r.out[0].MessageID
				r.out = nil
				r.receive("an answer", "%s 0.00 mid=%d", answer, mid)
				if answer == "RST" {
					r.end("the peer rejects", 1, exchange.ErrReset)
					require.Equal(t, uint64(1), r.e.Stats().Rejected)
				}
				r.advance(100 * time.Second)
				r.idle("nothing is sent again, and nothing is sent in answer")
			})
		}
	}
}

// A host that sleeps is late for retransmissions: however it sleeps, two transmissions are
// ACK_TIMEOUT apart, all are within MAX_TRANSMIT_SPAN, and the exchange ends by
// MAX_TRANSMIT_WAIT or when the host wakes up after it.
//
// Proves 7252-4.2-06.
func TestLateRetransmission(t *testing.T) {
	for n := range 3000 {
		random := rand.New(rand.NewPCG(uint64(n), 1))
		r := newRig(t, Config{Seed: seed(n)})
		r.request(1, "CON GET")
		for len(r.events) == 0 {
			before := r.elapsed()
			if random.IntN(3) == 0 {
				r.sleep(time.Duration(random.Int64N(int64(60 * time.Second))))
			} else {
				r.advance(time.Duration(random.Int64N(int64(4 * time.Second))))
			}
			if len(r.events) == 0 {
				require.Less(t, r.elapsed(), 93*time.Second, "seed %d: not over by MAX_TRANSMIT_WAIT", n)
			} else {
				require.Less(t, before, 93*time.Second)
			}
		}
		at := r.transmissions()
		require.LessOrEqual(t, len(at), 5)
		for i := 1; i < len(at); i++ {
			require.GreaterOrEqual(t, at[i]-at[i-1], 2*time.Second, "seed %d: spacing of %v", n, at)
		}
		require.LessOrEqual(t, at[len(at)-1], 45*time.Second, "seed %d: envelope of %v", n, at)
		r.end("nobody has answered", 1, exchange.ErrNotAcknowledged)
	}
}

// Proves 7252-4.2-06.
func TestMissedOpportunities(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{AckRandomFactor: 1}})
	r.request(1, "CON GET")
	r.want("first", "CON GET")
	r.sleep(20 * time.Second) // due were 2 s, 6 s and 14 s
	r.want("one for all that were missed", "CON GET")
	r.idle("they are not sent one after the other")
	r.advance(2*time.Second - 1)
	r.idle("not within ACK_TIMEOUT of the last")
	r.advance(1)
	r.want("the next", "CON GET")
	r.advance(8 * time.Second)
	r.want("the back-off goes on: 30 s", "CON GET")
	r.advance(1000 * time.Second)
	r.noneSent("46 s is outside the envelope of 30 s")
	r.end("62 s", 1, exchange.ErrNotAcknowledged)

	r = newRig(t, Config{Params: exchange.Params{AckRandomFactor: 1}})
	r.request(1, "CON GET")
	mid := r.want("first", "CON GET").MessageID
	r.sleep(40 * time.Second)
	r.idle("MAX_TRANSMIT_SPAN is over, MAX_TRANSMIT_WAIT is not")
	r.receive("an acknowledgement of the first", "ACK 0.00 mid=%d", mid)
	r.advance(100 * time.Second)
	r.idle("it counted")

	r = newRig(t, Config{})
	r.request(1, "CON GET")
	r.want("first", "CON GET")
	r.sleep(2 * time.Hour)
	r.end("all is over", 1, exchange.ErrNotAcknowledged)
	r.idle("nothing is sent any more")
}

// noneSent expects that nothing more was sent.
func (r *rig) noneSent(why string) {
	r.Helper()
	require.Empty(r, r.out, why)
}

// An acknowledgement that was read late, but before the time-out was dealt with, counts.
func TestAcknowledgementBeatsTimeout(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "CON GET")
	mid := r.want("request", "CON GET").MessageID
	r.now = r.now.Add(time.Minute)
	r.receive("the answer was in the socket", "ACK 0.00 mid=%d", mid)
	r.sleep(0)
	r.idle("no retransmission")
}

func TestParamsOfOneRequest(t *testing.T) {
	r := newRig(t, Config{})
	p := &exchange.Params{AckTimeout: 100 * time.Millisecond, AckRandomFactor: 1, MaxRetransmit: 2}
	_, err := r.try(RequestOptions{User: 1, Params: p}, "CON GET")
	require.NoError(t, err)
	r.request(2, "CON GET to=B")
	r.advance(time.Second)
	var at []time.Duration
	for _, s := range r.out {
		if s.to == addresses["A"] {
			at = append(at, s.at)
		}
	}
	require.Equal(t, []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond}, at)
	r.end("after 700 ms", 1, exchange.ErrNotAcknowledged)
	r.out = nil
	r.advance(93 * time.Second)
	require.Len(t, r.out, 4, "others keep the parameters of the engine")
	r.end("after 62 to 93 s", 2, exchange.ErrNotAcknowledged)

	_, err = r.try(RequestOptions{User: 3, Params: &exchange.Params{MaxRetransmit: -1, AckRandomFactor: 1}}, "CON GET")
	require.NoError(t, err)
	r.out = nil
	r.advance(2*time.Second - 1)
	r.idle("not yet")
	r.advance(1)
	r.noneSent("without retransmission")
	r.end("at the first time-out", 3, exchange.ErrNotAcknowledged)
	r.quiet()
}

// Three timers can end an exchange, and the error says which.
func TestTimeouts(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "CON GET")
	mid := r.want("request", "CON GET").MessageID
	r.advance(time.Second)
	r.receive("acknowledged at 1 s", "ACK 0.00 mid=%d", mid)
	r.advance(247*time.Second - 1)
	r.idle("EXCHANGE_LIFETIME is not over")
	r.advance(1)
	r.end("EXCHANGE_LIFETIME after the acknowledgement", 1, exchange.ErrNoSeparateResponse)

	r.request(2, "NON GET")
	r.want("request", "NON GET")
	r.advance(145*time.Second - 1)
	r.idle("NON_LIFETIME is not over")
	r.advance(1)
	r.end("NON_LIFETIME", 2, exchange.ErrNotAnswered)
	r.idle("a NON is sent once")

	_, err := r.try(RequestOptions{User: 3, Params: &exchange.Params{ResponseTimeout: time.Second}}, "CON GET")
	require.NoError(t, err)
	mid = r.want("request", "CON GET").MessageID
	r.receive("acknowledged", "ACK 0.00 mid=%d", mid)
	r.advance(time.Second - 1)
	r.idle("not yet")
	r.advance(1)
	r.end("the time-out of this request", 3, exchange.ErrNoSeparateResponse)
	require.Equal(t, uint64(3), r.e.Stats().TimedOut)
	for _, e := range []exchange.EndError{exchange.ErrNoSeparateResponse, exchange.ErrNotAnswered, exchange.ErrNotAcknowledged} {
		require.ErrorIs(t, e, exchange.ErrTimeout)
	}
	r.quiet()
}
