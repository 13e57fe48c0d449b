package coap_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/linkformat"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
	"github.com/coapkit/coap/transport/udp"
)

// A server on a free port of the loopback interface, and a client that asks it. Most servers use
// ListenAndServe with a fixed port.
func Example() {
	mux := coap.NewMux()
	mux.HandleFunc("GET /sensors/{id}", func(w *coap.Response, r *coap.Request) error {
		return w.Text("sensor " + r.PathValue("id") + ": 21.5 C")
	})
	conn, err := udp.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	server := coap.Server{Handler: mux}
	defer server.Close()
	go server.Serve(context.Background(), conn)

	var client coap.Client
	defer client.Close()
	base := "coap://" + conn.LocalAddr().String()
	for _, path := range []string{"/sensors/7", "/lamps/1"} {
		resp, err := client.Get(context.Background(), base+path)
		if err != nil {
			log.Fatal(err) // there is no response
		}
		fmt.Printf("%v: %s\n", resp.Code, resp.Payload)
	}
	// Output:
	// 2.05 Content: sensor 7: 21.5 C
	// 4.04 Not Found:
}

// Server and client in a network that exists in memory only, as a test wants it. The handler takes
// its time: the request is acknowledged first, and answered by a message of its own, which the
// client acknowledges.
func ExampleNewEndpoint() {
	network := mem.NewNetwork(mem.Config{})
	defer network.Close()
	serverConn, err := network.Listen(netip.MustParseAddrPort("192.0.2.1:5683"))
	if err != nil {
		log.Fatal(err)
	}
	clientConn, err := network.Listen(netip.MustParseAddrPort("192.0.2.2:0"))
	if err != nil {
		log.Fatal(err)
	}

	// The acknowledgement goes out at once and not only after half a second.
	params := coap.Params{EmptyAckDelay: -1}
	acknowledged := make(chan bool)
	slow := coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
		<-acknowledged
		return w.Text("That took a while.")
	})
	server, err := coap.NewEndpoint(serverConn, slow, &coap.Config{Params: params})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	chart := func(e coap.TraceEvent) {
		var m message.Message
		if e.Kind != coap.TraceSent && e.Kind != coap.TraceReceived || codec.DecodeUDP(e.Datagram, &m) != nil {
			return
		}
		fmt.Println(e.Kind, m.Type, m.Code)
		if m.Type == message.Acknowledgement && e.Kind == coap.TraceReceived {
			close(acknowledged)
		}
	}
	client, err := coap.NewEndpoint(clientConn, nil, &coap.Config{Trace: chart})
	if err != nil {
		log.Fatal(err)
	}
	req, err := coap.NewRequest(coap.GET, "coap://192.0.2.1/slow")
	if err != nil {
		log.Fatal(err)
	}
	var resp coap.Response
	err = client.RoundTrip(context.Background(), req, &resp)
	client.Close()
	fmt.Printf("%s %v\n", resp.Payload, err)
	// Output:
	// sent CON GET
	// received ACK 0.00 Empty
	// received CON 2.05 Content
	// sent ACK 0.00 Empty
	// That took a while. <nil>
}

// A handler is tested without a network. What it returns as an error, the server turns into a
// response.
func ExampleMux() {
	mux := coap.NewMux()
	mux.HandleFunc("GET /lamps/{id}", func(w *coap.Response, r *coap.Request) error {
		room, _ := r.Query("room")
		return w.Text("lamp " + r.PathValue("id") + ", " + room)
	})
	mux.HandleFunc("GET /files/{path...}", func(w *coap.Response, r *coap.Request) error {
		return w.Text("file " + r.PathValue("path"))
	})
	for _, target := range []string{"/lamps/3?room=hall", "/files/a/b", "/lamps"} {
		req, err := coap.NewRequest(coap.GET, target)
		if err != nil {
			log.Fatal(err)
		}
		var resp coap.Response
		err = mux.ServeCoAP(&resp, req)
		fmt.Printf("%q %v\n", resp.Payload, err)
	}
	// Output:
	// "lamp 3, hall" <nil>
	// "file a/b" <nil>
	// "" coap: 4.04 Not Found
}

// Middleware is a function from handlers to handlers. It sees which pattern has matched.
func ExampleMux_Use() {
	mux := coap.NewMux()
	mux.Use(func(next coap.Handler) coap.Handler {
		return coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			err := next.ServeCoAP(w, r)
			fmt.Println(r.Pattern(), "gave", w.Code)
			return err
		})
	})
	mux.HandleFunc("DELETE /jobs/{id}", func(w *coap.Response, r *coap.Request) error {
		w.Code = coap.Deleted
		return nil
	})
	req, err := coap.NewRequest(coap.DELETE, "/jobs/9")
	if err != nil {
		log.Fatal(err)
	}
	if err := mux.ServeCoAP(new(coap.Response), req); err != nil {
		log.Fatal(err)
	}
	// Output:
	// DELETE /jobs/{id} gave 2.02 Deleted
}

