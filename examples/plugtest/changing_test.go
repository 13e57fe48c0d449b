package main

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

func pauseNot(context.Context) error { return nil }

// Each change of the state is told, whoever makes it, and a request that changes nothing is not.
//
// Proves 7252-5.8.3-03, 7252-5.8.4-01.
func TestChanging(t *testing.T) {
	for _, path := range []string{"/obs", "/obs-non", "/obs-large", "/obs-pumping"} {
		t.Run(path, func(t *testing.T) {
			told := make(chan string, 100)
			r := newRig(t, func(s *site) { s.notify = func(path string) { told <- path } })
			var c *changing
			for _, c = range r.changing {
				if c.path == path {
					break
				}
			}
			resp := r.do(coap.Content, coap.GET, path)
			wantFormat(t, coap.TextPlain, resp)
			require.Equal(t, max(c.every, time.Second), resp.Options.MaxAge())
			if path == "/obs-large" {
				require.Greater(t, len(resp.Payload), 1280)
			}
			require.Empty(t, told)
			c.tick()
			require.Equal(t, path, <-told)
			next := r.do(coap.Content, coap.GET, path, etag(tag(t, resp)))
			require.NotEqual(t, resp.Payload, next.Payload)

			r.do(coap.Changed, coap.PUT, path, plain("new"))
			require.Equal(t, path, <-told)
			r.get(path, "new")
			r.do(coap.Changed, coap.PUT, path, body(coap.JSON, "{}"))
			require.Equal(t, path, <-told)
			wantFormat(t, coap.JSON, r.get(path, "{}"))
			r.do(coap.PreconditionFailed, coap.PUT, path, plain("newer"), ifMatch(tag(t, resp)))
			require.Empty(t, told)

			r.do(coap.Deleted, coap.DELETE, path)
			require.Equal(t, path, <-told)
			r.do(coap.NotFound, coap.GET, path)
			r.do(coap.Deleted, coap.DELETE, path)
			require.Empty(t, told, "there was nothing to delete")
			c.tick()
			require.Equal(t, path, <-told)
			require.True(t, strings.HasPrefix(string(r.do(coap.Content, coap.GET, path).Payload), "State "))
		})
	}
}

// TD_COAP_OBS_04: the server loses its observers and tells nobody.
//
// Proves 7252-5.8.2-02.
func TestReset(t *testing.T) {
	var lost atomic.Int32
	r := newRig(t, func(s *site) {
		s.forget = func(string) { lost.Add(1) }
		s.notify = func(string) { t.Error("told") }
	})
	r.get("/obs-reset", "Resets: 0\n")
	r.do(coap.Changed, coap.POST, "/obs-reset")
	require.EqualValues(t, 5, lost.Load())
	r.do(coap.Changed, coap.POST, "/obs-reset", plain("sesame"))
	r.get("/obs-reset", "Resets: 2\n")
	r.do(coap.Deleted, coap.DELETE, "/obs-reset")
	require.EqualValues(t, 15, lost.Load())
	r.get("/obs-reset", "Resets: 0\n")
}

// Observers are told of each state in the end, of a deletion by 4.04, which is the last word, and
// of nothing once the server has lost them.
//
// Proves 7641-4.2-03.
func TestObserved(t *testing.T) {
	for i, path := range []string{"/obs", "/obs-non", "/obs-large", "/obs-pumping"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := r.changing[i]
			req, err := coap.NewRequest(coap.GET, path)
			require.NoError(t, err)
			o, err := r.client.ObserveRequest(t.Context(), req)
			require.NoError(t, err)
			defer o.Close()
			next := func() string {
				for {
					n, err := o.Next(t.Context())
					require.NoError(t, err)
					if n.Response != nil {
						return string(n.Response.Payload)
					}
				}
			}
			require.Equal(t, string(c.render(1).body), next())
			c.tick()
			require.Equal(t, string(c.render(2).body), next())
			r.do(coap.Deleted, coap.DELETE, path)
			for err == nil {
				_, err = o.Next(t.Context())
			}
			require.ErrorContains(t, err, "4.04")
			kind := message.Confirmable
			if path == "/obs-non" {
				kind = message.NonConfirmable
			}
			r.wire.await(func(m recorded) bool { return m.sent && m.Code == coap.Content && m.Type == kind })
		})
	}
	r := newRig(t)
	req, err := coap.NewRequest(coap.GET, "/obs")
	require.NoError(t, err)
	o, err := r.client.ObserveRequest(t.Context(), req)
	require.NoError(t, err)
	defer o.Close()
	_, err = o.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, r.observers("/obs"))
	r.do(coap.Changed, coap.POST, "/obs-reset")
	require.Zero(t, r.observers("/obs"))
}

// The resources change until the program ends.
func TestStart(t *testing.T) { synctest.Test(t, testStart) }

func testStart(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := newSite()
	var mu sync.Mutex
	told := make(map[string]int)
	s.notify = func(path string) {
		mu.Lock()
		defer mu.Unlock()
		told[path]++
	}
	begun := time.Now()
	wg := s.start(ctx)
	<-time.After(2*changesEvery + pumpsEvery/2)
	cancel()
	wg.Wait()
	require.Equal(t, map[string]int{"/obs": 2, "/obs-non": 2, "/obs-large": 2, "/obs-pumping": 50}, told)
	require.Equal(t, 2*changesEvery+pumpsEvery/2, time.Since(begun), "in the time of the bubble")
}

// /separate takes some time, but does not outlive the server.
func TestPause(t *testing.T) { synctest.Test(t, testPause) }

func testPause(t *testing.T) {
	begun := time.Now()
	require.NoError(t, newSite().wait(context.Background()))
	require.Equal(t, separateAfter, time.Since(begun), "in the time of the bubble")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, newSite().wait(ctx), context.Canceled)
}
