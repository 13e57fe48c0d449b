package coap_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
)

// syncBuffer takes what a logger writes.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Each method reaches the handler, and its response the caller, whether confirmed or not; the
// type of the response is that of the request.
//
// Proves 7252-5.2.3-01, 7252-5.2.1-01.
func TestMethods(t *testing.T) {
	type seen struct {
		code    coap.Code
		non     bool
		payload string
	}
	bubble(t, "", func(t *testing.T) {
		var got seen
		r := newRig(t, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			got = seen{r.Code, r.NonConfirmable, string(r.Payload)}
			w.SetCode(message.Changed)
			return nil
		}), nil)
		client := endpoint(t, listen(t, r.net, peerAddr2), nil, nil)
		for _, method := range []coap.Code{coap.GET, coap.POST, coap.PUT, coap.DELETE, coap.FETCH, coap.PATCH, coap.IPATCH} {
			for _, non := range []bool{false, true} {
				req := request(t, method, serverAddr, "/x")
				body := "body"
				if method == coap.GET || method == coap.DELETE {
					body = ""
				}
				req.NonConfirmable, req.Payload = non, []byte(body)
				require.Equal(t, message.Changed, do(t, client, req).Code)
				require.Equal(t, seen{method, non, body}, got)
				kind := map[bool]string{false: "CON", true: "NON"}[non]
				r.peer.send("%s %s mid=%d tok=aa path=x", kind, method.Dotted(), 2*int(method))
				answer := r.peer.next("the answer")
				want := map[bool]message.Type{false: message.Acknowledgement, true: message.NonConfirmable}[non]
				require.Equal(t, want, answer.Type)
				r.peer.send("%s %s mid=%d path=x", kind, method.Dotted(), 2*int(method)+1)
				r.peer.next("an empty token is a token")
			}
		}
	})
}

// GET, DELETE and 2.03 are not defined to have a payload: it is not sent, and not looked at.
//
// Proves 7252-5.5-01.
func TestPayloadOfGet(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, coap.HandlerFunc(echo), nil)
		for i, method := range []coap.Code{coap.GET, coap.DELETE} {
			req := request(t, method, peerAddr, "/x")
			req.Payload = []byte("body")
			require.ErrorContains(t, r.ep.RoundTrip(t.Context(), req, new(coap.Response)), "payload")
			r.peer.wantNothing("not sent")
			r.peer.send("CON %s mid=%d path=x pay=body", method.Name(), i)
			r.peer.want("ignored", "ACK 2.05 mid=%d pay=", i)
		}
		ours := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/x"))
		asked := r.peer.want("", "CON GET")
		r.peer.send("ACK 2.03 mid=%d tok=%s pay=body", asked.MessageID, asked.Token)
		require.Empty(t, ours.RequireCode(t, "ignored", "2.03").Payload)
		stream, err := r.ep.Open(t.Context(), request(t, coap.GET, peerAddr, "/x"))
		require.NoError(t, err)
		asked = r.peer.want("", "CON GET")
		r.peer.send("ACK 2.03 mid=%d tok=%s pay=body", asked.MessageID, asked.Token)
		var resp coap.Response
		require.NoError(t, stream.Next(t.Context(), &resp))
		require.Empty(t, resp.Payload)
	})
	bubble(t, "2.03 of a handler", func(t *testing.T) {
		r := newRig(t, coap.HandlerFunc(func(w *coap.Response, _ *coap.Request) error {
			w.SetCode(coap.Valid)
			w.Payload = []byte("body")
			return nil
		}), nil)
		r.peer.send("CON GET mid=1 path=x")
		r.peer.want("not sent", "ACK 2.03 mid=1 pay=")
	})
}

// A method that nobody has defined is answered with 4.05 in the acknowledgement, and no handler
// runs.
//
// Proves 7252-5.8-01.
func TestUnknownMethod(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, coap.HandlerFunc(func(*coap.Response, *coap.Request) error {
			t.Error("the handler runs")
			return nil
		}), nil)
		for detail := 8; detail < 32; detail++ {
			r.peer.send("CON 0.%02d mid=%d tok=01 path=x", detail, detail)
			r.peer.want("unknown method", "ACK 4.05 mid=%d tok=01", detail)
			r.peer.send("NON 0.%02d mid=%d tok=01 path=x", detail, 100+detail)
			r.peer.want("unknown method", "NON 4.05 tok=01")
		}
	})
}

