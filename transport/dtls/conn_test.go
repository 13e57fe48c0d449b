package dtls

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

var (
	serverAddr = netip.MustParseAddrPort("192.0.2.1:5684")
	clientAddr = netip.MustParseAddrPort("192.0.2.2:40000")
)

// pair is a client and a server on a simulated network.
type pair struct {
	*testing.T
	net            *mem.Network
	client, server *Conn
}

func newPair(t *testing.T, client, server *Config) *pair {
	t.Helper()
	p := &pair{T: t, net: mem.NewNetwork(mem.Config{Delay: 10 * time.Millisecond})}
	p.server = p.listen(serverAddr, server)
	p.client = p.listen(clientAddr, client)
	t.Cleanup(func() { p.close() })
	return p
}

func (p *pair) close() {
	p.client.Close()
	p.server.Close()
	p.net.Close()
}

func (p *pair) listen(at netip.AddrPort, cfg *Config) *Conn {
	p.Helper()
	inner, err := p.net.Listen(at)
	require.NoError(p, err)
	c, err := New(inner, cfg)
	require.NoError(p, err)
	return c
}

func (p *pair) dial() *transport.Session {
	p.Helper()
	s, err := p.client.Dial(context.Background(), serverAddr, "")
	require.NoError(p, err)
	return s
}

func send(t *testing.T, c *Conn, s *transport.Session, data string) {
	t.Helper()
	n, err := c.WriteBatch([]transport.Datagram{{Data: []byte(data), Session: s}})
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func receive(t *testing.T, c *Conn) transport.Datagram {
	t.Helper()
	ds := []transport.Datagram{{Data: make([]byte, 2048)}}
	n, err := c.ReadBatch(ds)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	return ds[0]
}

var key = []byte("0123456789abcdef")

func pskClient(identity string) *Config { return &Config{Credentials: PSK(identity, key)} }
func pskServer() *Config                { return &Config{PSK: Keys{"lamp": key}.Lookup} }

// What is sent arrives, in the session of both ends, and travels as application data.
//
// Proves 7252-9.1.1-01.
func TestPSK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pskClient("lamp"), pskServer())
		s := p.dial()
		var types []contentType
		p.net.Watch(func(packet *mem.Packet, _ mem.Verdict) {
			r, _, ok := nextRecord(packet.Data, defaultCIDLength)
			require.True(t, ok)
			require.EqualValues(t, 1, r.epoch)
			require.NotContains(t, string(packet.Data), "ping")
			types = append(types, r.typ)
		})
		send(t, p.client, s, "ping")
		d := receive(t, p.server)
		require.Equal(t, "ping", string(d.Data))
		require.Equal(t, clientAddr, d.Remote)
		require.Equal(t, "lamp", d.Session.Identity.(*Identity).PSK)
		send(t, p.server, d.Session, "pong")
		d = receive(t, p.client)
		require.Equal(t, "pong", string(d.Data))
		require.Same(t, s, d.Session)
		require.Equal(t, 1, p.server.Stats().Sessions)
		require.Equal(t, []contentType{typeCID, typeData}, types) // only the server has a connection ID
		p.close()
	})
}

// lose drops what f chooses.
func (p *pair) lose(f func(b []byte) bool) {
	cfg := p.net.Config()
	cfg.Filter = func(packet *mem.Packet) mem.Verdict { return mem.Verdict{Drop: f(packet.Data)} }
	p.net.SetConfig(cfg)
}
