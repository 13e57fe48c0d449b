package coap_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// A request for a coaps URI goes over a session with the server that it names, at the port of coaps.
//
// Proves 7252-9.1.2-02, 7252-6.2-01.
func TestSecureRequests(t *testing.T) {
	bubble(t, "by name and by address", func(t *testing.T) {
		s := newSecured(t, names, nil)
		require.Equal(t, "to a.example", s.get("coaps://a.example/x"))
		require.Equal(t, "to a.example", s.get("coaps://a.example/y"), "in the same session")
		require.Equal(t, "to b.example", s.get("coaps://b.example/x"), "another name is another session")
		require.Equal(t, "to ", s.get("coaps://192.0.2.1/x"), "an address is no name")
		s.conn.requireSessions(3, "sessions")
		require.NoError(t, s.client.Ping(t.Context(), "coaps://a.example"))
		s.conn.requireSessions(3, "a ping goes in the session of its server")
		req := request(t, coap.PUT, netip.AddrPort{}, "coaps://b.example/x")
		require.NoError(t, s.client.Send(t.Context(), req))
		require.NoError(t, s.client.Close())
		_, err := s.client.Get(t.Context(), "coaps://a.example/x")
		require.ErrorIs(t, err, coap.ErrClosed)
		_, err = s.conn.ReadBatch(make([]transport.Datagram, 1))
		require.ErrorIs(t, err, net.ErrClosed)
	})
	bubble(t, "dialed", func(t *testing.T) {
		s := newSecured(t, names, nil)
		c, err := coap.Dial(t.Context(), "coaps://192.0.2.1", s.client.Config)
		require.NoError(t, err)
		defer c.Close()
		require.Equal(t, secureAddr.Port(), c.Base.Port)
		resp, err := c.Get(t.Context(), "/x")
		require.NoError(t, err)
		require.Equal(t, secureAddr, resp.Peer().Addr)
		require.True(t, resp.Peer().Secure)
		_, err = coap.Dial(t.Context(), "coaps://192.0.2.1", nil)
		require.ErrorContains(t, err, "Config.Secure")
	})
	bubble(t, "with a base", func(t *testing.T) {
		s := newSecured(t, names, nil)
		s.client.Base = coap.Authority{Scheme: "coaps", Host: "a.example", Port: 5684}
		require.Equal(t, "to a.example", s.get("/x"))
		resp := do(t, s.client, request(t, coap.GET, secureAddr, "/x"))
		require.Equal(t, "to a.example", string(resp.Payload), "an address says where, not who")
		named := request(t, coap.GET, secureAddr, "coaps://b.example/x")
		require.Equal(t, "to b.example", string(do(t, s.client, named).Payload))
		require.NoError(t, s.client.Ping(t.Context(), ""))
		s.conn.requireSessions(2, "sessions")
		require.Equal(t, uint64(4), s.client.Stats().Responses)
	})
}

