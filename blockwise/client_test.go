package blockwise_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// script is a server that wants requests and gives responses, in turns; see line.
type script struct {
	t     *testing.T
	steps []step
	n     int
	edit  func(n int, m *message.Message) // of responses
}

func (x *script) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	x.t.Helper()
	got := line(req.Code, &req.Options, req.Payload)
	require.Less(x.t, x.n, len(x.steps), "one more request: %s", got)
	s := x.steps[x.n]
	require.Equal(x.t, s.request, got, "request %d", x.n)
	m, err := responseOf(s.want)
	if err != nil {
		return err
	}
	if x.edit != nil {
		x.edit(x.n, m)
	}
	x.n++
	resp.Reset()
	return resp.Receive(m, peerAt(1))
}

// responseOf makes a response of a line. Its payload is cut out of bodyOf(4096) by Block2. "lost" is
// an exchange that ends without one.
func responseOf(s string) (*message.Message, error) {
	if s == "lost" {
		return nil, exchange.ErrNotAcknowledged
	}
	f := bytes.Fields([]byte(s))
	m := new(message.Message)
	code, err := message.ParseCode(string(f[0]))
	if err != nil {
		panic(err)
	}
	m.Code = code
	var off int64
	for _, o := range f[1:] {
		name, value, _ := bytes.Cut(o, []byte("="))
		switch {
		case string(name) == "etag":
			m.Options.SetETag(value)
		case string(name) == "format":
			m.Options.SetContentFormat(message.ContentFormat(len(value)))
		case string(name) == "size1":
			m.Options.SetSize1(uint32(atoi(value)))
		case string(name) == "size2":
			m.Options.SetSize2(uint32(atoi(value)))
		case o[0] == '+':
			m.Payload = bodyOf(4096)[off : off+int64(atoi(o[1:]))]
		default:
			n, b := parseBlock(string(o))
			m.Options.SetUint(n, b.Value())
			if n == message.OptionBlock2 {
				off = b.Offset()
			}
		}
	}
	return m, nil
}

func atoi(b []byte) (n int) {
	for _, c := range b {
		n = 10*n + int(c-'0')
	}
	return n
}

