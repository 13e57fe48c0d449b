package scenarios

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
	"github.com/stretchr/testify/require"
)

// Observe: a client registers, is told of changes, and deregisters (RFC 7641 section 1.2).
func Observe(t *testing.T, over *Transport) {
	bubble(t, "register, notify, cancel", func(t *testing.T) {
		d := newThermometer(t, observe.ServerConfig{})
		s := newSite(t, over, d.srv.Handler(), mem.Config{Delay: 20 * time.Millisecond})
		w := watch(t, observe.NewClient(s.client, observe.ClientConfig{}), Request(t, coap.GET, serverAddr, "/temperature"))
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
		require.Zero(t, s.client.Stats().Exchanges)
		require.Zero(t, s.server.Stats().Exchanges)
	})
	bubble(t, "forgotten: the next notification is reset", func(t *testing.T) {
		for _, every := range []int{1, 100} {
			d := newThermometer(t, observe.ServerConfig{ConfirmEvery: every})
			s := newSite(t, over, d.srv.Handler(), mem.Config{})
			w := watch(t, observe.NewClient(s.client, observe.ClientConfig{}), Request(t, coap.GET, serverAddr, "/temperature"))
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
		d := newThermometer(t, observe.ServerConfig{})
		s := newSite(t, over, d.srv.Handler(), mem.Config{})
		w := watch(t, observe.NewClient(s.client, observe.ClientConfig{}), Request(t, coap.GET, serverAddr, "/temperature"))
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
		d := newThermometer(t, observe.ServerConfig{})
		s := newSite(t, over, d.srv.Handler(), mem.Config{})
		c := observe.NewClient(s.client, observe.ClientConfig{})
		var all []*observed
		for _, unit := range []string{" C", " F"} {
			req := Request(t, coap.FETCH, serverAddr, "/temperature")
			req.Payload = []byte(unit)
			all = append(all, watch(t, c, req))
		}
		synctest.Wait()
		d.set("19")
		require.Equal(t, []string{"18.5 C", "19 C"}, all[0].told())
		require.Equal(t, []string{"18.5 F", "19 F"}, all[1].told())
	})
	bubble(t, "one registration for all who ask", func(t *testing.T) {
		d := newThermometer(t, observe.ServerConfig{})
		s := newSite(t, over, d.srv.Handler(), mem.Config{})
		c := observe.NewClient(s.client, observe.ClientConfig{})
		req := Request(t, coap.GET, serverAddr, "/temperature")
		a := watch(t, c, req)
		require.Equal(t, "18.5", a.last())
		b := watch(t, c, req)
		require.Equal(t, "18.5", b.last(), "it gets the value that there is")
		require.Equal(t, 1, d.srv.Stats().Observers)
		require.NoError(t, a.Cancel(context.Background()))
		d.set("19")
		require.Equal(t, "19", b.last(), "the other goes on")
		require.NoError(t, b.Cancel(context.Background()))
		require.Zero(t, d.srv.Stats().Observers)
	})
	bubble(t, "not observable", func(t *testing.T) {
		d := newThermometer(t, observe.ServerConfig{Observable: func(*coap.Request) bool { return false }})
		s := newSite(t, over, d.srv.Handler(), mem.Config{})
		w := watch(t, observe.NewClient(s.client, observe.ClientConfig{}), Request(t, coap.GET, serverAddr, "/temperature"))
		require.Equal(t, "18.5", w.last())
		require.Equal(t, observe.ErrNotObservable, w.ended())
		w = watch(t, observe.NewClient(s.client, observe.ClientConfig{Poll: true}), Request(t, coap.GET, serverAddr, "/temperature"))
		pass(5 * time.Minute)
		require.NoError(t, w.ended())
		require.InDelta(t, 4, len(w.told()), 1, "asked again after each Max-Age")
	})
}

// ObserveRenews: after Max-Age without a notification the value is stale, and the client registers again with the
// same token, 5 to 15 seconds later.
func ObserveRenews(t *testing.T, over *Transport) {
	coaptest.Run(t, func(t *testing.T) {
		d := newThermometer(t, observe.ServerConfig{})
		d.etags = true
		s := newSite(t, over, d.srv.Handler(), mem.Config{})
		w := watch(t, observe.NewClient(s.client, observe.ClientConfig{}), Request(t, coap.GET, serverAddr, "/temperature"))
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

// ObserveRestart: a server that is restarted, and one that is not there for a while, is found again.
func ObserveRestart(t *testing.T, over *Transport) {
	for name, crash := range map[string]bool{"says goodbye": false, "crashes": true} {
		bubble(t, name, func(t *testing.T) {
			d := newThermometer(t, observe.ServerConfig{})
			s := newSite(t, over, d.srv.Handler(), mem.Config{})
			w := watch(t, observe.NewClient(s.client, observe.ClientConfig{}), Request(t, coap.GET, serverAddr, "/temperature"))
			require.Equal(t, "18.5", w.last())
			s.stop(crash)
			d.srv.Close()
			pass(10 * time.Minute)
			require.NotEqual(t, observe.Live, w.State())
			d = newThermometer(t, observe.ServerConfig{})
			d.value, d.maxAge = "20", time.Hour
			s.start(d.srv.Handler())
			pass(12 * time.Minute)
			require.Equal(t, "20", w.last())
			require.Equal(t, observe.Live, w.State())
			d.set("21")
			require.Equal(t, "21", w.last())
		})
	}
}

// ObserveRebinding: behind a NAT that has forgotten the client, nothing arrives until it registers again.
func ObserveRebinding(t *testing.T, over *Transport) {
	coaptest.Run(t, func(t *testing.T) {
		d := newThermometer(t, observe.ServerConfig{})
		s := newSite(t, over, d.srv.Handler(), mem.Config{})
		w := watch(t, observe.NewClient(s.client, observe.ClientConfig{}), Request(t, coap.GET, serverAddr, "/temperature"))
		require.Equal(t, "18.5", w.last())
		s.rebind(s.conn, peerAddr2)
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

// ObserveClosed: the endpoint of a client is closed.
func ObserveClosed(t *testing.T, over *Transport) {
	coaptest.Run(t, func(t *testing.T) {
		d := newThermometer(t, observe.ServerConfig{})
		s := newSite(t, over, d.srv.Handler(), mem.Config{})
		c := observe.NewClient(s.client, observe.ClientConfig{})
		w := watch(t, c, Request(t, coap.GET, serverAddr, "/temperature"))
		require.Equal(t, "18.5", w.last())
		s.client.Close()
		require.ErrorIs(t, w.ended(), coap.ErrClosed)
		w = watch(t, c, Request(t, coap.GET, serverAddr, "/temperature"))
		require.ErrorIs(t, w.ended(), coap.ErrClosed)
		d.set("19")
		pass(2 * time.Minute)
		require.Zero(t, d.srv.Stats().Observers)
	})
}

// ObserveSimulation: observers live through an hour of 10% loss, with changes of their address and two restarts of the
// server. In the end each has the current value.
func ObserveSimulation(t *testing.T, over *Transport, observers uint64) {
	for _, every := range []int{1, 5} {
		bubble(t, fmt.Sprintf("confirm every %d", every), func(t *testing.T) { simulate(t, over, every, int(observers)) })
	}
}

func simulate(t *testing.T, over *Transport, every, observers int) {
	cfg := observe.ServerConfig{ConfirmEvery: every}
	d := newThermometer(t, cfg)
	s := newSite(t, over, d.srv.Handler(), mem.Config{Seed: uint64(every), Loss: 0.1, Delay: 30 * time.Millisecond, Jitter: 50 * time.Millisecond})
	var all []*observed
	var conns []transport.Conn
	for i := range observers {
		conn := s.listen(t, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}), 5683))
		conns = append(conns, conn)
		client := Endpoint(t, conn, nil, nil)
		all = append(all, watch(t, observe.NewClient(client, observe.ClientConfig{}), Request(t, coap.GET, serverAddr, "/temperature")))
	}
	for minute := range 60 {
		d.set(fmt.Sprint("at ", minute))
		if minute%2 == 0 {
			i := minute * 7 % observers
			to := netip.AddrPortFrom(conns[i].LocalAddr().Addr(), uint16(10_000+minute))
			s.rebind(conns[i], to)
		}
		if minute == 20 || minute == 40 {
			d.srv.Close()
			d = newThermometer(t, cfg)
			d.value = fmt.Sprint("restarted at ", minute)
			s.stop(minute == 20)
			s.start(d.srv.Handler())
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
	require.NotZero(t, s.Stats().Lost)
}