// What an endpoint cannot do for a scheme is said at once, with what to do.
//
// Proves 7252-6.2-s04.
func TestSchemes(t *testing.T) {
	bubble(t, "errors", func(t *testing.T) {
		s := newSecured(t, names, nil)
		s.newClient(names)
		secure := s.client
		conn := listen(t, s.Network, peerAddr2)
		plain := &coap.Client{Endpoint: endpoint(t, conn, nil, nil)}
		unset := &coap.Client{}
		wrong := &coap.Client{Config: &coap.Config{Secure: func() (transport.Conn, error) {
			return listen(t, s.Network, netip.MustParseAddrPort("192.0.2.77:1")), nil
		}}}
		broken := &coap.Client{Config: &coap.Config{Secure: func() (transport.Conn, error) { return nil, errors.New("no certificate") }}}
		for _, test := range []struct {
			client    *coap.Client
			uri, want string
		}{
			{secure, "coap://192.0.2.1/", "use coaps"},
			{plain, "coaps://192.0.2.1/", "package transport/dtls"},
			{unset, "coaps://192.0.2.1/", "Config.Secure"},
			{wrong, "coaps://192.0.2.1/", "transport.Dialer"},
			{broken, "coaps://192.0.2.1/", "no certificate"},
		} {
			_, err := test.client.Get(t.Context(), test.uri)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, test.client.Ping(t.Context(), test.uri), test.want)
			for _, err := range test.client.Observe(t.Context(), test.uri) {
				require.ErrorContains(t, err, test.want)
			}
		}
		req := request(t, coap.GET, netip.AddrPort{}, "coap://192.0.2.1/")
		require.ErrorContains(t, secure.Endpoint.RoundTrip(t.Context(), req, new(coap.Response)), "use coaps")
		group := request(t, coap.GET, netip.AddrPort{}, "coaps://224.0.1.187/")
		for _, err := range secure.Multicast(t.Context(), group) {
			require.ErrorContains(t, err, "no secure session")
		}
		group.NonConfirmable = true
		_, err := secure.Endpoint.Open(t.Context(), group)
		require.ErrorContains(t, err, "no secure session")
		bad := request(t, coap.GET, secureAddr, "/")
		bad.Session = "mine"
		require.ErrorContains(t, secure.Endpoint.RoundTrip(t.Context(), bad, new(coap.Response)), "Peer.Session")
		s.conn.requireDials(0, "none")
	})
}

