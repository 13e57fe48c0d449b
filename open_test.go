package coap_test

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// next takes the next response of an exchange, without waiting.
func next(t testing.TB, why string, rs exchange.Responses) *coap.Response {
	t.Helper()
	synctest.Wait()
	resp, err := tryNext(rs)
	require.NoError(t, err, why)
	return resp
}

func tryNext(rs exchange.Responses) (*coap.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	resp := new(coap.Response)
	return resp, rs.Next(ctx, resp)
}

// registration makes a request with Observe=0.
func registration(t testing.TB, target string) *coap.Request {
	req := request(t, coap.GET, peerAddr, target)
	req.Options.SetUint(message.OptionObserve, 0)
	return req
}

func TestOpen(t *testing.T) {
	bubble(t, "notifications", func(t *testing.T) {
		r := newRig(t, nil, nil)
		rs, err := r.ep.Open(context.Background(), registration(t, "/a"))
		require.NoError(t, err)
		_, err = tryNext(rs)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		get := r.peer.want("request", "CON GET path=a opt=6:")
		r.peer.send("ACK 2.05 mid=%d tok=%s opt=6:01 pay=one", get.MessageID, get.Token)
		r.peer.send("NON 2.05 mid=1 tok=%s opt=6:02 pay=two", get.Token)
		require.Equal(t, "one", string(next(t, "the response", rs).Payload))
		two := next(t, "a notification", rs)
		require.Equal(t, "two", string(two.Payload))
		require.Equal(t, peerAddr, two.Peer().Addr)
		require.NoError(t, rs.Renew(context.Background(), registration(t, "/a")))
		again := r.peer.want("renewed", "CON GET tok=%s path=a opt=6:", get.Token)
		require.ErrorIs(t, rs.Renew(context.Background(), registration(t, "/a")), coap.ErrBusy)
		r.peer.send("ACK 4.04 mid=%d tok=%s", again.MessageID, get.Token)
		require.Equal(t, message.NotFound, next(t, "the last response", rs).Code)
		_, err = tryNext(rs)
		require.Equal(t, io.EOF, err)
		require.Equal(t, io.EOF, rs.Renew(context.Background(), registration(t, "/a")))
		require.NoError(t, rs.Close())
		r.requireForgotten()
	})
	bubble(t, "nobody answers", func(t *testing.T) {
		r := newRig(t, nil, nil)
		rs, err := r.ep.Open(context.Background(), registration(t, "/a"))
		require.NoError(t, err)
		pass(100 * time.Second)
		_, err = tryNext(rs)
		require.ErrorIs(t, err, coap.ErrTimeout)
	})
	bubble(t, "closed", func(t *testing.T) {
		r := newRig(t, nil, nil)
		rs, err := r.ep.Open(context.Background(), registration(t, "/a"))
		require.NoError(t, err)
		get := r.peer.want("request", "CON GET")
		waiting := asyncDo(func(resp *coap.Response) error { return rs.Next(context.Background(), resp) })
		require.False(t, waiting.isDone())
		require.NoError(t, rs.Close())
		require.NoError(t, rs.Close())
		waiting.requireErr(t, "it does not wait on", coap.ErrClosed)
		r.peer.send("CON 2.05 mid=1 tok=%s opt=6:01", get.Token)
		r.peer.want("rejected", "RST 0.00 mid=1")

		rs, err = r.ep.Open(context.Background(), registration(t, "/a"))
		require.NoError(t, err)
		r.ep.Close()
		_, err = tryNext(rs)
		require.ErrorIs(t, err, coap.ErrClosed)
		require.ErrorIs(t, rs.Renew(context.Background(), registration(t, "/a")), coap.ErrClosed)
		_, err = r.ep.Open(context.Background(), registration(t, "/a"))
		require.ErrorIs(t, err, coap.ErrClosed)
	})
	bubble(t, "too many responses", func(t *testing.T) {
		r := newRig(t, nil, nil)
		rs, err := r.ep.Open(context.Background(), registration(t, "/a"))
		require.NoError(t, err)
		get := r.peer.want("request", "CON GET")
		for i := range 300 {
			r.peer.send("NON 2.05 mid=%d tok=%s opt=6:%06x pay=%d", i, get.Token, i+1, i)
			synctest.Wait()
		}
		require.Equal(t, "44", string(next(t, "old ones have made room", rs).Payload))
		rs.Close()
	})
	bubble(t, "refused", func(t *testing.T) {
		r := newRig(t, nil, nil)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := r.ep.Open(ctx, registration(t, "/a"))
		require.ErrorIs(t, err, context.Canceled)
		_, err = r.ep.Open(context.Background(), new(coap.Request))
		require.Error(t, err)
	})
}

