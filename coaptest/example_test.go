package coaptest_test

import (
	"fmt"
	"net/netip"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/exchange"
)

// A handler is asked one question. Whether the server runs in production or here, the answer is
// the same.
func ExampleServe() {
	mux := coap.NewMux()
	mux.HandleFunc("GET /rooms/{room}", func(w *coap.Response, r *coap.Request) error {
		if r.PathValue("room") == "attic" {
			return &coap.Error{Code: coap.Forbidden, Diagnostic: "there are ghosts"}
		}
		return w.Text("21.5 C")
	})
	for _, path := range []string{"/rooms/kitchen", "/rooms/attic", "/cellar"} {
		req, err := coap.NewRequest(coap.GET, path)
		if err != nil {
			panic(err)
		}
		resp := coaptest.Serve(mux, req)
		fmt.Printf("%s: %v %s\n", path, resp.Code, resp.Payload)
	}
	// Output:
	// /rooms/kitchen: 2.05 Content 21.5 C
	// /rooms/attic: 4.03 Forbidden there are ghosts
	// /cellar: 4.04 Not Found
}

// The handler is told who asks.
func ExampleServe_peer() {
	whoami := coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
		return w.Text(fmt.Sprint(r.Peer().Addr, " is ", r.Peer().Identity))
	})
	req := &coap.Request{Code: coap.GET}
	req.Arrive(exchange.Arrival{Peer: exchange.Peer{
		Addr: netip.MustParseAddrPort("198.51.100.7:61616"), Secure: true, Identity: "device-7",
	}})
	fmt.Printf("%s\n", coaptest.Serve(whoami, req).Payload)
	// Output: 198.51.100.7:61616 is device-7
}
