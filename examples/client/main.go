// Client is a CoAP client in twenty lines.
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
	for _, path := range []string{"/hello/world", "/slow", "/nothing"} {
		resp, err := client.Get(context.Background(), "coap://localhost"+path)
		if err != nil {
			log.Fatal(err) // nobody there: says so at once
		}
		fmt.Printf("%s: %s %s\n", path, resp.Code, resp.Payload)
	}
}
