package dtls

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// What becomes of requests and observations when addresses change and servers restart.

// lamp is a server with a state that can be observed, and a client that observes it.
type lamp struct {
	*testing.T
	net    *mem.Network
	server *Config
	conn   *Conn // of the server
	ep     *coap.Endpoint
	inner  *mem.Conn // below the client
	below  *Conn     // the same, secure
	client *coap.Client

	mu     sync.Mutex
	state  string
	served int      // requests
	told   []string // to the observer
	states []string // of its observation
}

func newLamp(t *testing.T, server *Config) *lamp {
	l := &lamp{T: t, net: mem.NewNetwork(mem.Config{Delay: 10 * time.Millisecond}), server: server, state: "off"}
	t.Cleanup(func() { l.net.Close() })
	l.serve(nil)
	var err error
	l.inner, err = l.net.Listen(clientAddr)
	require.NoError(t, err)
	l.below, err = New(l.inner, pskClient("lamp"))
	require.NoError(t, err)
	l.client = &coap.Client{Config: &coap.Config{Secure: func() (transport.Conn, error) { return l.below, nil }}}
	t.Cleanup(func() { l.client.Close() })
	return l
}

// serve starts the server, with the sessions that were exported, if any.
func (l *lamp) serve(exported []byte) {
	l.Helper()
	inner, err := l.net.Listen(serverAddr)
	require.NoError(l, err)
	l.conn, err = New(inner, l.server)
	require.NoError(l, err)
	if exported != nil {
		n, err := l.conn.Import(bytes.NewReader(exported))
		require.NoError(l, err)
		require.Equal(l, 1, n)
	}
	mux := coap.NewMux()
	mux.HandleFunc("GET /state", func(w *coap.Response, r *coap.Request) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.served++
		return w.Text(l.state)
	}, coap.Route{Observable: true})
	l.ep, err = coap.NewEndpoint(l.conn, mux, nil)
	require.NoError(l, err)
	l.Cleanup(func() { l.ep.Close() })
}

// crash ends the server without a word.
func (l *lamp) crash() {
	cfg := l.net.Config()
	l.net.SetConfig(mem.Config{Filter: func(*mem.Packet) mem.Verdict { return mem.Verdict{Drop: true} }})
	l.ep.Close()
	l.net.SetConfig(cfg)
}

// move gives the client another address.
func (l *lamp) move() netip.AddrPort {
	l.Helper()
	to, err := l.inner.Rebind(netip.MustParseAddrPort("203.0.113.7:61000"))
	require.NoError(l, err)
	return to
}

// get asks for the state, but not for that which is observed.
func (l *lamp) get() (*coap.Response, error) {
	return l.client.Get(context.Background(), "coaps://"+serverAddr.String()+"/state?once")
}

// observe begins to observe the state, and expects that this is told.
func (l *lamp) observe() {
	l.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n, err := range l.client.Observe(ctx, "coaps://"+serverAddr.String()+"/state") {
			l.mu.Lock()
			if err == nil {
				l.states = append(l.states, n.State.String())
			}
			if n.Response != nil {
				l.told = append(l.told, string(n.Response.Payload))
			}
			l.mu.Unlock()
		}
	}()
	l.Cleanup(func() { cancel(); <-done })
	coaptest.Pass(time.Second)
	l.requireTold("off")
}

// set changes the state.
func (l *lamp) set(state string) {
	l.mu.Lock()
	l.state = state
	l.mu.Unlock()
	l.ep.Notify("/state")
	coaptest.Pass(time.Second)
}

// requireTold expects that the observer was told these states since the last call.
func (l *lamp) requireTold(want ...string) {
	l.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Equal(l, want, l.told)
	l.told = nil
}

// A client gets another address from a NAT. By its connection ID the server knows it: there is no handshake, and the notification
// that has missed it arrives in the same observation as soon as the client has sent something.
func TestObservationMoves(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		l := newLamp(t, pskServer())
		l.observe()
		l.move()
		l.set("on")
		l.requireTold()
		_, err := l.get()
		require.NoError(t, err)
		coaptest.Pass(10 * time.Second) // until it is sent again
		l.requireTold("on")
		l.set("dim")
		l.requireTold("dim")
		require.Equal(t, 1, l.ep.Observers("/state"))
		require.EqualValues(t, 1, l.ep.ObserveStats().Registered)
		require.Equal(t, []string{"live", "live", "live"}, l.states)
		st := l.conn.Stats()
		require.EqualValues(t, 1, st.Moved)
		require.EqualValues(t, 1, st.Started)
		require.EqualValues(t, 1, st.Begun)
	})
}

// Without connection IDs nobody knows the client at its new address. It gives the session up when nothing is
// acknowledged, and its observation goes on in another one.
func TestObservationAfterMoveWithoutConnectionID(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		cfg := pskServer()
		cfg.ConnectionID = -1
		l := newLamp(t, cfg)
		l.observe()
		l.move()
		l.set("on")
		l.requireTold()
		coaptest.Pass(3 * time.Minute) // Max-Age, some seconds, and MAX_TRANSMIT_WAIT
		l.requireTold("on")
		l.set("dim")
		l.requireTold("dim")
		require.Equal(t, 1, l.ep.Observers("/state"))
		st := l.conn.Stats()
		require.Zero(t, st.Moved)
		require.EqualValues(t, 2, st.Begun)
		require.NotZero(t, st.Unknown)
		require.EqualValues(t, 1, l.below.Stats().EndedBy[Silent])
	})
}

// A server crashes and forgets its sessions. The next request is not acknowledged, which ends the session at the client; the one
// after that is answered in a new one, and so is the observation.
func TestServerRestarts(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		l := newLamp(t, pskServer())
		l.observe()
		l.crash()
		l.state = "new"
		l.serve(nil)
		_, err := l.get()
		require.ErrorIs(t, err, coap.ErrNotAcknowledged)
		begin := time.Now()
		resp, err := l.get()
		require.NoError(t, err)
		require.Equal(t, "new", string(resp.Payload))
		require.Less(t, time.Since(begin), time.Second)
		coaptest.Pass(time.Minute)
		l.requireTold("new")
		l.set("on")
		l.requireTold("on")
		require.Equal(t, 1, l.ep.Observers("/state"))
		require.EqualValues(t, 1, l.conn.Stats().Begun)
		require.EqualValues(t, 1, l.below.Stats().EndedBy[Silent])
	})
}

// A server restarts and takes its sessions along. Requests are answered as if nothing had happened; the observation, which was
// not taken along, begins again when the client misses a notification.
func TestServerRestartsWithSessions(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		l := newLamp(t, pskServer())
		l.observe()
		var exported bytes.Buffer
		require.NoError(t, l.conn.Export(&exported))
		require.NoError(t, l.ep.Close())
		l.state = "new"
		l.serve(exported.Bytes())
		begin := time.Now()
		resp, err := l.get()
		require.NoError(t, err)
		require.Equal(t, "new", string(resp.Payload))
		require.Equal(t, 20*time.Millisecond, time.Since(begin))
		require.Zero(t, l.client.Stats().Retransmitted)
		l.requireTold()
		coaptest.Pass(2 * time.Minute) // Max-Age, and some seconds
		l.requireTold("new")
		l.set("on")
		l.requireTold("on")
		require.Zero(t, l.conn.Stats().Started)
		require.EqualValues(t, 1, l.below.Stats().Started)
		require.EqualValues(t, 1, l.below.Stats().Begun)
	})
}
