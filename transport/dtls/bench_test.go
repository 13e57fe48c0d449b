package dtls

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
)

// twoEnds returns the two ends of a session, without a handshake.
func twoEnds(t testing.TB, id CipherSuite, cid string) (a, b *session) {
	t.Helper()
	n := suiteOf(id).key
	k := &keyBlock{Suite: id, WriteKey: make([]byte, n), ReadKey: make([]byte, n), WriteCID: []byte(cid), NextWrite: 1, NextRead: 1}
	k.WriteKey[0] = 1
	mirrored := &keyBlock{Suite: id, WriteKey: k.ReadKey, ReadKey: k.WriteKey, ReadCID: []byte(cid), NextWrite: 1, NextRead: 1}
	ends := [2]*session{}
	for i, k := range []*keyBlock{k, mirrored} {
		ends[i] = &session{keys: k, handle: &transport.Session{Secure: true, Identity: &Identity{PSK: "lamp"}}}
		require.NoError(t, ends[i].start())
	}
	return ends[0], ends[1]
}

func BenchmarkRecord(b *testing.B) {
	for _, id := range []CipherSuite{PSKWithAES128CCM8, PSKWithAES128GCMSHA256} {
		for _, n := range []int{32, 1024} {
			x, y := twoEnds(b, id, "123456")
			data := make([]byte, n)
			sealed, _ := x.seal(nil, typeData, data)
			b.Run(fmt.Sprintf("%v/%d/seal", id, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					sealed, _ = x.seal(sealed[:0], typeData, data)
				}
			})
			copied := make([]byte, len(sealed))
			b.Run(fmt.Sprintf("%v/%d/open", id, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					copy(copied, sealed)
					r, _, _ := nextRecord(copied, 6)
					y.window = window{}
					if _, _, _, ok := y.openRecord(&r); !ok {
						b.Fatal("not authentic")
					}
				}
			})
		}
	}
}

// What an idle session takes, besides the rows of the layers above.
func TestMemoryOfSession(t *testing.T) {
	inner := pipeless{done: make(chan struct{})}
	c, err := New(inner, pskServer())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	const n = 2000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		_, s := twoEnds(t, PSKWithAES128CCM8, string([]byte{byte(i >> 8), byte(i), 0, 0, 0, 0}))
		s.remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 5684)
		c.mu.Lock()
		c.add(s, time.Now())
		c.mu.Unlock()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("%d bytes for a session", per)
	require.Less(t, per, int64(4096))
	require.Equal(t, n, c.Stats().Sessions)
}

// pipeless is a transport without a network.
type pipeless struct{ done chan struct{} }

func (p pipeless) ReadBatch([]transport.Datagram) (int, error)     { <-p.done; return 0, net.ErrClosed }
func (p pipeless) WriteBatch(ds []transport.Datagram) (int, error) { return len(ds), nil }
func (p pipeless) LocalAddr() netip.AddrPort                       { return serverAddr }
func (p pipeless) Close() error                                    { close(p.done); return nil }
