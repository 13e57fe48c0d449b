package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
)

// The program says where it serves, serves, and ends when it is told to, after it has answered.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	lines := bufio.NewReader(out)
	ended := make(chan error, 1)
	var trace bytes.Buffer
	go func() { ended <- run(ctx, "127.0.0.1:0", &coap.Config{Trace: tracer(&trace)}, in) }()
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "serving on ")
	require.True(t, ok, line)
	resp, err := coap.Get(context.Background(), "coap://"+addr+"/test")
	require.NoError(t, err)
	require.Equal(t, coap.Content, resp.Code)
	cancel()
	require.NoError(t, <-ended)
	require.Contains(t, trace.String(), "GET")
	require.Contains(t, trace.String(), "2.05")

	require.Error(t, run(context.Background(), "127.0.0.1:none", nil, io.Discard))
}

// What libcoap's example client makes of it.
func TestLibcoap(t *testing.T) {
	client, err := exec.LookPath("coap-client-notls")
	if err != nil {
		if os.Getenv("COAPKIT_REQUIRE_PEERS") == "1" {
			t.Fatal("coap-client-notls is required by COAPKIT_REQUIRE_PEERS=1 but missing; install libcoap3-bin (Debian)")
		}
		t.Skip("SKIPPED: coap-client-notls is missing; install libcoap3-bin (Debian)")
	}
	r := newRig(t, func(s *site) { s.wait = pauseNot })
	upload := filepath.Join(t.TempDir(), "upload")
	require.NoError(t, os.WriteFile(upload, []byte(filler("libcoap", 2*largeSize)), 0o600))
	for _, c := range []struct {
		args []string // without the URI
		path string
		want string // printed; libcoap adds a line break to some
	}{
		{nil, "/test", "This is the test resource."},
		{[]string{"-m", "put", "-t", "text", "-e", "by libcoap"}, "/test", ""},
		{nil, "/test", "by libcoap"},
		{[]string{"-N"}, "/test", "by libcoap"},
		{[]string{"-m", "delete"}, "/test", ""},
		{nil, "/seg1/seg2/seg3", "This is the resource with three path segments."},
		{nil, "/query?first=1&second=2", "first=1\nsecond=2"},
		{nil, "/separate", "That took a while."},
		{[]string{"-A", "41"}, "/multi-format", "<format>XML</format>"},
		{[]string{"-A", "50"}, "/multi-format", "4.06"},
		{[]string{"-b", "64"}, "/large", strings.TrimSpace(filler("large", largeSize))},
		{[]string{"-m", "put", "-b", "64", "-t", "text", "-f", upload}, "/large-update", ""},
		{[]string{"-b", "1024"}, "/large-update", strings.TrimSpace(filler("libcoap", 2*largeSize))},
		{[]string{"-m", "post", "-b", "64", "-t", "text", "-f", upload}, "/large-create", ""},
		{nil, "/large-create/1", strings.TrimSpace(filler("libcoap", 2*largeSize))},
		{[]string{"-m", "put", "-O", "5,", "-e", "A"}, "/create1", ""},
		{[]string{"-m", "put", "-O", "5,", "-e", "B"}, "/create1", "4.12"},
		{nil, "/create1", "A"},
		{nil, "/.well-known/core?href=/path", `</path>;title="Links to resources below";ct=40`},
	} {
		args := append([]string{"-B", "20", "-m", "get"}, c.args...)
		out, err := exec.Command(client, append(args, "coap://"+r.addr.String()+c.path)...).CombinedOutput()
		require.NoError(t, err, "%v %s", c, out)
		if c.want == "4.06" || c.want == "4.12" {
			require.Contains(t, string(out), c.want, "%v", c)
			continue
		}
		require.Equal(t, c.want, strings.TrimSpace(string(out)), "%v", c)
	}
}