// What a client does with a server that follows the protocol, or its own mind.
//
// Proves 7959-2.3-01, 7959-2.3-02, 7959-2.4-04, 7959-2.4-05, 7959-2.4-08, 7959-2.10-01, 7959-4-01, 7959-4-02.
// Proves 7959-2.4-s13, 7959-2.5-s17, 7959-4-s12, 9175-3.2.1-s10.
func TestClientSteps(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   blockwise.ClientConfig
		req   step // only the request
		send  int  // length of its body
		steps []step
		code  string
		got   int // length of the body, of bodyOf(4096)
		err   error
	}{
		{name: "the body changes", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 etag=1 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/1/64 etag=2 +64"},
			{"GET /a 2:0/0/64", "2.05 2:0/1/64 etag=2 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 etag=2 +6"},
		}, code: "2.05", got: 70},
		{name: "the body changes and is short now", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 etag=1 +64"}, {"GET /a 2:1/0/64", "2.05 etag=2 +9"}, {"GET /a 2:0/0/64", "2.05 etag=2 +9"},
		}, code: "2.05", got: 9},
		{name: "the body changes all the time", cfg: blockwise.ClientConfig{MaxRestarts: 1}, req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 etag=1 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/1/64 etag=2 +64"},
			{"GET /a 2:0/0/64", "2.05 2:0/1/64 etag=3 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/1/64 etag=4 +64"},
		}, err: blockwise.ErrBodyChanged},
		{name: "the response to a POST changes", req: step{request: "POST /a"}, send: 10, steps: []step{
			{"POST /a +10", "2.04 2:0/1/64 etag=1 +64"}, {"POST /a 2:1/0/64", "2.04 2:1/1/64 etag=2 +64"},
		}, err: blockwise.ErrBodyChanged},
		{name: "the entity-tag goes missing", cfg: blockwise.ClientConfig{MaxRestarts: -1}, req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 etag=1 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 +6"},
		}, err: blockwise.ErrBodyChanged},
		{name: "the entity-tag may go missing", cfg: blockwise.ClientConfig{AllowMissingETag: true}, req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 etag=1 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 +6"},
		}, code: "2.05", got: 70},
		{name: "the format changes", cfg: blockwise.ClientConfig{MaxRestarts: -1}, req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 format=x +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 format=xx +6"},
		}, err: blockwise.ErrBodyChanged},
		{name: "the format comes with the first block only", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 format=x +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 +6"},
		}, code: "2.05", got: 70},
		{name: "observe, entity-tags and Size2 go with the first request only", req: step{request: "GET /a observe etag=9 size2"}, steps: []step{
			{"GET /a observe:0 size2:0", "2.05 2:0/1/64 size2=70 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 +6"},
		}, code: "2.05", got: 70},
		{name: "the server makes blocks smaller on the way", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "2.05 2:2/1/32 +32"}, {"GET /a 2:3/0/32", "2.05 2:3/0/32 +4"},
		}, code: "2.05", got: 100},
		{name: "the server wants smaller blocks than proposed", cfg: blockwise.ClientConfig{BlockSize: 64, Early: true}, req: step{request: "GET /a"}, steps: []step{
			{"GET /a 2:0/0/64", "2.05 2:0/1/32 +32"}, {"GET /a 2:1/0/32", "2.05 2:1/1/32 +32"}, {"GET /a 2:2/0/32", "2.05 2:2/0/32 +4"},
		}, code: "2.05", got: 68},
		{name: "the size is asked for and not told", req: step{request: "GET /a size2"}, steps: []step{
			{"GET /a size2:0", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 +6"},
		}, code: "2.05", got: 70},
		{name: "exact multiple with an empty last block", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64"},
		}, code: "2.05", got: 64},
		{name: "the server has forgotten it", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "4.08"},
			{"GET /a 2:0/0/64", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 +6"},
		}, code: "2.05", got: 70},
		{name: "an error on the way stays a response", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "4.04 +3"},
		}, code: "4.04", got: 3},
		{name: "a long error", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "4.04 2:0/1/16 +16"}, {"GET /a 2:1/0/16", "4.04 2:1/0/16 +3"},
		}, code: "4.04", got: 19},
		{name: "lost on the way", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 etag=1 +64"}, {"GET /a 2:1/0/64", "lost"},
		}, err: blockwise.ErrInterrupted, got: 64},
		{name: "the wrong block", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "2.05 2:2/1/64 +64"},
		}, err: blockwise.ErrBadResponse},
		{name: "not the first block", req: step{request: "GET /a"}, steps: []step{{"GET /a", "2.05 2:1/1/64 +64"}}, err: blockwise.ErrBadResponse},
		{name: "a block of wrong length", req: step{request: "GET /a"}, steps: []step{{"GET /a", "2.05 2:0/1/64 +63"}}, err: blockwise.ErrBadResponse},
		{name: "larger than asked for", cfg: blockwise.ClientConfig{BlockSize: 32, Early: true}, req: step{request: "GET /a"}, steps: []step{
			{"GET /a 2:0/0/32", "2.05 2:0/1/64 +64"},
		}, err: blockwise.ErrBadResponse},
		{name: "size exponent 7", req: step{request: "GET /a"}, steps: []step{{"GET /a", "2.05 2:0/1/2048 +2048"}}, err: blockwise.ErrBadResponse},
		{name: "2.03 in the middle", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "2.03"},
		}, err: blockwise.ErrBadResponse},
		{name: "longer than the limit", cfg: blockwise.ClientConfig{MaxBody: 100}, req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/1/64 +64"},
		}, err: blockwise.ErrTooLarge, got: 64},
		{name: "longer than the limit, as announced", cfg: blockwise.ClientConfig{MaxBody: 100}, req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 size2=200 +64"},
		}, err: blockwise.ErrTooLarge},
		{name: "announced far too long", req: step{request: "GET /a"}, steps: []step{
			{"GET /a", "2.05 2:0/1/64 size2=9000000 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 +6"},
		}, code: "2.05", got: 70},
		{name: "FETCH repeats its payload", req: step{request: "FETCH /a"}, send: 10, steps: []step{
			{"FETCH /a +10", "2.05 2:0/1/64 +64"}, {"FETCH /a 2:1/0/64 +10", "2.05 2:1/0/64 +6"},
		}, code: "2.05", got: 70},

		{name: "If-None-Match goes with the first block only", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a if-none-match"}, send: 40, steps: []step{
			{"PUT /a if-none-match 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/1/16 +16", "2.31 1:1/1/16"}, {"PUT /a 1:2/0/16 +8", "2.01 1:2/0/16"},
		}, code: "2.01"},
		{name: "size of many blocks", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 200, steps: []step{
			{"PUT /a 1:0/1/16 size1:200 +16", "4.03"},
		}, code: "4.03"},
		{name: "the server has lost it", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 20, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/0/16 +4", "4.08"},
			{"PUT /a 1:0/1/16 tag:2a +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/0/16 tag:2a +4", "2.04 1:1/0/16"},
		}, code: "2.04"},
		{name: "the server has lost it, with If-None-Match", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a if-none-match"}, send: 20, steps: []step{
			{"PUT /a if-none-match 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/0/16 +4", "4.08"},
			{"PUT /a if-none-match 1:0/1/16 tag:2a +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/0/16 tag:2a +4", "2.01 1:1/0/16"},
		}, code: "2.01"},
		{name: "the server loses it each time", cfg: blockwise.ClientConfig{BlockSize: 16, MaxRestarts: -1}, req: step{request: "PUT /a"}, send: 20, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/0/16 +4", "4.08 1:1/0/16"},
		}, err: blockwise.ErrIncomplete},
		{name: "4.08 to the first block", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 20, steps: []step{
			{"PUT /a 1:0/1/16 +16", "4.08 1:0/1/16"},
		}, code: "4.08"},
		{name: "too large, try blocks", req: step{request: "PUT /a"}, send: 100, steps: []step{
			{"PUT /a +100", "4.13"}, {"PUT /a 1:0/1/64 +64", "2.31 1:0/1/64"}, {"PUT /a 1:1/0/64 +36", "2.04 1:1/0/64"},
		}, code: "2.04"},
		{name: "too large with a proposal, try blocks", cfg: blockwise.ClientConfig{Early: true}, req: step{request: "PUT /a"}, send: 100, steps: []step{
			{"PUT /a 2:0/0/1024 +100", "4.13"}, {"PUT /a 1:0/1/64 +64", "2.31 1:0/1/64"}, {"PUT /a 2:0/0/1024 1:1/0/64 +36", "2.04 1:1/0/64"},
		}, code: "2.04"},
		{name: "too large, try these blocks", req: step{request: "PUT /a"}, send: 100, steps: []step{
			{"PUT /a +100", "4.13 1:0/1/32"}, {"PUT /a 1:0/1/32 +32", "4.13 1:0/1/16"}, {"PUT /a 1:0/1/16 +16", "4.13 1:0/1/16"},
		}, code: "4.13"},
		{name: "too large, whatever the blocks", req: step{request: "PUT /a"}, send: 100, steps: []step{{"PUT /a +100", "4.13 size1=50"}}, code: "4.13"},
		{name: "too large on the way, try these blocks", cfg: blockwise.ClientConfig{BlockSize: 32}, req: step{request: "PUT /a"}, send: 70, steps: []step{
			{"PUT /a 1:0/1/32 +32", "2.31 1:0/1/32"}, {"PUT /a 1:1/1/32 +32", "4.13 1:1/1/16"}, {"PUT /a 1:0/1/16 tag:2a +16", "4.13"},
		}, code: "4.13"},
		{name: "an error on the way", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 40, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/1/16 +16", "4.03"},
		}, code: "4.03"},
		{name: "a server that forgets Block1 in 2.31", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 20, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31"}, {"PUT /a 1:1/0/16 +4", "2.04"},
		}, code: "2.04"},
		{name: "a server that does not know Block1", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 20, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.04"},
		}, err: blockwise.ErrBadResponse},
		{name: "2.31 to the last block", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 20, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/0/16 +4", "2.31 1:1/1/16"},
		}, err: blockwise.ErrBadResponse},
		{name: "another block acknowledged", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 20, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31 1:1/1/16"},
		}, err: blockwise.ErrBadResponse},
		{name: "an earlier block acknowledged", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 40, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/1/16 +16", "2.31 1:0/1/16"}, // for the second time
			{"PUT /a 1:0/1/16 tag:2a +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/1/16 tag:2a +16", "2.31 1:1/1/16"}, {"PUT /a 1:2/0/16 tag:2a +8", "2.04 1:2/0/16"},
		}, code: "2.04"},
		{name: "an earlier block acknowledged in the end", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 20, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/0/16 +4", "2.31 1:0/1/16"},
		}, err: blockwise.ErrBadResponse},
		{name: "an earlier block acknowledged as the last", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 20, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/0/16 +4", "2.04 1:0/0/16"},
		}, err: blockwise.ErrBadResponse},
		{name: "upload is lost", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 20, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/0/16 +4", "lost"},
		}, err: blockwise.ErrInterrupted},
		{name: "exact multiple up", cfg: blockwise.ClientConfig{BlockSize: 16}, req: step{request: "PUT /a"}, send: 32, steps: []step{
			{"PUT /a 1:0/1/16 +16", "2.31 1:0/1/16"}, {"PUT /a 1:1/0/16 +16", "2.04 1:1/0/16"},
		}, code: "2.04"},
		{name: "manual blocks", req: step{request: "PUT /a 1:1/0/64"}, send: -1, steps: []step{{"PUT /a 1:1/0/64 +5", "2.04 1:1/0/64"}}, code: "2.04"},
		{name: "manual random access", req: step{request: "GET /a 2:1/0/64"}, send: -1, steps: []step{{"GET /a 2:1/0/64", "2.05 2:1/1/64 +64"}}, code: "2.05", got: -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &script{t: t, steps: c.steps}
			client := blockwise.NewClient(anyTag{x}, c.cfg)
			req := c.req.make()
			if c.send >= 0 {
				req.Payload = bodyOf(c.send)
			}
			var resp exchange.Response
			err := client.RoundTrip(t.Context(), req, &resp)
			require.Equal(t, len(c.steps), x.n+lost(c.steps), "requests")
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
			} else {
				require.NoError(t, err)
				require.Equal(t, c.code, resp.Code.Dotted())
			}
			if f, ok := resp.Options.ContentFormat(); c.name == "the format comes with the first block only" {
				require.True(t, ok && f == 1)
			}
			if c.got >= 0 {
				require.Equal(t, string(bodyOf(4096)[:c.got]), string(resp.Payload))
			}
		})
	}
}

