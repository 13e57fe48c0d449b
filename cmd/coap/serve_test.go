package main

import (
	"context"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// served is a run of "coap serve".
type served struct {
	base   string
	cancel context.CancelFunc
	status chan int

	mu    sync.Mutex
	more  *sync.Cond // log has grown, or ended is true
	log   string     // standard error
	ended bool
}

// serving runs "coap serve" with args until stop is called.
func serving(t *testing.T, args ...string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := &served{cancel: cancel, status: make(chan int, 1)}
	s.more = sync.NewCond(&s.mu)
	go func() {
		args := append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)
		s.status <- run(ctx, args, strings.NewReader(""), io.Discard, s)
		s.mu.Lock()
		s.ended = true
		s.more.Broadcast()
		s.mu.Unlock()
	}()
	first, _, ok := strings.Cut(s.waitFor("\n"), "/ (on ")
	require.True(t, ok, first)
	s.base = strings.TrimPrefix(first, "serving ")
	return s
}

// Write takes standard error.
func (s *served) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log += string(b)
	s.more.Broadcast()
	return len(b), nil
}

// waitFor waits until the log has text in it, or is complete, and returns it.
func (s *served) waitFor(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ended && !strings.Contains(s.log, text) {
		s.more.Wait()
	}
	return s.log
}

// stop interrupts the server and returns the exit status and the log.
func (s *served) stop() (int, string) {
	s.cancel()
	status := <-s.status
	return status, s.waitFor("\x00") // which never comes, so all of it
}

func TestServe(t *testing.T) {
	server := serving(t)
	r := runCLI(t, "get", server.base+"/")
	assert.Equal(t, exitSuccess, r.status)
	assert.Equal(t, index, r.out)
	for _, path := range []string{"/time", "/text", "/slow", "/echo"} {
		assert.Contains(t, r.out, path)
	}
	status, log := server.stop()
	assert.Equal(t, exitSuccess, status)
	assert.Contains(t, log, index)
	// One, and one to prove the address.
	assert.Contains(t, log, "requests: 2, duplicates: 0, separate responses: 0, retransmissions: 0\n")
	assert.NotContains(t, log, "bad network")
}

func TestServeOnBadNetwork(t *testing.T) {
	server := serving(t, "--loss", "0.1%", "--delay", "1ms", "--seed", "1", "-v")
	r := runCLI(t, "get", server.base+"/time")
	assert.Equal(t, exitSuccess, r.status)
	status, log := server.stop()
	assert.Equal(t, exitSuccess, status)
	assert.Contains(t, log, "bad network: loss 0.1%, delay 1ms, seed 1\n")
	assert.Contains(t, log, "datagrams lost on purpose: 0 of 2\n")
	assert.Contains(t, log, "this server")
	assert.Contains(t, log, "/time  (Token")
}

// TestServeLosesAll has a client that gives up.
func TestServeLosesAll(t *testing.T) {
	server := serving(t, "--loss", "100%", "-v")
	assert.Equal(t, exitNoAnswer, runCLI(t, "get", "-B", "0.1", server.base+"/time").status)
	server.waitFor("  lost on purpose")
	_, log := server.stop()
	assert.Contains(t, log, "datagrams lost on purpose: 1 of 1\n")
	assert.Contains(t, log, "---X        |  /time")
	assert.Contains(t, log, "requests: 0,")
}

func TestServeAddressInUse(t *testing.T) {
	server := serving(t)
	r := runCLI(t, "serve", "--listen", strings.TrimPrefix(server.base, "coap://"))
	assert.Equal(t, exitUsage, r.status)
	assert.Contains(t, r.firstLine(), "another program listens there: end it, or take another port")
	server.stop()
}

func TestAnnounceWildcard(t *testing.T) {
	var b strings.Builder
	new(serveFlags).announce(&b, []netip.AddrPort{netip.MustParseAddrPort("[::]:5683"), netip.MustParseAddrPort("127.0.0.1:5684")}, nil)
	assert.True(t, strings.HasPrefix(b.String(), "serving coap://localhost/ (on [::]:5683); end with ^C\nserving coaps://127.0.0.1/ (on 127.0.0.1:5684); end with ^C\n"), b.String())
}

func TestTime(t *testing.T) {
	base := startServer(t, newResources())
	r := runCLI(t, "get", base+"/time")
	assert.Equal(t, exitSuccess, r.status)
	assert.Contains(t, r.err, "Max-Age: 1\n")
	_, err := time.Parse(time.RFC3339Nano, r.out)
	assert.NoError(t, err)
	assert.Equal(t, 4, runCLI(t, "put", base+"/time").status)
}

func TestSlow(t *testing.T) {
	base := startServer(t, newResources())
	r := runCLI(t, "get", base+"/slow?ms=0")
	assert.Equal(t, result{exitSuccess, "this took 0 ms\n", "2.05 Content\nContent-Format: 0 (text/plain; charset=utf-8)\n"}, r)
	for _, ms := range []string{"-1", "10001", "x", ""} {
		r := runCLI(t, "get", base+"/slow?ms="+ms)
		assert.Equal(t, result{4, "ms: want 0 to 10000", "4.00 Bad Request\n"}, r, ms)
	}
}

