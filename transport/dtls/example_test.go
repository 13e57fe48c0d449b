package dtls_test

import (
	"context"
	"fmt"
	"log"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport/dtls"
)

// A server that knows its clients by pre-shared keys, and a client.
func Example() {
	key := []byte("a key of 16 bytes, better random")

	var mux coap.Mux
	mux.HandleFunc("GET /whoami", func(w *coap.Response, r *coap.Request) error {
		id, _ := dtls.IdentityOf(r.Peer())
		return w.Text("you are " + id.PSK)
	})
	conn, err := dtls.Listen("127.0.0.1:0", &dtls.Config{PSK: dtls.Keys{"lamp-7": key}.Lookup})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server := coap.Server{Handler: &mux}
	go server.Serve(ctx, conn)

	secure := dtls.Dialer(&dtls.Config{Credentials: dtls.PSK("lamp-7", key)})
	client, err := coap.Dial(ctx, "coaps://"+conn.LocalAddr().String(), &coap.Config{Secure: secure})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	resp, err := client.Get(ctx, "/whoami")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Code, string(resp.Payload))
	// Output:
	// 2.05 Content you are lamp-7
}

// A server that sends a request to a device that has connected to it: over the session of the device, wherever it is now.
func ExampleIdentityOf() {
	var devices coap.Mux
	devices.HandleFunc("POST /register", func(w *coap.Response, r *coap.Request) error {
		id, ok := dtls.IdentityOf(r.Peer())
		if !ok || id.PSK == "" {
			return &coap.Error{Code: coap.Forbidden}
		}
		ask := &coap.Request{Code: coap.GET, To: r.Peer().Addr, Session: r.Peer().Session} // to be sent by the server's Endpoint
		fmt.Println(id.PSK, ask.To)
		return nil
	})
}
