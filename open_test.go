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
		require.False(t, waiting.IsDone())
		require.NoError(t, rs.Close())
		require.NoError(t, rs.Close())
		waiting.RequireErr(t, "it does not wait on", coap.ErrClosed)
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
		one := func(confirmable bool) exchange.Notice {
			return exchange.Notice{
				Peer: asked.Peer(), Token: asked.Token(), Seq: 5, Confirmable: confirmable,
				Done: func(err error) { ends = append(ends, err) },
			}
		}
		push := func(confirmable bool) *exchange.Notice {
			n, ready := []exchange.Notice{one(confirmable)}, false
			asked.Pusher().Push(&coap.Response{Code: message.Content}, n, func() { ready = true })
			require.NoError(t, n[0].Err)
			require.True(t, ready)
			return &n[0]
		}
		var rejected []uint16
		stop := asked.Pusher().Watch(func(from coap.Peer, id uint16) bool {
			require.Equal(t, asked.Peer().Addr, from.Addr)
			rejected = append(rejected, id)
			return true
		})
		push(true)
		n := r.peer.want("notification", "CON 2.05 tok=4a opt=6:05")
		require.Empty(t, ends)
		r.peer.send("ACK 0.00 mid=%d", n.MessageID)
		synctest.Wait()
		require.Equal(t, []error{nil}, ends)
		id := push(false).ID
		n = r.peer.want("notification", "NON 2.05 tok=4a opt=6:05")
		pass(time.Minute)
		r.peer.send("RST 0.00 mid=%d", n.MessageID)
		synctest.Wait()
		require.Equal(t, []uint16{id}, rejected)
		require.Len(t, ends, 1)
		push(true)
		pass(100 * time.Second)
		require.Len(t, ends, 2)
		require.ErrorIs(t, ends[1], coap.ErrTimeout)
		for range 5 {
			r.peer.want("sent and retransmitted", "CON 2.05 tok=4a")
		}
		p := push(true).Pushed
		p.Forget()
		p.Forget()
		r.peer.want("sent once", "CON 2.05 tok=4a")
		pass(100 * time.Second)
		r.peer.wantNothing("forgotten")
		require.Len(t, ends, 2)
		push(false)
		n = r.peer.want("sent", "NON 2.05 tok=4a")
		stop()
		r.peer.send("RST 0.00 mid=%d", n.MessageID)
		synctest.Wait()
		require.Len(t, rejected, 1, "nobody wants to know")
		r.requireForgotten()
		r.ep.Close()
		last := []exchange.Notice{one(true), one(false)}
		asked.Pusher().Push(new(coap.Response), last, nil)
		require.ErrorIs(t, last[0].Err, coap.ErrClosed)
		require.ErrorIs(t, last[1].Err, coap.ErrClosed)
	})
}

// What is sent to many is encoded once, but for what differs.
func TestPushToMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, nil)
		w := &coap.Response{Code: message.Content, Payload: []byte("x")}
		require.NoError(t, w.SetETag([]byte{7}))
		w.Options.SetUint(message.OptionObserve, 99) // of no meaning
		w.SetMaxAge(time.Second)
		var to []exchange.Notice
		for i := range 300 {
			to = append(to, exchange.Notice{Peer: coap.Peer{Addr: peerAddr}, Token: message.Token{byte(i), 1}, Seq: uint32(i / 100), Confirmable: i == 150})
		}
		to[7].Token = make(message.Token, 2000)
		r.ep.Push(w, to, nil)
		require.ErrorIs(t, to[7].Err, coap.ErrTooLarge)
		seen := map[string]bool{}
		for range 299 {
			p := r.peer.next("a notification")
			seen[p.Token.String()+p.Options.Target()] = true
			i := int(p.Token[0])
			v, _ := p.Options.Uint(message.OptionObserve)
			require.Contains(t, []int{i / 100, (i + 256) / 100}, int(v))
			require.Equal(t, time.Second, p.Options.MaxAge())
			require.Equal(t, 3, p.Options.Len())
			require.Equal(t, "x", string(p.Payload))
		}
		w.Code = message.NotFound
		r.ep.Push(w, to[:1], nil)
		p := r.peer.want("an error", "NON 4.04 tok=%s", to[0].Token)
		require.False(t, p.Options.Has(message.OptionObserve))
	})
}
