package blockwise_test

import (
	"context"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// figure is an example exchange of RFC 7959 section 3.
type figure struct {
	name           string
	server, client int // block sizes
	early          bool
	method         message.Code
	path           string
	sent, received int // lengths of the bodies
	code           message.Code
	want           string
}

var figures = []figure{
	{"Figure 2: simple block-wise GET", 128, 0, false, message.GET, "/status", 0, 300, message.Content, `
		GET /status
		2.05 2:0/1/128 +128
		GET /status 2:1/0/128
		2.05 2:1/1/128 +128
		GET /status 2:2/0/128
		2.05 2:2/0/128 +44`},
	{"Figure 3: early negotiation", 0, 64, true, message.GET, "/status", 0, 361, message.Content, `
		GET /status 2:0/0/64
		2.05 2:0/1/64 +64
		GET /status 2:1/0/64
		2.05 2:1/1/64 +64
		GET /status 2:2/0/64
		2.05 2:2/1/64 +64
		GET /status 2:3/0/64
		2.05 2:3/1/64 +64
		GET /status 2:4/0/64
		2.05 2:4/1/64 +64
		GET /status 2:5/0/64
		2.05 2:5/0/64 +41`},
	{"Figure 4: late negotiation", 128, 64, false, message.GET, "/status", 0, 361, message.Content, `
		GET /status
		2.05 2:0/1/128 +128
		GET /status 2:2/0/64
		2.05 2:2/1/64 +64
		GET /status 2:3/0/64
		2.05 2:3/1/64 +64
		GET /status 2:4/0/64
		2.05 2:4/1/64 +64
		GET /status 2:5/0/64
		2.05 2:5/0/64 +41`},
	{"Figure 7: simple atomic block-wise PUT", 0, 128, false, message.PUT, "/options", 300, 0, message.Changed, `
		PUT /options 1:0/1/128 +128
		2.31 1:0/1/128
		PUT /options 1:1/1/128 +128
		2.31 1:1/1/128
		PUT /options 1:2/0/128 +44
		2.04 1:2/0/128`},
	{"Figure 9: PUT with negotiation", 32, 128, false, message.PUT, "/options", 200, 0, message.Changed, `
		PUT /options 1:0/1/128 +128
		2.31 1:0/1/32
		PUT /options 1:4/1/32 +32
		2.31 1:4/1/32
		PUT /options 1:5/1/32 +32
		2.31 1:5/1/32
		PUT /options 1:6/0/32 +8
		2.04 1:6/0/32`},
}

// Each example runs between a Client and a Server. Figures 5 and 6 are about retransmission, which
// is not seen here: on both sides they are Figure 4.
//
// Proves 7959-2.3-03, 7959-2.3-05, 7959-2.4-01, 7959-2.4-03, 7959-2.4-05, 7959-2.4-06.
// Proves 7959-2.5-01, 7959-2.5-03, 7959-3.2-01.
// Proves 7959-2.3-s12, 7959-2.3-s14, 7959-2.3-s16, 7959-2.4-s01, 7959-2.5-s05, 7959-2.5-s09, 7959-2.5-s10, 7959-2.9.1-s02.
func TestFigures(t *testing.T) {
	for _, f := range figures {
		t.Run(f.name, func(t *testing.T) {
			want := bodyOf(f.received)
			h := &site{answer: gives(f.code, want)}
			x := &wire{handler: blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: f.server}), peer: peerAt(1)}
			c := blockwise.NewClient(x, blockwise.ClientConfig{BlockSize: f.client, Early: f.early})
			var resp exchange.Response
			require.NoError(t, c.RoundTrip(context.Background(), request(f.method, f.path, bodyOf(f.sent)), &resp))
			require.Equal(t, chartOf(f.want), x.chart)
			require.Equal(t, f.code, resp.Code)
			require.Equal(t, string(want), string(resp.Payload))
			require.Equal(t, string(bodyOf(f.sent)), string(h.last(t)))
			require.Equal(t, 1, h.runs)
		})
	}
}

