package blockwise_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// lengths are those at which something may be off by one, and others.
func lengths(r *rand.Rand) int {
	edge := 16 << r.IntN(7) * (1 + r.IntN(4))
	switch r.IntN(4) {
	case 0:
		return edge
	case 1:
		return edge + 1
	case 2:
		return max(edge-1, 0)
	}
	return r.IntN(5000)
}

// Bodies of all lengths arrive whole and unchanged, whatever block sizes the two sides prefer, from
// and to all kinds of readers, and when the server prefers smaller ones at any time.
func TestAnySizes(t *testing.T) {
	for seed := range uint64(200 * rounds) {
		r := rand.New(rand.NewPCG(seed, 1))
		up, down := bodyOf(lengths(r)), bodyOf(lengths(r))
		mode := blockwise.Mode{Stream: r.IntN(2) == 0}
		kind := r.IntN(3)
		h := &site{answer: func(w *exchange.Response, req *exchange.Request) error {
			switch w.Code = message.Changed; kind {
			case 0:
				return w.Body(bytes.NewReader(down))
			case 1:
				return w.Content(bytes.NewReader(down), []byte("1"))
			}
			w.Payload = down
			return nil
		}}
		s := blockwise.NewServer(h, blockwise.ServerConfig{
			BlockSize: 16 << r.IntN(7), Ahead: r.IntN(8),
			Mode: func(*exchange.Request) (blockwise.Mode, error) { return mode, nil },
		})
		x := &wire{handler: s, peer: peerAt(1), ctx: context.Background()}
		var mu sync.Mutex
		x.tamper = func(n int, m *message.Message) error { // as if the server had changed its mind
			mu.Lock()
			defer mu.Unlock()
			b, ok := blockwise.ParseBlock(&m.Options, message.OptionBlock1)
			if ok && m.Code == message.Continue && b.SZX > 0 && r.IntN(4) == 0 {
				b.SZX = uint8(r.IntN(int(b.SZX)))
				m.Options.SetUint(message.OptionBlock1, b.Value())
			}
			return nil
		}
		c := blockwise.NewClient(x, blockwise.ClientConfig{BlockSize: 16 << r.IntN(7), Early: r.IntN(2) == 0, Window: r.IntN(8), UploadWindow: r.IntN(8)})
		req := request([]message.Code{message.POST, message.FETCH, message.IPATCH}[r.IntN(3)], "/a", nil)
		give(req, []string{"bytes", "seeker", "reader"}[r.IntN(3)], up, 0)
		var sink bytes.Buffer
		if r.IntN(2) == 0 {
			req.Transfer = &exchange.Transfer{Sink: &sink}
		}
		var resp exchange.Response
		require.NoError(t, c.RoundTrip(context.Background(), req, &resp), "seed %d: %s", seed, strings.Join(x.chart, "\n"))
		require.True(t, bytes.Equal(down, append(sink.Bytes(), resp.Payload...)), "seed %d down", seed)
		require.True(t, bytes.Equal(up, h.last(t)), "seed %d up", seed)
		if req.Code != message.FETCH { // of which blocks behind the end may be asked for ahead
			require.Equal(t, 1, h.runs, "seed %d", seed)
		}
		require.False(t, resp.Options.Has(message.OptionBlock1) || resp.Options.Has(message.OptionBlock2))
		require.NoError(t, s.Shutdown(context.Background()))
		require.Zero(t, s.Stats().Bytes, "seed %d", seed)
	}
}

// lossy is a network on which requests and responses get lost, or arrive when their sender has given
// up. Duplicates of what has arrived are caught below this layer.
type lossy struct {
	wire
	mu   sync.Mutex
	r    *rand.Rand
	late []func()
}

