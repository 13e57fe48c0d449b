package coap_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
)

// directConn is a transport without a network: the test puts datagrams in, and sees what
// comes out.
type directConn struct {
	in    chan transport.Datagram
	out   func(*transport.Datagram)
	done  chan struct{}
	close sync.Once
}

func newDirectConn(out func(*transport.Datagram)) *directConn {
	return &directConn{in: make(chan transport.Datagram, 64), out: out, done: make(chan struct{})}
}

func (c *directConn) ReadBatch(ds []transport.Datagram) (int, error) {
	select {
	case d := <-c.in:
		fill(&ds[0], &d)
	case <-c.done:
		return 0, net.ErrClosed
	}
	n := 1
	for ; n < len(ds) && len(c.in) > 0; n++ {
		d := <-c.in
		fill(&ds[n], &d)
	}
	return n, nil
}

func fill(d, from *transport.Datagram) {
	data := d.Data[:copy(d.Data, from.Data)]
	*d = *from
	d.Data = data
}

func (c *directConn) WriteBatch(ds []transport.Datagram) (int, error) {
	for i := range ds {
		c.out(&ds[i])
	}
	return len(ds), nil
}

func (c *directConn) LocalAddr() netip.AddrPort { return serverAddr }

func (c *directConn) Close() error {
	c.close.Do(func() { close(c.done) })
	return nil
}

// heap returns the bytes of live objects.
func heap() float64 {
	for range 4 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// A server that 100,000 peers have asked is, when their lifetimes have passed, as it was before.
func TestManyPeers(t *testing.T) {
	peers := 100_000
	if raceEnabled {
		peers = 20_000
	}
	bubble(t, "", func(t *testing.T) {
		answers := make(chan byte, 64)
		conn := newDirectConn(func(d *transport.Datagram) { answers <- d.Data[1] })
		ep := endpoint(t, conn, newResources(), nil)
		data := unhex(t, "40010001b5706c61696e")
		// Each of n peers asks once for /plain, 32 at a time.
		ask := func(n int) {
			for i := range n {
				d := transport.Datagram{Data: data, Local: serverAddr}
				addr := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24|uint32(i))))
				d.Remote = netip.AddrPortFrom(addr, 5683)
				conn.in <- d
				if i%32 == 31 {
					for range 32 {
						require.EqualValues(t, 2<<5|5, <-answers, "2.05")
					}
				}
			}
		}
		ask(6400)
		pass(20 * time.Minute)
		require.Zero(t, sizes(ep.Stats()))
		before := heap()
		_, running := goroutines()

		ask(peers)
		synctest.Wait()
		stats := ep.Stats()
		require.Equal(t, peers, stats.Peers)
		require.Equal(t, peers, stats.Remembered)
		require.Zero(t, stats.EvictedReplies+stats.EvictedPeers)
		full := heap()
		t.Logf("a remembered peer with one reply costs %.0f bytes of heap, %d in Stats.RememberedBytes",
			(full-before)/float64(peers), stats.RememberedBytes/peers)
		if !raceEnabled {
			require.Less(t, (full-before)/float64(peers), 200.0)
		}

		pass(20 * time.Minute)
		require.Zero(t, sizes(ep.Stats()))
		after := heap()
		t.Logf("heap: %.0f bytes before, %.0f with %d peers, %.0f after", before, full, peers, after)
		requireGoroutines(t, running)
		require.LessOrEqual(t, after, before*1.05)
	})
}

// goroutines returns the stacks of all goroutines and their number. Unlike
// runtime.NumGoroutine, that is without those of the runtime.
func goroutines() (stacks string, n int) {
	b := make([]byte, 1<<20)
	stacks = string(b[:runtime.Stack(b, true)])
	return stacks, strings.Count("\n\n"+stacks, "\n\ngoroutine ")
}

// requireGoroutines expects that there are not more goroutines than before.
func requireGoroutines(t testing.TB, before int) {
	t.Helper()
	stacks, n := goroutines()
	require.LessOrEqual(t, n, before, "%s", stacks)
}
