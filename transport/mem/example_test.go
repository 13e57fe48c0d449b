package mem_test

import (
	"fmt"
	"net/netip"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// The second datagram is lost, as a script says.
func Example() {
	sent := 0
	network := mem.NewNetwork(mem.Config{Filter: func(*mem.Packet) mem.Verdict {
		sent++
		return mem.Verdict{Drop: sent == 2}
	}})
	defer network.Close()
	server, err := network.Listen(netip.MustParseAddrPort("192.0.2.1:5683"))
	if err != nil {
		panic(err)
	}
	client, err := network.Listen(netip.MustParseAddrPort("192.0.2.2:0"))
	if err != nil {
		panic(err)
	}
	_, err = client.WriteBatch([]transport.Datagram{
		{Data: []byte("one"), Remote: server.LocalAddr()},
		{Data: []byte("two"), Remote: server.LocalAddr()},
		{Data: []byte("three"), Remote: server.LocalAddr()},
	})
	if err != nil {
		panic(err)
	}
	ds := []transport.Datagram{{Data: make([]byte, 100)}, {Data: make([]byte, 100)}}
	n, err := server.ReadBatch(ds)
	if err != nil {
		panic(err)
	}
	for _, d := range ds[:n] {
		fmt.Printf("%s from %v\n", d.Data, d.Remote.Addr())
	}
	fmt.Printf("%+v\n", network.Stats())
	// Output:
	// one from 192.0.2.2
	// three from 192.0.2.2
	// {Sent:3 Delivered:2 Lost:0 Duplicated:0 Reordered:0 Corrupted:0 Filtered:1 TooBig:0 Refused:0 Overflow:0}
}
