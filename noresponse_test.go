package coap_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
)

// Figure 1 of RFC 7967: updates are sent and nothing is waited for, whether the server knows the option
// or not.
//
// Proves 7967-2.1-03.
func TestSend(t *testing.T) {
	update := func(t *testing.T, payload string) *coap.Request {
		req := request(t, coap.PUT, peerAddr, "/vehicle-stat-00")
		req.Payload = []byte(payload)
		return req
	}
	bubble(t, "updates", func(t *testing.T) {
		r := newRig(t, nil, nil)
		r.peer.to = serverAddr
		c := &coap.Client{Endpoint: r.ep}
		start := time.Now()
		require.NoError(t, c.Send(t.Context(), update(t, "one")))
		first := r.peer.want("an update", "NON PUT path=vehicle-stat-00 opt=258:1a pay=one")
		pass(20 * time.Second)
		require.NoError(t, c.Send(t.Context(), update(t, "two")))
		second := r.peer.want("the next in 20 s", "NON PUT path=vehicle-stat-00 opt=258:1a pay=two")
		require.NotEqual(t, first.Token, second.Token)
		require.Equal(t, 20*time.Second, time.Since(start), "nothing is waited for")
		r.peer.send("NON 2.04 mid=1 tok=%s", first.Token)
		r.peer.wantNothing("an answer all the same is no offence")
		require.Equal(t, uint64(1), r.ep.Stats().Dropped[exchange.DropLate])
		resp := coap.Response{Code: message.Content, Payload: []byte("old")}
		req := update(t, "three")
		req.Options.SetUint(message.OptionNoResponse, 26)
		req.NonConfirmable = true
		require.NoError(t, c.Do(t.Context(), req, &resp))
		require.Equal(t, message.Empty, resp.Code)
		require.Empty(t, resp.Payload)
		require.NoError(t, resp.Err())
		r.peer.next("sent")
		r.requireForgotten()
	})
	bubble(t, "the caller's request is not changed", func(t *testing.T) {
		r := newRig(t, nil, nil)
		req := update(t, "one")
		require.NoError(t, (&coap.Client{Endpoint: r.ep}).Send(t.Context(), req))
		require.False(t, req.NonConfirmable || req.Options.Has(message.OptionNoResponse))
	})
	bubble(t, "confirmable: the acknowledgement is waited for", func(t *testing.T) {
		r := newRig(t, nil, nil)
		r.peer.to = serverAddr
		req := update(t, "one")
		req.Options.SetUint(message.OptionNoResponse, 26)
		done := async(t.Context(), r.ep, req)
		s := r.peer.want("an update", "CON PUT opt=258:1a")
		require.False(t, done.isDone())
		r.peer.send("ACK 0.00 mid=%d", s.MessageID)
		done.requireCode(t, "no response is to come", "0.00")
		r.requireForgotten()
	})
	bubble(t, "only errors are of interest", func(t *testing.T) {
		r := newRig(t, nil, nil)
		r.peer.to = serverAddr
		c := &coap.Client{Endpoint: r.ep}
		req := update(t, "one")
		req.Options.SetUint(message.OptionNoResponse, 2)
		send := func() *result {
			return asyncDo(func(*coap.Response) error { return c.Send(context.Background(), req) })
		}
		done := send()
		s := r.peer.want("an update", "NON PUT opt=258:02")
		r.peer.send("NON 4.04 mid=1 tok=%s pay=unknown", s.Token)
		require.True(t, done.isDone())
		require.Equal(t, &coap.Error{Code: message.NotFound, Diagnostic: "unknown"}, done.err)
		done = send()
		pass(10*time.Second - time.Millisecond)
		require.False(t, done.isDone())
		pass(time.Millisecond)
		require.True(t, done.isDone())
		require.NoError(t, done.err)
	})
	bubble(t, "a group", func(t *testing.T) {
		r := newRig(t, nil, nil)
		member := r.newPeer(netip.MustParseAddrPort("192.0.2.11:5683"))
		require.NoError(t, member.conn.Join(groupAddr.Addr(), 0))
		c := &coap.Client{Endpoint: r.ep}
		require.NoError(t, c.Send(t.Context(), request(t, coap.POST, groupAddr, "/lights?on")))
		s := member.want("the switch", "NON POST path=lights query=on opt=258:1a")
		member.send("NON 4.04 mid=1 tok=%s", s.Token)
		require.Equal(t, uint64(0), r.ep.Stats().Responses)
		require.Error(t, c.Do(t.Context(), request(t, coap.POST, groupAddr, "/lights?on"), new(coap.Response)))
		r.requireForgotten()
	})
	bubble(t, "in blocks the responses are needed", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		var got []byte
		mux := coap.NewMux()
		mux.HandleFunc("PUT /a", func(w *coap.Response, r *coap.Request) error {
			require.False(t, r.Options.Has(message.OptionNoResponse))
			got = append([]byte(nil), r.Payload...)
			w.Code = message.Changed
			return nil
		})
		endpoint(t, listen(t, network, serverAddr), mux, nil)
		c := &coap.Client{Endpoint: endpoint(t, listen(t, network, peerAddr), nil, nil)}
		req := request(t, coap.PUT, serverAddr, "/a")
		req.Payload = make([]byte, 3000)
		require.NoError(t, c.Send(t.Context(), req))
		require.Len(t, got, 3000)
	})
}
