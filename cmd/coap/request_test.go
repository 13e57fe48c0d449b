package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
)

// TestRequest sends a request for each flag, and looks at what arrives.
func TestRequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "payload")
	require.NoError(t, os.WriteFile(file, []byte("from\x00a file\n"), 0o600))
	h := new(recorder)
	base := startServer(t, h)
	for _, test := range []struct {
		name string
		args string // URI stands for the URI
		in   string
		want string // as describe writes it
	}{
		{"get", "get URI", "", `GET /a con`},
		{"post", "post URI", "", `POST /a con`},
		{"put", "put URI", "", `PUT /a con`},
		{"delete", "delete URI", "", `DELETE /a con`},
		{"fetch", "fetch URI", "", `FETCH /a con`},
		{"patch", "patch URI", "", `PATCH /a con`},
		{"ipatch", "ipatch URI", "", `iPATCH /a con`},
		{"path, query and escapes", "get URI/b%2Fc/?d=%26&e", "", `GET /a/b%2Fc/?d=%26&e con`},

		{"-N", "get -N URI", "", `GET /a non`},
		{"--no-response", "put --no-response URI", "", `PUT /a con No-Response: 26`},
		{"-p before", "put -p hello URI", "", `PUT /a con "hello"`},
		{"-p after", "put URI -p hello", "", `PUT /a con "hello"`},
		{"-p negative", "put URI -p -5", "", `PUT /a con "-5"`},
		{"--payload=", "put URI --payload=a=b", "", `PUT /a con "a=b"`},
		{"-f file", "put URI -f " + file, "", `PUT /a con "from\x00a file\n"`},
		{"-f -", "put -f - URI", "in\r\n", `PUT /a con "in\r\n"`},
		{"-t name", "put URI -t json", "", `PUT /a con Content-Format: 50 (application/json)`},
		{"-t number", "put URI -t 65000", "", `PUT /a con Content-Format: 65000`},
		{"-t with -p", "put -t text URI -p x", "", `PUT /a con Content-Format: 0 (text/plain; charset=utf-8) "x"`},
		{"-a name", "get URI -a cbor", "", `GET /a con Accept: 60 (application/cbor)`},
		{"-a number", "get -a0 URI", "", `GET /a con Accept: 0 (text/plain; charset=utf-8)`},
		{"-B", "get URI -B 60", "", `GET /a con`},

		{"-o string", "get URI -o Uri-Host=Example", "", `GET /a con Uri-Host: "Example"`},
		{"-o uint", "get URI -o Hop-Limit=16", "", `GET /a con Hop-Limit: 16`},
		{"-o zero", "get URI -o Observe=0", "", `GET /a con Observe: 0`},
		{"-o empty", "get URI -o If-None-Match", "", `GET /a con If-None-Match`},
		{"-o empty with =", "get URI -o If-None-Match=", "", `GET /a con If-None-Match`},
		{"-o opaque", "get URI -o etag=0x0102", "", `GET /a con ETag: 0x0102`},
		{"-o opaque, no value", "get URI -o If-Match", "", `GET /a con If-Match: 0x`},
		{"-o repeated", "get URI -o If-Match=0x01 -o If-Match=0x02", "", `GET /a con If-Match: 0x01, If-Match: 0x02`},
		{"-o content format by name", "get URI -o Accept=json", "", `GET /a con Accept: 50 (application/json)`},
		{"-o in place of -a", "get URI -a text -o Accept=json", "", `GET /a con Accept: 50 (application/json)`},
		{"-o adds to the path", "get URI -o Uri-Path=b/c", "", `GET /a/b%2Fc con`},
		{"-o with a comma", "get URI -o Uri-Query=b,c", "", `GET /a?b,c con`},
		{"-o number, text", "get URI -o 65000=abc", "", `GET /a con Option 65000: 0x616263`},
		{"-o number, bytes", "get URI -o 65001=0xCAFE", "", `GET /a con Option 65001: 0xcafe`},
		{"-o number, nothing", "get URI -o 65001", "", `GET /a con Option 65001: 0x`},
		{"-o number, registered", "get URI -o 17=50", "", `GET /a con Accept: 50 (application/json)`},
		{"-o number, wrong length", "get URI -o 3=0x", "", `GET /a con Uri-Host: ""`},
		{"-o number, repeated", "get URI -o 17=0x00 -o 17=0x01", "", `GET /a con Accept: 0 (text/plain; charset=utf-8), Accept: 1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(test.args, "URI", base+"/a"))
			r := runWith(t.Context(), test.in, args...)
			require.Equal(t, exitSuccess, r.status, r.err)
			assert.Equal(t, test.want, describeRequest(h.request()))
		})
	}
}

// describeRequest writes method, target, reliability, options and payload of a request.
func describeRequest(r *coap.Request) string {
	parts := []string{r.Code.String(), r.Options.Target(), "con"}
	if r.NonConfirmable {
		parts[2] = "non"
	}
	if options := describeOptions(&r.Options); options != "" {
		parts = append(parts, options)
	}
	if len(r.Payload) > 0 {
		parts = append(parts, strconv.Quote(string(r.Payload)))
	}
	return strings.Join(parts, " ")
}

func TestOptionErrors(t *testing.T) {
	for arg, want := range map[string]string{
		"uri-pth=x":          `unknown option "uri-pth", did you mean Uri-Path or Uri-Port?`,
		"maxage=1":           `did you mean Max-Age?`,
		"query=a":            `did you mean Uri-Query or Location-Query?`,
		"frobnicate=1":       `unknown option "frobnicate"; known are If-Match, Uri-Host,`,
		"65536=1":            `an option number is at most 65535`,
		"=1":                 `unknown option ""`,
		"Max-Age=soon":       `-o Max-Age=soon: the value is a number`,
		"Max-Age=-1":         `the value is a number`,
		"Max-Age=":           `the value is a number`,
		"Uri-Port=99999":     `-o Uri-Port=99999: the value has 3 bytes, want 0 to 2; write -o 7=0x… to send it all the same`,
		"ETag=abc":           `the value is bytes, write 0x and hexadecimal digits; the text would be 0x616263`,
		"ETag=0xabc":         `after 0x, want an even number of hexadecimal digits`,
		"ETag=0xzz":          `after 0x, want an even number of hexadecimal digits`,
		"ETag=":              `the value has 0 bytes, want 1 to 8`,
		"If-None-Match=yes":  `this option has no value, write -o If-None-Match`,
		"If-None-Match=0x00": `the value has 1 bytes, want 0`,
		"Uri-Host=":          `the value has 0 bytes, want 1 to 255`,
		"Accept=jsn":         `did you mean application/json (50)?`,
		"7=x":                `the value is a number`,
	} {
		r := runCLI(t, "get", "coap://127.0.0.1/", "-o", arg)
		assert.Equal(t, exitUsage, r.status, arg)
		assert.Contains(t, r.firstLine(), want, arg)
		assert.Empty(t, r.out, arg)
	}
	r := runCLI(t, "get", "coap://127.0.0.1/", "-o", "Accept=0", "-o", "Accept=1")
	assert.Equal(t, exitUsage, r.status)
	assert.Contains(t, r.firstLine(), "Accept must not be repeated; write -o 17=… to do it all the same")
}

// TestResponse looks at what becomes of responses: exit status, and what goes where.
func TestResponse(t *testing.T) {
	h := new(recorder)
	uri := startServer(t, h) + "/a"
	for _, test := range []struct {
		name   string
		answer func(w *coap.Response) error
		status int
		out    string
		err    string
	}{
		{"content", func(w *coap.Response) error { return w.Text("hello") }, exitSuccess, "hello",
			"2.05 Content\nContent-Format: 0 (text/plain; charset=utf-8)\n"},
		{"binary body", func(w *coap.Response) error {
			w.Payload = []byte("\x00\xff\x1b[31m\r\n")
			return nil
		}, exitSuccess, "\x00\xff\x1b[31m\r\n", "2.05 Content\n"},
		{"no body", func(w *coap.Response) error { w.SetCode(message.Deleted); return nil }, exitSuccess, "", "2.02 Deleted\n"},
		{"unregistered success", func(w *coap.Response) error { w.SetCode(message.MakeCode(2, 30)); return nil }, exitSuccess, "", "2.30\n"},
		{"diagnostic", func(*coap.Response) error { return &coap.Error{Code: message.NotFound, Diagnostic: "no such thing"} }, 4,
			"no such thing", "4.04 Not Found\n"},
		{"unregistered error", func(*coap.Response) error { return &coap.Error{Code: message.MakeCode(4, 30)} }, 4, "", "4.30\n"},
		{"server error", func(*coap.Response) error { return &coap.Error{Code: message.ServiceUnavailable} }, 5, "", "5.03 Service Unavailable\n"},
		{"options", func(w *coap.Response) error {
			w.SetCode(message.Created)
			w.Options.AddString(message.OptionLocationPath, "a\x1b[2J")
			w.Options.Add(65000, []byte{1, 2})
			return w.SetETag([]byte{0xca, 0xfe})
		}, exitSuccess, "", "2.01 Created\nETag: 0xcafe\nLocation-Path: \"a\\x1b[2J\"\nOption 65000: 0x0102\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.mu.Lock()
			h.answer = test.answer
			h.mu.Unlock()
			for _, non := range [][]string{nil, {"-N"}} {
				r := runCLI(t, append([]string{"get", uri}, non...)...)
				assert.Equal(t, result{test.status, test.out, test.err}, r)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	h := &recorder{answer: func(w *coap.Response) error {
		w.Options.AddUint(message.OptionMaxAge, 300)
		w.Options.AddString(message.OptionLocationPath, "<a>")
		w.Options.Add(65000, []byte{1})
		return w.Text("a \"b\"\n")
	}}
	base := startServer(t, h)
	r := runCLI(t, "get", "--json", base+"/a")
	require.Equal(t, exitSuccess, r.status)
	assert.Equal(t, "2.05 Content", r.firstLine())
	assert.Equal(t, 1, strings.Count(r.out, "\n"))
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	assert.Greater(t, got["elapsed"], 0.0)
	delete(got, "elapsed")
	assert.Equal(t, map[string]any{
		"uri": base + "/a", "peer": strings.TrimPrefix(base, "coap://"), "code": "2.05", "name": "Content",
		"options": []any{
			map[string]any{"number": 8.0, "name": "Location-Path", "value": "3c613e", "decoded": "<a>"},
			map[string]any{"number": 12.0, "name": "Content-Format", "value": "", "decoded": 0.0},
			map[string]any{"number": 14.0, "name": "Max-Age", "value": "012c", "decoded": 300.0},
			map[string]any{"number": 65000.0, "name": "", "value": "01"},
		},
		"payload": "61202262220a", "text": "a \"b\"\n",
	}, got)
}

func TestJSONOfError(t *testing.T) {
	h := &recorder{answer: func(w *coap.Response) error {
		w.Code, w.Payload = message.BadRequest, []byte{0xff}
		return nil
	}}
	r := runCLI(t, "get", "--json", startServer(t, h))
	assert.Equal(t, 4, r.status)
	assert.Contains(t, r.out, `"code":"4.00","name":"Bad Request","options":[],"payload":"ff"}`)
	assert.NotContains(t, r.out, "text")
}

func TestBodyThatCannotBeWritten(t *testing.T) {
	uri := startServer(t, &recorder{answer: func(w *coap.Response) error { return w.Text("x") }})
	for _, args := range [][]string{{"get", uri}, {"get", "--json", uri}, {"decode", "40000001"}, {"decode", "--json", "40000001"}} {
		_, closed := io.Pipe()
		require.NoError(t, closed.Close())
		var errs strings.Builder
		assert.Equal(t, exitUsage, run(t.Context(), args, nil, closed, &errs), args)
		assert.Contains(t, errs.String(), "cannot write the", args)
	}
}

func TestNoAnswer(t *testing.T) {
	reply := func(m message.Message) func([]byte) []byte {
		return func(request []byte) []byte {
			var req message.Message
			if codec.DecodeUDP(request, &req) != nil {
				return nil
			}
			m := m
			m.MessageID, m.Token = req.MessageID, req.Token
			if m.Code == message.Empty {
				m.Token = nil
			}
			b, _ := codec.AppendUDP(nil, &m)
			return b
		}
	}
	critical := message.Message{Type: message.Acknowledgement, Code: message.Content}
	critical.Options.Add(65001, []byte{1})
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"closed port", []string{"get", closedPort(t)}, "nothing listens at 127.0.0.1:"},
		{"closed port, non-confirmable", []string{"get", "-N", closedPort(t)}, "start the server, or check address and port"},
		{"closed port, ping", []string{"ping", closedPort(t)}, "(connection refused)"},
		{"closed port, several pings", []string{"ping", "-c2", "-i0", closedPort(t)}, "(connection refused)"},
		{"silence", []string{"get", "-B", "0.05", silentServer(t)}, "within 50ms: is it running, is the address right? -B waits longer"},
		{"silence, ping", []string{"ping", "-B", "0.05", silentServer(t)}, "within 50ms: is it running"},
		{"only an acknowledgement", []string{"get", "-B", "1", scriptedServer(t, reply(message.Message{Type: message.Acknowledgement}))},
			"is there, but did not answer within 1s: wait longer with -B"},
		{"reset", []string{"get", scriptedServer(t, reply(message.Message{Type: message.Reset}))}, "rejected the message with a Reset"},
		{"critical option", []string{"get", scriptedServer(t, reply(critical))}, "has a critical option that this program does not understand"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := runCLI(t, test.args...)
			assert.Equal(t, exitNoAnswer, r.status)
			assert.Empty(t, r.out)
			assert.Contains(t, r.firstLine(), test.want)
			assert.True(t, strings.HasPrefix(r.err, "coap: "), r.err)
		})
	}
}

// TestEndTexts has the ends that take too long to wait for.
func TestEndTexts(t *testing.T) {
	for end, want := range map[coap.EndError]string{
		coap.ErrNotAcknowledged:    "no answer from S, though the message was repeated",
		coap.ErrNoSeparateResponse: "S acknowledged the request, but never sent the response",
		coap.ErrNotAnswered:        "ask again, or without -N",
		coap.ErrResponseTooLarge:   "the response of S does not fit",
		coap.ErrClosed:             "endpoint closed",
		coap.ErrSessionEnded:       "the secure session with S ended before there was an answer",
	} {
		err := whyNoAnswer(&coap.OpError{Op: "GET", Err: end}, "S", 0, coap.Stats{Sent: 1})
		assert.ErrorContains(t, err, want)
		assert.Equal(t, exitNoAnswer, reportFailure(io.Discard, err))
	}
	err := whyNoAnswer(&coap.OpError{Op: "look up h", Err: &net.DNSError{Err: "no such host", Name: "h"}}, "S", 0, coap.Stats{})
	assert.EqualError(t, err, `no address for host "h" (no such host): check the name, or write an IP address`)
	err = whyNoAnswer(&coap.OpError{Op: "GET", Err: coap.ErrUnreachable, Cause: syscall.EHOSTUNREACH}, "S", 0, coap.Stats{})
	assert.EqualError(t, err, "cannot reach S: no route to host; check the address and the network")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	base := startServer(t, coap.HandlerFunc(func(_ *coap.Response, r *coap.Request) error {
		cancel()
		<-r.Context().Done()
		return nil
	}))
	r := runWith(ctx, "", "get", base)
	assert.Equal(t, result{exitInterrupted, "", "coap: interrupted\n"}, r)

	pipe, _ := io.Pipe() // nothing ever comes
	for _, args := range [][]string{{"put", "-f", "-", base}, {"decode", "-"}} {
		var errs strings.Builder
		assert.Equal(t, exitInterrupted, run(ctx, args, pipe, io.Discard, &errs), args)
		assert.Equal(t, "coap: interrupted\n", errs.String(), args)
	}
	assert.Equal(t, exitInterrupted, runWith(ctx, "", "ping", base).status)
	assert.Equal(t, exitInterrupted, runWith(ctx, "", "demo").status)
}

func TestPing(t *testing.T) {
	base := startServer(t, newResources())
	r := runCLI(t, "ping", base+"/ignored")
	assert.Equal(t, exitSuccess, r.status)
	assert.Regexp(t, `^reply from `+base+` in [0-9]+\.[0-9]{3} ms\n$`, r.out)
	assert.Empty(t, r.err)

	r = runCLI(t, "ping", "-c", "3", "-i", "0", base)
	assert.Equal(t, exitSuccess, r.status)
	assert.Equal(t, 3, strings.Count(r.out, "\n"))
	assert.Equal(t, "3 of 3 answered\n", r.err)

	r = runCLI(t, "ping", "--json", base)
	var got struct {
		URI     string
		Elapsed float64
	}
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	assert.Equal(t, base, got.URI)
	assert.Greater(t, got.Elapsed, 0.0)
}
