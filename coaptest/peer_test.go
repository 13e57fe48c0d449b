package coaptest_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/transport/mem"
)

func hello() coap.Handler {
	mux := coap.NewMux()
	mux.HandleFunc("GET /a", func(w *coap.Response, _ *coap.Request) error { return w.Text("hello") })
	mux.HandleFunc("GET /slow", func(w *coap.Response, _ *coap.Request) error {
		<-time.After(10 * time.Second)
		return w.Text("late")
	})
	return mux
}

// A peer is a client of the server under test.
func TestPeerAsClient(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		s := coaptest.NewServer(t, hello(), nil)
		p := s.NewPeer(t)
		p.Send("CON GET tok=51 path=a")
		first := p.Expect("ACK 2.05 tok=51 Content-Format:text/plain pay=hello")
		require.Equal(t, s.Addr, first.From)
		p.Repeat()
		require.Equal(t, first.Bytes, p.Expect("ACK 2.05 pay=hello").Bytes, "a duplicate")
		require.EqualValues(t, 1, s.Endpoint.Stats().Duplicates)
		p.Send("CON GET tok=51 path=a")
		require.NotEqual(t, first.MessageID, p.Expect("ACK 2.05").MessageID, "another message ID")

		p.Send("CON GET mid=9 tok=52 path=slow")
		p.ExpectNothing(499 * time.Millisecond)
		coaptest.Pass(time.Millisecond)
		p.Expect("ACK 0.00 mid=9")
		p.ExpectNothing(9 * time.Second)
		coaptest.Pass(time.Second)
		p.Expect("CON 2.05 tok=52 pay=late")
		require.Equal(t, 0, p.Pending())
		p.Answer("ACK 0.00")
		p.ExpectNothing(time.Minute)
		require.Zero(t, s.Endpoint.Stats().Retransmitted)
		p.SendBytes([]byte{0x40, 0, 0, 1}) // a ping
		p.Expect("RST 0.00 mid=1")
	})
}

// A peer is a server for the client under test.
func TestPeerAsServer(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		n := coaptest.NewNetwork(t, mem.Config{Delay: 10 * time.Millisecond})
		p := coaptest.NewPeer(t, n, netip.MustParseAddrPort("[2001:db8::1]:61616"))
		host, err := n.Host(mem.Interface{Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::2")}})
		require.NoError(t, err)
		conn, err := host.Listen(netip.AddrPort{})
		require.NoError(t, err)
		ep, err := coap.NewEndpoint(conn, nil, nil)
		require.NoError(t, err)
		t.Cleanup(func() { ep.Close() })
		client := &coap.Client{Endpoint: ep}
		get := func(path string) *coaptest.Call[*coap.Response] {
			return coaptest.Go(func() (*coap.Response, error) { return client.Get(t.Context(), p.URL+path) })
		}

		call := get("/piggybacked")
		coaptest.Pass(10 * time.Millisecond)
		require.False(t, call.Done())
		p.Expect("CON GET path=piggybacked")
		p.Answer("ACK 2.05 pay=1")
		resp, err := call.Wait()
		require.NoError(t, err)
		require.Equal(t, "1", string(resp.Payload))
		require.True(t, call.Done())

		call = get("/separate")
		coaptest.Pass(10 * time.Millisecond)
		p.Expect("CON GET path=separate")
		p.Answer("ACK 0.00")
		p.ExpectNothing(time.Minute)
		p.Answer("CON 2.05 pay=2")
		p.Repeat()
		coaptest.Pass(20 * time.Millisecond)
		p.Expect("ACK 0.00")
		p.Expect("ACK 0.00 # of the duplicate")
		resp, err = call.Wait()
		require.NoError(t, err)
		require.Equal(t, "2", string(resp.Payload))

		p.Drop(2)
		call = get("/rejected")
		p.ExpectNothing(2*time.Second - time.Nanosecond)
		coaptest.Pass(8 * time.Second) // the second retransmission comes after 9 s at the latest
		p.Expect("CON GET # the third transmission")
		require.EqualValues(t, 2, n.Stats().Filtered)
		p.Answer("RST 0.00")
		_, err = call.Wait()
		require.ErrorIs(t, err, coap.ErrReset)
	})
}

// What Drop says is lost, whatever the Filter does, and nothing else.
func TestDrop(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		seen := 0
		n := coaptest.NewNetwork(t, mem.Config{})
		s := n.NewServer(t, hello(), nil)
		n.Drop("ACK 2.05")
		n.Drop("ACK 2.05 # the answer to the retransmission")
		n.SetConfig(mem.Config{Filter: func(*mem.Packet) mem.Verdict {
			seen++
			return mem.Verdict{}
		}})
		resp, err := s.Client.Get(t.Context(), "/a")
		require.NoError(t, err)
		require.Equal(t, "hello", string(resp.Payload))
		require.Equal(t, 6, seen, "three transmissions and their answers")
		require.EqualValues(t, 2, n.Stats().Filtered)
		require.NotNil(t, n.Config().Filter)
		n.Config().Filter(nil)
		require.Equal(t, 7, seen, "Config returns what was set")
	})
}

