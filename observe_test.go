package coap_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport/mem"
)

// thermometer is a resource whose value can be set, with a server that makes it observable.
type thermometer struct {
	mu     sync.Mutex
	value  string
	etags  bool
	maxAge time.Duration
	gone   bool
	calls  atomic.Int64
	srv    *observe.Server
}

func newThermometer(t testing.TB, cfg observe.ServerConfig) *thermometer {
	d := &thermometer{value: "18.5"}
	mux := coap.NewMux()
	mux.Handle("GET /temperature", d)
	mux.Handle("FETCH /temperature", d)
	d.srv = observe.NewServer(mux, cfg)
	t.Cleanup(func() { d.srv.Close() })
	return d
}

func (d *thermometer) ServeCoAP(w *coap.Response, r *coap.Request) error {
	d.calls.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return &coap.Error{Code: message.NotFound}
	}
	if d.maxAge > 0 {
		w.SetMaxAge(d.maxAge)
	}
	if d.etags {
		w.SetETag([]byte(d.value))
	}
	return w.Text(d.value + string(r.Payload))
}

func (d *thermometer) set(value string) {
	d.mu.Lock()
	d.value = value
	d.mu.Unlock()
	d.srv.Notify("/temperature")
}

func (d *thermometer) vanish() {
	d.mu.Lock()
	d.gone = true
	d.mu.Unlock()
	d.srv.Notify("/temperature")
}

// observed keeps what an observation has told.
type observed struct {
	*observe.Observation
	mu     sync.Mutex
	values []string
	states []observe.State
	err    error
	done   chan struct{}
}

func watch(t testing.TB, c *observe.Client, req *coap.Request) *observed {
	t.Helper()
	o, err := c.Observe(context.Background(), req)
	require.NoError(t, err)
	w := &observed{Observation: o, done: make(chan struct{})}
	go w.run()
	t.Cleanup(func() { o.Close(); <-w.done })
	return w
}

func (w *observed) run() {
	defer close(w.done)
	for {
		n, err := w.Next(context.Background())
		w.mu.Lock()
		w.err = err
		if err == nil {
			w.states = append(w.states, n.State)
		}
		if n.Response != nil {
			w.values = append(w.values, string(n.Response.Payload))
		}
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// told returns the values so far.
func (w *observed) told() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.values...)
}

func (w *observed) last() string {
	v := w.told()
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1]
}

