package interop

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/message"
)

// scenario is a request to a site, and what has to come of it. The same ones are played by clients of
// others with our server, and by our client with servers of others.
type scenario struct {
	name    string
	method  message.Code
	target  string // path and query
	payload string
	options []message.Option // besides those of the URI
	non     bool             // Non-confirmable

	code       message.Code // Empty: no response
	body       string       // payload of the response
	diagnostic bool         // body does not matter, but there has to be a payload
	location   string
	etag       string
	text       string   // what /text holds afterwards, if not hello
	chart      []string // the messages, if not as usual
}

// gone stands for a text that does not exist.
const gone = "(gone)"

// scenarios are played in their order, with /text reset to hello before each.
var scenarios = []scenario{
	{name: "GET", method: message.GET, target: "/text", code: message.Content, body: hello, etag: hello},
	{name: "GET of the root", method: message.GET, target: "/", code: message.Content, body: "root"},
	{name: "GET without payload", method: message.GET, target: "/empty", code: message.Content},
	// Proves 7252-3-s38.
	{name: "GET with 1024 bytes", method: message.GET, target: "/long", code: message.Content, body: strings.Repeat("x", 1024)},
	// Proves 7252-6.4-s14, 7252-6.4-s15, 7252-6.5-s15, 7252-6.5-s17, 7252-5.10.1-s15.
	{
		name: "path and query of any characters", method: message.GET, target: "/echo/a%2Fb/%C3%A9%20%25?x=1&y=%26",
		code: message.Content, body: "/echo/a%2Fb/%C3%A9%20%25?x=1&y=%26",
	},
	// Proves 7252-3.1-s21.
	{
		name: "long segment", method: message.GET, target: "/echo/" + strings.Repeat("s", 80),
		code: message.Content, body: "/echo/" + strings.Repeat("s", 80),
	},
	{
		name: "Uri-Host", method: message.GET, target: "/text", options: []message.Option{{Number: message.OptionURIHost, Value: []byte("localhost")}},
		code: message.Content, body: hello, etag: hello,
	},

	{name: "PUT", method: message.PUT, target: "/text", payload: "bye", code: message.Changed, text: "bye"},
	{
		name: "PUT of a format that nobody knows", method: message.PUT, target: "/text", payload: "bye",
		options: []message.Option{{Number: message.OptionContentFormat, Value: []byte{0xfd, 0xe8}}},
		code:    message.Changed, text: "bye",
	},
	{name: "DELETE", method: message.DELETE, target: "/text", code: message.Deleted, text: gone},
	// Proves 7252-5.9.1.1-s03, 7252-5.10.7-s09.
	{name: "POST", method: message.POST, target: "/jobs", payload: "work", code: message.Created, location: "/jobs/7?new"},
	{
		name: "FETCH", method: message.FETCH, target: "/text", payload: "2", options: []message.Option{{Number: message.OptionContentFormat}},
		code: message.Content, body: "he",
	},
	{name: "FETCH without Content-Format", method: message.FETCH, target: "/text", payload: "2", code: message.BadRequest, diagnostic: true},
	{name: "PATCH", method: message.PATCH, target: "/text", payload: "!", code: message.Changed, text: "hello!"},
	{name: "iPATCH", method: message.IPATCH, target: "/text", payload: "J", code: message.Changed, text: "Jello"},

	// Proves 7252-5.5.2-02.
	{name: "unknown path", method: message.GET, target: "/nothing", code: message.NotFound},
	// Proves 7252-5.8-01, 7252-5.5.2-02.
	{name: "wrong method", method: message.POST, target: "/text", payload: "x", code: message.MethodNotAllowed},
	{name: "wrong method of a slow resource", method: message.DELETE, target: "/slow", code: message.MethodNotAllowed},
	// Proves 7252-5.5.2-02.
	{name: "failure", method: message.GET, target: "/fails", code: message.InternalServerError},

	// Proves 7252-5.4.1-02, 7252-5.4.1-03, 7252-5.4.6-s05.
	{
		name: "unknown critical option", method: message.GET, target: "/text", options: []message.Option{{Number: 65001, Value: []byte{1}}},
		code: message.BadOption, diagnostic: true,
	},
	// Proves 7252-5.4.1-01.
	{
		name: "unknown elective option", method: message.GET, target: "/text", options: []message.Option{{Number: 65000, Value: []byte{1}}},
		code: message.Content, body: hello, etag: hello,
	},
	// Proves 7252-5.10.2-03, 7252-5.7.2-01.
	{
		name: "Proxy-Uri", method: message.GET, target: "/text", options: []message.Option{{Number: message.OptionProxyURI, Value: []byte("coap://[2001:db8::1]/")}},
		code: message.ProxyingNotSupported,
	},
	// Proves 7252-5.7.2-01.
	{
		name: "Proxy-Scheme", method: message.GET, target: "/text", options: []message.Option{{Number: message.OptionProxyScheme, Value: []byte("http")}},
		code: message.ProxyingNotSupported,
	},

	{
		name: "Accept what there is", method: message.GET, target: "/text", options: []message.Option{{Number: message.OptionAccept}},
		code: message.Content, body: hello, etag: hello,
	},
	// Proves 7252-5.10.4-01.
	{
		name: "Accept something else", method: message.GET, target: "/text", options: []message.Option{{Number: message.OptionAccept, Value: []byte{50}}},
		code: message.NotAcceptable,
	},
	// Proves 7252-5.9.1.3-01, 7252-5.10.6.2-s02.
	{
		name: "ETag that is valid", method: message.GET, target: "/text",
		options: []message.Option{{Number: message.OptionETag, Value: []byte("other")}, {Number: message.OptionETag, Value: []byte(hello)}},
		code:    message.Valid, etag: hello,
	},
	{
		name: "ETag that is not", method: message.GET, target: "/text", options: []message.Option{{Number: message.OptionETag, Value: []byte("other")}},
		code: message.Content, body: hello, etag: hello,
	},

	// Proves 7252-5.10.8.1-s04, 7252-5.10.8.1-s07.
	{
		name: "If-Match of the ETag", method: message.PUT, target: "/text", payload: "bye",
		options: []message.Option{{Number: message.OptionIfMatch, Value: []byte("other")}, {Number: message.OptionIfMatch, Value: []byte(hello)}},
		code:    message.Changed, text: "bye",
	},
	// Proves 7252-5.10.8.1-s05.
	{
		name: "If-Match of anything", method: message.PUT, target: "/text", payload: "bye", options: []message.Option{{Number: message.OptionIfMatch}},
		code: message.Changed, text: "bye",
	},
	// Proves 7252-5.10.8-01, 7252-5.10.8-02, 7252-5.10.8.1-s08.
	{
		name: "If-Match of another ETag", method: message.PUT, target: "/text", payload: "bye",
		options: []message.Option{{Number: message.OptionIfMatch, Value: []byte("other")}},
		code:    message.PreconditionFailed,
	},
	// Proves 7252-5.10.8-01, 7252-5.10.8-02, 7252-5.10.8.2-s04.
	{
		name: "If-None-Match", method: message.PUT, target: "/text", payload: "bye", options: []message.Option{{Number: message.OptionIfNoneMatch}},
		code: message.PreconditionFailed,
	},
	{
		name: "If-None-Match where it is not understood", method: message.GET, target: "/slow", options: []message.Option{{Number: message.OptionIfNoneMatch}},
		code: message.BadOption, diagnostic: true,
	},

	// Proves 7252-5.2.1-01, 7252-5.2.2-s10, 7252-5.2.2-01, 7252-5.2.2-03, 7252-4.2-01, 7252-4.2-02.
	{
		name: "separate response", method: message.GET, target: "/slow", code: message.Content, body: "slow",
		chart: separateChart(message.GET, message.Content),
	},
	// Proves 7252-4.3-02, 7252-5.2.2-s03, 7252-5.2.3-01.
	{name: "NON", method: message.GET, target: "/text", non: true, code: message.Content, body: hello, etag: hello},
	{name: "NON, slow", method: message.GET, target: "/slow", non: true, code: message.Content, body: "slow"},
	{name: "NON PUT", method: message.PUT, target: "/text", payload: "bye", non: true, code: message.Changed, text: "bye"},
	{name: "NON, unknown path", method: message.GET, target: "/nothing", non: true, code: message.NotFound},
	{name: "NON, wrong method", method: message.POST, target: "/text", payload: "x", non: true, code: message.MethodNotAllowed},
	// Proves 7252-4.3-04, 7252-5.4.1-05.
	{
		name: "NON, unknown critical option", method: message.PUT, target: "/text", payload: "bye", non: true,
		options: []message.Option{{Number: 65001, Value: []byte{1}}},
	},
}

