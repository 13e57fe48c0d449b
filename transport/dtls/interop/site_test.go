package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/dtls"
)

// The name and the key of clients with a pre-shared key.
const lamp = "lamp"

var lampKey = []byte("a key for lamps")

// way is one way for client and server to know each other.
type way struct {
	name string
	// ours
	server, client dtls.Config
	// arguments of the programs of others
	libcoapServer, libcoapClient         []string
	californiumServer, californiumClient []string
	who                                  string // what servers call the client
}

// ways returns all ways. The certificates of servers are for lamp.example and the address of loopback.
func ways(t *testing.T) []way {
	t.Helper()
	ca := newAuthority(t)
	server := ca.issue(t, claims{name: "lamp.example", dns: []string{"lamp.example"}, ip: true})
	client := ca.issue(t, claims{name: "controller"})
	return []way{
		{
			name:   "key",
			server: dtls.Config{PSK: dtls.Keys{lamp: lampKey}.Lookup}, client: dtls.Config{Credentials: dtls.PSK(lamp, lampKey)},
			libcoapServer: []string{"-k", string(lampKey)}, libcoapClient: []string{"-u", lamp, "-k", string(lampKey)},
			californiumServer: []string{pskWord(lamp, lampKey)}, californiumClient: []string{pskWord(lamp, lampKey)},
			who: lamp,
		},
		{
			name:   "certificate of the server",
			server: dtls.Config{Certificates: certificates(server)}, client: dtls.Config{RootCAs: ca.pool()},
			libcoapServer: []string{"-c", server.cert, "-j", server.key, "-n"}, libcoapClient: []string{"-C", ca.file},
			californiumServer: []string{"cert=" + server.both}, californiumClient: []string{"ca=" + ca.file},
			who: "nobody",
		},
		{
			name:              "certificates of both",
			server:            dtls.Config{Certificates: certificates(server), ClientCAs: ca.pool()},
			client:            dtls.Config{Certificates: certificates(client), RootCAs: ca.pool()},
			libcoapServer:     []string{"-c", server.cert, "-j", server.key, "-C", ca.file},
			libcoapClient:     []string{"-c", client.cert, "-j", client.key, "-C", ca.file},
			californiumServer: []string{"cert=" + server.both, "ca=" + ca.file, "clients=needed"},
			californiumClient: []string{"cert=" + client.both, "ca=" + ca.file},
			who:               "CN=controller",
		},
	}
}

// inEachWay runs a test in each way, as a subtest each.
func inEachWay(t *testing.T, test func(t *testing.T, w way)) {
	t.Helper()
	for _, w := range ways(t) {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

// site is a server of ours with these resources:
//
//	/value   GET        a text that can be observed
//	/large   GET, PUT   what was put last
//	/who     GET        who asks, and from which address
type site struct {
	conn   *dtls.Conn
	server *coap.Server
	base   string // its URI, without a path
	events chan dtls.SessionEvent
	ends   chan observe.End

	mu    sync.Mutex
	value string
	large []byte
}

// startSite starts a site on a port of loopback.
func startSite(t *testing.T, cfg dtls.Config) *site {
	t.Helper()
	s := &site{value: "start", events: make(chan dtls.SessionEvent, 100), ends: make(chan observe.End, 10)}
	cfg.OnSession = func(e dtls.SessionEvent) { s.events <- e }
	var err error
	s.conn, err = dtls.Listen("127.0.0.1:0", &cfg)
	require.NoError(t, err)
	s.base = "coaps://" + s.conn.LocalAddr().String()
	s.server = &coap.Server{Handler: s.mux(), Config: &coap.Config{ServeObserve: observe.ServerConfig{
		OnEnd: func(_ exchange.Peer, _ string, why observe.End) { s.ends <- why },
	}}}
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(context.Background(), s.conn) }()
	t.Cleanup(func() {
		require.NoError(t, s.server.Close())
		<-served
	})
	return s
}

func (s *site) mux() *coap.Mux {
	mux := coap.NewMux()
	mux.HandleFunc("GET /value", func(w *coap.Response, _ *coap.Request) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return w.Text(s.value)
	}, coap.Route{Observable: true})
	mux.HandleFunc("GET /large", func(w *coap.Response, _ *coap.Request) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return w.Bytes(coap.OctetStream, s.large)
	})
	mux.HandleFunc("PUT /large", func(w *coap.Response, r *coap.Request) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.large = bytes.Clone(r.Payload)
		w.SetCode(message.Changed)
		return nil
	})
	mux.HandleFunc("GET /who", func(w *coap.Response, r *coap.Request) error {
		return w.Text(fmt.Sprintf("%s at /%v", whoIs(r.Peer()), r.Peer().Addr))
	})
	return mux
}

