package coap_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// What the transport says when it fails is what Serve returns.
func TestTransportFails(t *testing.T) {
	bubble(t, "the transport fails", func(t *testing.T) {
		r := newRig(t, newResources(), nil)
		broken := &brokenConn{Conn: listen(t, r.net, peerAddr2), broken: make(chan struct{})}
		s := &coap.Server{Handler: newResources()}
		served := asyncDo(func(*coap.Response) error { return s.Serve(context.Background(), broken) })
		require.False(t, served.IsDone())
		close(broken.broken)
		served.RequireErr(t, "Serve says why", errBroken)
	})
}

var errBroken = errors.New("the cable is cut")

type brokenConn struct {
	transport.Conn
	broken chan struct{}
}

func (c *brokenConn) ReadBatch([]transport.Datagram) (int, error) {
	<-c.broken
	return 0, errBroken
}

func TestServer(t *testing.T) {
	start := func(t *testing.T, s *coap.Server, ctx context.Context) (*rig, *result) {
		r := &rig{TB: t, net: mem.NewNetwork(mem.Config{})}
		r.peer = r.newPeer(peerAddr)
		conn := listen(t, r.net, serverAddr)
		served := asyncDo(func(*coap.Response) error { return s.Serve(ctx, conn) })
		require.False(t, served.IsDone())
		return r, served
	}
	bubble(t, "context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		s := &coap.Server{Handler: newResources()}
		require.Zero(t, s.Stats())
		require.False(t, s.LocalAddr().IsValid())
		r, served := start(t, s, ctx)
		r.peer.send("CON GET mid=1 path=plain")
		r.peer.want("", "ACK 2.05 pay=plain")
		require.Equal(t, serverAddr, s.LocalAddr())
		require.EqualValues(t, 1, s.Stats().Requests)
		cancel()
		require.True(t, served.IsDone())
		require.NoError(t, served.Err)
		r.peer.send("CON GET mid=2 path=plain")
		r.peer.wantNothing("closed")
		require.NoError(t, s.Close())
	})
	bubble(t, "context has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s := &coap.Server{}
		conn := listen(t, mem.NewNetwork(mem.Config{}), serverAddr)
		require.NoError(t, s.Serve(ctx, conn))
		_, err := conn.ReadBatch(make([]transport.Datagram, 1))
		require.ErrorIs(t, err, net.ErrClosed, "Serve closes the Conn")
	})
	bubble(t, "Close", func(t *testing.T) {
		s := &coap.Server{}
		_, served := start(t, s, context.Background())
		require.NoError(t, s.Close())
		require.True(t, served.IsDone())
		require.NoError(t, served.Err)
		require.NoError(t, s.Close())
		require.NoError(t, s.Shutdown(context.Background()))
	})
	bubble(t, "Shutdown", func(t *testing.T) {
		s := &coap.Server{Handler: newResources()}
		r, served := start(t, s, context.Background())
		r.peer.send("NON GET mid=1 tok=01 path=slow")
		synctest.Wait()
		start := time.Now()
		require.NoError(t, s.Shutdown(context.Background()))
		require.Equal(t, slowTime, time.Since(start))
		r.peer.want("the answer", "NON 2.05 tok=01")
		require.True(t, served.IsDone())
		require.NoError(t, served.Err)
	})
	bubble(t, "twice", func(t *testing.T) {
		s := &coap.Server{Handler: newResources()}
		r, served := start(t, s, context.Background())
		second := listen(t, r.net, peerAddr2)
		require.ErrorContains(t, s.Serve(context.Background(), second), "serves already")
		_, err := second.ReadBatch(make([]transport.Datagram, 1))
		require.ErrorIs(t, err, net.ErrClosed, "the second Conn is closed all the same")
		require.False(t, served.IsDone())
		r.peer.send("CON GET mid=1 path=plain")
		r.peer.want("the first serves", "ACK 2.05")
		s.Close()
	})
	for name, end := range map[string]func(*coap.Server) error{
		"Close before":    (*coap.Server).Close,
		"Shutdown before": func(s *coap.Server) error { return s.Shutdown(context.Background()) },
	} {
		bubble(t, name, func(t *testing.T) {
			s := &coap.Server{}
			require.NoError(t, end(s))
			require.NoError(t, end(s))
			conn := listen(t, mem.NewNetwork(mem.Config{}), serverAddr)
			require.NoError(t, s.Serve(context.Background(), conn))
			_, err := conn.ReadBatch(make([]transport.Datagram, 1))
			require.ErrorIs(t, err, net.ErrClosed)
		})
	}
	bubble(t, "bad Config", func(t *testing.T) {
		s := &coap.Server{Config: &coap.Config{Params: coap.Params{MaxRetransmit: 21}}}
		conn := listen(t, mem.NewNetwork(mem.Config{}), serverAddr)
		require.ErrorContains(t, s.Serve(context.Background(), conn), "MaxRetransmit")
		_, err := conn.ReadBatch(make([]transport.Datagram, 1))
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// An endpoint without a handler answers 4.04.
func TestNoHandler(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, nil, nil)
		r.peer.send("CON GET mid=1 path=x")
		r.peer.want("", "ACK 4.04 mid=1")
	})
}

// Close lets a datagram that is being sent go, and what happens afterwards does no harm.
func TestCloseWhileSending(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, nil, nil)
		stuck := &stuckConn{Conn: listen(t, r.net, peerAddr2), sending: make(chan struct{}), gone: make(chan struct{})}
		ep := endpoint(t, stuck, nil, nil)
		ctx, cancel := context.WithCancel(context.Background())
		calls := []*result{
			async(ctx, ep, request(t, coap.GET, peerAddr, "/x")),
			async(ctx, ep, request(t, coap.GET, peerAddr, "/y")),
		}
		<-stuck.sending
		closed := asyncDo(func(*coap.Response) error { return ep.Close() })
		require.False(t, closed.IsDone(), "a datagram is being sent")
		close(stuck.gone)
		require.True(t, closed.IsDone())
		r.peer.want("it was sent", "CON GET")
		cancel()
		for _, c := range calls {
			c.RequireErr(t, "ended", coap.ErrClosed)
		}
		require.NoError(t, ep.Close())
		require.ErrorIs(t, ep.Ping(context.Background(), peerAddr), coap.ErrClosed)
	})
}

// stuckConn says when it is about to send, and sends when it may.
type stuckConn struct {
	transport.Conn
	sending, gone chan struct{}
}

func (c *stuckConn) WriteBatch(ds []transport.Datagram) (int, error) {
	select {
	case c.sending <- struct{}{}:
	case <-c.gone:
	}
	<-c.gone
	return c.Conn.WriteBatch(ds)
}
