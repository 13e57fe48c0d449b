package coap_test

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/internal/scenarios"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
)

// The tests read as charts of messages: a scripted peer sends this and wants that. Package
// coaptest says how a line is written. Time is that of the bubble.

var (
	serverAddr = netip.MustParseAddrPort("192.0.2.1:5683")
	peerAddr   = netip.MustParseAddrPort("192.0.2.9:61616")
	peerAddr2  = netip.MustParseAddrPort("192.0.2.10:61616")
	groupAddr  = netip.MustParseAddrPort("224.0.1.187:5683")
)

// defaultLeisure is DEFAULT_LEISURE (RFC 7252 section 4.8).
const defaultLeisure = 5 * time.Second

// Handlers and calls are those of the scenarios.
var (
	endpoint = scenarios.Endpoint
	request  = scenarios.Request
	do       = scenarios.Do
	async    = scenarios.Async
	asyncDo  = scenarios.AsyncDo
	echo     = scenarios.Echo
	slow     = scenarios.Slow
)

type (
	result = scenarios.Result
	meter  = scenarios.Meter
)

// rig is a live endpoint in a simulated network, and one scripted peer.
type rig struct {
	testing.TB
	net     *mem.Network
	watched *coaptest.Network // the same, with a chart
	conn    *mem.Conn
	ep      *coap.Endpoint
	peer    *peer
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, name string, f func(t *testing.T)) bool {
	return t.Run(name, func(t *testing.T) { coaptest.Run(t, f) })
}

func newRig(t testing.TB, h coap.Handler, cfg *coap.Config) *rig {
	return newRigIn(t, mem.NewNetwork(mem.Config{}), h, cfg)
}

func newRigIn(t testing.TB, network *mem.Network, h coap.Handler, cfg *coap.Config) *rig {
	t.Helper()
	r := &rig{TB: t, net: network}
	r.conn = listen(t, network, serverAddr)
	require.NoError(t, r.conn.Join(groupAddr.Addr(), 0))
	r.ep = endpoint(t, r.conn, h, trusting(cfg))
	r.peer = r.newPeer(peerAddr)
	return r
}

func listen(t testing.TB, network *mem.Network, at netip.AddrPort) *mem.Conn {
	t.Helper()
	conn, err := network.Listen(at)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// pass lets time pass, then waits until everything has come to rest.
func pass(d time.Duration) { coaptest.Pass(d) }

// peer is a coaptest.Peer that says why it wants what.
type peer struct {
	testing.TB
	*coaptest.Peer
	conn *mem.Conn
	to   netip.AddrPort
}

// packet is a message that has come to a peer.
type packet struct {
	message.Message
	raw  []byte
	from netip.AddrPort
	at   time.Time
}

func (r *rig) newPeer(at netip.AddrPort) *peer {
	r.Helper()
	if r.watched == nil {
		r.watched = coaptest.Watch(r.TB, r.net)
	}
	p := coaptest.NewPeer(r.TB, r.watched, at)
	return &peer{TB: r.TB, Peer: p, conn: p.Conn, to: serverAddr}
}

// sendBytes sends a datagram to an address.
func (p *peer) sendBytes(to netip.AddrPort, data []byte) {
	p.Helper()
	p.To = to
	p.SendBytes(data)
}

func (p *peer) sendHex(digits string) {
	p.Helper()
	p.sendBytes(p.to, unhex(p, digits))
}

func unhex(t testing.TB, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(t, err)
	return b
}

// send sends the message that the line describes.
func (p *peer) send(format string, args ...any) {
	p.Helper()
	p.To = p.to
	p.Send(format, args...)
}

// want expects that the next message that has come is as the line says.
func (p *peer) want(why, format string, args ...any) packet {
	p.Helper()
	return toPacket(p.Expect(format+" # %s", append(slices.Clip(args), why)...))
}

// next takes the next message that has come.
func (p *peer) next(why string) packet {
	p.Helper()
	require.NotZero(p, p.Pending(), "%s: nothing has come", why)
	return toPacket(p.Next())
}

func toPacket(r *coaptest.Received) packet { return packet{r.Message, r.Bytes, r.From, r.At} }

// wantNothing expects that nothing (more) has come.
func (p *peer) wantNothing(why string) {
	p.Helper()
	if p.Pending() > 0 {
		p.Fatalf("%s: want nothing, got %v", why, p.Next())
	}
}

// sizes are the tables of an endpoint: all zero when nothing is left.
func sizes(s coap.Stats) [6]int {
	return [...]int{s.Peers, s.Exchanges, s.Queued, s.Handling, s.Remembered, s.RememberedBytes}
}

// requireForgotten lets all lifetimes pass and expects that nothing is left.
func (r *rig) requireForgotten() {
	r.Helper()
	pass(20 * time.Minute)
	require.Zero(r, sizes(r.ep.Stats()), "peers, exchanges, queued, handling, remembered, bytes")
}
