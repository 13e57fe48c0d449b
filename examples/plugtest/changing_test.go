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
func TestReset(t *testing.T) {
	var lost atomic.Int32
	r := newRig(t, func(s *site) {
		s.forget = func() { lost.Add(1) }
		s.notify = func(string) { t.Error("told") }
	})
	r.get("/obs-reset", "Resets: 0\n")
	r.do(coap.Changed, coap.POST, "/obs-reset")
	require.EqualValues(t, 1, lost.Load())
	r.do(coap.Changed, coap.POST, "/obs-reset", plain("sesame"))
	r.get("/obs-reset", "Resets: 2\n")
	r.do(coap.Deleted, coap.DELETE, "/obs-reset")
	require.EqualValues(t, 3, lost.Load())
	r.get("/obs-reset", "Resets: 0\n")
}

// A request to register is answered as any other, without Observe (RFC 7641 section 4.1).
func TestNotObserved(t *testing.T) {
	r := newRig(t)
	for _, c := range r.changing {
		resp := r.do(coap.Content, coap.GET, c.path, func(r *coap.Request) { r.Options.SetUint(message.OptionObserve, 0) })
		require.False(t, resp.Options.Has(message.OptionObserve))
	}
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
