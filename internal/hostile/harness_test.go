package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/udp"
)

// patience ends a test that hangs. Nothing is ever waited for that long.
const patience = 30 * time.Second

// patient makes an endpoint wait long for what a busy machine may be late with: it neither retransmits nor
// promises separate responses meanwhile.
var patient = coap.Config{Params: coap.Params{AckTimeout: time.Minute}}

// burst is how many long datagrams are sent before somebody has to answer, and smallBurst how many short
// ones. The buffer of a socket holds more, reports of undelivered answers included.
const burst, smallBurst = 32, 64

// scaled returns n, or less of it in a short run and with the race detector.
func scaled(n int) int {
	switch {
	case testing.Short():
		return n / 20
	case raceEnabled:
		return n / 5
	}
	return n
}

// site is a server with something for everybody.
type site struct {
	testing.TB
	*coap.Endpoint
	conn    *udp.Conn
	to      netip.AddrPort
	limits  coap.Limits
	state   atomic.Int64  // of /state
	counted atomic.Int64  // times that POST /count has run
	entered chan struct{} // somebody has asked for /gate
	gate    chan struct{} // lets him through
	good    client        // somebody who means well
}

// client is a client and its socket.
type client struct {
	*coap.Client
	conn *udp.Conn
}

// serve starts a site. cfg may be nil.
func serve(t testing.TB, address string, cfg *coap.Config) *site {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	if cfg == nil {
		cfg = &coap.Config{}
	}
	s := &site{TB: t, conn: listen(t, address), limits: cfg.Limits.WithDefaults(), entered: make(chan struct{}, 1), gate: make(chan struct{}, 1)}
	s.to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.conn.LocalAddr().Port())
	s.Endpoint = endpoint(t, s.conn, s.mux(), cfg)
	s.good = s.client("127.0.0.1:0")
	s.ask()
	return s
}

func (s *site) mux() *coap.Mux {
	m := coap.NewMux()
	m.HandleFunc("GET /hello", func(w *coap.Response, _ *coap.Request) error { return w.Text("hello") })
	m.HandleFunc("GET /echo", func(w *coap.Response, r *coap.Request) error {
		v, _ := r.Query("n")
		return w.Text(v)
	})
	m.HandleFunc("POST /count", func(w *coap.Response, _ *coap.Request) error {
		s.counted.Add(1)
		return w.Text("counted")
	})
	m.HandleFunc("PUT /body", func(w *coap.Response, r *coap.Request) error { return w.Text(strconv.Itoa(len(r.Payload))) })
	large := func(w *coap.Response, r *coap.Request) error {
		if r.Path() == "/slow" {
			<-time.After(20 * time.Millisecond) // longer than the acknowledgement waits in that test
		}
		return w.Bytes(message.OctetStream, bytes.Repeat([]byte("x"), 1024))
	}
	m.HandleFunc("GET /large", large, coap.Route{Observable: true})
	m.HandleFunc("POST /large", large)
	m.HandleFunc("GET /slow", large)
	m.HandleFunc("GET /state", func(w *coap.Response, _ *coap.Request) error {
		return w.Text(strconv.FormatInt(s.state.Load(), 10))
	}, coap.Route{Observable: true})
	m.HandleFunc("GET /gate", func(w *coap.Response, _ *coap.Request) error {
		s.entered <- struct{}{}
		<-s.gate
		return w.Text("through")
	})
	return m
}

func listen(t testing.TB, address string) *udp.Conn {
	t.Helper()
	conn, err := udp.Listen(address, &udp.Config{ReadBuffer: 4 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func endpoint(t testing.TB, conn transport.Conn, h coap.Handler, cfg *coap.Config) *coap.Endpoint {
	t.Helper()
	ep, err := coap.NewEndpoint(conn, h, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { ep.Close() })
	return ep
}

// client returns a client at an address.
func (s *site) client(address string) client {
	conn := listen(s, address)
	return client{&coap.Client{Endpoint: endpoint(s, conn, nil, nil)}, conn}
}

func (s *site) uri(path string) string { return "coap://" + s.to.String() + path }

func (s *site) context() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	return ctx
}

// ask has the good client answered. What was sent to the server
// before has been received by then.
func (s *site) ask() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	resp, err := s.good.Get(ctx, s.uri("/hello"))
	require.NoError(s, err, "the good client is answered")
	require.Equal(s, "hello", string(resp.Payload), "%v", resp.Code)
}

// rest waits until no handler runs.
func (s *site) rest() coap.Stats {
	s.Helper()
	return s.until("no handler runs", func(st coap.Stats) bool { return st.Handling == 0 })
}

// until waits until the server is in a state.
func (s *site) until(what string, is func(coap.Stats) bool) coap.Stats {
	s.Helper()
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		st := s.Stats()
		if is(st) {
			return st
		}
		require.True(s, time.Now().Before(end), "%s: %+v", what, st)
	}
}

// within expects that the tables are within the limits.
func (s *site) within() {
	s.Helper()
	st := s.Stats()
	require.LessOrEqual(s, st.Peers, s.limits.Peers)
	require.LessOrEqual(s, st.RememberedBytes, s.limits.RememberedBytes)
	require.LessOrEqual(s, st.Handling, 2*s.limits.Handlers)
	require.LessOrEqual(s, st.Exchanges, s.limits.Exchanges)
}

// peer is somebody with a socket who sends what he likes.
type peer struct {
	testing.TB
	conn *udp.Conn
	addr netip.AddrPort
	to   netip.AddrPort
	in   chan []byte
	mid  uint16
}

func (s *site) peer(address string) *peer {
	s.Helper()
	return newPeer(s, address, s.to)
}

