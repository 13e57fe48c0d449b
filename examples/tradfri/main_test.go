package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/examples/tradfri/gateway"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/dtls"
	"github.com/coapkit/coap/transport/mem"
)

const code = "0123456789abcdef"

// house is a gateway on a network in memory, and clients of it. Time is virtual.
type house struct {
	*testing.T
	*gateway.Gateway
	network *mem.Network
	file    string
	stop    func() // ends the server
}

// inHouse runs a test in a house with a hall, a desk and a cellar without power.
func inHouse(t *testing.T, f func(*house)) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{
			T: t, Gateway: gateway.New(code), file: filepath.Join(t.TempDir(), "tradfri.json"),
			network: mem.NewNetwork(mem.Config{Delay: 10 * time.Millisecond}),
		}
		h.serve()
		bulbs := []int{h.AddBulb("Hall", "W"), h.AddBulb("Desk", "WS"), h.AddBulb("Cellar", "W")}
		h.AddGroup("Upstairs", bulbs[0], bulbs[1])
		h.SetPower(bulbs[2], false)
		defer h.network.Close()
		defer func() { h.stop() }()
		f(h)
	})
}

// serve starts the gateway.
func (h *house) serve() {
	conn, err := h.network.Listen(netip.MustParseAddrPort("192.0.2.1:5684"))
	require.NoError(h, err)
	secure, err := dtls.New(conn, &dtls.Config{PSK: h.Key})
	require.NoError(h, err)
	var server coap.Server
	server.Handler = h.Handler(server.Notify)
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), secure) }()
	h.stop = func() {
		require.NoError(h, server.Close())
		require.NoError(h, <-served)
	}
}

// crash ends the gateway without saying goodbye to anybody.
func (h *house) crash() {
	all := h.network.Config()
	h.network.SetConfig(mem.Config{Loss: 1})
	h.stop()
	h.network.SetConfig(all)
}

// output is what a command has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// program returns the program on a host of its own.
func (h *house) program(out, errs *output, in string) *program {
	return &program{in: strings.NewReader(in), out: out, errs: errs, secure: func(cfg *dtls.Config) func() (transport.Conn, error) {
		return func() (transport.Conn, error) {
			conn, err := h.network.Listen(netip.MustParseAddrPort("192.0.2.2:0"))
			if err != nil {
				return nil, err
			}
			return dtls.New(conn, cfg)
		}
	}}
}

// run runs a command with text on standard input.
func (h *house) run(in string, args ...string) (status int, out, errs string) {
	h.Helper()
	var stdout, stderr output
	status = h.program(&stdout, &stderr, in).run(context.Background(), append([]string{"-file", h.file}, args...))
	return status, stdout.String(), stderr.String()
}

// do wants a command to do well, and returns what it writes.
func (h *house) do(args ...string) string {
	h.Helper()
	status, out, errs := h.run("", args...)
	require.Equal(h, 0, status, errs)
	return out
}

// fail wants a command to fail with this text in its error.
func (h *house) fail(want string, args ...string) {
	h.Helper()
	status, out, errs := h.run(code, args...)
	require.Equal(h, 1, status, errs)
	require.Empty(h, out)
	require.Contains(h, errs, want)
}

func (h *house) pair() {
	h.Helper()
	status, out, errs := h.run(code+"\n", "pair", "192.0.2.1")
	require.Equal(h, 0, status, errs)
	require.Regexp(h, `^paired with 192\.0\.2\.1:5684 as coapkit-[A-Z2-7]{8}, see `, out)
}

func TestCommands(t *testing.T) {
	inHouse(t, func(h *house) {
		h.pair()
		require.Regexp(h, `^gateway   7e2325520440000c\nfirmware  [0-9.]+\ntime      2000-`, h.do("info"))
		require.Equal(h, `65536  Hall    off  W
65537  Desk    off  WS
65538  Cellar  off  W
`, h.do("devices"))
		require.Equal(h, "131073  Upstairs  off  65536 65537\n", h.do("groups"))
		require.Empty(h, h.do("on", "65536"))
		require.Empty(h, h.do("dim", "-over", "1s", "65537", "50%"))
		require.Equal(h, `65536  Hall    on 100%  W
65537  Desk    on 50%   WS
65538  Cellar  off      W
`, h.do("devices"))
		h.do("off", "65536")
		require.Contains(h, h.do("devices"), "65536  Hall    off ")
		h.do("dim", "group", "131073", "25")
		require.Contains(h, h.do("devices"), "Hall    on 10%  W\n65537  Desk    on 10% ")
		h.do("off", "group", "131073")
		require.Equal(h, "131073  Upstairs  off  65536 65537\n", h.do("groups"))
		require.NotContains(h, h.do("devices"), "on ")
	})
}