func lost(steps []step) int {
	if steps[len(steps)-1].want == "lost" {
		return 1
	}
	return 0
}

// anyTag makes each Request-Tag appear as "*".
type anyTag struct{ next exchange.RoundTripper }

func (x anyTag) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	r := *req
	if r.Options.Has(message.OptionRequestTag) {
		r.Options = req.Options.Clone()
		r.Options.SetString(message.OptionRequestTag, "*")
	}
	return x.next.RoundTrip(ctx, &r, resp)
}

func TestErrorText(t *testing.T) {
	e := &blockwise.Error{Reason: blockwise.ErrInterrupted, Position: exchange.Position{Offset: 64}, Err: exchange.ErrNotAcknowledged}
	require.EqualError(t, e, "coap: block-wise transfer: interrupted at byte 64: no acknowledgement, all retransmissions timed out (MAX_TRANSMIT_WAIT)")
	require.ErrorIs(t, e, exchange.ErrTimeout)
	require.True(t, e.Timeout())
	require.Equal(t, "coap: block-wise transfer: reason 99", blockwise.Reason(99).Error())
	require.False(t, (&blockwise.Error{Reason: blockwise.ErrTooLong}).Timeout())
}

// cutOff loses everything from the nth request on, n times.
type cutOff struct {
	next exchange.RoundTripper
	n    int
}