// Servers and clients have addresses of their own, next to those that were chosen.
func TestNewServer(t *testing.T) {
	n := coaptest.NewNetwork(t, mem.Config{})
	_, err := n.Listen(netip.MustParseAddrPort("192.0.2.1:5683"))
	require.NoError(t, err)
	one, two := n.NewServer(t, hello(), nil), n.NewServer(t, hello(), &coap.Config{})
	require.Equal(t, "coap://192.0.2.2", one.URL)
	require.Equal(t, "192.0.2.2:5683", one.Addr.String())
	for _, uri := range []string{"/a", one.URL + "/a", two.URL + "/a"} {
		resp, err := one.Client.Get(t.Context(), uri) // in real time, too
		require.NoError(t, err)
		require.Equal(t, "hello", string(resp.Payload))
	}
	require.EqualValues(t, 1, two.Endpoint.Stats().Requests)
}

// A test that fails, whoever says so, logs what has crossed the network.
func TestFailureShowsChart(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		log, failed := try(func(t testing.TB) {
			s := coaptest.NewServer(t, hello(), nil)
			p := s.NewPeer(t)
			p.Send("CON GET mid=1 tok=51 path=a")
			p.Expect("ACK 2.05 pay=hello")
			s.Network.Drop("CON 2.05")
			p.Send("CON GET mid=2 tok=52 path=slow")
			coaptest.Pass(10 * time.Second)
			p.Send("CON GET mid=3 tok=53 path=b")
			p.Expect("ACK 0.00")
			p.Expect("ACK 2.05 mid=%d # the third", 3)
			t.Errorf("not reached")
		})
		require.True(t, failed)
		require.Regexp(t, `^coaptest: 192.0.2.3:5683 expects ACK 2.05 mid=3 # the third
got ACK 4.04 mid=0x0003 tok=53
the code is 4.04 Not Found, want 2.05 Content
messages on the network:
 seconds
   0.000  192.0.2.3:5683 ------> 192.0.2.1:5683  CON GET mid=0x0001 tok=51 path=a
   0.000  192.0.2.3:5683 <------ 192.0.2.1:5683  ACK 2.05 mid=0x0001 tok=51 Content-Format:0 pay=hello
   0.000  192.0.2.3:5683 ------> 192.0.2.1:5683  CON GET mid=0x0002 tok=52 path=slow
   0.500  192.0.2.3:5683 <------ 192.0.2.1:5683  ACK 0.00 mid=0x0002
  10.000  192.0.2.3:5683  X----- 192.0.2.1:5683  CON 2.05 mid=0x[0-9a-f]{4} tok=52 Content-Format:0 pay=late  \(lost\)
  10.000  192.0.2.3:5683 ------> 192.0.2.1:5683  CON GET mid=0x0003 tok=53 path=b
  10.000  192.0.2.3:5683 <------ 192.0.2.1:5683  ACK 4.04 mid=0x0003 tok=53

$`, log)
	})
	log, failed := try(func(t testing.TB) {
		n := coaptest.NewNetwork(t, mem.Config{})
		n.NewClient(t, nil)
		t.Errorf("something else")
	})
	require.True(t, failed)
	require.Equal(t, "something else\nmessages on the network:\nno messages\n\n", log)
	log, failed = try(func(t testing.TB) {
		s := coaptest.NewServer(t, hello(), nil)
		_, err := s.Client.Get(t.Context(), "/a")
		require.NoError(t, err)
	})
	require.False(t, failed)
	require.Empty(t, log, "a test that has passed says nothing")
}

// Errors of handlers are in the log of the test as long as that lasts.
func TestHandlerErrorsAreLogged(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		fails := handler(func(*coap.Response, *coap.Request) error { return errors.New("no sensor") })
		log, _ := try(func(t testing.TB) {
			s := coaptest.NewServer(t, fails, nil)
			resp, err := s.Client.Get(t.Context(), "/a")
			require.NoError(t, err)
			require.Equal(t, coap.InternalServerError, resp.Code)
		})
		require.Contains(t, log, "no sensor")
	})
}

