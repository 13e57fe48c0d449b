package coap_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// secureNet is a network whose transports have secure sessions, as far as those above them can tell: the first byte of a
// datagram names the session, and who dials tells the other end without a message.
type secureNet struct {
	testing.TB
	*mem.Network
	mu    sync.Mutex
	hosts map[netip.AddrPort]*secureConn
	last  byte
}

func newSecureNet(t testing.TB) *secureNet {
	return &secureNet{TB: t, Network: mem.NewNetwork(mem.Config{}), hosts: make(map[netip.AddrPort]*secureConn)}
}

// secureConn is one of these transports. The identity of both ends of a session is the name that was dialed.
type secureConn struct {
	*mem.Conn
	net *secureNet
	in  chan transport.Datagram
	// onDial, if not nil, is called by Dial, which fails with its error; onWrite with what is sent.
	onDial  func(ctx context.Context, remote netip.AddrPort, name string) error
	onWrite func(m *message.Message)

	mu     sync.Mutex
	ids    map[*transport.Session]byte
	by     map[byte]*transport.Session
	dialed map[dialKey]*transport.Session
	closed chan struct{}
	dials  int
	sent   []message.Message
}

type dialKey struct {
	remote netip.AddrPort
	name   string
}

func (n *secureNet) listen(at netip.AddrPort) *secureConn {
	n.Helper()
	c := &secureConn{
		Conn: listen(n, n.Network, at), net: n, in: make(chan transport.Datagram), closed: make(chan struct{}),
		ids: make(map[*transport.Session]byte), by: make(map[byte]*transport.Session), dialed: make(map[dialKey]*transport.Session),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[c.LocalAddr()] = c
	go c.read()
	return c
}

// read hands on what belongs to a session.
func (c *secureConn) read() {
	for {
		ds := []transport.Datagram{{Data: make([]byte, 2048)}}
		if _, err := c.Conn.ReadBatch(ds); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			close(c.closed)
			return
		}
		d := ds[0]
		if d.Err != nil || len(d.Data) == 0 {
			continue
		}
		c.mu.Lock()
		d.Session = c.by[d.Data[0]]
		c.mu.Unlock()
		if d.Data = d.Data[1:]; d.Session != nil {
			c.hand(d)
		}
	}
}

func (c *secureConn) hand(d transport.Datagram) {
	select {
	case c.in <- d:
	case <-c.closed:
	}
}

func (c *secureConn) ReadBatch(ds []transport.Datagram) (int, error) {
	select {
	case d := <-c.in:
		if d.Data != nil {
			d.Data = ds[0].Data[:copy(ds[0].Data, d.Data)]
		}
		ds[0] = d
		return 1, nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *secureConn) WriteBatch(ds []transport.Datagram) (int, error) {
	for i, d := range ds {
		var m message.Message
		require.NoError(c.net, codec.DecodeUDP(d.Data, &m))
		require.NotNil(c.net, d.Session, "%v has no session", &m)
		c.mu.Lock()
		id, ok := c.ids[d.Session]
		c.sent = append(c.sent, m.Clone())
		if !ok {
			maps.DeleteFunc(c.dialed, func(_ dialKey, s *transport.Session) bool { return s == d.Session })
		}
		c.mu.Unlock()
		if !ok {
			return i, fmt.Errorf("not sent: %w", transport.ErrSessionEnded)
		}
		d.Data, d.Session = append([]byte{id}, d.Data...), nil
		if _, err := c.Conn.WriteBatch([]transport.Datagram{d}); err != nil {
			return i, err
		}
		if c.onWrite != nil {
			c.onWrite(&m)
		}
	}
	return len(ds), nil
}

func (c *secureConn) Dial(ctx context.Context, remote netip.AddrPort, name string) (*transport.Session, error) {
	if c.onDial != nil {
		if err := c.onDial(ctx, remote, name); err != nil {
			return nil, err
		}
	}
	c.net.mu.Lock()
	peer := c.net.hosts[remote]
	c.net.last++
	id := c.net.last
	c.net.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials++
	if s := c.dialed[dialKey{remote, name}]; s != nil {
		return s, nil
	}
	if peer == nil {
		return nil, fmt.Errorf("nobody is at %v", remote)
	}
	s := &transport.Session{Secure: true, Identity: name}
	c.ids[s], c.by[id], c.dialed[dialKey{remote, name}] = id, s, s
	peer.mu.Lock()
	defer peer.mu.Unlock()
	theirs := &transport.Session{Secure: true, Identity: name}
	peer.ids[theirs], peer.by[id] = id, theirs
	return s, nil
}

// Doubt ends a session that is doubted for long enough.
func (c *secureConn) Doubt(s *transport.Session, silence time.Duration) {
	require.Greater(c.net, silence, 40*time.Second, "all retransmissions were tried")
	c.mu.Lock()
	id, ok := c.ids[s]
	delete(c.ids, s)
	delete(c.by, id)
	maps.DeleteFunc(c.dialed, func(_ dialKey, known *transport.Session) bool { return s == known })
	c.mu.Unlock()
	if ok {
		c.hand(transport.Datagram{Remote: peerAddr, Session: s, Err: transport.ErrSessionEnded})
	}
}

// count returns how many sessions c has, and how often it was asked for one.
func (c *secureConn) count() (sessions, dials int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ids), c.dials
}

