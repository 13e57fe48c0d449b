package scenarios

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
	"github.com/stretchr/testify/require"
)

// ShutdownDrains: Shutdown waits for a handler and for the acknowledgement of its separate response, answers new
// requests with 5.03 meanwhile, and closes then.
func ShutdownDrains(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, over, NewResources(), nil)
		r.peer.send("CON GET mid=1 tok=01 path=slow")
		pass(time.Second)
		r.peer.want("", "ACK 0.00 mid=1")
		down := AsyncDo(func(*coap.Response) error { return r.ep.Shutdown(context.Background()) })
		again := AsyncDo(func(*coap.Response) error { return r.ep.Shutdown(context.Background()) })
		require.False(t, down.IsDone(), "a handler works")
		r.peer.send("CON GET mid=2 tok=02 path=plain")
		r.peer.want("a new one", "ACK 5.03 mid=2 tok=02")
		r.peer.send("NON GET mid=3 tok=03 path=plain")
		r.peer.wantNothing("a new one")
		require.EqualValues(t, 2, r.ep.Stats().Dropped[exchange.DropClosing])
		r.peer.send("CON GET mid=1 tok=01 path=slow")
		r.peer.want("a copy of the old one", "ACK 0.00 mid=1")
		pass(SlowTime - time.Second)
		answer := r.peer.want("", "CON 2.05 tok=01")
		require.False(t, down.IsDone(), "the answer is not acknowledged")
		pass(3 * time.Second)
		r.peer.want("it is sent again", "CON 2.05 mid=%d", answer.MessageID)
		require.False(t, down.IsDone())
		r.peer.send("ACK 0.00 mid=%d", answer.MessageID)
		require.True(t, down.IsDone())
		require.NoError(t, down.Err)
		require.True(t, again.IsDone())
		require.NoError(t, again.Err)
		r.peer.send("CON GET mid=4 path=plain")
		r.peer.wantNothing("closed")
	})
	bubble(t, "idle", func(t *testing.T) {
		r := newRig(t, over, NewResources(), nil)
		require.NoError(t, r.ep.Shutdown(context.Background()))
		require.NoError(t, r.ep.Shutdown(context.Background()), "again")
		require.NoError(t, r.ep.Close(), "afterwards")
		require.ErrorIs(t, r.ep.RoundTrip(t.Context(), Request(t, coap.GET, peerAddr, "/x"), new(coap.Response)), coap.ErrClosed)
	})
	bubble(t, "context ends first", func(t *testing.T) {
		r := newRig(t, over, NewResources(), nil)
		r.peer.send("CON GET mid=1 tok=01 path=slow")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, r.ep.Shutdown(ctx), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
		require.Zero(t, r.ep.Stats().Exchanges)
	})
	bubble(t, "the peer is gone", func(t *testing.T) {
		r := newRig(t, over, NewResources(), nil)
		r.peer.send("CON GET mid=1 tok=01 path=slow")
		synctest.Wait()
		r.peer.leave()
		start := time.Now()
		require.NoError(t, r.ep.Shutdown(context.Background()))
		require.LessOrEqual(t, time.Since(start), SlowTime+93*time.Second, "every exchange ends by itself")
	})
}