func TestFailures(t *testing.T) {
	inHouse(t, func(h *house) {
		h.fail("pair with a gateway first", "devices")
		status, _, errs := h.run("wrong\n", "pair", "192.0.2.1")
		require.Equal(h, 1, status)
		require.Contains(h, errs, "does not accept the security code")
		h.fail("want the host name or address", "pair", "coaps://192.0.2.1")
		h.fail("192.0.2.99:5684: is the address right", "pair", "192.0.2.99")
		_, err := os.Stat(h.file)
		require.ErrorIs(h, err, os.ErrNotExist)

		h.pair()
		kept, err := os.ReadFile(h.file)
		require.NoError(h, err)
		name := regexp.MustCompile(`coapkit-\w+`).FindString(string(kept))
		h.fail("the gateway gives no key to "+name, "pair", "-identity", name, "192.0.2.1")
		after, err := os.ReadFile(h.file)
		require.NoError(h, err)
		require.Equal(h, string(kept), string(after), "what fails changes nothing")

		h.fail("nothing with this number", "on", "65599")
		h.do("on", "65538") // the gateway does not know yet
		coaptest.Pass(10 * time.Second)
		h.fail("Cellar (65538) cannot be reached by the gateway", "on", "65538")
		require.Contains(h, h.do("devices"), "65538  Cellar  off, not reachable")

		coaptest.Pass(43 * 24 * time.Hour)
		h.fail("the gateway does not know "+name+" any more", "devices")
	})
}

func TestUsage(t *testing.T) {
	inHouse(t, func(h *house) {
		for _, args := range []string{"", "dance", "on", "on hall", "on group", "on 1 2 3", "dim 65536", "dim 65536 101%", "dim -over 1 65536 1", "dim -over 1h 65536 1", "watch", "watch hall", "devices 1", "pair", "-x"} {
			status, out, errs := h.run("", strings.Fields(args)...)
			require.Equal(h, 2, status, args)
			require.Empty(h, out)
			require.NotEmpty(h, errs)
		}
		status, _, errs := h.run("", "-help")
		require.Equal(h, 0, status)
		require.Contains(h, errs, "watch ID")
	})
}

// watching is "watch" in another process, so to speak.
type watching struct {
	out, errs output
	cancel    context.CancelFunc
	status    chan int
}

func (h *house) watch(id string) *watching {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{cancel: cancel, status: make(chan int, 1)}
	p := h.program(&w.out, &w.errs, "")
	go func() { w.status <- p.run(ctx, []string{"-file", h.file, "watch", id}) }()
	return w
}

// pass lets time pass and returns what has been written, without the times.
func (w *watching) pass(d time.Duration) []string {
	coaptest.Pass(d)
	var lines []string
	for line := range strings.Lines(w.out.String()) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), "  ")
		lines = append(lines, text)
	}
	return lines
}

func TestWatch(t *testing.T) {
	inHouse(t, func(h *house) {
		h.pair()
		w := h.watch("65536")
		require.Equal(h, []string{"Hall: off"}, w.pass(time.Second))
		h.do("on", "65536")
		require.Equal(h, []string{"Hall: off", "Hall: on 100%"}, w.pass(time.Second))
		h.do("dim", "group", "131073", "50%")
		h.do("on", "65537") // another bulb
		require.Equal(h, []string{"Hall: off", "Hall: on 100%", "Hall: on 50%"}, w.pass(time.Hour))
		require.Empty(h, w.errs.String())
		w.cancel()
		require.Equal(h, 0, <-w.status)

		w = h.watch("65599")
		require.Equal(h, 1, <-w.status)
		require.Contains(h, w.errs.String(), "nothing with this number")
	})
}

// A gateway that restarts knows neither sessions nor observers.
func TestWatchAcrossRestart(t *testing.T) {
	inHouse(t, func(h *house) {
		h.pair()
		w := h.watch("65536")
		require.Equal(h, []string{"Hall: off"}, w.pass(time.Second))
		h.crash()
		h.serve()
		h.do("on", "65536")
		require.Equal(h, []string{"Hall: off", "Hall: on 100%"}, w.pass(10*time.Minute))
		h.do("off", "65536")
		require.Equal(h, []string{"Hall: off", "Hall: on 100%", "Hall: off"}, w.pass(time.Second), "it observes again")
		w.cancel()
		require.Equal(h, 0, <-w.status)
	})
}

// The emulated gateway and a client of it on sockets.
func TestEmulate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	var errs output
	ended := make(chan int, 1)
	go func() {
		p := &program{in: strings.NewReader(""), out: write, errs: &errs, secure: dtls.Dialer}
		ended <- p.run(ctx, []string{"emulate", "-listen", "127.0.0.1:0", "-code", "sesame"})
		write.CloseWithError(errors.New(errs.String()))
	}()
	line, err := bufio.NewReader(read).ReadString('\n')
	require.NoError(t, err)
	at := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	require.Contains(t, line, "its security code is sesame")

	var out output
	client := &program{in: strings.NewReader("sesame"), out: &out, errs: &errs, secure: dtls.Dialer}
	file := filepath.Join(t.TempDir(), "tradfri.json")
	require.Equal(t, 0, client.run(t.Context(), []string{"-file", file, "pair", at}), errs.String())
	require.Equal(t, 0, client.run(t.Context(), []string{"-file", file, "devices"}), errs.String())
	require.Contains(t, out.String(), "65537  Kitchen  off  TRADFRI bulb E27 WS opal 980lm\n")
	cancel()
	require.Equal(t, 0, <-ended)
}
