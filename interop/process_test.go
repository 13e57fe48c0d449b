package interop

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
)

// patience bounds every wait for a peer. It is only used up when something is broken.
const patience = time.Minute

// within returns a context for one step of a test that waits for a peer.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// onEachHost runs a test on the loopback address of both families, as a subtest each.
func onEachHost(t *testing.T, test func(t *testing.T, host netip.Addr)) {
	t.Helper()
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			addr := netip.MustParseAddr(host)
			c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
			if err != nil {
				t.Skipf("SKIPPED: this host has no address %s", host)
			}
			c.Close()
			test(t, addr)
		})
	}
}

// freePort returns a port of host that nobody uses at the moment.
func freePort(t *testing.T, host netip.Addr) netip.AddrPort {
	t.Helper()
	for range 1000 {
		// Below the ports that systems give out by themselves: else a server of another test could have it before the
		// process does, and answer in its place.
		at := netip.AddrPortFrom(host, uint16(20_000+(os.Getpid()*97+int(ports.Add(1)))%12_000))
		if c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err == nil {
			c.Close()
			return at
		}
	}
	t.Fatal("no port is free")
	return netip.AddrPort{}
}

// ports counts those that were given out.
var ports atomic.Int32

// process is a running peer.
type process struct {
	cmd    *exec.Cmd
	output logBuffer
	done   chan struct{} // closed when it has ended
}

// logBuffer collects what a process writes. It may be written and read concurrently.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start starts a program, which is killed when the test ends, and whose output is logged if the
// test has failed. Its standard input stays open until then.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	_, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		p.cmd.Wait() // that it was killed is no error
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("output of %v:\n%s", p.cmd, &p.output)
		}
	})
	return p
}

// kill ends the process, without giving it a chance to say goodbye, and waits for its end.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// peerServer is a server that others wrote, as a running process.
type peerServer struct {
	*process
	addr netip.AddrPort
	base string // its URI, without a path
}

// startServer starts a server on a free port of host, and waits until it answers a ping, which
// is the only message it has got then. args returns the arguments that make it listen there.
func startServer(t *testing.T, host netip.Addr, name string, args func(addr, port string) []string) *peerServer {
	t.Helper()
	ctx := within(t)
	for ctx.Err() == nil {
		addr := freePort(t, host)
		p := start(t, name, args(host.String(), strconv.Itoa(int(addr.Port())))...)
		s := &peerServer{process: p, addr: addr, base: "coap://" + addr.String()}
		if s.ready(ctx) {
			return s
		}
		// Somebody else may have taken the port meanwhile, or the server has lost the ping:
		// libcoap does, if it comes between opening the socket and configuring it.
		p.kill()
	}
	t.Fatalf("%s does not answer", name)
	return nil
}

// ready waits until the server answers a ping. It reports false if that does not happen, or not
// at the first attempt after it has opened its port.
func (s *peerServer) ready(ctx context.Context) bool {
	c := coap.Client{Config: &coap.Config{Params: coap.Params{AckTimeout: time.Second / 2}}}
	defer c.Close()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		// Until the port is open, the system says at once that the ping is not delivered.
		if err := c.Ping(ctx, s.base); err == nil {
			return c.Stats().Retransmitted == 0
		}
		select {
		case <-s.done:
			return false
		case <-ctx.Done():
			return false
		case <-again.C:
		}
	}
}

// run runs a program to its end and returns what it wrote.
func run(t *testing.T, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	cmd := exec.CommandContext(within(t), name, args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of %v:\n%s\n%s", cmd, &out, &problems)
		}
	})
	require.NoError(t, err, "%v", cmd)
	return out.String(), problems.String()
}
