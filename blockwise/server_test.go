package blockwise_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// The packets that were trouble for others.
//
// Proves 7959-2.1-01, 7959-2.1-02, 7959-2.2-02, 7959-2.3-01, 7959-2.2-s05, 7959-2.2-s07, 7959-2.2-s24.
func TestVectors(t *testing.T) {
	x16 := strings.Repeat("78", 16)
	for _, v := range []struct{ name, digits, want string }{
		{"P33 SZX 7", "40030001b161d1030fff" + x16, "4.00"},
		{"SZX 7 in the last block", "40030001b161d10307ff" + x16, "4.00"},
		{"P34 Block1 of 4 bytes", "40030001b161d40300000008ff" + x16, "4.02"},
		{"P35 leading zeros", "40030001b161d303000008ff" + x16, "2.31 1:0/1/16"},
		{"P36 starts at block 1", "40030001b161d10318ff" + x16, "4.08 1:1/1/16"},
		{"P37 5 bytes in a block of 16", "40030001b161d10308ff7878787878", "4.00"},
		{"P38 no payload", "40030001b161d10308", "4.00"},
		{"P39 NUM 0xFFFFF", "40030001b161d303fffffeff78", "4.00"},
		{"P40 Block1 and Block2", "40030001b161c1024108ff" + x16, "2.31 1:0/1/16"},
		{"P41 GET with ETag, Block2, Block1", "54010001c98669bf410d71614162813943558ec1", "4.00"},
		{"Block1 twice", "40030001b161d1030800ff" + x16, "4.02"},
		{"Block2 twice", "40010001b161c1020102", "4.02"},
		{"Block2 SZX 7", "40010001b161c107", "4.00"},
		{"Block2 of 4 bytes", "40010001b161c400000000", "4.02"},
	} {
		t.Run(v.name, func(t *testing.T) {
			h := &site{}
			s := blockwise.NewServer(h, blockwise.ServerConfig{})
			m := decode(t, unhex(v.digits))
			answer := serve(s, m, peerAt(1), context.Background())
			if answer.Code.IsError() && answer.Code != message.RequestEntityIncomplete {
				answer.Options.Reset()
			}
			if !answer.Code.IsSuccess() {
				require.NotEmpty(t, answer.Payload, "a diagnostic says why")
				answer.Payload = nil
			}
			require.Equal(t, v.want, line(answer.Code, &answer.Options, answer.Payload))
			require.Zero(t, h.runs)
			require.Less(t, s.Stats().Bytes, 8192)
		})
	}
}

// step is a request to a server, and the line of the response. body is cut out of bodyOf(4096)
// by the Block1 option; the last block is 5 bytes long.
type step struct{ request, want string }

func (x step) make() *exchange.Request {
	f := strings.Fields(x.request)
	code, err := message.ParseCode(f[0])
	if err != nil {
		panic(err)
	}
	r := request(code, f[1], nil)
	for _, o := range f[2:] {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "format":
			r.Options.SetContentFormat(message.ContentFormat(len(value)))
		case "tag":
			r.Options.Add(message.OptionRequestTag, []byte(value))
		case "etag":
			r.Options.AddETag([]byte(value))
		case "observe":
			r.Options.AddUint(message.OptionObserve, 0)
		case "if-none-match":
			r.Options.SetIfNoneMatch()
		case "size1":
			r.Options.SetSize1(uint32(len(value)) * 1000)
		case "size2":
			r.Options.SetSize2(0)
		case "pay":
			r.Payload = []byte(value)
		default:
			n, b := parseBlock(o)
			r.Options.SetUint(n, b.Value())
			if n == message.OptionBlock1 {
				size := b.Size()
				if !b.More {
					size = 5
				}
				r.Payload = bodyOf(4096)[b.Offset() : b.Offset()+int64(size)]
			}
		}
	}
	return r
}

