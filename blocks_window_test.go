package coap_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
)

// windowed configures a client that asks for so many blocks at a time.
func windowed(n int) *coap.Config {
	return &coap.Config{Params: coap.Params{NStart: n}, SendBlocks: blockwise.ClientConfig{Window: n}}
}

// 1 MiB through networks that lose nothing, or a fifth, which repeat and reorder: it comes right in a window
// as one block at a time, and in no more time in all.
func TestWindowOverBadNetwork(t *testing.T) {
	seeds := uint64(4)
	if raceEnabled || testing.Short() {
		seeds = 2
	}
	for _, loss := range []float64{0, 0.2} {
		took := map[int]time.Duration{}
		for _, window := range []int{1, 4, 32} {
			for seed := range seeds {
				bubble(t, fmt.Sprintf("loss %v seed %d window %d", loss, seed, window), func(t *testing.T) {
					network := mem.NewNetwork(mem.Config{
						Seed: seed, Loss: loss, Duplicate: 0.05, Reorder: 0.1, Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond,
					})
					s := &store{body: pattern(1<<20, seed)}
					endpoint(t, listen(t, network, serverAddr), s.mux(), nil)
					c := &coap.Client{Endpoint: endpoint(t, listen(t, network, peerAddr), nil, windowed(window))}
					start := time.Now()
					var got bytes.Buffer
					persist(t, c, request(t, coap.GET, serverAddr, "/body"), new(coap.Response), &got)
					require.True(t, bytes.Equal(s.body, got.Bytes()))
					took[window] += time.Since(start)
				})
			}
		}
		t.Logf("loss %v: %v for %d bodies", loss, took, seeds)
		require.Less(t, took[4], took[1])
		require.Less(t, took[32], took[1])
		if loss == 0 {
			require.Less(t, took[32], took[1]/10)
		}
	}
}

// A window in messages: as many blocks as NSTART allows are asked for ahead, in exchanges of their own.
// One that is not acknowledged is sent again by itself, with what it was from the beginning, and the
// others wait for it; then fewer are asked for at a time.
//
// Proves 7959-2.4-01, 7959-2.4-04, 7959-2.4-s01.
func TestWindowInMessages(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, nil, windowed(4))
		p := r.peer
		req := request(t, coap.GET, peerAddr, "/a?b=c")
		req.Transfer = &coap.Transfer{BlockSize: 16}
		call := async(t.Context(), r.ep, req)
		const digits = "0123456789abcdef"
		answer := func(m packet, num, more int) {
			p.send("ACK 2.05 mid=%d tok=%x opt=4:e7 opt=23:%02x opt=28:80 pay=%s", m.MessageID, []byte(m.Token), num<<4|more<<3, digits)
		}
		asked := func(num int) packet {
			return p.want("a block", "CON GET path=a query=b=c opt=23:%02x", num<<4)
		}
		both := func(a, b int) (packet, packet) { // in either order
			one, two := p.want("a block", "CON GET path=a query=b=c"), p.want("a block", "CON GET path=a query=b=c")
			if v, _ := one.Options.Uint(message.OptionBlock2); v == uint64(b)<<4 {
				one, two = two, one
			}
			for m, num := range map[*packet]int{&one: a, &two: b} {
				v, _ := m.Options.Uint(message.OptionBlock2)
				require.EqualValues(t, num<<4, v)
			}
			return one, two
		}
		answer(p.want("the first, and how long all is", "CON GET path=a query=b=c opt=23: opt=28:"), 0, 1)
		one, two := both(1, 2)
		p.wantNothing("two at first")
		answer(two, 2, 1)
		three, four := both(3, 4)
		p.wantNothing("three are under way")
		answer(three, 3, 1)
		five, six := both(5, 6)
		answer(four, 4, 1)
		seven := asked(7)
		p.wantNothing("and four, to the last one")
		require.Equal(t, 8, len(map[string]bool{
			string(one.Token): true, string(two.Token): true, string(three.Token): true, string(four.Token): true,
			string(five.Token): true, string(six.Token): true, string(seven.Token): true, "": true,
		}), "each has a token of its own")
		answer(seven, 7, 0)
		answer(six, 6, 1)
		answer(five, 5, 1)
		require.False(t, call.isDone(), "one is missing")
		pass(3 * time.Second)
		again := asked(1)
		require.Equal(t, one.raw, again.raw)
		answer(again, 1, 1)
		resp := call.requireCode(t, "complete", "2.05")
		require.Equal(t, strings.Repeat(digits, 8), string(resp.Payload))
		r.requireForgotten()
	})
}
