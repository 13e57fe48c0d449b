package coap_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// The tests read as charts of messages: a scripted peer sends this and wants that. A line
// is written like
//
//	CON GET mid=0x7001 tok=51 path=a/b opt=65:00ff pay=hello
//
// type and code first, then what else matters. Time is that of the bubble.

var (
	serverAddr = netip.MustParseAddrPort("192.0.2.1:5683")
	peerAddr   = netip.MustParseAddrPort("192.0.2.9:61616")
	peerAddr2  = netip.MustParseAddrPort("192.0.2.10:61616")
	groupAddr  = netip.MustParseAddrPort("224.0.1.187:5683")
)

// defaultLeisure is DEFAULT_LEISURE (RFC 7252 section 4.8).
const defaultLeisure = 5 * time.Second

// rig is a live endpoint in a simulated network, and one scripted peer.
type rig struct {
	testing.TB
	net  *mem.Network
	conn *mem.Conn
	ep   *coap.Endpoint
	peer *peer
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, name string, f func(t *testing.T)) bool {
	return t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func newRig(t testing.TB, h coap.Handler, cfg *coap.Config) *rig {
	return newRigIn(t, mem.NewNetwork(mem.Config{}), h, cfg)
}

func newRigIn(t testing.TB, network *mem.Network, h coap.Handler, cfg *coap.Config) *rig {
	t.Helper()
	r := &rig{TB: t, net: network}
	r.conn = listen(t, network, serverAddr)
	require.NoError(t, r.conn.Join(groupAddr.Addr(), 0))
	r.ep = endpoint(t, r.conn, h, cfg)
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

func endpoint(t testing.TB, conn transport.Conn, h coap.Handler, cfg *coap.Config) *coap.Endpoint {
	t.Helper()
	ep, err := coap.NewEndpoint(conn, h, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { ep.Close() })
	return ep
}

// pass lets time pass, then waits until everything has come to rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// peer is a scripted peer: it sends bytes and says what comes back.
type peer struct {
	testing.TB
	conn *mem.Conn
	to   netip.AddrPort
	in   chan packet
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
	p := &peer{TB: r.TB, conn: listen(r, r.net, at), to: serverAddr, in: make(chan packet, 1<<14)}
	go p.read()
	return p
}

func (p *peer) read() {
	ds := []transport.Datagram{{}}
	for {
		ds[0].Data = make([]byte, 9000)
		if _, err := p.conn.ReadBatch(ds); err != nil {
			return
		}
		if d := &ds[0]; d.Err == nil {
			m := packet{raw: d.Data, from: d.Remote, at: time.Now()}
			if err := codec.DecodeUDP(d.Data, &m.Message); err != nil {
				p.Errorf("the endpoint has sent %x: %v", d.Data, err)
			}
			p.in <- m
		}
	}
}

// sendBytes sends a datagram to an address.
func (p *peer) sendBytes(to netip.AddrPort, data []byte) {
	p.Helper()
	_, err := p.conn.WriteBatch([]transport.Datagram{{Data: data, Remote: to}})
	require.NoError(p, err)
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
	m, _ := parseLine(p, format, args...)
	p.sendMessage(&m)
}

func (p *peer) sendMessage(m *message.Message) {
	p.Helper()
	data, err := codec.AppendUDP(nil, m)
	require.NoError(p, err)
	p.sendBytes(p.to, data)
}

// want expects that the next message that has come is as the line says.
func (p *peer) want(why, format string, args ...any) packet {
	p.Helper()
	return p.match(why, p.next(why+": want "+fmt.Sprintf(format, args...)), format, args...)
}

// next takes the next message that has come.
func (p *peer) next(why string) packet {
	p.Helper()
	synctest.Wait()
	select {
	case got := <-p.in:
		return got
	default:
		p.Fatalf("%s: nothing has come", why)
		return packet{}
	}
}

func (p *peer) match(why string, got packet, format string, args ...any) packet {
	p.Helper()
	want, given := parseLine(p, format, args...)
	require.Equal(p, want.Type.String(), got.Type.String(), "%s: type of %s", why, &got.Message)
	require.Equal(p, want.Code.String(), got.Code.String(), "%s: code of %s", why, &got.Message)
	if given["mid"] {
		require.Equal(p, want.MessageID, got.MessageID, "%s: message ID of %s", why, &got.Message)
	}
	if given["tok"] {
		require.Equal(p, want.Token.String(), got.Token.String(), "%s: token of %s", why, &got.Message)
	}
	if given["pay"] {
		require.Equal(p, string(want.Payload), string(got.Payload), "%s: payload of %s", why, &got.Message)
	}
	for n, v := range want.Options.All() {
		has, ok := got.Options.First(n)
		require.True(p, ok && bytes.Equal(v, has), "%s: option %d of %s", why, n, &got.Message)
	}
	if got.Code == message.Empty {
		require.Len(p, got.raw, codec.HeaderSize, "%s: an Empty message", why)
	}
	return got
}

// wantNothing expects that nothing (more) has come.
func (p *peer) wantNothing(why string) {
	p.Helper()
	synctest.Wait()
	select {
	case got := <-p.in:
		p.Fatalf("%s: want nothing, got %s", why, &got.Message)
	default:
	}
}

var messageTypes = map[string]message.Type{
	"CON": message.Confirmable, "NON": message.NonConfirmable, "ACK": message.Acknowledgement, "RST": message.Reset,
}

func parseLine(t testing.TB, format string, args ...any) (m message.Message, given map[string]bool) {
	t.Helper()
	given = make(map[string]bool)
	words := strings.Fields(fmt.Sprintf(format, args...))
	require.GreaterOrEqual(t, len(words), 2, "a line has type and code: %q", words)
	typ, ok := messageTypes[words[0]]
	require.True(t, ok, "type in %q", words)
	code, err := message.ParseCode(words[1])
	require.NoError(t, err)
	m.Type, m.Code = typ, code
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		given[key] = true
		switch key {
		case "mid":
			n, err := strconv.ParseUint(value, 0, 16)
			require.NoError(t, err)
			m.MessageID = uint16(n)
		case "tok":
			m.Token = unhex(t, value)
		case "path":
			for _, s := range strings.Split(value, "/") {
				m.Options.AddString(message.OptionURIPath, s)
			}
		case "query":
			m.Options.AddString(message.OptionURIQuery, value)
		case "opt":
			number, v, _ := strings.Cut(value, ":")
			n, err := strconv.ParseUint(number, 10, 16)
			require.NoError(t, err)
			m.Options.Add(message.OptionNumber(n), unhex(t, v))
		case "pay":
			m.Payload = []byte(value)
		default:
			t.Fatalf("unknown word %q", w)
		}
	}
	return m, given
}

// result is what a call that takes its time has come to.
type result struct {
	resp coap.Response
	err  error
	took time.Duration
	done bool
	mu   sync.Mutex
}

// async makes a round trip in the background.
func async(ctx context.Context, rt coap.RoundTripper, req *coap.Request) *result {
	return asyncDo(func(resp *coap.Response) error { return rt.RoundTrip(ctx, req, resp) })
}

func asyncDo(do func(*coap.Response) error) *result {
	r, start := new(result), time.Now()
	go func() {
		var resp coap.Response
		err := do(&resp)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.resp, r.err, r.took, r.done = resp, err, time.Since(start), true
	}()
	return r
}

// isDone reports whether the call has returned.
func (r *result) isDone() bool {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done
}

// requireCode expects that the call has returned with this response.
func (r *result) requireCode(t testing.TB, why, code string) *coap.Response {
	t.Helper()
	require.True(t, r.isDone(), "%s: the call has returned", why)
	require.NoError(t, r.err, why)
	require.Equal(t, code, r.resp.Code.Dotted(), why)
	return &r.resp
}

// requireErr expects that the call has failed like this.
func (r *result) requireErr(t testing.TB, why string, want error) {
	t.Helper()
	require.True(t, r.isDone(), "%s: the call has returned", why)
	require.ErrorIs(t, r.err, want, why)
}

// request makes a request to an address.
func request(t testing.TB, method coap.Code, to netip.AddrPort, target string) *coap.Request {
	t.Helper()
	req, err := coap.NewRequest(method, target)
	require.NoError(t, err)
	req.To = to
	return req
}

// do makes a round trip that must succeed.
func do(t testing.TB, rt coap.RoundTripper, req *coap.Request) *coap.Response {
	t.Helper()
	resp := new(coap.Response)
	require.NoError(t, rt.RoundTrip(context.Background(), req, resp))
	return resp
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