// Proves 7959-2.2-s27, 7959-2.3-07, 7959-2.5-02, 7959-2.3-s15, 7959-2.5-s16, 7959-2.5-s22, 7959-4-s13, 7959-4-s21.
// Proves 9175-3.3-02, 9175-3.3-s03, 9175-3.3-s08, 9175-3.4-02.
func TestUploadSteps(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		runs  int
		body  int // length of the body that the handler got last, with the first bytes of bodyOf(4096)
	}{
		{"a gap, and the right block", []step{
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a 1:2/1/64", "4.08 1:2/1/64"},
			{"PUT /a 1:1/1/64", "2.31 1:1/1/64"},
			{"PUT /a 1:2/0/64", "2.04 1:2/0/64"},
		}, 1, 133},
		{"the last block too early", []step{
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a 1:2/0/64", "4.08 1:2/0/64"},
		}, 0, 0},
		{"a block again", []step{
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a 1:1/1/64", "2.31 1:1/1/64"},
			{"PUT /a 1:1/1/64", "2.31 1:1/1/64"},
			{"PUT /a 1:2/0/64", "2.04 1:2/0/64"},
			{"PUT /a 1:2/0/64", "4.08 1:2/0/64"},
		}, 1, 133},
		{"another block in place of one that came", []step{
			{"PUT /a 1:0/1/16", "2.31 1:0/1/16"},
			{"PUT /a 1:1/1/16", "2.31 1:1/1/16"},
			{"PUT /a 1:1/1/16 pay=0123456789abcdef", "4.08 1:1/1/16"},
			{"PUT /a 1:2/0/16", "4.08 1:2/0/16"},
		}, 0, 0},
		{"start again", []step{
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a 1:1/1/64", "2.31 1:1/1/64"},
			{"PUT /a 1:0/1/32", "2.31 1:0/1/32"},
			{"PUT /a 1:2/1/64", "4.08 1:2/1/64"},
			{"PUT /a 1:1/0/32", "2.04 1:1/0/32"},
		}, 1, 37},
		{"sizes shrink and grow", []step{
			{"PUT /a 1:0/1/256", "2.31 1:0/1/256"},
			{"PUT /a 1:4/1/64", "2.31 1:4/1/64"},
			{"PUT /a 1:20/1/16", "2.31 1:20/1/16"},
			{"PUT /a 1:21/1/16", "2.31 1:21/1/16"},
			{"PUT /a 1:11/0/32", "2.04 1:11/0/32"},
		}, 1, 357},
		{"one block that is all", []step{{"PUT /a 1:0/0/64", "2.04 1:0/0/64"}}, 1, 5},
		{"without the option, it is all", []step{
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a", "2.04"},
		}, 1, 0},
		{"other content format", []step{
			{"PUT /a format=x 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a format=xx 1:1/0/64", "4.08 1:1/0/64"},
			{"PUT /a 1:1/0/64", "4.08 1:1/0/64"},
			{"PUT /a format=x 1:1/0/64", "2.04 1:1/0/64"},
		}, 1, 69},
		{"Request-Tags", []step{
			{"PUT /a tag=1 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a tag=1 tag=2 1:1/0/64", "4.08 1:1/0/64"},
			{"PUT /a tag=1 1:1/1/64", "2.31 1:1/1/64"},
			{"PUT /a 1:1/0/64", "2.04 1:1/0/64"},
			{"PUT /a tag=1 1:2/0/64", "2.04 1:2/0/64"},
		}, 2, 133},
		{"other method, other path, with the same Request-Tag or without", []step{
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"POST /a 1:1/0/64", "4.08 1:1/0/64"},
			{"PUT /b 1:1/0/64", "4.08 1:1/0/64"},
			{"PUT /a tag=1 1:0/1/64", "2.31 1:0/1/64"},
			{"POST /a tag=1 1:1/0/64", "4.08 1:1/0/64"},
			{"PUT /b tag=1 1:1/0/64", "4.08 1:1/0/64"},
		}, 0, 0},
		{"options of the first block only", []step{
			{"PUT /a if-none-match size1=x 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a etag=x observe 1:1/0/64", "2.04 observe:0 if-none-match 1:1/0/64"},
		}, 1, 69},
		{"too large", []step{
			{"PUT /a 1:0/1/1024", "2.31 1:0/1/1024"},
			{"PUT /a 1:1/1/1024", "4.13 1:1/1/1024 size1:2000"},
			{"PUT /a 1:2/0/1024", "4.08 1:2/0/1024"},
		}, 0, 0},
		{"too large as announced", []step{{"PUT /a size1=xxx 1:0/1/64", "4.13 1:0/1/64 size1:2000"}}, 0, 0},
		{"announced too small", []step{
			{"PUT /a size1=x 1:0/1/1024", "2.31 1:0/1/1024"}, {"PUT /a 1:1/0/1024", "2.04 1:1/0/1024"},
		}, 1, 1029},
		{"Block2 from the middle", []step{{"PUT /a 2:1/0/64 1:0/0/64", "4.00"}}, 0, 0},
		{"Block2 without transfer", []step{{"PUT /a 2:1/0/64", "4.08"}}, 0, 0},
		{"DELETE with Block1", []step{{"DELETE /a 1:0/1/64", "4.00"}, {"DELETE /a 1:0/0/64", "2.04"}}, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &site{}
			if c.name == "options of the first block only" {
				h.answer = func(w *exchange.Response, r *exchange.Request) error {
					w.Code = message.Changed
					if r.Options.IfNoneMatch() {
						w.Options.SetIfNoneMatch() // to show it
					}
					return nil
				}
				c.steps[1].want = "2.04 if-none-match 1:1/0/64"
			}
			s := blockwise.NewServer(h, blockwise.ServerConfig{MaxBody: 2000})
			for i, x := range c.steps {
				got, m := send(s, peerAt(1), x.make())
				if m.Code.IsError() {
					got, _, _ = strings.Cut(got, " +") // the diagnostic
				}
				require.Equal(t, x.want, got, "step %d", i)
			}
			require.Equal(t, c.runs, h.runs)
			if c.runs > 0 {
				require.Equal(t, bodyOf(4096)[:c.body], append([]byte{}, h.last(t)...))
			}
		})
	}
}

