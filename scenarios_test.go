package coap_test

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// S1: a spoofed malformed datagram from the address of a peer that we wait for does not end
// the exchange, at whatever stage it is.
func TestSpoofedMalformedDatagram(t *testing.T) {
	for _, spoofed := range []string{"48010001010203", "40010001ff", "50010001f0", "41000001aa", "400100", "40000001"} {
		bubble(t, spoofed, func(t *testing.T) {
			r := newRig(t, nil, nil)
			ours := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/ours"))
			asked := r.peer.want("our request", "CON GET")
			spoof := func() {
				t.Helper()
				r.peer.sendHex(spoofed)
				for r.peer.Pending() > 0 {
					r.peer.want("at most a Reset", "RST 0.00 mid=1")
				}
				require.False(t, ours.isDone(), "our request lives")
			}
			spoof()
			r.peer.send("ACK 0.00 mid=%d", asked.MessageID)
			spoof()
			pass(time.Minute)
			spoof()
			r.peer.send("CON 2.05 mid=77 tok=%s pay=hello", asked.Token)
			r.peer.want("the separate response", "ACK 0.00 mid=77")
			ours.requireCode(t, "our request", "2.05")
			r.requireForgotten()
		})
	}
}

// S3: who floods a handler that takes its time gets its share of handlers; beyond that a
// Confirmable request is told to come again, others are dropped, and nobody else notices.
func TestFloodOfOnePeer(t *testing.T) {
	for name, cfg := range map[string]*coap.Config{
		"default":  {},
		"2 of 8":   {Limits: coap.Limits{Handlers: 8}},
		"6 of 8":   {Limits: coap.Limits{Handlers: 8, HandlersPerPeer: 6}},
		"1 of 100": {Limits: coap.Limits{Handlers: 100, HandlersPerPeer: 1}},
	} {
		bubble(t, name, func(t *testing.T) {
			s := newResources()
			r := newRig(t, s, cfg)
			other := r.newPeer(peerAddr2)
			share := cfg.Limits.WithDefaults().HandlersPerPeer
			for i := range share {
				r.peer.send("CON POST mid=%d path=slow", i)
			}
			r.peer.wantNothing("handlers work")
			require.Equal(t, share, r.ep.Stats().Handling)
			for i := range 50 {
				r.peer.send("CON POST mid=%d tok=99 path=slow", 1000+i)
				got := r.peer.want("beyond the share", "ACK 5.03 mid=%d tok=99", 1000+i)
				require.True(t, got.Options.Has(message.OptionMaxAge))
				require.NotZero(t, got.Options.MaxAge())
				r.peer.send("NON POST mid=%d path=slow", 2000+i)
				r.peer.wantNothing("a NON is dropped")
				other.send("CON GET mid=%d path=plain", i)
				other.want("others are served at once", "ACK 2.05 mid=%d pay=plain", i)
				other.send("NON GET mid=%d tok=%04x path=plain", 3000+i, i)
				other.want("others are served at once", "NON 2.05 tok=%04x pay=plain", i)
			}
			require.EqualValues(t, 100, r.ep.Stats().Dropped[exchange.DropPeerBusy])
			require.Equal(t, share, s.count("POST /slow"))
			pass(slowTime)
			r.peer.send("CON POST mid=4000 tok=98 path=echo pay=x")
			for got := r.peer.next("answers"); got.Type != message.Acknowledgement || got.MessageID != 4000; got = r.peer.next("answers") {
				if got.Type == message.Confirmable {
					require.Equal(t, message.Content, got.Code)
					r.peer.send("ACK 0.00 mid=%d", got.MessageID)
				}
			}
			r.requireForgotten()
		})
	}
}

// With all handlers busy on behalf of many peers, everybody is told so.
func TestAllHandlersBusy(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, newResources(), &coap.Config{Limits: coap.Limits{Handlers: 2, HandlersPerPeer: 1}})
		other := r.newPeer(peerAddr2)
		r.peer.send("CON GET mid=1 path=slow")
		other.send("CON GET mid=1 path=slow")
		third := r.newPeer(netip.MustParseAddrPort("192.0.2.11:1"))
		third.send("CON GET mid=1 tok=1234 path=plain")
		third.want("no handler left", "ACK 5.03 mid=1 tok=1234")
		require.EqualValues(t, 1, r.ep.Stats().Dropped[exchange.DropBusy])
		pass(slowTime)
		third.send("CON GET mid=1 tok=1234 path=plain")
		third.want("the same again is no duplicate", "ACK 2.05 mid=1 tok=1234 pay=plain")
	})
}

