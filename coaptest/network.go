package coaptest

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
)

// Network is a simulated network that keeps a chart of its messages. All that a mem.Network can
// do, it can: loss, delay, cuts, groups, hosts with several addresses, NATs. All methods may be
// called concurrently.
type Network struct {
	*mem.Network
	t     testing.TB
	chart chart

	mu    sync.Mutex
	cfg   mem.Config // what the user wants
	drops []func(*mem.Packet) bool
	last  netip.Addr // the last address that was given out
}

// NewNetwork makes a network without hosts, and closes it when the test ends. If the test has failed
// then, it logs the chart. In a test of [Run], call it inside.
func NewNetwork(t testing.TB, cfg mem.Config) *Network {
	t.Helper()
	return Watch(t, mem.NewNetwork(cfg))
}

// Watch does what [NewNetwork] does with a network that is there already. From then on it is
// configured by the SetConfig of the result, or Drop does nothing.
func Watch(t testing.TB, network *mem.Network) *Network {
	t.Helper()
	n := &Network{Network: network, t: t, chart: chart{start: time.Now()}, last: netip.MustParseAddr("192.0.2.0")}
	n.SetConfig(network.Config())
	network.Watch(n.chart.watch)
	t.Cleanup(func() {
		n.Close()
		if t.Failed() {
			t.Logf("messages on the network:\n%s", n.Chart())
		}
	})
	return n
}

// Chart returns the last messages that were sent, one line each, with the seconds since NewNetwork and
// what became of them on the way: "lost" stands for chance, Cut, Filter and Drop.
func (n *Network) Chart() string { return n.chart.String() }

// Config returns the present configuration.
func (n *Network) Config() mem.Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cfg
}

// SetConfig replaces the configuration for datagrams sent from now on; see mem.Network.SetConfig. Drops
// stay.
func (n *Network) SetConfig(cfg mem.Config) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cfg = cfg
	cfg.Filter = n.filter
	n.Network.SetConfig(cfg)
}

// Drop lets the next message vanish that is as the line says, whoever sends it. Two calls with
// the same line stand for two messages.
func (n *Network) Drop(format string, args ...any) {
	n.t.Helper()
	l, err := parseLine(format, args...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.drop(func(p *mem.Packet) bool {
		var m message.Message
		return codec.DecodeUDP(p.Data, &m) == nil && l.match(&m) == nil
	})
}

// drop lets the next datagram vanish for which is is true.
func (n *Network) drop(is func(*mem.Packet) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drops = append(n.drops, is)
}

// filter is the Filter of the network below: that of the user, then the drops.
func (n *Network) filter(p *mem.Packet) mem.Verdict {
	n.mu.Lock()
	filter := n.cfg.Filter
	n.mu.Unlock()
	var v mem.Verdict
	if filter != nil { // which may call SetConfig
		v = filter(p)
	}
	if v.Drop || v.Err != nil {
		return v
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.IndexFunc(n.drops, func(is func(*mem.Packet) bool) bool { return is(p) }); i >= 0 {
		n.drops = slices.Delete(n.drops, i, i+1)
		v.Drop = true
	}
	return v
}

// listen opens a Conn on a host of its own, at the next free address from 192.0.2.1 on.
func (n *Network) listen(t testing.TB, port uint16) *mem.Conn {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		n.last = n.last.Next()
		conn, err := n.Network.Listen(netip.AddrPortFrom(n.last, port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
}

// Server is a server under test and its surroundings.
type Server struct {
	// Addr is where it listens, URL says the same as a URI without path.
	Addr netip.AddrPort
	URL  string
	// Client is a client next to it. Its Base is the server: Client.Get(ctx, "/path").
	Client *coap.Client
	// Network is where both are.
	Network *Network
	// Endpoint is the server itself, for Notify and Stats.
	Endpoint *coap.Endpoint
	// Conn is its transport, for Join and Rebind. It is in the group 224.0.1.187 of all CoAP nodes.
	Conn *mem.Conn
}

// NewServer starts a server on a network of its own, without faults: s.Network.SetConfig makes some. It
// is closed when the test ends. cfg may be nil. Without a Logger in cfg, errors of
// handlers go to the log of the test. Like any server, it challenges scripted peers that observe or ask for long
// answers, unless cfg.ServeEcho is off.
func NewServer(t testing.TB, h coap.Handler, cfg *coap.Config) *Server {
	t.Helper()
	return NewNetwork(t, mem.Config{}).NewServer(t, h, cfg)
}

// NewServer starts a server on the network, at the next free address from 192.0.2.1 on; see the
// function [NewServer].
func (n *Network) NewServer(t testing.TB, h coap.Handler, cfg *coap.Config) *Server {
	t.Helper()
	s := &Server{Network: n, Conn: n.listen(t, coap.DefaultPort)}
	if err := s.Conn.Join(coap.AllNodes()[0], 0); err != nil {
		t.Fatal(err)
	}
	s.Addr = s.Conn.LocalAddr()
	s.URL = urlOf(s.Addr)
	s.Endpoint = start(t, s.Conn, h, cfg)
	s.Client = n.NewClient(t, nil)
	s.Client.Base = coap.Authority{Scheme: "coap", Host: s.Addr.Addr().String(), Port: s.Addr.Port()}
	return s
}

// NewClient makes a client on the network, on a host of its own at the next free address. It is closed when the
// test ends. cfg may be nil.
func (n *Network) NewClient(t testing.TB, cfg *coap.Config) *coap.Client {
	t.Helper()
	c := &coap.Client{Endpoint: start(t, n.listen(t, 0), nil, cfg)}
	t.Cleanup(func() { c.Close() })
	return c
}

// start makes an endpoint for the time of the test.
func start(t testing.TB, conn *mem.Conn, h coap.Handler, cfg *coap.Config) *coap.Endpoint {
	t.Helper()
	var c coap.Config
	if cfg != nil {
		c = *cfg
	}
	if c.Logger == nil {
		log := &testLog{t: t}
		t.Cleanup(log.end)
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	ep, err := coap.NewEndpoint(conn, h, &c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ep.Close() })
	return ep
}

// testLog writes to the log of a test as long as it has not ended; later that would be a panic.
type testLog struct {
	mu    sync.Mutex
	t     testing.TB
	ended bool
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.t.Logf("%s", b)
	}
	return len(b), nil
}

func (l *testLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// urlOf is the start of URIs for an address.
func urlOf(a netip.AddrPort) string {
	return coap.Authority{Scheme: "coap", Host: a.Addr().String(), Port: a.Port()}.String()
}
