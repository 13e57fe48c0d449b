// Watch is a CoAP client that observes a resource.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/coapkit/coap"
)

func main() {
	var client coap.Client
	defer client.Close()
	for n, err := range client.Observe(context.Background(), "coap://localhost/temperature") {
		if err != nil {
			log.Fatal(err) // the end: it cannot be observed (any more)
		}
		if n.Response != nil { // else the server is silent, and the last value may be outdated
			fmt.Printf("%s (%v)\n", n.Response.Payload, n.State)
		}
	}
}
