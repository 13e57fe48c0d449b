package main

import (
	"bytes"
	"encoding/hex"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/transport"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

// script draws events on a chart, each a millisecond after the one before.
type script struct {
	chart *chart
	now   time.Time
	peer  exchange.Peer
}

func newScript(c *chart) *script {
	return &script{c, time.Unix(0, 0), exchange.Peer{Addr: netip.MustParseAddrPort("192.0.2.1:5683")}}
}

func (s *script) event(kind exchange.TraceKind, datagram string, change ...func(*coap.TraceEvent)) {
	b, err := hex.DecodeString(strings.ReplaceAll(datagram, " ", ""))
	if err != nil {
		panic(err)
	}
	e := coap.TraceEvent{Kind: kind, Time: s.now, Peer: s.peer, Datagram: b}
	for _, f := range change {
		f(&e)
	}
	s.now = s.now.Add(time.Millisecond)
	s.chart.trace(e)
}

// The messages of the scripts.
const (
	getRequest     = "41 01 bc90 71 bb 74656d7065726174757265 45 756e69743d"
	getResponse    = "61 45 bc90 71 c0 21 3c ff 32322e3320430a1b5b324a"
	emptyAck       = "60 00 bc90"
	separate       = "41 45 2345 71 c1 2a ff 00ff0102030405060708090a0b0c0d0e0f"
	separateAck    = "60 00 2345"
	ping           = "40 00 0001"
	pong           = "70 00 0001"
	longToken      = "5d 07 0002 14" + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	unknownMethod  = "40 1f 0003"
	unsupported    = "60 8f 0004"
	notCoAP        = "ffff"
	longTextAnswer = "50 45 0005 ff 61c3a9" + "61626364656667686961626364656667686961626364656667686961626364656667686961626364656667686961c3a962c3a9"
)

func TestChartOfClient(t *testing.T) {
	var b bytes.Buffer
	s := newScript(newChart(&b, "client", ""))
	s.event(exchange.TraceQueued, getRequest)
	s.event(exchange.TraceSent, getRequest)
	s.event(exchange.TraceRetransmitted, getRequest)
	s.event(exchange.TraceSent, getRequest)
	s.event(exchange.TraceReceived, getResponse)
	s.event(exchange.TraceReceived, getResponse)
	s.event(exchange.TraceDropped, getResponse, func(e *coap.TraceEvent) { e.Reason = exchange.DropUnmatchedAck })
	s.event(exchange.TraceSent, getRequest)
	s.event(exchange.TraceReceived, emptyAck)
	s.event(exchange.TraceAcknowledged, getRequest)
	s.now = s.now.Add(90 * time.Second)
	s.event(exchange.TraceReceived, separate)
	s.event(exchange.TraceSent, separateAck)
	s.event(exchange.TraceReceived, separate)
	s.event(exchange.TraceDuplicate, separate)
	s.peer.Addr = netip.MustParseAddrPort("[fe80::1%eth0]:61616")
	s.event(exchange.TraceSent, ping)
	s.event(exchange.TraceReceived, pong)
	s.event(exchange.TraceSent, longToken)
	s.event(exchange.TraceSent, unknownMethod)
	s.event(exchange.TraceReceived, unsupported)
	s.event(exchange.TraceReceived, longTextAnswer)
	s.event(exchange.TraceReceived, notCoAP)
	s.event(exchange.TraceDropped, notCoAP, func(e *coap.TraceEvent) {
		e.Reason, e.Err = exchange.DropTooShort, os.ErrInvalid
	})
	s.event(exchange.TraceUndelivered, unknownMethod, func(e *coap.TraceEvent) { e.Err = os.ErrDeadlineExceeded })
	s.event(exchange.TraceEnded, unknownMethod, func(e *coap.TraceEvent) { e.Err = coap.ErrUnreachable })
	golden(t, "chart-client", b.String())
	for _, r := range b.String() {
		assert.True(t, r == '\n' || r >= ' ' && r != 0x7f, "control character %q", r)
	}
}

// TestChartOfLosses is a server's chart with a bad network below, which tells the fate of what is
// sent after the endpoint has sent it.
func TestChartOfLosses(t *testing.T) {
	var b bytes.Buffer
	c := newChart(&b, "", "this server")
	c.lossy = true
	s := newScript(c)
	fate := func(datagram string, incoming, lost bool) {
		raw, _ := hex.DecodeString(strings.ReplaceAll(datagram, " ", ""))
		c.fate(&transport.Datagram{Data: raw, Remote: s.peer.Addr}, incoming, lost)
	}
	fate(getRequest, true, false)
	s.event(exchange.TraceReceived, getRequest)
	s.event(exchange.TraceSent, getResponse)
	s.event(exchange.TraceSent, separate)
	assert.NotContains(t, b.String(), "ACK", "drawn before its fate is known")
	fate(separate, false, false)
	fate(getResponse, false, true)
	s.event(exchange.TraceRetransmitted, separate)
	s.event(exchange.TraceSent, separate)
	fate(separate, false, true)
	fate("00", false, false) // of nothing that was sent
	golden(t, "chart-losses", b.String())
}

// TestChartOfLostRequest is apart: a datagram that is lost on its way in has the time of day.
func TestChartOfLostRequest(t *testing.T) {
	var b bytes.Buffer
	c := newChart(&b, "", "this server")
	raw, _ := hex.DecodeString(strings.ReplaceAll(getRequest, " ", ""))
	c.fate(&transport.Datagram{Data: raw, Remote: netip.MustParseAddrPort("192.0.2.1:1")}, true, true)
	assert.Contains(t, b.String(), "  0.000  |--- CON [0xbc90] GET ---X        |  /temperature?unit=  (Token 0x71)  lost on purpose\n")
}

// stable replaces what is another in each run.
func stable(chart string) string {
	for _, r := range [][2]string{
		{`(?m)^ +[0-9]+\.[0-9]{3}`, "  0.000"},
		{`\[0x[0-9a-f]{4}\]`, "[0x....]"},
		{`Token 0x[0-9a-f]+`, "Token 0x.."},
		{`127\.0\.0\.1:[0-9]+`, "127.0.0.1:port"},
	} {
		chart = regexp.MustCompile(r[0]).ReplaceAllString(chart, r[1])
	}
	return chart
}

// TestVerbose has the chart after the code and the options.
func TestVerbose(t *testing.T) {
	base := startServer(t, newResources())
	r := runCLI(t, "put", "-v", "-t", "text", "-p", "hello", base+"/text")
	require.Equal(t, exitSuccess, r.status)
	assert.Empty(t, r.out)
	golden(t, "verbose-put", stable(r.err))

	r = runCLI(t, "get", "-v", "-N", base+"/text")
	require.Equal(t, exitSuccess, r.status)
	assert.Equal(t, "hello", r.out)
	golden(t, "verbose-get", stable(r.err))

	r = runCLI(t, "ping", "-v", base)
	require.Equal(t, exitSuccess, r.status)
	golden(t, "verbose-ping", stable(r.err))

	r = runCLI(t, "get", "-v", closedPort(t))
	require.Equal(t, exitNoAnswer, r.status)
	assert.Contains(t, r.firstLine(), "coap: nothing listens")
	assert.Contains(t, r.err, "GET ended: destination unreachable\n")
}

// TestVerboseSeparate has the last message in the chart, too: the acknowledgement that leaves
// when the answer is here already.
func TestVerboseSeparate(t *testing.T) {
	base := startServer(t, newResources())
	r := runCLI(t, "get", "-v", base+"/slow?ms=1000")
	require.Equal(t, exitSuccess, r.status)
	golden(t, "verbose-separate", stable(r.err))
}