// chartOf returns the lines of a chart.
func chartOf(s string) []string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// The combined examples, 300 bytes up and 500 down (Figure 10) and 250 down in smaller blocks
// (Figure 11).
//
// Proves 7959-2.7-01, 7959-2.1-s02.
func TestFiguresOfCombination(t *testing.T) {
	for _, f := range []figure{
		{"Figure 10: POST with block-wise response", 128, 128, false, message.POST, "/soap", 300, 500, message.Changed, `
			POST /soap 1:0/1/128 +128
			2.31 1:0/1/128
			POST /soap 1:1/1/128 +128
			2.31 1:1/1/128
			POST /soap 1:2/0/128 +44
			2.04 2:0/1/128 1:2/0/128 +128
			POST /soap 2:1/0/128
			2.04 2:1/1/128 +128
			POST /soap 2:2/0/128
			2.04 2:2/1/128 +128
			POST /soap 2:3/0/128
			2.04 2:3/0/128 +116`},
		{"Figure 11: with early negotiation", 128, 128, true, message.POST, "/soap", 300, 250, message.Changed, `
			POST /soap 1:0/1/128 +128
			2.31 1:0/1/128
			POST /soap 1:1/1/128 +128
			2.31 1:1/1/128
			POST /soap 2:0/0/64 1:2/0/128 +44
			2.04 2:0/1/64 1:2/0/128 +64
			POST /soap 2:1/0/64
			2.04 2:1/1/64 +64
			POST /soap 2:2/0/64
			2.04 2:2/1/64 +64
			POST /soap 2:3/0/64
			2.04 2:3/0/64 +58`},
	} {
		t.Run(f.name, func(t *testing.T) {
			want := bodyOf(f.received)
			h := &site{answer: gives(f.code, want)}
			x := &wire{handler: blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: f.server}), peer: peerAt(1)}
			c := blockwise.NewClient(x, blockwise.ClientConfig{BlockSize: f.client})
			req := request(f.method, f.path, bodyOf(f.sent))
			if f.early {
				withBlock(req, "2:0/0/64")
			}
			var resp exchange.Response
			require.NoError(t, c.RoundTrip(context.Background(), req, &resp))
			require.Equal(t, chartOf(f.want), x.chart)
			require.Equal(t, string(want), string(resp.Payload))
			require.Equal(t, string(bodyOf(f.sent)), string(h.last(t)))
		})
	}
}

// A server that acts on each block by itself (Figure 8): the client sends them all the same.
//
// Proves 7959-2.3-s18.
func TestFigure8(t *testing.T) {
	var got []byte
	x := &wire{peer: peerAt(1), handler: exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		b, _ := blockwise.ParseBlock(&r.Options, message.OptionBlock1)
		got = append(got[:b.Offset()], r.Payload...)
		w.Code = message.Changed
		b.More = false
		w.Options.SetUint(message.OptionBlock1, b.Value())
		return nil
	})}
	c := blockwise.NewClient(x, blockwise.ClientConfig{BlockSize: 128})
	var resp exchange.Response
	require.NoError(t, c.RoundTrip(context.Background(), request(message.PUT, "/options", bodyOf(300)), &resp))
	require.Equal(t, chartOf(`
		PUT /options 1:0/1/128 +128
		2.04 1:0/0/128
		PUT /options 1:1/1/128 +128
		2.04 1:1/0/128
		PUT /options 1:2/0/128 +44
		2.04 1:2/0/128`), x.chart)
	require.Equal(t, string(bodyOf(300)), string(got))
}

