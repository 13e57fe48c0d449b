package dtls

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// requireEnd expects the report that a session has ended.
func requireEnd(t *testing.T, c *Conn, s *transport.Session, why Ending) {
	t.Helper()
	d := receive(t, c)
	require.Same(t, s, d.Session)
	require.ErrorIs(t, d.Err, why)
	require.ErrorIs(t, d.Err, transport.ErrSessionEnded)
	require.Nil(t, d.Data)
	_, err := c.WriteBatch([]transport.Datagram{{Data: []byte("late"), Session: s}})
	require.ErrorIs(t, err, transport.ErrSessionEnded)
}

// established returns a pair with a session, known at both ends.
func established(t *testing.T, client, server *Config) (p *pair, atClient, atServer *transport.Session) {
	t.Helper()
	p = newPair(t, client, server)
	atClient = p.dial()
	send(t, p.client, atClient, "hello")
	return p, atClient, receive(t, p.server).Session
}

// Who closes says so, and the other end knows at once (RFC 5246 section 7.2.1).
func TestCloseNotify(t *testing.T) {
	for _, byServer := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p, atClient, atServer := established(t, pskClient("lamp"), pskServer())
			if byServer {
				require.NoError(t, p.server.Close())
				requireEnd(t, p.client, atClient, ClosedByPeer)
			} else {
				require.NoError(t, p.client.Close())
				requireEnd(t, p.server, atServer, ClosedByPeer)
				require.EqualValues(t, 1, p.server.Stats().EndedBy[ClosedByPeer])
			}
			p.close()
		})
	}
}

// The address of a client changes: by its connection ID its session goes on (RFC 9146 section 6), there and back.
func TestMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var moves []netip.AddrPort
		server := pskServer()
		server.OnSession = func(ev SessionEvent) {
			if ev.Kind == SessionMoves {
				moves = append(moves, ev.Addr)
			}
		}
		p, atClient, atServer := established(t, pskClient("lamp"), server)
		inner := p.client.inner.(*mem.Conn)
		elsewhere, err := inner.Rebind(netip.MustParseAddrPort("203.0.113.7:61000"))
		require.NoError(t, err)

		send(t, p.client, atClient, "from elsewhere")
		d := receive(t, p.server)
		require.Same(t, atServer, d.Session)
		require.Equal(t, elsewhere, d.Remote)
		send(t, p.server, atServer, "to there")
		require.Equal(t, "to there", string(receive(t, p.client).Data))
		require.EqualValues(t, 1, p.server.Stats().Moved)
		require.Equal(t, []netip.AddrPort{elsewhere}, moves)
		require.EqualValues(t, 1, p.server.Stats().Begun)
		p.close()
	})
}

// What somebody has recorded and sends from another address moves nothing: neither a copy nor an older record that has not
// come before (RFC 9146 section 6).
func TestReplayDoesNotMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, atClient, atServer := established(t, pskClient("lamp"), pskServer())
		var taken []byte
		p.lose(func(b []byte) bool {
			if taken == nil && b[0] == byte(typeCID) {
				taken = bytes.Clone(b)
				return true
			}
			return false
		})
		send(t, p.client, atClient, "held back")
		send(t, p.client, atClient, "newer")
		require.Equal(t, "newer", string(receive(t, p.server).Data))

		thief, err := p.net.Listen(netip.MustParseAddrPort("198.51.100.9:1000"))
		require.NoError(t, err)
		for range 2 { // as an older record, and as a copy of that
			_, err = thief.WriteBatch([]transport.Datagram{{Data: taken, Remote: serverAddr}})
			require.NoError(t, err)
		}
		d := receive(t, p.server)
		require.Equal(t, "held back", string(d.Data))
		synctest.Wait()
		coaptest.Pass(time.Second)
		st := p.server.Stats()
		require.Zero(t, st.Moved)
		require.EqualValues(t, 1, st.NotAuthentic)
		send(t, p.server, atServer, "to the right one")
		require.Equal(t, "to the right one", string(receive(t, p.client).Data))
		p.close()
	})
}