func (x *cutOff) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	if x.n--; x.n == 0 {
		return exchange.ErrNotAcknowledged
	}
	return x.next.RoundTrip(ctx, req, resp)
}

// An interrupted transfer is resumed where its error says, on each way and from each kind of body.
func TestResume(t *testing.T) {
	up, down := bodyOf(1000), bodyOf(2000)
	for _, kind := range []string{"bytes", "seeker", "reader"} {
		for at := 2; at < 30; at++ {
			h := &site{answer: gives(message.Changed, down)}
			x := &cutOff{next: &wire{handler: blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: 128}), peer: peerAt(1)}, n: at}
			c := blockwise.NewClient(x, blockwise.ClientConfig{BlockSize: 64})
			req := request(message.POST, "/a", nil)
			give(req, kind, up, 0)
			var resp exchange.Response
			var e *blockwise.Error
			err := c.RoundTrip(t.Context(), req, &resp)
			require.ErrorAs(t, err, &e, "cut off at %d", at)
			require.ErrorIs(t, err, exchange.ErrTimeout)
			first := bytes.Clone(resp.Payload)
			if e.Position.Upload {
				require.Empty(t, first)
				give(req, kind, up, e.Position.Offset)
			}
			req.Transfer = &exchange.Transfer{Resume: e.Position}
			require.NoError(t, c.RoundTrip(t.Context(), req, &resp), "cut off at %d, %+v", at, e.Position)
			require.Equal(t, string(down), string(first)+string(resp.Payload))
			require.Equal(t, string(up), string(h.last(t)))
			require.Equal(t, 1, h.runs, "it was not performed twice")
		}
	}
}

