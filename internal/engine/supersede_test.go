package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

func (r *rig) replace(x Exchange, format string, args ...any) error {
	r.Helper()
	l := parseLine(r, format, args...)
	err := r.e.Replace(r.now, x, &l.Message)
	r.collect()
	return err
}

// superseded sends a notification that was not acknowledged, and the one that takes its place.
func (r *rig) superseded(user any) (x Exchange, old, present sent) {
	r.Helper()
	x = r.push(user, "CON 2.05 tok=4a opt=6:10 pay=old")
	old = r.want("notification", "CON 2.05 tok=4a pay=old")
	r.e.Supersede(x)
	r.e.Supersede(x)
	r.idle("the present attempt is completed first")
	r.advance(3 * time.Second)
	require.Equal(r, user, r.event("in place of the retransmission", EventOutdated).User)
	require.NoError(r, r.replace(x, "CON 2.05 tok=4a opt=6:11 pay=new"))
	present = r.want("the present state", "CON 2.05 tok=4a opt=6:11 pay=new")
	require.NotEqual(r, old.MessageID, present.MessageID)
	checkEngine(r, r.e)
	return x, old, present
}

// The outdated notification is sent no more; the new one goes on with its counter and time-out.
//
// Proves 7641-4.5.2-02.
func TestSupersede(t *testing.T) {
	plain := exchange.Params{AckRandomFactor: 1}
	t.Run("retransmitted", func(t *testing.T) {
		r := newRig(t, Config{Params: plain})
		x, _, present := r.superseded("n")
		r.advance(4*time.Second - time.Millisecond)
		r.idle("the second time-out is 4 s")
		r.advance(time.Millisecond)
		r.want("the second retransmission", "CON 2.05 mid=%d pay=new", present.MessageID)
		r.e.Supersede(x)
		r.advance(8 * time.Second)
		r.event("outdated as well", EventOutdated)
		require.NoError(t, r.replace(x, "CON 2.05 tok=4a opt=6:12 pay=newer"))
		third := r.want("the third", "CON 2.05 pay=newer")
		r.advance(16 * time.Second)
		r.want("the fourth", "CON 2.05 mid=%d pay=newer", third.MessageID)
		r.e.Supersede(x)
		r.advance(32*time.Second - time.Millisecond)
		r.idle("the last time-out is 32 s")
		r.advance(time.Millisecond)
		r.end("that was the last", "n", exchange.ErrNotAcknowledged)
		r.idle("no event besides")
		require.Equal(t, exchange.ErrClosed, r.replace(x, "CON 2.05 tok=4a"))
		r.quiet()
	})
	t.Run("acknowledged", func(t *testing.T) {
		r := newRig(t, Config{Params: plain})
		_, _, present := r.superseded("n")
		r.receive("acknowledged", "ACK 0.00 mid=%d", present.MessageID)
		require.Equal(t, "n", r.event("acknowledged", EventAcked).User)
		r.quiet()
	})
	t.Run("acknowledged in time", func(t *testing.T) {
		r := newRig(t, Config{Params: plain})
		x := r.push("n", "CON 2.05 tok=4a")
		s := r.want("notification", "CON 2.05")
		r.e.Supersede(x)
		r.receive("acknowledged", "ACK 0.00 mid=%d", s.MessageID)
		r.event("acknowledged", EventAcked)
		require.Equal(t, exchange.ErrClosed, r.replace(x, "CON 2.05 tok=4a"))
		r.advance(time.Minute)
		r.idle("to be sent as usual")
		r.quiet()
	})
	for name, which := range map[string]int{"the old one is rejected": 0, "the new one is rejected": 1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{Params: plain})
			_, old, present := r.superseded("n")
			r.receive("rejected", "RST 0.00 mid=%d", [...]uint16{old.MessageID, present.MessageID}[which])
			r.end("rejected", "n", exchange.ErrReset)
			r.receive("again", "RST 0.00 mid=%d", old.MessageID)
			r.idle("both are forgotten")
			r.quiet()
		})
	}
}

