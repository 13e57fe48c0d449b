package interop

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// coapthonPath is the environment variable that names the folder which has CoAPthon3. Without it
// python3 has to find it, in PYTHONPATH for instance.
const coapthonPath = "COAPKIT_COAPTHON_PYTHONPATH"

// requireCoapthon returns the command that runs a script with CoAPthon3. Tried with CoAPthon3 1.0.2
// and Python 3.11.
func requireCoapthon(t *testing.T, name string) (command []string) {
	t.Helper()
	python := requireTool(t, "python3", "python3 (Debian)")
	command = []string{python}
	if folder := os.Getenv(coapthonPath); folder != "" {
		// In place of what PYTHONPATH says: that is of another peer.
		command = []string{requireTool(t, "env", "coreutils (Debian)"), "PYTHONPATH=" + folder, python}
	}
	probe := append(command[1:len(command):len(command)], "-c", "import coapthon.server.coap, coapthon.client.helperclient")
	if exec.Command(command[0], probe...).Run() != nil {
		missing(t, "CoAPthon3", "CoAPthon3 (pip), and name its folder in "+coapthonPath)
	}
	return append(command, script(name))
}

// startCoapthon starts a server with the resources that coapthon_server.py lists. Since it does not
// answer pings, it is ready when it answers a request.
func startCoapthon(t *testing.T, host netip.Addr) *peerServer {
	t.Helper()
	command := requireCoapthon(t, "coapthon_server.py")
	ctx := within(t)
	for ctx.Err() == nil {
		addr := freePort(t, host)
		p := start(t, command[0], append(command[1:], host.String(), strconv.Itoa(int(addr.Port())))...)
		s := &peerServer{process: p, addr: addr, base: "coap://" + addr.String()}
		if s.answers(ctx) {
			return s
		}
		p.kill()
	}
	t.Fatal("CoAPthon3 does not answer")
	return nil
}

// answers waits until the server answers a request. It reports false if that does not happen.
func (s *peerServer) answers(ctx context.Context) bool {
	c := new(coap.Client)
	defer c.Close()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		// Until the port is open, the system says at once that the request is not delivered.
		if _, err := c.Get(ctx, s.base+"/text"); err == nil {
			return true
		}
		select {
		case <-s.done:
			return false
		case <-ctx.Done():
			return false
		case <-again.C:
		}
	}
}

// What CoAPthon3's client cannot do, by the name of the scenario.
var coapthonClientCannot = map[string]string{
	"separate response": "it acknowledges it with a message that is malformed",
}

// CoAPthon3's client plays scenarios with our server.
func TestCoapthonClientOurServer(t *testing.T) {
	t.Parallel()
	command := requireCoapthon(t, "coapthon_client.py")
	onEachHost(t, func(t *testing.T, host netip.Addr) { requirePlayed(t, host, command, coapthonClientCannot) })
}

// CoAPthon3 1.0.2 deviates: its client acknowledges a separate response by an Empty message with
// a token, which is a message format error (RFC 7252 section 4.1). Our server ignores it and sends the
// response again.
func TestCoapthonClientSeparate(t *testing.T) {
	t.Parallel()
	command := requireCoapthon(t, "coapthon_client.py")
	site := startSite(t, loopback4, coap.Params{EmptyAckDelay: 10 * time.Millisecond})
	s := scenario{method: message.GET, target: "/slow", code: message.Content, body: "slow"}
	results := runScript(t, command, scriptRequest{aiocoapRequest: aiocoapRequestOf(site.base, &s)})
	s.require(t, results[0].answer(t))
	site.wire.requireChart(t, separateChart(message.GET, message.Content)[:3])
	require.Positive(t, site.server.Stats().Dropped[exchange.DropMalformed]+site.server.Stats().Dropped[exchange.DropBadReply])
}