func (x *lossy) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.late) > 0 && x.r.IntN(3) == 0 { // in any order
		i := x.r.IntN(len(x.late))
		x.late[i]()
		x.late = slices.Delete(x.late, i, i+1)
	}
	switch x.r.IntN(20) {
	case 0, 1:
		return exchange.ErrNotAcknowledged
	case 2:
		x.wire.RoundTrip(ctx, req, new(exchange.Response))
		return exchange.ErrNotAcknowledged
	case 3:
		copied := req.Clone()
		x.late = append(x.late, func() { x.wire.RoundTrip(ctx, copied, new(exchange.Response)) })
		return exchange.ErrNotAcknowledged
	}
	return x.wire.RoundTrip(ctx, req, resp)
}

// A body of 64 KiB goes up and another comes down over such a network, while both change now and
// then: what arrives is right, or there is an error that says where to resume, and
// resuming ends right.
//
// Proves 7959-2.4-08, 7959-2.5-02.
func TestLoss(t *testing.T) {
	for seed := range uint64(100 * rounds) {
		for _, method := range []message.Code{message.PUT, message.GET} {
			synctest.Test(t, func(t *testing.T) { testLoss(t, seed, method) })
		}
	}
}

func testLoss(t *testing.T, seed uint64, method message.Code) {
	const size = 64 << 10
	r := rand.New(rand.NewPCG(seed, uint64(method)))
	version := func(v int) []byte { return append([]byte{byte(v)}, bodyOfVersion(v, size-1)...) }
	current, changes := 0, 2
	mode := blockwise.Mode{Stream: seed%2 == 1}
	var uploaded [][]byte
	var mu sync.Mutex
	h := exchange.HandlerFunc(func(w *exchange.Response, req *exchange.Request) error {
		if req.Code == message.GET {
			w.Payload = version(current)
			return nil
		}
		b, err := req.ReadBody(1 << 20)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			uploaded = append(uploaded, bytes.Clone(b))
		}
		w.Code = message.Changed
		return err
	})
	s := blockwise.NewServer(h, blockwise.ServerConfig{Ahead: int(seed / 2 % 10), Mode: func(*exchange.Request) (blockwise.Mode, error) { return mode, nil }})
	x := &lossy{wire: wire{handler: s, peer: peerAt(1), ctx: context.Background()}, r: r}
	c := blockwise.NewClient(x, blockwise.ClientConfig{MaxRestarts: 1, Window: int(seed % 5), UploadWindow: int(seed % 7)})

	var got []byte
	var at exchange.Position
	for try := 0; ; try++ {
		require.Less(t, try, 500, "seed %d %v", seed, method)
		if changes > 0 && r.IntN(8) == 0 { // between two tries, or rather while a block is lost
			current++
			changes--
			if method == message.PUT {
				at = exchange.Position{}
			}
		}
		req := request(method, "/a", nil)
		if method == message.PUT {
			req.Payload = version(current)
		}
		req.Transfer = &exchange.Transfer{Resume: at}
		var resp exchange.Response
		err := c.RoundTrip(context.Background(), req, &resp)
		if at.Offset == 0 || at.Upload {
			got = got[:0]
		}
		var e *blockwise.Error
		switch {
		case err == nil && resp.Code.IsSuccess():
			got = append(got, resp.Payload...)
			if method == message.PUT {
				break
			}
			require.True(t, bytes.Equal(version(int(got[0])), got), "seed %d: mixed", seed)
			return
		case errors.As(err, &e):
			at = e.Position
			if got = append(got, resp.Payload...); at.Offset == 0 {
				got = nil
			}
			continue
		default: // a single message that was lost, or a response such as 4.08 or 5.03
			at, got = exchange.Position{}, nil
			if resp.Code == message.ServiceUnavailable {
				// Too many streams that were given up, of which the server cannot know: they make room in time.
				advance(resp.Options.MaxAge())
			}
			continue
		}
		break
	}
	require.NoError(t, s.Shutdown(context.Background()))
	mu.Lock()
	defer mu.Unlock()
	require.NotEmpty(t, uploaded)
	for _, b := range uploaded {
		require.True(t, len(b) == size && bytes.Equal(version(int(b[0])), b), "seed %d: mixed upload of %d bytes", seed, len(b))
	}
	require.True(t, slices.ContainsFunc(uploaded, func(b []byte) bool { return b[0] == byte(current) }), "seed %d", seed)
}

