package scenarios

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
	"github.com/stretchr/testify/require"
)

// BlocksInNon: whatever becomes of a NON with both Block options, the server lives.
func BlocksInNon(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, over, NewResources(), nil)
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
	mux.HandleFunc("FETCH /reversed", func(w *coap.Response, r *coap.Request) error {
		b := bytes.Clone(r.Payload)
		slices.Reverse(b)
		return w.Bytes(coap.OctetStream, b)
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

// BlocksOverBadNetwork: bodies of 64 KiB up and down through a network that loses a fifth, repeats and reorders, with a
// body that changes half way: the right bytes, or an error that says where to go on, and going
// on ends right.
func BlocksOverBadNetwork(t *testing.T, over *Transport, seeds uint64) {
	resumed, failed := 0, 0
	for seed := range seeds {
		bubble(t, "", func(t *testing.T) {
			s := &store{body: pattern(64<<10, 0), change: 40}
			site := newSite(t, over, s.mux(), mem.Config{
				Seed: seed, Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond,
			})
			c := &coap.Client{Endpoint: site.client}

			body := pattern(64<<10, seed+100)
			put := Request(t, coap.PUT, serverAddr, "/body")
			put.Payload = body
			r, f := persist(t, c, put, new(coap.Response), nil)
			require.Equal(t, body, s.body, "seed %d", seed)

			s.body = pattern(64<<10, 0)
			get := Request(t, coap.GET, serverAddr, "/body")
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

// windowed configures an endpoint that asks for, sends and takes so many blocks at a time.
func windowed(n int) *coap.Config {
	return &coap.Config{
		Params: coap.Params{NStart: n}, SendBlocks: blockwise.ClientConfig{Window: n, UploadWindow: n},
		ServeBlocks: blockwise.ServerConfig{Ahead: 2 * n},
	}
}

// WindowOverBadNetwork: 1 MiB down and as much, or 64 KiB, up through networks that lose nothing, or a fifth, which repeat and reorder: it comes right in a window
// as one block at a time; what comes down, and up without loss, in no more time in all.
func WindowOverBadNetwork(t *testing.T, over *Transport, seeds uint64) {
	for _, loss := range []float64{0, 0.2} {
		took, up := map[int]time.Duration{}, map[int]time.Duration{}
		for _, window := range []int{1, 4, 32} {
			for seed := range seeds {
				bubble(t, fmt.Sprintf("loss %v seed %d window %d", loss, seed, window), func(t *testing.T) {
					s := &store{body: pattern(1<<20, seed)}
					site := newSiteOf(t, over, s.mux(), mem.Config{
						Seed: seed, Loss: loss, Duplicate: 0.05, Reorder: 0.1, Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond,
					}, windowed(window))
					c := &coap.Client{Endpoint: site.client}
					start := time.Now()
					var got bytes.Buffer
					persist(t, c, Request(t, coap.GET, serverAddr, "/body"), new(coap.Response), &got)
					require.True(t, bytes.Equal(s.body, got.Bytes()))
					took[window] += time.Since(start)

					put := Request(t, coap.PUT, serverAddr, "/body")
					put.Payload = pattern(1<<20, seed+100)
					if loss > 0 { // what has gone up is lost with a session, and a session with a request that is not acknowledged
						put.Payload = put.Payload[:64<<10]
					}
					start = time.Now()
					persist(t, c, put, new(coap.Response), nil)
					require.True(t, bytes.Equal(put.Payload, s.body))
					up[window] += time.Since(start)
				})
			}
		}
		t.Logf("loss %v: %v down and %v up for %d bodies", loss, took, up, seeds)
		require.Less(t, took[4], took[1])
		require.Less(t, took[32], took[1])
		if loss == 0 {
			require.Less(t, took[32], took[1]/10)
			require.Less(t, up[4], up[1])
			require.Less(t, up[32], up[1]/10)
		}
	}
}

// WindowInMessages: a window in messages: as many blocks as NSTART allows are asked for ahead, in exchanges of their own.
// One that is not acknowledged is sent again by itself, with what it was from the beginning, and the
// others wait for it; then fewer are asked for at a time.
func WindowInMessages(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, over, nil, windowed(4))
		p := r.peer
		req := Request(t, coap.GET, peerAddr, "/a?b=c")
		req.Transfer = &coap.Transfer{BlockSize: 16}
		call := Async(t.Context(), r.ep, req)
		const digits = "0123456789abcdef"
		answer := func(m packet, num, more int) {
			p.send("ACK 2.05 mid=%d tok=%x opt=4:e7 opt=23:%02x opt=28:80 pay=%s", m.MessageID, []byte(m.Token), num<<4|more<<3, digits)
		}
		asked := func(num int) packet {
			return p.want("a block", "CON GET path=a query=b=c opt=23:%02x", num<<4)
		}
		both := func(a, b int) (packet, packet) { // in either order
			one, two := p.want("a block", "CON GET path=a query=b=c"), p.want("a block", "CON GET path=a query=b=c")
			if v, _ := one.Options.Uint(message.OptionBlock2); v == uint64(b)<<4 {
				one, two = two, one
			}
			for m, num := range map[*packet]int{&one: a, &two: b} {
				v, _ := m.Options.Uint(message.OptionBlock2)
				require.EqualValues(t, num<<4, v)
			}
			return one, two
		}
		answer(p.want("the first, and how long all is", "CON GET path=a query=b=c opt=23: opt=28:"), 0, 1)
		one, two := both(1, 2)
		p.wantNothing("two at first")
		answer(two, 2, 1)
		three, four := both(3, 4)
		p.wantNothing("three are under way")
		answer(three, 3, 1)
		five, six := both(5, 6)
		answer(four, 4, 1)
		seven := asked(7)
		p.wantNothing("and four, to the last one")
		require.Equal(t, 8, len(map[string]bool{
			string(one.Token): true, string(two.Token): true, string(three.Token): true, string(four.Token): true,
			string(five.Token): true, string(six.Token): true, string(seven.Token): true, "": true,
		}), "each has a token of its own")
		answer(seven, 7, 0)
		answer(six, 6, 1)
		answer(five, 5, 1)
		require.False(t, call.IsDone(), "one is missing")
		pass(3 * time.Second)
		again := asked(1)
		require.Equal(t, one.raw, again.raw)
		answer(again, 1, 1)
		resp := call.RequireCode(t, "complete", "2.05")
		require.Equal(t, strings.Repeat(digits, 8), string(resp.Payload))
		r.requireForgotten()
	})
}

// UploadWindowInMessages: a body that goes up in a window, in messages: the first block alone, since the response settles
// the size; then as many at a time as go well; the last when all others are acknowledged. What was sent before its turn and
// not taken is sent again, block by block.
func UploadWindowInMessages(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, over, nil, windowed(4))
		p := r.peer
		req := Request(t, coap.PUT, peerAddr, "/a")
		var body strings.Builder
		for n := range 8 {
			body.WriteString(strings.Repeat(string(rune('a'+n)), 16))
		}
		req.Transfer, req.Payload = &coap.Transfer{BlockSize: 16}, []byte(body.String()[:8*16-1])
		call := Async(t.Context(), r.ep, req)
		sent := func(nums ...int) map[int]packet { // in any order
			all := map[int]packet{}
			for range nums {
				m := p.want("a block", "CON PUT path=a")
				v, ok := m.Options.Uint(message.OptionBlock1)
				require.True(t, ok)
				num, more := int(v>>4), v>>3&1
				require.Contains(t, nums, num)
				require.Equal(t, num < 7, more == 1)
				require.Equal(t, body.String()[num*16:min(num*16+16, len(req.Payload))], string(m.Payload))
				all[num] = m
			}
			require.Len(t, all, len(nums))
			return all
		}
		answer := func(m packet, code string) {
			v, _ := m.Options.Uint(message.OptionBlock1)
			p.send("ACK %s mid=%d tok=%x opt=27:%02x", code, m.MessageID, []byte(m.Token), v)
		}
		answer(sent(0)[0], "2.31")
		two := sent(1, 2)
		p.wantNothing("two at first")
		answer(two[2], "2.31")
		three := sent(3, 4)
		p.wantNothing("three are under way")
		answer(three[3], "2.31")
		four := sent(5, 6)
		p.wantNothing("and four, but the last")
		answer(four[6], "2.31")
		p.wantNothing("which waits for all others")
		answer(two[1], "4.08")
		for num := 1; num < 7; num++ {
			answer(sent(num)[num], "2.31")
		}
		require.False(t, call.IsDone(), "the last is missing")
		answer(sent(7)[7], "2.04")
		call.RequireCode(t, "complete", "2.04")
		r.requireForgotten()
	})
	bubble(t, "smaller blocks are wanted", func(t *testing.T) {
		r := newRig(t, over, nil, windowed(4))
		p := r.peer
		req := Request(t, coap.PUT, peerAddr, "/a")
		req.Transfer, req.Payload = &coap.Transfer{BlockSize: 32}, bytes.Repeat([]byte("x"), 100)
		call := Async(t.Context(), r.ep, req)
		m := p.want("the first", "CON PUT path=a opt=27:09")
		p.send("ACK 4.13 mid=%d tok=%x opt=27:08", m.MessageID, []byte(m.Token))
		m = p.want("the first again, smaller", "CON PUT path=a opt=27:08")
		p.wantNothing("and alone")
		p.send("ACK 4.00 mid=%d tok=%x opt=27:08", m.MessageID, []byte(m.Token))
		call.RequireCode(t, "refused", "4.00")
		r.requireForgotten()
	})
}
