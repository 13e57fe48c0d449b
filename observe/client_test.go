package observe

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// script is an endpoint whose answers the test gives.
type script struct {
	testing.TB
	mu     sync.Mutex
	opened []*stream
	err    error // of Open
}

// stream is an exchange that the client has opened.
type stream struct {
	script   *script
	requests []*exchange.Request // the first and its renewals
	in       chan answer
	renewErr error
	closed   bool
}

type answer struct {
	resp exchange.Response
	err  error
}

func (s *script) Open(ctx context.Context, req *exchange.Request) (exchange.Responses, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.opened = append(s.opened, nil)
		return nil, s.err
	}
	st := &stream{script: s, requests: []*exchange.Request{req.Clone()}, in: make(chan answer, 100)}
	s.opened = append(s.opened, st)
	return st, nil
}

func (st *stream) Next(ctx context.Context, resp *exchange.Response) error {
	select {
	case a := <-st.in:
		*resp = a.resp
		return a.err
	case <-ctx.Done():
		return &exchange.OpError{Err: ctx.Err()}
	}
}

func (st *stream) Renew(ctx context.Context, req *exchange.Request) error {
	st.script.mu.Lock()
	defer st.script.mu.Unlock()
	st.requests = append(st.requests, req.Clone())
	return st.renewErr
}

func (st *stream) Close() error {
	st.script.mu.Lock()
	defer st.script.mu.Unlock()
	st.closed = true
	return nil
}

// opens expects that the client has opened n exchanges so far, and returns the last.
func (s *script) opens(n int, why string) *stream {
	s.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Len(s, s.opened, n, why)
	return s.opened[n-1]
}

// asked expects that n requests were sent in st so far, and returns the last.
func (st *stream) asked(n int, why string) *exchange.Request {
	st.script.Helper()
	synctest.Wait()
	st.script.mu.Lock()
	defer st.script.mu.Unlock()
	require.Len(st.script, st.requests, n, why)
	return st.requests[n-1]
}

// count returns how many requests were sent in st so far.
func (st *stream) count() int {
	synctest.Wait()
	st.script.mu.Lock()
	defer st.script.mu.Unlock()
	return len(st.requests)
}

// notify delivers a notification; seq below 0 leaves the Observe option out.
func (st *stream) notify(seq int, payload string, edit ...func(*exchange.Response)) {
	var r exchange.Response
	r.Text(payload)
	if seq >= 0 {
		r.Options.SetUint(message.OptionObserve, uint64(seq))
	}
	for _, f := range edit {
		f(&r)
	}
	st.in <- answer{resp: r}
	if seq < 0 {
		st.in <- answer{err: io.EOF}
	}
	synctest.Wait()
}

func (st *stream) fail(err error) {
	st.in <- answer{err: err}
	synctest.Wait()
}

func code(c message.Code) func(*exchange.Response) {
	return func(r *exchange.Response) { r.Code = c }
}

func maxAge(d time.Duration) func(*exchange.Response) {
	return func(r *exchange.Response) { r.SetMaxAge(d) }
}

func get(t testing.TB) *exchange.Request {
	req, err := exchange.NewRequest(message.GET, "coap://192.0.2.1/temperature?unit=C")
	require.NoError(t, err)
	return req
}

// observing starts an observation.
func observing(t testing.TB, cfg ClientConfig) (*script, *Observation) {
	t.Helper()
	s := &script{TB: t}
	o, err := NewClient(s, cfg).Observe(context.Background(), get(t))
	require.NoError(t, err)
	t.Cleanup(func() { o.Close() })
	return s, o
}

// want expects that the next thing the observation says is this.
func want(t testing.TB, why string, o *Observation, state State, payload string) Notification {
	t.Helper()
	synctest.Wait()
	n, ok, err := o.take()
	require.NoError(t, err, why)
	require.True(t, ok, "%s: something is said", why)
	require.Equal(t, state, n.State, why)
	if payload == "" {
		require.Nil(t, n.Response, why)
		return n
	}
	require.NotNil(t, n.Response, why)
	require.Equal(t, payload, string(n.Response.Payload), why)
	return n
}

