package interop

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// aiocoapPython is the environment variable that names the Python interpreter of an environment with
// aiocoap. Without it python3 has to have it.
const aiocoapPython = "COAPKIT_AIOCOAP_PYTHON"

// requireAiocoap returns a Python interpreter that has aiocoap. Tried with aiocoap 0.4.17.
func requireAiocoap(t *testing.T) (python string) {
	t.Helper()
	python = os.Getenv(aiocoapPython)
	if python == "" {
		python = requireTool(t, "python3", "python3 (Debian)")
	}
	if !hasAiocoap(python) {
		missing(t, "aiocoap", "aiocoap (pip) for "+python+", or name another interpreter in "+aiocoapPython)
	}
	return python
}

var (
	probed    sync.Mutex
	pythonHas = map[string]bool{}
)

// hasAiocoap reports whether an interpreter has aiocoap. It asks once for all tests.
func hasAiocoap(python string) bool {
	probed.Lock()
	defer probed.Unlock()
	has, asked := pythonHas[python]
	if !asked {
		has = exec.Command(python, "-c", "import aiocoap").Run() == nil
		pythonHas[python] = has
	}
	return has
}

// script returns the path of a program in testdata.
func script(name string) string { return filepath.Join("testdata", name) }

// startAiocoap starts a server with the resources of a site.
func startAiocoap(t *testing.T, host netip.Addr) *peerServer {
	t.Helper()
	return startServer(t, host, requireAiocoap(t), func(addr, port string) []string {
		return []string{script("aiocoap_server.py"), addr, port}
	})
}

// aiocoapRequest is what the client script takes, aiocoapResult what it prints.
type aiocoapRequest struct {
	Method  string   `json:"method"`
	URI     string   `json:"uri"`
	Payload string   `json:"payload"`
	Options [][2]any `json:"options"`
	Non     bool     `json:"non"`
	Wait    float64  `json:"wait"`
}

type aiocoapResult struct {
	Code, Payload, Location, ETag, Error string
	Steps                                []struct {
		Sent              bool
		Type, Code, Token string
		MID               uint16
	}
}

// aiocoapRequestOf returns the request of a scenario.
func aiocoapRequestOf(base string, s *scenario) aiocoapRequest {
	r := aiocoapRequest{
		Method: s.method.Dotted(), URI: base + s.target, Payload: s.payload, Non: s.non,
		Options: [][2]any{}, Wait: patience.Seconds() / 2,
	}
	if s.code == message.Empty {
		r.Wait = 1
	}
	for _, o := range s.options {
		r.Options = append(r.Options, [2]any{o.Number, hex.EncodeToString(o.Value)})
	}
	return r
}

// answer converts what the script says. No response is code Empty.
func (r *aiocoapResult) answer(t *testing.T) answer {
	t.Helper()
	a := answer{body: r.Payload, location: r.Location}
	if r.Code != "" {
		a.code = parseCode(t, r.Code)
	}
	tag, err := hex.DecodeString(r.ETag)
	require.NoError(t, err)
	a.etag = string(tag)
	for _, s := range r.Steps {
		a.steps = append(a.steps, step{
			toServer: s.Sent, typ: typeNamed(t, s.Type), code: parseCode(t, s.Code), id: s.MID, token: s.Token,
		})
	}
	return a
}

func parseCode(t *testing.T, dotted string) message.Code {
	t.Helper()
	c, err := message.ParseCode(dotted)
	require.NoError(t, err)
	return c
}

// runAiocoap has the client send requests, all at the same time, and returns the results in the same
// order.
func runAiocoap(t *testing.T, requests []aiocoapRequest) []aiocoapResult {
	t.Helper()
	args := []string{script("aiocoap_client.py")}
	for _, r := range requests {
		b, err := json.Marshal(r)
		require.NoError(t, err)
		args = append(args, string(b))
	}
	stdout, _ := run(t, requireAiocoap(t), args...)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, len(requests), "results")
	results := make([]aiocoapResult, len(lines))
	for i, l := range lines {
		require.NoError(t, json.Unmarshal([]byte(l), &results[i]), "result %s", l)
	}
	return results
}

