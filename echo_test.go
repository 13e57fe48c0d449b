package coap_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	prove "github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
)

// trusting returns cfg for an endpoint that believes in the addresses of its peers, as charts of
// other matters want it.
func trusting(cfg *coap.Config) *coap.Config {
	var c coap.Config
	if cfg != nil {
		c = *cfg
	}
	c.ServeEcho.Mode = prove.Off
	return &c
}

// guarded is a rig whose endpoint does not trust addresses.
func guarded(t *testing.T, h coap.Handler, cfg coap.Config) *rig {
	r := &rig{TB: t, net: mem.NewNetwork(mem.Config{})}
	r.conn = listen(t, r.net, serverAddr)
	require.NoError(t, r.conn.Join(groupAddr.Addr(), 0))
	r.ep = endpoint(t, r.conn, h, &cfg)
	r.peer = r.newPeer(peerAddr)
	return r
}

// sized answers with as many bytes as the query says, after as many seconds.
func sized() *coap.Mux {
	mux := coap.NewMux()
	body := func(w *coap.Response, r *coap.Request) error {
		var n, wait int
		if v, ok := r.Query("n"); ok {
			fmt.Sscan(v, &n)
		}
		if v, ok := r.Query("s"); ok {
			fmt.Sscan(v, &wait)
		}
		if _, fails := r.Query("e"); fails {
			return &coap.Error{Code: coap.NotFound, Diagnostic: strings.Repeat("x", n)}
		}
		<-time.After(time.Duration(wait) * time.Second)
		return w.Bytes(message.OctetStream, bytes.Repeat([]byte("x"), n))
	}
	mux.HandleFunc("GET /body", body, coap.Route{Observable: true})
	mux.HandleFunc("POST /body", body)
	return mux
}

// Whoever has not shown that he is where he says gets at most three times what he has sent, whatever
// he asks for, retransmissions included.
//
// Proves 9175-2.4-03, 9175-2.6-01, 7252-11.3-01.
func TestAmplification(t *testing.T) {
	for _, request := range []string{
		"CON GET path=body query=n=1000", "NON GET path=body query=n=1000", "CON GET path=body query=n=100000",
		"CON GET path=body query=n=1", "CON GET path=body", "CON GET path=.well-known/core",
		"CON GET path=body query=n=60 query=s=9", "CON GET path=body query=n=1000 query=s=9",
		"CON GET path=body opt=6:", "NON GET path=body opt=6: query=n=1000", "CON GET path=nothing",
		"CON POST path=body query=n=1000", "NON POST path=body query=n=1000", "CON POST path=body query=n=10 query=s=9",
		"CON POST path=body query=n=1000 query=s=9", "CON GET path=body opt=9:00", "CON GET path=body query=e query=n=1000", "CON GET path=body query=n=1000 opt=17:02",
	} {
		bubble(t, request, func(t *testing.T) {
			r := guarded(t, sized(), coap.Config{})
			bytes := map[bool]int{}
			r.net.Watch(func(p *mem.Packet, _ mem.Verdict) {
				bytes[p.Src == peerAddr] += exchange.PacketSize(peerAddr.Addr(), len(p.Data))
			})
			r.peer.send("%s", request)
			pass(10 * time.Minute)
			require.NotZero(t, bytes[false], "there is an answer")
			require.LessOrEqual(t, bytes[false], 3*bytes[true])
		})
	}
}