// CoAPthon3's client gets and puts bodies of many blocks, in blocks of 1024 bytes or smaller ones that
// it asks for. It waits 10 ms after each block.
func TestCoapthonClientBlocks(t *testing.T) {
	t.Parallel()
	command := requireCoapthon(t, "coapthon_client.py")
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		requireTransfers(t, host, command,
			transfer{method: message.GET, path: "/store", length: 20000},
			transfer{method: message.GET, path: "/store", length: 2000, ask: 64},
			transfer{method: message.GET, path: "/store", length: 2000, limit: 128},
			transfer{method: message.PUT, path: "/store", length: 20000},
			transfer{method: message.PUT, path: "/store", length: 2000, ask: 64},
			transfer{method: message.PUT, path: "/stream", length: 20000},
		)
	})
}

// CoAPthon3 1.0.2 deviates: of a long response that follows a long request its client takes the first block
// for the whole.
func TestCoapthonClientPosts(t *testing.T) {
	t.Parallel()
	command := requireCoapthon(t, "coapthon_client.py")
	x := transfer{method: message.POST, path: "/reversed", length: 3000}
	d := x.start(t, loopback4)
	request, saved := x.request(t, d.base)
	results := runScript(t, command, request)
	require.Equal(t, message.Changed.Dotted(), results[0].Code, results[0].Error)
	requireBody(t, reversed(x.body())[:1024], readFile(t, saved))
}

// CoAPthon3 1.0.2 deviates: when our server wants smaller blocks than its client has begun with, the client
// counts on by one, where it should count in the new size (RFC 7959 section 2.3). Our server gives
// the upload up at the first block that claims to be bytes 128 to 255 and is not. The client goes on in spite of
// that, and is told with each block.
func TestCoapthonClientSmallerBlocks(t *testing.T) {
	t.Parallel()
	command := requireCoapthon(t, "coapthon_client.py")
	x := transfer{method: message.PUT, path: "/store", length: 3000, limit: 128}
	d := x.start(t, loopback4)
	request, _ := x.request(t, d.base)
	results := runScript(t, command, request)
	require.Equal(t, message.RequestEntityIncomplete.Dotted(), results[0].Code)
	served, _ := d.endpoint.BlockwiseStats()
	require.EqualValues(t, 16, served.Gaps, "blocks answered with 4.08")
}

// Our client gets, puts and deletes at CoAPthon3's server, which answers at once and separately.
func TestOurClientCoapthonServer(t *testing.T) {
	t.Parallel()
	requireCoapthon(t, "coapthon_server.py")
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startCoapthon(t, host)
		requireExchanges(t, server.base,
			exchangeWith{method: message.GET, target: "/text", code: message.Content, body: hello},
			exchangeWith{method: message.PUT, target: "/text", payload: "bye", code: message.Changed},
			exchangeWith{method: message.GET, target: "/text", code: message.Content, body: "bye"},
			exchangeWith{method: message.DELETE, target: "/text", code: message.Deleted},
			exchangeWith{method: message.GET, target: "/text", code: message.NotFound},
			exchangeWith{method: message.POST, target: "/reversed", payload: "abc", code: message.Changed, body: "cba"},
			exchangeWith{method: message.DELETE, target: "/reversed", code: message.MethodNotAllowed},
			exchangeWith{method: message.GET, target: "/slow", code: message.Content, body: "slow"},
		)
	})
}

// Our client gets long bodies from CoAPthon3's server, in blocks of the size that it asks for.
func TestOurClientCoapthonDownload(t *testing.T) {
	t.Parallel()
	requireCoapthon(t, "coapthon_server.py")
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startCoapthon(t, host)
		want := []byte(strings.Repeat("0123456789abcde", 2000))
		for _, size := range []int{0, 1024, 256} {
			requireDownload(t, size, server.base+"/long", want)
		}
	})
}

// CoAPthon3 1.0.2 deviates: its server takes blocks for those of one body if their messages have the same
// token, though a client is free to choose another for each (RFC 7959 section 3.4). Ours does it the favour to
// keep to one.
func TestOurClientCoapthonUpload(t *testing.T) {
	t.Parallel()
	requireCoapthon(t, "coapthon_server.py")
	server := startCoapthon(t, loopback4)
	// With a proposal for the blocks of the response in the last request it forgets all blocks but that.
	body := []byte(strings.Repeat("0123456789", 1000))
	requireUpload(t, 0, message.PUT, server.base+"/store", body)
	requireDownload(t, 0, server.base+"/store", body)
}