// aiocoap's client and our server play the scenarios, each with a server of its own.
func TestAiocoapClientOurServer(t *testing.T) {
	t.Parallel()
	requireAiocoap(t)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		sites := make([]*site, len(scenarios))
		requests := make([]aiocoapRequest, len(scenarios))
		for i := range scenarios {
			sites[i] = startSite(t, host, paramsFor(&scenarios[i]))
			requests[i] = aiocoapRequestOf(sites[i].base, &scenarios[i])
		}
		results := runAiocoap(t, requests)
		for i := range scenarios {
			t.Run(scenarios[i].name, func(t *testing.T) {
				t.Log(results[i].Error)
				scenarios[i].requireSite(t, sites[i], results[i].answer(t))
			})
		}
	})
}

// A method that nobody has defined is answered like one that the resource does not have.
//
// Proves 7252-5.8-01.
func TestAiocoapClientUnknownMethod(t *testing.T) {
	t.Parallel()
	requireAiocoap(t)
	s := scenario{method: message.MakeCode(0, 31), target: "/text", code: message.MethodNotAllowed}
	site := startSite(t, netip.MustParseAddr("127.0.0.1"), paramsFor(&s))
	results := runAiocoap(t, []aiocoapRequest{aiocoapRequestOf(site.base, &s)})
	s.requireSite(t, site, results[0].answer(t))
}

// A client whose server has been closed says so.
func TestAiocoapClientClosedServer(t *testing.T) {
	t.Parallel()
	requireAiocoap(t)
	site := startSite(t, netip.MustParseAddr("127.0.0.1"), coap.Params{})
	require.NoError(t, site.server.Close())
	s := scenario{method: message.GET, target: "/text", code: message.Content}
	results := runAiocoap(t, []aiocoapRequest{aiocoapRequestOf(site.base, &s)})
	require.Empty(t, results[0].Code)
	require.Contains(t, results[0].Error, "NetworkError")
}

// Where aiocoap 0.4.17 deviates from what our server does, by the name of the scenario.
var aiocoapServerDeviates = map[string]func(s *scenario){
	// It explains the code in words, which adds nothing to it (RFC 7252 section 5.5.2).
	"wrong method":                    func(s *scenario) { s.diagnostic = true },
	"wrong method of a slow resource": func(s *scenario) { s.diagnostic = true },
	"NON, wrong method":               func(s *scenario) { s.diagnostic = true },
	// It answers a NON with 4.02, where it should reject it (RFC 7252 section 5.4.1).
	"NON, unknown critical option": func(s *scenario) { s.code, s.diagnostic = message.BadOption, true },
}

// Our client and aiocoap's server play the scenarios, one after the other.
func TestOurClientAiocoapServer(t *testing.T) {
	t.Parallel()
	requireAiocoap(t)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startAiocoap(t, host)
		admin, _ := newClient(t, coap.Params{})
		for _, s := range scenarios {
			if deviate := aiocoapServerDeviates[s.name]; deviate != nil {
				deviate(&s)
			}
			t.Run(s.name, func(t *testing.T) {
				_, err := admin.Put(within(t), server.base+"/text", message.TextPlain, []byte(hello))
				require.NoError(t, err)

				c, wire := newClient(t, coap.Params{})
				resp, err := s.send(t, c, server.base)
				require.NoError(t, err)
				got := answer{code: resp.Code, body: string(resp.Payload)}
				tag, _ := resp.Options.ETag()
				got.etag = string(tag)
				got.location, _ = resp.Options.Location()
				s.require(t, got)

				resp, err = admin.Get(within(t), server.base+"/text")
				require.NoError(t, err)
				text := string(resp.Payload)
				if resp.Code == message.NotFound {
					text = gone
				}
				require.Equal(t, s.wantText(), text, "text of the server afterwards")
				wire.requireAiocoapChart(t, &s)
			})
		}
	})
}