// Without connection IDs, a client that has another address is not known there.
func TestNoConnectionID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := pskServer()
		server.ConnectionID = -1
		p, atClient, _ := established(t, pskClient("lamp"), server)
		_, err := p.client.inner.(*mem.Conn).Rebind(netip.MustParseAddrPort("203.0.113.7:61000"))
		require.NoError(t, err)
		send(t, p.client, atClient, "from elsewhere")
		synctest.Wait()
		coaptest.Pass(time.Second)
		require.EqualValues(t, 1, p.server.Stats().Unknown)
		p.close()
	})
}

// Plaintext after the handshake is for nobody, and ends nothing (S10).
func TestPlaintextAfterHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, atClient, atServer := established(t, pskClient("lamp"), pskServer())
		forge := func(typ contentType, body ...byte) {
			b := append([]byte{byte(typ), 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, byte(len(body))}, body...)
			_, err := p.client.inner.WriteBatch([]transport.Datagram{{Data: b, Remote: serverAddr}})
			require.NoError(t, err)
		}
		forge(typeData, []byte("injected")...)
		forge(typeAlert, alertFatal, handshakeFailure)
		forge(typeAlert, alertWarning, closeNotify)
		forge(typeChangeCipherSpec, 1)
		forge(typeHandshake, 20, 0, 0, 0)
		send(t, p.client, atClient, "true")
		require.Equal(t, "true", string(receive(t, p.server).Data))
		require.Equal(t, 1, p.server.Stats().Sessions)
		send(t, p.server, atServer, "as before")
		require.Equal(t, "as before", string(receive(t, p.client).Data))
		p.close()
	})
}

// A new handshake from the same address leaves the old session alone until it has proven itself (S12, RFC 6347 section 4.2.8). Then the
// old one ends.
func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := pskServer()
		server.ConnectionID = -1
		p, atClient, atServer := established(t, pskClient("lamp"), server)

		// A stranger forges the beginning of a handshake.
		forged := append([]byte{22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 54, clientHello, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 0, 42, 0xFE, 0xFD}, make([]byte, 40)...)
		_, err := p.client.inner.WriteBatch([]transport.Datagram{{Data: forged, Remote: serverAddr}})
		require.NoError(t, err)
		synctest.Wait()
		coaptest.Pass(time.Second)
		require.Equal(t, 1, p.server.Stats().Handshakes)
		send(t, p.client, atClient, "still here")
		require.Equal(t, "still here", string(receive(t, p.server).Data))
		coaptest.Pass(time.Minute)
		require.Zero(t, p.server.Stats().Handshakes)
		send(t, p.server, atServer, "as ever")
		require.Equal(t, "as ever", string(receive(t, p.client).Data))

		// The client has lost its memory.
		p.lose(func([]byte) bool { return true })
		p.client.Close()
		p.lose(func([]byte) bool { return false })
		p.client = p.listen(clientAddr, pskClient("lamp"))
		again := p.dial()
		requireEnd(t, p.server, atServer, Replaced)
		send(t, p.client, again, "I am back")
		d := receive(t, p.server)
		require.Equal(t, "I am back", string(d.Data))
		require.NotSame(t, atServer, d.Session)
		require.Equal(t, 1, p.server.Stats().Sessions)
		p.close()
	})
}

// Idle sessions end, those in use do not.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := pskServer()
		server.IdleTimeout = time.Hour
		p, atClient, atServer := established(t, pskClient("lamp"), server)
		for range 5 {
			coaptest.Pass(50 * time.Minute)
			send(t, p.client, atClient, "here")
			receive(t, p.server)
		}
		begin := time.Now()
		requireEnd(t, p.server, atServer, Idle)
		require.Equal(t, time.Hour, time.Since(begin))
		requireEnd(t, p.client, atClient, ClosedByPeer)
		p.close()
	})
}