// What a server has is listed at /.well-known/core, with the attributes of its routes. A query
// searches the list.
func ExampleRoute() {
	mux := coap.NewMux()
	read := func(w *coap.Response, r *coap.Request) error { return w.Text("21.5") }
	mux.HandleFunc("GET /temperature", read, coap.Route{
		Formats:    []coap.ContentFormat{coap.TextPlain},
		Observable: true,
		Attributes: []linkformat.Param{{Name: "rt", Value: "temperature-c", Quoted: true}},
	})
	mux.HandleFunc("GET /time", read)

	for _, query := range []string{"", "?rt=temp*"} {
		req, err := coap.NewRequest(coap.GET, "/.well-known/core"+query)
		if err != nil {
			log.Fatal(err)
		}
		var resp coap.Response
		if err := mux.ServeCoAP(&resp, req); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", resp.Payload)
	}
	// Output:
	// </temperature>;rt="temperature-c";ct=0;obs,</time>
	// </temperature>;rt="temperature-c";ct=0;obs
}

// A URI becomes options (RFC 7252 section 6.4). The address, which is where the request goes, is
// not said again.
func ExampleNewRequest() {
	req, err := coap.NewRequest(coap.GET, "coap://[2001:db8::1]:61616/sensors/living%20room?unit=C")
	if err != nil {
		log.Fatal(err)
	}
	req.Options.SetAccept(coap.JSON)
	req.NonConfirmable = true // one message; if it is lost, that is that
	for number, value := range req.Options.All() {
		fmt.Printf("%v %q\n", number, value)
	}
	fmt.Println(req.Authority)

	_, err = coap.NewRequest(coap.GET, "http://example.com/")
	fmt.Println(err)
	// Output:
	// Uri-Path "sensors"
	// Uri-Path "living room"
	// Uri-Query "unit=C"
	// Accept "2"
	// coap://[2001:db8::1]:61616
	// message: "http://example.com/": scheme "http" is not supported, want coap or coaps
}

// The client gets the present value and each that follows. Whoever changes the resource says so by
// Notify; the handler renders what observers are sent.
func ExampleClient_Observe() {
	var degrees atomic.Int64
	degrees.Store(20)
	mux := coap.NewMux()
	mux.HandleFunc("GET /temperature", func(w *coap.Response, r *coap.Request) error {
		return w.Text(fmt.Sprint(degrees.Load()))
	}, coap.Route{Observable: true})
	conn, err := udp.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	server := coap.Server{Handler: mux}
	defer server.Close()
	go server.Serve(context.Background(), conn)

	var client coap.Client
	defer client.Close()
	for n, err := range client.Observe(context.Background(), "coap://"+conn.LocalAddr().String()+"/temperature") {
		if err != nil {
			log.Fatal(err)
		}
		if n.Response == nil {
			continue // only the state has changed: the last value may be outdated
		}
		fmt.Printf("%s C\n", n.Response.Payload)
		if degrees.Add(1) > 22 {
			break
		}
		server.Notify("/temperature")
	}
	// Output:
	// 20 C
	// 21 C
	// 22 C
}

// Two servers have joined the group of all CoAP nodes. Each answers from its own address, at a random
// time within its leisure, which is none here.
func ExampleClient_Multicast() {
	network := mem.NewNetwork(mem.Config{})
	defer network.Close()
	cfg := &coap.Config{Params: coap.Params{DefaultLeisure: -1}}
	for _, addr := range []string{"192.0.2.1:5683", "192.0.2.2:5683"} {
		conn, err := network.Listen(netip.MustParseAddrPort(addr))
		if err == nil {
			err = conn.Join(coap.AllNodes()[0], 0)
		}
		if err != nil {
			log.Fatal(err)
		}
		name := coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error { return w.Text("lamp") })
		server, err := coap.NewEndpoint(conn, name, cfg)
		if err != nil {
			log.Fatal(err)
		}
		defer server.Close()
	}

	conn, err := network.Listen(netip.MustParseAddrPort("192.0.2.9:0"))
	if err != nil {
		log.Fatal(err)
	}
	ep, err := coap.NewEndpoint(conn, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ep.Close()
	client := coap.Client{Endpoint: ep}
	req, err := coap.NewRequest(coap.GET, "coap://224.0.1.187/name")
	if err != nil {
		log.Fatal(err)
	}
	req.IfIndex = 1 // by all interfaces otherwise
	count := 0
	for resp, err := range client.Multicast(context.Background(), req) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%v: %s\n", resp.Peer(), resp.Payload)
		if count++; count == 2 {
			break // and do not wait for others
		}
	}
	// Unordered output:
	// 192.0.2.1:5683: lamp
	// 192.0.2.2:5683: lamp
}