// An upload that is started again leaves nothing of the first one behind.
func TestUploadReplaced(t *testing.T) {
	s := blockwise.NewServer(&site{}, blockwise.ServerConfig{})
	begin := func() blockwise.Stats {
		got, _ := send(s, peerAt(1), step{request: "PUT /a 1:0/1/64"}.make())
		require.Equal(t, "2.31 1:0/1/64", got)
		return s.Stats()
	}
	want := begin()
	want.Replaced = 1
	require.Equal(t, want, begin())
}

// Proves 7959-2.2-01, 7959-2.2-s27, 7959-2.2-s28, 7959-2.3-04, 7959-2.4-03, 7959-4-s10.
func TestDownloadSteps(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int // of the body
		steps []step
		runs  int
	}{
		{"fits", 1024, []step{{"GET /a", "2.05 +1024"}, {"GET /a 2:0/0/1024", "2.05 2:0/0/1024 +1024"}}, 2},
		{"one byte more", 1025, []step{{"GET /a", "2.05 2:0/1/1024 +1024"}, {"GET /a 2:1/0/1024", "2.05 2:1/0/1024 +1"}}, 1},
		{"exact multiple", 128, []step{{"GET /a 2:0/0/64", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 +64"}}, 1},
		{"no size, and an explicit 0", 1025, []step{
			{"GET /a", "2.05 2:0/1/1024 +1024"}, {"GET /a 2:0/0/16", "2.05 2:0/1/16 size2:1025 +16"},
		}, 2},
		{"empty", 0, []step{{"GET /a", "2.05"}, {"GET /a 2:0/0/64", "2.05"}}, 2},
		{"behind the end", 128, []step{{"GET /a 2:2/0/64", "4.00"}, {"GET /a 2:1048575/0/1024", "4.00"}}, 2},
		{"random access, without anything before", 100, []step{
			{"GET /a 2:5/0/16", "2.05 2:5/1/16 +16"}, {"GET /a 2:6/0/16", "2.05 2:6/0/16 +4"},
		}, 1},
		{"the M bit is ignored", 100, []step{{"GET /a 2:1/1/64", "2.05 2:1/0/64 +36"}}, 1},
		{"smaller on the way", 200, []step{
			{"GET /a 2:0/0/64", "2.05 2:0/1/64 +64"}, {"GET /a 2:4/0/16", "2.05 2:4/1/16 +16"}, {"GET /a 2:5/0/16", "2.05 2:5/1/16 +16"},
		}, 1},
		{"size asked for", 100, []step{
			{"GET /a size2 2:0/0/64", "2.05 2:0/1/64 size2:100 +64"}, {"GET /a size2 2:1/0/64", "2.05 2:1/0/64 size2:100 +36"},
		}, 1},
		{"size of many blocks", 600, []step{{"GET /a 2:0/0/64", "2.05 2:0/1/64 size2:600 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/1/64 +64"}}, 1},
		{"with Observe first", 100, []step{{"GET /a observe 2:0/0/64", "2.05 2:0/1/64 +64"}, {"GET /a 2:1/0/64", "2.05 2:1/0/64 +36"}}, 1},
		{"other options", 100, []step{{"GET /a 2:0/0/64", "2.05 2:0/1/64 +64"}, {"GET /a?b 2:1/0/64", "2.05 2:1/0/64 +36"}}, 2},
		{"POST", 100, []step{
			{"POST /a 2:0/0/64 pay=x", "2.05 2:0/1/64 +64"}, {"POST /a 2:1/0/64", "2.05 2:1/0/64 +36"}, {"POST /a 2:1/0/64", "2.05 2:1/0/64 +36"},
			{"POST /a tag=1 2:1/0/64", "4.08"},
		}, 1},
		{"FETCH", 100, []step{
			{"FETCH /a 2:0/0/64 pay=x", "2.05 2:0/1/64 +64"},
			{"FETCH /a 2:0/0/64 pay=y", "2.05 2:0/1/64 +64"},
			{"FETCH /a 2:1/0/64 pay=x", "2.05 2:1/0/64 +36"},
			{"FETCH /a 2:1/0/64", "2.05 2:1/0/64 +36"},
			{"FETCH /a 2:1/0/64", "4.08"},
			{"FETCH /a 2:1/0/64 pay=x", "2.05 2:1/0/64 +36"},
		}, 3},
		{"both", 100, []step{
			{"POST /a 2:0/0/32 1:0/1/16", "2.31 1:0/1/16"}, {"POST /a 1:1/0/16", "2.05 2:0/1/32 1:1/0/16 +32"}, {"POST /a 2:1/0/32", "2.05 2:1/1/32 +32"},
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &site{answer: gives(message.Content, bodyOf(c.size))}
			s := blockwise.NewServer(h, blockwise.ServerConfig{})
			for i, x := range c.steps {
				r := x.make()
				got, m := send(s, peerAt(1), r)
				if m.Code.IsError() {
					got, _, _ = strings.Cut(got, " +")
				} else if b, ok := blockwise.ParseBlock(&m.Options, message.OptionBlock2); ok {
					require.Equal(t, bodyOf(c.size)[b.Offset():b.Offset()+int64(len(m.Payload))], m.Payload)
					_, tagged := m.Options.ETag()
					require.Equal(t, b.More || b.Num > 0, tagged)
				}
				require.Equal(t, x.want, got, "step %d", i)
			}
			require.Equal(t, c.runs, h.runs)
		})
	}
}

// Each block says of what format the body is, in both directions.
//
// Proves 7959-2.3-06.
func TestFormatOfEachBlock(t *testing.T) {
	n := 0
	x := &wire{peer: peerAt(1), handler: blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		f, ok := r.Options.ContentFormat()
		require.True(t, ok && f == message.CBOR)
		return w.JSON(bodyOf(100))
	}), blockwise.ServerConfig{BlockSize: 64})}
	x.tamper = func(_ int, m *message.Message) error {
		n++
		f, ok := m.Options.ContentFormat()
		require.Equal(t, len(m.Payload) > 0 || m.Code.IsRequest(), ok)
		if ok {
			require.Equal(t, m.Code.IsRequest(), f == message.CBOR)
			require.Equal(t, !m.Code.IsRequest(), f == message.JSON)
		}
		return nil
	}
	req := request(message.POST, "/a", bodyOf(100))
	req.Options.SetContentFormat(message.CBOR)
	var resp exchange.Response
	require.NoError(t, blockwise.NewClient(x, blockwise.ClientConfig{BlockSize: 64}).RoundTrip(t.Context(), req, &resp))
	require.Equal(t, 6, n)
}

