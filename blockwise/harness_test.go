package blockwise_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// peerAt returns a peer with a port of its own.
func peerAt(port int) exchange.Peer {
	return exchange.Peer{Addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(port)), Local: netip.MustParseAddrPort("192.0.2.9:5683")}
}

// line writes a message as the figures of RFC 7959 do: "PUT /options 1:0/1/128 +128", where +128 is
// the length of the payload, and the Block option of the direction of the payload comes as it
// is numbered.
func line(code message.Code, o *message.Options, payload []byte) string {
	var b strings.Builder
	if code.IsRequest() {
		b.WriteString(code.String() + " " + o.Target())
	} else {
		b.WriteString(code.Dotted())
	}
	if v, ok := o.Uint(message.OptionObserve); ok {
		fmt.Fprintf(&b, " observe:%d", v)
	}
	if o.IfNoneMatch() {
		b.WriteString(" if-none-match")
	}
	for i, n := range [...]message.OptionNumber{message.OptionBlock2, message.OptionBlock1} {
		if block, ok := blockwise.ParseBlock(o, n); ok {
			fmt.Fprintf(&b, " %d:%v", 2-i, block)
		}
	}
	if v, ok := o.Size1(); ok {
		fmt.Fprintf(&b, " size1:%d", v)
	}
	if v, ok := o.Size2(); ok {
		fmt.Fprintf(&b, " size2:%d", v)
	}
	for v := range o.Values(message.OptionRequestTag) {
		fmt.Fprintf(&b, " tag:%x", v)
	}
	if len(payload) > 0 {
		fmt.Fprintf(&b, " +%d", len(payload))
	}
	return b.String()
}

// wire carries requests to a handler and their responses back through the codec, and writes a
// chart of them. What the handler returns becomes a response as in an endpoint.
type wire struct {
	handler exchange.Handler
	peer    exchange.Peer
	ctx     context.Context
	// tamper, if not nil, changes a request or response, or loses it by an error.
	tamper func(n int, m *message.Message) error

	mu    sync.Mutex
	n     int
	chart []string
}

func (x *wire) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	x.mu.Lock()
	x.n++
	n := x.n
	x.mu.Unlock()
	m, err := x.pass(n, &message.Message{Code: req.Code, Options: req.Options, Payload: req.Payload})
	if err != nil {
		return err
	}
	answer := serve(x.handler, m, x.peer, x.ctx)
	if answer, err = x.pass(n, answer); err != nil {
		return err
	}
	resp.Reset()
	return resp.Receive(answer, exchange.Peer{Addr: x.peer.Local})
}

// pass encodes and decodes a message.
func (x *wire) pass(n int, m *message.Message) (*message.Message, error) {
	x.mu.Lock()
	x.chart = append(x.chart, line(m.Code, &m.Options, m.Payload))
	x.mu.Unlock()
	b, err := codec.AppendUDP(nil, m)
	if err != nil {
		return nil, err
	}
	out := new(message.Message)
	if err := codec.DecodeUDP(b, out); err != nil {
		return nil, err
	}
	if x.tamper != nil {
		if err := x.tamper(n, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// serve has a handler answer a message.
func serve(h exchange.Handler, m *message.Message, from exchange.Peer, ctx context.Context) *message.Message {
	r := &exchange.Request{Code: m.Code, Options: m.Options, Payload: m.Payload}
	if m.Code == message.GET || m.Code == message.DELETE {
		r.Payload = nil
	}
	r.Arrive(exchange.Arrival{Context: ctx, Peer: from})
	w := new(exchange.Response)
	return encode(w, h.ServeCoAP(w, r))
}

// encode makes a response of what a handler has left, as an endpoint does, and overwrites its
// payload then, as the memory of a handler is used again.
func encode(w *exchange.Response, err error) *message.Message {
	var coded *exchange.Error
	var option *message.OptionError
	switch {
	case err == nil:
	case errors.As(err, &coded):
		w.Reset()
		w.Code, w.Payload = coded.Code, []byte(coded.Diagnostic)
	case errors.As(err, &option):
		w.Reset()
		w.Code, w.Payload = message.BadOption, []byte(option.Reason)
	default:
		w.Reset()
		w.Code, w.Payload = message.InternalServerError, []byte(err.Error())
	}
	if w.Code == message.Empty {
		w.Code = message.Content
	}
	m := message.Message{Code: w.Code, Options: w.Options, Payload: w.Payload}
	c := m.Clone()
	return &c
}

// bodyOf returns bytes that tell where they belong.
func bodyOf(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 7959))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// request makes a request for a path with options and a payload.
func request(method message.Code, path string, payload []byte) *exchange.Request {
	r, err := exchange.NewRequest(method, path)
	if err != nil {
		panic(err)
	}
	r.Payload = payload
	return r
}

// withBlock adds a Block option, written as n:NUM/M/SIZE.
func withBlock(r *exchange.Request, option string) *exchange.Request {
	n, b := parseBlock(option)
	r.Options.SetUint(n, b.Value())
	return r
}

func parseBlock(option string) (message.OptionNumber, blockwise.Block) {
	var kind, num, more, size int
	if _, err := fmt.Sscanf(option, "%d:%d/%d/%d", &kind, &num, &more, &size); err != nil {
		panic(option + ": " + err.Error())
	}
	b := blockwise.Block{Num: uint32(num), More: more == 1}
	for 16<<b.SZX < size {
		b.SZX++
	}
	if kind == 1 {
		return message.OptionBlock1, b
	}
	return message.OptionBlock2, b
}

// site is a handler with one resource for each body it was given, that remembers what was sent
// to it.
type site struct {
	mu      sync.Mutex
	runs    int
	bodies  [][]byte
	options []message.Options
	answer  func(w *exchange.Response, r *exchange.Request) error
}

func (s *site) ServeCoAP(w *exchange.Response, r *exchange.Request) error {
	b, err := r.ReadBody(1 << 31)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.runs++
	s.bodies = append(s.bodies, bytes.Clone(b))
	s.options = append(s.options, r.Options.Clone())
	s.mu.Unlock()
	if s.answer != nil {
		return s.answer(w, r)
	}
	w.Code = message.Changed
	return nil
}

func (s *site) last(t *testing.T) []byte {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NotEmpty(t, s.bodies)
	return s.bodies[len(s.bodies)-1]
}

// gives answers with a body.
func gives(code message.Code, body []byte) func(*exchange.Response, *exchange.Request) error {
	return func(w *exchange.Response, r *exchange.Request) error {
		w.Code, w.Payload = code, body
		return nil
	}
}

// unhex decodes digits that may have spaces between them.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// send gives a server a request and returns the line of the response.
func send(s exchange.Handler, peer exchange.Peer, r *exchange.Request) (string, *message.Message) {
	m := serve(s, &message.Message{Code: r.Code, Options: r.Options, Payload: r.Payload}, peer, context.Background())
	return line(m.Code, &m.Options, m.Payload), m
}

// advance lets virtual time pass.
func advance(d time.Duration) { <-time.After(d) }
