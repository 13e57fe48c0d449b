package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// RoundTripper is all that a layer on the way of requests has to know of what is below it. This one
// repeats what a server has answered with 5.03, if it may be repeated.
func Example() {
	retry := func(next exchange.RoundTripper) exchange.RoundTripper {
		return roundTripper(func(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
			for try := 1; ; try++ {
				err := next.RoundTrip(ctx, req, resp)
				if err != nil || resp.Code != message.ServiceUnavailable || !req.Code.IsIdempotent() || try == 3 {
					fmt.Println("tried", try, "times")
					return err
				}
			}
		})
	}
	calls := 0
	server := roundTripper(func(_ context.Context, _ *exchange.Request, resp *exchange.Response) error {
		calls++
		if calls < 3 {
			return resp.Receive(&message.Message{Code: message.ServiceUnavailable}, exchange.Peer{})
		}
		return resp.Receive(&message.Message{Code: message.Content, Payload: []byte("21.5 C")}, exchange.Peer{})
	})

	req, err := exchange.NewRequest(message.GET, "/temperature")
	if err != nil {
		log.Fatal(err)
	}
	var resp exchange.Response
	err = retry(server).RoundTrip(context.Background(), req, &resp)
	fmt.Printf("%v %s %v\n", resp.Code, resp.Payload, err)
	// Output:
	// tried 3 times
	// 2.05 Content 21.5 C <nil>
}

// roundTripper makes a RoundTripper of a function.
type roundTripper func(context.Context, *exchange.Request, *exchange.Response) error

func (f roundTripper) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	return f(ctx, req, resp)
}

// The times that follow from the transmission parameters (RFC 7252 section 4.8.2): with the default
// ones, and in a network that is faster.
func ExampleParams() {
	for _, p := range []exchange.Params{{}, {AckTimeout: time.Second, MaxLatency: 10 * time.Second}} {
		p = p.WithDefaults()
		fmt.Println("MAX_TRANSMIT_SPAN", p.MaxTransmitSpan())
		fmt.Println("MAX_TRANSMIT_WAIT", p.MaxTransmitWait())
		fmt.Println("EXCHANGE_LIFETIME", p.ExchangeLifetime())
		fmt.Println("NON_LIFETIME", p.NonLifetime())
	}
	fmt.Println(exchange.Params{AckRandomFactor: 0.5}.Validate())
	// Output:
	// MAX_TRANSMIT_SPAN 45s
	// MAX_TRANSMIT_WAIT 1m33s
	// EXCHANGE_LIFETIME 4m7s
	// NON_LIFETIME 2m25s
	// MAX_TRANSMIT_SPAN 22.5s
	// MAX_TRANSMIT_WAIT 46.5s
	// EXCHANGE_LIFETIME 57.5s
	// NON_LIFETIME 32.5s
	// coap: Params.AckRandomFactor is 0.5, want 1 to 10, or 0 for 1.5 (RFC 7252 section 4.8.1)
}

// A client changes a resource only if it is still as the client knows it: If-Match with an ETag
// (RFC 7252 section 5.10.8). The handler compares, before it changes anything.
func ExampleRequest_Precondition() {
	version := []byte{2}
	put := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		if err := r.Precondition(version, true); err != nil {
			return err
		}
		version = []byte{version[0] + 1}
		w.Code = message.Changed
		return w.SetETag(version)
	})
	for _, known := range []byte{1, 2} {
		req, err := exchange.NewRequest(message.PUT, "/setting")
		if err == nil {
			err = req.Options.AddIfMatch([]byte{known})
		}
		if err != nil {
			log.Fatal(err)
		}
		var resp exchange.Response
		err = put(&resp, req)
		fmt.Printf("version %d: %v %v\n", known, resp.Code, err)
	}
	// Output:
	// version 1: 0.00 Empty coap: 4.12 Precondition Failed
	// version 2: 2.04 Changed <nil>
}

// An EndError says how an exchange ended that has no response. Some are kinds of others.
func ExampleEndError() {
	err := error(&exchange.OpError{
		Op: "GET", Peer: netip.MustParseAddrPort("192.0.2.1:5683"), Err: exchange.ErrNoSeparateResponse,
	})
	fmt.Println(err)
	fmt.Println(errors.Is(err, exchange.ErrNoSeparateResponse), errors.Is(err, exchange.ErrTimeout), errors.Is(err, exchange.ErrReset))
	// Output:
	// coap: GET 192.0.2.1:5683: acknowledged, but no response within the response time-out
	// true true false
}
