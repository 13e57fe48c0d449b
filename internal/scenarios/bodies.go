package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport/mem"
)

// Bodies: bodies of all lengths go up, down and both ways at once, from the client to the server and, in the sessions that
// the client has begun, from the server to the client.
func Bodies(t *testing.T, over *Transport) {
	for _, size := range []int{0, 100, 1024, 1025, 100_000} {
		for _, back := range []bool{false, true} {
			bubble(t, fmt.Sprintf("%d bytes, server asks: %v", size, back), func(t *testing.T) {
				n := newNetwork(t, over, mem.Config{Delay: 5 * time.Millisecond})
				var s store
				server := Endpoint(t, n.listen(t, serverAddr), s.mux(), nil)
				conn := n.listen(t, peerAddr)
				client := Endpoint(t, conn, s.mux(), nil)
				n.connect(conn, serverAddr)
				asks, to := &coap.Client{Endpoint: client}, serverAddr
				if back {
					asks, to = &coap.Client{Endpoint: server}, peerAddr
				}
				body := pattern(size, 1)
				put := Request(t, coap.PUT, to, "/body")
				put.Payload = body
				require.Equal(t, coap.Changed, Do(t, asks, put).Code)
				require.True(t, bytes.Equal(body, s.body))
				require.True(t, bytes.Equal(body, Do(t, asks, Request(t, coap.GET, to, "/body")).Payload))
				fetch := Request(t, coap.FETCH, to, "/reversed")
				fetch.Payload = bytes.Clone(body)
				got := Do(t, asks, fetch)
				require.Equal(t, coap.Content, got.Code)
				slices.Reverse(got.Payload)
				require.True(t, bytes.Equal(body, got.Payload))
			})
		}
	}
}

// BodyChanges: a body changes while it is read. What the client gets in the end is one version of it from the beginning to the
// end.
func BodyChanges(t *testing.T, over *Transport) {
	for _, window := range []int{1, 4} {
		bubble(t, fmt.Sprintf("%d at a time", window), func(t *testing.T) {
			s := &store{body: pattern(20_000, 0), change: 10}
			site := newSiteOf(t, over, s.mux(), mem.Config{Delay: 5 * time.Millisecond}, windowed(window))
			var got bytes.Buffer
			persist(t, &coap.Client{Endpoint: site.client}, Request(t, coap.GET, serverAddr, "/body"), new(coap.Response), &got)
			require.EqualValues(t, 1, s.version, "it has changed")
			require.True(t, bytes.Equal(s.body, got.Bytes()))
		})
	}
}

// LossyRequests: through a network that loses a fifth, repeats and reorders, requests arrive all the same, each is performed
// once at most, and each response is for the request that was made.
func LossyRequests(t *testing.T, over *Transport, seeds uint64) {
	const n = 40
	for seed := range seeds {
		bubble(t, fmt.Sprint(seed), func(t *testing.T) {
			var mu sync.Mutex
			performed := make(map[string]int)
			s := newSite(t, over, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
				mu.Lock()
				performed[string(r.Payload)]++
				mu.Unlock()
				if r.Path() == "/slow" { // its answer goes separately
					<-time.After(SlowTime)
				}
				return w.Text("done " + string(r.Payload))
			}), mem.Config{Seed: seed, Loss: 0.2, Duplicate: 0.2, Reorder: 0.2, Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond})
			answered := 0
			for i := range n {
				req := Request(t, coap.POST, serverAddr, [...]string{"/quick", "/slow"}[i%2])
				req.Payload = fmt.Append(nil, i)
				var resp coap.Response
				if s.client.RoundTrip(context.Background(), req, &resp) == nil {
					require.Equal(t, fmt.Sprint("done ", i), string(resp.Payload))
					answered++
				}
			}
			require.GreaterOrEqual(t, answered, n-4, "five losses in a row are rare")
			mu.Lock()
			defer mu.Unlock()
			require.GreaterOrEqual(t, len(performed), answered)
			for what, times := range performed {
				require.Equal(t, 1, times, what)
			}
			require.NotZero(t, s.Stats().Lost)
		})
	}
}

// TransfersDisturbed: in the middle of a transfer the client gets another address, or the server restarts. Who goes on from where the
// error says, or begins again, has the right bytes in the end.
func TransfersDisturbed(t *testing.T, over *Transport) {
	for name, disturb := range map[string]func(*site, coap.Handler){
		"another address": func(s *site, _ coap.Handler) { s.rebind(s.conn, peerAddr2) },
		"the server says goodbye": func(s *site, h coap.Handler) {
			s.stop(false)
			s.start(h)
		},
		"the server crashes": func(s *site, h coap.Handler) {
			s.stop(true)
			s.start(h)
		},
	} {
		for _, method := range []coap.Code{coap.PUT, coap.GET} {
			bubble(t, name+", "+method.Name(), func(t *testing.T) {
				const size = 64 << 10
				want := pattern(size, 1)
				st := new(store)
				s := newSite(t, over, st.mux(), mem.Config{Delay: 5 * time.Millisecond})
				req := Request(t, method, serverAddr, "/body")
				if method == coap.PUT {
					req.Payload = want
				} else {
					st.body = want
				}
				disturbed := time.AfterFunc(300*time.Millisecond, func() { disturb(s, st.mux()) })
				var got bytes.Buffer
				persist(t, &coap.Client{Endpoint: s.client}, req, new(coap.Response), &got)
				require.False(t, disturbed.Stop(), "it was in the middle")
				if method == coap.GET {
					require.True(t, bytes.Equal(want, got.Bytes()))
				}
				require.True(t, bytes.Equal(want, st.body))
			})
		}
	}
}
