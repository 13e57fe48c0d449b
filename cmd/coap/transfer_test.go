package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/message"
)

// archive is a handler with one long body, which is rendered for each block.
type archive struct {
	mu     sync.Mutex
	body   []byte
	etag   []byte
	blocks int    // rendered since the count was set to 0
	at     func() // called with each block
	got    []byte // the last payload
}

func (h *archive) ServeCoAP(w *coap.Response, r *coap.Request) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Code != coap.GET {
		h.got = bytes.Clone(r.Payload)
		w.SetCode(message.Changed)
		return nil
	}
	h.blocks++
	if h.at != nil {
		h.at()
	}
	if h.etag == nil {
		return w.Body(bytes.NewReader(h.body))
	}
	return w.Content(bytes.NewReader(h.body), h.etag)
}

// reset changes the body and what happens at each block.
func (h *archive) reset(body, etag string, at func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.body, h.etag, h.blocks, h.at = []byte(body), []byte(etag), 0, at
}

// peek returns the body and how many blocks were rendered.
func (h *archive) peek() (body string, blocks int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.body), h.blocks
}

// taken returns the last payload, and forgets it.
func (h *archive) taken() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := string(h.got)
	h.got = nil
	return got
}

// long returns n bytes of text.
func long(n int) string {
	b, _ := io.ReadAll(io.NewSectionReader(numbered{}, 0, int64(n)))
	return string(b)
}

// breakOff runs a download that is interrupted at the fourth block.
func breakOff(t *testing.T, h *archive, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, _ := h.peek()
	h.reset(body, "v1", func() {
		if h.blocks == 4 {
			cancel()
		}
	})
	r := runWith(ctx, "", args...)
	h.reset(body, "v1", nil)
	return r
}

// filesOf returns the names in a folder.
func filesOf(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func content(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}

func TestOutput(t *testing.T) {
	h := &archive{body: []byte(long(5000)), etag: []byte("v1")}
	base := startServer(t, h)
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	r := runCLI(t, "get", base+"/a", "-b", "256", "-O", file)
	assert.Equal(t, result{exitSuccess, "", "2.05 Content\nETag: 0x7631\nSize2: 5000\n5000 bytes in " + file + "\n"}, r)
	assert.Equal(t, long(5000), content(t, file))
	_, blocks := h.peek()
	assert.Equal(t, 20, blocks)

	h.reset("short", "v2", nil)
	r = runCLI(t, "get", base+"/a", "--json", "-O", file)
	assert.Equal(t, exitSuccess, r.status, r.err)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	assert.Equal(t, []any{file, 5.0, "", nil}, []any{got["file"], got["size"], got["payload"], got["text"]})
	assert.Equal(t, "short", content(t, file), "replaced")
	assert.Equal(t, []string{"a"}, filesOf(t, dir))
}

// pair answers with a body that is long, after the first block only to two requests at a time.
type pair struct {
	mu    sync.Mutex
	calls int
	both  chan struct{}
}

func (h *pair) ServeCoAP(w *coap.Response, r *coap.Request) error {
	h.mu.Lock()
	h.calls++
	n := h.calls
	h.mu.Unlock()
	switch n {
	case 2:
		<-h.both
	case 3:
		close(h.both)
	}
	return w.Content(strings.NewReader(long(20_000)), []byte("v1"))
}

// With --ahead, blocks are asked for ahead.
func TestAhead(t *testing.T) {
	server := startServer(t, &pair{both: make(chan struct{})})
	r := runCLI(t, "get", "--ahead", "4", "-B", "20", server+"/long")
	require.Equal(t, exitSuccess, r.status, r.err)
	require.True(t, r.out == long(20_000), "%d bytes", len(r.out))
}

// TestOutputOfError leaves files alone when there is nothing for them.
func TestOutputOfError(t *testing.T) {
	base := startServer(t, &recorder{answer: func(*coap.Response) error {
		return &coap.Error{Code: coap.NotFound, Diagnostic: "no"}
	}})
	dir := t.TempDir()
	r := runCLI(t, "get", base+"/a", "-O", filepath.Join(dir, "a"))
	assert.Equal(t, result{4, "no", "4.04 Not Found\n"}, r)
	assert.Empty(t, filesOf(t, dir))
	r = runCLI(t, "get", closedPort(t), "-O", filepath.Join(dir, "a"))
	assert.Equal(t, exitNoAnswer, r.status)
	assert.Empty(t, filesOf(t, dir))
}

// TestResume breaks a download off and goes on, in all the ways that it can have changed meanwhile.
func TestResume(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(h *archive, file string)
		other  bool // another URI
		blocks func(n int) bool
		want   string // of standard error
	}{
		{"same", nil, false, func(n int) bool { return n < 18 }, " from an earlier try\n"},
		{"other ETag", func(h *archive, _ string) { h.reset(strings.ToUpper(long(5000)), "v2", nil) }, false,
			func(n int) bool { return n > 20 }, ", from the beginning: the body has changed since the earlier try\n"},
		{"shorter", func(h *archive, _ string) { h.reset("short", "v2", nil) }, false,
			func(n int) bool { return n <= 2 }, ", from the beginning: the body has changed since the earlier try\n"},
		{"other request", nil, true,
			func(n int) bool { return n == 20 }, ", from the beginning: what was kept is of another request\n"},
		{"damaged state", func(_ *archive, file string) { os.WriteFile(file+stateSuffix, []byte("{"), 0o600) }, false,
			func(n int) bool { return n == 20 }, ", from the beginning: what was kept of an earlier try is damaged\n"},
		{"truncated part", func(_ *archive, file string) { os.Truncate(file+partSuffix, 1) }, false,
			func(n int) bool { return n == 20 }, ", from the beginning: what was kept of an earlier try is damaged\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &archive{body: []byte(long(5000))}
			uri := startServer(t, h) + "/a"
			dir := t.TempDir()
			file := filepath.Join(dir, "a")
			r := breakOff(t, h, "get", uri, "-b", "256", "-O", file)
			assert.Equal(t, exitInterrupted, r.status)
			assert.Regexp(t, `^coap: interrupted; \S+a\.part has [0-9]+ bytes, the same command goes on there\n$`, r.err)
			assert.Equal(t, []string{"a.part", "a.part.json"}, filesOf(t, dir))

			if test.change != nil {
				test.change(h, file)
			}
			if test.other {
				uri += "?b"
			}
			r = runCLI(t, "get", uri, "-b", "256", "-O", file)
			assert.Equal(t, exitSuccess, r.status, r.err)
			assert.Contains(t, r.err, test.want)
			body, blocks := h.peek()
			assert.Equal(t, body, content(t, file))
			assert.True(t, test.blocks(blocks), blocks)
			assert.Equal(t, []string{"a"}, filesOf(t, dir))
		})
	}
}

