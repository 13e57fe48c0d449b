package observe

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

func (n *note) Supersede(due func()) {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	n.due = due
}

// Replace notes w as one more notification with the same end.
func (n *note) Replace(w *exchange.Response, seq uint32) error {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	switch {
	case n.over:
		return &exchange.OpError{Err: exchange.ErrClosed}
	case n.lab.err != nil:
		return n.lab.err
	}
	next := &note{to: n.to, token: n.token, con: true, done: n.done, at: time.Now(), lab: n.lab}
	n.lab.copy(next, w, seq)
	n.lab.sent = append(n.lab.sent, next)
	return nil
}

// wantDue expects that the notification is outdated, and says that it would be retransmitted.
func (n *note) wantDue(why string) {
	n.lab.Helper()
	synctest.Wait()
	n.lab.mu.Lock()
	due := n.due
	n.lab.mu.Unlock()
	require.NotNil(n.lab, due, why)
	due()
}

// What changes while a confirmable notification waits for its acknowledgement takes its place when
// it would be retransmitted, as it is then, and by the place of its client in the line.
//
// Proves 7641-4.5.2-02.
func TestSupersede(t *testing.T) {
	bubble(t, "replaced", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.register(1, "other", path("b"))
		l.set("2")
		old := l.want("a notification", 1, "2")
		require.Nil(t, old.due)
		rendered := l.Stats().Rendered
		l.set("3")
		l.set("4")
		l.idle("the attempt is completed first")
		require.Equal(t, rendered, l.Stats().Rendered, "nothing is rendered that may not be needed")
		l.Notify("/b")
		old.wantDue("outdated")
		n := l.want("the present state", 1, "4")
		require.True(t, n.con)
		require.True(t, Fresher(old.seq(), old.at, n.seq(), n.at))
		require.Equal(t, uint64(1), l.Stats().Superseded)
		l.idle("the other observer waits for a place")
		l.set("5")
		old.wantDue("outdated as well")
		n = l.want("the present state", 1, "5")
		l.idle("the other observer still waits")
		n.done(nil)
		l.want("the other", 1, "5").done(nil)
		pass(time.Hour)
		l.idle("all is said")
		require.Equal(t, 2, l.Stats().Observers)
	})
	bubble(t, "acknowledged in time", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.set("2")
		old := l.want("a notification", 1, "2")
		l.set("3")
		synctest.Wait()
		old.done(nil)
		l.want("as usual", 1, "3").done(nil)
		old.wantDue("late")
		l.idle("it is over")
		require.Zero(t, l.Stats().Superseded)
	})
	bubble(t, "the client is there, though nothing has changed", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.set("2")
		old := l.want("a notification", 1, "2")
		l.set("3")
		old.wantDue("outdated")
		l.want("in its place", 1, "3")
		old.wantDue("another series of transmissions")
		l.want("once more", 1, "3").done(nil)
	})
	bubble(t, "rejected or given up", func(t *testing.T) {
		for _, why := range []error{exchange.ErrReset, exchange.ErrNotAcknowledged} {
			l := newLab(t, ServerConfig{})
			l.register(1, "t")
			l.set("2")
			old := l.want("a notification", 1, "2")
			l.set("3")
			old.wantDue("outdated")
			l.want("in its place", 1, "3").done(why)
			require.Zero(t, l.Stats().Observers)
			require.Zero(t, l.Stats().Peers)
		}
	})
	bubble(t, "by an error", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.register(1, "other", path("b"))
		l.set("2")
		old := l.want("a notification", 1, "2")
		l.answer = func(*exchange.Response, *exchange.Request) error { return &exchange.Error{Code: message.NotFound} }
		l.set("3")
		old.wantDue("outdated")
		n := l.want("the error", 1, "")
		require.Equal(t, message.NotFound, n.resp.Code)
		require.False(t, old.forgotten, "its retransmission goes on with the error")
		l.requireFate("1 /a error response")
		l.answer = nil
		l.Notify("/b")
		l.idle("the error is on its way")
		n.done(nil)
		l.want("the other", 1, "3")
	})
	bubble(t, "not one that is not confirmable", func(t *testing.T) {
		l := newLab(t, ServerConfig{ConfirmEvery: 10})
		l.register(1, "t")
		l.set("2")
		old := l.want("a notification", 1, "2")
		l.set("3")
		synctest.Wait()
		require.Nil(t, old.due)
		pass(3 * time.Second)
		l.want("when it may go", 1, "3")
	})
}

