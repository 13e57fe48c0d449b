package fuzz

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"slices"
	"testing"

	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

var echoPeers = [...]netip.AddrPort{
	netip.MustParseAddrPort("192.0.2.1:5683"), netip.MustParseAddrPort("192.0.2.1:5684"),
	netip.MustParseAddrPort("[2001:db8::1]:5683"), netip.MustParseAddrPort("192.0.2.2:5683"),
}

// echoScript is a server that answers as the bytes of a fuzzer say, two for each request.
type echoScript struct {
	*testing.T
	script []byte
	given  map[netip.AddrPort]map[string]bool // the values of each peer
	sent   int
}

func (x *echoScript) answer(req *exchange.Request, resp *exchange.Response) error {
	if x.sent++; len(x.script) < 2 {
		return exchange.ErrNotAcknowledged
	}
	how, n := x.script[0], x.script[1]
	x.script = x.script[2:]
	if v, ok := req.Options.First(message.OptionEcho); ok && !x.given[req.To][string(v)] {
		x.Fatalf("%v is sent %x, which it has never given", req.To, v)
	}
	if how&8 != 0 {
		return exchange.ErrReset
	}
	m := message.Message{Code: []message.Code{message.Unauthorized, message.Unauthorized, message.Content, message.BadRequest}[how&3]}
	if how&4 == 0 {
		value := bytes.Repeat([]byte{n}, int(how>>4)*4)
		m.Options.Add(message.OptionEcho, value)
		if len(value) > 0 && len(value) <= 40 {
			if x.given[req.To] == nil {
				x.given[req.To] = map[string]bool{}
			}
			x.given[req.To][string(value)] = true
		}
	}
	resp.Reset()
	return resp.Receive(&m, exchange.Peer{Addr: req.To})
}

func (x *echoScript) RoundTrip(_ context.Context, req *exchange.Request, resp *exchange.Response) error {
	return x.answer(req, resp)
}

func (x *echoScript) Open(_ context.Context, req *exchange.Request) (exchange.Responses, error) {
	return &echoStream{x, req.Clone(), 2}, nil
}

// echoStream answers a few times.
type echoStream struct {
	*echoScript
	req  *exchange.Request
	left int
}

func (s *echoStream) Next(_ context.Context, resp *exchange.Response) error {
	if s.left--; s.left < 0 {
		return io.EOF
	}
	return s.answer(s.req, resp)
}

func (s *echoStream) Renew(_ context.Context, req *exchange.Request) error {
	s.req = req.Clone()
	return nil
}

func (s *echoStream) Close() error { return nil }

// FuzzEchoClient has servers challenge a client in any way. It repeats each request a few times at most for each
// response that is no challenge, with a value that this server has given and nothing else, leaves the request of its caller as it was, and ends
// with what came last.
func FuzzEchoClient(f *testing.F) {
	f.Add([]byte{0, 0x30, 7, 2, 0})
	f.Add([]byte{1, 0x30, 7, 0x30, 8, 0x30, 9, 0x30, 10, 0, 2, 0})
	f.Add([]byte{4, 0x20, 7, 2, 0, 3, 0x22, 9, 3, 2, 0, 0xB0, 1})
	challenged := []byte{0x10, 1, 0x10, 2, 0x10, 3, 0x12, 4}
	f.Add(slices.Concat([]byte{4}, challenged, challenged, challenged))
	f.Fuzz(func(t *testing.T, script []byte) {
		x := &echoScript{T: t, given: map[netip.AddrPort]map[string]bool{}}
		c := echo.NewClient(x)
		x.script = script
		for range 20 {
			if len(x.script) == 0 {
				return
			}
			op := x.script[0]
			x.script = x.script[1:]
			req := &exchange.Request{Code: message.GET, To: echoPeers[op&3]}
			x.sent = 0
			var resp exchange.Response
			if op&4 == 0 {
				c.RoundTrip(context.Background(), req, &resp)
			} else if rs, err := c.Open(context.Background(), req); err == nil {
				for range 3 {
					if rs.Next(context.Background(), &resp) != nil {
						break
					}
				}
				rs.Close()
			}
			if x.sent > 3*4 || req.Options.Has(message.OptionEcho) {
				t.Fatalf("%d messages for one request, whose options are now %v", x.sent, listOptions(&req.Options))
			}
		}
	})
}