// give makes a body of a kind the body of a request. A reader stands where it is to be resumed.
func give(req *exchange.Request, kind string, body []byte, at int64) {
	switch kind {
	case "bytes":
		req.Payload = body
	case "seeker":
		req.Body = bytes.NewReader(body)
	case "reader":
		req.Body = io.MultiReader(bytes.NewReader(body[at:])) // hides Seek
	}
}

// A Sink gets the body as it comes, Progress is told, and a change cannot be undone.
func TestSink(t *testing.T) {
	down := bodyOf(3000)
	h := &site{answer: gives(message.Content, down)}
	c := blockwise.NewClient(&wire{handler: blockwise.NewServer(h, blockwise.ServerConfig{}), peer: peerAt(1)}, blockwise.ClientConfig{})
	var sink bytes.Buffer
	var progress []exchange.Progress
	req := request(message.POST, "/a", bodyOf(1500))
	req.Transfer = &exchange.Transfer{Sink: &sink, Progress: func(p exchange.Progress) { progress = append(progress, p) }}
	var resp exchange.Response
	require.NoError(t, c.RoundTrip(t.Context(), req, &resp))
	require.Empty(t, resp.Payload)
	require.Equal(t, down, sink.Bytes())
	require.Equal(t, []exchange.Progress{
		{Sent: 1024, SendTotal: 1500},
		{Sent: 1500, SendTotal: 1500},
		{Sent: 1500, SendTotal: 1500, Received: 1024, ReceiveTotal: 3000},
		{Sent: 1500, SendTotal: 1500, Received: 2048, ReceiveTotal: 3000},
		{Sent: 1500, SendTotal: 1500, Received: 3000, ReceiveTotal: 3000},
	}, progress)

	// One message.
	sink.Reset()
	h.answer = gives(message.Content, down[:10])
	require.NoError(t, c.RoundTrip(t.Context(), req, &resp))
	require.Equal(t, down[:10], sink.Bytes())
	// An error has its payload.
	sink.Reset()
	h.answer = gives(message.NotFound, []byte("no"))
	require.NoError(t, c.RoundTrip(t.Context(), req, &resp))
	require.Empty(t, sink.Bytes())
	require.Equal(t, "no", string(resp.Payload))
	// A sink that fails, and one that is too small.
	h.answer = gives(message.Content, down)
	broken := errors.New("broken")
	req.Transfer = &exchange.Transfer{Sink: failingWriter{broken}}
	require.ErrorIs(t, c.RoundTrip(t.Context(), req, &resp), broken)
	req.Transfer = &exchange.Transfer{Sink: &sink, Limit: 2999}
	require.ErrorIs(t, c.RoundTrip(t.Context(), req, &resp), blockwise.ErrTooLarge)
	// A change on the way.
	n := 0
	h.answer = func(w *exchange.Response, r *exchange.Request) error {
		n++
		return w.Content(bytes.NewReader(down), []byte{byte(n)})
	}
	get := request(message.GET, "/a", nil)
	get.Transfer = req.Transfer
	require.ErrorIs(t, c.RoundTrip(t.Context(), get, &resp), blockwise.ErrBodyChanged)
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

// A body that can be read only once cannot be sent again; the others can.
func TestRestart(t *testing.T) {
	for kind, want := range map[string]error{"bytes": nil, "seeker": nil, "reader": blockwise.ErrNoRestart} {
		h := &site{}
		s := blockwise.NewServer(h, blockwise.ServerConfig{})
		x := &wire{handler: s, peer: peerAt(1)}
		x.tamper = func(n int, m *message.Message) error {
			if n == 3 && m.Code == message.PUT { // the server has restarted
				x.handler = blockwise.NewServer(h, blockwise.ServerConfig{})
			}
			return nil
		}
		c := blockwise.NewClient(x, blockwise.ClientConfig{BlockSize: 64})
		req := request(message.PUT, "/a", nil)
		give(req, kind, bodyOf(1000), 0)
		var resp exchange.Response
		err := c.RoundTrip(t.Context(), req, &resp)
		require.ErrorIs(t, err, want, kind)
		if want != nil {
			var coded *exchange.Error
			require.ErrorAs(t, err, &coded, "the response that made it necessary")
			require.Equal(t, message.RequestEntityIncomplete, coded.Code)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, string(bodyOf(1000)), string(h.last(t)))
		require.Equal(t, uint64(1), c.Stats().Restarts)
		require.Equal(t, uint64(1), c.Stats().Uploads)
	}
}

// A body that cannot be numbered is refused before anything is sent.
func TestClientTooLong(t *testing.T) {
	x := &script{t: t}
	c := blockwise.NewClient(x, blockwise.ClientConfig{})
	var resp exchange.Response
	req := request(message.PUT, "/a", nil)
	req.Body = zeros(1<<30 + 1)
	require.ErrorIs(t, c.RoundTrip(t.Context(), req, &resp), blockwise.ErrTooLong)
	req.Body, req.Transfer = io.MultiReader(zeros(1<<30)), &exchange.Transfer{Size: 1<<30 + 1}
	require.ErrorIs(t, c.RoundTrip(t.Context(), req, &resp), blockwise.ErrTooLong)
	req.Body, req.Transfer = zeros(1<<24+1), &exchange.Transfer{BlockSize: 16}
	require.ErrorIs(t, c.RoundTrip(t.Context(), req, &resp), blockwise.ErrTooLong)
}

func TestBodyOfRequestFails(t *testing.T) {
	broken := errors.New("broken")
	c := blockwise.NewClient(&wire{handler: blockwise.NewServer(&site{}, blockwise.ServerConfig{}), peer: peerAt(1)}, blockwise.ClientConfig{})
	var resp exchange.Response
	req := request(message.PUT, "/a", nil)
	req.Body = io.MultiReader(bytes.NewReader(bodyOf(1500)), &failing{broken})
	var e *blockwise.Error
	require.ErrorAs(t, c.RoundTrip(t.Context(), req, &resp), &e)
	require.ErrorIs(t, e, broken)
	require.Equal(t, blockwise.ErrBody, e.Reason)
	require.Equal(t, int64(1024), e.Position.Offset)
}

// A notification has the first block; the rest is fetched from whom it came.
//
// Proves 7959-2.6-02, 7959-2.6-s08, 7959-2.8-01.
func TestComplete(t *testing.T) {
	body, tag := bodyOf(200), "1"
	h := &site{answer: func(w *exchange.Response, r *exchange.Request) error {
		w.Payload = body
		return w.SetETag([]byte(tag))
	}}
	s := blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: 64})
	x := &wire{handler: s, peer: peerAt(1)}
	c := blockwise.NewClient(x, blockwise.ClientConfig{})
	req := step{request: "GET /a observe"}.make()
	var resp exchange.Response
	require.NoError(t, x.RoundTrip(t.Context(), req, &resp))
	require.NoError(t, c.Complete(t.Context(), req, &resp))
	require.Equal(t, body, resp.Payload)
	require.Equal(t, []string{"GET /a observe:0", "2.05 2:0/1/64 +64", "GET /a 2:1/0/64", "2.05 2:1/1/64 +64", "GET /a 2:2/0/64", "2.05 2:2/1/64 +64", "GET /a 2:3/0/64", "2.05 2:3/0/64 +8"}, x.chart)

	// It changes before the rest is fetched: the new one comes as a whole.
	require.NoError(t, x.RoundTrip(t.Context(), req, &resp))
	body, tag = bodyOf(300), "2"
	x.handler = blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: 64})
	require.NoError(t, c.Complete(t.Context(), req, &resp))
	require.Equal(t, body, resp.Payload)
	got, _ := resp.Options.ETag()
	require.Equal(t, "2", string(got))

	// Nothing to do.
	x.chart = nil
	body = bodyOf(10)
	require.NoError(t, x.RoundTrip(t.Context(), req, &resp))
	require.NoError(t, c.Complete(t.Context(), req, &resp))
	require.Len(t, x.chart, 2)
	require.Equal(t, body, resp.Payload)
}

