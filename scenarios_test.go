package coap_test

import (
	"testing"

	"github.com/coapkit/coap/internal/scenarios"
)

// The scenarios that every transport has to stand, over plain datagrams.

// seeds returns how many runs of chance there are, which are fewer in a short run and with the race detector.
func seeds(n, few uint64) uint64 {
	if raceEnabled || testing.Short() {
		return few
	}
	return n
}

func TestSpoofedMalformedDatagram(t *testing.T) {
	scenarios.SpoofedMalformedDatagram(t, scenarios.Plain)
}

func TestFloodOfOnePeer(t *testing.T) { scenarios.FloodOfOnePeer(t, scenarios.Plain) }

func TestAllHandlersBusy(t *testing.T) { scenarios.AllHandlersBusy(t, scenarios.Plain) }

// Proves 7252-4.2-02, 7252-4.2-08, 7252-4.5-01, 7252-4.5-03, 7252-5.2.2-01, 7252-5.2.2-02, 7252-5.2.2-04.
func TestDuplicates(t *testing.T) { scenarios.Duplicates(t, scenarios.Plain) }

func TestSeparateResults(t *testing.T) { scenarios.SeparateResults(t, scenarios.Plain) }

// Proves 7252-5.2.2-s10.
func TestSlowHandler(t *testing.T) { scenarios.SlowHandler(t, scenarios.Plain) }

// Proves 7252-5.2.2-03, 7252-5.2.3-02, 7252-5.2.2-s15, 7252-5.2.1-01, 7252-5.3.2-03.
func TestSeparateResponse(t *testing.T) { scenarios.SeparateResponse(t, scenarios.Plain) }

// Proves 7252-4.2-05, 7252-4.2-s09, 7252-4.2-s11, 7252-4.2-s12, 7252-4.2-s13.
func TestSilentPeer(t *testing.T) { scenarios.SilentPeer(t, scenarios.Plain) }

// Proves 7252-4.2-05.
func TestEarlierDeadline(t *testing.T) { scenarios.EarlierDeadline(t, scenarios.Plain) }

func TestTimeouts(t *testing.T) { scenarios.Timeouts(t, scenarios.Plain) }

func TestPing(t *testing.T) { scenarios.Ping(t, scenarios.Plain) }

// Proves 7252-4.7-01.
func TestNStart(t *testing.T) { scenarios.NStart(t, scenarios.Plain) }

func TestContext(t *testing.T) { scenarios.Context(t, scenarios.Plain) }

func TestShutdownDrains(t *testing.T) { scenarios.ShutdownDrains(t, scenarios.Plain) }

// Proves 7967-2.1-03.
func TestSend(t *testing.T) { scenarios.Send(t, scenarios.Plain) }

func TestBlocksInNon(t *testing.T) { scenarios.BlocksInNon(t, scenarios.Plain) }

// Proves 7959-2.4-08.
func TestBlocksOverBadNetwork(t *testing.T) {
	scenarios.BlocksOverBadNetwork(t, scenarios.Plain, seeds(1000, 60))
}

func TestWindowOverBadNetwork(t *testing.T) {
	scenarios.WindowOverBadNetwork(t, scenarios.Plain, seeds(4, 2))
}

// Proves 7959-2.4-01, 7959-2.4-04, 7959-2.4-s01.
func TestWindowInMessages(t *testing.T) { scenarios.WindowInMessages(t, scenarios.Plain) }

// Proves 7959-2.5-03.
func TestUploadWindowInMessages(t *testing.T) {
	scenarios.UploadWindowInMessages(t, scenarios.Plain)
}

// Proves 7641-2-s07, 7641-2-s08, 7641-3.1-s02, 7641-3.1-01, 7641-4.1-01, 8132-2.4-s01.
func TestObserve(t *testing.T) { scenarios.Observe(t, scenarios.Plain) }

