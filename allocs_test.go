package coap_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport"
)

// What a request costs in the steady state, in allocations. The budget of a request served is 0, that
// of Client.Do with reused structs at most 1.

func TestAllocsServe(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	mux := coap.NewMux()
	mux.HandleFunc("GET /plain", func(w *coap.Response, r *coap.Request) error { return w.Text("plain") })
	mux.HandleFunc("GET /id/{id}", func(w *coap.Response, r *coap.Request) error { return w.Text("id") })
	for name, packet := range map[string]string{
		"GET":               "40010001b5706c61696e",
		"GET with wildcard": "40010001b26964023737",
		"4.04":              "40010001b3787878",
		"ping":              "40000001",
		"malformed":         "40010001f0",
	} {
		t.Run(name, func(t *testing.T) {
			answered := make(chan struct{}, 1)
			conn := newDirectConn(func(*transport.Datagram) { answered <- struct{}{} })
			// Little memory for replies, so that its limit is reached, and what goes makes
			// room for what comes.
			endpoint(t, conn, mux, &coap.Config{Limits: coap.Limits{RememberedBytes: 1 << 20, RememberedBytesPerPeer: 1 << 20}})
			d := transport.Datagram{Data: unhex(t, packet), Remote: peerAddr, Local: serverAddr}
			mid := uint16(0)
			allocs := testing.AllocsPerRun(10_000, func() {
				mid++
				d.Data[2], d.Data[3] = byte(mid>>8), byte(mid)
				conn.in <- d
				<-answered
			})
			most := 0.0
			if name == "4.04" {
				most = 1 // the error
			}
			require.LessOrEqual(t, allocs, most)
		})
	}
}

func TestAllocsDo(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancelable": t.Context()} {
		t.Run(name, func(t *testing.T) {
			// A peer that answers each request with 2.05 and a payload, with the same memory.
			var conn *directConn
			reply := make([]byte, 64)
			conn = newDirectConn(func(d *transport.Datagram) {
				n := copy(reply, []byte{0x68, 0x45, d.Data[2], d.Data[3]})
				n += copy(reply[n:], d.Data[4:12])
				n += copy(reply[n:], "\xffpayload")
				conn.in <- transport.Datagram{Data: reply[:n], Remote: d.Remote, Local: serverAddr}
			})
			c := &coap.Client{Endpoint: endpoint(t, conn, nil, nil)}
			req, err := coap.NewRequest(coap.GET, "coap://192.0.2.9/plain")
			require.NoError(t, err)
			var resp coap.Response
			allocs := testing.AllocsPerRun(10_000, func() {
				if err := c.Do(ctx, req, &resp); err != nil {
					t.Fatal(err)
				}
			})
			require.Equal(t, "payload", string(resp.Payload))
			require.LessOrEqual(t, allocs, 0.0)
		})
	}
}