// What a handler returns decides what is answered.
func TestHandlerResults(t *testing.T) {
	type handler = func(*coap.Response, *coap.Request) error
	for _, test := range []struct {
		name, want, log string
		handler         handler
	}{
		{"nothing", "2.05 pay=", "", func(*coap.Response, *coap.Request) error { return nil }},
		{"text", "2.05 opt=12: pay=hello", "", func(w *coap.Response, _ *coap.Request) error { return w.Text("hello") }},
		{"code", "2.04 pay=", "", func(w *coap.Response, _ *coap.Request) error { w.SetCode(message.Changed); return nil }},
		{"code, then text", "2.01 pay=hello", "", func(w *coap.Response, _ *coap.Request) error {
			w.SetCode(message.Created)
			return w.Text("hello")
		}},
		// Proves 7252-5.9.1.3-01.
		{"Valid", "2.03 opt=4:01 pay=", "", func(w *coap.Response, _ *coap.Request) error {
			w.SetCode(message.Valid)
			w.Payload = []byte("what the client has")
			return w.Options.SetETag([]byte{1})
		}},
		// Proves 7252-5.9.2-01.
		{"Error", "4.03 pay=no", "", func(w *coap.Response, _ *coap.Request) error {
			w.Text("half an answer")
			return &coap.Error{Code: message.Forbidden, Diagnostic: "no"}
		}},
		// Proves 7252-5.9.3-01.
		{"Error of the server", "5.03 pay=later", "", func(w *coap.Response, _ *coap.Request) error {
			return &coap.Error{Code: message.ServiceUnavailable, Diagnostic: "later"}
		}},
		// Proves 7252-5.6.1-01.
		{"not to be cached", "2.05 opt=14: pay=", "", func(w *coap.Response, _ *coap.Request) error { w.SetMaxAge(0); return nil }},
		// Proves 7252-5.5.2-02.
		{"wrapped Error", "4.03 pay=", "", func(*coap.Response, *coap.Request) error {
			return fmt.Errorf("what only we should know: %w", &coap.Error{Code: message.Forbidden})
		}},
		{"Error with Max-Age", "5.03 opt=14:07 pay=", "", func(w *coap.Response, _ *coap.Request) error {
			w.SetMaxAge(7 * time.Second)
			return &coap.Error{Code: message.ServiceUnavailable}
		}},
		{"other error", "5.00 pay=", "what only we should know", func(w *coap.Response, _ *coap.Request) error {
			w.Text("half an answer")
			return fmt.Errorf("what only we should know")
		}},
		// Proves 7252-5.5.2-01.
		{"diagnostic that is no UTF-8", "4.03 pay=a\uFFFDb", "", func(*coap.Response, *coap.Request) error {
			return &coap.Error{Code: message.Forbidden, Diagnostic: "a\xffb"}
		}},
		{"panic", "5.00 pay=", "a bug", func(*coap.Response, *coap.Request) error { panic("a bug") }},
		{"nil panic", "5.00 pay=", "panicked", func(*coap.Response, *coap.Request) error { panic(nil) }},
		{"bad code", "5.00 pay=", "no response code", func(w *coap.Response, _ *coap.Request) error { w.SetCode(message.GET); return nil }},
		{"bad code in Error", "5.00 pay=", "no response code", func(*coap.Response, *coap.Request) error { return &coap.Error{Code: message.GET} }},
		{"too large", "5.00", "too large", func(w *coap.Response, _ *coap.Request) error {
			w.Options.Add(2000, make([]byte, 1200)) // a body would go in blocks
			return w.Text("x")
		}},
		{"unsendable option", "5.00", "not sent", func(w *coap.Response, _ *coap.Request) error {
			w.Options.Add(2000, make([]byte, message.MaxOptionLength+1))
			return nil
		}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			var log syncBuffer
			cfg := &coap.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
			calls := 0
			r := newRig(t, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
				if calls++; calls > 1 {
					return w.Text("alive")
				}
				return test.handler(w, r)
			}), cfg)
			r.peer.send("CON GET mid=1 tok=01 path=secret")
			answer := r.peer.want("the answer", "ACK %s mid=1 tok=01", test.want)
			if answer.Code.IsError() { // its payload is a diagnostic (RFC 7252 section 5.5.2)
				require.False(t, answer.Options.Has(message.OptionContentFormat))
			}
			r.peer.wantNothing("one answer")
			require.Contains(t, log.String(), test.log)
			require.Equal(t, test.log == "", log.String() == "", "log: %s", log.String())
			if test.log != "" {
				require.Contains(t, log.String(), "path=/secret")
			}
			r.peer.send("CON GET mid=2 tok=01 path=x")
			r.peer.want("the server lives", "ACK 2.05 pay=alive")
		})
	}
}