// A client that has the representation gets 2.03 without a block of it, and only as the answer
// to a request for the beginning.
func TestValidation(t *testing.T) {
	for _, kind := range []string{"bytes", "content"} {
		t.Run(kind, func(t *testing.T) {
			s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
				w.Options.SetContentFormat(message.TextPlain)
				if kind == "content" {
					return w.Content(bytes.NewReader(bodyOf(100)), []byte("tag"))
				}
				w.Payload = bodyOf(100)
				return w.SetETag([]byte("tag"))
			}), blockwise.ServerConfig{BlockSize: 64})
			got, m := send(s, peerAt(1), step{request: "GET /a etag=tag"}.make())
			require.Equal(t, "2.03", got)
			require.False(t, m.Options.Has(message.OptionContentFormat))
			got, _ = send(s, peerAt(1), step{request: "GET /a etag=other"}.make())
			require.Equal(t, "2.05 2:0/1/64 +64", got)
			got, _ = send(s, peerAt(1), step{request: "GET /a etag=tag 2:1/0/64"}.make())
			require.Equal(t, "2.05 2:1/0/64 +36", got)
		})
	}
}

// Blocks of one version go together, whatever becomes of the resource meanwhile.
//
// Proves 7959-2.4-06, 7959-2.4-07, 9175-3.8-01.
func TestSnapshot(t *testing.T) {
	version := 0
	h := &site{answer: func(w *exchange.Response, r *exchange.Request) error {
		version++
		w.Payload = bytes.Repeat([]byte{byte(version)}, 100)
		return nil
	}}
	s := blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: 64})
	_, a := send(s, peerAt(1), step{request: "GET /a"}.make())
	_, b := send(s, peerAt(2), step{request: "GET /a"}.make())
	_, a2 := send(s, peerAt(1), step{request: "GET /a 2:1/0/64"}.make())
	_, b2 := send(s, peerAt(2), step{request: "GET /a 2:1/0/64"}.make())
	require.Equal(t, a.Payload[0], a2.Payload[0])
	require.Equal(t, b.Payload[0], b2.Payload[0])
	tag := func(m *message.Message) string { v, _ := m.Options.ETag(); return string(v) }
	require.Equal(t, tag(a), tag(a2))
	require.Equal(t, tag(b), tag(b2))
	require.NotEqual(t, tag(a), tag(b))
	require.Zero(t, s.Stats().Bytes)
	require.Zero(t, s.Stats().Snapshots)
}