// Beyond the limit the session that was idle for the longest time gives way.
func TestEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := pskServer()
		server.MaxSessions = 3
		p := newPair(t, pskClient("lamp"), server)
		clients, sessions := []*Conn{p.client}, []*transport.Session{p.dial()}
		for i := range 3 {
			c := p.listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), 40000), pskClient("lamp"))
			t.Cleanup(func() { c.Close() })
			if i == 2 { // the first is in use
				coaptest.Pass(time.Second)
				send(t, p.client, sessions[0], "here")
				receive(t, p.server)
			}
			s, err := c.Dial(context.Background(), serverAddr, "")
			require.NoError(t, err)
			clients, sessions = append(clients, c), append(sessions, s)
		}
		requireEnd(t, clients[1], sessions[1], ClosedByPeer)
		require.Equal(t, 3, p.server.Stats().Sessions)
		require.EqualValues(t, 1, p.server.Stats().EndedBy[Evicted])
		send(t, p.client, sessions[0], "still here")
		for {
			if d := receive(t, p.server); d.Err == nil {
				require.Equal(t, "still here", string(d.Data))
				break
			}
		}
		for _, c := range clients {
			c.Close()
		}
		p.close()
	})
}

// The second session with a server takes less (RFC 5246 section 7.3), and is as good.
func TestResumption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := pskServer()
		server.ConnectionID = -1 // those who have connection IDs begin anew, see the end
		p, atClient, atServer := established(t, pskClient("lamp"), server)
		require.NoError(t, p.client.Forget(atClient))
		requireEnd(t, p.client, atClient, ClosedHere)
		requireEnd(t, p.server, atServer, ClosedByPeer)
		asked := 0
		lookup := p.server.cfg.PSK
		p.server.cfg.PSK = func(identity string) ([]byte, error) { asked++; return lookup(identity) }
		s := p.dial()
		var d transport.Datagram
		for _, early := range []string{"again", "and", "again"} { // while the server may still be at the last message of the handshake
			send(t, p.client, s, early)
		}
		var came []string
		for range 3 {
			d = receive(t, p.server)
			came = append(came, string(d.Data))
		}
		require.ElementsMatch(t, []string{"again", "and", "again"}, came, "%+v", p.server.Stats())
		require.Equal(t, "lamp", d.Session.Identity.(*Identity).PSK)
		send(t, p.server, d.Session, "yes")
		require.Equal(t, "yes", string(receive(t, p.client).Data))
		require.EqualValues(t, 1, p.server.Stats().Resumed)
		p.close()
	})
	synctest.Test(t, func(t *testing.T) {
		p, atClient, _ := established(t, pskClient("lamp"), pskServer())
		require.NoError(t, p.client.Forget(atClient))
		requireEnd(t, p.client, atClient, ClosedHere)
		p.dial()
		require.Zero(t, p.server.Stats().Resumed)
		require.Zero(t, p.client.Stats().Resumed)
		p.close()
	})
}

// A report that a datagram was not delivered is believed if it quotes one.
func TestUndelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, atClient, _ := established(t, pskClient("lamp"), pskServer())
		cfg := p.net.Config()
		unreachable := errors.New("unreachable")
		cfg.Filter = func(*mem.Packet) mem.Verdict { return mem.Verdict{Err: unreachable} }
		p.net.SetConfig(cfg)
		send(t, p.client, atClient, "nobody there")
		d := receive(t, p.client)
		require.ErrorIs(t, d.Err, unreachable)
		require.Same(t, atClient, d.Session)
		require.Nil(t, d.Data)

		p.client.receive(&transport.Datagram{Remote: serverAddr, Err: unreachable, Data: make([]byte, 60)}, time.Now())
		require.EqualValues(t, 1, p.client.Stats().Undelivered, "a forged report")
		require.Equal(t, 1, p.client.Stats().Sessions)
		p.close()
	})
}

func TestKeyLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		client := pskClient("lamp")
		client.KeyLog = &log
		p := newPair(t, client, pskServer())
		p.dial()
		require.True(t, strings.HasPrefix(log.String(), "CLIENT_RANDOM "), log.String())
		p.close()
	})
}

func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, atClient, _ := established(t, pskClient("lamp"), pskServer())
		read := make(chan error)
		go func() {
			_, err := p.client.ReadBatch(make([]transport.Datagram, 1))
			read <- err
		}()
		synctest.Wait()
		require.NoError(t, p.client.Close())
		require.ErrorIs(t, <-read, net.ErrClosed)
		_, err := p.client.WriteBatch([]transport.Datagram{{Session: atClient}})
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = p.client.Dial(context.Background(), serverAddr, "")
		require.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, p.client.Close())
		p.close()
	})
}

func TestWriteWithoutSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, atClient, _ := established(t, pskClient("lamp"), pskServer())
		n, err := p.client.WriteBatch([]transport.Datagram{{Data: []byte("a"), Session: atClient}, {Data: []byte("b"), Remote: serverAddr}})
		require.Equal(t, 1, n)
		require.ErrorIs(t, err, ErrNoSession)
		require.Equal(t, "a", string(receive(t, p.server).Data))
		n, err = p.client.WriteBatch([]transport.Datagram{{Data: make([]byte, maxPlaintext+1), Session: atClient}})
		require.Zero(t, n)
		require.ErrorIs(t, err, transport.ErrTooLarge)
		p.close()
	})
}

// What comes for a session that has just ended, of which its reader does not know yet, changes nothing: who tells of the
// end reads where it was.
func TestEndedStaysWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, atServer := established(t, pskClient("lamp"), pskServer())
		s := p.server.sessions[atServer]
		require.NoError(t, p.server.Forget(atServer))
		before := [2]netip.AddrPort{s.remote, s.local}
		for _, from := range []netip.AddrPort{clientAddr, netip.MustParseAddrPort("203.0.113.7:61000")} {
			d := &transport.Datagram{Remote: from, Local: netip.MustParseAddrPort("192.0.2.77:5684")}
			require.False(t, p.server.locate(s, d, true, time.Now()))
			require.Equal(t, before, [2]netip.AddrPort{s.remote, s.local})
		}
		p.close()
	})
}

// Who has connected to us is no server for that: requests go over its session only if it has shown what a server of that name would have to
// show. Otherwise Dial begins another session, where it cannot pass for one either.
func TestClientIsNoServer(t *testing.T) {
	ca, others := newAuthority(t, "servers"), newAuthority(t, "clients")
	server := func(clients *authority) *Config {
		cfg := &Config{Certificates: []tls.Certificate{ca.issue("192.0.2.1")}, RootCAs: ca.pool()}
		if clients != nil {
			cfg.ClientCAs = clients.pool()
		}
		return cfg
	}
	client := func(by *authority) *Config {
		return &Config{Certificates: []tls.Certificate{by.issue("bank.example")}, RootCAs: ca.pool()}
	}
	keys := func(identity string, key []byte) *Config {
		cfg := pskServer()
		cfg.Credentials = PSK(identity, key)
		return cfg
	}
	for name, test := range map[string]struct {
		client, server *Config
		dialed         string
		passes         bool
	}{
		"anonymous":                         {&Config{RootCAs: ca.pool()}, server(nil), "bank.example", false},
		"anonymous, by its address":         {&Config{RootCAs: ca.pool()}, server(nil), "", false},
		"signed by who signs for clients":   {client(others), server(others), "bank.example", false},
		"signed by who signs for servers":   {client(ca), server(ca), "bank.example", true},
		"with another name":                 {client(ca), server(ca), "shop.example", false},
		"with a name where an address is":   {client(ca), server(ca), "", false},
		"a key":                             {pskClient("lamp"), pskServer(), "bank.example", false},
		"the key that we would use":         {pskClient("lamp"), keys("lamp", key), "bank.example", true},
		"another key of that identity":      {pskClient("lamp"), keys("lamp", []byte("another")), "bank.example", false},
		"the same key of another identity":  {pskClient("lamp"), keys("gateway", key), "bank.example", false},
		"we would use no key for that name": {pskClient("lamp"), keys("", nil), "bank.example", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _, atServer := established(t, test.client, test.server)
				for range 2 {
					s, err := p.server.Dial(context.Background(), clientAddr, test.dialed)
					if test.passes {
						require.NoError(t, err)
						require.Same(t, atServer, s)
						continue
					}
					_, failed := errors.AsType[*HandshakeError](err)
					require.True(t, failed, "%v", err)
				}
				send(t, p.server, atServer, "as ever") // an answer
				require.Equal(t, "as ever", string(receive(t, p.client).Data))
				p.close()
			})
		})
	}
}