// A challenge is piggybacked or Non-confirmable, and its value proves one address for some time.
//
// Proves 9175-2.4-07, 9175-2.3-15, 9175-2.2.1-02, 9175-2.3-02, 9175-2.3-10, 9175-2.3-12.
func TestChallenge(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := guarded(t, sized(), coap.Config{})
		r.peer.send("CON GET mid=1 tok=a1 path=body query=n=1000 query=s=9")
		pass(time.Second)
		r.peer.want("promised", "ACK 0.00 mid=1")
		pass(9 * time.Second)
		slow := r.peer.want("once, not to be acknowledged", "NON 4.01 tok=a1")
		r.peer.send("CON GET mid=2 tok=a2 path=body query=n=1000")
		quick := r.peer.want("challenged", "ACK 4.01 mid=2 tok=a2")
		value := func(p packet) []byte {
			v, ok := p.Options.First(message.OptionEcho)
			require.True(t, ok)
			return v
		}
		require.NotEqual(t, value(slow), value(quick), "the time is in it")

		other := r.newPeer(peerAddr2)
		other.send("CON GET mid=2 tok=a2 path=body query=n=1000 opt=252:%x", value(quick))
		other.want("it proves another address", "ACK 4.01 mid=2 tok=a2")
		forged := bytes.Clone(value(quick))
		forged[11] ^= 1
		r.peer.send("CON GET mid=3 tok=a3 path=body query=n=1000 opt=252:%x", forged)
		fresh := r.peer.want("forged", "ACK 4.01 mid=3 tok=a3")
		require.NotEqual(t, forged, value(fresh))
		pass(5*time.Minute + time.Second)
		r.peer.send("CON GET mid=4 tok=a4 path=body query=n=1000 opt=252:%x", value(quick))
		fresh = r.peer.want("too old", "ACK 4.01 mid=4 tok=a4")
		require.Equal(t, uint64(3), r.ep.EchoStats().Refused)

		r.peer.send("CON GET mid=5 tok=a5 path=body query=n=1000 opt=252:%x", value(fresh))
		r.peer.want("proven", "ACK 2.05 mid=5 tok=a5")
		r.peer.send("CON GET mid=6 tok=a6 path=body query=n=1000 query=s=9")
		pass(time.Second)
		r.peer.want("remembered", "ACK 0.00 mid=6")
		pass(9 * time.Second)
		resp := r.peer.want("retransmitted, if need be", "CON 2.05 tok=a6")
		r.peer.send("ACK 0.00 mid=%d", resp.MessageID)
		require.Equal(t, uint64(1), r.ep.EchoStats().Proofs)
		pass(10 * time.Minute)
		r.peer.send("CON GET mid=7 tok=a7 path=body query=n=1000")
		r.peer.want("and forgotten with all else of the peer", "ACK 4.01 mid=7 tok=a7")
	})
	bubble(t, "always", func(t *testing.T) {
		ran := false
		r := guarded(t, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			ran = true
			return w.Text("done")
		}), coap.Config{ServeEcho: prove.ServerConfig{Mode: prove.Always}})
		r.peer.send("CON POST mid=1 tok=a1 path=x")
		got := r.peer.want("challenged", "ACK 4.01 mid=1 tok=a1")
		require.False(t, ran, "before anything is done")
		v, _ := got.Options.First(message.OptionEcho)
		r.peer.send("CON POST mid=2 tok=a2 path=x opt=252:%x", v)
		r.peer.want("done", "ACK 2.05 mid=2 tok=a2 pay=done")
	})
	bubble(t, "off", func(t *testing.T) {
		r := guarded(t, sized(), coap.Config{ServeEcho: prove.ServerConfig{Mode: prove.Off}})
		r.peer.send("CON GET mid=1 tok=a1 path=body query=n=1000 opt=6:")
		r.peer.want("trusted", "ACK 2.05 mid=1 tok=a1")
	})
	bubble(t, "blocks that fit", func(t *testing.T) {
		r := guarded(t, sized(), coap.Config{})
		r.peer.send("CON POST mid=1 tok=a1 path=body query=n=1000")
		got := r.peer.want("done, and begun", "ACK 2.05 mid=1 tok=a1")
		v, ok := got.Options.Uint(message.OptionBlock2)
		require.True(t, ok && v&8 != 0)
		r.peer.send("CON POST mid=2 tok=a2 path=body query=n=10")
		got = r.peer.want("it fits", "ACK 2.05 mid=2 tok=a2 pay=xxxxxxxxxx")
		require.False(t, got.Options.Has(message.OptionBlock2), "who knows no blocks need not")
		require.Equal(t, uint64(1), r.ep.EchoStats().Shortened)
	})
	bubble(t, "a group", func(t *testing.T) {
		r := guarded(t, sized(), coap.Config{})
		r.peer.to = groupAddr
		r.peer.send("NON GET mid=1 tok=a1 path=body query=n=1000")
		pass(5 * time.Second)
		got := r.peer.want("the beginning", "NON 2.05 tok=a1")
		require.True(t, got.Options.Has(message.OptionBlock2))
		r.peer.send("NON GET mid=3 tok=a3 path=body query=n=60")
		pass(5 * time.Second)
		require.Len(t, r.peer.want("as long as it may be", "NON 2.05 tok=a3").Payload, 60)
		r.peer.send("NON GET mid=2 tok=a2 path=body opt=6:")
		pass(5 * time.Second)
		r.peer.want("the one error that a group gets", "NON 4.01 tok=a2")
	})
}