// Ten thousand peers that fetch the rest of a representation share one copy of it.
func TestSnapshotIsShared(t *testing.T) {
	const peers, size = 10_000, 5000
	h := &site{answer: gives(message.Content, bodyOf(size))}
	s := blockwise.NewServer(h, blockwise.ServerConfig{})
	for i := range peers {
		got, _ := send(s, peerAt(i), step{request: "GET /a"}.make())
		require.Equal(t, "2.05 2:0/1/1024 +1024", got)
	}
	st := s.Stats()
	require.Equal(t, 1, st.Snapshots)
	require.Equal(t, peers, st.Downloads)
	require.Less(t, st.Bytes, peers*600+size)
	for num := 1; num < 5; num++ {
		for i := range peers {
			send(s, peerAt(i), step{request: fmt.Sprintf("GET /a 2:%d/0/1024", num)}.make())
		}
	}
	require.Equal(t, peers, h.runs)
	require.Zero(t, s.Stats().Bytes)
}

// What a handler gives to two peers under one entity-tag is shared only if it is the same.
func TestSnapshotOfEqualTags(t *testing.T) {
	h := &site{answer: func(w *exchange.Response, r *exchange.Request) error {
		body := bodyOf(1100)
		body[1099] = byte(r.Peer().Addr.Port())
		w.Code, w.Payload = message.Content, body
		return w.Options.SetETag([]byte("tag"))
	}}
	s := blockwise.NewServer(h, blockwise.ServerConfig{})
	for i := range 2 {
		send(s, peerAt(i), step{request: "GET /a"}.make())
	}
	for i := range 2 {
		_, m := send(s, peerAt(i), step{request: "GET /a 2:1/0/1024"}.make())
		require.Equal(t, byte(peerAt(i).Addr.Port()), m.Payload[1099-1024])
	}
}

// A peer gets blocks only of what the handler has given to this very peer.
//
// Proves 7959-7-02.
func TestSnapshotIsNotLeaked(t *testing.T) {
	h := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		if r.Peer().Session != "trusted" {
			return &exchange.Error{Code: message.Forbidden}
		}
		w.Payload = bodyOf(100)
		w.Code = message.Content
		return nil
	})
	s := blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: 64})
	trusted := peerAt(1)
	trusted.Session = "trusted"
	got, _ := send(s, trusted, step{request: "GET /a"}.make())
	require.Equal(t, "2.05 2:0/1/64 +64", got)
	got, _ = send(s, peerAt(1), step{request: "GET /a 2:1/0/64"}.make())
	require.Equal(t, "4.03", got)
	// Nor can it add to what a session uploads.
	got, _ = send(s, trusted, step{request: "PUT /a 1:0/1/16"}.make())
	require.Equal(t, "2.31 1:0/1/16", got)
	got, _ = send(s, peerAt(1), step{request: "PUT /a 1:1/0/16"}.make())
	require.Contains(t, got, "4.08 1:1/0/16")
}

func TestTooLong(t *testing.T) {
	const size = 17 << 20 // more than blocks of 16 bytes can be counted to
	h := &site{answer: func(w *exchange.Response, r *exchange.Request) error {
		return w.Content(zeros(size), []byte("z"))
	}}
	s := blockwise.NewServer(h, blockwise.ServerConfig{})
	got, m := send(s, peerAt(1), step{request: "GET /a 2:0/0/16"}.make())
	require.Contains(t, got, "4.00")
	require.Contains(t, string(m.Payload), "larger")
	h.answer = func(w *exchange.Response, r *exchange.Request) error { return w.Content(zeros(1<<30+1), []byte("z")) }
	w := new(exchange.Response)
	require.ErrorIs(t, s.ServeCoAP(w, step{request: "GET /a"}.make()), blockwise.ErrTooLong)
}

// zeros is a body of n zero bytes, without memory.
func zeros(n int64) io.ReadSeeker { return io.NewSectionReader(zeroReader{}, 0, n) }

type zeroReader struct{}

func (zeroReader) ReadAt(p []byte, off int64) (int, error) { clear(p); return len(p), nil }