// requireAiocoapChart is like requireChart. A server that is busy for a tenth of a second
// answers separately.
func (r *recorder) requireAiocoapChart(t *testing.T, s *scenario) {
	t.Helper()
	steps, _ := r.until(within(t), func(steps []step) bool { return len(steps) >= len(s.wantChart()) })
	charts := [][]string{s.wantChart()}
	if !s.non {
		charts = append(charts, separateChart(s.method, s.code))
	}
	require.Contains(t, charts, chart(steps), "messages that we saw")
	requireConsistent(t, steps)
}

// The methods of our client make requests that the resources take, which includes that FETCH
// says what format its selection has.
//
// Proves 8132-2.3.1-01.
func TestOurClientAiocoapMethods(t *testing.T) {
	t.Parallel()
	requireAiocoap(t)
	server := startAiocoap(t, netip.MustParseAddr("127.0.0.1"))
	ctx := within(t)
	c, err := coap.Dial(ctx, server.base, nil)
	require.NoError(t, err)
	defer c.Close()
	for _, x := range []struct {
		name string
		call func() (*coap.Response, error)
		code message.Code
		body string
	}{
		{"Put", func() (*coap.Response, error) { return c.Put(ctx, "/text", message.TextPlain, []byte("one")) }, message.Changed, ""},
		{"Get", func() (*coap.Response, error) { return c.Get(ctx, "/text") }, message.Content, "one"},
		{"Fetch", func() (*coap.Response, error) { return c.Fetch(ctx, "/text", message.TextPlain, []byte("2")) }, message.Content, "on"},
		{"Patch", func() (*coap.Response, error) { return c.Patch(ctx, "/text", message.TextPlain, []byte("!")) }, message.Changed, ""},
		{"IPatch", func() (*coap.Response, error) { return c.IPatch(ctx, "/text", message.TextPlain, []byte("O")) }, message.Changed, ""},
		{"Get what was patched", func() (*coap.Response, error) { return c.Get(ctx, "/text") }, message.Content, "One!"},
		{"Post", func() (*coap.Response, error) { return c.Post(ctx, "/jobs", message.TextPlain, []byte("x")) }, message.Created, ""},
		{"Delete", func() (*coap.Response, error) { return c.Delete(ctx, "/text") }, message.Deleted, ""},
		{"Get what was deleted", func() (*coap.Response, error) { return c.Get(ctx, "/text") }, message.NotFound, ""},
	} {
		resp, err := x.call()
		require.NoError(t, err, x.name)
		require.Equal(t, x.code, resp.Code, x.name)
		require.Equal(t, x.body, string(resp.Payload), x.name)
	}
}

// Our ping is answered, and a server that has died is noticed at once.
//
// Proves 7252-4.3-s13, 7252-4.2-s02.
func TestOurClientAiocoapPing(t *testing.T) {
	t.Parallel()
	requireAiocoap(t)
	server := startAiocoap(t, netip.MustParseAddr("127.0.0.1"))
	c, wire := newClient(t, coap.Params{})
	require.NoError(t, c.Ping(within(t), server.base))
	wire.requireChart(t, []string{"> CON 0.00", "< RST 0.00"})

	server.kill()
	_, err := c.Get(within(t), server.base+"/text")
	require.ErrorIs(t, err, coap.ErrUnreachable)
}

// Requests at the same time get each its own response, fast and slow ones mixed, also
// when more of them are under way than NSTART allows by default.
//
// Proves 7252-5.3.1-02, 7252-5.3.2-03.
func TestOurClientAiocoapConcurrent(t *testing.T) {
	t.Parallel()
	requireAiocoap(t)
	server := startAiocoap(t, netip.MustParseAddr("127.0.0.1"))
	c, _ := newClient(t, coap.Params{NStart: 8})
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			target, want := fmt.Sprintf("/echo/%d", i), fmt.Sprintf("/echo/%d", i)
			if i%3 == 0 {
				target, want = "/slow", "slow"
			}
			resp, err := c.Get(within(t), server.base+target)
			if err != nil || string(resp.Payload) != want {
				t.Errorf("GET %s: got %v, %v, want %s", target, resp, err, want)
			}
		})
	}
	wg.Wait()
}