// A request to a group has any number of responses until its window ends.
func TestOpenGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, coap.HandlerFunc(func(w *coap.Response, _ *coap.Request) error { return w.Text("here") }), nil)
		client := endpoint(t, listen(t, r.net, peerAddr2), nil, nil)
		member := r.newPeer(netip.MustParseAddrPort("192.0.2.20:5683"))
		require.NoError(t, member.conn.Join(groupAddr.Addr(), 0))
		req := request(t, coap.GET, groupAddr, "/a")
		req.Window = 10 * time.Second
		rs, err := client.Open(context.Background(), req)
		require.NoError(t, err)
		get := member.want("once, not confirmable", "NON GET path=a")
		member.to = peerAddr2
		member.send("NON 2.05 mid=1 tok=%s pay=there", get.Token)
		require.Equal(t, "there", string(next(t, "a member", rs).Payload))
		pass(defaultLeisure)
		resp := next(t, "another", rs)
		require.Equal(t, "here", string(resp.Payload))
		require.Equal(t, serverAddr, resp.Peer().Addr)
		pass(6 * time.Second)
		_, err = tryNext(rs)
		require.Equal(t, io.EOF, err)
		member.send("CON 2.05 mid=2 tok=%s pay=late", get.Token)
		member.wantNothing("it did no wrong")
		require.NoError(t, rs.Close())
		pass(20 * time.Minute)
		require.Zero(t, sizes(client.Stats()))
	})
}

// Push sends what somebody has asked for before, and tells how that ends.
func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked *coap.Request
		r := newRig(t, coap.HandlerFunc(func(w *coap.Response, req *coap.Request) error {
			asked = req.Clone()
			return nil
		}), nil)
		r.peer.send("CON GET mid=1 tok=4a path=a")
		r.peer.want("response", "ACK 2.05 mid=1 tok=4a")
		require.Equal(t, "4a", asked.Token().String())
		var ends []error
		push := func(confirmable bool) exchange.Pushed {
			w := new(coap.Response)
			w.Code = message.Content
			w.Options.SetUint(message.OptionObserve, 5)
			p, err := asked.Pusher().Push(asked.Peer(), asked.Token(), w, confirmable, func(err error) { ends = append(ends, err) })
			require.NoError(t, err)
			return p
		}
		push(true)
		n := r.peer.want("notification", "CON 2.05 tok=4a opt=6:05")
		require.Empty(t, ends)
		r.peer.send("ACK 0.00 mid=%d", n.MessageID)
		synctest.Wait()
		require.Equal(t, []error{nil}, ends)
		push(false)
		n = r.peer.want("notification", "NON 2.05 tok=4a opt=6:05")
		pass(time.Minute)
		r.peer.send("RST 0.00 mid=%d", n.MessageID)
		synctest.Wait()
		require.Len(t, ends, 2)
		require.ErrorIs(t, ends[1], coap.ErrReset)
		push(true)
		pass(100 * time.Second)
		require.Len(t, ends, 3)
		require.ErrorIs(t, ends[2], coap.ErrTimeout)
		for range 5 {
			r.peer.want("sent and retransmitted", "CON 2.05 tok=4a")
		}
		p := push(true)
		p.Forget()
		p.Forget()
		r.peer.want("sent once", "CON 2.05 tok=4a")
		pass(100 * time.Second)
		r.peer.wantNothing("forgotten")
		require.Len(t, ends, 3)
		p = push(false)
		p.Forget()
		n = r.peer.want("sent", "NON 2.05 tok=4a")
		r.peer.send("RST 0.00 mid=%d", n.MessageID)
		synctest.Wait()
		require.Len(t, ends, 3)
		r.requireForgotten()
		r.ep.Close()
		_, err := asked.Pusher().Push(asked.Peer(), asked.Token(), new(coap.Response), true, nil)
		require.ErrorIs(t, err, coap.ErrClosed)
	})
}