// TestResumeLater keeps what there is while the server cannot be reached.
func TestResumeLater(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	uri := closedPort(t)
	s := partState{URI: uri, Offset: 4, ETag: "01"}
	require.NoError(t, s.write(file+stateSuffix))
	require.NoError(t, os.WriteFile(file+partSuffix, []byte("four and more"), 0o600))
	r := runCLI(t, "get", uri, "-O", file)
	assert.Equal(t, exitNoAnswer, r.status)
	assert.Contains(t, r.err, "a.part has 4 bytes, the same command goes on there\n")
	kept, err := readPartState(file + stateSuffix)
	require.NoError(t, err)
	assert.Equal(t, s, kept)
}

// TestLongBodyToStandardOutput has more than memory is given to.
func TestLongBodyToStandardOutput(t *testing.T) {
	const n = 200 << 10
	h := &archive{body: []byte(long(n)), etag: []byte("v1")}
	base := startServer(t, h)
	for _, args := range [][]string{{"get", base}, {"get", base, "-O", "-"}} {
		r := runCLI(t, args...)
		assert.Equal(t, exitSuccess, r.status, r.err)
		assert.Equal(t, long(n), r.out)
		assert.Equal(t, "2.05 Content\nETag: 0x7631\nSize2: 204800\n", r.err, "no bar")
	}
}

// TestBodyThatChanges has a body of less than is held back, which can be had again.
func TestBodyThatChanges(t *testing.T) {
	h := new(archive)
	h.reset(long(5000), "v1", func() {
		if h.blocks == 3 {
			h.body, h.etag = []byte(strings.ToUpper(long(4000))), []byte("v2")
		}
	})
	uri := startServer(t, h)
	r := runCLI(t, "get", uri)
	assert.Equal(t, exitSuccess, r.status, r.err)
	assert.Equal(t, strings.ToUpper(long(4000)), r.out)

	h.reset(long(5000), "v0", func() { h.etag = []byte{byte(h.blocks)} })
	r = runCLI(t, "get", uri)
	assert.Equal(t, exitNoAnswer, r.status)
	assert.Empty(t, r.out)
	assert.Contains(t, r.err, "the body changed while")
}

func TestUpload(t *testing.T) {
	h := new(archive)
	uri := startServer(t, h)
	file := filepath.Join(t.TempDir(), "payload")
	require.NoError(t, os.WriteFile(file, []byte(long(70_000)), 0o600))
	for _, args := range [][]string{{"-f", file}, {"-f", file, "-b", "64"}, {"-f", "-"}, {"-f", "-", "-b", "512"}, {"-p", long(70_000)}} {
		r := runWith(t.Context(), long(70_000), append([]string{"put", uri}, args...)...)
		assert.Equal(t, exitSuccess, r.status, r.err)
		assert.Equal(t, long(70_000), h.taken())
	}
}

// TestReplay reads the beginning of a stream again, as for the next address of a server.
func TestReplay(t *testing.T) {
	r := &replay{r: strings.NewReader(long(5000))}
	b := make([]byte, 1025)
	for range 3 {
		n, err := io.ReadFull(r, b)
		require.NoError(t, err)
		assert.Equal(t, long(5000)[:n], string(b))
		assert.True(t, r.rewind())
	}
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, long(5000), string(rest))
	assert.False(t, r.rewind())
}

func TestTransferTexts(t *testing.T) {
	for reason, want := range map[blockwise.Reason]string{
		blockwise.ErrBodyChanged: "ask again", blockwise.ErrIncomplete: "send it again", blockwise.ErrNoRestart: "best from a file",
		blockwise.ErrTooLarge: "-O FILE has room", blockwise.ErrTooLong: "a larger -b", blockwise.ErrBody: "the payload cannot be read: unexpected EOF",
		blockwise.ErrBadResponse: "S: block-wise transfer: the peer does not follow the protocol",
	} {
		err := whyNoAnswer(&blockwise.Error{Reason: reason, Err: io.ErrUnexpectedEOF}, "S", 0, coap.Stats{Sent: 1})
		assert.ErrorContains(t, err, want)
	}
	broken := &blockwise.Error{Reason: blockwise.ErrInterrupted, Position: coap.Position{Upload: true, Offset: 64}, Err: coap.ErrNotAcknowledged}
	d := &delivery{}
	assert.ErrorContains(t, d.why(whyNoAnswer(broken, "S", 0, coap.Stats{Sent: 1}), broken), "; it broke off at byte 64 of the payload")
	broken.Err = context.DeadlineExceeded
	assert.ErrorContains(t, whyNoAnswer(broken, "S", 5, coap.Stats{Sent: 1}), "the transfer with S was not over within 5ns")
}
