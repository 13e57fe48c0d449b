package scenarios

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	prove "github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// Transport is what scenarios run over. It is not changed.
type Transport struct {
	// Scheme is that of URIs: coap or coaps.
	Scheme string
	// Over returns the transport of an endpoint, which is client and server at once, on top of that of a simulated network.
	// With coaps it is a transport.Dialer. Nil stands for that of the network itself.
	Over func(t testing.TB, inner *mem.Conn) transport.Conn
}

// Plain is the transport without sessions.
var Plain = &Transport{Scheme: "coap"}

var (
	serverAddr = netip.MustParseAddrPort("192.0.2.1:5683")
	peerAddr   = netip.MustParseAddrPort("192.0.2.9:61616")
	peerAddr2  = netip.MustParseAddrPort("192.0.2.10:61616")
)

// network is a simulated network, and the transport that is used on it.
type network struct {
	testing.TB
	*mem.Network
	over *Transport

	mu      sync.Mutex
	inner   map[transport.Conn]*mem.Conn
	watched *coaptest.Network // the same, with a chart, once there is a peer without sessions
}

func newNetwork(t testing.TB, over *Transport, cfg mem.Config) *network {
	n := &network{TB: t, Network: mem.NewNetwork(cfg), over: over, inner: make(map[transport.Conn]*mem.Conn)}
	t.Cleanup(func() { n.Close() })
	return n
}

func (n *network) listen(t testing.TB, at netip.AddrPort) transport.Conn {
	t.Helper()
	inner, err := n.Listen(at)
	require.NoError(t, err)
	conn := transport.Conn(inner)
	if n.over.Over != nil {
		conn = n.over.Over(t, inner)
	}
	t.Cleanup(func() { conn.Close() })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inner[conn] = inner
	return conn
}

// rebind gives a transport another address, as a NAT does that has forgotten it.
func (n *network) rebind(conn transport.Conn, to netip.AddrPort) {
	n.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	_, err := n.inner[conn].Rebind(to)
	require.NoError(n, err)
}

// connect makes the session of two that have one, so that no time passes for it later.
func (n *network) connect(from transport.Conn, to netip.AddrPort) {
	n.Helper()
	if d, ok := from.(transport.Dialer); ok {
		_, err := d.Dial(context.Background(), to, "")
		require.NoError(n, err)
		pass(time.Second)
	}
}

// uri is one of a resource of the server.
func (n *network) uri(path string) string { return n.over.Scheme + "://" + serverAddr.String() + path }

// site is a server and a client in a network.
type site struct {
	*network
	server *coap.Endpoint // the last
	client *coap.Endpoint
	conn   transport.Conn // of the client
}

// newSite makes a network with a server, whose configuration is as it comes, and a client, which are connected. Then the network
// is as cfg says.
func newSite(t testing.TB, over *Transport, h coap.Handler, cfg mem.Config) *site {
	return newSiteOf(t, over, h, cfg, nil)
}

// newSiteOf makes both with a configuration.
func newSiteOf(t testing.TB, over *Transport, h coap.Handler, cfg mem.Config, both *coap.Config) *site {
	t.Helper()
	s := &site{network: newNetwork(t, over, mem.Config{Seed: cfg.Seed})}
	s.server = Endpoint(t, s.listen(t, serverAddr), h, both)
	s.conn = s.listen(t, peerAddr)
	s.client = Endpoint(t, s.conn, nil, both)
	s.connect(s.conn, serverAddr)
	s.SetConfig(cfg)
	return s
}

// start replaces the server by one that knows nothing.
func (s *site) start(h coap.Handler) {
	s.Helper()
	s.server = Endpoint(s, s.listen(s, serverAddr), h, nil)
}

// stop ends the server. If it crashes, nobody is told.
func (s *site) stop(crash bool) {
	cfg := s.Config()
	if crash {
		s.SetConfig(mem.Config{Filter: func(*mem.Packet) mem.Verdict { return mem.Verdict{Drop: true} }})
	}
	s.server.Close()
	s.SetConfig(cfg)
}

// rig is a live endpoint in a simulated network, and one scripted peer.
type rig struct {
	testing.TB
	net  *network
	conn transport.Conn
	ep   *coap.Endpoint
	peer *peer
	// serves says that peers are clients of the endpoint, so that they begin sessions. Otherwise it does.
	serves bool
}

// bubble runs a part of a scenario in virtual time.
func bubble(t *testing.T, name string, f func(t *testing.T)) bool {
	return t.Run(name, func(t *testing.T) { coaptest.Run(t, f) })
}

func newRig(t testing.TB, over *Transport, h coap.Handler, cfg *coap.Config) *rig {
	t.Helper()
	r := &rig{TB: t, net: newNetwork(t, over, mem.Config{}), serves: h != nil}
	r.conn = r.net.listen(t, serverAddr)
	var trusting coap.Config
	if cfg != nil {
		trusting = *cfg
	}
	trusting.ServeEcho.Mode = prove.Off // of the addresses of peers, which is another matter
	r.ep = Endpoint(t, r.conn, h, &trusting)
	r.peer = r.newPeer(peerAddr)
	return r
}

// pass lets time pass, then waits until everything has come to rest.
func pass(d time.Duration) { coaptest.Pass(d) }

// requireForgotten lets all lifetimes pass and expects that nothing is left.
func (r *rig) requireForgotten() {
	r.Helper()
	pass(20 * time.Minute)
	s := r.ep.Stats()
	require.Zero(r, [...]int{s.Peers, s.Exchanges, s.Queued, s.Handling, s.Remembered, s.RememberedBytes},
		"peers, exchanges, queued, handling, remembered, bytes")
}