// The limits hold whatever peers do, the longest idle go first, and each is counted.
//
// Proves 7959-7.1-01.
func TestMemoryIsBounded(t *testing.T) {
	const total, share = 64 << 10, 16 << 10
	for _, c := range []struct {
		name  string
		peers int
		want  int // most bytes
	}{{"one peer", 1, share}, {"many peers", 3000, total}} {
		t.Run(c.name, func(t *testing.T) {
			h := &site{answer: gives(message.Content, bodyOf(3000))}
			s := blockwise.NewServer(h, blockwise.ServerConfig{Bytes: total, BytesPerPeer: share})
			good := peerAt(60000)
			for i := range 3000 {
				send(s, peerAt(i%c.peers), step{request: fmt.Sprintf("PUT /%d 1:0/1/1024", i)}.make())
				send(s, peerAt(i%c.peers), step{request: fmt.Sprintf("GET /%d", i)}.make())
				require.LessOrEqual(t, s.Stats().Bytes, c.want+4000, "and what the good peer has")
				if i%1500 < 2 {
					// A transfer that is not idle completes.
					got, _ := send(s, good, step{request: fmt.Sprintf("PUT /good 1:%d/%d/16", i%1500, 1-i%1500)}.make())
					require.NotContains(t, got, "4.")
				}
			}
			require.Greater(t, s.Stats().Evicted, uint64(5000))
			require.LessOrEqual(t, s.Stats().Peers, c.peers+1)
		})
	}
	t.Run("an upload that nothing can make room for", func(t *testing.T) {
		s := blockwise.NewServer(&site{}, blockwise.ServerConfig{Bytes: 4096, BytesPerPeer: 2048})
		send(s, peerAt(1), step{request: "PUT /a 1:0/1/1024"}.make())
		got, _ := send(s, peerAt(1), step{request: "PUT /a 1:1/1/1024"}.make())
		require.Equal(t, "4.13 1:1/1/1024 size1:1024", got)
		require.Zero(t, s.Stats().Bytes)
		s = blockwise.NewServer(&site{}, blockwise.ServerConfig{Bytes: 1000})
		got, _ = send(s, peerAt(1), step{request: "PUT /a 1:0/1/1024"}.make())
		require.Equal(t, "4.13 1:0/1/1024 size1:0", got)
		require.Zero(t, s.Stats().Peers)
	})
	t.Run("a body that nothing can make room for", func(t *testing.T) {
		s := blockwise.NewServer(&site{}, blockwise.ServerConfig{Bytes: 4096, BytesPerPeer: 4096})
		send(s, peerAt(1), step{request: "PUT /a 1:0/1/1024"}.make())
		send(s, peerAt(1), step{request: "PUT /a 1:1/1/1024"}.make())
		send(s, peerAt(1), step{request: "PUT /a 1:2/1/1024"}.make())
		got, _ := send(s, peerAt(1), step{request: "PUT /a 1:3/0/1024"}.make())
		require.Contains(t, got, "2.04")
		h := &site{answer: gives(message.Content, bodyOf(5000))}
		s = blockwise.NewServer(h, blockwise.ServerConfig{Bytes: 4096, BytesPerPeer: 4096})
		// Without a copy, a GET runs the handler for each block, and a POST fails.
		send(s, peerAt(1), step{request: "GET /a"}.make())
		got, _ = send(s, peerAt(1), step{request: "GET /a 2:4/0/1024"}.make())
		require.Equal(t, "2.05 2:4/0/1024 +904", got)
		require.ErrorIs(t, s.ServeCoAP(new(exchange.Response), request(message.POST, "/a", nil)), blockwise.ErrTooLarge)
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &site{answer: gives(message.Content, bodyOf(3000))}
		s := blockwise.NewServer(h, blockwise.ServerConfig{Lifetime: time.Minute})
		send(s, peerAt(1), step{request: "PUT /a 1:0/1/64"}.make())
		send(s, peerAt(2), step{request: "GET /a"}.make())
		advance(40 * time.Second)
		got, _ := send(s, peerAt(1), step{request: "PUT /a 1:1/1/64"}.make())
		require.Equal(t, "2.31 1:1/1/64", got)
		advance(40 * time.Second)
		require.Equal(t, 1, s.Stats().Uploads)
		require.Equal(t, 0, s.Stats().Downloads)
		advance(40 * time.Second)
		require.Zero(t, s.Stats().Bytes)
		require.Equal(t, uint64(2), s.Stats().Expired)
		got, _ = send(s, peerAt(1), step{request: "PUT /a 1:2/0/64"}.make())
		require.Contains(t, got, "4.08 1:2/0/64")
	})
}

// What is older says so.
func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := blockwise.NewServer(&site{answer: gives(message.Content, bodyOf(3000))}, blockwise.ServerConfig{})
		send(s, peerAt(1), step{request: "GET /a"}.make())
		advance(20 * time.Second)
		_, m := send(s, peerAt(1), step{request: "GET /a 2:1/0/1024"}.make())
		require.Equal(t, 40*time.Second, m.Options.MaxAge())
		require.NoError(t, s.Shutdown(t.Context()))
	})
}

// The handler of a route decides before the body is sent.
func TestMode(t *testing.T) {
	s := blockwise.NewServer(&site{}, blockwise.ServerConfig{Mode: func(r *exchange.Request) (blockwise.Mode, error) {
		if r.Options.Has(message.OptionBlock1) || r.Options.Has(message.OptionBlock2) {
			return blockwise.Mode{}, errors.New("the handler does not see them, nor does Mode")
		}
		if r.Path() == "/missing" {
			return blockwise.Mode{}, &exchange.Error{Code: message.NotFound}
		}
		return blockwise.Mode{Limit: 100}, nil
	}})
	got, _ := send(s, peerAt(1), step{request: "PUT /missing 1:0/1/16"}.make())
	require.Equal(t, "4.04", got)
	got, _ = send(s, peerAt(1), step{request: "PUT /a 1:0/1/128"}.make())
	require.Equal(t, "4.13 1:0/1/128 size1:100", got)
	got, _ = send(s, peerAt(1), step{request: "PUT /a 1:0/1/64"}.make())
	require.Equal(t, "2.31 1:0/1/64", got)
	require.Equal(t, uint64(1), s.Stats().TooLarge)
	r := request(message.PUT, "/a", bodyOf(101))
	got, _ = send(s, peerAt(1), r)
	require.Equal(t, "4.13 size1:100", got)
}

