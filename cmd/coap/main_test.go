package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/transport/udp"
)

// result is what a run of the program leaves behind.
type result struct {
	status   int
	out, err string
}

// runCLI runs the program inside this process, with nothing on standard input.
func runCLI(t *testing.T, args ...string) result {
	t.Helper()
	return runWith(t.Context(), "", args...)
}

func runWith(ctx context.Context, in string, args ...string) result {
	var out, errs bytes.Buffer
	status := run(ctx, args, strings.NewReader(in), &out, &errs)
	return result{status, out.String(), errs.String()}
}

// firstLine is what scripts look at.
func (r result) firstLine() string {
	line, _, _ := strings.Cut(r.err, "\n")
	return line
}

// startServer serves h on loopback until the test ends, and returns the URI without path.
func startServer(t *testing.T, h coap.Handler) string {
	t.Helper()
	conn, err := udp.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	// Messages are counted: nobody has to prove an address first.
	server := coap.Server{Handler: h, Config: &coap.Config{ServeEcho: echo.ServerConfig{Mode: echo.Off}}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), conn) }()
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		assert.NoError(t, <-served)
	})
	return "coap://" + conn.LocalAddr().String()
}

// recorder is a handler that keeps the last request and answers as answer says.
type recorder struct {
	answer func(w *coap.Response) error

	mu   sync.Mutex
	last *coap.Request
}

func (h *recorder) ServeCoAP(w *coap.Response, r *coap.Request) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = r.Clone()
	if h.answer == nil {
		return nil
	}
	return h.answer(w)
}

// ChecksOptions says that all options are welcome.
func (h *recorder) ChecksOptions() {}

func (h *recorder) request() *coap.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// silentServer returns the URI of a port that takes everything and answers nothing.
func silentServer(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return "coap://" + conn.LocalAddr().String()
}

// scriptedServer answers each datagram with what reply makes of it.
func scriptedServer(t *testing.T, reply func(datagram []byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 2000)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			conn.WriteTo(reply(buf[:n]), from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return "coap://" + conn.LocalAddr().String()
}

// closedPort returns the URI of a port where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer conn.Close()
	return "coap://" + conn.LocalAddr().String()
}

func TestHelp(t *testing.T) {
	commands := []string{"get", "post", "put", "delete", "fetch", "patch", "ipatch", "observe", "discover", "ping", "serve", "decode", "demo"}
	for _, args := range [][]string{{}, {"--help"}, {"help"}} {
		r := runCLI(t, args...)
		assert.Equal(t, exitSuccess, r.status)
		assert.Empty(t, r.err)
		for _, name := range commands {
			assert.Contains(t, r.out, "\n  "+name+" ")
		}
	}
	for _, name := range commands {
		r := runCLI(t, name, "--help")
		assert.Equal(t, exitSuccess, r.status, name)
		assert.Contains(t, r.out, "coap "+name, name)
		for line := range strings.Lines(r.out) {
			assert.LessOrEqual(t, len(strings.TrimSuffix(line, "\n")), 100, "%s: %s", name, line)
		}
	}
	assert.Contains(t, runCLI(t, "--version").out, "coap version")
}

func TestUsageErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"gte"}, `unknown command "gte", did you mean get?`},
		{"unknown command, nothing near", []string{"frobnicate"}, `unknown command "frobnicate"; "coap --help" lists the commands`},
		{"URI without command", []string{"coap://host/a"}, "coap get coap://host/a"},
		{"no URI", []string{"put"}, "the URI is missing, write: coap put coap://host/path"},
		{"two URIs", []string{"get", "coap://a/", "b c"}, `want one URI, have "coap://a/" and "b c"`},
		{"unknown flag", []string{"get", "-x", "coap://h/"}, `'x' in -x; "coap get --help" lists the flags`},
		{"flag without value", []string{"get", "coap://h/", "-p"}, "flag needs an argument"},
		{"no scheme", []string{"get", "host:5683/a"}, `"host:5683/a" is no CoAP URI: the scheme is missing, write coap://host:5683/a`},
		{"path only", []string{"get", "/a"}, "the scheme is missing, write coap://host/a"},
		{"other scheme", []string{"get", "http://h/"}, "want coap or coaps"},
		{"credentials without coaps", []string{"observe", "--psk", "a:b", "coap://h/a"}, "coap://h is not protected, so credentials are of no use: write coaps://"},
		{"group by coaps", []string{"discover", "--psk", "a:b", "coaps://224.0.1.187"}, "coaps://224.0.1.187 is a group, and DTLS is for one server"},
		{"two identities", []string{"ping", "--psk", "a:b", "--psk", "c:d", "coaps://h"}, "--psk is given 2 times"},
		{"psk without key", []string{"get", "--psk", "a", "coaps://h/"}, "--psk: want identity:key"},
		{"psk, empty key", []string{"get", "--psk", "a:", "coaps://h/"}, "--psk: want identity:key"},
		{"psk, digits", []string{"get", "--psk", "a:hex:012", "coaps://h/"}, "--psk: the key of a: after hex:, want an even number"},
		{"psk, file", []string{"get", "--psk", "a:@no/such", "coaps://h/"}, "--psk: the key of a: open no/such"},
		{"key without certificate", []string{"get", "--key", "k", "coaps://h/"}, "--key is the key of a certificate: add --cert FILE"},
		{"certificate, file", []string{"get", "--cert", "no/such", "coaps://h/"}, "--cert no/such, --key no/such: open no/such"},
		{"authority, file", []string{"get", "--ca", "no/such", "coaps://h/"}, "--ca: open no/such"},
		{"authority, no PEM", []string{"get", "--ca", "main.go", "coaps://h/"}, "--ca main.go: there is no certificate in PEM form in it"},
		{"pin", []string{"get", "--pin", "00:11", "coaps://h/"}, "--pin 00:11: want 64 hexadecimal digits"},
		{"keylog", []string{"get", "--psk", "a:b", "--keylog", "no/such/file", "coaps://h/"}, "--keylog: open no/such/file"},
		{"serve, nothing to prove", []string{"serve", "--listen", "127.0.0.1:0", "--keylog", "f"}, "needs --psk IDENTITY:KEY or --cert FILE"},
		{"serve, clients without server", []string{"serve", "--psk", "a:b", "--ca", "main.go"}, "add --cert FILE"},
		{"serve, one identity twice", []string{"serve", "--psk", "a:b", "--psk", "a:c"}, `identity "a" has two keys`},
		{"serve, last port", []string{"serve", "--listen", "127.0.0.1:65535", "--psk", "a:b"}, "there is none after 65535"},
		{"fragment", []string{"get", "coap://h/a#b"}, "leave out #"},
		{"IPv6 without brackets", []string{"get", "coap://::1/a"}, "write coap://[::1]"},
		{"space", []string{"get", "coap://h/a b"}, "write %20"},
		{"port", []string{"get", "coap://h:99999/"}, "want a number from 1 to 65535"},
		{"group, ping", []string{"ping", "coap://[ff02::fd]/"}, "ff02::fd is a group, and ping asks one endpoint: find the members with: coap discover coap://[ff02::fd]"},
		{"group, zone of no interface", []string{"get", "coap://[ff02::fd%25no-such]/"}, `there is no interface "no-such" for ff02::fd`},
		{"interface", []string{"get", "--interface", "no-such", "coap://224.0.1.187/"}, "--interface no-such: there is no such interface; there are "},
		{"interface twice", []string{"get", "--interface", anyInterface(), "coap://[fe80::1%25other]/"}, "leave one of them out"},
		{"window for one server", []string{"get", "--window", "1s", "coap://127.0.0.1/"}, "coap://127.0.0.1 is one server: leave it out, or give up sooner with -B"},
		{"window, zero", []string{"get", "--window", "0", "coap://224.0.1.187/"}, "--window 0s: want more than 0 and at most 10m"},
		{"window, too long", []string{"get", "--window", "11m", "coap://224.0.1.187/"}, "--window 11m0s: want more than 0 and at most 10m"},
		{"window and wait", []string{"get", "--window", "1s", "-B", "1", "coap://224.0.1.187/"}, "give one of them"},
		{"wait for a group", []string{"get", "-B", "1e6", "coap://224.0.1.187/"}, "-B 1e+06: want at most 600 for a group"},
		{"payload too long for a group", []string{"put", "-p", strings.Repeat("x", 2000), "--window", "1ms", "coap://224.0.1.187/"}, "does not fit into one datagram of 1152 bytes"},
		{"discover, filter", []string{"discover", "--filter", "light", "coap://127.0.0.1/"}, "--filter light: want name=value or name=prefix*"},
		{"discover, long filter", []string{"discover", "--filter", "rt=" + strings.Repeat("x", 300), "coap://127.0.0.1/"}, "--filter rt=xxx"},
		{"discover, URI", []string{"discover", "localhost"}, "the scheme is missing, write coap://localhost"},
		{"serve, interface", []string{"serve", "--interface", anyInterface()}, "--interface says where to join groups: add --group"},
		{"serve, no such interface", []string{"serve", "--group", "--interface", "no-such"}, "there is no such interface"},
		{"serve, group on one address", []string{"serve", "--group", "--listen", "127.0.0.1:0"}, "a socket at 127.0.0.1:0 hears no groups: with --group, --listen :0"},
		{"serve, leisure", []string{"serve", "--group", "--leisure", "-1s"}, "--leisure -1s: want 0 to 1m"},
		{"unspecified", []string{"get", "coap://0.0.0.0/"}, "write 127.0.0.1 or [::1]"},
		{"link-local without zone", []string{"get", "coap://[fe80::1]/"}, "say on which interface: [fe80::1%25NAME]"},
		{"zone of no interface", []string{"get", "coap://[fe80::1%25no-such]/"}, `there is no interface "no-such" for fe80::1`},
		{"ping, bad URI", []string{"ping", "h"}, "write coap://h"},
		{"ping, count", []string{"ping", "-c", "0", "coap://127.0.0.1"}, "-c 0: want 1 or more"},
		{"ping, interval", []string{"ping", "-i", "-1", "coap://127.0.0.1"}, "-i -1: want a number of seconds"},
		{"negative wait", []string{"get", "-B", "-1", "coap://127.0.0.1/"}, "-B -1: want a number of seconds"},
		{"wait is no number", []string{"get", "-B", "NaN", "coap://127.0.0.1/"}, "want a number of seconds"},
		{"wait in words", []string{"get", "-B", "soon", "coap://127.0.0.1/"}, "coap get --help"},
		{"content format", []string{"put", "-t", "jsn", "coap://127.0.0.1/"}, `-t: unknown content format "jsn", did you mean application/json (50)?`},
		{"accept", []string{"get", "-a", "jsn", "coap://127.0.0.1/"}, `-a: unknown content format "jsn", did you mean application/json (50)?`},
		{"block size", []string{"get", "-b", "100", "coap://127.0.0.1/"}, "-b 100: want a power of two from 16 to 1024: 16, 32, 64"},
		{"blocks ahead", []string{"get", "--ahead", "65", "coap://127.0.0.1/"}, "--ahead 65: want 1 to 64 blocks"},
		{"blocks ahead, zero", []string{"get", "--ahead", "0", "coap://127.0.0.1/"}, "--ahead 0: want 1 to 64 blocks"},
		{"block size, zero", []string{"delete", "-b", "0", "coap://127.0.0.1/"}, "-b 0: want a power of two"},
		{"block size, large", []string{"put", "-b", "2048", "coap://127.0.0.1/"}, "-b 2048: want a power of two from 16 to 1024"},
		{"output of a group", []string{"get", "-O", "a", "coap://224.0.1.187/"}, "-O is for one body, and the members of coap://224.0.1.187 have one each"},
		{"output, JSON", []string{"get", "-O", "-", "--json", "coap://127.0.0.1/"}, "--json and -O - both want standard output"},
		{"output, no name", []string{"get", "-O", "", "coap://127.0.0.1/"}, "-O: the name of the file is empty"},
		{"output, folder", []string{"get", "-O", ".", "coap://127.0.0.1/"}, "-O .: this is a folder"},
		{"output, no such folder", []string{"get", "-O", "no/such/a", "coap://127.0.0.1/"}, "-O no/such/a: open no/such/a.part"},
		{"payload from a folder", []string{"put", "-f", ".", "coap://127.0.0.1/"}, "-f .: this is a folder"},
		{"observe, count", []string{"observe", "-n", "0", "coap://127.0.0.1/"}, "-n 0: want 1 or more"},
		{"observe, duration", []string{"observe", "-d", "-1s", "coap://127.0.0.1/"}, "-d -1s: want more than 0"},
		{"two payloads", []string{"put", "-p", "a", "-f", "b", "coap://127.0.0.1/"}, "-p and -f are two payloads"},
		{"no such file", []string{"put", "-f", "no/such/file", "coap://127.0.0.1/"}, "-f no/such/file:"},
		{"options too long", []string{"get", "coap://127.0.0.1/?" + strings.Repeat(strings.Repeat("x", 200)+"&", 6)}, "does not fit into one datagram of 1152 bytes"},
		{"serve, prove", []string{"serve", "--prove", "yes"}, "--prove yes: want large, always or off"},
		{"serve, argument", []string{"serve", "5683"}, `coap serve takes no arguments, have "5683"`},
		{"serve, address", []string{"serve", "--listen", "5683"}, "want host:port"},
		{"serve, loss", []string{"serve", "--loss", "20"}, "want 0% to 100%, or 0 to 1"},
		{"serve, delay", []string{"serve", "--delay", "-1s"}, "--delay -1s: want 0 to 1m"},
		{"demo, argument", []string{"demo", "now"}, "coap demo takes no arguments"},
		{"decode, nothing", []string{"decode"}, "write: coap decode HEX"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := runCLI(t, test.args...)
			assert.Equal(t, exitUsage, r.status)
			assert.Empty(t, r.out)
			assert.Contains(t, r.firstLine(), test.want)
			assert.True(t, strings.HasPrefix(r.err, "coap: "), r.err)
			assert.Equal(t, 1, strings.Count(r.err, "\n"), "one line: %s", r.err)
		})
	}
}