// wantChart returns the messages of the scenario.
func (s *scenario) wantChart() []string {
	if s.chart != nil {
		return s.chart
	}
	return usualChart(s.non, s.method, s.code)
}

// wantText returns what /text holds afterwards.
func (s *scenario) wantText() string {
	if s.text == "" {
		return hello
	}
	return s.text
}

// answer is what a client of others says that it got.
type answer struct {
	code     message.Code // Empty: no response
	body     string
	location string
	etag     string
	steps    []step // that it has logged
}

// require checks an answer against the scenario.
func (s *scenario) require(t *testing.T, got answer) {
	t.Helper()
	require.Equal(t, s.code, got.code, "code of the response")
	if s.diagnostic {
		require.NotEmpty(t, got.body, "diagnostic payload")
	} else {
		require.Equal(t, s.body, got.body, "payload")
	}
	require.Equal(t, s.location, got.location, "location")
	require.Equal(t, s.etag, got.etag, "ETag")
}

// requireSite checks a client of others, and our site that it has talked to.
func (s *scenario) requireSite(t *testing.T, site *site, got answer) {
	t.Helper()
	s.require(t, got)
	require.Equal(t, s.wantChart(), chart(got.steps), "messages in the log of the client")
	requireConsistent(t, got.steps)
	site.wire.requireChart(t, s.wantChart())
	text, ok := site.current()
	if !ok {
		text = gone
	}
	require.Equal(t, s.wantText(), text, "text of the site afterwards")
}
