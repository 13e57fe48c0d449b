package coap_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	prove "github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport"
)

// diary keeps what an observation tells, one line for each notification.
type diary struct {
	mu    sync.Mutex
	lines []string
	cause error // the last
	err   error // the end
}

// observing starts to observe.
func (s *secured) observing(ctx context.Context, uri string) *diary {
	l := new(diary)
	go func() {
		for n, err := range s.client.Observe(ctx, uri) {
			l.mu.Lock()
			switch {
			case err != nil:
				l.err = err
			case n.Response != nil:
				l.lines = append(l.lines, fmt.Sprint(n.State, " ", strings.Fields(string(n.Response.Payload))[0]))
			default:
				l.lines = append(l.lines, n.State.String())
			}
			if n.Cause != nil {
				l.cause = n.Cause
			}
			l.mu.Unlock()
		}
	}()
	return l
}

// take returns the lines since the last call.
func (l *diary) take() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// An observation registers again when its session ends, in another one, and says so.
//
// Proves 7641-7-02.
func TestObserveOverSessions(t *testing.T) {
	for name, size := range map[string]int{"one message": 0, "blocks": 3000} {
		bubble(t, name, func(t *testing.T) {
			m := &meter{Size: size}
			s := newSecured(t, m.Mux(), nil)
			ctx, stop := context.WithCancel(t.Context())
			l := s.observing(ctx, "coaps://a.example/meter")
			require.Equal(t, []string{"live 0"}, tail(l.take(), 1))
			require.Equal(t, 1, s.ep.Observers("/meter"))
			m.Set(1)
			s.ep.Notify("/meter")
			require.Equal(t, []string{"live 1"}, l.take())

			s.server.end()
			synctest.Wait()
			require.Zero(t, s.ep.Observers("/meter"), "the server has forgotten the session")
			require.Equal(t, uint64(1), s.ep.ObserveStats().Ended[observe.EndSession])
			s.conn.end()
			m.Set(2)
			s.ep.Notify("/meter")
			require.Equal(t, []string{"stale"}, l.take(), "never silently")
			require.ErrorIs(t, l.cause, coap.ErrSessionEnded)
			require.ErrorIs(t, l.cause, transport.ErrSessionEnded)
			s.conn.requireSessions(0, "none")
			pass(11 * time.Second) // the first back-off is up to 10 s
			require.Equal(t, []string{"registering", "live 2"}, l.take())
			s.conn.requireSessions(1, "another session")
			require.Equal(t, 1, s.ep.Observers("/meter"))
			m.Set(3)
			s.ep.Notify("/meter")
			require.Equal(t, []string{"live 3"}, l.take())

			s.conn.end() // the server does not know
			m.Set(4)
			s.ep.Notify("/meter")
			require.Equal(t, []string{"stale"}, l.take())
			pass(11 * time.Second)
			require.Equal(t, []string{"registering", "live 4"}, l.take())
			pass(5 * time.Minute)
			require.Equal(t, 1, s.ep.Observers("/meter"), "the old entry has ended by a time-out")
			stop()
			synctest.Wait()
			s.ep.Notify("/meter")
			synctest.Wait()
			require.ErrorIs(t, l.err, context.Canceled)
			require.Zero(t, s.ep.Observers("/meter"), "the notification was rejected")
			require.Zero(t, s.ep.EchoStats(), "who has a session need not prove its address")
		})
	}
}

// tail returns the last n of some lines.
func tail(lines []string, n int) []string { return lines[max(len(lines)-n, 0):] }

// Each notification goes in the session of its registration, also where another one has the same address and token.
//
// Proves 7641-7-02.
func TestNotificationsStayInSession(t *testing.T) {
	bubble(t, "two names", func(t *testing.T) {
		s := newSecured(t, new(meter).Mux(), nil)
		mux := coap.NewMux()
		mux.HandleFunc("GET /who", func(w *coap.Response, r *coap.Request) error {
			return w.Text(fmt.Sprint(r.Peer().Identity))
		}, coap.Route{Observable: true})
		s.ep.Close()
		s.server = s.listen(secureAddr)
		s.ep = endpoint(t, s.server, mux, nil)
		a, b := s.observing(t.Context(), "coaps://a.example/who"), s.observing(t.Context(), "coaps://b.example/who")
		require.Equal(t, []string{"live a.example"}, tail(a.take(), 1))
		require.Equal(t, []string{"live b.example"}, tail(b.take(), 1))
		require.Equal(t, 2, s.ep.ObserveStats().Peers)
		s.ep.Notify("/who")
		require.Equal(t, []string{"live a.example"}, a.take())
		require.Equal(t, []string{"live b.example"}, b.take())
		require.NoError(t, s.client.Close())
		synctest.Wait()
		require.ErrorIs(t, a.err, coap.ErrClosed)
	})
}

// A server observes a client that has connected to it, until the session ends: another one would be somebody else.
func TestObserveOverGivenSession(t *testing.T) {
	bubble(t, "of a client", func(t *testing.T) {
		var from coap.Peer
		s := newSecured(t, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			from = r.Peer()
			return nil
		}), nil)
		m := new(meter)
		s.newClient(m.Mux())
		do(t, s.client, request(t, coap.POST, secureAddr, "coaps://a.example/register"))
		back := &coap.Client{Endpoint: s.ep}
		defer back.Close()
		req := request(t, coap.GET, from.Addr, "/meter")
		req.Session = from.Session
		o, err := back.ObserveRequest(t.Context(), req)
		require.NoError(t, err)
		var values []string
		var end error
		go func() {
			for n, err := range o.All() {
				if end = err; n.Response != nil {
					values = append(values, string(n.Response.Payload))
				}
			}
		}()
		synctest.Wait()
		m.Set(1)
		s.client.Endpoint.Notify("/meter")
		synctest.Wait()
		require.Equal(t, []string{"0 ", "1 "}, values)
		s.server.end()
		synctest.Wait()
		require.ErrorIs(t, end, coap.ErrSessionEnded)
		require.ErrorIs(t, end, transport.ErrSessionEnded)
		s.server.requireDials(0, "none")
	})
}

// Who has a session is never challenged, whatever it asks for.
func TestSessionsAreVerified(t *testing.T) {
	bubble(t, "always", func(t *testing.T) {
		s := newSecured(t, sized(), &coap.Config{ServeEcho: prove.ServerConfig{Mode: prove.Always}})
		require.Len(t, s.get("coaps://a.example/body?n=1000"), 1000)
		resp, err := s.client.Post(t.Context(), "coaps://a.example/body?n=900", coap.TextPlain, nil)
		require.NoError(t, err)
		require.Len(t, resp.Payload, 900)
		require.Zero(t, s.ep.EchoStats())
	})
}
