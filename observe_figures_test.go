package coap_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
)

// The examples of RFC 7641 as charts. Observe is option 6, ETag 4, Max-Age 14 (15 seconds: 0f),
// Content-Format 12.

// Figures 2 and 3: a client registers and receives one notification of the current state and one of
// a new state upon a state change. The server is ours; what differs from the figure are the sequence
// numbers and the Content-Format.
func TestObserveFigure3Server(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newThermometer(t, observe.ServerConfig{ConfirmEvery: 5})
		d.value, d.maxAge = "18.5 Cel", 15*time.Second
		r := newRig(t, d.srv.Handler(), nil)
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

// Figure 6 for the server: a notification is rejected, which cancels the observation. Then the same with
// one that is not confirmable, and by a request.
func TestObserveFigure6Server(t *testing.T) {
	for _, every := range []int{1, 5} {
		synctest.Test(t, func(t *testing.T) {
			d := newThermometer(t, observe.ServerConfig{ConfirmEvery: every})
			r := newRig(t, d.srv.Handler(), nil)
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

// await lets time pass until a message has come, at most some seconds.
func (p *peer) await(seconds int) {
	for range seconds {
		if p.Pending() > 0 {
			return
		}
		pass(time.Second)
	}
}

// Figures 3 to 6 for the client, one after the other, as the server that the figures show. Our client
// keeps its token where theirs takes a new one, and offers the entity-tag as soon as it has one.
func TestObserveFiguresClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, nil)
		p := r.peer // the server
		p.to = serverAddr
		w := watch(t, observe.NewClient(r.ep, observe.ClientConfig{}), request(t, coap.GET, peerAddr, "/temperature"))
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

// An observation that is canceled is so by a request with the same token and Observe=1.
func TestObserveCancelChart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, nil)
		p := r.peer
		p.to = serverAddr
		w := watch(t, observe.NewClient(r.ep, observe.ClientConfig{}), request(t, coap.GET, peerAddr, "/temperature?unit=C"))
		get := p.want("registers", "CON GET path=temperature query=unit=C opt=6:")
		p.send("ACK 2.05 mid=%d tok=%s opt=6:09 pay=1", get.MessageID, get.Token)
		require.Equal(t, "1", w.last())
		done := asyncDo(func(*coap.Response) error { return w.Cancel(context.Background()) })
		again := p.want("deregisters", "CON GET tok=%s path=temperature query=unit=C opt=6:01", get.Token)
		p.send("ACK 2.05 mid=%d tok=%s pay=1", again.MessageID, get.Token)
		require.True(t, done.isDone())
		require.NoError(t, done.err)
		r.requireForgotten()
	})
}
