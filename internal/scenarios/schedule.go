package scenarios

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/coapkit/coap"
	"github.com/stretchr/testify/require"
)

// SilentPeer: a silent peer and a context without deadline: the same datagram goes out when the first
// time-out t, between ACK_TIMEOUT and ACK_TIMEOUT * ACK_RANDOM_FACTOR, has passed, then after 2t,
// 4t and 8t more, and the error comes after 16t more, which is MAX_TRANSMIT_WAIT at the
// latest.
func SilentPeer(t *testing.T, over *Transport) {
	firsts := make(map[time.Duration]bool)
	for range 20 {
		bubble(t, "", func(t *testing.T) {
			r := newRig(t, over, nil, nil)
			start := time.Now()
			got := Async(context.Background(), r.ep, Request(t, coap.GET, peerAddr, "/x"))
			pass(2 * time.Minute)
			first := r.peer.want("the request", "CON GET path=x")
			require.Zero(t, first.at.Sub(start), "sent at once")
			var timeout, after time.Duration
			for i := range 4 {
				again := r.peer.want("a retransmission", "CON GET mid=%d", first.MessageID)
				require.Equal(t, first.raw, again.raw, "the same bytes")
				if i == 0 {
					timeout = again.at.Sub(start)
				}
				after += timeout << i
				require.Equal(t, after, again.at.Sub(start), "retransmission %d", i+1)
			}
			r.peer.wantNothing("no fifth one")
			require.GreaterOrEqual(t, timeout, 2*time.Second)
			require.LessOrEqual(t, timeout, 3*time.Second)
			firsts[timeout] = true

			got.RequireErr(t, "after all", coap.ErrTimeout)
			require.ErrorIs(t, got.Err, coap.ErrNotAcknowledged)
			require.Equal(t, 31*timeout, got.Took)
			require.LessOrEqual(t, got.Took, 93*time.Second, "MAX_TRANSMIT_WAIT")
			var timeoutErr net.Error
			require.ErrorAs(t, got.Err, &timeoutErr)
			require.True(t, timeoutErr.Timeout())
			require.ErrorContains(t, got.Err, "MAX_TRANSMIT_WAIT")
			require.ErrorContains(t, got.Err, "GET 192.0.2.9:61616")

			stats := r.ep.Stats()
			require.EqualValues(t, 1, stats.TimedOut)
			require.EqualValues(t, 4, stats.Retransmitted)
			r.requireForgotten()
		})
	}
	require.Greater(t, len(firsts), 15, "the first time-out is random")
}

// EarlierDeadline: a deadline before those that are known sets the timer anew.
func EarlierDeadline(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		Async(t.Context(), r.ep, Request(t, coap.GET, peerAddr, "/slow"))
		pass(0)
		slow := r.peer.want("a request", "CON GET path=slow")
		r.peer.send("ACK 0.00 mid=%d", slow.MessageID) // its response has minutes to come
		pass(5 * time.Second)
		Async(t.Context(), r.ep, Request(t, coap.GET, peerAddr, "/x"))
		pass(3 * time.Second)
		first := r.peer.want("another", "CON GET path=x")
		r.peer.want("its retransmission", "CON GET mid=%d", first.MessageID)
	})
}

// Timeouts: ways to wait in vain, besides a silent peer.
func Timeouts(t *testing.T, over *Transport) {
	bubble(t, "acknowledged, no response", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		got := Async(context.Background(), r.ep, Request(t, coap.GET, peerAddr, "/x"))
		asked := r.peer.want("the request", "CON GET")
		pass(time.Second)
		r.peer.send("ACK 0.00 mid=%d", asked.MessageID)
		pass(5 * time.Minute)
		r.peer.wantNothing("no retransmission after the acknowledgement")
		got.RequireErr(t, "the end", coap.ErrTimeout)
		require.ErrorIs(t, got.Err, coap.ErrNoSeparateResponse)
		require.Equal(t, 248*time.Second, got.Took, "EXCHANGE_LIFETIME after the acknowledgement")
	})
	bubble(t, "ResponseTimeout", func(t *testing.T) {
		r := newRig(t, over, nil, &coap.Config{Params: coap.Params{ResponseTimeout: 10 * time.Second}})
		got := Async(context.Background(), r.ep, Request(t, coap.GET, peerAddr, "/x"))
		asked := r.peer.want("the request", "CON GET")
		r.peer.send("ACK 0.00 mid=%d", asked.MessageID)
		pass(10 * time.Second)
		got.RequireErr(t, "the end", coap.ErrNoSeparateResponse)
		r.peer.send("CON 2.05 mid=5 tok=%s pay=late", asked.Token)
		r.peer.want("too late", "RST 0.00 mid=5")
	})
	bubble(t, "NON", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		req := Request(t, coap.GET, peerAddr, "/x")
		req.NonConfirmable = true
		got := Async(context.Background(), r.ep, req)
		r.peer.want("the request", "NON GET")
		pass(144 * time.Second)
		require.False(t, got.IsDone())
		pass(2 * time.Second)
		got.RequireErr(t, "the end", coap.ErrTimeout)
		require.ErrorIs(t, got.Err, coap.ErrNotAnswered)
		require.Equal(t, 145*time.Second, got.Took, "NON_LIFETIME")
		r.peer.wantNothing("a NON is sent once")
	})
	bubble(t, "reset", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		for _, non := range []bool{false, true} {
			req := Request(t, coap.GET, peerAddr, "/x")
			req.NonConfirmable = non
			got := Async(context.Background(), r.ep, req)
			asked := r.peer.next("the request")
			r.peer.send("RST 0.00 mid=%d", asked.MessageID)
			got.RequireErr(t, "at once", coap.ErrReset)
			require.NotErrorIs(t, got.Err, coap.ErrTimeout)
		}
		require.EqualValues(t, 2, r.ep.Stats().Rejected)
	})
}

