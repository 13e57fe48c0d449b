package interop

import (
	"bytes"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/udp"
)

// depot is a server of ours for bodies that take many messages. It has these resources:
//
//	/store     GET, PUT   what was put last
//	/stream    PUT        the same, which our handler reads while it arrives
//	/reversed  POST       the body backwards
type depot struct {
	base     string // its URI, without a path
	endpoint *coap.Endpoint
	wire     *blockLog

	mu   sync.Mutex
	body []byte // of /store
	etag []byte // of the body
}

// startDepot starts a depot on a port of host, with a body in /store. cfg may be nil.
func startDepot(t *testing.T, host netip.Addr, body []byte, cfg *coap.Config) *depot {
	t.Helper()
	conn, err := udp.Listen(netip.AddrPortFrom(host, 0).String(), nil)
	require.NoError(t, err)
	d := &depot{base: "coap://" + conn.LocalAddr().String(), wire: newBlockLog(true)}
	d.replace(body)
	if cfg == nil {
		cfg = &coap.Config{ServeEcho: trusting}
	}
	cfg.Trace = d.wire.trace
	d.endpoint, err = coap.NewEndpoint(conn, d.mux(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.endpoint.Close()) })
	return d
}

func (d *depot) mux() *coap.Mux {
	mux := coap.NewMux()
	mux.HandleFunc("GET /store", func(w *coap.Response, _ *coap.Request) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		return w.Content(bytes.NewReader(d.body), d.etag) // runs for each block
	})
	mux.HandleFunc("PUT /store", func(w *coap.Response, r *coap.Request) error {
		d.replace(bytes.Clone(r.Payload))
		w.SetCode(message.Changed)
		return nil
	})
	mux.HandleFunc("PUT /stream", func(w *coap.Response, r *coap.Request) error {
		body, err := io.ReadAll(r.BodyReader())
		d.replace(body)
		w.SetCode(message.Changed)
		return err
	}, coap.Route{Body: blockwise.Mode{Stream: true}})
	mux.HandleFunc("POST /reversed", func(w *coap.Response, r *coap.Request) error {
		w.SetCode(message.Changed)
		return w.Bytes(coap.OctetStream, reversed(r.Payload))
	})
	return mux
}

func (d *depot) replace(body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := fnv.New32a()
	h.Write(body)
	d.body, d.etag = body, h.Sum(nil)
}

// current returns the body of /store.
func (d *depot) current() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.body
}

func reversed(b []byte) []byte {
	b = bytes.Clone(b)
	slices.Reverse(b)
	return b
}

// longBody returns n bytes in which no two blocks are alike.
func longBody(n int) []byte { return randomBytes(rand.New(rand.NewPCG(uint64(n), 7959)), n) }

// requireBody is require.Equal for long bodies: it does not print them.
func requireBody(t *testing.T, want, got []byte) {
	t.Helper()
	require.Len(t, got, len(want), "bytes of the body")
	for i := range want {
		if want[i] != got[i] {
			t.Fatalf("byte %d of the body is %#x, not %#x", i, got[i], want[i])
		}
	}
}

// blockLog counts the blocks that an endpoint of ours sends and receives.
type blockLog struct {
	server bool // the endpoint is the server

	mu    sync.Mutex
	count map[blockUse]int
}

// blockUse is one way to use a Block option.
type blockUse struct {
	option   message.OptionNumber
	toServer bool
	size     int
}

func newBlockLog(server bool) *blockLog {
	return &blockLog{server: server, count: make(map[blockUse]int)}
}

// trace is for coap.Config.Trace.
func (l *blockLog) trace(e coap.TraceEvent) {
	var m message.Message
	sent := e.Kind == exchange.TraceSent
	if !sent && e.Kind != exchange.TraceReceived || codec.DecodeUDP(e.Datagram, &m) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range []message.OptionNumber{message.OptionBlock1, message.OptionBlock2} {
		if b, ok := blockwise.ParseBlock(&m.Options, n); ok {
			l.count[blockUse{option: n, toServer: sent != l.server, size: b.Size()}]++
		}
	}
}

// sizes returns the sizes of the blocks with an option that went to or came from the server, in
// ascending order.
func (l *blockLog) sizes(option message.OptionNumber, toServer bool) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sizes []int
	for _, use := range slices.SortedFunc(maps.Keys(l.count), func(a, b blockUse) int { return a.size - b.size }) {
		if use.option == option && use.toServer == toServer {
			sizes = append(sizes, use.size)
		}
	}
	return sizes
}
