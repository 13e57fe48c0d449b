package coap_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
)

// takeover is when the watchdog has taken the loop from a handler at the latest.
const takeover = 2 * time.Millisecond

// A handler that blocks holds up others until the watchdog sees it, and once only: then its route runs on workers.
func TestStalledHandler(t *testing.T) {
	for _, test := range []struct {
		name      string
		placement coap.Placement
		first     time.Duration // how long another waits for the first call
		second    time.Duration // and for the second
	}{
		{"adaptive", coap.Adaptive, takeover, 0},
		{"inline", coap.Inline, takeover, takeover},
		{"on worker", coap.OnWorker, 0, 0},
	} {
		bubble(t, test.name, func(t *testing.T) {
			mux := coap.NewMux()
			release := make(chan struct{})
			mux.HandleFunc("GET /wait", func(w *coap.Response, r *coap.Request) error {
				<-release
				n, _ := r.Query("n") // the datagram of the request is still there
				return w.Text(n)
			}, coap.Route{Placement: test.placement})
			mux.HandleFunc("GET /plain", func(w *coap.Response, r *coap.Request) error { return w.Text("plain") })
			r := newRig(t, mux, nil)
			for i, most := range []time.Duration{test.first, test.second} {
				r.peer.send("CON GET mid=%d tok=%02x path=wait query=n=%d", i, i, i)
				r.peer.send("CON GET mid=%d path=plain", 10+i)
				if most > 0 {
					r.peer.wantNothing("the loop waits for the handler")
					pass(most)
				}
				r.peer.want("others are answered", "ACK 2.05 mid=%d pay=plain", 10+i)
			}
			for i := range 200 { // the memory that the waiting requests came in is not used again
				r.peer.send("CON GET mid=%d path=plain", 100+i)
				r.peer.want("others are answered", "ACK 2.05 mid=%d pay=plain", 100+i)
			}
			close(release)
			answers := []string{string(r.peer.next("it answers").Payload), string(r.peer.next("it answers").Payload)}
			require.ElementsMatch(t, []string{"0", "1"}, answers)
			r.peer.send("CON GET mid=300 path=plain")
			r.peer.want("others are answered", "ACK 2.05 mid=300 pay=plain")
		})
	}
}

// A handler that asks its own endpoint for something gives the loop away at once: no time passes.
func TestHandlerAsksItsOwnEndpoint(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		mux := coap.NewMux()
		var r *rig
		mux.HandleFunc("GET /proxy", func(w *coap.Response, in *coap.Request) error {
			var resp coap.Response
			if err := r.ep.RoundTrip(in.Context(), request(t, coap.GET, peerAddr2, "/origin"), &resp); err != nil {
				return err
			}
			return w.Text(string(resp.Payload))
		}, coap.Route{Placement: coap.Inline})
		r = newRig(t, mux, nil)
		origin := r.newPeer(peerAddr2)
		for i := range 3 {
			start := time.Now()
			r.peer.send("CON GET mid=%d path=proxy", i)
			asked := origin.want("the handler's request", "CON GET path=origin")
			origin.send("ACK 2.05 mid=%d tok=%s pay=value", asked.MessageID, asked.Token)
			r.peer.want("the answer of the origin", "ACK 2.05 mid=%d pay=value", i)
			require.Zero(t, time.Since(start))
		}
	})
}

// A handler may close its endpoint, and wait for that.
func TestHandlerClosesItsEndpoint(t *testing.T) {
	for _, placement := range []coap.Placement{coap.Inline, coap.OnWorker} {
		bubble(t, "", func(t *testing.T) {
			mux := coap.NewMux()
			var r *rig
			closed := make(chan error, 1)
			mux.HandleFunc("POST /close", func(w *coap.Response, in *coap.Request) error {
				closed <- r.ep.Close()
				return nil
			}, coap.Route{Placement: placement})
			r = newRig(t, mux, nil)
			start := time.Now()
			r.peer.send("CON POST mid=1 path=close")
			require.NoError(t, <-closed)
			require.Zero(t, time.Since(start))
		})
	}
}

