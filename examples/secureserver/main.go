// Secureserver is a CoAP server over DTLS in twenty lines.
package main

import (
	"context"
	"log"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport/dtls"
)

func main() {
	keys := dtls.Keys{"lamp-7": []byte("a long random key")}
	conn, err := dtls.Listen(":5684", &dtls.Config{PSK: keys.Lookup})
	if err != nil {
		log.Fatal(err)
	}
	mux := coap.NewMux()
	mux.HandleFunc("GET /whoami", func(w *coap.Response, r *coap.Request) error {
		who, _ := dtls.IdentityOf(r.Peer())
		return w.Text("You are " + who.PSK + ".")
	})
	server := coap.Server{Handler: mux}
	log.Fatal(server.Serve(context.Background(), conn))
}