func newPeer(t testing.TB, address string, to netip.AddrPort) *peer {
	t.Helper()
	p := &peer{TB: t, conn: listen(t, address), to: to, in: make(chan []byte, 1<<16)}
	p.addr = p.conn.LocalAddr()
	go func() {
		ds := make([]transport.Datagram, 1)
		room := make([]byte, 2048)
		for {
			ds[0] = transport.Datagram{Data: room}
			if _, err := p.conn.ReadBatch(ds); err != nil {
				return
			}
			if ds[0].Err == nil {
				p.in <- bytes.Clone(ds[0].Data)
			}
		}
	}()
	return p
}

// sendFrom sends a datagram by a socket, whoever else uses it: nobody can tell it from his.
func sendFrom(t testing.TB, conn transport.Conn, to netip.AddrPort, data []byte) {
	t.Helper()
	_, err := conn.WriteBatch([]transport.Datagram{{Data: data, Remote: to}})
	require.NoError(t, err)
}

func (p *peer) sendBytes(data []byte) {
	p.Helper()
	sendFrom(p, p.conn, p.to, data)
}

func (p *peer) send(m message.Message) {
	p.Helper()
	p.sendBytes(encode(p, m))
}

func encode(t testing.TB, m message.Message) []byte {
	t.Helper()
	b, err := codec.AppendUDP(nil, &m)
	require.NoError(t, err)
	return b
}

// next takes the next message that has come.
func (p *peer) next() message.Message {
	p.Helper()
	select {
	case b := <-p.in:
		var m message.Message
		require.NoError(p, codec.DecodeUDP(b, &m))
		return m
	case <-time.After(patience):
		require.FailNow(p, "no answer")
		return message.Message{}
	}
}

// fence pings and returns what came before the answer: by then all that was sent before the ping was
// received. Pings use message IDs from 0xF000 on.
func (p *peer) fence() (before [][]byte) {
	p.Helper()
	p.mid++
	mid := 0xF000 | p.mid&0xFFF
	ping := encode(p, message.Message{MessageID: mid})
	p.sendBytes(ping)
	want := encode(p, message.Message{Type: message.Reset, MessageID: mid})
	for tries := 10; ; {
		select {
		case b := <-p.in:
			if bytes.Equal(b, want) {
				return before
			}
			before = append(before, b)
		case <-time.After(patience / 10):
			if tries--; tries == 0 {
				require.FailNow(p, "no answer to a ping")
			}
			p.sendBytes(ping) // it was lost where ICMP errors had filled the buffer
		}
	}
}

// get returns a GET, of a path of one segment.
func get(typ message.Type, mid uint16, token, path string) message.Message {
	m := message.Message{Type: typ, Code: message.GET, MessageID: mid, Token: message.Token(token)}
	m.Options.AddString(message.OptionURIPath, path)
	return m
}

// prove has p ask for an Echo value and return it with m, which is answered.
func (p *peer) prove(m message.Message) message.Message {
	p.Helper()
	p.send(m)
	challenge := p.next()
	require.Equal(p, message.Unauthorized, challenge.Code)
	value, ok := challenge.Options.First(message.OptionEcho)
	require.True(p, ok)
	m.Options = m.Options.Clone()
	m.Options.Set(message.OptionEcho, value)
	m.MessageID++
	p.send(m)
	return p.next()
}

// sender sends one datagram from an address at which nobody listens, so that the answer
// comes back as an ICMP message.
type sender func(from netip.AddrPort, data []byte)

// bound binds a socket to each address.
func (s *site) bound() sender {
	to := net.UDPAddrFromAddrPort(s.to)
	return func(from netip.AddrPort, data []byte) {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(from))
		require.NoError(s, err)
		_, err = c.WriteToUDP(data, to)
		require.NoError(s, err)
		require.NoError(s, c.Close())
	}
}

// forged writes the header of UDP itself: one raw socket for all ports of an address.
func (s *site) forged() sender {
	conns := map[netip.Addr]*net.IPConn{}
	s.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	raw := func(a netip.Addr) (c *net.IPConn, err error) {
		if c = conns[a]; c == nil {
			if c, err = net.ListenIP("ip4:17", &net.IPAddr{IP: a.AsSlice()}); err == nil {
				conns[a] = c
			}
		}
		return c, err
	}
	if _, err := raw(s.to.Addr()); err != nil {
		s.Skipf("no raw sockets, which want root: %v", err)
	}
	to := &net.IPAddr{IP: s.to.Addr().AsSlice()}
	return func(from netip.AddrPort, data []byte) {
		c, err := raw(from.Addr())
		require.NoError(s, err)
		_, err = c.WriteToIP(udpPacket(from.Port(), s.to.Port(), data), to)
		require.NoError(s, err)
	}
}

// udpPacket returns data behind a header of UDP without checksum, which IPv4 allows (RFC 768).
func udpPacket(from, to uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(data)))
	return append(append(b, 0, 0), data...)
}

// source returns address n of as many as one likes.
func source(n int) netip.AddrPort {
	const ports = 20000 // below those that the system gives to others
	host := n / ports
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 66, byte(host >> 8), byte(host)}), uint16(10000+n%ports))
}

// heap returns the bytes of live objects.
func heap() int {
	for range 4 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// figure prints a number for docs/security.md.
func figure(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Logf("figure: "+format, args...)
}

// dropsSince returns by how much the reasons have risen.
func dropsSince(before, after coap.Stats) map[exchange.DropReason]int {
	drops := map[exchange.DropReason]int{}
	for r, n := range after.Drops() {
		if d := n - before.Dropped[r]; d > 0 {
			drops[r] = int(d)
		}
	}
	return drops
}
