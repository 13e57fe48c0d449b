package main

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/linkformat"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/udp"
)

// rig is a site on loopback, whose resources change only when a test says so, and a client.
type rig struct {
	observers func(path string) int
	*testing.T
	*site
	addr   netip.AddrPort
	client *coap.Client
	wire   *recorder
}

func newRig(t *testing.T, setUp ...func(*site)) *rig {
	t.Helper()
	conn, err := udp.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	r := &rig{T: t, site: newSite(), addr: conn.LocalAddr(), wire: newRecorder()}
	// On a busy machine a fast handler may look slow: only /separate is to be answered separately.
	cfg := &coap.Config{Trace: r.wire.trace, Params: coap.Params{EmptyAckDelay: 200 * time.Millisecond}}
	cfg.ServeObserve.ConfirmFor = confirm
	server := &coap.Server{Handler: r.site.mux(), Config: cfg}
	r.notify, r.forget, r.observers = server.Notify, server.Forget, server.Observers
	for _, f := range setUp {
		f(r.site)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), conn) }()
	r.client, err = coap.Dial(context.Background(), "coap://"+r.addr.String(), nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, r.client.Close())
		require.NoError(t, server.Close())
		require.NoError(t, <-served)
	})
	return r
}

// with changes a request before it is sent.
type with func(*coap.Request)

func body(format coap.ContentFormat, s string) with {
	return func(r *coap.Request) {
		r.Options.SetContentFormat(format)
		r.Payload = []byte(s)
	}
}

func plain(s string) with     { return body(coap.TextPlain, s) }
func untyped(s string) with   { return func(r *coap.Request) { r.Payload = []byte(s) } }
func etag(tag []byte) with    { return func(r *coap.Request) { _ = r.Options.AddETag(tag) } }
func ifMatch(tag []byte) with { return func(r *coap.Request) { _ = r.Options.AddIfMatch(tag) } }
func ifNoneMatch() with       { return func(r *coap.Request) { r.Options.SetIfNoneMatch() } }
func nonConfirmable() with    { return func(r *coap.Request) { r.NonConfirmable = true } }
func blocksOf(size int) with  { return transfer(coap.Transfer{BlockSize: size}) }
func transfer(x coap.Transfer) with {
	return func(r *coap.Request) { r.Transfer = &x }
}
func accept(f coap.ContentFormat) with {
	return func(r *coap.Request) { r.Options.SetAccept(f) }
}

// do makes a request and wants this code.
func (r *rig) do(want coap.Code, method coap.Code, target string, options ...with) *coap.Response {
	r.Helper()
	req, err := coap.NewRequest(method, target)
	require.NoError(r, err)
	for _, o := range options {
		o(req)
	}
	resp := new(coap.Response)
	require.NoError(r, r.client.Do(context.Background(), req, resp), "%v %s", method, target)
	require.Equal(r, want.String(), resp.Code.String(), "%v %s: %s", method, target, resp.Payload)
	return resp
}

// get gets a representation and wants this text.
func (r *rig) get(target, want string, options ...with) *coap.Response {
	r.Helper()
	resp := r.do(coap.Content, coap.GET, target, options...)
	require.Equal(r, want, string(resp.Payload), target)
	return resp
}

// links gets a list of links and returns their targets.
func (r *rig) links(target string) (targets []string) {
	r.Helper()
	resp := r.do(coap.Content, coap.GET, target)
	wantFormat(r, coap.LinkFormat, resp)
	links, err := linkformat.Parse(resp.Payload)
	require.NoError(r, err)
	for _, l := range links {
		targets = append(targets, l.Target)
	}
	return targets
}

func wantFormat(t require.TestingT, want coap.ContentFormat, resp *coap.Response) {
	got, ok := resp.Options.ContentFormat()
	require.True(t, ok, "no Content-Format")
	require.Equal(t, want, got)
}

func wantLocation(t require.TestingT, want string, resp *coap.Response) {
	got, ok := resp.Options.Location()
	require.True(t, ok, "no location")
	require.Equal(t, want, got)
}

func tag(t require.TestingT, resp *coap.Response) []byte {
	v, ok := resp.Options.ETag()
	require.True(t, ok, "no ETag")
	return append([]byte(nil), v...)
}

// recorder keeps the messages that a server has sent and received.
type recorder struct {
	mu   sync.Mutex
	more chan struct{} // closed and replaced with each message
	all  []recorded
}

type recorded struct {
	sent bool
	message.Message
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{})} }

func (r *recorder) trace(e coap.TraceEvent) {
	if e.Kind != coap.TraceSent && e.Kind != coap.TraceReceived {
		return
	}
	m := recorded{sent: e.Kind == coap.TraceSent}
	if codec.DecodeUDP(e.Datagram, &m.Message) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, m)
	close(r.more)
	r.more = make(chan struct{})
}

// await waits for the first message that is right.
func (r *recorder) await(right func(recorded) bool) recorded {
	for i := 0; ; i++ {
		r.mu.Lock()
		for i == len(r.all) {
			more := r.more
			r.mu.Unlock()
			<-more
			r.mu.Lock()
		}
		m := r.all[i]
		r.mu.Unlock()
		if right(m) {
			return m
		}
	}
}

// count counts messages so far.
func (r *recorder) count(right func(recorded) bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.all {
		if right(m) {
			n++
		}
	}
	return n
}
