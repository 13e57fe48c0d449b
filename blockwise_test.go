package coap_test

import (
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/transport/mem"
)

// streams is a resource with a long body, which nobody keeps as a whole.
type streams struct {
	size int
	read int // of the body of the last PUT
}

func (s *streams) mux() *coap.Mux {
	mux := coap.NewMux()
	mux.HandleFunc("PUT /stream", func(w *coap.Response, r *coap.Request) error {
		h := sha256.New()
		n, err := io.Copy(h, r.BodyReader())
		if err != nil {
			return err
		}
		s.read = int(n)
		return w.Bytes(coap.OctetStream, h.Sum(nil))
	}, coap.Route{Body: blockwise.Mode{Stream: true}})
	mux.HandleFunc("GET /stream", func(w *coap.Response, r *coap.Request) error {
		return w.Body(io.LimitReader(noise(1), int64(s.size)))
	})
	return mux
}

// pattern returns n bytes that differ from those of another version everywhere.
func pattern(n int, version uint64) []byte {
	b := make([]byte, n)
	io.ReadFull(noise(version), b)
	return b
}

// noise returns an endless stream of bytes.
func noise(seed uint64) io.Reader { return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}) }

// A body of 1 GiB less one block, the most that block numbers can count, is streamed up and down
// in little memory.
func TestLongStream(t *testing.T) {
	size := 1<<30 - 1024
	if raceEnabled || testing.Short() {
		size = 16 << 20
	}
	bubble(t, "", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		s := &streams{size: size}
		// By default, the replies to a peer are remembered in up to 32 MiB.
		cfg := &coap.Config{Limits: coap.Limits{RememberedBytes: 4 << 20, RememberedBytesPerPeer: 4 << 20}}
		endpoint(t, listen(t, network, serverAddr), s.mux(), cfg)
		c := &coap.Client{Endpoint: endpoint(t, listen(t, network, netip.AddrPortFrom(peerAddr.Addr(), 1)), nil, cfg)}
		want := sha256.New()
		io.CopyN(want, noise(1), int64(size))

		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		peak := uint64(0)
		watch := func(p coap.Progress) {
			if (p.Sent+p.Received)%(64<<20) == 0 {
				runtime.GC()
				runtime.ReadMemStats(&after)
				peak = max(peak, after.HeapAlloc)
			}
		}
		put := request(t, coap.PUT, serverAddr, "/stream")
		put.Body = io.LimitReader(noise(1), int64(size))
		put.Transfer = &coap.Transfer{Size: int64(size), Progress: watch}
		var resp coap.Response
		require.NoError(t, c.Do(context.Background(), put, &resp))
		require.Equal(t, want.Sum(nil), resp.Payload)
		require.Equal(t, size, s.read)

		got := sha256.New()
		get := request(t, coap.GET, serverAddr, "/stream")
		get.Transfer = &coap.Transfer{Sink: got, Progress: watch}
		require.NoError(t, c.Do(context.Background(), get, &resp))
		require.Equal(t, want.Sum(nil), got.Sum(nil))
		t.Logf("heap before %d KiB, at most %d KiB", before.HeapAlloc>>10, peak>>10)
		require.Less(t, int64(peak)-int64(before.HeapAlloc), int64(16<<20), "8 MiB on each side")
	})
}
