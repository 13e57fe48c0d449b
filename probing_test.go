package coap_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
)

// Non-confirmable requests to a peer that does not answer keep to PROBING_RATE on average; one
// that answers is asked as fast as it answers.
//
// Proves 7252-4.7-02.
func TestProbingRate(t *testing.T) {
	for rate, name := range map[float64]string{0: "1 byte per second", 10: "10 bytes per second"} {
		bubble(t, name, func(t *testing.T) {
			r := newRig(t, nil, &coap.Config{Params: coap.Params{ProbingRate: rate}})
			start := time.Now()
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				req := request(t, coap.GET, peerAddr, "/x")
				req.NonConfirmable = true
				async(ctx, r.ep, req)
			}
			pass(59 * time.Second)
			sent, bytes := 0, 0
			for ; r.peer.Pending() > 0; sent++ {
				bytes += len(r.peer.want("a probe", "NON GET").raw)
			}
			last := bytes / sent
			require.LessOrEqual(t, float64(bytes-last), max(rate, 1)*time.Since(start).Seconds(), "sent %d", sent)
			require.GreaterOrEqual(t, sent, 4)
		})
	}
	bubble(t, "it answers", func(t *testing.T) {
		r := newRig(t, newResources(), nil)
		ep := endpoint(t, listen(t, r.net, peerAddr2), nil, nil)
		start := time.Now()
		for range 100 {
			req := request(t, coap.GET, serverAddr, "/plain")
			req.NonConfirmable = true
			do(t, ep, req)
		}
		require.Zero(t, time.Since(start))
	})
}

// Tokens are 8 bytes that nobody can guess, other ones for each request and each endpoint.
//
// Proves 7252-5.3.1-02, 7252-5.3.1-03, 7252-5.3.1-04.
func TestTokens(t *testing.T) {
	seen := make(map[string]bool)
	ones := make([]int, 64)
	mids := make(map[uint16]bool)
	const endpoints, each = 20, 50
	for range endpoints {
		bubble(t, "", func(t *testing.T) {
			r := newRig(t, nil, &coap.Config{Params: coap.Params{NStart: each}})
			for i := range each {
				async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/x"))
				got := r.peer.want("", "CON GET")
				require.Len(t, got.Token, 8)
				require.False(t, seen[got.Token.String()], "used before")
				seen[got.Token.String()] = true
				for bit := range ones {
					ones[bit] += int(got.Token[bit/8] >> (bit % 8) & 1)
				}
				if i == 0 {
					mids[got.MessageID] = true
				}
			}
		})
	}
	for bit, n := range ones {
		// 1,000 throws of a coin: six standard deviations.
		require.InDelta(t, endpoints*each/2, n, 95, "bit %d", bit)
	}
	require.Greater(t, len(mids), endpoints-3, "message IDs start anywhere")
}

// A request may have any token, which comes back as it was.
//
// Proves 7252-5.3.1-01, 7252-5.3.1-05.
func TestTokensOfOthers(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, newResources(), nil)
		for i, token := range []string{"", "00", "0000000000000000", "ffffffffffffffff", "0001ff", "b161b161b161b161"} {
			r.peer.send("CON GET mid=%d tok=%s path=plain", i, token)
			r.peer.want("piggybacked", "ACK 2.05 mid=%d tok=%s", i, token)
			r.peer.send("NON GET mid=%d tok=%s path=plain", 100+i, token)
			r.peer.want("NON", "NON 2.05 tok=%s", token)
			r.peer.send("CON GET mid=%d tok=%s path=slow", 200+i, token)
			pass(slowTime)
			r.peer.want("", "ACK 0.00 mid=%d", 200+i)
			got := r.peer.want("separate", "CON 2.05 tok=%s", token)
			r.peer.send("ACK 0.00 mid=%d", got.MessageID)
			r.peer.send("CON GET mid=%d tok=%s path=nowhere", 300+i, token)
			r.peer.want("error", "ACK 4.04 mid=%d tok=%s", 300+i, token)
		}
		// The same token in several requests at a time is the peer's business.
		for i := range 3 {
			r.peer.send("NON GET mid=%d tok=77 path=slow", 400+i)
		}
		pass(slowTime)
		for range 3 {
			r.peer.want("each is answered", "NON 2.05 tok=77")
		}
	})
}
