package interop

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/message"
)

// loopback4 is the host of tests for which the family of addresses does not matter.
var loopback4 = netip.MustParseAddr("127.0.0.1")

// transfer is a body that a client of others gets from a depot or brings there.
type transfer struct {
	method message.Code
	path   string
	length int  // of the body, in bytes
	ask    int  // size of the blocks that the client begins with, 0 if it is not told
	limit  int  // size of the blocks that the server wants, 0 if it does not care
	prove  bool // the server wants a proof of the client's address
}

func (x transfer) String() string {
	return fmt.Sprintf("%v %s of %d in blocks of %d for %d, prove %v", x.method, x.path, x.length, x.ask, x.limit, x.prove)
}

// block returns the size of the blocks that both agree on.
func (x transfer) block() int {
	size := 1024
	if x.ask > 0 {
		size = min(size, x.ask)
	}
	if x.limit > 0 {
		size = min(size, x.limit)
	}
	return size
}

// body returns the body, which is a text.
func (x transfer) body() []byte {
	b := longBody(x.length)
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return b
}

// start starts a depot for the transfer.
func (x transfer) start(t *testing.T, host netip.Addr) *depot {
	t.Helper()
	var body []byte
	if x.method == message.GET {
		body = x.body()
	}
	cfg := &coap.Config{ServeBlocks: blockwise.ServerConfig{BlockSize: x.limit}, ServeEcho: trusting}
	if x.prove {
		cfg.ServeEcho = echo.ServerConfig{Mode: echo.Always}
	}
	return startDepot(t, host, body, cfg)
}

// requireDone checks that the body has arrived, in blocks of the right sizes. saved is the file with
// the payload of the response.
func (x transfer) requireDone(t *testing.T, d *depot, saved string) {
	t.Helper()
	first := []int{x.block()} // a client begins with larger blocks if it does not know better
	if begin := max(x.ask, 1024*(1-min(x.ask, 1))); begin > x.block() {
		first = append(first, begin)
	}
	switch x.method {
	case message.GET:
		requireBody(t, x.body(), readFile(t, saved))
		require.Equal(t, []int{x.block()}, d.wire.sizes(message.OptionBlock2, false), "blocks of the response")
	case message.PUT:
		requireBody(t, x.body(), d.current())
		require.Equal(t, first, d.wire.sizes(message.OptionBlock1, true), "blocks of the request")
	case message.POST:
		requireBody(t, reversed(x.body()), readFile(t, saved))
		require.Equal(t, first, d.wire.sizes(message.OptionBlock1, true), "blocks of the request")
		require.NotEmpty(t, d.wire.sizes(message.OptionBlock2, false), "blocks of the response")
	}
	served, _ := d.endpoint.BlockwiseStats()
	require.Zero(t, served.Uploads, "unfinished bodies")
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return b
}

// request returns the request for a client script, and the file for the payload of the response.
func (x transfer) request(t *testing.T, base string) (r scriptRequest, saved string) {
	t.Helper()
	var body []byte
	if x.method != message.GET {
		body = x.body()
	}
	r, saved = transferOf(t, x.method, base+x.path, body)
	for exponent := range 7 {
		if x.ask == 16<<exponent {
			r.Block = &exponent
		}
	}
	return r, saved
}

// gaveUp is what CoAPthon3 1.0.2 says now and then in the middle of a transfer, milliseconds after it has begun: the
// thread that would retransmit a block takes the signal that the block before was acknowledged for its own.
const gaveUp = "not acknowledged"

// requireTransfers has a client script make transfers, each with a depot of its own.
func requireTransfers(t *testing.T, host netip.Addr, command []string, transfers ...transfer) {
	t.Helper()
	depots := make([]*depot, len(transfers))
	requests := make([]scriptRequest, len(transfers))
	saved := make([]string, len(transfers))
	for i, x := range transfers {
		depots[i] = x.start(t, host)
		requests[i], saved[i] = x.request(t, depots[i].base)
	}
	results := runScript(t, command, requests...)
	for i, x := range transfers {
		t.Run(x.String(), func(t *testing.T) {
			result, d, file := results[i], depots[i], saved[i]
			for try := 0; result.Error == gaveUp && try < 5; try++ {
				d = x.start(t, host)
				var again scriptRequest
				again, file = x.request(t, d.base)
				result = runScript(t, command, again)[0]
			}
			require.Empty(t, result.Error)
			want := message.Changed
			if x.method == message.GET {
				want = message.Content
			}
			require.Equal(t, want.Dotted(), result.Code)
			x.requireDone(t, d, file)
		})
	}
}