// TestProcess builds the program and runs it as a process.
func TestProcess(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "coap")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	built, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", built)
	t.Run("Streams", func(t *testing.T) { testProcessStreams(t, binary) })
	t.Run("Interrupt", func(t *testing.T) { testProcessInterrupt(t, binary) })
}

func testProcessStreams(t *testing.T, binary string) {
	mux := newResources()
	mux.HandleFunc("GET /fail", func(*coap.Response, *coap.Request) error { return errors.New("no") })
	base := startServer(t, mux)
	for _, test := range []struct {
		args   []string
		in     string
		status int
		out    string
		err    string
	}{
		{[]string{"put", base + "/text", "-f", "-"}, "from a pipe", exitSuccess, "", "2.01 Created\n"},
		{[]string{"get", base + "/text"}, "", exitSuccess, "from a pipe", "2.05 Content\n"},
		{[]string{"get", base + "/nothing"}, "", 4, "", "4.04 Not Found\n"},
		{[]string{"get", base + "/fail"}, "", 5, "", "5.00 Internal Server Error\n"},
		{[]string{"get", "nothing"}, "", exitUsage, "", "coap: "},
		{[]string{"get", closedPort(t)}, "", exitNoAnswer, "", "coap: "},
	} {
		var out, errs bytes.Buffer
		cmd := exec.Command(binary, test.args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(test.in), &out, &errs
		err := cmd.Run()
		assert.Equal(t, test.status == exitSuccess, err == nil, "%v: %v", test.args, err)
		assert.Equal(t, test.status, cmd.ProcessState.ExitCode(), test.args)
		assert.Equal(t, test.out, out.String(), test.args)
		assert.True(t, strings.HasPrefix(errs.String(), test.err), "%v: %s", test.args, errs.String())
	}
}

// testProcessInterrupt sends ^C to a process that waits for an answer.
func testProcessInterrupt(t *testing.T, binary string) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted from outside on Windows")
	}
	arrived := make(chan struct{}, 10)
	base := scriptedServer(t, func([]byte) []byte {
		arrived <- struct{}{}
		return []byte("not CoAP")
	})
	var errs bytes.Buffer
	cmd := exec.Command(binary, "get", base)
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	<-arrived
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	assert.Error(t, cmd.Wait())
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
	assert.Equal(t, "coap: interrupted\n", errs.String())
}
