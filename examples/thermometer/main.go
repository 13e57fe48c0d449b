// Thermometer is a CoAP server whose resource can be observed.
package main

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/coapkit/coap"
)

func main() {
	var degrees atomic.Int64
	mux := coap.NewMux()
	mux.HandleFunc("GET /temperature", func(w *coap.Response, r *coap.Request) error {
		return w.Text(fmt.Sprintf("%d C", degrees.Load()))
	}, coap.Route{Observable: true})
	server := coap.Server{Handler: mux, Groups: coap.AllNodes()}
	go func() {
		for range time.Tick(time.Second) {
			degrees.Add(1)
			server.Notify("/temperature") // the handler is called for each observer
		}
	}()
	log.Fatal(server.ListenAndServe(context.Background()))
}