// sendBlocks has our client send a request with blocks of a size, 0 for what it likes, and ask for blocks in a
// window.
func sendBlocks(t *testing.T, size, window int, method message.Code, uri string, body []byte) (*coap.Response, *blockLog, error) {
	t.Helper()
	wire := newBlockLog(false)
	c := &coap.Client{Config: &coap.Config{
		Trace: wire.trace, Params: coap.Params{NStart: window}, SendBlocks: blockwise.ClientConfig{Window: window},
	}}
	defer c.Close()
	req, err := coap.NewRequest(method, uri)
	require.NoError(t, err)
	if body != nil {
		req.Payload = body
		req.Options.SetContentFormat(coap.OctetStream)
	}
	req.Transfer = &coap.Transfer{BlockSize: size}
	resp := new(coap.Response)
	return resp, wire, c.Do(within(t), req, resp)
}

// requireUpload has our client send a body in blocks of a size.
func requireUpload(t *testing.T, size int, method message.Code, uri string, body []byte) *coap.Response {
	t.Helper()
	resp, wire, err := sendBlocks(t, size, 1, method, uri, body)
	require.NoError(t, err)
	require.True(t, resp.Code.IsSuccess(), "%v: %s", resp.Code, resp.Payload)
	require.Equal(t, []int{orDefault(size)}, wire.sizes(message.OptionBlock1, true), "blocks of the request")
	return resp
}

// requireDownload has our client get a body, in blocks of a size from the first one on: one at a time, and several.
func requireDownload(t *testing.T, size int, uri string, want []byte) {
	t.Helper()
	for _, window := range []int{1, 8} {
		resp, wire, err := sendBlocks(t, size, window, message.GET, uri, nil)
		require.NoError(t, err, "window of %d", window)
		require.Equal(t, message.Content, resp.Code, "window of %d", window)
		requireBody(t, want, resp.Payload)
		require.Equal(t, []int{orDefault(size)}, wire.sizes(message.OptionBlock2, false), "blocks of the response")
	}
}

func orDefault(size int) int {
	if size == 0 {
		return 1024
	}
	return size
}

// libcoap's client gets and puts bodies of up to 1 MiB. It asks for small blocks in its first request,
// and our server answers with those; it makes them smaller when our server wants that. Our handler sees
// the whole body, or reads it while it arrives.
func TestLibcoapClientBlocks(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapClient, libcoapPackage)
	for _, x := range []transfer{
		{method: message.GET, path: "/store", length: 1 << 20},
		{method: message.GET, path: "/store", length: 1 << 20, ask: 1024},
		{method: message.GET, path: "/store", length: 1 << 20, ask: 1024, prove: true},
		{method: message.PUT, path: "/store", length: 1 << 20, ask: 1024, prove: true},
		{method: message.GET, path: "/store", length: 1 << 20, ask: 64},
		{method: message.GET, path: "/store", length: 5000, ask: 16},
		{method: message.GET, path: "/store", length: 5000, ask: 1024, limit: 32},
		{method: message.GET, path: "/store", length: 5000, ask: 32, limit: 64},
		{method: message.PUT, path: "/store", length: 1 << 20},
		{method: message.PUT, path: "/store", length: 1 << 20, ask: 1024},
		{method: message.PUT, path: "/store", length: 1 << 20, ask: 64},
		{method: message.PUT, path: "/store", length: 5000, ask: 16},
		{method: message.PUT, path: "/store", length: 5000, ask: 1024, limit: 32},
		{method: message.PUT, path: "/stream", length: 1 << 20, ask: 1024},
		{method: message.PUT, path: "/stream", length: 5000, ask: 64},
		{method: message.POST, path: "/reversed", length: 50000, ask: 256},
	} {
		t.Run(x.String(), func(t *testing.T) {
			t.Parallel()
			d := x.start(t, loopback4)
			d.requireLibcoap(t, x)
		})
	}
}

// requireLibcoap has libcoap's client make a transfer.
func (d *depot) requireLibcoap(t *testing.T, x transfer) {
	t.Helper()
	saved := filepath.Join(t.TempDir(), "saved")
	args := []string{"-m", map[message.Code]string{message.GET: "get", message.PUT: "put", message.POST: "post"}[x.method], "-o", saved}
	if x.ask > 0 {
		args = append(args, "-b", strconv.Itoa(x.ask))
	}
	if x.method != message.GET {
		file := filepath.Join(t.TempDir(), "body")
		require.NoError(t, os.WriteFile(file, x.body(), 0o600))
		args = append(args, "-f", file)
	}
	_, problems := run(t, requireTool(t, libcoapClient, libcoapPackage), append(args, d.base+x.path)...)
	require.Empty(t, problems)
	x.requireDone(t, d, saved)
}

