package observe

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
)

// over makes a request come over a session.
func over(session string) func(*exchange.Request) {
	return func(r *exchange.Request) {
		a := r.Arrival()
		a.Peer.Session, a.Peer.Secure = session, true
		r.Arrive(a)
	}
}

// The observers of a session are removed with it, and no others.
//
// Proves 7641-7-02.
func TestLeave(t *testing.T) {
	bubble(t, "at rest", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t", over("s"))
		l.register(1, "u", over("s"))
		l.register(1, "t", over("t"))
		l.register(1, "t")
		require.Equal(t, 4, l.Observers("/a"))
		l.Leave(exchange.Peer{})
		require.Equal(t, 4, l.Observers("/a"), "no session is that of nobody")
		l.Leave(exchange.Peer{Session: "s"})
		l.Leave(exchange.Peer{Session: "s"})
		require.Equal(t, 2, l.Observers("/a"))
		require.Equal(t, 2, l.Stats().Peers)
		l.requireFate("1 /a session ended", "1 /a session ended")
		l.Leave(exchange.Peer{Session: "t"})
		l.set("2")
		l.want("without session", 1, "2").done(nil)
		l.idle("nobody else")
	})
	bubble(t, "with a notification on its way", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t", over("s"))
		l.set("2")
		n := l.want("change", 1, "2")
		l.set("3")
		l.Leave(exchange.Peer{Session: "s"})
		require.True(t, n.forgotten)
		n.done(exchange.ErrSessionEnded)
		pass(time.Minute)
		l.idle("nothing follows")
		require.Zero(t, l.Stats().Peers)
	})
	bubble(t, "found out by a notification", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t", over("s"))
		l.set("2")
		l.want("change", 1, "2").done(exchange.ErrSessionEnded)
		l.register(1, "u", over("s"))
		l.err = exchange.ErrSessionEnded
		l.set("3")
		pass(time.Minute)
		l.idle("there is nobody to be told of an error either")
		l.requireFate("1 /a session ended", "1 /a session ended")
		require.Zero(t, l.Stats().Peers)
	})
}
