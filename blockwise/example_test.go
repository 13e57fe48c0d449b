package blockwise_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// direct carries requests to a handler, without a network.
type direct struct{ exchange.Handler }

func (d direct) RoundTrip(_ context.Context, req *exchange.Request, resp *exchange.Response) error {
	r, w := req.Clone(), new(exchange.Response)
	if err := d.ServeCoAP(w, r); err != nil {
		return err
	}
	if b, ok := blockwise.ParseBlock(&w.Options, message.OptionBlock2); ok {
		fmt.Printf("block %v, %d bytes\n", b, len(w.Payload))
	}
	return resp.Receive(&message.Message{Code: w.Code, Options: w.Options, Payload: w.Payload}, exchange.Peer{})
}

func Example() {
	firmware := strings.Repeat("0123456789abcdef", 20)
	handler := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		return w.Text(firmware)
	})
	server := blockwise.NewServer(handler, blockwise.ServerConfig{BlockSize: 128})
	client := blockwise.NewClient(direct{server}, blockwise.ClientConfig{})

	req, _ := exchange.NewRequest(message.GET, "/firmware")
	var resp exchange.Response
	err := client.RoundTrip(context.Background(), req, &resp)
	fmt.Println(resp.Code, len(resp.Payload), err)
	// Output:
	// block 0/1/128, 128 bytes
	// block 1/1/128, 128 bytes
	// block 2/0/128, 64 bytes
	// 2.05 Content 320 <nil>
}

// A handler that reads the body while it arrives, so that it never is in memory as a whole.
func ExampleServer_stream() {
	handler := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		n, err := io.Copy(io.Discard, r.BodyReader())
		if err != nil {
			return err
		}
		w.Code = message.Changed
		w.Payload = fmt.Append(nil, "got ", n)
		return nil
	})
	server := blockwise.NewServer(handler, blockwise.ServerConfig{
		Mode: func(r *exchange.Request) (blockwise.Mode, error) {
			return blockwise.Mode{Stream: r.Path() == "/log", Limit: 1 << 20}, nil
		},
	})
	defer server.Shutdown(context.Background())
	client := blockwise.NewClient(direct{server}, blockwise.ClientConfig{BlockSize: 256})

	req, _ := exchange.NewRequest(message.PUT, "/log")
	req.Body = strings.NewReader(strings.Repeat("a line\n", 200))
	req.Transfer = &exchange.Transfer{Progress: func(p exchange.Progress) { fmt.Println("sent", p.Sent, "of", p.SendTotal) }}
	var resp exchange.Response
	err := client.RoundTrip(context.Background(), req, &resp)
	fmt.Printf("%v %s %v\n", resp.Code, resp.Payload, err)
	// Output:
	// sent 256 of 1400
	// sent 512 of 1400
	// sent 768 of 1400
	// sent 1024 of 1400
	// sent 1280 of 1400
	// sent 1400 of 1400
	// 2.04 Changed got 1400 <nil>
}

// A download to a file goes on where it was interrupted.
func ExampleError() {
	server := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		return w.Content(strings.NewReader(strings.Repeat("x", 300)), []byte("v1"))
	}), blockwise.ServerConfig{BlockSize: 128})
	client := blockwise.NewClient(&cutOff{next: direct{server}, n: 2}, blockwise.ClientConfig{})

	var file strings.Builder
	req, _ := exchange.NewRequest(message.GET, "/image")
	req.Transfer = &exchange.Transfer{Sink: &file}
	var resp exchange.Response
	err := client.RoundTrip(context.Background(), req, &resp)

	var failed *blockwise.Error
	if errors.As(err, &failed) && errors.Is(err, exchange.ErrTimeout) {
		fmt.Println("resume at", failed.Position.Offset)
		req.Transfer.Resume = failed.Position
		err = client.RoundTrip(context.Background(), req, &resp)
	}
	fmt.Println(file.Len(), err)
	// Output:
	// block 0/1/128, 128 bytes
	// resume at 128
	// block 1/1/128, 128 bytes
	// block 2/0/128, 44 bytes
	// 300 <nil>
}

func ExampleBlock() {
	var o message.Options
	o.AddUint(message.OptionBlock2, 33)
	b, ok := blockwise.ParseBlock(&o, message.OptionBlock2)
	fmt.Println(b, ok, "starts at byte", b.Offset())
	fmt.Println(blockwise.Block{Num: 3, More: true, SZX: 3}.Value())
	// Output:
	// 2/0/32 true starts at byte 64
	// 59
}