// Figures 12 and 13, byte for byte: the headers, tokens and options of the messages are those of the
// RFC. The sequence numbers of the notifications are put in, as a layer for observation
// would. A notification carries the first block; the rest is fetched without Observe.
//
// Proves 7959-2.6-01, 7959-2.6-s07, 7959-2.4-07.
func TestFiguresOfObservation(t *testing.T) {
	for _, f := range []observation{
		{
			name: "Figure 12", size: 128,
			register: "41011636 fb 60 5b 7374617475732d69636f6e",
			first:    "61451636 fb 44 6f00f38e 22 f38e d1 04 0b ff",
			notified: "4145af9c fb 44 6f00f392 22 f392 d1 04 0b ff",
			rest: []rest{
				{1, "41011637 fc bb 7374617475732d69636f6e c1 13", "61451637 fc 44 6f00f392 d1 06 1b ff"},
				{2, "41011638 fc bb 7374617475732d69636f6e c1 23", "61451638 fc 44 6f00f392 d1 06 23 ff"},
			},
		},
		{
			name: "Figure 13", size: 64, maxAge: true,
			register: "41011636 fb 60 5b 7374617475732d69636f6e c1 02",
			first:    "61451636 fb 44 6f00f38e 22 f38e 81 3c 91 0a ff",
			notified: "4145af9c fb 44 6f00f392 22 f392 d1 04 0a ff",
			rest: []rest{
				{1, "41011637 fc bb 7374617475732d69636f6e c1 12", "61451637 fc 44 6f00f392 d1 06 1a ff"},
				{2, "", ""}, {3, "", ""}, // left out in the figure
				{4, "41011638 fc bb 7374617475732d69636f6e c1 42", "61451638 fc 44 6f00f392 d1 06 42 ff"},
			},
		},
	} {
		t.Run(f.name, f.test)
	}
}

type observation struct {
	name                      string
	size                      int
	maxAge                    bool // the first response states the default
	register, first, notified string
	rest                      []rest
}

type rest struct {
	num               uint32
	request, response string
}

func (f *observation) test(t *testing.T) {
	body, tag, seq := bodyOf(309), unhex("6f00f38e"), uint64(62350)
	h := &site{answer: func(w *exchange.Response, r *exchange.Request) error {
		w.Payload = body
		if r.Options.Has(message.OptionObserve) {
			w.Options.SetUint(message.OptionObserve, seq)
		}
		if f.maxAge && seq == 62350 {
			w.Options.AddUint(message.OptionMaxAge, 60)
		}
		return w.SetETag(tag)
	}}
	s := blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: 128})
	register := decode(t, unhex(f.register))
	requireBytes(t, f.first, reply(s, register), body[:f.size])

	// The resource changes, and the server sends a notification: the answer to the same request.
	body, tag, seq = bodyOf(309), unhex("6f00f392"), 62354
	body[0]++
	notification := reply(s, register)
	notification.Type, notification.MessageID = message.Confirmable, 0xaf9c
	requireBytes(t, f.notified, notification, body[:f.size])

	for _, b := range f.rest {
		m := &message.Message{Code: message.GET, MessageID: 0x2000, Token: message.Token{0xfc}}
		m.Options.AddString(message.OptionURIPath, "status-icon")
		m.Options.AddUint(message.OptionBlock2, blockwise.Block{Num: b.num, SZX: 2}.Value())
		if b.request != "" {
			m = decode(t, unhex(b.request))
		}
		answer := reply(s, m)
		payload := body[int(b.num)*f.size : min((int(b.num)+1)*f.size, len(body))]
		if b.response != "" {
			requireBytes(t, b.response, answer, payload)
		}
		require.Equal(t, string(payload), string(answer.Payload))
	}
	require.Equal(t, 2, h.runs, "the rest comes from what was kept")
}

func decode(t *testing.T, b []byte) *message.Message {
	t.Helper()
	m := new(message.Message)
	require.NoError(t, codec.DecodeUDP(b, m))
	return m
}

// reply has a server answer a message in its acknowledgement.
func reply(s exchange.Handler, m *message.Message) *message.Message {
	answer := serve(s, m, peerAt(1), context.Background())
	answer.Type, answer.MessageID, answer.Token = message.Acknowledgement, m.MessageID, m.Token
	return answer
}

// requireBytes compares a message with the hex digits of its head, followed by a payload.
func requireBytes(t *testing.T, head string, m *message.Message, payload []byte) {
	t.Helper()
	b, err := codec.AppendUDP(nil, m)
	require.NoError(t, err)
	require.Equal(t, hex.EncodeToString(append(unhex(head), payload...)), hex.EncodeToString(b))
}
