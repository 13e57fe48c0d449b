package coap_test

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/udp"
)

// These tests use real sockets on the loopback interface, and real time.

// serveLoopback starts a server and returns its address as part of a URI.
func serveLoopback(t *testing.T, addr string, h coap.Handler) string {
	t.Helper()
	conn, err := udp.Listen(addr, nil)
	if err != nil {
		t.Skipf("no socket at %s: %v", addr, err)
	}
	s := &coap.Server{Handler: h}
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
	})
	return conn.LocalAddr().String()
}

// testContext bounds a test in real time; the library would give up by itself, but later.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestLoopback(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			s := newResources()
			s.HandleFunc("GET /pause", func(w *coap.Response, r *coap.Request) error {
				<-time.After(10 * time.Millisecond)
				return w.Text("rested")
			})
			server, ctx := serveLoopback(t, addr, s), testContext(t)

			// The zero Client opens its own socket.
			var c coap.Client
			defer c.Close()
			resp, err := c.Get(ctx, "coap://"+server+"/a")
			require.NoError(t, err)
			require.Equal(t, "v0", string(resp.Payload))
			require.Equal(t, server, resp.Peer().Addr.String())
			resp, err = c.Put(ctx, "coap://"+server+"/a", message.TextPlain, []byte("v1"))
			require.NoError(t, err)
			require.Equal(t, message.Changed, resp.Code)
			resp, err = c.Get(ctx, "coap://"+server+"/a")
			require.NoError(t, err)
			require.Equal(t, "v1", string(resp.Payload))
			require.NoError(t, c.Ping(ctx, "coap://"+server))

			// A separate response, at once with this setting.
			req := request(t, coap.GET, netip.AddrPort{}, "coap://"+server+"/pause")
			req.Params = &coap.Params{NStart: 10}
			require.NoError(t, c.Do(ctx, req, resp))
			require.Equal(t, "rested", string(resp.Payload))
			req.NonConfirmable = true
			require.NoError(t, c.Do(ctx, req, resp))
			require.Equal(t, "rested", string(resp.Payload))

			// The helpers open a socket for one request.
			resp, err = coap.Get(ctx, "coap://"+server+"/a")
			require.NoError(t, err)
			require.Equal(t, "v1", string(resp.Payload))
			resp, err = coap.Put(ctx, "coap://"+server+"/a", message.TextPlain, []byte("v2"))
			require.NoError(t, err)
			require.Equal(t, message.Changed, resp.Code)
			resp, err = coap.Post(ctx, "coap://"+server+"/echo", message.TextPlain, []byte("hi"))
			require.NoError(t, err)
			require.Equal(t, "hi", string(resp.Payload))
			resp, err = coap.Delete(ctx, "coap://"+server+"/a")
			require.NoError(t, err)
			require.Equal(t, message.MethodNotAllowed, resp.Code)

			// A bound client takes paths.
			d, err := coap.Dial(ctx, "coap://"+server, nil)
			require.NoError(t, err)
			resp, err = d.Get(ctx, "/echo?n=7")
			require.NoError(t, err)
			require.Equal(t, "7", string(resp.Payload))
			require.EqualValues(t, 1, d.Stats().Responses)
			require.NoError(t, d.Close())
			_, err = d.Get(ctx, "/a")
			require.ErrorIs(t, err, coap.ErrClosed)

			require.NoError(t, c.Close())
			require.NoError(t, c.Close())
			_, err = c.Get(ctx, "coap://"+server+"/a")
			require.ErrorIs(t, err, coap.ErrClosed)
		})
	}
}

