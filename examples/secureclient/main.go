// Secureclient is a CoAP client over DTLS in twenty lines.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport/dtls"
)

func main() {
	secure := dtls.Dialer(&dtls.Config{Credentials: dtls.PSK("lamp-7", []byte("a long random key"))})
	client := coap.Client{Config: &coap.Config{Secure: secure}}
	defer client.Close()
	resp, err := client.Get(context.Background(), "coaps://localhost/whoami")
	if err != nil {
		log.Fatal(err) // nobody there, or no trust: says which
	}
	fmt.Printf("%s %s\n", resp.Code, resp.Payload)
}