// The client proves its address without being told to, for each kind of exchange.
//
// Proves 9175-2.3-04, 9175-2.2.1-01, 9175-2.3-08.
func TestClientProves(t *testing.T) {
	for name, mode := range map[string]prove.Mode{"large": prove.Large, "always": prove.Always} {
		bubble(t, name, func(t *testing.T) {
			network := mem.NewNetwork(mem.Config{Delay: time.Millisecond})
			conn := listen(t, network, serverAddr)
			require.NoError(t, conn.Join(groupAddr.Addr(), 0))
			server := endpoint(t, conn, sized(), &coap.Config{ServeEcho: prove.ServerConfig{Mode: mode}})
			client := func() *coap.Client {
				return &coap.Client{Endpoint: endpoint(t, listen(t, network, peerAddr), nil, nil)}
			}
			c := client()
			for _, n := range []int{1000, 5000} {
				got := do(t, c, request(t, coap.GET, serverAddr, fmt.Sprintf("/body?n=%d", n)))
				require.Equal(t, strings.Repeat("x", n), string(got.Payload))
			}
			require.Equal(t, uint64(1), server.EchoStats().Challenges, "once is enough")
			require.NoError(t, c.Endpoint.Close())

			pass(10 * time.Minute) // the server has forgotten the address
			c = client()
			for n, err := range c.Observe(t.Context(), "coap://"+serverAddr.String()+"/body?n=2000") {
				require.NoError(t, err)
				if n.Response != nil {
					require.Len(t, n.Response.Payload, 2000)
					break
				}
			}
			require.Equal(t, uint64(2), server.EchoStats().Challenges)
			require.NoError(t, c.Endpoint.Close())

			pass(10 * time.Minute)
			c = client()
			post := request(t, coap.POST, serverAddr, "/body?n=3000")
			post.Payload = bytes.Repeat([]byte("y"), 4000)
			require.Len(t, do(t, c, post).Payload, 3000)
			require.NoError(t, c.Endpoint.Close())

			pass(10 * time.Minute)
			c = client()
			answers := 0
			for resp, err := range c.Multicast(t.Context(), request(t, coap.GET, groupAddr, "/body?n=2000")) {
				require.NoError(t, err)
				require.Len(t, resp.Payload, 2000)
				answers++
			}
			require.Equal(t, 1, answers)
			require.NoError(t, c.Endpoint.Close())

			pass(10 * time.Minute)
			c = client()
			states := ""
			for n, err := range c.ObserveGroup(t.Context(), request(t, coap.GET, groupAddr, "/body?n=2000")) {
				require.NoError(t, err)
				require.Len(t, n.Response.Payload, 2000)
				if states += n.State.String() + " "; n.State == 1 {
					break
				}
			}
			require.Equal(t, "registering live ", states)
			require.NoError(t, c.Endpoint.Close())
		})
	}
}
