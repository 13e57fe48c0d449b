package interop

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// nodeModules is the environment variable that names the folder node_modules which has node-coap.
// Without it the folders of NODE_PATH are looked into.
const nodeModules = "COAPKIT_NODE_MODULES"

// requireNode returns the command that runs a script with node-coap. Tried with node-coap 1.5.0
// and Node.js 20.
func requireNode(t *testing.T, name string) (command []string) {
	t.Helper()
	node := requireTool(t, "node", "nodejs (Debian)")
	folders := filepath.SplitList(os.Getenv("NODE_PATH"))
	if folder := os.Getenv(nodeModules); folder != "" {
		folders = []string{folder}
	}
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "coap", "package.json")); err == nil {
			folder, err = filepath.Abs(folder)
			if err == nil {
				return []string{node, script(name), folder}
			}
		}
	}
	missing(t, "node-coap", "coap (npm), and name its folder node_modules in "+nodeModules)
	return nil
}

// startNode starts a server with the resources that node_server.js lists.
func startNode(t *testing.T, host netip.Addr) *peerServer {
	t.Helper()
	command := requireNode(t, "node_server.js")
	return startServer(t, host, command[0], func(addr, port string) []string {
		return append(slices.Clone(command[1:]), addr, port)
	})
}

// played are the scenarios that scripts which only know texts and paths can play.
var played = []string{
	"GET", "GET without payload", "GET with 1024 bytes", "long segment",
	"PUT", "DELETE", "unknown path", "wrong method", "separate response", "NON", "NON PUT", "NON, unknown path",
}

// requirePlayed has a client script play scenarios with our server, each with a site of its own.
// cannot says what the peer cannot do, by the name of the scenario.
func requirePlayed(t *testing.T, host netip.Addr, command []string, cannot map[string]string) {
	t.Helper()
	chosen := slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool {
		return !slices.Contains(played, s.name) || cannot[s.name] != ""
	})
	sites := make([]*site, len(chosen))
	requests := make([]scriptRequest, len(chosen))
	for i := range chosen {
		sites[i] = startSite(t, host, paramsFor(&chosen[i]))
		requests[i].aiocoapRequest = aiocoapRequestOf(sites[i].base, &chosen[i])
	}
	results := runScript(t, command, requests...)
	for i := range chosen {
		t.Run(chosen[i].name, func(t *testing.T) {
			require.Empty(t, results[i].Error)
			chosen[i].require(t, results[i].answer(t))
			sites[i].wire.requireChart(t, chosen[i].wantChart())
			text, ok := sites[i].current()
			if !ok {
				text = gone
			}
			require.Equal(t, chosen[i].wantText(), text, "text of the site afterwards")
		})
	}
}

// node-coap's client plays scenarios with our server.
func TestNodeClientOurServer(t *testing.T) {
	t.Parallel()
	command := requireNode(t, "node_client.js")
	onEachHost(t, func(t *testing.T, host netip.Addr) { requirePlayed(t, host, command, nil) })
}

// node-coap's client gets, puts and posts long bodies. It cuts a request only if it is told how.
func TestNodeClientBlocks(t *testing.T) {
	t.Parallel()
	command := requireNode(t, "node_client.js")
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		requireTransfers(t, host, command,
			transfer{method: message.GET, path: "/store", length: 100 << 10},
			transfer{method: message.GET, path: "/store", length: 20000, ask: 64},
			transfer{method: message.GET, path: "/store", length: 5000, limit: 32},
			transfer{method: message.PUT, path: "/store", length: 100 << 10, ask: 1024},
			transfer{method: message.PUT, path: "/store", length: 20000, ask: 64},
			transfer{method: message.PUT, path: "/store", length: 5000, ask: 1024, limit: 32},
			transfer{method: message.PUT, path: "/stream", length: 100 << 10, ask: 1024},
			transfer{method: message.POST, path: "/reversed", length: 100 << 10, ask: 1024},
		)
	})
}

// exchangeWith is a request of our client to a server script, and what it answers.
type exchangeWith struct {
	method        message.Code
	target        string
	payload, body string
	code          message.Code
}

// requireExchanges has our client send requests, one after the other.
func requireExchanges(t *testing.T, base string, exchanges ...exchangeWith) {
	t.Helper()
	c, _ := newClient(t, coap.Params{})
	for _, x := range exchanges {
		resp, err := (&scenario{method: x.method, target: x.target, payload: x.payload}).send(t, c, base)
		require.NoError(t, err, "%v %s", x.method, x.target)
		require.Equal(t, x.code, resp.Code, "%v %s", x.method, x.target)
		require.Equal(t, x.body, string(resp.Payload), "%v %s", x.method, x.target)
	}
}

// Our client gets, puts and deletes at node-coap's server, which answers at once and separately.
func TestOurClientNodeServer(t *testing.T) {
	t.Parallel()
	requireNode(t, "node_server.js")
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startNode(t, host)
		requireExchanges(t, server.base,
			exchangeWith{method: message.GET, target: "/text", code: message.Content, body: hello},
			exchangeWith{method: message.PUT, target: "/text", payload: "bye", code: message.Changed},
			exchangeWith{method: message.GET, target: "/text", code: message.Content, body: "bye"},
			exchangeWith{method: message.DELETE, target: "/text", code: message.Deleted},
			exchangeWith{method: message.GET, target: "/text", code: message.NotFound},
			exchangeWith{method: message.PUT, target: "/text", payload: "again", code: message.Created},
			exchangeWith{method: message.GET, target: "/echo/a/b?c=d", code: message.Content, body: "/echo/a/b?c=d"},
			exchangeWith{method: message.POST, target: "/text", payload: "x", code: message.MethodNotAllowed},
			exchangeWith{method: message.POST, target: "/reversed", payload: "abc", code: message.Changed, body: "cba"},
			exchangeWith{method: message.GET, target: "/slow", code: message.Content, body: "slow"},
		)
	})
}

// Our client gets long bodies from node-coap's server, in blocks of the size that it asks for.
func TestOurClientNodeDownload(t *testing.T) {
	t.Parallel()
	requireNode(t, "node_server.js")
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startNode(t, host)
		want := []byte(strings.Repeat("0123456789abcdef", 100<<10/16))
		for _, size := range []int{0, 1024, 256} {
			requireDownload(t, size, server.base+"/long", want)
		}
	})
}

// node-coap 1.5.0 deviates: its server takes blocks for those of one body if their messages have the
// same token, though a client is free to choose another for each (RFC 7959 section 3.4). Ours does it the
// favour to keep to one.
func TestOurClientNodeUpload(t *testing.T) {
	t.Parallel()
	requireNode(t, "node_server.js")
	server := startNode(t, loopback4)
	for _, size := range []int{0, 64} {
		body := longBody(20_000)
		requireUpload(t, size, message.PUT, server.base+"/store", body)
		requireDownload(t, size, server.base+"/store", body)
	}

	// It takes a body that fits one message from the same client.
	requireExchanges(t, server.base,
		exchangeWith{method: message.PUT, target: "/store", payload: strings.Repeat("x", 1024), code: message.Changed},
		exchangeWith{method: message.GET, target: "/store", code: message.Content, body: strings.Repeat("x", 1024)},
	)
}
