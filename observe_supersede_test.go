package coap_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
)

// A confirmable notification is lost, and the state changes before it is retransmitted: the present
// state is sent in its place, in a new message.
//
// Proves 7641-4.4-04, 7641-4.5.2-02, 7641-4.5-03.
func TestObserveSupersede(t *testing.T) {
	register := func(t *testing.T) (*rig, *thermometer, packet) {
		d := newThermometer(t, observe.ServerConfig{})
		r := newRig(t, d.srv.Handler(), &coap.Config{Params: coap.Params{AckRandomFactor: 1}})
		r.peer.send("CON GET mid=0x7001 tok=4a path=temperature opt=6:")
		r.peer.want("registered", "ACK 2.05 mid=0x7001 tok=4a pay=18.5")
		pass(time.Second)
		d.set("19.2")
		old := r.peer.want("notification", "CON 2.05 tok=4a pay=19.2")
		pass(time.Second)
		d.set("19.5")
		d.set("19.7")
		r.peer.wantNothing("the attempt is completed first")
		return r, d, old
	}
	seq := func(p packet) uint32 {
		v, ok := p.Options.Uint(message.OptionObserve)
		require.True(t, ok)
		return uint32(v)
	}
	bubble(t, "in the end it arrives", func(t *testing.T) {
		r, d, old := register(t)
		pass(time.Second)
		first := r.peer.want("in place of the first retransmission", "CON 2.05 tok=4a pay=19.7")
		require.NotEqual(t, old.MessageID, first.MessageID)
		require.True(t, observe.Fresher(seq(old), old.at, seq(first), first.at))
		r.peer.wantNothing("once")
		r.peer.send("ACK 0.00 mid=%d", old.MessageID)
		pass(4 * time.Second)
		r.peer.want("the acknowledgement of the old one does not confirm the new one", "CON 2.05 mid=%d tok=4a pay=19.7", first.MessageID)
		r.peer.send("ACK 0.00 mid=%d", first.MessageID)
		pass(time.Hour)
		r.peer.wantNothing("confirmed")
		require.Equal(t, 1, d.srv.Stats().Observers)
		require.Equal(t, uint64(1), d.srv.Stats().Superseded)
	})
	for name, which := range map[string]int{"the old one is rejected": 0, "the new one is rejected": 1} {
		bubble(t, name, func(t *testing.T) {
			r, d, old := register(t)
			pass(time.Second)
			first := r.peer.next("in place of the first retransmission")
			r.peer.send("RST 0.00 mid=%d", [...]uint16{old.MessageID, first.MessageID}[which])
			synctest.Wait()
			require.Zero(t, d.srv.Stats().Observers)
			require.Equal(t, uint64(1), d.srv.Stats().Ended[observe.EndReset])
			pass(time.Minute)
			r.peer.wantNothing("the observation is over")
		})
	}
	bubble(t, "nobody is there", func(t *testing.T) {
		r, d, old := register(t)
		for i, timeout := range []int{0, 4, 8, 16} {
			pass(time.Duration(max(timeout, 1)) * time.Second)
			p := r.peer.next("transmission")
			require.NotEqual(t, old.MessageID, p.MessageID)
			require.Equal(t, []string{"19.7", "20", "21", "22"}[i], string(p.Payload), "the state at that time")
			d.set([]string{"20", "21", "22", "23"}[i])
			r.peer.wantNothing("once")
		}
		pass(32*time.Second - time.Millisecond)
		require.Equal(t, 1, d.srv.Stats().Observers)
		pass(time.Millisecond)
		r.peer.wantNothing("MAX_RETRANSMIT holds for all of them")
		require.Equal(t, uint64(1), d.srv.Stats().Ended[observe.EndTimeout])
		r.requireForgotten()
	})
	bubble(t, "acknowledged in time", func(t *testing.T) {
		r, d, old := register(t)
		r.peer.send("ACK 0.00 mid=%d", old.MessageID)
		n := r.peer.want("at once", "CON 2.05 tok=4a pay=19.7")
		pass(2 * time.Second)
		r.peer.want("with a time-out of its own", "CON 2.05 mid=%d", n.MessageID)
		r.peer.send("ACK 0.00 mid=%d", n.MessageID)
		pass(time.Hour)
		r.peer.wantNothing("confirmed")
		require.Zero(t, d.srv.Stats().Superseded)
	})
	bubble(t, "the resource is gone", func(t *testing.T) {
		r, d, _ := register(t)
		d.vanish()
		pass(time.Second)
		n := r.peer.want("in place of the first retransmission", "CON 4.04 tok=4a")
		require.Zero(t, d.srv.Stats().Observers)
		pass(4 * time.Second)
		r.peer.want("retransmitted as any other", "CON 4.04 mid=%d tok=4a", n.MessageID)
		r.peer.send("ACK 0.00 mid=%d", n.MessageID)
		r.requireForgotten()
	})
}