// A body that does not fit one message goes in blocks (RFC 7959), in both directions, and the
// handler sees it as a whole. Progress is told after each block.
func ExampleTransfer() {
	var stored []byte
	mux := coap.NewMux()
	mux.HandleFunc("PUT /firmware", func(w *coap.Response, r *coap.Request) error {
		stored = bytes.Clone(r.Payload) // which is valid until the handler returns
		w.Code = coap.Changed
		return nil
	})
	mux.HandleFunc("GET /firmware", func(w *coap.Response, r *coap.Request) error {
		return w.Bytes(coap.OctetStream, stored)
	})
	conn, err := udp.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	server := coap.Server{Handler: mux}
	defer server.Close()
	go server.Serve(context.Background(), conn)
	client, err := coap.Dial(context.Background(), "coap://"+conn.LocalAddr().String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	put, _ := coap.NewRequest(coap.PUT, "/firmware")
	put.Body = strings.NewReader(strings.Repeat("coap", 600))
	put.Transfer = &coap.Transfer{
		BlockSize: 1024,
		Progress:  func(p coap.Progress) { fmt.Println("sent", p.Sent, "of", p.SendTotal) },
	}
	var resp coap.Response
	if err := client.Do(context.Background(), put, &resp); err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Code)

	var file strings.Builder
	get, _ := coap.NewRequest(coap.GET, "/firmware")
	get.Transfer = &coap.Transfer{Sink: &file} // which gets each block as it arrives
	if err := client.Do(context.Background(), get, &resp); err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Code, file.Len())
	// Output:
	// sent 1024 of 2400
	// sent 2048 of 2400
	// sent 2400 of 2400
	// 2.04 Changed
	// 2.05 Content 2400
}

// A handler refuses by returning an Error. To the client that is a response like others, which Err
// turns into an Error again.
func ExampleError() {
	mux := coap.NewMux()
	mux.HandleFunc("PUT /valve", func(w *coap.Response, r *coap.Request) error {
		if string(r.Payload) != "open" {
			return &coap.Error{Code: coap.BadRequest, Diagnostic: "want open"}
		}
		w.Code = coap.Changed
		return nil
	})
	conn, err := udp.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	server := coap.Server{Handler: mux}
	defer server.Close()
	go server.Serve(context.Background(), conn)

	uri := "coap://" + conn.LocalAddr().String() + "/valve"
	resp, err := coap.Put(context.Background(), uri, coap.TextPlain, []byte("ajar"))
	if err != nil {
		log.Fatal(err) // no response
	}
	var refused *coap.Error
	if errors.As(resp.Err(), &refused) {
		fmt.Println(refused.Code, "because:", refused.Diagnostic)
	}
	// Output:
	// 4.00 Bad Request because: want open
}

// Without a response there is an error that says how the exchange ended.
func ExampleEndError() {
	network := mem.NewNetwork(mem.Config{})
	defer network.Close()
	conn, err := network.Listen(netip.MustParseAddrPort("192.0.2.2:0"))
	if err != nil {
		log.Fatal(err)
	}
	ep, err := coap.NewEndpoint(conn, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ep.Close()
	client := coap.Client{Endpoint: ep}

	_, err = client.Get(context.Background(), "coap://192.0.2.1/time")
	fmt.Println("nobody listens:", errors.Is(err, coap.ErrUnreachable), errors.Is(err, coap.ErrTimeout))

	network.Cut(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"))
	req, err := coap.NewRequest(coap.GET, "coap://192.0.2.1/time")
	if err != nil {
		log.Fatal(err)
	}
	// By default four retransmissions come first, and the end after 62 to 93 s.
	req.Params = &coap.Params{AckTimeout: time.Millisecond, MaxRetransmit: -1}
	err = client.Do(context.Background(), req, new(coap.Response))
	fmt.Println("everything is lost:", errors.Is(err, coap.ErrUnreachable), errors.Is(err, coap.ErrTimeout))
	fmt.Println(err)
	// Output:
	// nobody listens: true false
	// everything is lost: false true
	// coap: GET 192.0.2.1:5683: no acknowledgement, all retransmissions timed out (MAX_TRANSMIT_WAIT)
}
