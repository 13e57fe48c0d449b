package observe

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// Who is told that it asks too often does not ask again before Max-Age has passed, 60 seconds where the
// response does not say it.
//
// Proves 8516-4-01, 8516-4-s02.
func TestRefusedForAskingTooOften(t *testing.T) {
	for name, c := range map[string]struct {
		edit []func(*exchange.Response)
		wait time.Duration
	}{
		"with Max-Age": {[]func(*exchange.Response){maxAge(30 * time.Second)}, 30 * time.Second},
		"without":      {nil, 60 * time.Second},
	} {
		bubble(t, name, func(t *testing.T) {
			s, _ := observing(t, ClientConfig{})
			s.opens(1, "registers").notify(-1, "", append(c.edit, code(message.TooManyRequests))...)
			pass(c.wait - time.Second)
			s.opens(1, "not yet")
			pass(2 * time.Second)
			s.opens(2, "again")
		})
	}
}

// A notification says, as the first response does, how long the representation may be taken for the state.
//
// Proves 7641-4.3.1-02, 7641-4.3.1-03.
func TestMaxAgeOfNotifications(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.answer = func(w *exchange.Response, r *exchange.Request) error {
			w.SetMaxAge(10 * time.Second)
			w.SetETag([]byte(l.value))
			return w.Text(l.value)
		}
		w := l.ask(1, "t", 0, func(r *exchange.Request) { r.Options.AddETag([]byte("3")) })
		require.Equal(t, 10*time.Second, w.Options.MaxAge())
		for value, payload := range map[string]string{"2": "2", "3": ""} {
			l.set(value)
			n := l.want("a notification", 1, payload)
			require.Equal(t, 10*time.Second, n.resp.Options.MaxAge(), "%v", n.resp.Code)
			n.done(nil)
		}
	})
}

// However often a resource changes, a client gets one non-confirmable notification in 3 seconds, whatever it
// observes, and one that is confirmable within ConfirmWithin, which is a day at most.
//
// Proves 7641-4.5-05, 7641-4.5.1-02, 7641-4.5.1-03, 7641-7-01.
func TestPaceOfNonConfirmable(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		l := newLab(t, ServerConfig{ConfirmEvery: 1 << 30, ConfirmWithin: time.Minute})
		l.register(1, "t")
		l.register(1, "u")
		l.register(2, "t")
		last, confirmed := map[uint16]*note{}, map[string]time.Time{"1t": time.Now(), "1u": time.Now(), "2t": time.Now()}
		for i := range 6000 {
			l.set(fmt.Sprint(i))
			pass(100 * time.Millisecond)
			l.mu.Lock()
			sent := l.sent
			l.sent = nil
			l.mu.Unlock()
			for _, n := range sent {
				port := n.to.Addr.Port()
				if previous := last[port]; previous != nil && !previous.con {
					require.GreaterOrEqual(t, n.at.Sub(previous.at), 3*time.Second)
				}
				last[port] = n
				observer := fmt.Sprint(port, n.token)
				require.LessOrEqual(t, n.at.Sub(confirmed[observer]), 70*time.Second, "since the last confirmable one")
				if n.con {
					confirmed[observer] = n.at
					n.done(nil)
				}
			}
		}
		require.Len(t, last, 2)
		require.Equal(t, 3, l.Stats().Observers)
	})
	require.Equal(t, 24*time.Hour, ServerConfig{ConfirmWithin: 48 * time.Hour}.withDefaults().ConfirmWithin)
}

// An Observe option that a handler has set itself does not tell a client that it is on the list.
//
// Proves 7641-4.1-04, 7641-4.1-06.
func TestObserveOfTheHandler(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		l := newLab(t, ServerConfig{MaxObservers: 1})
		l.answer = func(w *exchange.Response, r *exchange.Request) error {
			w.Options.SetUint(message.OptionObserve, 7)
			return w.Text("1")
		}
		l.register(1, "t")
		require.False(t, l.ask(2, "t", 0).Options.Has(message.OptionObserve), "refused")
		require.False(t, l.ask(1, "t", 1).Options.Has(message.OptionObserve), "deregistered")
	})
}

// The time between the end of Max-Age and a new request differs from client to client: 5 to 15 seconds.
//
// Proves 7641-3.3.1-06.
func TestJitter(t *testing.T) {
	cfg := ClientConfig{}.withDefaults()
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		j := cfg.jitter()
		least, most = min(least, j), max(most, j)
	}
	require.GreaterOrEqual(t, least, 5*time.Second)
	require.Less(t, least, 6*time.Second)
	require.LessOrEqual(t, most, 15*time.Second)
	require.Greater(t, most, 14*time.Second)
}