func TestContinues(t *testing.T) {
	s := blockwise.NewServer(&site{answer: gives(message.Content, bodyOf(3000))}, blockwise.ServerConfig{})
	ask := func(want bool, req string) {
		t.Helper()
		r := step{request: req}.make()
		r.Arrive(exchange.Arrival{Peer: peerAt(1)})
		require.Equal(t, want, s.Continues(r), req)
	}
	ask(false, "PUT /a 1:1/1/64")
	send(s, peerAt(1), step{request: "PUT /a 1:0/1/64"}.make())
	ask(true, "PUT /a 1:1/1/64")
	ask(false, "PUT /a 1:1/0/64")
	ask(false, "PUT /a 1:0/1/64")
	send(s, peerAt(1), step{request: "GET /a"}.make())
	ask(true, "GET /a 2:1/0/1024")
	ask(false, "GET /a 2:0/0/1024")
	ask(false, "GET /b 2:1/0/1024")
}

// Long diagnostics fit a block.
func TestErrorsAreShortened(t *testing.T) {
	s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		return fmt.Errorf("wrapped: %w", &exchange.Error{Code: message.Conflict, Diagnostic: strings.Repeat("ä", 1000)})
	}), blockwise.ServerConfig{BlockSize: 64})
	got, m := send(s, peerAt(1), step{request: "GET /a"}.make())
	require.Equal(t, "4.09 +64", got)
	require.Equal(t, strings.Repeat("ä", 32), string(m.Payload))
}

func TestMulticast(t *testing.T) {
	s := blockwise.NewServer(&site{answer: gives(message.Content, bodyOf(100))}, blockwise.ServerConfig{})
	ask := func(want, req string) {
		r := step{request: req}.make()
		r.Arrive(exchange.Arrival{Peer: peerAt(1), Group: peerAt(1).Addr.Addr()})
		w := new(exchange.Response)
		m := encode(w, s.ServeCoAP(w, r))
		got, _, _ := strings.Cut(line(m.Code, &m.Options, m.Payload), " +")
		require.Equal(t, want, got)
	}
	ask("2.05 2:0/1/64", "GET /a 2:0/0/64") // Proves 7959-2.8-s01, 7959-2.8-s02.
	ask("4.00", "GET /a 2:1/0/64")
	ask("4.00", "PUT /a 1:0/1/64")
}

