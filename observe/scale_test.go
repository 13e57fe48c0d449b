package observe

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// crowdedServer is a Server with many observers of one resource, each a client of its own, and an
// endpoint that only counts what it is to send.
type crowdedServer struct {
	*Server
	rejected func(exchange.Peer, uint16) bool
	left     int // notifications to come
	all      chan struct{}
	last     exchange.Notice
}

func newCrowdedServer(t testing.TB, observers int, onePeer bool) *crowdedServer {
	c := &crowdedServer{all: make(chan struct{}, 1)}
	payload := []byte("21.5")
	c.Server = NewServer(exchange.HandlerFunc(func(w *exchange.Response, _ *exchange.Request) error {
		return w.Bytes(message.TextPlain, payload)
	}), ServerConfig{
		MaxObservers: 1 << 20, MaxPerPeer: 1 << 20, ConfirmEvery: 1 << 30, NonInterval: 1, Settle: 20 * time.Hour, Outstanding: 1 << 20,
	})
	t.Cleanup(func() { c.Close() })
	for i := range observers {
		c.ask(i, register, onePeer)
	}
	require.Equal(t, observers, c.Observers("/a"))
	return c
}

func peerNumber(i int, onePeer bool) exchange.Peer {
	if onePeer {
		i = 0
	}
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], 10<<24|uint32(i))
	return exchange.Peer{Addr: netip.AddrPortFrom(netip.AddrFrom4(ip), 5683), Local: netip.MustParseAddrPort("192.0.2.1:5683")}
}

// ask makes the request of client i.
func (c *crowdedServer) ask(i int, action uint64, onePeer bool) {
	r := &exchange.Request{Code: message.GET}
	r.Options.SetUint(message.OptionObserve, action)
	r.Options.AddString(message.OptionURIPath, "a")
	r.Arrive(exchange.Arrival{Token: binary.BigEndian.AppendUint32(nil, uint32(i)), Pusher: c, Peer: peerNumber(i, onePeer)})
	c.ServeCoAP(new(exchange.Response), r)
}

func (c *crowdedServer) Push(w *exchange.Response, to []exchange.Notice, ready func()) {
	for i := range to {
		to[i].ID = uint16(binary.BigEndian.Uint32(to[i].Token))
	}
	c.last = to[len(to)-1]
	ready()
	if c.left -= len(to); c.left == 0 {
		c.all <- struct{}{}
	}
}

func (c *crowdedServer) Watch(rejected func(exchange.Peer, uint16) bool) (stop func()) {
	c.rejected = rejected
	return func() {}
}

// round tells all observers of a change.
func (c *crowdedServer) round() {
	c.left = c.Observers("/a")
	c.Notify("/a")
	<-c.all
}

// A notification to many allocates nothing for each of them.
func TestNotifyAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, onePeer := range map[string]bool{"clients": false, "observers of one client": true} {
		c := newCrowdedServer(t, 1000, onePeer)
		require.Less(t, testing.AllocsPerRun(100, c.round), 40.0, name)
		require.Greater(t, c.Stats().NonConfirmable, uint64(100_000), name)
	}
}

// What is done for one observer costs the same however many there are: nothing is copied that grows with
// their number.
func TestCostOfOne(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, onePeer := range []bool{false, true} {
		for _, n := range []int{10, 1000, 100_000} {
			c := newCrowdedServer(t, n, onePeer)
			c.round()
			const times = 8
			measure := func(what string, most uint64, do func(i int)) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for i := range times {
					do(i)
				}
				runtime.ReadMemStats(&after)
				require.Less(t, (after.TotalAlloc-before.TotalAlloc)/times, most, "bytes for %s with %d observers, of one client: %v", what, n, onePeer)
			}
			measure("an observer that comes and goes", 2500, func(i int) {
				c.ask(n+i, register, onePeer)
				c.ask(n+i, deregister, onePeer)
			})
			require.Equal(t, n, c.Observers("/a"))
			measure("a registration that is repeated", 2000, func(i int) { c.ask(i, register, onePeer) })
			measure("a Reset", 1000, func(i int) { require.True(t, c.rejected(peerNumber(i, onePeer), uint16(i))) })
			require.Equal(t, uint64(times), c.Stats().Ended[EndReset])
			require.Equal(t, n-times, c.Observers("/a"))
			c.Close()
		}
	}
}

// An observer with a small request costs little memory, a notification to it that is not confirmable included,
// and when it has gone, nothing.
func TestMemoryOfObservers(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory")
	}
	const observers = 100_000
	heap := func() float64 {
		for range 3 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	c := newCrowdedServer(t, 1, false)
	c.round()
	before := heap()
	for i := range observers {
		c.ask(1+i, register, false)
	}
	c.round()
	each := (heap() - before) / observers
	t.Logf("an observer needs %.0f bytes", each)
	require.Less(t, each, 230.0)
	for i := range observers {
		c.ask(1+i, deregister, false)
	}
	require.Equal(t, 1, c.Stats().Observers)
	require.Less(t, (heap()-before)/observers, 8.0)
}

// BenchmarkNotify tells 10,000 clients of a change; an endpoint would encode and send what comes out. The time is that of
// one notification.
func BenchmarkNotify(b *testing.B) {
	const observers = 10_000
	c := newCrowdedServer(b, observers, false)
	b.ReportAllocs()
	for n := 0; n < b.N; n += observers {
		c.round()
	}
}
