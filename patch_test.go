package coap_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// A handler says by 4.29 that a client asks too often, and by Max-Age when it may ask again. The client
// is told both, and sends nothing of its own accord.
//
// Proves 8516-3-s02, 8516-4-s02.
func TestTooManyRequests(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			if r.Path() == "/x" {
				w.Options.SetUint(message.OptionMaxAge, 30)
			}
			return &coap.Error{Code: coap.TooManyRequests}
		}), nil)
		r.peer.send("CON GET mid=1 path=x")
		r.peer.want("with the time to wait", "ACK 4.29 mid=1 opt=14:1e")
		client := endpoint(t, listen(t, r.net, peerAddr2), nil, nil)
		for target, seconds := range map[string]float64{"/x": 30, "/y": 60} {
			resp := do(t, client, request(t, coap.GET, serverAddr, target))
			require.Equal(t, coap.TooManyRequests, resp.Code)
			require.InDelta(t, seconds, resp.Options.MaxAge().Seconds(), 0)
		}
	})
}