func TestEcho(t *testing.T) {
	base := startServer(t, newResources())
	r := runCLI(t, "post", base+"/echo?a=b", "-p", "x\ty", "-t", "json", "-o", "65000=0x01")
	assert.Equal(t, exitSuccess, r.status)
	assert.Equal(t, "2.04 Changed", r.firstLine())
	lines := strings.Split(r.out, "\n")
	require.Len(t, lines, 8)
	assert.Equal(t, "POST /echo?a=b", lines[0])
	assert.Regexp(t, `^confirmable, [0-9]+ bytes, from 127\.0\.0\.1:[0-9]+$`, lines[1])
	assert.Equal(t, []string{`Uri-Path: "echo"`, "Content-Format: 50 (application/json)", `Uri-Query: "a=b"`, "Option 65000: 0x01", `payload: 3 bytes "x\ty"`, ""}, lines[2:])

	for name, want := range map[string]string{
		"get": "2.05 Content", "put": "2.04 Changed", "delete": "2.02 Deleted",
		"fetch": "2.05 Content", "patch": "2.04 Changed", "ipatch": "2.04 Changed",
	} {
		assert.Equal(t, want, runCLI(t, name, "-N", base+"/echo").firstLine(), name)
	}
	r = runCLI(t, "get", base+"/echo", "-o", "65001=")
	assert.Equal(t, 4, r.status, "a critical option that nobody knows")

	long := runCLI(t, "get", base+"/echo?"+strings.Repeat("%C3%A9", 120)+"&"+strings.Repeat("%C3%A9", 120))
	assert.Equal(t, exitSuccess, long.status)
	assert.True(t, strings.HasSuffix(long.out, "…\n"), "cut off")
}

// TestText is a scenario: the state goes from line to line.
func TestText(t *testing.T) {
	uri := startServer(t, newResources()) + "/text"
	etag := func() string {
		r := runCLI(t, "get", uri)
		_, tag, _ := strings.Cut(r.err, "ETag: ")
		tag, _, _ = strings.Cut(tag, "\n")
		return tag
	}
	step := func(want, body string, args ...string) {
		t.Helper()
		r := runCLI(t, append(args, uri)...)
		assert.Equal(t, want, r.firstLine(), args)
		assert.Equal(t, body, r.out, args)
	}
	step("4.04 Not Found", "nothing is here yet: PUT something", "get")
	step("4.12 Precondition Failed", "", "put", "-p", "x", "-o", "If-Match")
	step("4.04 Not Found", "nothing is here yet: PUT something", "get")
	step("2.01 Created", "", "put", "-p", "x", "-o", "If-None-Match")
	step("4.12 Precondition Failed", "", "put", "-p", "y", "-o", "If-None-Match")
	step("2.05 Content", "x", "get")
	untyped := etag()
	step("2.04 Changed", "", "put", "-p", `{}`, "-t", "json", "-o", "If-Match="+untyped)
	step("4.12 Precondition Failed", "", "put", "-p", "z", "-o", "If-Match="+untyped)
	step("4.12 Precondition Failed", "", "post", "-p", "z", "-o", "If-Match="+untyped)
	step("4.12 Precondition Failed", "", "delete", "-o", "If-Match="+untyped)
	step("2.05 Content", `{}`, "get", "-a", "json")
	step("4.06 Not Acceptable", "", "get", "-a", "text")
	step("2.03 Valid", "", "get", "-o", "ETag="+etag())
	step("2.04 Changed", "", "post", "-p", "\n[]")
	step("2.05 Content", "{}\n[]", "get", "-a", "json")
	step("2.04 Changed", "", "put", "-p", strings.Repeat("a", maxText))
	step("2.05 Content", strings.Repeat("a", maxText), "get")
	step("2.02 Deleted", "", "delete", "-o", "If-Match="+etag())
	step("2.02 Deleted", "", "delete")
	step("4.04 Not Found", "nothing is here yet: PUT something", "get")
	step("2.01 Created", "", "post", "-p", "b", "-t", "text")
	step("2.05 Content", "b", "get", "-a", "text")
	step("4.05 Method Not Allowed", "", "patch", "-p", "c")
}

func TestTextTooLong(t *testing.T) {
	base := startServer(t, newResources())
	r := runCLI(t, "put", base+"/text", "-p", strings.Repeat("a", maxText))
	require.Equal(t, exitSuccess, r.status)
	r = runCLI(t, "post", base+"/text", "-p", "a")
	assert.Equal(t, result{4, "too long", "4.13 Request Entity Too Large\nSize1: 1024\n"}, r)
	assert.Equal(t, strings.Repeat("a", maxText), runCLI(t, "get", base+"/text").out)
}

// TestTextKeepsTheFormat compares formats that are alike.
func TestTextKeepsTheFormat(t *testing.T) {
	text := new(textResource)
	tags := make(map[string]bool)
	for _, set := range []func(*coap.Request){
		func(*coap.Request) {},
		func(r *coap.Request) { r.Options.SetContentFormat(message.TextPlain) },
		func(r *coap.Request) { r.Options.SetContentFormat(message.JSON) },
	} {
		r, w := &coap.Request{Code: coap.PUT, Payload: []byte("1")}, new(coap.Response)
		set(r)
		require.NoError(t, text.put(w, r))
		tag, _ := w.Options.ETag()
		tags[string(tag)] = true
		want, typed := r.Options.ContentFormat()
		var got coap.Response
		require.NoError(t, text.get(&got, new(coap.Request)))
		format, has := got.Options.ContentFormat()
		assert.Equal(t, typed, has)
		assert.Equal(t, want, format)
	}
	assert.Len(t, tags, 3, "another format is another representation")
}