func quiet(t testing.TB, why string, o *Observation) {
	t.Helper()
	synctest.Wait()
	n, ok, err := o.take()
	require.NoError(t, err, why)
	require.False(t, ok, "%s: %+v", why, n)
}

func ended(t testing.TB, why string, o *Observation, want error) {
	t.Helper()
	synctest.Wait()
	_, err := o.Next(context.Background())
	require.ErrorIs(t, err, want, why)
	require.Equal(t, Ended, o.State())
}

// What is older than the last value is not handed on.
func TestReordered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := observing(t, ClientConfig{})
		st := s.opens(1, "registers")
		v, ok := st.asked(1, "registers").Options.Uint(message.OptionObserve)
		require.True(t, ok && v == register)
		st.notify(seqMask, "first")
		st.notify(1, "third")
		st.notify(0, "second")
		st.notify(1, "third again")
		require.Equal(t, uint32(seqMask), want(t, "first", o, Live, "first").Seq)
		want(t, "third", o, Live, "third")
		quiet(t, "the others are late", o)
		pass(55 * time.Second)
		st.notify(2, "fourth")
		want(t, "fourth", o, Live, "fourth")
	})
}

// The answer to a renewal that seems to be old comes from a server with another clock, or is a late
// notification: a new token removes the doubt.
func TestRenewedByOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := observing(t, ClientConfig{})
		st := s.opens(1, "registers")
		st.notify(1000, "before", maxAge(10*time.Second))
		pass(26 * time.Second)
		// Proves 7641-3.3.1-04.
		require.True(t, st.asked(2, "renews").Options.Equal(&st.requests[0].Options))
		st.notify(5, "after")
		require.True(t, st.closed)
		s.opens(2, "registers anew").notify(6, "after")
		want(t, "before", o, Live, "before")
		want(t, "too old", o, Stale, "")
		want(t, "renews", o, Registering, "")
		want(t, "after", o, Live, "after")
		quiet(t, "all", o)
	})
}

// A value that comes while the client waits to renew makes that unnecessary.
func TestLateNotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := observing(t, ClientConfig{})
		st := s.opens(1, "registers")
		st.notify(1, "one", maxAge(10*time.Second))
		pass(14 * time.Second)
		st.notify(2, "two", maxAge(20*time.Second))
		pass(20*time.Second - 1)
		st.asked(1, "not renewed")
		want(t, "", o, Live, "one")
		want(t, "", o, Stale, "")
		want(t, "", o, Live, "two")
		quiet(t, "live", o)
	})
}

// A renewal for which there is no room is tried again; an exchange that ends is followed by another.
func TestRenewFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := observing(t, ClientConfig{Jitter: time.Second})
		st := s.opens(1, "registers")
		st.notify(1, "one", maxAge(time.Second))
		s.mu.Lock()
		st.renewErr = &exchange.OpError{Err: exchange.ErrBusy}
		s.mu.Unlock()
		pass(10 * time.Second)
		require.Greater(t, len(st.requests), 3)
		s.mu.Lock()
		st.renewErr = nil
		s.mu.Unlock()
		pass(3 * time.Second)
		st.fail(exchange.ErrNotAcknowledged)
		require.True(t, st.closed)
		want(t, "", o, Live, "one")
		want(t, "", o, Stale, "")
		want(t, "", o, Registering, "")
		n := want(t, "nobody there", o, Stale, "")
		require.ErrorIs(t, n.Cause, exchange.ErrTimeout)
		pass(2 * time.Second)
		st = s.opens(2, "again")
		st.notify(2, "two", maxAge(time.Second))
		s.mu.Lock()
		st.renewErr = io.EOF
		s.mu.Unlock()
		pass(5 * time.Second)
		s.opens(3, "it had just ended")
	})
}

