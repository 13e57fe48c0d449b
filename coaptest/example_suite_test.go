package coaptest_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/transport/mem"
)

// The tests of the package comment and of README.md.

func temperature() *coap.Mux {
	mux := coap.NewMux()
	mux.HandleFunc("GET /slow", func(w *coap.Response, _ *coap.Request) error {
		<-time.After(time.Second)
		return w.Text("late")
	})
	mux.HandleFunc("GET /temperature", func(w *coap.Response, _ *coap.Request) error { return w.Text("21") })
	return mux
}

func TestOverBadNetwork(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		s := coaptest.NewServer(t, temperature(), nil)
		s.Network.SetConfig(mem.Config{Loss: 0.2, Delay: 50 * time.Millisecond})
		s.Network.Drop("ACK 2.05") // the first answer
		resp, err := s.Client.Get(t.Context(), "/temperature")
		if err != nil || string(resp.Payload) != "21" {
			t.Errorf("got %v, %v", resp, err)
		}
		if s.Client.Stats().Retransmitted == 0 {
			t.Error("the loss of the first answer was not noticed")
		}
	})
}

func TestSeparateResponse(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		n := coaptest.NewNetwork(t, mem.Config{})
		p := coaptest.NewPeer(t, n, netip.AddrPort{})
		client := n.NewClient(t, nil)
		call := coaptest.Go(func() (*coap.Response, error) {
			return client.Get(t.Context(), p.URL+"/temperature")
		})
		p.Expect("CON GET path=temperature")
		p.Answer("ACK 0.00")
		coaptest.Pass(10 * time.Second)
		p.Answer("CON 2.05 pay=21")
		p.Expect("ACK 0.00 # of the answer")
		resp, err := call.Wait()
		if err != nil || string(resp.Payload) != "21" {
			t.Errorf("got %v, %v", resp, err)
		}
	})
}

func TestSlowHandler(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		p := coaptest.NewServer(t, temperature(), nil).NewPeer(t)
		p.Send("CON GET path=slow")
		coaptest.Pass(time.Second)
		p.Expect("ACK 0.00")
		p.Expect("CON 2.05 pay=late")
	})
}

// A NAT that has forgotten a client makes another endpoint of it.
func TestNewAddress(t *testing.T) {
	coaptest.Run(t, func(t *testing.T) {
		s := coaptest.NewServer(t, temperature(), nil)
		p := s.NewPeer(t)
		if _, err := p.Conn.Rebind(netip.MustParseAddrPort("203.0.113.1:1000")); err != nil {
			t.Fatal(err)
		}
		p.Send("CON GET path=temperature")
		p.Expect("ACK 2.05 pay=21")
		if _, err := p.Conn.Rebind(netip.MustParseAddrPort("203.0.113.1:2000")); err != nil {
			t.Fatal(err)
		}
		p.Repeat() // not a duplicate: it comes from another endpoint
		p.Expect("ACK 2.05 pay=21")
		if got := s.Endpoint.Stats().Requests; got != 2 {
			t.Errorf("%d requests, want 2", got)
		}
	})
}