func (w *observed) ended() error {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// A client registers, is told of changes, and deregisters (RFC 7641 section 1.2).
//
// Proves 7641-2-s07, 7641-2-s08, 7641-3.1-s02, 7641-4.1-01.
func TestObserve(t *testing.T) {
	bubble(t, "register, notify, cancel", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{Delay: 20 * time.Millisecond})
		d := newThermometer(t, observe.ServerConfig{})
		server := endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
		client := endpoint(t, listen(t, network, peerAddr), nil, nil)
		w := watch(t, observe.NewClient(client, observe.ClientConfig{}), request(t, coap.GET, serverAddr, "/temperature"))
		pass(time.Second)
		require.Equal(t, []string{"18.5"}, w.told())
		require.Equal(t, observe.Live, w.State())
		for i := range 3 {
			d.set(strconv.Itoa(i))
			pass(time.Second)
		}
		require.Equal(t, []string{"18.5", "0", "1", "2"}, w.told())
		require.Equal(t, 1, d.srv.Observers("/temperature"))
		require.NoError(t, w.Cancel(context.Background()))
		require.Equal(t, io.EOF, w.ended())
		require.Zero(t, d.srv.Observers("/temperature"))
		require.Equal(t, uint64(1), d.srv.Stats().Ended[observe.EndDeregistered])
		require.Zero(t, client.Stats().Exchanges)
		require.Zero(t, server.Stats().Exchanges)
	})
	bubble(t, "forgotten: the next notification is reset", func(t *testing.T) {
		for _, every := range []int{1, 100} {
			network := mem.NewNetwork(mem.Config{})
			d := newThermometer(t, observe.ServerConfig{ConfirmEvery: every})
			endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
			client := endpoint(t, listen(t, network, peerAddr), nil, nil)
			w := watch(t, observe.NewClient(client, observe.ClientConfig{}), request(t, coap.GET, serverAddr, "/temperature"))
			require.Equal(t, "18.5", w.last())
			require.NoError(t, w.Close())
			require.Equal(t, 1, d.srv.Observers("/temperature"))
			d.set("19")
			synctest.Wait()
			require.Zero(t, d.srv.Observers("/temperature"))
			require.Equal(t, uint64(1), d.srv.Stats().Ended[observe.EndReset])
		}
	})
	bubble(t, "an error ends it", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		d := newThermometer(t, observe.ServerConfig{})
		endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
		client := endpoint(t, listen(t, network, peerAddr), nil, nil)
		w := watch(t, observe.NewClient(client, observe.ClientConfig{}), request(t, coap.GET, serverAddr, "/temperature"))
		require.Equal(t, "18.5", w.last())
		d.vanish()
		var e *coap.Error
		require.ErrorAs(t, w.ended(), &e)
		require.Equal(t, message.NotFound, e.Code)
		require.Equal(t, observe.Ended, w.State())
		require.Zero(t, d.srv.Stats().Observers)
		require.Equal(t, uint64(1), d.srv.Stats().Ended[observe.EndError])
	})
	bubble(t, "FETCH", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		d := newThermometer(t, observe.ServerConfig{})
		endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
		client := endpoint(t, listen(t, network, peerAddr), nil, nil)
		c := observe.NewClient(client, observe.ClientConfig{})
		var all []*observed
		for _, unit := range []string{" C", " F"} {
			req := request(t, coap.FETCH, serverAddr, "/temperature")
			req.Payload = []byte(unit)
			all = append(all, watch(t, c, req))
		}
		synctest.Wait()
		d.set("19")
		// Proves 8132-2.4-s01.
		require.Equal(t, []string{"18.5 C", "19 C"}, all[0].told())
		require.Equal(t, []string{"18.5 F", "19 F"}, all[1].told())
	})
	bubble(t, "one registration for all who ask", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		d := newThermometer(t, observe.ServerConfig{})
		endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
		client := endpoint(t, listen(t, network, peerAddr), nil, nil)
		c := observe.NewClient(client, observe.ClientConfig{})
		req := request(t, coap.GET, serverAddr, "/temperature")
		a := watch(t, c, req)
		require.Equal(t, "18.5", a.last())
		b := watch(t, c, req)
		require.Equal(t, "18.5", b.last(), "it gets the value that there is")
		// Proves 7641-3.1-01.
		require.Equal(t, 1, d.srv.Stats().Observers)
		require.NoError(t, a.Cancel(context.Background()))
		d.set("19")
		require.Equal(t, "19", b.last(), "the other goes on")
		require.NoError(t, b.Cancel(context.Background()))
		require.Zero(t, d.srv.Stats().Observers)
	})
	bubble(t, "not observable", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		d := newThermometer(t, observe.ServerConfig{Observable: func(*coap.Request) bool { return false }})
		endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
		client := endpoint(t, listen(t, network, peerAddr), nil, nil)
		w := watch(t, observe.NewClient(client, observe.ClientConfig{}), request(t, coap.GET, serverAddr, "/temperature"))
		require.Equal(t, "18.5", w.last())
		require.Equal(t, observe.ErrNotObservable, w.ended())
		w = watch(t, observe.NewClient(client, observe.ClientConfig{Poll: true}), request(t, coap.GET, serverAddr, "/temperature"))
		pass(5 * time.Minute)
		require.NoError(t, w.ended())
		require.InDelta(t, 4, len(w.told()), 1, "asked again after each Max-Age")
	})
}

// After Max-Age without a notification the value is stale, and the client registers again with the
// same token, 5 to 15 seconds later.
//
// Proves 7641-3.3.1-02, 7641-3.3.1-05, 7641-3.3.1-06.
func TestObserveRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		d := newThermometer(t, observe.ServerConfig{})
		d.etags = true
		endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
		client := endpoint(t, listen(t, network, peerAddr), nil, nil)
		w := watch(t, observe.NewClient(client, observe.ClientConfig{}), request(t, coap.GET, serverAddr, "/temperature"))
		pass(59 * time.Second)
		require.Equal(t, observe.Live, w.State())
		require.EqualValues(t, 1, d.calls.Load())
		pass(2 * time.Second)
		require.Equal(t, observe.Stale, w.State())
		pass(4 * time.Second)
		require.EqualValues(t, 1, d.calls.Load(), "it waits 5 seconds at least")
		pass(10 * time.Second)
		require.EqualValues(t, 2, d.calls.Load(), "and 15 at most")
		require.Equal(t, observe.Live, w.State())
		require.Equal(t, []string{"18.5", "18.5"}, w.told(), "2.03 stands for the value with that entity-tag")
		require.Equal(t, 1, d.srv.Stats().Observers)
		require.Equal(t, uint64(1), d.srv.Stats().Registered, "under the same token")
		d.set("19")
		require.Equal(t, "19", w.last())
		d.set("18.5")
		require.Equal(t, "18.5", w.last(), "validated by a notification")
		require.Equal(t, []observe.State{observe.Live, observe.Stale, observe.Registering, observe.Live, observe.Live, observe.Live}, w.states)
	})
}