// gate lets requests pass one at a time, in the order that the test wants.
type gate struct {
	next exchange.RoundTripper
	pass chan struct{}
	tags []string
}

func (g *gate) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	<-g.pass
	tag, _ := req.Options.First(message.OptionRequestTag)
	g.tags = append(g.tags, string(tag))
	return g.next.RoundTrip(ctx, req, resp)
}

// Transfers of one client to one resource at the same time do not mix: all but the first
// have a tag, and none of them twice.
//
// Proves 9175-3.4-01, 9175-3.4-s02, 9175-3.4-s04, 9175-3.4-s07, 9175-3.5.1-02.
func TestParallelTransfers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
			w.Code, w.Payload = message.Changed, r.Payload
			return nil
		})
		g := &gate{next: &wire{handler: blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: 16}), peer: peerAt(1)}, pass: make(chan struct{})}
		c := blockwise.NewClient(g, blockwise.ClientConfig{BlockSize: 16})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				body := bytes.Repeat([]byte{byte(i)}, 100)
				var resp exchange.Response
				require.NoError(t, c.RoundTrip(t.Context(), request(message.POST, "/a", body), &resp))
				require.Equal(t, string(body), string(resp.Payload))
			})
		}
		for range 4 * (7 + 6) {
			synctest.Wait()
			g.pass <- struct{}{}
		}
		wg.Wait()
		distinct := map[string]int{}
		for _, tag := range g.tags {
			distinct[tag]++
		}
		require.Len(t, distinct, 4)
		require.Equal(t, 13, distinct[""])

		// Copies of blocks may arrive later.
		g.tags = nil
		close(g.pass)
		var late exchange.Response
		require.NoError(t, c.RoundTrip(t.Context(), request(message.POST, "/a", bodyOf(20)), &late))
		require.NotEqual(t, "", g.tags[0])
		advance(248 * time.Second)
		g.tags = nil
		var resp exchange.Response
		require.NoError(t, c.RoundTrip(t.Context(), request(message.POST, "/a", bodyOf(20)), &resp))
		require.Equal(t, "", g.tags[0])
		good := g.next
		g.next = &cutOff{next: good, n: 2}
		require.ErrorIs(t, c.RoundTrip(t.Context(), request(message.POST, "/a", bodyOf(20)), &resp), blockwise.ErrInterrupted)
		g.next, g.tags = good, nil
		require.NoError(t, c.RoundTrip(t.Context(), request(message.POST, "/a", bodyOf(20)), &resp))
		require.NotEqual(t, "", g.tags[0])
		require.NoError(t, c.RoundTrip(t.Context(), request(message.POST, "/a", bodyOf(2)), &resp))
		require.NotEqual(t, "", g.tags[len(g.tags)-1], "in one message, too: the response may be long")
		advance(248 * time.Second)
		g.tags = nil
		require.NoError(t, c.RoundTrip(t.Context(), request(message.POST, "/a", bodyOf(20)), &resp))
		require.Equal(t, "", g.tags[0])
	})
}

// A request and a response that fit cost nothing.
func TestNoAllocs(t *testing.T) {
	var resp exchange.Response
	small := message.Message{Code: message.Content, Payload: []byte("21.5 C")}
	c := blockwise.NewClient(roundTripFunc(func(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
		return resp.Receive(&small, exchange.Peer{})
	}), blockwise.ClientConfig{})
	for _, method := range []message.Code{message.GET, message.POST} {
		req := request(method, "/sensors/temperature", nil)
		require.Zero(t, testing.AllocsPerRun(100, func() { c.RoundTrip(context.Background(), req, &resp) }))
		s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error { return w.Text("21.5 C") }), blockwise.ServerConfig{})
		require.Zero(t, testing.AllocsPerRun(100, func() { resp.Reset(); s.ServeCoAP(&resp, req) }))
	}
}

type roundTripFunc func(context.Context, *exchange.Request, *exchange.Response) error

func (f roundTripFunc) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	return f(ctx, req, resp)
}
