package coap_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport"
)

// BenchmarkServe is what a request costs besides the system: to be received, found to be new, routed, handled,
// encoded and remembered.
func BenchmarkServe(b *testing.B) {
	for _, clients := range []int{1, 64, 1000, 100_000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			mux := coap.NewMux()
			mux.HandleFunc("GET /t", func(w *coap.Response, r *coap.Request) error { return w.Text("01234567890123456789") })
			conn := &flood{left: b.N, clients: clients, done: make(chan struct{})}
			b.ReportAllocs()
			ep, err := coap.NewEndpoint(conn, mux, &coap.Config{Placement: coap.Inline})
			if err != nil {
				b.Fatal(err)
			}
			<-conn.done
			b.StopTimer()
			ep.Close()
			if conn.sent < b.N*99/100 {
				b.Fatalf("%d of %d requests are answered", conn.sent, b.N)
			}
		})
	}
}

// flood is a transport by which many clients send one GET after the other.
type flood struct {
	left, clients int
	sent, n       int
	done          chan struct{}
	closed        bool
}

func (f *flood) ReadBatch(ds []transport.Datagram) (int, error) {
	if f.left == 0 {
		if !f.closed {
			f.closed = true
			close(f.done)
		}
		return 0, net.ErrClosed
	}
	n := min(len(ds), f.left)
	f.left -= n
	for i := range ds[:n] {
		client, turn := f.n%f.clients, f.n/f.clients
		b := append(ds[i].Data[:0], 0x44, 0x01, 0, 0, 0, 0, 0, 0, 0xb1, 't')
		binary.BigEndian.PutUint16(b[2:], uint16(turn))
		binary.BigEndian.PutUint32(b[4:], uint32(f.n))
		a := [4]byte{127, 64 + byte(turn>>16)}
		binary.BigEndian.PutUint16(a[2:], uint16(client))
		ds[i] = transport.Datagram{
			Data:   b,
			Remote: netip.AddrPortFrom(netip.AddrFrom4(a), uint16(40000+client>>16)),
			Local:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 5683), IfIndex: 1,
		}
		f.n++
	}
	return n, nil
}

func (f *flood) WriteBatch(ds []transport.Datagram) (int, error) {
	f.sent += len(ds)
	return len(ds), nil
}

func (f *flood) LocalAddr() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:5683") }
func (f *flood) Close() error              { return nil }