// Our client puts bodies of up to 1 MiB into libcoap's server, which makes resources of them, and gets them
// back, byte for byte. Both ask for the size of the blocks in the first request.
//
// libcoap 4.3.1 copies what it has got of a body for each block that arrives, so that small blocks
// of a long body take long.
func TestOurClientLibcoapBlocks(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	for _, x := range []struct{ size, length int }{{0, 1 << 20}, {1024, 1<<20 - 1}, {64, 1 << 18}, {16, 5000}} {
		t.Run(fmt.Sprintf("%d in blocks of %d", x.length, x.size), func(t *testing.T) {
			t.Parallel()
			server := startServer(t, loopback4, requireTool(t, libcoapServer, libcoapPackage), func(addr, port string) []string {
				return []string{"-A", addr, "-p", port, "-d", "10"}
			})
			body := longBody(x.length)
			resp := requireUpload(t, x.size, message.PUT, server.base+"/new", body)
			require.Equal(t, message.Created, resp.Code)
			requireDownload(t, x.size, server.base+"/new", body)
			changed := reversed(body)
			resp = requireUpload(t, x.size, message.PUT, server.base+"/new", changed)
			require.Equal(t, message.Changed, resp.Code)
			requireDownload(t, x.size, server.base+"/new", changed)
		})
	}
}

// What our client gets from libcoap's server goes to a Sink as it arrives, and so does a body from a reader.
func TestOurClientLibcoapStream(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	server := startLibcoap(t, loopback4)
	c, _ := newClient(t, coap.Params{})
	body := longBody(100_000)
	put, err := coap.NewRequest(message.PUT, server.base+"/new")
	require.NoError(t, err)
	var last coap.Progress
	put.Body = bytes.NewReader(body)
	put.Transfer = &coap.Transfer{Progress: func(p coap.Progress) { last = p }}
	resp := new(coap.Response)
	require.NoError(t, c.Do(within(t), put, resp))
	require.Equal(t, message.Created, resp.Code)
	require.EqualValues(t, len(body), last.Sent)

	get, err := coap.NewRequest(message.GET, server.base+"/new")
	require.NoError(t, err)
	var got bytes.Buffer
	get.Transfer = &coap.Transfer{Sink: &got, Progress: func(p coap.Progress) { last = p }}
	require.NoError(t, c.Do(within(t), get, resp))
	require.Empty(t, resp.Payload)
	requireBody(t, body, got.Bytes())
	require.EqualValues(t, len(body), last.Received)
	require.EqualValues(t, len(body), last.ReceiveTotal, "what the server says in Size2")
}

// aiocoap's client gets, puts and posts 100 KiB, in blocks as it likes, in small ones, and in those that
// our server wants.
func TestAiocoapClientBlocks(t *testing.T) {
	t.Parallel()
	command := []string{requireAiocoap(t), script("aiocoap_client.py")}
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		requireTransfers(t, host, command,
			transfer{method: message.GET, path: "/store", length: 100 << 10},
			transfer{method: message.GET, path: "/store", length: 20000, ask: 64},
			transfer{method: message.GET, path: "/store", length: 5000, limit: 32},
			transfer{method: message.PUT, path: "/store", length: 100 << 10},
			transfer{method: message.PUT, path: "/store", length: 20000, ask: 64},
			transfer{method: message.PUT, path: "/store", length: 5000, limit: 32},
			transfer{method: message.PUT, path: "/stream", length: 100 << 10},
			transfer{method: message.POST, path: "/reversed", length: 100 << 10},
			transfer{method: message.POST, path: "/reversed", length: 5000, ask: 128, limit: 64},
		)
	})
}

// Our client puts 100 KiB into aiocoap's server, gets them back, and posts them for an answer that is as long.
func TestOurClientAiocoapBlocks(t *testing.T) {
	t.Parallel()
	requireAiocoap(t)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startAiocoap(t, host)
		for _, x := range []struct{ size, length int }{{0, 100 << 10}, {1024, 100<<10 - 1}, {64, 20000}} {
			body := longBody(x.length)
			requireUpload(t, x.size, message.PUT, server.base+"/store", body)
			requireDownload(t, x.size, server.base+"/store", body)
			resp := requireUpload(t, x.size, message.POST, server.base+"/reversed", body)
			requireBody(t, reversed(body), resp.Payload)
		}
	})
}