// Send: figure 1 of RFC 7967: updates are sent and nothing is waited for, whether the server knows the option
// or not.
func Send(t *testing.T, over *Transport) {
	update := func(t *testing.T, payload string) *coap.Request {
		req := Request(t, coap.PUT, peerAddr, "/vehicle-stat-00")
		req.Payload = []byte(payload)
		return req
	}
	bubble(t, "updates", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		r.peer.to = serverAddr
		c := &coap.Client{Endpoint: r.ep}
		start := time.Now()
		require.NoError(t, c.Send(t.Context(), update(t, "one")))
		first := r.peer.want("an update", "NON PUT path=vehicle-stat-00 opt=258:1a pay=one")
		pass(20 * time.Second)
		require.NoError(t, c.Send(t.Context(), update(t, "two")))
		second := r.peer.want("the next in 20 s", "NON PUT path=vehicle-stat-00 opt=258:1a pay=two")
		require.NotEqual(t, first.Token, second.Token)
		require.Equal(t, 20*time.Second, time.Since(start), "nothing is waited for")
		r.peer.send("NON 2.04 mid=1 tok=%s", first.Token)
		r.peer.wantNothing("an answer all the same is no offence")
		require.Equal(t, uint64(1), r.ep.Stats().Dropped[exchange.DropLate])
		resp := coap.Response{Code: message.Content, Payload: []byte("old")}
		req := update(t, "three")
		req.Options.SetUint(message.OptionNoResponse, 26)
		req.NonConfirmable = true
		require.NoError(t, c.Do(t.Context(), req, &resp))
		require.Equal(t, message.Empty, resp.Code)
		require.Empty(t, resp.Payload)
		require.NoError(t, resp.Err())
		r.peer.next("sent")
		r.requireForgotten()
	})
	bubble(t, "the caller's request is not changed", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		req := update(t, "one")
		require.NoError(t, (&coap.Client{Endpoint: r.ep}).Send(t.Context(), req))
		require.False(t, req.NonConfirmable || req.Options.Has(message.OptionNoResponse))
	})
	bubble(t, "confirmable: the acknowledgement is waited for", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		r.peer.to = serverAddr
		req := update(t, "one")
		req.Options.SetUint(message.OptionNoResponse, 26)
		done := Async(t.Context(), r.ep, req)
		s := r.peer.want("an update", "CON PUT opt=258:1a")
		require.False(t, done.IsDone())
		r.peer.send("ACK 0.00 mid=%d", s.MessageID)
		done.RequireCode(t, "no response is to come", "0.00")
		r.requireForgotten()
	})
	bubble(t, "only errors are of interest", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		r.peer.to = serverAddr
		c := &coap.Client{Endpoint: r.ep}
		req := update(t, "one")
		req.Options.SetUint(message.OptionNoResponse, 2)
		send := func() *Result {
			return AsyncDo(func(*coap.Response) error { return c.Send(context.Background(), req) })
		}
		done := send()
		s := r.peer.want("an update", "NON PUT opt=258:02")
		r.peer.send("NON 4.04 mid=1 tok=%s pay=unknown", s.Token)
		require.True(t, done.IsDone())
		require.Equal(t, &coap.Error{Code: message.NotFound, Diagnostic: "unknown"}, done.Err)
		done = send()
		pass(10*time.Second - time.Millisecond)
		require.False(t, done.IsDone())
		pass(time.Millisecond)
		require.True(t, done.IsDone())
		require.NoError(t, done.Err)
	})
	bubble(t, "in blocks the responses are needed", func(t *testing.T) {
		var got []byte
		mux := coap.NewMux()
		mux.HandleFunc("PUT /a", func(w *coap.Response, r *coap.Request) error {
			require.False(t, r.Options.Has(message.OptionNoResponse))
			got = append([]byte(nil), r.Payload...)
			w.Code = message.Changed
			return nil
		})
		c := &coap.Client{Endpoint: newSite(t, over, mux, mem.Config{}).client}
		req := Request(t, coap.PUT, serverAddr, "/a")
		req.Payload = make([]byte, 3000)
		require.NoError(t, c.Send(t.Context(), req))
		require.Len(t, got, 3000)
	})
}

// Close: Close ends what is under way, may be called again and from anywhere, and leaves no goroutine.
func Close(t *testing.T, over *Transport) {
	bubble(t, "exchanges", func(t *testing.T) {
		r := newRig(t, over, NewResources(), nil)
		calls := []*Result{
			Async(context.Background(), r.ep, Request(t, coap.GET, peerAddr, "/sent")),
			Async(context.Background(), r.ep, Request(t, coap.GET, peerAddr, "/queued")),
		}
		r.peer.send("CON GET mid=1 path=slow")
		synctest.Wait()
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() { require.NoError(t, r.ep.Close()) })
		}
		all.Wait()
		for _, c := range calls {
			c.RequireErr(t, "ended", coap.ErrClosed)
		}
		require.ErrorIs(t, r.ep.Ping(context.Background(), peerAddr), coap.ErrClosed)
		require.ErrorIs(t, r.ep.RoundTrip(context.Background(), Request(t, coap.GET, peerAddr, "/x"), new(coap.Response)), coap.ErrClosed)
		require.Zero(t, r.ep.Stats().Exchanges)
	})
	bubble(t, "from a handler", func(t *testing.T) {
		var r *rig
		done := make(chan error, 1)
		r = newRig(t, over, coap.HandlerFunc(func(w *coap.Response, req *coap.Request) error {
			done <- r.ep.Close()
			return w.Text("too late")
		}), nil)
		r.peer.send("CON GET mid=1 path=x")
		synctest.Wait()
		require.NoError(t, <-done)
		r.peer.wantNothing("closed")
	})
	// In the end of each bubble, synctest has seen that no goroutine is left.
}