// Ping: a ping is answered by the Reset that it elicits.
func Ping(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		ping := AsyncDo(func(*coap.Response) error { return r.ep.Ping(context.Background(), peerAddr) })
		asked := r.peer.want("an Empty CON", "CON 0.00")
		pass(time.Second)
		require.False(t, ping.IsDone())
		r.peer.send("RST 0.00 mid=%d", asked.MessageID)
		require.True(t, ping.IsDone())
		require.NoError(t, ping.Err)

		ping = AsyncDo(func(*coap.Response) error { return r.ep.Ping(context.Background(), peerAddr) })
		pass(93 * time.Second)
		ping.RequireErr(t, "nobody there", coap.ErrNotAcknowledged)
		require.ErrorContains(t, ping.Err, "ping")

		ep2 := Endpoint(t, r.net.listen(t, peerAddr2), nil, nil)
		require.NoError(t, ep2.Ping(t.Context(), serverAddr), "one of ours answers")
		require.EqualValues(t, 1, r.ep.Stats().Pings)
	})
}

// NStart: NSTART interactions are outstanding at a time, whatever is asked for; other peers are
// apart. An acknowledgement ends what counts.
func NStart(t *testing.T, over *Transport) {
	for _, nstart := range []int{1, 3} {
		bubble(t, "", func(t *testing.T) {
			r := newRig(t, over, nil, &coap.Config{Params: coap.Params{NStart: nstart}})
			other := r.newPeer(peerAddr2)
			var calls []*Result
			for range 6 {
				calls = append(calls, Async(t.Context(), r.ep, Request(t, coap.GET, peerAddr, "/x")))
			}
			var asked []packet
			for range nstart {
				asked = append(asked, r.peer.want("up to NSTART", "CON GET"))
			}
			r.peer.wantNothing("not more")
			require.Equal(t, 6-nstart, r.ep.Stats().Queued)
			busy := Request(t, coap.GET, peerAddr, "/busy")
			busy.NoWait = true
			require.ErrorIs(t, r.ep.RoundTrip(t.Context(), busy, new(coap.Response)), coap.ErrBusy)
			r.peer.wantNothing("NoWait does not wait")
			Async(t.Context(), r.ep, Request(t, coap.GET, peerAddr2, "/x"))
			other.want("another peer", "CON GET")
			for i := 0; i < len(calls); i++ {
				r.peer.send("ACK 0.00 mid=%d", asked[i].MessageID)
				if len(asked) < len(calls) {
					asked = append(asked, r.peer.want("one acknowledged, the next", "CON GET"))
				}
				r.peer.wantNothing("one only")
			}
			for _, a := range asked {
				r.peer.send("NON 2.05 mid=%d tok=%s", a.MessageID^0x8000, a.Token)
			}
			for _, c := range calls {
				c.RequireCode(t, "in the end", "2.05")
			}
		})
	}
}

// Context: the context ends a request before it is sent, while it waits for NSTART, and in flight. Its
// slot is free again.
func Context(t *testing.T, over *Transport) {
	bubble(t, "before", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := r.ep.RoundTrip(ctx, Request(t, coap.GET, peerAddr, "/x"), new(coap.Response))
		require.ErrorIs(t, err, context.Canceled)
		r.peer.wantNothing("nothing is sent")
	})
	bubble(t, "queued and in flight", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		inFlight, cancelInFlight := context.WithCancel(t.Context())
		queued, cancelQueued := context.WithCancel(t.Context())
		first := Async(inFlight, r.ep, Request(t, coap.GET, peerAddr, "/1"))
		asked := r.peer.want("the first", "CON GET path=1")
		second := Async(queued, r.ep, Request(t, coap.GET, peerAddr, "/2"))
		require.False(t, second.IsDone())
		third := Async(t.Context(), r.ep, Request(t, coap.GET, peerAddr, "/3"))
		require.False(t, third.IsDone())

		cancelQueued()
		second.RequireErr(t, "queued", context.Canceled)
		r.peer.wantNothing("the second never is sent")
		cancelInFlight()
		first.RequireErr(t, "in flight", context.Canceled)
		next := r.peer.want("its turn", "CON GET path=3")
		r.peer.send("ACK 2.05 mid=%d tok=%s", asked.MessageID, asked.Token)
		r.peer.send("CON 2.05 mid=9 tok=%s", asked.Token)
		r.peer.want("nobody waits for it any more", "RST 0.00 mid=9")
		r.peer.send("ACK 2.05 mid=%d tok=%s", next.MessageID, next.Token)
		third.RequireCode(t, "the third", "2.05")
		require.EqualValues(t, 2, r.ep.Stats().Canceled)
		r.requireForgotten()
	})
	bubble(t, "deadline", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		got := Async(ctx, r.ep, Request(t, coap.GET, peerAddr, "/x"))
		pass(time.Minute)
		got.RequireErr(t, "the deadline", context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, got.Took)
		var timeout net.Error
		require.ErrorAs(t, got.Err, &timeout)
		require.True(t, timeout.Timeout())
		r.peer.want("the request", "CON GET")
		r.peer.want("one retransmission", "CON GET")
		r.peer.wantNothing("none after the deadline")
	})
}
