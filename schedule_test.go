package coap_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport/mem"
)

// Params of a request, of a destination and of the endpoint, in this order.
func TestParams(t *testing.T) {
	params := func(ack time.Duration, n int) *coap.Params {
		return &coap.Params{AckTimeout: ack, AckRandomFactor: 1, MaxRetransmit: n}
	}
	cfg := &coap.Config{Params: *params(4*time.Second, 1), ParamsFor: func(to netip.AddrPort) *coap.Params {
		if to == peerAddr2 {
			return params(time.Second, 2)
		}
		return nil
	}}
	for _, test := range []struct {
		name   string
		to     netip.AddrPort
		params *coap.Params
		want   []time.Duration // of the transmissions, and of the end
	}{
		{"endpoint", peerAddr, nil, []time.Duration{0, 4, 12}},
		{"destination", peerAddr2, nil, []time.Duration{0, 1, 3, 7}},
		{"request", peerAddr2, params(3*time.Second, 1), []time.Duration{0, 3, 9}},
		{"never again", peerAddr2, params(3*time.Second, -1), []time.Duration{0, 3}},
		{"defaults", peerAddr, &coap.Params{AckRandomFactor: 1}, []time.Duration{0, 2, 6, 14, 30, 62}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			r := newRigIn(t, mem.NewNetwork(mem.Config{NoUnreachable: true}), nil, cfg)
			p := r.peer
			if test.to == peerAddr2 {
				p = r.newPeer(peerAddr2)
			}
			req := request(t, coap.GET, test.to, "/x")
			req.Params = test.params
			start := time.Now()
			got := async(context.Background(), r.ep, req)
			pass(5 * time.Minute)
			end := len(test.want) - 1
			for _, at := range test.want[:end] {
				require.Equal(t, at*time.Second, p.want("a transmission", "CON GET").at.Sub(start))
			}
			p.wantNothing("no more")
			got.RequireErr(t, "the end", coap.ErrNotAcknowledged)
			require.Equal(t, test.want[end]*time.Second, got.Took)
		})
	}
	bubble(t, "bad", func(t *testing.T) {
		r := newRig(t, nil, nil)
		req := request(t, coap.GET, peerAddr, "/x")
		req.Params = &coap.Params{AckRandomFactor: 0.5}
		err := r.ep.RoundTrip(t.Context(), req, new(coap.Response))
		require.ErrorContains(t, err, "AckRandomFactor")
		r.peer.wantNothing("nothing is sent")
		_, err = coap.NewEndpoint(r.conn, nil, &coap.Config{Params: *req.Params})
		require.ErrorContains(t, err, "AckRandomFactor")
		_, err = coap.NewEndpoint(r.conn, nil, &coap.Config{Limits: coap.Limits{MessageSize: 1}})
		require.ErrorContains(t, err, "MessageSize")
	})
}
