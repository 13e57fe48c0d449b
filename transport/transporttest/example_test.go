package transporttest_test

import (
	"net/netip"
	"testing"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
	"github.com/coapkit/coap/transport/transporttest"
)

// The test of a transport of your own, here of the network in memory.
func ExampleTestConn() {
	_ = func(t *testing.T) { // is func TestConn(t *testing.T) in a file of tests
		transporttest.TestConn(t, func(t *testing.T) (a, b transport.Conn) {
			network := mem.NewNetwork(mem.Config{})
			a, err := network.Listen(netip.MustParseAddrPort("192.0.2.1:5683"))
			if err != nil {
				t.Fatal(err)
			}
			b, err = network.Listen(netip.MustParseAddrPort("192.0.2.2:5683"))
			if err != nil {
				t.Fatal(err)
			}
			return a, b
		}, transporttest.Options{})
	}
}
