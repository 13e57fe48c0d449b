package coap_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/transport/mem"
)

// P41: whatever becomes of a NON with both Block options, the server lives.
func TestBlocksInNon(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, newResources(), nil)
		r.peer.sendHex("54010001c98669bf410d71614162811943558ec1")
		pass(time.Second)
		r.peer.sendHex("40000002")
		for {
			if got := r.peer.next("the ping is answered"); got.MessageID == 2 {
				break
			}
		}
	})
}

// store is a resource whose body is long, and can be made to change while it is read.
type store struct {
	body    []byte
	version byte
	reads   int
	change  int // after how many reads the body changes; 0: never
}

func (s *store) mux() *coap.Mux {
	mux := coap.NewMux()
	mux.HandleFunc("GET /body", func(w *coap.Response, r *coap.Request) error {
		if s.reads++; s.reads == s.change {
			s.version++
			s.body = pattern(len(s.body), uint64(s.version))
		}
		return w.Content(bytes.NewReader(s.body), []byte{s.version + 1})
	})
	mux.HandleFunc("PUT /body", func(w *coap.Response, r *coap.Request) error {
		s.body = bytes.Clone(r.Payload)
		w.SetCode(coap.Changed)
		return nil
	})
	mux.HandleFunc("PUT /stream", func(w *coap.Response, r *coap.Request) error {
		h := sha256.New()
		n, err := io.Copy(h, r.BodyReader())
		if err != nil {
			return err
		}
		s.reads = int(n)
		return w.Bytes(coap.OctetStream, h.Sum(nil))
	}, coap.Route{Body: blockwise.Mode{Stream: true}})
	mux.HandleFunc("GET /stream", func(w *coap.Response, r *coap.Request) error {
		return w.Body(io.LimitReader(noise(1), int64(s.change)))
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

// Bodies of 64 KiB up and down through a network that loses a fifth, repeats and reorders, with a
// body that changes half way: the right bytes, or an error that says where to go on, and going
// on ends right.
//
// Proves 7959-2.4-08.
func TestBlocksOverBadNetwork(t *testing.T) {
	seeds := uint64(1000)
	if raceEnabled || testing.Short() {
		seeds = 60
	}
	resumed, failed := 0, 0
	for seed := range seeds {
		bubble(t, "", func(t *testing.T) {
			network := mem.NewNetwork(mem.Config{
				Seed: seed, Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond,
			})
			s := &store{body: pattern(64<<10, 0), change: 40}
			endpoint(t, listen(t, network, serverAddr), s.mux(), nil)
			c := &coap.Client{Endpoint: endpoint(t, listen(t, network, peerAddr), nil, nil)}

			body := pattern(64<<10, seed+100)
			put := request(t, coap.PUT, serverAddr, "/body")
			put.Payload = body
			r, f := persist(t, c, put, new(coap.Response), nil)
			require.Equal(t, body, s.body, "seed %d", seed)

			s.body = pattern(64<<10, 0)
			get := request(t, coap.GET, serverAddr, "/body")
			var resp coap.Response
			var got bytes.Buffer
			r2, f2 := persist(t, c, get, &resp, &got)
			require.Equal(t, s.body, got.Bytes(), "seed %d", seed)
			resumed, failed = resumed+r+r2, failed+f+f2
		})
	}
	t.Logf("%d seeds: %d transfers were interrupted and resumed, %d started again", seeds, resumed, failed)
}

// persist makes a round trip until it succeeds: after an error of the transfer from where
// that says.
func persist(t *testing.T, c *coap.Client, req *coap.Request, resp *coap.Response, got *bytes.Buffer) (resumed, failed int) {
	t.Helper()
	for range 100 {
		err := c.Do(context.Background(), req, resp)
		var broken *blockwise.Error
		switch {
		case err == nil:
			require.True(t, resp.Code.IsSuccess(), "%v", resp.Code)
			if got != nil {
				got.Write(resp.Payload)
			}
			return resumed, failed
		case errors.As(err, &broken) && broken.Reason == blockwise.ErrInterrupted:
			if got != nil {
				got.Write(resp.Payload)
				if broken.Position.Offset == 0 {
					got.Reset()
				}
			}
			r := *req
			r.Transfer = &coap.Transfer{Resume: broken.Position}
			req = &r
			resumed++
		default:
			require.True(t, errors.As(err, &broken) || errors.Is(err, coap.ErrTimeout), "%v", err)
			if got != nil {
				got.Reset()
			}
			r := *req
			r.Transfer = nil
			req = &r
			failed++
		}
	}
	t.Fatal("does not end")
	return 0, 0
}

// A body of 1 GiB less one block, the most that block numbers can count, is streamed up and down
// in little memory.
func TestLongStream(t *testing.T) {
	size := 1<<30 - 1024
	if raceEnabled || testing.Short() {
		size = 16 << 20
	}
	bubble(t, "", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		s := &store{change: size}
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
		require.Equal(t, size, s.reads)

		got := sha256.New()
		get := request(t, coap.GET, serverAddr, "/stream")
		get.Transfer = &coap.Transfer{Sink: got, Progress: watch}
		require.NoError(t, c.Do(context.Background(), get, &resp))
		require.Equal(t, want.Sum(nil), got.Sum(nil))
		t.Logf("heap before %d KiB, at most %d KiB", before.HeapAlloc>>10, peak>>10)
		require.Less(t, int64(peak)-int64(before.HeapAlloc), int64(16<<20), "8 MiB on each side")
	})
}