// Why there is no session is told at once, and another address of the server is tried.
func TestNoSession(t *testing.T) {
	bubble(t, "errors of Dial", func(t *testing.T) {
		s := newSecured(t, names, nil)
		require.Equal(t, "to c.example", s.get("coaps://c.example/"), "nobody is at its first address")
		_, err := s.client.Get(t.Context(), "coaps://192.0.2.66/")
		var op *coap.OpError
		require.ErrorAs(t, err, &op)
		require.Equal(t, "connect", op.Op)
		require.Equal(t, netip.MustParseAddrPort("192.0.2.66:5684"), op.Peer)
		require.ErrorContains(t, err, "nobody is at")
		s.conn.onDial = func(ctx context.Context, _ netip.AddrPort, _ string) error { <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err = s.client.Get(ctx, "coaps://a.example/")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s.conn.onDial = func(context.Context, netip.AddrPort, string) error { return net.ErrClosed }
		require.ErrorIs(t, s.client.Ping(t.Context(), "coaps://a.example"), coap.ErrClosed)
	})
	bubble(t, "an inline handler that dials does not hold up others", func(t *testing.T) {
		s := newSecured(t, names, nil)
		s.conn.Close()
		s.conn = s.listen(peerAddr)
		back := make(chan struct{})
		start := time.Now()
		mux := coap.NewMux()
		ep := endpoint(t, s.conn, mux, &coap.Config{Placement: coap.Inline})
		mux.HandleFunc("GET /outer", func(w *coap.Response, r *coap.Request) error {
			req := request(t, coap.GET, secureAddr2, "/")
			return ep.RoundTrip(r.Context(), req, w)
		})
		mux.HandleFunc("GET /inner", func(w *coap.Response, r *coap.Request) error { close(back); return w.Text("in") })
		endpoint(t, s.listen(secureAddr2), names, nil)
		s.conn.onDial = func(context.Context, netip.AddrPort, string) error { <-back; return nil }
		outer := async(t.Context(), s.ep, request(t, coap.GET, peerAddr, "/outer"))
		require.False(t, outer.IsDone())
		do(t, s.ep, request(t, coap.GET, peerAddr, "coaps://b.example/inner")) // NSTART is for each session
		outer.RequireCode(t, "goes on", "2.05")
		require.Zero(t, time.Since(start), "no watchdog was needed")
	})
}

// An answer in another session with the same server, to the same address, is no answer.
//
// Proves 7252-9.1.1-02, 7252-9.1.2-01.
func TestAnswerInAnotherSession(t *testing.T) {
	bubble(t, "of the same server", func(t *testing.T) {
		s := newSecured(t, names, nil)
		s.ep.Close()
		s.server = s.listen(secureAddr)
		a := async(t.Context(), s.client, request(t, coap.GET, netip.AddrPort{}, "coaps://a.example/"))
		toA, inA := s.server.receive()
		b := async(t.Context(), s.client, request(t, coap.GET, netip.AddrPort{}, "coaps://b.example/"))
		toB, inB := s.server.receive()
		answer := message.Message{Type: message.Acknowledgement, Code: message.Content, MessageID: toA.MessageID, Token: toA.Token}
		s.server.send(inB, peerAddr, answer)
		answer.Type = message.Confirmable
		s.server.send(inB, peerAddr, answer)
		require.False(t, a.IsDone())
		require.False(t, b.IsDone())
		reset, by := s.server.receive()
		require.Equal(t, message.Reset, reset.Type, "a response that nobody waits for is rejected")
		require.Same(t, inB, by)
		answer.Type = message.Acknowledgement
		s.server.send(inA, peerAddr, answer)
		a.RequireCode(t, "in its own session", "2.05")
		answer.MessageID, answer.Token = toB.MessageID, toB.Token
		s.server.send(inB, peerAddr, answer)
		b.RequireCode(t, "in its own session", "2.05")
	})
}

// A request whose session ends is made again in another one if that does no harm.
func TestSessionEnds(t *testing.T) {
	slow := coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
		<-time.After(10 * time.Second)
		return w.Text("late")
	})
	for method, again := range map[coap.Code]bool{coap.GET: true, coap.PUT: true, coap.POST: false} {
		bubble(t, "during "+method.String(), func(t *testing.T) {
			s := newSecured(t, slow, nil)
			call := async(t.Context(), s.client, request(t, method, netip.AddrPort{}, "coaps://a.example/"))
			pass(5 * time.Second)
			s.conn.end()
			require.Equal(t, !again, call.IsDone())
			pass(10 * time.Second)
			if again {
				call.RequireCode(t, "in another session", "2.05")
				s.conn.requireDials(2, "sessions")
				return
			}
			call.RequireErr(t, "it may have been done", coap.ErrSessionEnded)
			require.ErrorIs(t, call.Err, transport.ErrSessionEnded, "what the transport says")
			s.conn.requireDials(1, "sessions")
		})
	}
	bubble(t, "again and again", func(t *testing.T) {
		s := newSecured(t, slow, nil)
		call := async(t.Context(), s.client, request(t, coap.GET, netip.AddrPort{}, "coaps://a.example/"))
		for range 2 {
			pass(time.Second)
			s.conn.end()
		}
		call.RequireErr(t, "not for ever", coap.ErrSessionEnded)
		pass(time.Minute) // until the handlers have returned
	})
	bubble(t, "before anything is sent", func(t *testing.T) {
		s := newSecured(t, names, nil)
		require.Equal(t, "to a.example", s.get("coaps://a.example/"))
		s.conn.forget()
		resp, err := s.client.Post(t.Context(), "coaps://a.example/", coap.TextPlain, nil)
		require.NoError(t, err)
		require.Equal(t, "to a.example", string(resp.Payload))
		s.conn.forget()
		require.NoError(t, s.client.Ping(t.Context(), "coaps://a.example"))
		s.conn.requireSessions(1, "sessions")
	})
	bubble(t, "of a server whose handler runs", func(t *testing.T) {
		s := newSecured(t, slow, nil)
		call := async(t.Context(), s.client, request(t, coap.POST, netip.AddrPort{}, "coaps://a.example/"))
		pass(time.Second)
		s.server.end()
		pass(10 * time.Second)
		require.Equal(t, uint64(1), s.ep.Stats().Dropped[exchange.DropSessionEnded])
		require.Zero(t, sizes(s.ep.Stats()), "nothing is kept of the session")
		require.False(t, call.IsDone(), "nobody has told the client")
		pass(5 * time.Minute)
		call.RequireErr(t, "which has waited", coap.ErrTimeout)
	})
}