// A server that has blocks come before their turn keeps those that are near, and uses each when it is its turn.
//
// Proves 7959-2.5-02.
func TestUploadAhead(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		body  int // length of the body that the handler got, 0 if none
	}{
		{"in another order", []step{
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a 1:3/1/64", "2.31 1:3/1/64"},
			{"PUT /a 1:2/1/64", "2.31 1:2/1/64"},
			{"PUT /a 1:3/1/64", "2.31 1:3/1/64"},
			{"PUT /a 1:1/1/64", "2.31 1:1/1/64"},
			{"PUT /a 1:2/1/64", "2.31 1:2/1/64"},
			{"PUT /a 1:4/0/64", "2.04 1:4/0/64"},
		}, 261},
		{"one is missing", []step{
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a 1:2/1/64", "2.31 1:2/1/64"},
			{"PUT /a 1:3/0/64", "4.08 1:3/0/64"},
			{"PUT /a 1:1/1/64", "2.31 1:1/1/64"},
			{"PUT /a 1:3/0/64", "2.04 1:3/0/64"},
		}, 197},
		{"too far away", []step{
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a 1:6/1/64", "4.08 1:6/1/64"},
			{"PUT /a 1:5/1/64", "2.31 1:5/1/64"},
		}, 0},
		{"too many, since they are small", []step{
			{"PUT /a 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /a 1:3/1/32", "2.31 1:3/1/32"},
			{"PUT /a 1:4/1/32", "2.31 1:4/1/32"},
			{"PUT /a 1:5/1/32", "2.31 1:5/1/32"},
			{"PUT /a 1:3/1/64", "4.08 1:3/1/64"},
			{"PUT /a 1:2/1/32", "2.31 1:2/1/32"},
			{"PUT /a 1:6/0/32", "2.04 1:6/0/32"},
		}, 197},
		{"another in its place", []step{
			{"PUT /a 1:0/1/16", "2.31 1:0/1/16"},
			{"PUT /a 1:2/1/16 pay=0123456789abcdef", "2.31 1:2/1/16"},
			{"PUT /a 1:2/1/16", "4.08 1:2/1/16"},
			{"PUT /a 1:1/1/16", "4.08 1:1/1/16"},
		}, 0},
		{"another at its turn", []step{
			{"PUT /a 1:0/1/16", "2.31 1:0/1/16"},
			{"PUT /a 1:2/1/16 pay=0123456789abcdef", "2.31 1:2/1/16"},
			{"PUT /a 1:1/1/16", "2.31 1:1/1/16"},
			{"PUT /a 1:2/1/16", "4.08 1:2/1/16"},
			{"PUT /a 1:3/0/16", "4.08 1:3/0/16"},
		}, 0},
		{"sizes that overlap", []step{
			{"PUT /a 1:0/1/32", "2.31 1:0/1/32"},
			{"PUT /a 1:3/1/16", "2.31 1:3/1/16"},
			{"PUT /a 1:1/1/32", "2.31 1:1/1/32"},
			{"PUT /a 1:2/0/32", "2.04 1:2/0/32"},
		}, 69},
		{"sizes that overlap, and other bytes", []step{
			{"PUT /a 1:0/1/32", "2.31 1:0/1/32"},
			{"PUT /a 1:3/1/16 pay=0123456789abcdef", "2.31 1:3/1/16"},
			{"PUT /a 1:1/1/32", "4.08 1:1/1/32"},
			{"PUT /a 1:2/0/32", "4.08 1:2/0/32"},
		}, 0},
		{"of several sizes", []step{
			{"PUT /a 1:0/1/32", "2.31 1:0/1/32"},
			{"PUT /a 1:1/1/64", "2.31 1:1/1/64"},
			{"PUT /a 1:3/1/16", "2.31 1:3/1/16"},
			{"PUT /a 1:2/1/16", "2.31 1:2/1/16"},
			{"PUT /a 1:2/0/64", "2.04 1:2/0/64"},
		}, 133},
		{"behind the last", []step{
			{"PUT /a 1:0/1/16", "2.31 1:0/1/16"},
			{"PUT /a 1:2/1/16", "2.31 1:2/1/16"},
			{"PUT /a 1:1/0/16 pay=0123456789abcdef", "4.08 1:1/0/16"},
			{"PUT /a 1:1/0/16", "4.08 1:1/0/16"},
		}, 0},
		{"of a stream", []step{
			{"PUT /stream 1:0/1/64", "2.31 1:0/1/64"},
			{"PUT /stream 1:2/1/64", "4.08 1:2/1/64"},
		}, 0},
		{"beyond the limit", []step{
			{"PUT /a 1:0/1/1024", "2.31 1:0/1/1024"},
			{"PUT /a 1:2/1/1024", "4.08 1:2/1/1024"},
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &site{}
			s := blockwise.NewServer(h, blockwise.ServerConfig{MaxBody: 2000, Ahead: 4, Mode: func(r *exchange.Request) (blockwise.Mode, error) {
				return blockwise.Mode{Stream: r.Path() == "/stream"}, nil
			}})
			if c.name == "too many, since they are small" {
				s = blockwise.NewServer(h, blockwise.ServerConfig{MaxBody: 2000, Ahead: 3})
			}
			for i, x := range c.steps {
				got, m := send(s, peerAt(1), x.make())
				if m.Code.IsError() {
					got, _, _ = strings.Cut(got, " +") // the diagnostic
				}
				require.Equal(t, x.want, got, "step %d", i)
			}
			if c.body > 0 {
				require.Equal(t, 1, h.runs)
				require.Equal(t, bodyOf(4096)[:c.body], h.last(t))
				require.Zero(t, s.Stats().Bytes)
			}
			require.NoError(t, s.Shutdown(context.Background()))
			require.Zero(t, s.Stats().Bytes)
		})
	}
}

// What waits for its turn counts as memory, and only as long as it waits.
func TestUploadAheadMemory(t *testing.T) {
	s := blockwise.NewServer(&site{}, blockwise.ServerConfig{Ahead: 64, Bytes: 4 << 10, BytesPerPeer: 4 << 10})
	at := func(request, want string) int {
		got, _ := send(s, peerAt(1), step{request: request}.make())
		got, _, _ = strings.Cut(got, " +")
		require.Equal(t, want, got)
		return s.Stats().Bytes
	}
	before := at("PUT /a 1:0/1/64", "2.31 1:0/1/64")
	require.Equal(t, before+64+48, at("PUT /a 1:2/1/64", "2.31 1:2/1/64"))
	require.Equal(t, before, at("PUT /a 1:1/1/64", "2.31 1:1/1/64"), "the body had room for them")
	at("PUT /a 1:1/1/1024", "2.31 1:1/1/1024")
	full := at("PUT /a 1:2/1/1024", "2.31 1:2/1/1024")
	require.Equal(t, full, at("PUT /a 1:3/1/1024", "4.08 1:3/1/1024"), "there is no room")
}
