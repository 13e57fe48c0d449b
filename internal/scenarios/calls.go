package scenarios

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport"
)

// What other tests of endpoints make calls with, too.

// Endpoint makes an endpoint on a transport. It is closed when the test ends.
func Endpoint(t testing.TB, conn transport.Conn, h coap.Handler, cfg *coap.Config) *coap.Endpoint {
	t.Helper()
	ep, err := coap.NewEndpoint(conn, h, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { ep.Close() })
	return ep
}

// Result is what a call that takes its time has come to.
type Result struct {
	Resp coap.Response
	Err  error
	Took time.Duration

	done bool
	mu   sync.Mutex
}

// Async makes a round trip in the background.
func Async(ctx context.Context, rt coap.RoundTripper, req *coap.Request) *Result {
	return AsyncDo(func(resp *coap.Response) error { return rt.RoundTrip(ctx, req, resp) })
}

// AsyncDo makes a call in the background.
func AsyncDo(do func(*coap.Response) error) *Result {
	r, start := new(Result), time.Now()
	go func() {
		var resp coap.Response
		err := do(&resp)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.Resp, r.Err, r.Took, r.done = resp, err, time.Since(start), true
	}()
	return r
}

// IsDone reports whether the call has returned.
func (r *Result) IsDone() bool {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done
}

// RequireCode expects that the call has returned with this response.
func (r *Result) RequireCode(t testing.TB, why, code string) *coap.Response {
	t.Helper()
	require.True(t, r.IsDone(), "%s: the call has returned", why)
	require.NoError(t, r.Err, why)
	require.Equal(t, code, r.Resp.Code.Dotted(), why)
	return &r.Resp
}

// RequireErr expects that the call has failed like this.
func (r *Result) RequireErr(t testing.TB, why string, want error) {
	t.Helper()
	require.True(t, r.IsDone(), "%s: the call has returned", why)
	require.ErrorIs(t, r.Err, want, why)
}

// Request makes a request to an address.
func Request(t testing.TB, method coap.Code, to netip.AddrPort, target string) *coap.Request {
	t.Helper()
	req, err := coap.NewRequest(method, target)
	require.NoError(t, err)
	req.To = to
	return req
}

// Do makes a round trip that must succeed.
func Do(t testing.TB, rt coap.RoundTripper, req *coap.Request) *coap.Response {
	t.Helper()
	resp := new(coap.Response)
	require.NoError(t, rt.RoundTrip(context.Background(), req, resp))
	return resp
}
