//go:build linux && (amd64 || arm64) && !portable

package udp

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
)

func TestRun(t *testing.T) {
	peer, other := netip.MustParseAddrPort("192.0.2.1:5683"), netip.MustParseAddrPort("192.0.2.2:5683")
	to := func(to netip.AddrPort, sizes ...int) (ds []transport.Datagram) {
		for _, n := range sizes {
			ds = append(ds, transport.Datagram{Data: make([]byte, n), Remote: to})
		}
		return ds
	}
	for name, c := range map[string]struct {
		ds   []transport.Datagram
		want int
	}{
		"alone":             {to(peer, 100), 1},
		"alike":             {to(peer, 100, 100, 100), 3},
		"a shorter last":    {to(peer, 100, 100, 50, 50), 3},
		"a longer one":      {to(peer, 100, 101), 1},
		"an empty one":      {to(peer, 100, 100, 0), 2},
		"empty ones":        {to(peer, 0, 0), 1},
		"too long":          {to(peer, maxSegment+1, maxSegment+1), 1},
		"as long as can be": {to(peer, maxSegment, maxSegment), 2},
		"another peer":      {append(to(peer, 100, 100), to(other, 100)...), 2},
		"a group":           {to(netip.MustParseAddrPort("224.0.1.187:5683"), 100, 100), 1},
		"another interface": {append(to(peer, 100), transport.Datagram{Data: make([]byte, 100), Remote: peer, IfIndex: 1}), 1},
		"another source":    {append(to(peer, 100), transport.Datagram{Data: make([]byte, 100), Remote: peer, Local: other}), 1},
		"very many":         {to(peer, make([]int, 40)...), 1},
	} {
		require.Equal(t, c.want, run(c.ds), name)
	}
	many := make([]int, 40)
	for i := range many {
		many[i] = 7
	}
	require.Equal(t, maxSend, run(to(peer, many...)))
}

// Whatever goes together arrives apart, in order, as it was; also where the system refuses to cut it, which it is not
// asked to any more after some times.
func TestRunsArrive(t *testing.T) {
	for name, refusing := range map[string]bool{"cut": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			open := func() *Conn {
				c, err := Listen("127.0.0.1:0", nil)
				require.NoError(t, err)
				t.Cleanup(func() { c.Close() })
				return c
			}
			a, peers := open(), []*Conn{open(), open()}
			if refusing {
				const soNoCheck = 11 // what has no checksum is not cut
				require.NoError(t, a.raw.Control(func(fd uintptr) {
					require.NoError(t, syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soNoCheck, 1))
				}))
			}
			r := rand.New(rand.NewPCG(1, 1))
			for range 30 {
				var ds []transport.Datagram
				want := make([][][]byte, len(peers))
				for len(ds) < 60 {
					k, size := r.IntN(len(peers)), 1+r.IntN(1300)
					for range 1 + r.IntN(20) {
						data := bytes.Repeat([]byte{byte(len(ds))}, size)
						ds = append(ds, transport.Datagram{Data: data, Remote: peers[k].LocalAddr()})
						want[k] = append(want[k], data)
					}
				}
				n, err := a.WriteBatch(ds)
				require.NoError(t, err)
				require.Equal(t, len(ds), n)
				for k, p := range peers {
					for len(want[k]) > 0 {
						got := make([]transport.Datagram, 16)
						for i := range got {
							got[i].Data = make([]byte, 2000)
						}
						n, err := p.ReadBatch(got)
						require.NoError(t, err)
						for _, d := range got[:n] {
							require.True(t, bytes.Equal(want[k][0], d.Data))
							want[k] = want[k][1:]
						}
					}
				}
			}
			require.Equal(t, refusing, a.writing.refused == maxRefusals)
		})
	}
}
