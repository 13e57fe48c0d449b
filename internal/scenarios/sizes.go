package scenarios

import (
	"strings"
	"testing"

	"github.com/coapkit/coap"
	"github.com/stretchr/testify/require"
)

// TruncatedRequest: a datagram that is longer than ReceiveSize is answered with 4.13 and what fits.
func TruncatedRequest(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, over, NewResources(), &coap.Config{Limits: coap.Limits{ReceiveSize: 200}})
		body := strings.Repeat("x", 300)
		r.peer.send("CON PUT mid=1 tok=01 path=a pay=%s", body)
		got := r.peer.want("too large", "ACK 4.13 mid=1 tok=01")
		size, ok := got.Options.Size1()
		require.True(t, ok)
		require.EqualValues(t, 200, size)
		r.peer.send("NON PUT mid=2 tok=01 path=a pay=%s", body)
		r.peer.wantNothing("dropped")
		// In a response it ends the exchange.
		ours := Async(t.Context(), r.ep, Request(t, coap.GET, peerAddr, "/x"))
		asked := r.peer.want("", "CON GET")
		r.peer.send("ACK 2.05 mid=%d tok=%s pay=%s", asked.MessageID, asked.Token, body)
		ours.RequireErr(t, "cut off", coap.ErrResponseTooLarge)
	})
}

// RequestTooLarge: a request over MessageSize, by default the 1152 bytes of section 4.6, is not sent.
func RequestTooLarge(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, over, nil, nil)
		req := Request(t, coap.PUT, peerAddr, "/x")
		fits := 1152 - 4 - 8 - 2 - 5                // header, token, Uri-Path, header of the option
		req.Options.Add(2000, make([]byte, fits+1)) // a body would go in blocks
		err := r.ep.RoundTrip(t.Context(), req, new(coap.Response))
		require.ErrorIs(t, err, coap.ErrTooLarge)
		r.peer.wantNothing("nothing is sent")
		req.Options.Set(2000, make([]byte, fits))
		Async(t.Context(), r.ep, req)
		require.Len(t, r.peer.want("", "CON PUT").raw, 1152)
	})
}

// NoEmptyNonConfirmable: empty Non-confirmable messages are not sent: neither for a request without a method, nor for a
// response without a code.
func NoEmptyNonConfirmable(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, over, coap.HandlerFunc(func(*coap.Response, *coap.Request) error { return nil }), nil)
		req := &coap.Request{To: peerAddr, NonConfirmable: true}
		require.ErrorContains(t, r.ep.RoundTrip(t.Context(), req, new(coap.Response)), "method")
		_, err := r.ep.Open(t.Context(), req)
		require.ErrorContains(t, err, "method")
		r.peer.wantNothing("a request without a method")
		r.peer.send("NON GET mid=1 tok=01 path=x")
		r.peer.want("a response without a code", "NON 2.05 tok=01")
		AsyncDo(func(*coap.Response) error { return r.ep.Ping(t.Context(), peerAddr) })
		r.peer.want("a ping", "CON 0.00")
	})
}