// whoIs names a client.
func whoIs(p exchange.Peer) string {
	switch id, ok := dtls.IdentityOf(p); {
	case !ok:
		return "a stranger"
	case id.PSK != "":
		return id.PSK
	case len(id.Certificates) > 0:
		return "CN=" + id.Certificates[0].Subject.CommonName
	}
	return "nobody"
}

// set changes /value.
func (s *site) set(value string) {
	s.mu.Lock()
	s.value = value
	s.mu.Unlock()
	s.server.Notify("/value")
}

// event waits for the next event of a kind.
func (s *site) event(t *testing.T, kind dtls.SessionEventKind) dtls.SessionEvent {
	t.Helper()
	return nextEvent(t, s.events, kind)
}

func nextEvent(t *testing.T, events <-chan dtls.SessionEvent, kind dtls.SessionEventKind) dtls.SessionEvent {
	t.Helper()
	ctx := within(t)
	for {
		select {
		case e := <-events:
			if e.Kind == kind {
				return e
			}
		case <-ctx.Done():
			t.Fatalf("no event of kind %d", kind)
		}
	}
}

// requireFailure waits for a handshake that fails, and requires that it is counted under a cause and that there is no session.
func (s *site) requireFailure(t *testing.T, want dtls.Cause) {
	t.Helper()
	var failed *dtls.HandshakeError
	require.ErrorAs(t, s.event(t, dtls.SessionFails).Err, &failed)
	require.Equal(t, want.String(), failed.Cause.String(), "%v", failed)
	stats := s.conn.Stats()
	require.EqualValues(t, 1, stats.Failed[want])
	require.Zero(t, stats.Begun, "sessions")
}

// client is a client of ours, with one socket.
type client struct {
	*coap.Client
	conn   *dtls.Conn // after the first request
	events chan dtls.SessionEvent
}

func newClient(t *testing.T, cfg dtls.Config) *client {
	t.Helper()
	c := &client{events: make(chan dtls.SessionEvent, 100)}
	cfg.OnSession = func(e dtls.SessionEvent) { c.events <- e }
	c.Client = &coap.Client{Config: &coap.Config{
		SendObserve: observe.ClientConfig{Jitter: 1},
		Secure: func() (transport.Conn, error) {
			conn, err := dtls.Listen("127.0.0.1:0", &cfg)
			if err != nil {
				return nil, err
			}
			c.conn = conn
			return conn, nil
		},
	}}
	t.Cleanup(func() { c.Close() })
	return c
}

// get gets what is at a URI.
func (c *client) get(t *testing.T, uri string) string {
	t.Helper()
	resp, err := c.Get(within(t), uri)
	require.NoError(t, err)
	require.Equal(t, message.Content, resp.Code, "%s", resp.Payload)
	return string(resp.Payload)
}

// put puts a body, which takes several messages.
func (c *client) put(t *testing.T, uri string, body []byte) message.Code {
	t.Helper()
	resp, err := c.Put(within(t), uri, coap.OctetStream, body)
	require.NoError(t, err)
	require.True(t, resp.Code.IsSuccess(), "%v %s", resp.Code, resp.Payload)
	return resp.Code
}

// observe observes what is at a URI, until the test ends.
func (c *client) observe(t *testing.T, uri string) *observe.Observation {
	t.Helper()
	req, err := coap.NewRequest(message.GET, uri)
	require.NoError(t, err)
	o, err := c.ObserveRequest(within(t), req)
	require.NoError(t, err)
	t.Cleanup(func() { o.Close() })
	return o
}

// until waits for a notification with a payload that is accepted.
func until(t *testing.T, o *observe.Observation, accept func(payload string) bool) string {
	t.Helper()
	for {
		n, err := o.Next(within(t))
		require.NoError(t, err)
		if n.Response == nil {
			continue // only the state has changed
		}
		if payload := string(n.Response.Payload); accept(payload) {
			return payload
		}
	}
}

// requireNext waits for a payload.
func requireNext(t *testing.T, o *observe.Observation, want string) {
	t.Helper()
	until(t, o, func(payload string) bool { return payload == want })
}

// requireOneSession requires that there was one handshake, and that it went well.
func requireOneSession(t *testing.T, c *dtls.Conn) {
	t.Helper()
	stats := c.Stats()
	require.EqualValues(t, 1, stats.Begun, "sessions")
	require.EqualValues(t, 1, stats.Started, "handshakes")
	for cause, n := range stats.Failed {
		require.Zero(t, n, "%v", dtls.Cause(cause))
	}
}

// longBody returns n bytes in which no two blocks are alike.
func longBody(n int) []byte {
	b, r := make([]byte, n), rand.New(rand.NewPCG(uint64(n), 7959))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func certificates(c *credential) []tls.Certificate { return []tls.Certificate{c.Certificate} }