var versions [4][]byte

func bodyOfVersion(v, n int) []byte {
	if versions[v] == nil {
		versions[v] = bodyOf(n + v)[:n]
	}
	return versions[v]
}

// pattern is a body of any length, without memory: byte i is i times 7, plus i/251.
type pattern struct{ size, pos int64 }

func at(i int64) byte { return byte(i*7 + i/251) }

func (p *pattern) Read(b []byte) (int, error) {
	n := int(min(int64(len(b)), p.size-p.pos))
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	for i := range n {
		b[i] = at(p.pos + int64(i))
	}
	p.pos += int64(n)
	return n, nil
}

// check is where such a body goes to.
type check struct{ n, wrong int64 }

func (c *check) Write(b []byte) (int, error) {
	for i, v := range b {
		if v != at(c.n+int64(i)) {
			c.wrong++
		}
	}
	c.n += int64(len(b))
	return len(b), nil
}

// Bodies that are longer than memory flow up and down in little memory.
func TestLongStreams(t *testing.T) {
	const size = 5*rounds<<20 + 7
	var up, down check
	var most uint64
	h := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		if _, err := io.Copy(&up, r.Body); err != nil {
			return err
		}
		return w.Body(&pattern{size: size})
	})
	s := blockwise.NewServer(h, blockwise.ServerConfig{Mode: streamed})
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := blockwise.NewClient(roundTripFunc(func(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
		m := message.Message{Code: req.Code, Options: req.Options, Payload: req.Payload}
		return resp.Receive(serve(s, &m, peerAt(1), ctx), exchange.Peer{})
	}), blockwise.ClientConfig{})
	req := request(message.POST, "/a", nil)
	req.Body = &pattern{size: size}
	n := 0
	req.Transfer = &exchange.Transfer{Sink: &down, Size: size, Progress: func(exchange.Progress) {
		if n++; n%5000 == 0 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}}
	var resp exchange.Response
	require.NoError(t, c.RoundTrip(t.Context(), req, &resp))
	require.Equal(t, check{n: size}, up)
	require.Equal(t, check{n: size}, down)
	require.Less(t, int64(most)-int64(before.HeapAlloc), int64(1<<20))
	require.Zero(t, s.Stats().Bytes)
	require.NoError(t, s.Shutdown(t.Context()))
}

// Many clients upload and download at once, to one resource and to many.
func TestConcurrency(t *testing.T) {
	h := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		b, err := r.ReadBody(1 << 20)
		w.Code, w.Payload = message.Changed, b
		return err
	})
	s := blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: 64, Mode: func(r *exchange.Request) (blockwise.Mode, error) {
		return blockwise.Mode{Stream: strings.HasSuffix(r.Path(), "s")}, nil
	}})
	var wg sync.WaitGroup
	for i := range 8 {
		c := blockwise.NewClient(&wire{handler: s, peer: peerAt(i / 2), ctx: context.Background()}, blockwise.ClientConfig{})
		for j := range 8 {
			wg.Go(func() {
				path := "/one"
				if j > 1 {
					path = fmt.Sprintf("/%d/%d%s", i, j, []string{"", "s"}[j%2])
				}
				req := request(message.POST, path, bodyOf(3000+100*i+j))
				if j <= 1 { // of two clients behind one address, which do not know each other
					req.Options.Add(message.OptionRequestTag, []byte{byte(i), byte(j)})
				}
				for range 5 {
					var resp exchange.Response
					if err := c.RoundTrip(context.Background(), req, &resp); err != nil || !bytes.Equal(req.Payload, resp.Payload) {
						t.Errorf("%d %d: %v, %v, %d bytes", i, j, err, resp.Code, len(resp.Payload))
					}
				}
			})
		}
	}
	wg.Wait()
	require.NoError(t, s.Shutdown(context.Background()))
	require.Zero(t, s.Stats().Bytes)
}
