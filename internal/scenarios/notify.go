package scenarios

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/stretchr/testify/require"
)

// ObserveSupersede: a confirmable notification is lost, and the state changes before it is retransmitted: the present
// state is sent in its place, in a new message.
func ObserveSupersede(t *testing.T, over *Transport) {
	register := func(t *testing.T) (*rig, *thermometer, packet) {
		d := newThermometer(t, observe.ServerConfig{})
		r := newRig(t, over, d.srv.Handler(), &coap.Config{Params: coap.Params{AckRandomFactor: 1}})
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

// ObserveFetchInBlocks: a FETCH whose body comes in blocks can observe: the notifications have the token of the last block,
// whose response has said that there will be some, and are what the whole body selects.
func ObserveFetchInBlocks(t *testing.T, over *Transport) {
	for name, observed := range map[string][2]string{
		"said by the first block": {"opt=6:", ""},
		"said by all blocks":      {"opt=6:", "opt=6:"},
	} {
		bubble(t, name, func(t *testing.T) {
			d := newThermometer(t, observe.ServerConfig{})
			mux := coap.NewMux()
			mux.Handle("FETCH /temperature", d, coap.Route{Observable: true})
			r := newRig(t, over, mux, nil)
			p := r.peer
			p.send("CON FETCH mid=1 tok=a1 path=temperature %s opt=27:08 pay=0123456789abcdef", observed[0])
			first := p.want("more", "ACK 2.31 mid=1 tok=a1 opt=27:08")
			require.False(t, first.Options.Has(message.OptionObserve))
			p.send("CON FETCH mid=2 tok=a2 path=temperature %s opt=27:10 pay=ghi", observed[1])
			got := p.want("registered", "ACK 2.05 mid=2 tok=a2 opt=27:10 pay=18.50123456789abcdefghi")
			require.True(t, got.Options.Has(message.OptionObserve))
			d.set("19.2")
			r.ep.Notify("/temperature")
			n := p.want("a notification", "CON 2.05 tok=a2 pay=19.20123456789abcdefghi")
			require.True(t, n.Options.Has(message.OptionObserve))
			p.send("ACK 0.00 mid=%d", n.MessageID)
			p.send("CON FETCH mid=3 tok=a2 path=temperature opt=6:01 opt=27:08 pay=0123456789abcdef")
			p.next("deregisters")
			require.Zero(t, r.ep.Observers("/temperature"))
			pass(time.Minute)
			p.wantNothing("over")
		})
	}
}

// ObserveFigure3Server: figures 2 and 3 of RFC 7641: a client registers and receives one notification of the current state and one of
// a new state upon a state change. The server is ours; what differs from the figure are the sequence
// numbers and the Content-Format.
func ObserveFigure3Server(t *testing.T, over *Transport) {
	coaptest.Run(t, func(t *testing.T) {
		d := newThermometer(t, observe.ServerConfig{ConfirmEvery: 5})
		d.value, d.maxAge = "18.5 Cel", 15*time.Second
		r := newRig(t, over, d.srv.Handler(), nil)
		p := r.peer
		p.send("CON GET mid=0x1633 tok=4a path=temperature opt=6:")
		got := p.want("registered", "ACK 2.05 mid=0x1633 tok=4a opt=14:0f")
		require.Equal(t, "18.5 Cel", string(got.Payload))
		v1, ok := got.Options.Uint(message.OptionObserve)
		require.True(t, ok)
		pass(7 * time.Second)
		d.set("19.2 Cel")
		got = p.want("upon the state change", "NON 2.05 tok=4a opt=14:0f")
		require.Equal(t, "19.2 Cel", string(got.Payload))
		v2, ok := got.Options.Uint(message.OptionObserve)
		require.True(t, ok)
		require.True(t, observe.Fresher(uint32(v1), got.at, uint32(v2), got.at))
	})
}

// ObserveFigure6Server: figure 6 of RFC 7641 for the server: a notification is rejected, which cancels the observation. Then the same with
// one that is not confirmable, and by a request.
func ObserveFigure6Server(t *testing.T, over *Transport) {
	for _, every := range []int{1, 5} {
		coaptest.Run(t, func(t *testing.T) {
			d := newThermometer(t, observe.ServerConfig{ConfirmEvery: every})
			r := newRig(t, over, d.srv.Handler(), nil)
			p := r.peer
			p.send("CON GET mid=0x1635 tok=f9 path=temperature opt=6:")
			p.next("registered")
			d.set("19.3 Cel")
			n := p.next("notification")
			require.Equal(t, "f9", n.Token.String())
			p.send("RST 0.00 mid=%d", n.MessageID)
			synctest.Wait()
			require.Zero(t, d.srv.Stats().Observers)
			d.set("19.0 Cel")
			pass(time.Hour)
			p.wantNothing("the observation is canceled")
			p.send("CON GET mid=0x1636 tok=f9 path=temperature opt=6:")
			p.next("registered again")
			p.send("CON GET mid=0x1637 tok=f9 path=temperature opt=6:01")
			got := p.want("deregistered", "ACK 2.05 mid=0x1637 tok=f9")
			require.False(t, got.Options.Has(message.OptionObserve))
			require.Zero(t, d.srv.Stats().Observers)
		})
	}
}

// ObserveFiguresClient: figures 3 to 6 of RFC 7641 for the client, one after the other, as the server that the figures show. Our client
// keeps its token where theirs takes a new one, and offers the entity-tag as soon as it has one.
func ObserveFiguresClient(t *testing.T, over *Transport) {
	coaptest.Run(t, func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		p := r.peer // the server
		p.to = serverAddr
		w := watch(t, observe.NewClient(r.ep, observe.ClientConfig{}), Request(t, coap.GET, peerAddr, "/temperature"))
		// Figure 3.
		get := p.want("registers", "CON GET path=temperature opt=6:")
		p.send("ACK 2.05 mid=%d tok=%s opt=6:09 opt=14:0f pay=18.5", get.MessageID, get.Token)
		require.Equal(t, "18.5", w.last())
		pass(7 * time.Second)
		p.send("NON 2.05 mid=0x7b50 tok=%s opt=6:10 opt=14:0f pay=19.2", get.Token)
		require.Equal(t, "19.2", w.last())
		// Figure 4: a notification is lost.
		pass(15*time.Second + time.Millisecond)
		require.Equal(t, observe.Stale, w.State())
		p.await(15)
		again := p.want("registers again", "CON GET tok=%s path=temperature opt=6:", get.Token)
		p.send("ACK 2.05 mid=%d tok=%s opt=6:2c opt=14:0f opt=4:78797a7a79 pay=19.7", again.MessageID, get.Token)
		require.Equal(t, "19.7", w.last())
		require.Equal(t, observe.Live, w.State())
		// Figure 5: the server crashes and reboots.
		p.await(30)
		again = p.want("registers again", "CON GET tok=%s path=temperature opt=6: opt=4:78797a7a79", get.Token)
		p.send("ACK 2.05 mid=%d tok=%s opt=6:4a opt=14:0f pay=20.0", again.MessageID, get.Token)
		require.Equal(t, "20.0", w.last())
		p.send("NON 2.03 mid=0xaa0c tok=%s opt=6:51 opt=4:78797a7a79 opt=14:0f", get.Token)
		require.Equal(t, "19.7", w.last(), "the stored response with that entity-tag")
		// Figure 6: the client forgets the observation and rejects a notification.
		require.NoError(t, w.Close())
		p.send("CON 2.05 mid=0xaa0f tok=%s opt=6:5b opt=14:0f pay=19.3", get.Token)
		p.want("rejects it", "RST 0.00 mid=0xaa0f")
		require.Equal(t, "19.7", w.last())
		pass(time.Minute)
		p.wantNothing("over")
	})
}

// ObserveCancelChart: an observation that is canceled is so by a request with the same token and Observe=1.
func ObserveCancelChart(t *testing.T, over *Transport) {
	coaptest.Run(t, func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		p := r.peer
		p.to = serverAddr
		w := watch(t, observe.NewClient(r.ep, observe.ClientConfig{}), Request(t, coap.GET, peerAddr, "/temperature?unit=C"))
		get := p.want("registers", "CON GET path=temperature query=unit=C opt=6:")
		p.send("ACK 2.05 mid=%d tok=%s opt=6:09 pay=1", get.MessageID, get.Token)
		require.Equal(t, "1", w.last())
		done := AsyncDo(func(*coap.Response) error { return w.Cancel(context.Background()) })
		again := p.want("deregisters", "CON GET tok=%s path=temperature query=unit=C opt=6:01", get.Token)
		p.send("ACK 2.05 mid=%d tok=%s pay=1", again.MessageID, get.Token)
		require.True(t, done.IsDone())
		require.NoError(t, done.Err)
		r.requireForgotten()
	})
}
