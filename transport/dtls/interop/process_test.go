package interop

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for a peer. It is only used up when something is broken.
const patience = time.Minute

// loopback is the host of all tests.
var loopback = netip.MustParseAddr("127.0.0.1")

// within returns a context for one step of a test that waits for a peer.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// requirePeers is the environment variable that turns skipping into failing.
const requirePeers = "COAPKIT_REQUIRE_PEERS"

// requireTool returns the path of a program. If it is missing, the test is skipped, or
// fails where peers are required. pkg says how to get it: "tshark (Debian)".
func requireTool(t *testing.T, name, pkg string) (path string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, requirePeers, name, pkg)
	}
	return path
}

// missing skips the test for want of a peer, or fails it where the variable required says so.
func missing(t *testing.T, required, name, pkg string) {
	t.Helper()
	if os.Getenv(required) == "1" {
		t.Fatalf("%s is required by %s=1 but missing; install %s", name, required, pkg)
	}
	t.Skipf("SKIPPED: %s is missing; install %s, or set %s=1 to fail instead", name, pkg, required)
}

// freePorts returns the first of two neighbouring ports of loopback that nobody uses at the moment.
func freePorts(t *testing.T) uint16 {
	t.Helper()
	for range 1000 {
		// Below the ports that systems give out by themselves.
		port := uint16(20_000 + (os.Getpid()*98+int(ports.Add(2)))%12_000)
		if isFree(port) && isFree(port+1) {
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func isFree(port uint16) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, port)))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// ports counts those that were given out.
var ports atomic.Int32

// process is a running peer.
type process struct {
	cmd   *exec.Cmd
	input io.Writer
	done  chan struct{} // closed when it has ended

	mu     sync.Mutex
	output bytes.Buffer  // all that it has written
	lines  []string      // those of its standard output
	rest   string        // of an unfinished line
	grown  chan struct{} // closed and replaced with each change of lines
}

// start starts a program, which is killed when the test ends, and whose output is logged if the test has
// failed. Its standard input stays open until then.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{}), grown: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = stdout{p}, stderr{p}
	var err error
	p.input, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		p.cmd.Wait() // that it was killed is no error
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("output of %v:\n%s", p.cmd, p.written())
		}
	})
	return p
}

// kill ends the process, without giving it a chance to say goodbye, and waits for its end.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// written returns all that the process has written.
func (p *process) written() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

type stdout struct{ p *process }

func (w stdout) Write(b []byte) (int, error) {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.output.Write(b)
	p.rest += string(b)
	for {
		line, rest, ok := strings.Cut(p.rest, "\n")
		if !ok {
			break
		}
		p.lines, p.rest = append(p.lines, line), rest
	}
	close(p.grown)
	p.grown = make(chan struct{})
	return len(b), nil
}

type stderr struct{ p *process }

func (w stderr) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.p.output.Write(b)
	return len(b), nil
}

// await waits for a line on the standard output for which match is true, takes all lines up to it away, and returns it. It waits
// no longer when the process has ended.
func (p *process) await(t *testing.T, what string, match func(line string) bool) string {
	t.Helper()
	ctx, ended := within(t), false
	for {
		p.mu.Lock()
		for i, line := range p.lines {
			if match(line) {
				p.lines = p.lines[i+1:]
				p.mu.Unlock()
				return line
			}
		}
		grown := p.grown
		p.mu.Unlock()
		if ended {
			t.Fatalf("the peer has ended and did not say %s", what)
		}
		select {
		case <-grown:
		case <-p.done:
			ended = true // and all that it has written is here
		case <-ctx.Done():
			t.Fatalf("the peer does not say %s", what)
		}
	}
}

// line waits for a line that begins with prefix, and returns what follows.
func (p *process) line(t *testing.T, prefix string) string {
	t.Helper()
	line := p.await(t, prefix, func(line string) bool { return strings.HasPrefix(line, prefix) })
	return strings.TrimPrefix(line, prefix)
}

// lineWith waits for a line that contains text.
func (p *process) lineWith(t *testing.T, text string) {
	t.Helper()
	p.await(t, text, func(line string) bool { return strings.Contains(line, text) })
}

// tell writes a line to the standard input of the process.
func (p *process) tell(t *testing.T, line string) {
	t.Helper()
	_, err := io.WriteString(p.input, line+"\n")
	require.NoError(t, err)
}

// end waits for the end of the process.
func (p *process) end(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-within(t).Done():
		t.Fatal("the peer does not end")
	}
}