// S13: the report that a datagram could not be delivered ends its exchange at once, if it
// quotes it.
//
// Proves 7252-4.2-10.
func TestUnreachable(t *testing.T) {
	bubble(t, "nobody listens", func(t *testing.T) {
		r := newRigIn(t, mem.NewNetwork(mem.Config{Delay: 20 * time.Millisecond}), newResources(), nil)
		got := async(t.Context(), r.ep, request(t, coap.GET, peerAddr2, "/x"))
		pass(40 * time.Millisecond)
		got.requireErr(t, "as soon as the report has come", coap.ErrUnreachable)
		require.Equal(t, 40*time.Millisecond, got.took)
		require.ErrorContains(t, got.err, "192.0.2.10")
		require.ErrorContains(t, got.err, "refused", "the words of the system")
		var timeout net.Error
		require.True(t, errors.As(got.err, &timeout))
		require.False(t, timeout.Timeout())
		require.EqualValues(t, 1, r.ep.Stats().Unreachable)
		r.peer.send("CON GET mid=1 path=plain")
		pass(40 * time.Millisecond)
		r.peer.want("the socket lives", "ACK 2.05")
	})
	forgeries := map[string]func(p *mem.Packet){
		"message ID": func(p *mem.Packet) { p.Data[3]++ },
		"type":       func(p *mem.Packet) { p.Data[0] ^= 0x10 },
		"code":       func(p *mem.Packet) { p.Data[1]++ },
		"token":      func(p *mem.Packet) { p.Data[5]++ },
		"bytes":      func(p *mem.Packet) { p.Data[len(p.Data)-1]++ },
		"short":      func(p *mem.Packet) { p.Data = p.Data[:3] },
	}
	for name, forge := range forgeries {
		bubble(t, "forged "+name, func(t *testing.T) {
			cfg := mem.Config{Filter: func(p *mem.Packet) mem.Verdict {
				forge(p)
				return mem.Verdict{Err: syscall.EHOSTUNREACH}
			}}
			r := newRigIn(t, mem.NewNetwork(cfg), newResources(), nil)
			ours := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/ours"))
			require.False(t, ours.isDone(), "a report about something else is ignored")
			require.EqualValues(t, 1, r.ep.Stats().Dropped[exchange.DropUndelivered])
			r.net.SetConfig(mem.Config{})
			pass(3 * time.Second)
			asked := r.peer.want("a retransmission", "CON GET path=ours")
			r.peer.send("ACK 2.05 mid=%d tok=%s", asked.MessageID, asked.Token)
			ours.requireCode(t, "our request", "2.05")
		})
	}
	bubble(t, "after the acknowledgement", func(t *testing.T) {
		r := newRig(t, nil, nil)
		ours := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/ours"))
		asked := r.peer.want("our request", "CON GET")
		r.peer.send("ACK 0.00 mid=%d", asked.MessageID)
		synctest.Wait()
		r.net.SetConfig(mem.Config{Filter: func(p *mem.Packet) mem.Verdict {
			copy(p.Data, asked.raw)
			return mem.Verdict{Err: syscall.EHOSTUNREACH}
		}})
		r.ep.RoundTrip(t.Context(), request(t, coap.GET, peerAddr, "/ours"), new(coap.Response))
		require.False(t, ours.isDone(), "what was acknowledged was delivered")
	})
}

