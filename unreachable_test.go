package coap_test

import (
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
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// S13: the report that a datagram could not be delivered ends its exchange at once, if it
// quotes it.
//
// Proves 7252-4.2-10.
func TestUnreachable(t *testing.T) {
	bubble(t, "nobody listens", func(t *testing.T) {
		r := newRigIn(t, mem.NewNetwork(mem.Config{Delay: 20 * time.Millisecond}), newResources(), nil)
		got := async(t.Context(), r.ep, request(t, coap.GET, peerAddr2, "/x"))
		pass(40 * time.Millisecond)
		got.RequireErr(t, "as soon as the report has come", coap.ErrUnreachable)
		require.Equal(t, 40*time.Millisecond, got.Took)
		require.ErrorContains(t, got.Err, "192.0.2.10")
		require.ErrorContains(t, got.Err, "refused", "the words of the system")
		var timeout net.Error
		require.True(t, errors.As(got.Err, &timeout))
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
			require.False(t, ours.IsDone(), "a report about something else is ignored")
			require.EqualValues(t, 1, r.ep.Stats().Dropped[exchange.DropUndelivered])
			r.net.SetConfig(mem.Config{})
			pass(3 * time.Second)
			asked := r.peer.want("a retransmission", "CON GET path=ours")
			r.peer.send("ACK 2.05 mid=%d tok=%s", asked.MessageID, asked.Token)
			ours.RequireCode(t, "our request", "2.05")
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
		require.False(t, ours.IsDone(), "what was acknowledged was delivered")
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
			require.False(t, ours.IsDone())
			require.EqualValues(t, 1, ep.Stats().Dropped[exchange.DropWrite])
			failing.fails.Store(false)
			pass(3 * time.Second)
			r.peer.to = failing.LocalAddr()
			asked := r.peer.want("a retransmission", "CON GET")
			r.peer.send("ACK 2.05 mid=%d tok=%s", asked.MessageID, asked.Token)
			ours.RequireCode(t, "as if it had been lost", "2.05")
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
			good[i].RequireCode(t, "a good one", "2.05")
			failed[i].RequireErr(t, "a bad one", coap.ErrUnreachable)
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