// The marks of a chart: what a network does to messages.
func TestChart(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		n := coaptest.NewNetwork(t, mem.Config{})
		a := coaptest.NewPeer(t, n, netip.AddrPort{})
		b := coaptest.NewPeer(t, n, netip.MustParseAddrPort("192.0.2.100:61616"))
		send := func(v mem.Verdict, cut bool) {
			n.SetConfig(mem.Config{Filter: func(*mem.Packet) mem.Verdict { return v }})
			if cut {
				n.Cut(a.Addr.Addr(), b.Addr.Addr())
			}
			b.To = a.Addr
			b.Send("NON GET mid=7 pay=%060d", 0)
			n.Heal()
			coaptest.Pass(time.Second)
		}
		send(mem.Verdict{Copies: 2, Delay: 1500 * time.Microsecond}, false)
		send(mem.Verdict{}, true)
		send(mem.Verdict{Err: errors.New("no route")}, false)
		n.SetConfig(mem.Config{})
		a.To = netip.MustParseAddrPort("224.0.1.187:61616")
		a.Send("NON GET mid=8 pay=%0100d", 0)
		require.NoError(t, b.Conn.Join(a.To.Addr(), 0))
		a.Send("NON GET mid=9")
		n.SetConfig(mem.Config{NoUnreachable: true})
		a.To = netip.MustParseAddrPort("192.0.2.99:1")
		a.SendBytes([]byte{0xff, 1})
		zeros := "000000000000000000000000000000000000000000000000"
		require.Equal(t, ` seconds
   0.000  192.0.2.100:61616 ------> 192.0.2.1:5683     NON GET mid=0x0007 pay=`+zeros+`000000000000  (arrives after 1.5ms, arrives 3 times)
   1.000  192.0.2.100:61616 -----X  192.0.2.1:5683     NON GET mid=0x0007 pay=`+zeros+`000000000000  (lost)
   2.000  192.0.2.100:61616 -----X  192.0.2.1:5683     NON GET mid=0x0007 pay=`+zeros+`000000000000  (not delivered: no route)
   3.000  192.0.2.1:5683    -----X  224.0.1.187:61616  NON GET mid=0x0008 pay=`+zeros+`... (100 bytes)  (lost)
   3.000  192.0.2.100:61616 <------ 192.0.2.1:5683     NON GET mid=0x0009
   3.000  192.0.2.1:5683    ------> 192.0.2.99:1       2 bytes ff01: malformed message: shorter than the 4 bytes of the header
`, n.Chart())
		require.Equal(t, 3, a.Pending())

		for i := range 1000 {
			a.To = b.Addr
			a.Send("NON GET mid=%d", i)
		}
		require.Regexp(t, `^506 earlier messages, then\n seconds\n.*mid=0x01f4\n(.*\n){498}.*mid=0x03e7\n$`, n.Chart())
	})
}

// Scripts that cannot work say what is missing.
func TestMisuse(t *testing.T) {
	for name, test := range map[string]struct {
		want   string
		script func(t testing.TB, n *coaptest.Network, p *coaptest.Peer)
	}{
		"bad line": {`line "CON GTE": code "GTE": want a method`, func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) { p.Expect("CON GTE") }},
		"bad drop": {`line "ACK": a line begins`, func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) { n.Drop("ACK") }},
		"wildcard": {"what is sent has a type and a code", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) {
			p.To = p.Addr
			p.Send("* GET")
		}},
		"ACK of what": {"ACK and RST need mid=", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) { p.Send("ACK 2.05") }},
		"nowhere":     {"192.0.2.1:5683 does not know where to send: set To", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) { p.Send("CON GET") }},
		"no question": {"no message to be answered was taken", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) { p.Answer("ACK 2.05") }},
		"no answer":   {"this is no answer; use Send", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) { p.Answer("CON GET") }},
		"no message":  {"has nothing to repeat", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) { p.Repeat() }},
		"unencodable": {"code 0.00 with more than a header", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) {
			p.To = p.Addr
			p.Send("CON 0.00 tok=01")
		}},
		"address in use": {"address already in use", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) { coaptest.NewPeer(t, n, p.Addr) }},
		"nothing":        {"192.0.2.1:5683 expects ACK 2.05 # why\nnothing has come", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) { p.Expect("ACK 2.05 # why") }},
		"nothing at all": {"expects a message, nothing has come", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) { p.Next() }},
		"something": {"192.0.2.1:5683 expects nothing\ngot NON GET mid=0x4001 (2 in all)", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) {
			p.To = p.Addr
			p.Send("NON GET")
			p.Repeat()
			p.ExpectNothing(0)
		}},
		"malformed": {"has got 4001 from 192.0.2.1:5683: malformed message: ", func(t testing.TB, n *coaptest.Network, p *coaptest.Peer) {
			p.To = p.Addr
			p.SendBytes([]byte{0x40, 1})
			p.ExpectNothing(0)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			coaptest.Run(t, func(t *testing.T) {
				log, failed := try(func(t testing.TB) {
					n := coaptest.NewNetwork(t, mem.Config{})
					test.script(t, n, coaptest.NewPeer(t, n, netip.AddrPort{}))
				})
				require.True(t, failed)
				require.Contains(t, log, test.want)
			})
		})
	}
	log, _ := try(func(t testing.TB) {
		n := coaptest.NewNetwork(t, mem.Config{})
		coaptest.NewPeer(t, n, netip.AddrPort{}).Expect("CON GET")
	})
	require.Contains(t, log, "put the test into coaptest.Run")
}