// requireSessions expects that c has n sessions.
func (c *secureConn) requireSessions(n int, why string) {
	c.net.Helper()
	sessions, _ := c.count()
	require.Equal(c.net, n, sessions, why)
}

// requireDials expects that c was asked for a session n times.
func (c *secureConn) requireDials(n int, why string) {
	c.net.Helper()
	_, dials := c.count()
	require.Equal(c.net, n, dials, why)
}

// forget makes c lose all its sessions; it finds out about that when it is asked to send.
func (c *secureConn) forget() (all []*transport.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.ids {
		all = append(all, s)
	}
	clear(c.ids)
	clear(c.by)
	return all
}

// end ends all sessions of c.
func (c *secureConn) end() {
	c.mu.Lock()
	clear(c.dialed)
	c.mu.Unlock()
	for _, s := range c.forget() {
		c.hand(transport.Datagram{Remote: peerAddr, Session: s, Err: transport.ErrSessionEnded})
	}
}

// receive returns the next message for who plays the part of an endpoint on c.
func (c *secureConn) receive() (m message.Message, s *transport.Session) {
	c.net.Helper()
	ds := []transport.Datagram{{Data: make([]byte, 2048)}}
	_, err := c.ReadBatch(ds)
	require.NoError(c.net, err)
	require.NoError(c.net, codec.DecodeUDP(ds[0].Data, &m))
	return m, ds[0].Session
}

// send sends a message as that one.
func (c *secureConn) send(s *transport.Session, to netip.AddrPort, m message.Message) {
	c.net.Helper()
	b, err := codec.AppendUDP(nil, &m)
	require.NoError(c.net, err)
	_, err = c.WriteBatch([]transport.Datagram{{Data: b, Remote: to, Session: s}})
	require.NoError(c.net, err)
}

var (
	secureAddr  = netip.MustParseAddrPort("192.0.2.1:5684")
	secureAddr2 = netip.MustParseAddrPort("192.0.2.3:5684")
)

// secured is a server and a client that have sessions.
type secured struct {
	*secureNet
	server, conn *secureConn // of the server and of the client
	ep           *coap.Endpoint
	client       *coap.Client
}

// newSecured makes a server and a client on a network. The names a.example and b.example both stand for the server.
func newSecured(t testing.TB, h coap.Handler, cfg *coap.Config) *secured {
	s := &secured{secureNet: newSecureNet(t)}
	s.server = s.listen(secureAddr)
	s.ep = endpoint(t, s.server, h, cfg)
	s.newClient(nil)
	return s
}

// newClient makes the client, which serves with h, if that is not nil, by an endpoint that it is given.
func (s *secured) newClient(h coap.Handler) {
	if s.conn != nil {
		require.NoError(s, s.client.Close())
		require.NoError(s, s.conn.Close())
	}
	s.conn = s.listen(peerAddr)
	hosts := map[string][]string{"a.example": {"192.0.2.1"}, "b.example": {"192.0.2.1"}, "c.example": {"192.0.2.3", "192.0.2.1"}}
	s.client = &coap.Client{Resolver: &fakeResolver{hosts: hosts}}
	if h != nil {
		s.client.Endpoint = endpoint(s, s.conn, h, nil)
		return
	}
	s.client.Config = &coap.Config{Secure: func() (transport.Conn, error) { return s.conn, nil }}
	s.Cleanup(func() { s.client.Close() })
}

// get gets a text that must be had.
func (s *secured) get(uri string) string {
	s.Helper()
	resp, err := s.client.Get(context.Background(), uri)
	require.NoError(s, err, uri)
	require.NoError(s, resp.Err(), uri)
	return string(resp.Payload)
}

// names answers with the name of the session.
var names = coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
	return w.Text(fmt.Sprint("to ", r.Peer().Identity))
})
