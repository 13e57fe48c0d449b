package dtls

import (
	"crypto/tls"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/internal/scenarios"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// The scenarios of plain datagrams, in secure sessions. The tests of the root package that are no scenarios speak of what sessions do not
// have, or of datagrams as they are: groups; reports that quote a message that was not delivered (TestUnreachable) and errors of the system
// (TestWriteErrors), for which see TestUndelivered; addresses that have to be proven by the Echo option, which sessions have done; the
// address that a reply leaves from on a host with several.

// run runs a scenario with each sort of session.
func run(t *testing.T, s func(*testing.T, *scenarios.Transport)) {
	t.Run("PSK", func(t *testing.T) { over(t, s, withPSK(0)) })
	t.Run("PSK, no connection ID", func(t *testing.T) { over(t, s, withPSK(-1)) })
	t.Run("certificates", func(t *testing.T) { over(t, s, withCertificates(t)) })
}

// of is a scenario of so many runs, or observers.
func of(n uint64, s func(*testing.T, *scenarios.Transport, uint64)) func(*testing.T, *scenarios.Transport) {
	return func(t *testing.T, tr *scenarios.Transport) { s(t, tr, n) }
}

// over runs a scenario in sessions, of which there has to be one at least.
func over(t *testing.T, s func(*testing.T, *scenarios.Transport), cfg func(*mem.Conn) Config) {
	var begun atomic.Uint64
	s(t, &scenarios.Transport{Scheme: "coaps", Over: func(t testing.TB, inner *mem.Conn) transport.Conn {
		own := cfg(inner)
		own.OnSession = func(ev SessionEvent) {
			if ev.Kind == SessionBegins {
				begun.Add(1)
			}
		}
		c, err := New(inner, &own)
		require.NoError(t, err)
		return c
	}})
	require.NotZero(t, begun.Load())
}

// withPSK is for ends that have a key in common. Each is client and server.
func withPSK(connectionID int) func(*mem.Conn) Config {
	return func(*mem.Conn) Config {
		return Config{PSK: Keys{"lamp": key}.Lookup, Credentials: PSK("lamp", key), ConnectionID: connectionID}
	}
}

// withCertificates is for ends that have certificates for their addresses.
func withCertificates(t *testing.T) func(*mem.Conn) Config {
	ca := newAuthority(t, "ours")
	return func(inner *mem.Conn) Config {
		cert := ca.issue(inner.LocalAddr().Addr().String())
		return Config{Certificates: []tls.Certificate{cert}, ClientCAs: ca.pool(), RootCAs: ca.pool()}
	}
}

func TestSpoofedMalformedDatagram(t *testing.T) { run(t, scenarios.SpoofedMalformedDatagram) }

func TestFloodOfOnePeer(t *testing.T) { run(t, scenarios.FloodOfOnePeer) }

func TestAllHandlersBusy(t *testing.T) { run(t, scenarios.AllHandlersBusy) }

// Proves 7252-4.2-02, 7252-4.2-08, 7252-4.5-01, 7252-4.5-03, 7252-5.2.2-01, 7252-5.2.2-02, 7252-5.2.2-04.
func TestDuplicates(t *testing.T) { run(t, scenarios.Duplicates) }

func TestSeparateResults(t *testing.T) { run(t, scenarios.SeparateResults) }

// Proves 7252-5.2.2-s10.
func TestSlowHandler(t *testing.T) { run(t, scenarios.SlowHandler) }

// Proves 7252-5.2.2-03, 7252-5.2.3-02, 7252-5.2.2-s15, 7252-5.2.1-01, 7252-5.3.2-03.
func TestSeparateResponse(t *testing.T) { run(t, scenarios.SeparateResponse) }

// Proves 7252-4.2-05, 7252-4.2-s09, 7252-4.2-s11, 7252-4.2-s12, 7252-4.2-s13.
func TestSilentPeer(t *testing.T) { run(t, scenarios.SilentPeer) }

// Proves 7252-4.2-05.
func TestEarlierDeadline(t *testing.T) { run(t, scenarios.EarlierDeadline) }

func TestTimeouts(t *testing.T) { run(t, scenarios.Timeouts) }

func TestPing(t *testing.T) { run(t, scenarios.Ping) }

// Proves 7252-4.7-01.
func TestNStart(t *testing.T) { run(t, scenarios.NStart) }

func TestContext(t *testing.T) { run(t, scenarios.Context) }

func TestShutdownDrains(t *testing.T) { run(t, scenarios.ShutdownDrains) }

// Proves 7967-2.1-03.
func TestSend(t *testing.T) { run(t, scenarios.Send) }

func TestBlocksInNon(t *testing.T) { run(t, scenarios.BlocksInNon) }

// Proves 7959-2.4-08.
func TestBlocksOverBadNetwork(t *testing.T) { run(t, of(2, scenarios.BlocksOverBadNetwork)) }

func TestWindowOverBadNetwork(t *testing.T) { run(t, of(1, scenarios.WindowOverBadNetwork)) }

// Proves 7959-2.4-01, 7959-2.4-04, 7959-2.4-s01.
func TestWindowInMessages(t *testing.T) { run(t, scenarios.WindowInMessages) }

// Proves 7959-2.5-03.
func TestUploadWindowInMessages(t *testing.T) { run(t, scenarios.UploadWindowInMessages) }

// Proves 7641-2-s07, 7641-2-s08, 7641-3.1-s02, 7641-3.1-01, 7641-4.1-01, 8132-2.4-s01.
func TestObserve(t *testing.T) { run(t, scenarios.Observe) }

// Proves 7641-3.3.1-02, 7641-3.3.1-05, 7641-3.3.1-06.
func TestObserveRenews(t *testing.T) { run(t, scenarios.ObserveRenews) }

func TestObserveRestart(t *testing.T) { run(t, scenarios.ObserveRestart) }

// Without a connection ID the session ends, and with it the observation; see TestObservationAfterMoveWithoutConnectionID.
func TestObserveRebinding(t *testing.T) {
	t.Run("PSK", func(t *testing.T) { over(t, scenarios.ObserveRebinding, withPSK(0)) })
	t.Run("certificates", func(t *testing.T) { over(t, scenarios.ObserveRebinding, withCertificates(t)) })
}

func TestObserveClosed(t *testing.T) { run(t, scenarios.ObserveClosed) }

// Proves 7641-4.5-03, 7641-4.3.1-01.
func TestObserveSimulation(t *testing.T) { run(t, of(25, scenarios.ObserveSimulation)) }

func TestObserveWired(t *testing.T) { run(t, scenarios.ObserveWired) }

func TestNotObservable(t *testing.T) { run(t, scenarios.NotObservable) }

// Proves 7641-4.4-04, 7641-4.5.2-02, 7641-4.5-03.
func TestObserveSupersede(t *testing.T) { run(t, scenarios.ObserveSupersede) }

func TestObserveFetchInBlocks(t *testing.T) { run(t, scenarios.ObserveFetchInBlocks) }

func TestObserveFigure3Server(t *testing.T) { run(t, scenarios.ObserveFigure3Server) }

func TestObserveFigure6Server(t *testing.T) { run(t, scenarios.ObserveFigure6Server) }

func TestObserveFiguresClient(t *testing.T) { run(t, scenarios.ObserveFiguresClient) }

func TestObserveCancelChart(t *testing.T) { run(t, scenarios.ObserveCancelChart) }

// Proves 7252-5.9.2.9-01.
func TestTruncatedRequest(t *testing.T) { run(t, scenarios.TruncatedRequest) }

// Proves 7252-4.6-01, 7252-4.6-02.
func TestRequestTooLarge(t *testing.T) { run(t, scenarios.RequestTooLarge) }

// Proves 7252-4.3-01.
func TestNoEmptyNonConfirmable(t *testing.T) { run(t, scenarios.NoEmptyNonConfirmable) }

// Proves 8132-2-s16, 8132-2.2-s03, 8132-2.2-s05, 8132-2.2-s07, 8132-2.2-s11, 8132-2.3.2-s02, 8132-2.3.2-s04.
// Proves 8132-3-02, 8132-3-04, 8132-3-05, 8132-3-07, 8132-3.4-01, 8132-3.4-s03, 8132-3.4-s05, 8132-3.4-s07, 8132-3.4-s13,
// 8132-3.4-s14, 8132-3.4-s15, 8132-3.4-s16, 8132-3.4-s21.
func TestFetchAndPatch(t *testing.T) { run(t, scenarios.FetchAndPatch) }

func TestClose(t *testing.T) { run(t, scenarios.Close) }

func TestBodies(t *testing.T) { run(t, scenarios.Bodies) }

// Proves 7959-2.4-08.
func TestBodyChanges(t *testing.T) { run(t, scenarios.BodyChanges) }

// Proves 7252-4.5-01.
func TestLossyRequests(t *testing.T) { run(t, of(2, scenarios.LossyRequests)) }

// Proves 7641-4.2-01, 7641-4.5-04, 7641-4.5-05.
func TestObserveConfirm(t *testing.T) { run(t, scenarios.ObserveConfirm) }

// Proves 7967-1-01, 7967-2.1-01, 7967-2.1-s19, 7967-2.1-s22.
func TestNoResponse(t *testing.T) { run(t, scenarios.NoResponse) }

func TestTransfersDisturbed(t *testing.T) { run(t, scenarios.TransfersDisturbed) }

// No scenario is left out.
func TestAllScenarios(t *testing.T) {
	here, err := os.ReadFile("scenarios_test.go")
	require.NoError(t, err)
	dir := os.DirFS("../../internal/scenarios")
	files, err := fs.Glob(dir, "*.go")
	require.NoError(t, err)
	n := 0
	for _, name := range files {
		source, err := fs.ReadFile(dir, name)
		require.NoError(t, err)
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.IsExported() && takesTransport(f) {
				require.Regexp(t, `scenarios\.`+f.Name.Name+`\b`, string(here))
				n++
			}
		}
	}
	require.Greater(t, n, 30)
}

// takesTransport tells a scenario from what is only its part.
func takesTransport(f *ast.FuncDecl) bool {
	for _, p := range f.Type.Params.List {
		if star, ok := p.Type.(*ast.StarExpr); ok {
			if name, ok := star.X.(*ast.Ident); ok && name.Name == "Transport" {
				return true
			}
		}
	}
	return false
}
