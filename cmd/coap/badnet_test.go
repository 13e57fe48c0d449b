package main

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
	"github.com/coapkit/coap/transport/transporttest"
	"github.com/coapkit/coap/transport/udp"
)

func keepAll(*transport.Datagram, bool) bool { return false }

// TestBadNetworkIsAConn runs the suite for transports on a bad network that is not so bad.
func TestBadNetworkIsAConn(t *testing.T) {
	for name, delay := range map[string]time.Duration{"NoDelay": 0, "Delay": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			opts := transporttest.Options{}
			if delay > 0 {
				opts.TooLarge = -1 // shows only after the delay
			}
			transporttest.TestConn(t, func(t *testing.T) (a, b transport.Conn) {
				return newBadNetwork(loopback(t), delay, keepAll, nil), newBadNetwork(loopback(t), delay, keepAll, nil)
			}, opts)
		})
	}
}

func loopback(t *testing.T) transport.Conn {
	t.Helper()
	conn, err := udp.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	return conn
}

// memPair returns two ends of a simulated network.
func memPair(t *testing.T) (a, b *mem.Conn) {
	t.Helper()
	network := mem.NewNetwork(mem.Config{})
	a, err := network.Listen(netip.MustParseAddrPort("192.0.2.1:5683"))
	require.NoError(t, err)
	b, err = network.Listen(netip.MustParseAddrPort("192.0.2.2:5683"))
	require.NoError(t, err)
	return a, b
}

func send(t *testing.T, from, to transport.Conn, text string) {
	t.Helper()
	n, err := from.WriteBatch([]transport.Datagram{{Data: []byte(text), Remote: to.LocalAddr()}})
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func receive(t *testing.T, c transport.Conn) transport.Datagram {
	t.Helper()
	ds := []transport.Datagram{{Data: make([]byte, 100)}}
	n, err := c.ReadBatch(ds)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	return ds[0]
}

func TestBadNetworkDelaysBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memPair(t)
		bad := newBadNetwork(a, 50*time.Millisecond, keepAll, nil)
		defer bad.Close()
		start := time.Now()
		send(t, bad, b, "one")
		send(t, bad, b, "two")
		assert.Equal(t, "one", string(receive(t, b).Data))
		assert.Equal(t, "two", string(receive(t, b).Data))
		assert.Equal(t, 50*time.Millisecond, time.Since(start), "both are under way at once")
		send(t, b, bad, "three")
		assert.Equal(t, "three", string(receive(t, bad).Data))
		assert.Equal(t, 100*time.Millisecond, time.Since(start))
	})
}

func TestBadNetworkReportsWhatFailsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := memPair(t)
		bad := newBadNetwork(a, time.Millisecond, keepAll, nil)
		defer bad.Close()
		_, err := bad.WriteBatch([]transport.Datagram{{Data: []byte("x"), Remote: netip.MustParseAddrPort("[2001:db8::1]:1")}})
		require.NoError(t, err)
		report := receive(t, bad)
		assert.ErrorIs(t, report.Err, syscall.EAFNOSUPPORT)
		assert.Equal(t, "x", string(report.Data))
	})
}

func TestBadNetworkLoses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memPair(t)
		type fate struct {
			text           string
			incoming, lost bool
		}
		var fates []fate
		bad := newBadNetwork(a, 0, loseFirstReceived.lose(), func(d *transport.Datagram, incoming, lost bool) {
			fates = append(fates, fate{string(d.Data), incoming, lost})
		})
		send(t, bad, b, "out")
		assert.Equal(t, "out", string(receive(t, b).Data))
		send(t, b, bad, "first")
		send(t, b, bad, "second")
		assert.Equal(t, "second", string(receive(t, bad).Data))
		lost, all := bad.counts()
		assert.Equal(t, [2]uint64{1, 3}, [2]uint64{lost, all})
		require.NoError(t, bad.Close())
		assert.Equal(t, []fate{{"out", false, false}, {"first", true, true}, {"second", true, false}}, fates)
	})
}

func TestBadNetworkCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memPair(t)
		bad := newBadNetwork(a, time.Hour, keepAll, nil)
		send(t, bad, b, "never arrives")
		send(t, b, bad, "never arrives")
		synctest.Wait()
		start := time.Now()
		require.NoError(t, bad.Close())
		require.NoError(t, bad.Close())
		assert.Zero(t, time.Since(start))
		_, err := bad.ReadBatch(make([]transport.Datagram, 1))
		assert.ErrorIs(t, err, net.ErrClosed)
		_, err = bad.WriteBatch(make([]transport.Datagram, 1))
		assert.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestBadNetworkCountsWhatDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memPair(t)
		bad := newBadNetwork(a, time.Second, keepAll, nil)
		defer bad.Close()
		for range 2 * laneLength {
			send(t, bad, b, "x")
		}
		lost, all := bad.counts()
		assert.Equal(t, uint64(2*laneLength), all)
		assert.InDelta(t, laneLength, lost, 1, "one may be on its way out of the queue")
	})
}

func TestRandomLoss(t *testing.T) {
	count := func(share float64, seed uint64) (n int) {
		lose := randomLoss(share, seed)
		for range 10000 {
			if lose(nil, false) {
				n++
			}
		}
		return n
	}
	assert.Zero(t, count(0, 1))
	assert.Equal(t, 10000, count(1, 1))
	assert.InDelta(t, 2000, count(0.2, 1), 200)
	assert.Equal(t, count(0.2, 1), count(0.2, 1), "the same seed, the same losses")
	assert.NotEqual(t, count(0.2, 1), count(0.2, 2))
}

func TestShare(t *testing.T) {
	for text, want := range map[string]float64{"20%": 0.2, "0.2": 0.2, "0": 0, "100%": 1, "1": 1, "0.5%": 0.005} {
		var s share
		require.NoError(t, s.Set(text), text)
		assert.InDelta(t, want, float64(s), 1e-12, text)
	}
	for _, text := range []string{"", "%", "20", "101%", "-1%", "-0.1", "NaN", "half", "20 %"} {
		var s share
		assert.Error(t, s.Set(text), text)
	}
	s := share(0.2)
	assert.Equal(t, "20%", s.String())
}