// What a handler can know of the sender and of the request.
func TestRequestProperties(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var kept *coap.Request
		r := newRig(t, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			kept = r.Clone()
			return nil
		}), nil)
		r.peer.send("CON PUT mid=1 tok=01 path=a/b query=k=v pay=body")
		r.peer.want("", "ACK 2.05")
		require.Equal(t, peerAddr, kept.Peer().Addr)
		require.Equal(t, serverAddr, kept.Local())
		require.Equal(t, "/a/b", kept.Path())
		v, ok := kept.Query("k")
		require.True(t, ok)
		require.Equal(t, "v", v)
		require.Equal(t, "body", string(kept.Payload))
		require.Equal(t, 4+1+4+4+5, kept.WireSize())
		require.False(t, kept.IsMulticast())
		require.False(t, kept.Group().IsValid())
		require.False(t, kept.Peer().Verified, "it may have a forged address")
		require.NoError(t, kept.Context().Err())

		// It answers a request of ours, which shows that it has its address.
		ours := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/x"))
		asked := r.peer.want("", "CON GET")
		r.peer.send("ACK 2.05 mid=%d tok=%s", asked.MessageID, asked.Token)
		resp := ours.RequireCode(t, "", "2.05")
		require.True(t, resp.Peer().Verified)
		require.Equal(t, peerAddr, resp.Peer().Addr)
		r.peer.send("CON GET mid=2 tok=01 path=a")
		r.peer.want("", "ACK 2.05")
		require.True(t, kept.Peer().Verified)
		r.ep.Close()
		require.ErrorIs(t, kept.Context().Err(), context.Canceled, "the context ends with the endpoint")
	})
}

// A reply leaves from the address that was asked, on a host with several; so do separate ones.
func TestReplyAddress(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		addrs := []netip.Addr{
			netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"),
			netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"),
		}
		host, err := network.Host(mem.Interface{Addrs: addrs[:2]}, mem.Interface{Addrs: addrs[2:]})
		require.NoError(t, err)
		conn, err := host.Listen(netip.AddrPortFrom(netip.Addr{}, 5683))
		require.NoError(t, err)
		endpoint(t, conn, newResources(), nil)
		r := &rig{TB: t, net: network}
		v4, v6 := r.newPeer(peerAddr), r.newPeer(netip.MustParseAddrPort("[2001:db8::9]:1000"))
		for i, a := range addrs {
			p := v4
			if a.Is6() {
				p = v6
			}
			p.to = netip.AddrPortFrom(a, 5683)
			p.send("CON GET mid=1 path=plain")
			require.Equal(t, p.to, p.want("each address is an endpoint of its own", "ACK 2.05").from, "asked %v", a)
			p.send("CON GET mid=%d path=slow", 10+i)
			pass(slowTime)
			require.Equal(t, p.to, p.want("", "ACK 0.00").from)
			got := p.want("separate", "CON 2.05")
			require.Equal(t, p.to, got.from)
			p.send("ACK 0.00 mid=%d", got.MessageID)
			p.sendHex("40000001")
			require.Equal(t, p.to, p.want("a ping", "RST 0.00").from)
		}
	})
}