// A notification may end while the one that is to take its place is rendered or sent.
func TestSupersedeRaces(t *testing.T) {
	start := func(t *testing.T) (l *lab, old *note) {
		l = newLab(t, ServerConfig{})
		l.register(1, "t")
		l.register(1, "other", path("b"))
		l.set("2")
		old = l.want("a notification", 1, "2")
		l.set("3")
		synctest.Wait()
		return l, old
	}
	// rendering calls f while the handler renders what takes the place of old.
	rendering := func(l *lab, old *note, f func()) {
		l.answer = func(w *exchange.Response, r *exchange.Request) error {
			l.answer = nil
			l.mu.Unlock()
			defer l.mu.Lock()
			f()
			return w.Text("3")
		}
		old.wantDue("outdated")
		synctest.Wait()
	}
	requireAlive := func(l *lab) {
		l.Notify("/b")
		l.want("the place is free again", 1, "3").done(nil)
		l.set("4")
		l.want("and all goes on", 1, "4").done(nil)
	}
	bubble(t, "acknowledged while the other is rendered", func(t *testing.T) {
		l, old := start(t)
		rendering(l, old, func() { old.done(nil) })
		n := l.want("as usual", 1, "3")
		require.Zero(t, l.Stats().Superseded)
		l.Notify("/b")
		l.idle("it has the place")
		n.done(nil)
		l.want("then the other observer", 1, "3").done(nil)
		requireAlive(l)
	})
	bubble(t, "acknowledged just before the other is sent", func(t *testing.T) {
		l, old := start(t)
		rendering(l, old, func() { old.over = true })
		n := l.want("as usual", 1, "3")
		old.done(nil)
		l.Notify("/b")
		l.idle("the end of the old one frees no place")
		n.done(nil)
		l.want("that of the new one does", 1, "3").done(nil)
		requireAlive(l)
	})
	bubble(t, "asked for twice", func(t *testing.T) {
		l, old := start(t)
		rendering(l, old, func() { old.due() })
		l.want("once", 1, "3").done(nil)
		l.idle("once")
		requireAlive(l)
	})
	bubble(t, "rejected meanwhile", func(t *testing.T) {
		l, old := start(t)
		rendering(l, old, func() { old.done(exchange.ErrReset) })
		l.idle("nobody is there")
		require.Equal(t, 1, l.Stats().Observers)
		l.Notify("/b")
		l.want("the place is free again", 1, "3")
	})
	bubble(t, "deregistered meanwhile", func(t *testing.T) {
		l, old := start(t)
		rendering(l, old, func() { l.ask(1, "t", 1) })
		l.idle("nobody is there")
		require.True(t, old.forgotten)
		l.Notify("/b")
		l.want("the place is free again", 1, "3")
	})
	bubble(t, "no room", func(t *testing.T) {
		l, old := start(t)
		l.err = &exchange.OpError{Err: exchange.ErrBusy}
		old.wantDue("outdated")
		l.idle("no room")
		l.err = nil
		old.wantDue("the next attempt")
		l.want("now", 1, "3").done(nil)
		requireAlive(l)
	})
	bubble(t, "too large", func(t *testing.T) {
		l, old := start(t)
		l.err = exchange.ErrTooLarge
		old.wantDue("outdated")
		synctest.Wait()
		l.requireFate("1 /a unsendable")
		require.True(t, old.forgotten)
		l.err = nil
		l.Notify("/b")
		l.want("the place is free again", 1, "3")
	})
	bubble(t, "told by a response meanwhile", func(t *testing.T) {
		l, old := start(t)
		rendering(l, old, func() { l.register(1, "t") })
		l.idle("the response was newer")
		require.True(t, old.forgotten)
		requireAlive(l)
	})
}