// Attempts that fail are repeated, less and less often.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{TB: t, err: exchange.ErrUnreachable}
		o, err := NewClient(s, ClientConfig{Backlog: 3}).Observe(context.Background(), get(t))
		require.NoError(t, err)
		pass(time.Hour)
		s.mu.Lock()
		n := len(s.opened)
		s.err = nil
		s.mu.Unlock()
		require.Greater(t, n, 12, "at least every 5 minutes")
		require.Less(t, n, 40)
		pass(5 * time.Minute)
		s.opens(n+1, "tried again").notify(1, "at last")
		require.NotZero(t, want(t, "the oldest are forgotten", o, Stale, "").Skipped)
		want(t, "", o, Registering, "")
		want(t, "", o, Live, "at last")
		require.NoError(t, o.Close())
		ended(t, "closed", o, io.EOF)
		require.True(t, s.opened[n].closed)
	})
	synctest.Test(t, func(t *testing.T) {
		s := &script{TB: t, err: exchange.ErrUnreachable}
		o, err := NewClient(s, ClientConfig{MaxFailures: 3}).Observe(context.Background(), get(t))
		require.NoError(t, err)
		pass(time.Hour)
		s.opens(3, "three attempts")
		for range 4 {
			o.take()
		}
		ended(t, "given up", o, exchange.ErrUnreachable)
	})
	for _, final := range []error{exchange.ErrClosed, exchange.ErrTooLarge, exchange.RequestError("no")} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{TB: t, err: final}
			o, err := NewClient(s, ClientConfig{}).Observe(context.Background(), get(t))
			require.NoError(t, err)
			ended(t, "trying again does not mend it", o, final)
			o.Close()
		})
	}
}

// A challenge that was not met is no end; an address that is refused is.
//
// Proves 9175-2.3-04.
func TestChallenged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := observing(t, ClientConfig{})
		s.opens(1, "registers").notify(-1, "", code(message.Unauthorized), func(r *exchange.Response) {
			r.Options.Set(message.OptionEcho, []byte("e"))
		})
		want(t, "challenged", o, Stale, "")
		pass(10 * time.Second)
		s.opens(2, "again").notify(1, "one")
		want(t, "registers", o, Registering, "")
		want(t, "registered", o, Live, "one")
		s.opens(2, "refused").notify(-1, "", code(message.Unauthorized))
		_, err := o.Next(t.Context())
		require.ErrorContains(t, err, "4.01")
	})
}

// A server that is overloaded says when to come back; one that has no place is asked again.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := observing(t, ClientConfig{})
		s.opens(1, "registers").notify(-1, "", code(message.ServiceUnavailable), maxAge(30*time.Second))
		n := want(t, "busy", o, Stale, "")
		e, ok := errors.AsType[*exchange.Error](n.Cause)
		require.True(t, ok && e.Code == message.ServiceUnavailable)
		pass(29 * time.Second)
		s.opens(1, "not yet")
		pass(2 * time.Second)
		s.opens(2, "again").notify(1, "one")
		pass(80 * time.Second)
		s.opens(2, "renewed").notify(-1, "full", maxAge(10*time.Second))
		pass(30 * time.Second)
		s.opens(3, "asks for a place again").notify(1, "two")
		s.opens(3, "registered").notify(-1, "", code(message.InternalServerError))
		pass(time.Minute)
		s.opens(4, "it may have recovered").notify(-1, "", code(message.NotFound))
		var got []string
		for n, err := range o.All() {
			if err != nil {
				e, ok = errors.AsType[*exchange.Error](err)
				require.True(t, ok && e.Code == message.NotFound)
			} else if n.Response != nil {
				got = append(got, string(n.Response.Payload))
			}
		}
		require.Equal(t, []string{"one", "full", "two"}, got)
	})
}

// A notification with the first block only is completed by who knows how.
func TestComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails error
		s, o := observing(t, ClientConfig{Complete: func(ctx context.Context, req *exchange.Request, first *exchange.Response) error {
			require.Equal(t, "/temperature", req.Path())
			first.Payload = append([]byte(nil), string(first.Payload)+" and the rest"...)
			return fails
		}})
		block := func(r *exchange.Response) { r.Options.SetUint(message.OptionBlock2, 8|2) }
		st := s.opens(1, "registers")
		st.notify(1, "first", block)
		want(t, "whole", o, Live, "first and the rest")
		st.notify(2, "short", func(r *exchange.Response) { r.Options.SetUint(message.OptionBlock2, 2) })
		want(t, "it was one block", o, Live, "short")
		fails = errors.New("changed on the way")
		st.notify(3, "lost", block)
		require.Equal(t, fails, want(t, "not to be had", o, Stale, "").Cause)
		pass(11 * time.Second)
		st.asked(2, "asked again")
		fails = nil
		st.notify(4, "third", block)
		want(t, "", o, Registering, "")
		want(t, "whole", o, Live, "third and the rest")
		st.notify(5, "the end of something", func(r *exchange.Response) { r.Options.SetUint(message.OptionBlock2, 1<<4|2) })
		require.Equal(t, errNotFirst, want(t, "half a value is none", o, Stale, "").Cause)
	})
}

