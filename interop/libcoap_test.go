package interop

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// The programs of libcoap without DTLS. Tried with libcoap 4.3.1.
const (
	libcoapPackage = "libcoap3-bin (Debian)"
	libcoapClient  = "coap-client-notls"
	libcoapServer  = "coap-server-notls"
)

// startLibcoap starts libcoap's example server, which has these resources:
//
//	/                   GET
//	/.well-known/core   GET
//	/time               GET, PUT, DELETE
//	/async?N            GET, a separate response after N seconds
//	/example_data       GET, PUT
//	all others          made by PUT and POST, then GET, PUT, DELETE
func startLibcoap(t *testing.T, host netip.Addr, more ...string) *peerServer {
	t.Helper()
	return startServer(t, host, requireTool(t, libcoapServer, libcoapPackage), func(addr, port string) []string {
		return append([]string{"-A", addr, "-p", port, "-v", "7", "-d", "10"}, more...)
	})
}

// runLibcoap has libcoap's example client send a request and returns what it says of the
// response. wait is how many seconds it waits for one.
func runLibcoap(t *testing.T, base string, s *scenario, wait int, more ...string) answer {
	t.Helper()
	body := filepath.Join(t.TempDir(), "body")
	method := strings.ToLower(s.method.Name())
	args := []string{"-m", method, "-v", "7", "-B", strconv.Itoa(wait), "-o", body}
	if s.payload != "" {
		args = append(args, "-e", s.payload)
	}
	if s.non {
		args = append(args, "-N")
	}
	for _, o := range s.options {
		value := ""
		if len(o.Value) > 0 {
			value = "0x" + hex.EncodeToString(o.Value)
		}
		args = append(args, "-O", fmt.Sprintf("%d,%s", o.Number, value))
	}
	args = append(args, more...)
	stdout, stderr := run(t, requireTool(t, libcoapClient, libcoapPackage), append(args, base+s.target)...)

	a := readLibcoapLog(t, stdout)
	switch payload, err := os.ReadFile(body); {
	case err == nil:
		a.body = string(payload)
	case a.code.IsError():
		// "4.02 critical option 65001 is not understood"
		require.Contains(t, stderr, a.code.Dotted(), "errors that the client shows")
		_, diagnostic, _ := strings.Cut(stderr, a.code.Dotted())
		a.body = strings.TrimSpace(diagnostic)
	}
	return a
}

// libcoapMessage matches a message in the log, after the line that says that it went over the wire:
//
//	Nov 23 08:15:22.148 DEBG *  127.0.0.1:38337 <-> 127.0.0.1:45683 UDP : received 5 bytes
//	v:1 t:ACK c:2.04 i:fb1b {01} [ ETag:0x01, Max-Age:0 ] :: 'payload'
var libcoapMessage = regexp.MustCompile(`(sent|received) \d+ bytes\nv:1 t:([A-Z]+) c:(\S+) i:([0-9a-f]{4}) \{([0-9a-f]*)\} \[ (.*?)\](?: ::.*)?\n`)

// readLibcoapLog reads the messages in the log of a client. The last response is the answer.
func readLibcoapLog(t *testing.T, log string) answer {
	t.Helper()
	var a answer
	for _, m := range libcoapMessage.FindAllStringSubmatch(log, -1) {
		id, err := strconv.ParseUint(m[4], 16, 16)
		require.NoError(t, err, "message ID in the log")
		code, err := message.ParseCode(m[3])
		require.NoError(t, err, "code in the log")
		a.steps = append(a.steps, step{
			toServer: m[1] == "sent", typ: typeNamed(t, m[2]), code: code, id: uint16(id), token: m[5],
		})
		if code.IsResponse() {
			a.code = code
			a.readLibcoapOptions(t, m[6])
		}
	}
	return a
}

// readLibcoapOptions reads the options of a response: "ETag:0x68656c6c6f, Location-Path:jobs ".
func (a *answer) readLibcoapOptions(t *testing.T, options string) {
	t.Helper()
	path, query := "", ""
	for o := range strings.SplitSeq(strings.TrimSpace(options), ", ") {
		switch name, value, _ := strings.Cut(o, ":"); name {
		case "ETag":
			tag, err := hex.DecodeString(strings.TrimPrefix(value, "0x"))
			require.NoError(t, err, "ETag in the log")
			a.etag = string(tag)
		case "Location-Path":
			path += "/" + value
		case "Location-Query":
			query = "?" + value
		}
	}
	a.location = path + query
}

func typeNamed(t *testing.T, name string) message.Type {
	t.Helper()
	for typ := message.Confirmable; typ <= message.Reset; typ++ {
		if typ.String() == name {
			return typ
		}
	}
	t.Fatalf("%q is no message type", name)
	return 0
}