// Many requests in parallel over real sockets, on a wildcard socket of both families.
func TestLoopbackParallel(t *testing.T) {
	server, ctx := serveLoopback(t, ":0", newResources()), testContext(t)
	port := netip.MustParseAddrPort(server).Port()
	c := &coap.Client{Config: &coap.Config{Params: coap.Params{NStart: 64}}}
	defer c.Close()
	hosts := []string{"127.0.0.1", "127.0.0.2", "[::1]"}
	if runtime.GOOS != "linux" {
		hosts = hosts[:1]
	}
	done := make(chan error, 64)
	for i := range cap(done) {
		go func() {
			for j := range 50 {
				n := strconv.Itoa(i*1000 + j)
				host := hosts[j%len(hosts)]
				resp, err := c.Get(ctx, "coap://"+net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(port)))+"/echo?n="+n)
				if err == nil && string(resp.Payload) != n {
					err = resp.Err()
					t.Errorf("%s: asked for %s, got %s", host, n, resp.Payload)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
}

// A closed port is noticed by the ICMP error, long before the first retransmission is due.
func TestLoopbackClosedPort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says which datagram was not delivered")
	}
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			conn, err := udp.Listen(addr, nil)
			if err != nil {
				t.Skipf("no socket at %s: %v", addr, err)
			}
			closed := conn.LocalAddr().String()
			require.NoError(t, conn.Close())
			c := &coap.Client{Config: &coap.Config{Params: coap.Params{AckTimeout: time.Hour}}}
			defer c.Close()
			ctx := testContext(t)
			_, err = c.Get(ctx, "coap://"+closed+"/x")
			require.ErrorIs(t, err, coap.ErrUnreachable)
			require.ErrorContains(t, err, "refused")
			server := serveLoopback(t, addr, newResources())
			_, err = c.Get(ctx, "coap://"+server+"/plain")
			require.NoError(t, err, "the socket lives")
		})
	}
}

// ListenAndServe says why it cannot listen, and ends with its context.
func TestListenAndServe(t *testing.T) {
	taken, err := udp.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	defer taken.Close()
	require.Error(t, coap.ListenAndServe(t.Context(), taken.LocalAddr().String(), newResources()))
	require.Error(t, coap.ListenAndServe(t.Context(), "no address", newResources()))

	ctx, cancel := context.WithCancel(t.Context())
	s := &coap.Server{Addr: "127.0.0.1:0", Handler: newResources()}
	served := make(chan error, 1)
	go func() { served <- s.ListenAndServe(ctx) }()
	require.Eventually(t, func() bool { return s.LocalAddr().IsValid() }, 10*time.Second, time.Millisecond)
	resp, err := coap.Get(testContext(t), "coap://"+s.LocalAddr().String()+"/plain")
	require.NoError(t, err)
	require.Equal(t, "plain", string(resp.Payload))
	cancel()
	require.NoError(t, <-served)
}

// Dial finds mistakes before a message is sent.
func TestDialErrors(t *testing.T) {
	for uri, reason := range map[string]string{
		"coap://127.0.0.1/path": "neither path nor query",
		"coap://127.0.0.1?q":    "neither path nor query",
		"http://127.0.0.1":      "scheme",
		"127.0.0.1:5683":        "",
	} {
		_, err := coap.Dial(t.Context(), uri, nil)
		require.Error(t, err, uri)
		require.ErrorContains(t, err, reason)
	}
	_, err := coap.Dial(t.Context(), "coap://127.0.0.1", &coap.Config{Params: coap.Params{NStart: -1}})
	require.ErrorContains(t, err, "NStart")
}

// A server with several sockets is one server: each client is answered, notified and counted, whatever socket is its own.
func TestServerSockets(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs sockets that share an address, which only Linux spreads clients over")
	}
	mux := coap.NewMux()
	var value atomic.Int64
	mux.HandleFunc("GET /value", func(w *coap.Response, r *coap.Request) error {
		return w.Text(strconv.FormatInt(value.Load(), 10))
	}, coap.Route{Observable: true})
	srv := &coap.Server{Addr: "127.0.0.1:0", Handler: mux, Sockets: 3}
	served := make(chan error, 1)
	go func() { served <- srv.ListenAndServe(t.Context()) }()
	require.Eventually(t, func() bool { return srv.LocalAddr().IsValid() }, 10*time.Second, time.Millisecond)
	const clients = 24
	uri := "coap://" + srv.LocalAddr().String() + "/value"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var seen, told sync.WaitGroup
	for range clients {
		seen.Add(1)
		told.Go(func() {
			var c coap.Client
			defer c.Close()
			first := true
			for n, err := range c.Observe(ctx, uri) {
				if !assert.NoError(t, err) {
					break
				}
				if n.Response == nil {
					continue
				}
				if first {
					first = false
					seen.Done()
				}
				if string(n.Response.Payload) == "1" {
					return
				}
			}
		})
	}
	seen.Wait()
	require.Equal(t, clients, srv.Observers("/value"))
	require.Equal(t, clients, srv.Stats().Peers)
	value.Store(1)
	srv.Notify("/value")
	told.Wait()
	require.NoError(t, srv.Shutdown(ctx))
	require.NoError(t, <-served)
}