// S13: when the system refuses to send, the exchange ends at once; what passes does not end it.
func TestWriteErrors(t *testing.T) {
	bubble(t, "ENETUNREACH", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		host, err := network.Host(mem.Interface{Addrs: []netip.Addr{serverAddr.Addr()}})
		require.NoError(t, err)
		conn, err := host.Listen(netip.AddrPortFrom(netip.Addr{}, 5683))
		require.NoError(t, err)
		ep := endpoint(t, conn, newResources(), nil)
		to := netip.MustParseAddrPort("[2001:db8::1]:5683")
		start := time.Now()
		err = ep.RoundTrip(t.Context(), request(t, coap.GET, to, "/x"), new(coap.Response))
		require.ErrorIs(t, err, coap.ErrUnreachable)
		require.Zero(t, time.Since(start), "at once")
		require.ErrorContains(t, err, "network is unreachable")

		p := (&rig{TB: t, net: network}).newPeer(peerAddr)
		p.send("CON GET mid=1 path=plain")
		p.want("the socket lives", "ACK 2.05")
	})
	for _, passing := range []error{syscall.ENOBUFS, syscall.EAGAIN, syscall.EPERM, syscall.EINTR} {
		bubble(t, passing.Error(), func(t *testing.T) {
			r := newRig(t, nil, nil)
			failing := &failingConn{Conn: listen(t, r.net, netip.MustParseAddrPort("192.0.2.3:5683")), err: passing}
			failing.fails.Store(true)
			ep := endpoint(t, failing, nil, nil)
			ours := async(t.Context(), ep, request(t, coap.GET, peerAddr, "/ours"))
			require.False(t, ours.isDone())
			require.EqualValues(t, 1, ep.Stats().Dropped[exchange.DropWrite])
			failing.fails.Store(false)
			pass(3 * time.Second)
			r.peer.to = failing.LocalAddr()
			asked := r.peer.want("a retransmission", "CON GET")
			r.peer.send("ACK 2.05 mid=%d tok=%s", asked.MessageID, asked.Token)
			ours.requireCode(t, "as if it had been lost", "2.05")
		})
	}
	bubble(t, "one of a batch", func(t *testing.T) {
		// Datagrams around one that fails are sent.
		r := newRig(t, nil, nil)
		conn := listen(t, r.net, netip.MustParseAddrPort("192.0.2.3:5683"))
		bad := netip.MustParseAddrPort("[2001:db8::1]:5683")
		ep := endpoint(t, conn, nil, &coap.Config{Params: coap.Params{NStart: 10}})
		var good, failed []*result
		for range 5 {
			good = append(good, async(t.Context(), ep, request(t, coap.GET, peerAddr, "/x")))
			failed = append(failed, async(t.Context(), ep, request(t, coap.GET, bad, "/x")))
		}
		r.peer.to = conn.LocalAddr()
		for range good {
			asked := r.peer.want("a good one", "CON GET")
			r.peer.send("ACK 2.05 mid=%d tok=%s", asked.MessageID, asked.Token)
		}
		for i := range good {
			good[i].requireCode(t, "a good one", "2.05")
			failed[i].requireErr(t, "a bad one", coap.ErrUnreachable)
		}
	})
}

// failingConn cannot send as long as it fails.
type failingConn struct {
	transport.Conn
	err   error
	fails atomic.Bool
}

func (c *failingConn) WriteBatch(ds []transport.Datagram) (int, error) {
	if c.fails.Load() {
		return 0, c.err
	}
	return c.Conn.WriteBatch(ds)
}

