package echo_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// near hands the requests of a client to a handler, as a network would.
type near struct {
	exchange.Opener
	handler exchange.Handler
	peer    exchange.Peer
}

func (n *near) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	resp.Reset()
	r := *req
	r.Options = req.Options.Clone()
	r.Arrive(exchange.Arrival{Peer: n.peer, Size: 20, Verify: func(p exchange.Peer) { n.peer.Verified = true }})
	if err := n.handler.ServeCoAP(resp, &r); err != nil {
		return err
	}
	_, challenged := resp.Options.First(message.OptionEcho)
	fmt.Printf("%v, challenged: %v\n", resp.Code, challenged)
	return nil
}

// A server asks who wants a long answer to prove its address; the client does it by itself.
func Example() {
	long := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		return w.Bytes(message.OctetStream, make([]byte, 1000))
	})
	network := &near{handler: echo.NewServer(long, echo.ServerConfig{}), peer: exchange.Peer{Addr: netip.MustParseAddrPort("192.0.2.9:61616")}}
	client := echo.NewClient(network)

	for range 2 {
		req := exchange.Request{Code: message.GET, To: netip.MustParseAddrPort("192.0.2.1:5683")}
		var resp exchange.Response
		if err := client.RoundTrip(context.Background(), &req, &resp); err != nil {
			fmt.Println(err)
		}
		fmt.Println(len(resp.Payload), "bytes")
	}
	// Output:
	// 4.01 Unauthorized, challenged: true
	// 2.05 Content, challenged: false
	// 1000 bytes
	// 2.05 Content, challenged: false
	// 1000 bytes
}
