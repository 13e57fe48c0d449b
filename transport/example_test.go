package transport_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"sync/atomic"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// counter is a Conn around another that counts the bytes of what is sent and received.
type counter struct {
	transport.Conn
	in, out atomic.Int64
}

func (c *counter) ReadBatch(ds []transport.Datagram) (int, error) {
	n, err := c.Conn.ReadBatch(ds)
	for _, d := range ds[:n] {
		if d.Err == nil { // else it is the report that one of ours was not delivered
			c.in.Add(int64(len(d.Data)))
		}
	}
	return n, err
}

func (c *counter) WriteBatch(ds []transport.Datagram) (int, error) {
	n, err := c.Conn.WriteBatch(ds)
	for _, d := range ds[:n] {
		c.out.Add(int64(len(d.Data)))
	}
	return n, err
}

// Whatever moves datagrams can be a transport, also one around another. An endpoint runs on each.
func Example() {
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
	counted := &counter{Conn: clientConn}

	hello := coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error { return w.Text("hello") })
	server, err := coap.NewEndpoint(serverConn, hello, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := coap.NewEndpoint(counted, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	// A ping and its answer are headers of 4 bytes (RFC 7252 section 4.3).
	err = client.Ping(context.Background(), serverConn.LocalAddr())
	fmt.Println(counted.out.Load(), counted.in.Load(), err)
	// Output:
	// 4 4 <nil>
}
