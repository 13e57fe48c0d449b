package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport/dtls"
	"github.com/coapkit/coap/transport/udp"
)

// The program starts itself again as a server, a load or a client; in tests that is the program of the tests.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// loadOn puts a load on a server in this process, and returns both.
func loadOn(t *testing.T, task serveTask, l load) (*coap.Server, outcome) {
	t.Helper()
	server := newOurs(task)
	conn, err := udp.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(t.Context(), conn) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.NoError(t, <-served)
	})
	l.To = conn.LocalAddr()
	out, err := generate(l)
	require.NoError(t, err)
	require.Zero(t, out.Bad)
	return server, out
}

func TestLoadForTime(t *testing.T) {
	server, out := loadOn(t, serveTask{}, load{Path: "/t", Clients: 4, Window: 2, Time: aWhile})
	require.NotZero(t, out.Answered)
	require.NotZero(t, out.CPU)
	require.NotZero(t, out.P99)
	require.Zero(t, server.Stats().Duplicates, "each message ID is used once")
	require.Equal(t, 4, server.Stats().Peers)
	require.Greater(t, out.figures().get("rate"), 0.0)
}

func TestLoadInTurns(t *testing.T) {
	server, out := loadOn(t, serveTask{}, load{Path: "/t", Clients: 100, Window: 1, Most: 10, Once: true})
	require.EqualValues(t, 100, out.Answered)
	require.Equal(t, 100, server.Stats().Peers)
	require.Zero(t, server.Stats().Duplicates)
}

func TestLoadOfStrangers(t *testing.T) {
	_, out := loadOn(t, serveTask{Echo: echoAlways}, load{Path: "/t", Clients: 20, Window: 1, Once: true})
	require.EqualValues(t, 20, out.Answered, "who is challenged proves its address")
}

func TestLoadOfDuplicates(t *testing.T) {
	server, out := loadOn(t, serveTask{}, load{Path: "/t", Clients: 2, Window: 2, Repeat: 3, Time: aWhile})
	require.NotZero(t, out.Repeated)
	require.GreaterOrEqual(t, server.Stats().Duplicates, out.Repeated)
}

func TestLoadBeside(t *testing.T) {
	_, out := loadOn(t, serveTask{}, load{Path: "/t", Clients: 2, Window: 1, Beside: 3, BesidePath: "/wait", Time: aWhile})
	require.NotZero(t, out.Answered)
}

func TestLoadOfObservers(t *testing.T) {
	for _, paced := range []bool{false, true} {
		server, out := loadOn(t, serveTask{Paced: paced}, load{Path: "/o", Clients: 50, Window: 1, Observe: true, Time: aWhile})
		require.Equal(t, 50, server.Observers("/o"))
		require.NotZero(t, out.Rounds)
		require.NotZero(t, out.Notes)
	}
}

// aWhile is long enough for a few round trips on a machine that has much else to do.
const aWhile = 700 * time.Millisecond

// secureLoadOn puts a load on a secure server in this process, and returns its transport and what came of it.
func secureLoadOn(t *testing.T, task serveTask, l load) (*dtls.Conn, outcome) {
	t.Helper()
	server := newOurs(task)
	conns, err := listenOurs(task)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(t.Context(), conns...) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.NoError(t, <-served)
	})
	l.To, l.Path = conns[0].LocalAddr(), "/t"
	if task.Secure != nil {
		l.Secure.credentials = *task.Secure
	}
	out, err := generateSecure(l)
	require.NoError(t, err)
	require.Zero(t, out.Bad)
	require.NotZero(t, out.Answered)
	require.NotZero(t, out.P50)
	require.Zero(t, server.Stats().Duplicates)
	c, _ := conns[0].(*dtls.Conn)
	return c, out
}

func TestSecureLoads(t *testing.T) {
	psk := &credentials{Suite: dtls.PSKWithAES128GCMSHA256}
	cert, err := withCertificate(dtls.ECDHEECDSAWithAES128CCM8)
	require.NoError(t, err)
	for _, c := range []*credentials{nil, psk, cert} {
		conn, _ := secureLoadOn(t, serveTask{Secure: c}, load{Clients: 3, Window: 2, Time: aWhile, Secure: &secureLoad{Do: "requests"}})
		if c != nil {
			require.EqualValues(t, 3, conn.Stats().Begun)
		}
	}
	conn, out := secureLoadOn(t, serveTask{Secure: psk}, load{Time: aWhile, Secure: &secureLoad{Do: "handshakes"}})
	require.GreaterOrEqual(t, conn.Stats().Begun, out.Answered)
	require.Zero(t, conn.Stats().Resumed)
	for d := aWhile; ; d *= 2 { // until a first handshake and another fit into it
		conn, _ = secureLoadOn(t, serveTask{Secure: psk, NoCID: true}, load{Time: d, Secure: &secureLoad{Do: "handshakes", Resume: true}})
		if conn.Stats().Resumed > 0 {
			break
		}
		require.Less(t, d, 30*aWhile)
	}
	conn, out = secureLoadOn(t, serveTask{Secure: psk}, load{Clients: 40, Window: 1, Once: true, Secure: &secureLoad{Do: "sessions"}})
	require.EqualValues(t, 40, out.Answered)
	require.Equal(t, 40, conn.Stats().Sessions, "they stay")
	for _, proven := range []bool{false, true} {
		conn, out = secureLoadOn(t, serveTask{Secure: psk}, load{Clients: 40, Once: true, Secure: &secureLoad{Do: "flood", Proven: proven}})
		require.EqualValues(t, 1, out.Answered)
		require.Equal(t, 40, conn.Stats().Handshakes)
		require.Equal(t, 1, conn.Stats().Sessions)
	}
}

// A client that has used up its message IDs goes on from another address, so that none of them is used twice.
func TestAddressesOfClients(t *testing.T) {
	g := generator{clients: make([]client, 3)}
	before := g.address(1)
	seen := map[uint16]bool{}
	for range midsOfAddress {
		seen[g.mid(1)] = true
	}
	require.Len(t, seen, midsOfAddress)
	require.Equal(t, before, g.address(1))
	g.mid(1)
	require.NotContains(t, []uint32{before, g.address(0), g.address(2)}, g.address(1))
}

// From the command line to the page, with servers and loads as processes.
func TestWholeRun(t *testing.T) {
	page := filepath.Join(t.TempDir(), "figures.md")
	var text strings.Builder
	for _, name := range []string{"server", "blockwise"} {
		text.WriteString("by hand: " + name + "\n" + opening(name) + closing(name) + "\n")
	}
	require.NoError(t, os.WriteFile(page, []byte(text.String()), 0o600))
	require.NoError(t, run([]string{"-quick", "-secs", "0.05", "-clients", "8x2", "-only", "server,blockwise", "-write", "-o", page}))
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	got := string(b)
	for _, want := range []string{"by hand: blockwise", "8 clients, 2 requests of each on the way", "| coapkit ", "| go-coap ", "](figures/blockwise.svg)", "one block at a time"} {
		require.Contains(t, got, want)
	}
	for _, plot := range []string{"cpu.svg", "blockwise.svg"} {
		_, err := os.Stat(filepath.Join(filepath.Dir(page), "figures", plot))
		require.NoError(t, err)
	}
	require.ErrorContains(t, run([]string{"-quick", "-only", "dtls", "-write", "-o", page}), opening("dtls"))
}