func TestCancel(t *testing.T) {
	bubble(t, "asked", func(t *testing.T) {
		s, o := observing(t, ClientConfig{})
		st := s.opens(1, "registers")
		st.notify(1, "one")
		done := make(chan error, 1)
		go func() { done <- o.Cancel(context.Background()) }()
		// Proves 7641-3.6-02.
		req := st.asked(2, "deregisters")
		v, _ := req.Options.Uint(message.OptionObserve)
		require.EqualValues(t, deregister, v)
		req.Options.SetUint(message.OptionObserve, register)
		require.True(t, req.Options.Equal(&st.requests[0].Options))
		st.notify(2, "crosses it")
		st.notify(-1, "two")
		require.NoError(t, <-done)
		require.NoError(t, o.Cancel(context.Background()))
		require.True(t, st.closed)
	})
	bubble(t, "not answered", func(t *testing.T) {
		s, o := observing(t, ClientConfig{})
		st := s.opens(1, "registers")
		st.notify(1, "one")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, o.Cancel(ctx))
		synctest.Wait()
		require.True(t, st.closed)
	})
	bubble(t, "while it waits to try again", func(t *testing.T) {
		s := &script{TB: t, err: exchange.ErrUnreachable}
		o, err := NewClient(s, ClientConfig{}).Observe(context.Background(), get(t))
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, o.Cancel(context.Background()), "the server has never heard of us")
	})
	bubble(t, "by the context", func(t *testing.T) {
		s := &script{TB: t}
		ctx, cancel := context.WithCancelCause(context.Background())
		o, err := NewClient(s, ClientConfig{}).Observe(ctx, get(t))
		require.NoError(t, err)
		st := s.opens(1, "registers")
		why := errors.New("enough")
		cancel(why)
		ended(t, "ended", o, why)
		require.True(t, st.closed)
		_, err = NewClient(s, ClientConfig{}).Observe(ctx, get(t))
		require.Equal(t, context.Canceled, err)
	})
	bubble(t, "a waiting Next", func(t *testing.T) {
		_, o := observing(t, ClientConfig{})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := o.Next(ctx)
		require.Equal(t, context.DeadlineExceeded, err)
		require.Equal(t, Registering, o.State())
	})
}

func TestClientClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{TB: t}
		c := NewClient(s, ClientConfig{})
		a, err := c.Observe(context.Background(), get(t))
		require.NoError(t, err)
		b, err := c.Observe(context.Background(), get(t))
		require.NoError(t, err)
		s.opens(1, "one for both")
		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
		require.True(t, s.opened[0].closed)
		ended(t, "closed", a, exchange.ErrClosed)
		ended(t, "closed", b, exchange.ErrClosed)
		_, err = c.Observe(context.Background(), get(t))
		require.Equal(t, exchange.ErrClosed, err)
	})
}

func TestWrongRequest(t *testing.T) {
	c := NewClient(&script{TB: t}, ClientConfig{})
	req := get(t)
	req.Code = message.POST
	_, err := c.Observe(context.Background(), req)
	require.ErrorContains(t, err, "only GET and FETCH")
	req = get(t)
	req.Body = io.MultiReader()
	_, err = c.Observe(context.Background(), req)
	require.ErrorContains(t, err, "Payload")
}

func TestNames(t *testing.T) {
	for e := range End(numEnds) {
		require.NotEmpty(t, e.String())
	}
	require.Equal(t, "unknown", End(200).String())
	require.Equal(t, "stale", Stale.String())
	require.Equal(t, "unknown", State(200).String())
}