// What libcoap's client cannot send, by the name of the scenario.
var libcoapClientCannot = map[string]string{
	"Proxy-Scheme": "it sends the request to the default port then",
}

// libcoap's client and our server play the scenarios.
func TestLibcoapClientOurServer(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapClient, libcoapPackage)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				if why := libcoapClientCannot[s.name]; why != "" {
					t.Skip(why)
				}
				site := startSite(t, host, paramsFor(&s))
				wait := 10
				if s.code == message.Empty {
					wait = 1
				}
				s.requireSite(t, site, runLibcoap(t, site.base, &s, wait))
			})
		}
	})
}

// Tokens of up to 8 bytes come back from our server, in piggybacked and in separate responses.
// libcoap 4.3.1 cuts off longer ones.
//
// Proves 7252-5.3.1-01, 7252-3-s19, 7252-5.3.1-s02.
func TestLibcoapClientTokens(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapClient, libcoapPackage)
	for _, token := range []string{"a", "ab", "abcd", "abcdefg", "abcdefgh"} {
		for _, target := range []string{"/text", "/slow"} {
			t.Run(token+target, func(t *testing.T) {
				t.Parallel()
				site := startSite(t, netip.MustParseAddr("127.0.0.1"), coap.Params{EmptyAckDelay: 10 * time.Millisecond})
				got := runLibcoap(t, site.base, &scenario{method: message.GET, target: target}, 10, "-T", token)
				require.Equal(t, message.Content, got.code)
				requireConsistent(t, got.steps)
				// libcoap counts up from the token that it was given.
				require.Len(t, got.steps[0].token, 2*len(token), "token in hexadecimal")
			})
		}
	}
}

// An option whose value is too long counts as unknown.
//
// Proves 7252-5.4.3-01.
func TestLibcoapClientOptionTooLong(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapClient, libcoapPackage)
	s := scenario{
		method: message.PUT, target: "/text", payload: "bye", options: []message.Option{{Number: message.OptionIfNoneMatch, Value: []byte{1}}},
		code: message.BadOption, diagnostic: true,
	}
	site := startSite(t, netip.MustParseAddr("127.0.0.1"), paramsFor(&s))
	s.requireSite(t, site, runLibcoap(t, site.base, &s, 10))
}

// A client that hears nothing for a second asks whether our server is still alive, and it is.
//
// Proves 7252-4.2-01, 7252-4.2-03, 7252-4.3-s13.
func TestLibcoapClientKeepAlive(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapClient, libcoapPackage)
	site := startSite(t, netip.MustParseAddr("127.0.0.1"), coap.Params{EmptyAckDelay: -1})
	s := scenario{method: message.GET, target: "/after-ping", code: message.Content, body: "slow"}
	got := runLibcoap(t, site.base, &s, 15, "-K", "1")
	s.require(t, got)
	require.Contains(t, chart(got.steps), "> CON 0.00", "ping in the log of the client")
	require.Contains(t, chart(got.steps), "< RST 0.00", "answer to the ping in the log of the client")
	requireConsistent(t, got.steps)
	require.Positive(t, site.server.Stats().Pings)
}

// A client that goes away does not keep our server busy: its separate response is sent again,
// but not for ever.
//
// Proves 7252-4.2-s09.
func TestLibcoapClientGoesAway(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapClient, libcoapPackage)
	site := startSite(t, netip.MustParseAddr("127.0.0.1"), coap.Params{AckTimeout: 100 * time.Millisecond, EmptyAckDelay: -1})
	s := scenario{method: message.GET, target: "/slow", code: message.Content, body: "slow"}
	// The client does not send its second message, the acknowledgement of the response.
	got := runLibcoap(t, site.base, &s, 10, "-l", "2")
	s.require(t, got)
	require.NoError(t, site.server.Shutdown(within(t)))
	stats := site.server.Stats()
	require.Positive(t, stats.Retransmitted, "copies of the response")
	require.EqualValues(t, 1, stats.LostResponses, "responses that were not acknowledged")
}

// A client whose server has been closed says so.
func TestLibcoapClientClosedServer(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapClient, libcoapPackage)
	site := startSite(t, netip.MustParseAddr("127.0.0.1"), coap.Params{})
	require.NoError(t, site.server.Close())
	got := runLibcoap(t, site.base, &scenario{method: message.GET, target: "/text"}, 1)
	require.Equal(t, message.Empty, got.code)
	require.Equal(t, []string{"> CON 0.01"}, chart(got.steps))
}

