package coap_test

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
)

// A layer that transforms what it hands on, as object security does: it inverts the bits of
// payloads and adds a byte.

func transform(b []byte) []byte {
	out := []byte{0xA5}
	for _, c := range b {
		out = append(out, ^c)
	}
	return out
}

func restore(t testing.TB, b []byte) []byte {
	require.NotEmpty(t, b)
	require.EqualValues(t, 0xA5, b[0], "transformed once")
	return transform(b[1:])[1:]
}

// transforming is the layer on the side of the server.
func transforming(t testing.TB) func(exchange.Handler) exchange.Handler {
	return func(next exchange.Handler) exchange.Handler {
		return exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
			if len(r.Payload) > 0 {
				r.Payload = restore(t, r.Payload)
			}
			err := next.ServeCoAP(w, r)
			if len(w.Payload) > 0 {
				w.Payload = transform(w.Payload)
			}
			return err
		})
	}
}

// transformer is the layer on the side of the client.
type transformer struct {
	testing.TB
	next exchange.RoundTripper
}

func (x transformer) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	r := *req
	if len(r.Payload) > 0 {
		r.Payload = transform(r.Payload)
	}
	err := x.next.RoundTrip(ctx, &r, resp)
	if err == nil && len(resp.Payload) > 0 {
		resp.Payload = restore(x.TB, resp.Payload)
	}
	return err
}

// wire is a connection between a client and a handler without anything in between. It notes
// the largest payload.
type wire struct {
	h       exchange.Handler
	largest int
}

func (l *wire) RoundTrip(_ context.Context, req *exchange.Request, resp *exchange.Response) error {
	r := &exchange.Request{Code: req.Code, Options: req.Options.Clone(), Payload: bytes.Clone(req.Payload)}
	r.Arrive(exchange.Arrival{Peer: exchange.Peer{Addr: netip.MustParseAddrPort("192.0.2.9:5683")}})
	var w exchange.Response
	if err := l.h.ServeCoAP(&w, r); err != nil {
		return err
	}
	l.largest = max(l.largest, len(r.Payload), len(w.Payload))
	m := message.Message{Code: w.Code, Options: w.Options, Payload: w.Payload}
	return resp.Receive(&m, exchange.Peer{})
}

// reverse answers with the payload backwards.
func reverse(w *exchange.Response, r *exchange.Request) error {
	b := bytes.Clone(r.Payload)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	w.Code = message.Changed
	return w.Bytes(message.OctetStream, b)
}

// Block-wise transfer goes together with a transforming layer on either side of it: around it the
// layer sees single messages, inside of it whole bodies.
func TestComposeWithBlocks(t *testing.T) {
	for name, compose := range map[string]func(t *testing.T) (exchange.RoundTripper, *wire){
		"messages are transformed": func(t *testing.T) (exchange.RoundTripper, *wire) {
			l := &wire{h: transforming(t)(blockwise.NewServer(exchange.HandlerFunc(reverse), blockwise.ServerConfig{}))}
			return blockwise.NewClient(transformer{t, l}, blockwise.ClientConfig{}), l
		},
		"bodies are transformed": func(t *testing.T) (exchange.RoundTripper, *wire) {
			l := &wire{h: blockwise.NewServer(transforming(t)(exchange.HandlerFunc(reverse)), blockwise.ServerConfig{})}
			return transformer{t, blockwise.NewClient(l, blockwise.ClientConfig{})}, l
		},
		"both": func(t *testing.T) (exchange.RoundTripper, *wire) {
			inner := blockwise.NewServer(transforming(t)(exchange.HandlerFunc(reverse)), blockwise.ServerConfig{})
			l := &wire{h: transforming(t)(inner)}
			return transformer{t, blockwise.NewClient(transformer{t, l}, blockwise.ClientConfig{})}, l
		},
	} {
		bubble(t, name, func(t *testing.T) {
			client, l := compose(t)
			body := pattern(10_000, 7)
			req := &exchange.Request{Code: message.POST, Payload: body}
			var resp exchange.Response
			require.NoError(t, client.RoundTrip(t.Context(), req, &resp))
			want := &exchange.Response{}
			require.NoError(t, reverse(want, req))
			require.Equal(t, want.Payload, resp.Payload)
			require.LessOrEqual(t, l.largest, 1025)
		})
	}
}

// In an endpoint, where observation is around block-wise transfer, the layer is inside of both: values
// of any length are observed through it.
func TestComposeWithObserve(t *testing.T) {
	for name, size := range map[string]int{"one message": 10, "blocks": 3000} {
		bubble(t, name, func(t *testing.T) {
			network := mem.NewNetwork(mem.Config{Delay: 10 * time.Millisecond})
			m := &meter{Size: size}
			server := endpoint(t, listen(t, network, serverAddr), coap.Wrap(m.Mux(), transforming(t)), nil)
			c := &coap.Client{Endpoint: endpoint(t, listen(t, network, peerAddr), nil, nil)}
			seen := 0
			for n, err := range c.Observe(t.Context(), "coap://"+serverAddr.String()+"/meter") {
				require.NoError(t, err)
				if n.Response == nil {
					continue
				}
				value := restore(t, n.Response.Payload)
				require.EqualValues(t, '0'+seen, value[0])
				require.Greater(t, len(value), size)
				if seen++; seen == 3 {
					break
				}
				m.Set(seen)
				server.Notify("/meter")
			}
			require.Equal(t, 3, seen)
		})
	}
}
