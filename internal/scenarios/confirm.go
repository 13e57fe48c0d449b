package scenarios

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
)

// ObserveConfirm: some notifications have to be confirmed: each third if that is wanted, the state that lasts, and one in 24 hours,
// also where nothing changes. An observer that does not confirm one is not notified any more.
func ObserveConfirm(t *testing.T, over *Transport) {
	register := func(t *testing.T, every int) (*rig, *thermometer) {
		d := newThermometer(t, observe.ServerConfig{ConfirmEvery: every})
		r := newRig(t, over, d.srv.Handler(), nil)
		r.peer.send("CON GET mid=1 tok=4a path=temperature Observe:0")
		r.peer.want("registered", "ACK 2.05 mid=1 tok=4a pay=18.5")
		return r, d
	}
	// notified expects a notification of a type, and confirms it.
	notified := func(r *rig, as, value string) {
		r.Helper()
		n := r.peer.want("a notification", "%s 2.05 tok=4a pay=%s", as, value)
		require.True(r, n.Options.Has(message.OptionObserve))
		if n.Type == message.Confirmable {
			r.peer.send("ACK 0.00 mid=%d", n.MessageID)
		}
		r.peer.wantNothing("once")
	}
	bubble(t, "each third", func(t *testing.T) {
		r, d := register(t, 3)
		for i := range 10 {
			pass(5 * time.Second)
			d.set(fmt.Sprint(i))
			notified(r, [...]string{"NON", "NON", "CON"}[i%3], fmt.Sprint(i))
		}
		pass(10 * time.Second)
		notified(r, "CON", "9")
		pass(time.Hour)
		r.peer.wantNothing("it is confirmed")
	})
	bubble(t, "once in 24 hours", func(t *testing.T) {
		r, d := register(t, 1000)
		for range 3 {
			pass(23 * time.Hour)
			r.peer.wantNothing("nothing changes")
			pass(time.Hour)
			notified(r, "CON", "18.5")
		}
		require.Equal(t, 1, d.srv.Observers("/temperature"))
	})
	bubble(t, "not confirmed", func(t *testing.T) {
		r, d := register(t, 1)
		d.set("19")
		for range 5 {
			r.peer.await(60)
			r.peer.want("a transmission", "CON 2.05 tok=4a pay=19")
			require.Equal(t, 1, d.srv.Observers("/temperature"))
		}
		pass(93 * time.Second)
		require.Zero(t, d.srv.Observers("/temperature"))
		require.EqualValues(t, 1, d.srv.Stats().Ended[observe.EndTimeout])
		d.set("20")
		pass(time.Hour)
		r.peer.wantNothing("over")
		r.requireForgotten()
	})
}

// NoResponse: a server keeps to itself the responses that nobody wants, and what it has done of its own accord is not done again
// for a copy of the request.
func NoResponse(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		s := NewResources()
		r := newRig(t, over, s, &coap.Config{})
		p := r.peer
		for range 2 {
			p.send("CON POST mid=1 tok=01 path=count No-Response:2")
			p.want("received, and no more", "ACK 0.00 mid=1")
		}
		require.Equal(t, 1, s.Count("POST /count"))
		for range 2 {
			p.send("NON POST mid=2 tok=02 path=count No-Response:26")
			p.wantNothing("nothing at all")
		}
		require.Equal(t, 2, s.Count("POST /count"))
		p.send("NON POST mid=3 tok=03 path=nowhere No-Response:2")
		p.want("errors are of interest", "NON 4.04 tok=03")
		p.send("CON POST mid=4 tok=04 path=count No-Response:24")
		p.want("success is", "ACK 2.05 mid=4 tok=04 pay=3")
		p.send("NON POST mid=5 tok=05 path=nowhere No-Response:24")
		p.wantNothing("errors are not")
		p.send("NON POST mid=6 tok=06 path=count No-Response:0")
		p.want("all are", "NON 2.05 tok=06 pay=4")
	})
}