// A handler that ends its goroutine is answered for, and does not end the endpoint.
func TestHandlerExits(t *testing.T) {
	for _, placement := range []coap.Placement{coap.Adaptive, coap.OnWorker} {
		bubble(t, "", func(t *testing.T) {
			mux := coap.NewMux()
			mux.HandleFunc("GET /exit", func(_ *coap.Response, r *coap.Request) error {
				if n, _ := r.Query("after"); n != "" {
					<-time.After(10 * time.Millisecond)
				}
				runtime.Goexit()
				return nil
			}, coap.Route{Placement: placement})
			mux.HandleFunc("GET /plain", func(w *coap.Response, r *coap.Request) error { return w.Text("plain") })
			r := newRig(t, mux, nil)
			for i, query := range []string{"", " query=after=10"} {
				r.peer.send("CON GET mid=%d path=exit"+query, i)
				pass(10 * time.Millisecond)
				r.peer.want("an answer", "ACK 5.00 mid=%d", i)
				r.peer.send("CON GET mid=%d path=plain", 10+i)
				r.peer.want("others are answered", "ACK 2.05 mid=%d pay=plain", 10+i)
			}
		})
	}
}

// The goroutines that ran handlers end, whether they were workers or were robbed of the loop, and so does
// the watchdog's timer.
func TestWorkersEnd(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		mux := coap.NewMux()
		mux.HandleFunc("GET /slow", slow)
		r := newRig(t, mux, nil)
		pass(time.Minute)
		_, before := goroutines()
		for i := range 100 {
			r.peer.send("CON GET mid=%d path=slow", i)
		}
		pass(takeover)
		require.Equal(t, 100, r.ep.Stats().Handling, "each has a handler")
		pass(slowTime + 5*time.Minute)
		requireGoroutines(t, before)
	})
}

// Placement of the endpoint holds for handlers that say nothing else.
func TestConfigPlacement(t *testing.T) {
	blocks := coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
		if slow, _ := r.Query("slow"); slow == "yes" {
			return slowly(w, r)
		}
		return w.Text("plain")
	})
	inMux := coap.NewMux()
	inMux.Handle("/", blocks)
	pinned := coap.NewMux()
	pinned.Handle("/", blocks, coap.Route{Placement: coap.Inline})
	for name, test := range map[string]struct {
		h     coap.Handler
		waits bool
	}{
		"no Mux":           {blocks, false},
		"a Mux":            {inMux, false},
		"a wrapped Mux":    {coap.Wrap(inMux, func(h coap.Handler) coap.Handler { return h }), false},
		"a route says not": {pinned, true},
	} {
		bubble(t, name, func(t *testing.T) {
			r := newRig(t, test.h, &coap.Config{Placement: coap.OnWorker})
			r.peer.send("CON GET mid=1 path=x query=slow=yes")
			r.peer.send("CON GET mid=2 path=x")
			if test.waits {
				r.peer.wantNothing("it holds the loop")
				pass(takeover)
			}
			r.peer.want("the other is answered", "ACK 2.05 mid=2 pay=plain")
		})
	}
	bubble(t, "", func(t *testing.T) {
		_, err := coap.NewEndpoint(nil, nil, &coap.Config{Placement: 7})
		require.ErrorContains(t, err, "Placement")
	})
}

func slowly(w *coap.Response, r *coap.Request) error { return slow(w, r) }

// Whoever waits while an unrelated handler runs does it no harm, and cancelling works.
func TestWaitBesideHandler(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		mux := coap.NewMux()
		release := make(chan struct{})
		mux.HandleFunc("GET /wait", func(w *coap.Response, r *coap.Request) error {
			<-release
			return w.Text("done")
		})
		r := newRig(t, mux, nil)
		r.peer.send("CON GET mid=1 path=wait")
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		ours := async(ctx, r.ep, request(t, coap.GET, peerAddr, "/ours"))
		r.peer.want("our request leaves although a handler has the loop", "CON GET path=ours")
		cancel()
		ours.RequireErr(t, "canceled", context.Canceled)
		close(release)
		r.peer.want("it answers", "ACK 2.05 mid=1 pay=done")
	})
}
