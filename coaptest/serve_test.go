package coaptest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

func newRequest(t testing.TB, method coap.Code, uri string) *coap.Request {
	t.Helper()
	req, err := coap.NewRequest(method, uri)
	require.NoError(t, err)
	return req
}

func handler(f func(w *coap.Response, r *coap.Request) error) coap.Handler {
	return coap.HandlerFunc(f)
}

// What holds for the answers of any server holds for a recorded one.
func TestServe(t *testing.T) {
	tagged := handler(func(w *coap.Response, _ *coap.Request) error {
		w.SetETag([]byte{1})
		return w.Text("tagged")
	})
	nothing := handler(func(*coap.Response, *coap.Request) error { return nil })
	for _, test := range []struct {
		name, code, payload string
		h                   coap.Handler
		change              func(*coap.Request)
	}{
		{"nothing set", "2.05", "", nothing, nil},
		{"no handler", "4.04", "", nil, nil},
		{"error", "5.00", "", handler(func(*coap.Response, *coap.Request) error { return errors.New("secret") }), nil},
		{"coded error", "4.03", "no", handler(func(*coap.Response, *coap.Request) error {
			return fmt.Errorf("wrapped: %w", &coap.Error{Code: coap.Forbidden, Diagnostic: "no"})
		}), nil},
		{"panic", "5.00", "", handler(func(*coap.Response, *coap.Request) error { panic("a bug") }), nil},
		{"other ETag", "2.05", "tagged", tagged, func(r *coap.Request) { r.Options.AddETag([]byte{2}) }},
		{"same ETag", "2.03", "", tagged, func(r *coap.Request) { r.Options.AddETag([]byte{1}) }},
		{"Accept", "4.06", "", tagged, func(r *coap.Request) { r.Options.SetAccept(coap.CBOR) }},
		{"critical option", "4.02", "Option 2051 is critical and not understood", nothing, func(r *coap.Request) { r.Options.Add(2051, nil) }},
		{"critical option of a NON", "0.00", "", nothing, func(r *coap.Request) {
			r.Options.Add(2051, nil)
			r.NonConfirmable = true
		}},
		{"NON", "2.05", "tagged", tagged, func(r *coap.Request) { r.NonConfirmable = true }},
		{"No-Response", "0.00", "", nothing, func(r *coap.Request) { r.Options.AddUint(message.OptionNoResponse, 26) }},
		{"group", "2.05", "tagged", tagged, func(r *coap.Request) {
			r.Arrive(exchange.Arrival{Group: netip.MustParseAddr("ff02::fd")})
		}},
		{"error to a group", "0.00", "", nil, func(r *coap.Request) {
			r.Arrive(exchange.Arrival{Group: netip.MustParseAddr("224.0.1.187")})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := newRequest(t, coap.GET, "/x")
			if test.change != nil {
				test.change(req)
			}
			resp := coaptest.Serve(test.h, req)
			require.Equal(t, test.code, resp.Code.Dotted())
			require.Equal(t, test.payload, string(resp.Payload))
		})
	}
}

// The handler sees the sender that the request says.
func TestServeArrival(t *testing.T) {
	var got *coap.Request
	h := handler(func(_ *coap.Response, r *coap.Request) error {
		got = r.Clone()
		return nil
	})
	coaptest.Serve(h, newRequest(t, coap.GET, "coap://example.com/a?b=c"))
	require.Equal(t, "/a", got.Path())
	require.Equal(t, "192.0.2.2", got.Peer().Addr.Addr().String())
	require.Equal(t, "192.0.2.1:5683", got.Local().String())
	require.False(t, got.IsMulticast())
	host, _ := got.Options.First(message.OptionURIHost)
	require.Equal(t, "example.com", string(host))

	req := newRequest(t, coap.GET, "/a")
	from := exchange.Peer{
		Addr: netip.MustParseAddrPort("[fe80::2%eth7]:1000"), Local: netip.MustParseAddrPort("[2001:db8::7]:61616"), IfIndex: 7,
		Secure: true, Identity: "device-7",
	}
	req.Arrive(exchange.Arrival{Peer: from})
	require.Equal(t, coap.Content, coaptest.Serve(h, req).Code)
	peer := got.Peer()
	require.Equal(t, from, exchange.Peer{Addr: peer.Addr, Local: peer.Local, IfIndex: peer.IfIndex, Secure: peer.Secure, Identity: peer.Identity})

	req.Arrive(exchange.Arrival{Group: netip.MustParseAddr("224.0.1.187")})
	require.Equal(t, coap.Content, coaptest.Serve(h, req).Code)
	require.Equal(t, "224.0.1.187", got.Group().String())
}

// Bodies of any length are put together, streams included; slow handlers are waited for.
func TestServeBodies(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), 1000)
	mux := coap.NewMux()
	mux.HandleFunc("PUT /upper", func(w *coap.Response, r *coap.Request) error {
		return w.Bytes(coap.OctetStream, bytes.ToUpper(r.Payload))
	})
	mux.HandleFunc("GET /stream", func(w *coap.Response, _ *coap.Request) error {
		return w.Body(io.LimitReader(strings.NewReader(string(long)), 5000))
	})
	req := newRequest(t, coap.PUT, "/upper")
	req.Payload = append(long, 'x')
	require.Equal(t, string(long)+"X", string(coaptest.Serve(mux, req).Payload))
	require.Equal(t, string(long[:5000]), string(coaptest.Serve(mux, newRequest(t, coap.GET, "/stream")).Payload))

	coaptest.Run(t, func(t *testing.T) {
		start := time.Now()
		resp := coaptest.Serve(handler(func(w *coap.Response, _ *coap.Request) error {
			<-time.After(100 * time.Hour)
			return w.Text("at last")
		}), newRequest(t, coap.GET, "/slow"))
		require.Equal(t, "at last", string(resp.Payload))
		require.Equal(t, 100*time.Hour, time.Since(start))
	})
}

func TestServePanics(t *testing.T) {
	req := newRequest(t, coap.GET, "/x")
	req.Payload = []byte("a GET has none")
	require.PanicsWithValue(t, "coaptest.Serve: coap: GET 192.0.2.1:5683: the method takes no payload; to get what a payload selects, use FETCH",
		func() { coaptest.Serve(nil, req) })
}