// A server that is restarted, and one that is not there for a while, is found again.
func TestObserveRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		d := newThermometer(t, observe.ServerConfig{})
		conn := listen(t, network, serverAddr)
		server := endpoint(t, conn, d.srv.Handler(), nil)
		client := endpoint(t, listen(t, network, peerAddr), nil, nil)
		w := watch(t, observe.NewClient(client, observe.ClientConfig{}), request(t, coap.GET, serverAddr, "/temperature"))
		require.Equal(t, "18.5", w.last())
		server.Close()
		d.srv.Close()
		pass(10 * time.Minute)
		require.NotEqual(t, observe.Live, w.State())
		d = newThermometer(t, observe.ServerConfig{})
		d.value, d.maxAge = "20", time.Hour
		endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
		pass(12 * time.Minute)
		require.Equal(t, "20", w.last())
		require.Equal(t, observe.Live, w.State())
		d.set("21")
		require.Equal(t, "21", w.last())
	})
}

// Behind a NAT that has forgotten the client, nothing arrives until it registers again.
func TestObserveRebinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		d := newThermometer(t, observe.ServerConfig{})
		endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
		conn := listen(t, network, peerAddr)
		client := endpoint(t, conn, nil, nil)
		w := watch(t, observe.NewClient(client, observe.ClientConfig{}), request(t, coap.GET, serverAddr, "/temperature"))
		require.Equal(t, "18.5", w.last())
		_, err := conn.Rebind(peerAddr2)
		require.NoError(t, err)
		d.set("19")
		require.Equal(t, "18.5", w.last())
		pass(80 * time.Second)
		require.Equal(t, "19", w.last())
		pass(2 * time.Minute)
		require.Equal(t, 1, d.srv.Stats().Observers, "the old address has timed out")
		d.set("20")
		require.Equal(t, "20", w.last())
	})
}

// The endpoint of a client is closed.
func TestObserveClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		d := newThermometer(t, observe.ServerConfig{})
		endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
		client := endpoint(t, listen(t, network, peerAddr), nil, nil)
		c := observe.NewClient(client, observe.ClientConfig{})
		w := watch(t, c, request(t, coap.GET, serverAddr, "/temperature"))
		require.Equal(t, "18.5", w.last())
		client.Close()
		require.ErrorIs(t, w.ended(), coap.ErrClosed)
		w = watch(t, c, request(t, coap.GET, serverAddr, "/temperature"))
		require.ErrorIs(t, w.ended(), coap.ErrClosed)
		d.set("19")
		pass(2 * time.Minute)
		require.Zero(t, d.srv.Stats().Observers)
	})
}

// A hundred observers live through an hour of 10% loss, with changes of their address and two restarts of the
// server. In the end each has the current value.
//
// Proves 7641-4.5-03, 7641-4.3.1-01.
func TestObserveSimulation(t *testing.T) {
	for _, every := range []int{1, 5} {
		bubble(t, fmt.Sprintf("confirm every %d", every), func(t *testing.T) { simulate(t, every) })
	}
}

func simulate(t *testing.T, every int) {
	const observers = 100
	network := mem.NewNetwork(mem.Config{Seed: uint64(every), Loss: 0.1, Delay: 30 * time.Millisecond, Jitter: 50 * time.Millisecond})
	cfg := observe.ServerConfig{ConfirmEvery: every}
	d := newThermometer(t, cfg)
	server := endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
	var all []*observed
	var conns []*mem.Conn
	for i := range observers {
		conn := listen(t, network, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}), 5683))
		conns = append(conns, conn)
		client := endpoint(t, conn, nil, nil)
		all = append(all, watch(t, observe.NewClient(client, observe.ClientConfig{}), request(t, coap.GET, serverAddr, "/temperature")))
	}
	for minute := range 60 {
		d.set(fmt.Sprint("at ", minute))
		if minute%2 == 0 {
			i := minute * 7 % observers
			to := netip.AddrPortFrom(conns[i].LocalAddr().Addr(), uint16(10_000+minute))
			_, err := conns[i].Rebind(to)
			require.NoError(t, err)
		}
		if minute == 20 || minute == 40 {
			server.Close()
			d.srv.Close()
			d = newThermometer(t, cfg)
			d.value = fmt.Sprint("restarted at ", minute)
			server = endpoint(t, listen(t, network, serverAddr), d.srv.Handler(), nil)
		}
		pass(time.Minute)
	}
	d.set("the last")
	pass(8 * time.Minute) // Max-Age, jitter, and a registration that is lost and tried again
	for i, w := range all {
		require.Equal(t, "the last", w.last(), "observer %d", i)
		require.NoError(t, w.ended())
	}
	// Who has taken a new token is on the list twice until the next notification.
	require.GreaterOrEqual(t, d.srv.Stats().Observers, observers, "%+v", d.srv.Stats())
	require.Less(t, d.srv.Stats().Observers, observers+10, "%+v", d.srv.Stats())
	require.NotZero(t, network.Stats().Lost)
}