// Proves 7641-3.3.1-02, 7641-3.3.1-05, 7641-3.3.1-06.
func TestObserveRenews(t *testing.T) { scenarios.ObserveRenews(t, scenarios.Plain) }

func TestObserveRestart(t *testing.T) { scenarios.ObserveRestart(t, scenarios.Plain) }

func TestObserveRebinding(t *testing.T) { scenarios.ObserveRebinding(t, scenarios.Plain) }

func TestObserveClosed(t *testing.T) { scenarios.ObserveClosed(t, scenarios.Plain) }

// Proves 7641-4.5-03, 7641-4.3.1-01.
func TestObserveSimulation(t *testing.T) { scenarios.ObserveSimulation(t, scenarios.Plain, 100) }

func TestObserveWired(t *testing.T) { scenarios.ObserveWired(t, scenarios.Plain) }

func TestNotObservable(t *testing.T) { scenarios.NotObservable(t, scenarios.Plain) }

// Proves 7641-4.4-04, 7641-4.5.2-02, 7641-4.5-03.
func TestObserveSupersede(t *testing.T) { scenarios.ObserveSupersede(t, scenarios.Plain) }

func TestObserveFetchInBlocks(t *testing.T) { scenarios.ObserveFetchInBlocks(t, scenarios.Plain) }

func TestObserveFigure3Server(t *testing.T) { scenarios.ObserveFigure3Server(t, scenarios.Plain) }

func TestObserveFigure6Server(t *testing.T) { scenarios.ObserveFigure6Server(t, scenarios.Plain) }

func TestObserveFiguresClient(t *testing.T) { scenarios.ObserveFiguresClient(t, scenarios.Plain) }

func TestObserveCancelChart(t *testing.T) { scenarios.ObserveCancelChart(t, scenarios.Plain) }

// Proves 7252-5.9.2.9-01.
func TestTruncatedRequest(t *testing.T) { scenarios.TruncatedRequest(t, scenarios.Plain) }

// Proves 7252-4.6-01, 7252-4.6-02.
func TestRequestTooLarge(t *testing.T) { scenarios.RequestTooLarge(t, scenarios.Plain) }

// Proves 7252-4.3-01.
func TestNoEmptyNonConfirmable(t *testing.T) { scenarios.NoEmptyNonConfirmable(t, scenarios.Plain) }

// Proves 8132-2-s16, 8132-2.2-s03, 8132-2.2-s05, 8132-2.2-s07, 8132-2.2-s11, 8132-2.3.2-s02, 8132-2.3.2-s04.
// Proves 8132-3-02, 8132-3-04, 8132-3-05, 8132-3-07, 8132-3.4-01, 8132-3.4-s03, 8132-3.4-s05, 8132-3.4-s07, 8132-3.4-s13,
// 8132-3.4-s14, 8132-3.4-s15, 8132-3.4-s16, 8132-3.4-s21.
func TestFetchAndPatch(t *testing.T) { scenarios.FetchAndPatch(t, scenarios.Plain) }

func TestClose(t *testing.T) { scenarios.Close(t, scenarios.Plain) }

func TestBodies(t *testing.T) { scenarios.Bodies(t, scenarios.Plain) }

// Proves 7959-2.4-08.
func TestBodyChanges(t *testing.T) { scenarios.BodyChanges(t, scenarios.Plain) }

// Proves 7252-4.5-01.
func TestLossyRequests(t *testing.T) { scenarios.LossyRequests(t, scenarios.Plain, seeds(20, 5)) }

// Proves 7641-4.2-01, 7641-4.5-04, 7641-4.5-05.
func TestObserveConfirm(t *testing.T) { scenarios.ObserveConfirm(t, scenarios.Plain) }

// Proves 7967-1-01, 7967-2.1-01, 7967-2.1-s19, 7967-2.1-s22.
func TestNoResponse(t *testing.T) { scenarios.NoResponse(t, scenarios.Plain) }

func TestTransfersDisturbed(t *testing.T) { scenarios.TransfersDisturbed(t, scenarios.Plain) }