// An acknowledgement of the old notification does not confirm the new one, but shows that the client
// is there: it is not given up at the end of this series of transmissions.
func TestSupersededAcknowledgedLate(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{AckRandomFactor: 1, MaxRetransmit: 1}})
	x, old, _ := r.superseded("n")
	r.receive("late", "ACK 0.00 mid=%d", old.MessageID)
	r.idle("not confirmed")
	checkEngine(t, r.e)
	r.advance(4 * time.Second)
	r.event("the last try was in vain", EventOutdated)
	require.NoError(t, r.replace(x, "CON 2.05 tok=4a pay=newer"))
	s := r.want("another series", "CON 2.05 pay=newer")
	r.advance(2 * time.Second)
	r.want("retransmission", "CON 2.05 mid=%d pay=newer", s.MessageID)
	r.receive("the copy", "ACK 0.00 mid=%d", s.MessageID)
	r.event("confirmed", EventAcked)
	r.quiet()

	r.superseded("n")
	r.advance(4 * time.Second)
	r.end("without it that was the last", "n", exchange.ErrNotAcknowledged)
	r.quiet()
}

// However often a notification is replaced, a bounded number of old ones is known.
func TestSupersededBound(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{AckRandomFactor: 1, MaxRetransmit: 20, AckTimeout: time.Millisecond}})
	x := r.push("n", "CON 2.05 tok=4a")
	mids := []uint16{r.want("notification", "CON 2.05").MessageID}
	for i := range 2 * maxSuperseded {
		r.e.Supersede(x)
		r.advance(time.Millisecond << i)
		r.event("outdated", EventOutdated)
		require.NoError(t, r.replace(x, "CON 2.05 tok=4a"))
		mids = append(mids, r.want("the next", "CON 2.05").MessageID)
		checkEngine(t, r.e)
	}
	require.Equal(t, maxSuperseded+1, r.e.mids.len())
	r.receive("too old", "RST 0.00 mid=%d", mids[maxSuperseded-1])
	r.idle("unknown")
	r.receive("known", "RST 0.00 mid=%d", mids[maxSuperseded])
	r.end("rejected", "n", exchange.ErrReset)
	require.Zero(t, r.e.mids.len())
	checkEngine(t, r.e)
}

// What cannot be sent leaves the exchange as it was: it is asked for again.
func TestReplaceFails(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{AckRandomFactor: 1}, Limits: exchange.Limits{MessageSize: 100}})
	x := r.push("n", "CON 2.05 tok=4a pay=old")
	s := r.want("notification", "CON 2.05 pay=old")
	r.e.Supersede(x)
	r.advance(2 * time.Second)
	r.event("outdated", EventOutdated)
	big := message.Message{Type: message.Confirmable, Code: message.Content, Payload: make([]byte, 100)}
	require.Equal(t, exchange.ErrTooLarge, r.e.Replace(r.now, x, &big))
	checkEngine(t, r.e)
	r.advance(4 * time.Second)
	r.event("still outdated", EventOutdated)
	p := x.x.peer
	for p.mids.live < midsForPeers {
		r.e.takeMID(p, int64(time.Hour))
	}
	require.Equal(t, exchange.ErrBusy, r.replace(x, "CON 2.05 tok=4a"))
	r.receive("acknowledged", "ACK 0.00 mid=%d", s.MessageID)
	r.event("acknowledged", EventAcked)

	y := r.push("queued", "CON 2.05 tok=4a pay=old")
	r.idle("waits for a message ID")
	r.e.Supersede(y)
	require.NoError(t, r.replace(y, "CON 2.05 tok=4a pay=new"))
	r.advance(time.Hour)
	r.want("once", "CON 2.05 pay=new")
	r.quiet()
	r.e.Close()
	require.Equal(t, exchange.ErrClosed, r.replace(y, "CON 2.05 tok=4a"))
}

// What is no notification is not superseded.
func TestSupersedeNothing(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{AckRandomFactor: 1}})
	x := r.request("n", "CON GET")
	r.want("request", "CON GET")
	r.e.Supersede(x)
	r.e.Supersede(Exchange{})
	r.advance(2 * time.Second)
	r.want("retransmitted", "CON GET")
	r.cancel(x)
	r.quiet()
}