// What libcoap's server answers to our client.
func TestOurClientLibcoapServer(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	unknown := func(n message.OptionNumber) []message.Option { return []message.Option{{Number: n, Value: []byte{1}}} }
	exchanges := []struct {
		scenario
		err   error
		after string // what the payload has to contain
	}{
		{scenario: scenario{name: "GET", method: message.GET, target: "/", code: message.Content}, after: "made with libcoap"},
		{scenario: scenario{name: "discovery", method: message.GET, target: "/.well-known/core", code: message.Content}, after: "</async>"},
		{scenario: scenario{name: "query", method: message.GET, target: "/time?ticks", code: message.Content}},
		{scenario: scenario{name: "PUT", method: message.PUT, target: "/time", payload: "1", code: message.Changed}},
		{scenario: scenario{name: "POST", method: message.POST, target: "/posted", payload: "x", code: message.Created, location: "/posted"}},
		// Proves 7252-3.1-s21.
		{scenario: scenario{name: "long segment", method: message.GET, target: "/" + strings.Repeat("s", 255), code: message.NotFound}},
		{scenario: scenario{name: "unknown path", method: message.GET, target: "/nothing", code: message.NotFound}},
		{scenario: scenario{name: "wrong method", method: message.DELETE, target: "/", code: message.MethodNotAllowed}},
		{scenario: scenario{name: "FETCH, which it does not have", method: message.FETCH, target: "/", payload: "x", code: message.MethodNotAllowed}},
		{scenario: scenario{name: "PATCH, which it does not have", method: message.PATCH, target: "/", payload: "x", code: message.MethodNotAllowed}},
		{scenario: scenario{name: "iPATCH, which it does not have", method: message.IPATCH, target: "/", payload: "x", code: message.MethodNotAllowed}},
		{scenario: scenario{name: "bad request", method: message.GET, target: "/async?0", code: message.BadRequest}},
		{scenario: scenario{name: "unknown elective option", method: message.GET, target: "/", options: unknown(65000), code: message.Content}},
		{scenario: scenario{
			name: "Proxy-Uri", method: message.GET, target: "/", code: message.ProxyingNotSupported,
			options: []message.Option{{Number: message.OptionProxyURI, Value: []byte("coap://[2001:db8::1]/")}},
		}},
		{scenario: scenario{name: "NON", method: message.GET, target: "/", non: true, code: message.Content}},
		{scenario: scenario{name: "NON, unknown path", method: message.GET, target: "/nothing", non: true, code: message.NotFound}},

		// Proves 7252-5.2.1-01, 7252-5.2.2-03, 7252-4.2-01, 7252-4.2-02, 7252-5.3.2-03.
		{
			scenario: scenario{
				name: "separate response", method: message.GET, target: "/async?1", code: message.Content,
				chart: separateChart(message.GET, message.Content),
			},
			after: "done",
		},
		// Proves 7252-4.3-02.
		{
			scenario: scenario{
				name: "separate response to a NON", method: message.GET, target: "/async?1", non: true, code: message.Content,
				chart: []string{"> NON 0.01", "< NON 2.05"},
			},
			after: "done",
		},

		// libcoap 4.3.1 deviates: it copies the option that it does not understand into its
		// 4.02. There our client does not understand it either, as it is critical, and
		// has to reject the response.
		//
		// Proves 7252-5.4.1-04.
		{
			scenario: scenario{
				name: "unknown critical option", method: message.GET, target: "/", options: unknown(65001), code: message.BadOption,
			},
			err: coap.ErrBadOption,
		},
		{
			scenario: scenario{
				name: "NON, unknown critical option", method: message.GET, target: "/", non: true, options: unknown(65001),
				chart: []string{"> NON 0.01", "< RST 0.00"},
			},
			err: coap.ErrReset,
		},
	}
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startLibcoap(t, host)
		for _, x := range exchanges {
			t.Run(x.name, func(t *testing.T) {
				t.Parallel()
				c, wire := newClient(t, coap.Params{})
				resp, err := x.send(t, c, server.base)
				wire.requireChart(t, x.wantChart())
				require.ErrorIs(t, err, x.err)
				if err != nil {
					return
				}
				location, _ := resp.Options.Location()
				require.Equal(t, x.location, location, "location")
				require.Equal(t, x.code, resp.Code)
				require.Contains(t, string(resp.Payload), x.after, "payload")
			})
		}
	})
}

// send has a client of ours send the request of a scenario.
func (s *scenario) send(t *testing.T, c *coap.Client, base string) (*coap.Response, error) {
	t.Helper()
	req, err := coap.NewRequest(s.method, base+s.target)
	require.NoError(t, err)
	req.Payload, req.NonConfirmable = []byte(s.payload), s.non
	for _, o := range s.options {
		req.Options.Add(o.Number, o.Value)
	}
	resp := new(coap.Response)
	return resp, c.Do(within(t), req, resp)
}