// An upload whose session ends begins anew in another one, if that does no harm; else its error says how far it has come.
// Each block has a token of its own, where blocks without a session share one.
//
// Proves 9175-4.2-01.
func TestSessionEndsDuringUpload(t *testing.T) {
	body := make([]byte, 5000)
	for method, restarts := range map[coap.Code]bool{coap.PUT: true, coap.POST: false} {
		bubble(t, method.String(), func(t *testing.T) {
			var got atomic.Int64
			s := newSecured(t, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
				got.Add(int64(len(r.Payload)))
				w.SetCode(message.Changed)
				return nil
			}), nil)
			blocks := 0
			s.conn.onWrite = func(m *message.Message) {
				if blocks++; blocks == 3 {
					s.conn.end()
				}
			}
			req := request(t, method, netip.AddrPort{}, "coaps://a.example/x")
			req.Payload = body
			call := async(t.Context(), s.client, req)
			pass(time.Minute)
			if restarts {
				call.RequireCode(t, "anew", "2.04")
				require.EqualValues(t, len(body), got.Load())
				require.Zero(t, got.Load()-int64(len(body)), "once")
			} else {
				call.RequireErr(t, "it may have been done", coap.ErrSessionEnded)
				broken, ok := errors.AsType[*blockwise.Error](call.Err)
				require.True(t, ok)
				require.Equal(t, int64(2048), broken.Position.Offset)
			}
			tokens := map[string]bool{}
			for _, m := range s.conn.sent {
				tokens[string(m.Token)] = true
			}
			require.Len(t, tokens, len(s.conn.sent), "no token is used twice")
			require.GreaterOrEqual(t, len(tokens), 3)
		})
	}
}

// A server asks a client that has connected to it, over the session that the client has begun.
func TestRequestOverSession(t *testing.T) {
	bubble(t, "to a client", func(t *testing.T) {
		var from exchange.Peer
		s := newSecured(t, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			from = r.Peer()
			return nil
		}), nil)
		s.newClient(names)
		do(t, s.client, request(t, coap.POST, secureAddr, "coaps://a.example/register"))
		req := request(t, coap.GET, from.Addr, "/device")
		req.Session = from.Session
		require.Same(t, from.Session, req.Clone().Session)
		resp := do(t, s.ep, req)
		require.Equal(t, "to a.example", string(resp.Payload))
		require.Same(t, from.Session, resp.Peer().Session)
		s.server.requireDials(0, "none")
		require.NoError(t, s.ep.Ping(t.Context(), peerAddr), "without it, another session is begun")
		s.server.requireDials(1, "sessions")

		s.server.end()
		err := s.ep.RoundTrip(t.Context(), req, resp)
		require.ErrorIs(t, err, coap.ErrSessionEnded)
		require.ErrorIs(t, err, transport.ErrSessionEnded)
		s.server.requireDials(1, "who wants that session gets no other")
		through := &coap.Client{Endpoint: s.ep}
		require.ErrorIs(t, through.Do(t.Context(), req, resp), coap.ErrSessionEnded)
	})
}

// A server has restarted and knows nothing of the session: it is silent. Once a request has ended without an answer, the next goes over
// another session; an observation that wants to renew registers over one, too.
func TestSilentSession(t *testing.T) {
	bubble(t, "request", func(t *testing.T) {
		s := newSecured(t, names, nil)
		req := request(t, coap.GET, secureAddr, "coaps://a.example/x")
		do(t, s.client, req)
		s.conn.requireDials(1, "the first")
		s.server.forget()
		var resp coap.Response
		require.ErrorIs(t, s.client.Do(t.Context(), req, &resp), coap.ErrNotAcknowledged)
		require.Equal(t, "to a.example", string(do(t, s.client, req).Payload))
		s.conn.requireSessions(1, "the new one")
	})
	bubble(t, "open", func(t *testing.T) {
		s := newSecured(t, names, nil)
		req := request(t, coap.GET, secureAddr, "coaps://a.example/x")
		do(t, s.client, req)
		s.server.forget()
		rs, err := s.client.Open(t.Context(), req)
		require.NoError(t, err)
		var resp coap.Response
		require.ErrorIs(t, rs.Next(t.Context(), &resp), coap.ErrNotAcknowledged)
		require.NoError(t, rs.Close())
		require.Equal(t, "to a.example", string(do(t, s.client, req).Payload))
	})
}
