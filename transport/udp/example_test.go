package udp_test

import (
	"fmt"
	"log"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/udp"
)

// An echo server: what came in goes back, from the address that was asked.
func Example() {
	server, err := udp.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := udp.Listen("127.0.0.1:0", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = client.WriteBatch([]transport.Datagram{{Data: []byte("hello"), Remote: server.LocalAddr()}})
	if err != nil {
		log.Fatal(err)
	}

	ds := []transport.Datagram{{Data: make([]byte, 1152)}}
	n, err := server.ReadBatch(ds)
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range ds[:n] {
		if d.Err != nil {
			continue // a report that something sent earlier was not delivered
		}
		fmt.Printf("%s\n", d.Data)
		reply := transport.Datagram{Data: d.Data, Remote: d.Remote, Local: d.Local}
		if _, err := server.WriteBatch([]transport.Datagram{reply}); err != nil {
			log.Print(err)
		}
	}
	// Output: hello
}