// S14: copies of a request during and after a slow handler. It runs once, there is one answer, and
// each copy is acknowledged from memory.
//
// Proves 7252-4.2-02, 7252-4.2-08, 7252-4.5-01, 7252-4.5-03, 7252-5.2.2-01, 7252-5.2.2-02, 7252-5.2.2-04.
func TestDuplicates(t *testing.T) {
	bubble(t, "slow", func(t *testing.T) {
		s := newResources()
		r := newRig(t, s, nil)
		r.peer.send("CON POST mid=7 tok=51 path=slow")
		r.peer.wantNothing("the answer may still be piggybacked")
		pass(500 * time.Millisecond)
		r.peer.want("the handler takes its time", "ACK 0.00 mid=7")
		for range 3 {
			r.peer.send("CON POST mid=7 tok=51 path=slow")
			r.peer.want("a copy during the handler", "ACK 0.00 mid=7")
			r.peer.wantNothing("one acknowledgement for one copy")
		}
		pass(slowTime - 500*time.Millisecond)
		answer := r.peer.want("the answer", "CON 2.05 tok=51 pay=late")
		require.NotEqual(t, 7, answer.MessageID, "message IDs of both directions are apart")
		for range 3 {
			r.peer.send("CON POST mid=7 tok=51 path=slow")
			r.peer.want("a copy before its acknowledgement", "ACK 0.00 mid=7")
			r.peer.wantNothing("no second answer")
		}
		pass(3 * time.Second)
		r.peer.want("the answer again, not acknowledged yet", "CON 2.05 tok=51 mid=%d", answer.MessageID)
		// Code and payload of the acknowledgement do not matter.
		r.peer.send("ACK 2.05 mid=%d tok=51 pay=?", answer.MessageID)
		pass(200 * time.Second)
		r.peer.wantNothing("acknowledged")
		r.peer.send("CON POST mid=7 tok=51 path=slow")
		r.peer.want("a copy much later", "ACK 0.00 mid=7")
		require.Equal(t, 1, s.count("POST /slow"))
		require.EqualValues(t, 7, r.ep.Stats().Duplicates)
		r.requireForgotten()
	})
	bubble(t, "a copy before the empty acknowledgement is due", func(t *testing.T) {
		s := newResources()
		r := newRig(t, s, nil)
		r.peer.send("CON POST mid=7 tok=51 path=slow")
		pass(100 * time.Millisecond)
		r.peer.send("CON POST mid=7 tok=51 path=slow")
		r.peer.wantNothing("the acknowledgement is on its way")
		pass(time.Second)
		r.peer.want("when it is due", "ACK 0.00 mid=7")
		r.peer.wantNothing("no second acknowledgement")
		pass(time.Second)
		got := r.peer.want("now only separately", "CON 2.05 tok=51")
		r.peer.send("RST 0.00 mid=%d", got.MessageID)
		pass(time.Minute)
		r.peer.wantNothing("rejected, so not sent again")
		require.EqualValues(t, 1, r.ep.Stats().LostResponses)
	})
	bubble(t, "fast", func(t *testing.T) {
		s := newResources()
		r := newRig(t, s, nil)
		for i := range 5 {
			r.peer.send("CON POST mid=7 tok=51 path=count")
			got := r.peer.want("the same answer each time", "ACK 2.05 mid=7 tok=51 pay=1")
			require.NotNil(t, got.raw)
			require.Equal(t, 1, s.count("POST /count"), "after copy %d", i)
			pass(45 * time.Second)
		}
		pass(247 * time.Second)
		r.peer.send("CON POST mid=7 tok=51 path=count")
		r.peer.want("EXCHANGE_LIFETIME has passed", "ACK 2.05 mid=7 tok=51 pay=2")
	})
	bubble(t, "NON", func(t *testing.T) {
		s := newResources()
		r := newRig(t, s, nil)
		r.peer.send("NON POST mid=7 tok=51 path=count")
		r.peer.want("the answer", "NON 2.05 tok=51 pay=1")
		for range 3 {
			r.peer.send("NON POST mid=7 tok=51 path=count")
			r.peer.wantNothing("a copy is ignored")
		}
		require.Equal(t, 1, s.count("POST /count"))
	})
	bubble(t, "other bytes with the same message ID", func(t *testing.T) {
		r := newRig(t, newResources(), nil)
		for i := range uint16(3) {
			r.peer.send("CON POST mid=7 tok=%s path=echo pay=%d", message.Token(binary.BigEndian.AppendUint16(nil, i)), i)
			r.peer.want("no stale reply", "ACK 2.05 mid=7 pay=%d", i)
		}
	})
	bubble(t, "same message ID of another peer", func(t *testing.T) {
		s := newResources()
		r := newRig(t, s, nil)
		other := r.newPeer(peerAddr2)
		r.peer.send("CON POST mid=7 tok=51 path=count")
		r.peer.want("", "ACK 2.05 mid=7 pay=1")
		other.send("CON POST mid=7 tok=51 path=count")
		other.want("", "ACK 2.05 mid=7 pay=2")
	})
}