// A resource of libcoap's server is made, read, changed and deleted by our client.
func TestOurClientLibcoapLifecycle(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startLibcoap(t, host)
		c, _ := newClient(t, coap.Params{})
		for _, s := range []struct {
			method        message.Code
			payload, body string
			code          message.Code
		}{
			{method: message.GET, code: message.NotFound, body: "Not Found"},
			{method: message.PUT, payload: "one", code: message.Created},
			{method: message.GET, code: message.Content, body: "one"},
			{method: message.PUT, payload: "two", code: message.Changed},
			{method: message.GET, code: message.Content, body: "two"},
			{method: message.DELETE, code: message.Deleted},
			{method: message.GET, code: message.NotFound, body: "Not Found"},
		} {
			resp, err := (&scenario{method: s.method, target: "/a/b", payload: s.payload}).send(t, c, server.base)
			require.NoError(t, err)
			require.Equal(t, s.code, resp.Code, "%v", s.method)
			require.Equal(t, s.body, string(resp.Payload), "%v", s.method)
		}
	})
}

// Our ping is answered, and a server that has died is noticed at once.
//
// Proves 7252-4.3-s13, 7252-4.2-s02.
func TestOurClientLibcoapPing(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startLibcoap(t, host)
		c, wire := newClient(t, coap.Params{})
		require.NoError(t, c.Ping(within(t), server.base))
		wire.requireChart(t, []string{"> CON 0.00", "< RST 0.00"})

		server.kill()
		require.ErrorIs(t, c.Ping(within(t), server.base), coap.ErrUnreachable)
		_, err := c.Get(within(t), server.base+"/")
		require.ErrorIs(t, err, coap.ErrUnreachable)
	})
}

// What libcoap's server does not get across is asked for again. It does not send its second
// message; the first one says that it is ready.
func TestOurClientLibcoapLoss(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	for _, x := range []struct {
		name, target string
		params       coap.Params
		chart        []string
		copies       bool
	}{
		// Proves 7252-4.2-s09.
		{
			name: "piggybacked response", target: "/", params: coap.Params{AckTimeout: 200 * time.Millisecond},
			chart: usualChart(false, message.GET, message.Content), copies: true,
		},
		// Proves 7252-5.2.2-s15.
		{
			name: "acknowledgement before a separate response", target: "/async?1", params: coap.Params{AckTimeout: 5 * time.Second},
			chart: []string{"> CON 0.01", "< CON 2.05", "> ACK 0.00"},
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			server := startLibcoap(t, netip.MustParseAddr("127.0.0.1"), "-l", "2")
			c, wire := newClient(t, x.params)
			resp, err := c.Get(within(t), server.base+x.target)
			require.NoError(t, err)
			require.Equal(t, message.Content, resp.Code)
			wire.requireChart(t, x.chart)
			require.Equal(t, x.copies, c.Stats().Retransmitted > 0, "request sent again")
		})
	}
}

// libcoap 4.3.1 deviates: its example server acknowledges the DELETE of /time and never answers.
// Our client gives up when it was told to.
func TestOurClientLibcoapNeverAnswers(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	server := startLibcoap(t, netip.MustParseAddr("127.0.0.1"))

	c, wire := newClient(t, coap.Params{ResponseTimeout: 100 * time.Millisecond})
	_, err := c.Delete(within(t), server.base+"/time")
	require.ErrorIs(t, err, coap.ErrNoSeparateResponse)
	wire.requireChart(t, []string{"> CON 0.04", "< ACK 0.00"})

	c, wire = newClient(t, coap.Params{})
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		wire.until(ctx, contains("< ACK 0.00"))
		cancel()
	}()
	_, err = c.Delete(ctx, server.base+"/time")
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, c.Ping(within(t), server.base), "after a request was given up")
}

// libcoap 4.3.1 deviates: its example server changes a resource that exists in spite of
// If-None-Match, where it should answer 4.12 (RFC 7252 section 5.10.8.2), or 4.02.
func TestOurClientLibcoapIfNoneMatch(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	server := startLibcoap(t, netip.MustParseAddr("127.0.0.1"))
	c, _ := newClient(t, coap.Params{})
	s := scenario{method: message.PUT, target: "/once", payload: "x", options: []message.Option{{Number: message.OptionIfNoneMatch}}}
	resp, err := s.send(t, c, server.base)
	require.NoError(t, err)
	require.Equal(t, message.Created, resp.Code)
	resp, err = s.send(t, c, server.base)
	require.NoError(t, err)
	require.Contains(t, []message.Code{message.Changed, message.PreconditionFailed}, resp.Code)
}
