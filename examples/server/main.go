// Server is a CoAP server in twenty lines.
package main

import (
	"context"
	"log"
	"time"

	"github.com/coapkit/coap"
)

func main() {
	mux := coap.NewMux()
	mux.HandleFunc("GET /hello/{name}", func(w *coap.Response, r *coap.Request) error {
		return w.Text("Hello, " + r.PathValue("name") + "!")
	})
	mux.HandleFunc("GET /slow", func(w *coap.Response, r *coap.Request) error {
		time.Sleep(time.Second) // acknowledged meanwhile, answered separately
		return w.Text("That took a while.")
	})
	log.Fatal(coap.ListenAndServe(context.Background(), ":5683", mux))
}
