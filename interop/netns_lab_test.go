//go:build linux

package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/rpc"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
)

// lab is a small network of hosts. Each is a process in a network namespace that was made with
// it and goes with it: nothing has a name that could collide, and nothing can be left behind. They
// are joined by bridges in the namespace of one more process, number 0, so that the network of the
// machine is neither used nor changed.
type lab struct {
	t     *testing.T
	board *host // has the bridges
	hosts int
	links map[int]bool // whose bridge exists
}

// newLab makes a lab without hosts.
func newLab(t *testing.T) *lab {
	t.Helper()
	requireTool(t, "ip", "iproute2 (Debian)")
	l := &lab{t: t, board: startHost(t, 0), links: map[int]bool{}}
	l.board.serve(ServeArgs{})
	return l
}

// host is one host of a lab.
type host struct {
	t        *testing.T
	number   int
	process  *exec.Cmd
	commands *rpc.Client
}

// host adds a host that is on the given links.
func (l *lab) host(links ...int) *host {
	l.t.Helper()
	l.hosts++
	h := startHost(l.t, l.hosts)
	h.ip("link set lo up")
	for _, link := range links {
		l.plug(h, link)
	}
	return h
}

// side is what a host has on a link.
type side struct {
	dev   string
	index int        // of the interface, the same on no other host
	v4    netip.Addr // in a /24
	v6    netip.Addr // in a /64
	local netip.Addr // link-local, with zone; the same on each link of a host
}

// on returns what a host has on a link, which is determined by their numbers.
func (h *host) on(link int) side {
	dev := fmt.Sprintf("h%dl%d", h.number, link)
	return side{
		dev:   dev,
		index: 1000 + 100*link + h.number,
		v4:    netip.MustParseAddr(fmt.Sprintf("10.99.%d.%d", link, 100+h.number)),
		v6:    netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%d", link, 100+h.number)),
		local: netip.MustParseAddr(fmt.Sprintf("fe80::%d%%%s", 100+h.number, dev)),
	}
}

// plug joins a host to a link. There is no duplicate address detection, which takes a second.
func (l *lab) plug(h *host, link int) {
	l.t.Helper()
	if !l.links[link] {
		l.links[link] = true
		l.board.ip("link add l%d type bridge mcast_snooping 0", link)
		l.board.ip("link set l%[1]d up\naddr add %[2]v/24 dev l%[1]d\naddr add %[3]v/64 dev l%[1]d nodad",
			link, l.board.on(link).v4, l.board.on(link).v6)
	}
	s, port := h.on(link), fmt.Sprintf("p%dl%d", h.number, link)
	h.ip("link add %s index %d type veth peer name %s netns %d", s.dev, s.index, port, l.board.process.Process.Pid)
	l.board.ip("link set %s master l%d up", port, link)
	h.ip(`link set %[1]s addrgenmode none
		link set %[1]s up
		addr add %[2]v/24 dev %[1]s
		addr add %[3]v/64 dev %[1]s nodad
		addr add %[4]v/64 dev %[1]s nodad`, s.dev, s.v4, s.v6, s.local.WithZone(""))
	l.ready(h, link)
}

// ready waits until what a host sends by a link arrives, and the other way round.
func (l *lab) ready(h *host, link int) {
	l.t.Helper()
	h.call("Reach", l.board.on(link).v4, nil)
	h.call("Reach", l.board.on(link).v6, nil)
}

// startHost starts the process of a host, which ends with the test.
func startHost(t *testing.T, number int) *host {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "test"), os.NewFile(uintptr(fds[1]), "host")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })

	self, err := os.Executable()
	require.NoError(t, err)
	var output logBuffer
	cmd := exec.Command(self, "-test.run=^TestNetnsHelper$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), agentVariable+"=1")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.ExtraFiles = []*os.File{theirs} // becomes agentFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); errors.Is(err, os.ErrPermission) {
		missingRights(t)
	} else {
		require.NoError(t, err)
	}
	h := &host{t: t, number: number, process: cmd, commands: rpc.NewClient(conn)}
	t.Cleanup(func() {
		h.commands.Close()
		cmd.Process.Kill()
		cmd.Wait() // that it was killed is no error
		if t.Failed() {
			t.Logf("output of host %d:\n%s", number, &output)
		}
	})
	return h
}

// requireNamespaces is the environment variable that makes missing rights a failure.
const requireNamespaces = "COAPKIT_REQUIRE_NAMESPACES"

// missingRights skips the test where namespaces cannot be made, or fails it where they have to be.
func missingRights(t *testing.T) {
	t.Helper()
	const how = "the right to make network namespaces is missing; run as root, " +
		"or by: unshare --user --map-root-user --net go test"
	if os.Getenv(requireNamespaces) == "1" {
		t.Fatalf("%s=1, but %s", requireNamespaces, how)
	}
	t.Skipf("SKIPPED: %s; set %s=1 to fail instead", how, requireNamespaces)
}

// call has a host do something and waits for the result.
func (h *host) call(method string, args, result any) {
	h.t.Helper()
	h.wait(h.start(method, args, result))
}

// start has a host do something meanwhile.
func (h *host) start(method string, args, result any) *rpc.Call {
	if result == nil {
		result = new(None)
	}
	return h.commands.Go("Agent."+method, args, result, make(chan *rpc.Call, 1))
}

// wait waits for the end of a call, which bounds its own time; here it gets some more.
func (h *host) wait(call *rpc.Call) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience+10*time.Second)
	defer cancel()
	select {
	case <-call.Done:
		require.NoError(h.t, call.Error, "host %d: %s", h.number, call.ServiceMethod)
	case <-ctx.Done():
		require.FailNow(h.t, "a host does not answer", "host %d: %s", h.number, call.ServiceMethod)
	}
}

// ip runs commands of ip on a host, one a line.
func (h *host) ip(format string, args ...any) {
	h.t.Helper()
	h.call("IP", strings.TrimSpace(fmt.Sprintf(format, args...))+"\n", nil)
}

// serve starts the server of a host.
func (h *host) serve(args ServeArgs) {
	h.t.Helper()
	h.call("Serve", args, nil)
}

// get sends a request for /who to an address, which may have a zone.
func (h *host) get(addr netip.Addr) Answer {
	h.t.Helper()
	return h.do(Ask{URI: who(addr)})
}

// do sends a request.
func (h *host) do(ask Ask) (a Answer) {
	h.t.Helper()
	h.call("Do", ask, &a)
	return a
}

// multicast sends a request to a group, again if not all have answered that are wanted: a datagram
// that is lost, as happens when a host has just joined, is not what the tests are about.
func (h *host) multicast(ask Ask) (answers []Answer) {
	h.t.Helper()
	ask.Window = time.Second
	for range int(patience / ask.Window) {
		answers = nil
		if h.call("Multicast", ask, &answers); len(answers) >= ask.Want {
			break
		}
	}
	return answers
}

// warm waits until all servers get what the host sends to each group by a link.
func (h *host) warm(link int, servers ...*host) {
	h.t.Helper()
	for _, group := range coap.AllNodes() {
		answers := h.multicast(Ask{URI: who(group), IfIndex: h.on(link).index, Want: len(servers)})
		require.Len(h.t, answers, len(servers))
	}
	for _, s := range servers {
		s.seen()
	}
}

// seen returns the requests that the server of a host has got since the last call.
func (h *host) seen() (s []Seen) {
	h.t.Helper()
	h.call("Seen", None{}, &s)
	return s
}

// serverStats returns the counters of the server of a host.
func (h *host) serverStats() (s coap.Stats) {
	h.t.Helper()
	h.call("ServerStats", None{}, &s)
	return s
}

// clientStats returns the counters of the client of a host.
func (h *host) clientStats() (s coap.Stats) {
	h.t.Helper()
	h.call("ClientStats", None{}, &s)
	return s
}

// who is the URI of the resource that says what a server knows of a request.
func who(addr netip.Addr) string { return coapURI(addr, coap.DefaultPort, "/who") }

// coapURI is a URI with an IP address as host.
func coapURI(addr netip.Addr, port int, path string) string {
	a := coap.Authority{Scheme: "coap", Host: addr.String(), Port: uint16(port)}
	return a.String() + path
}

// service is the address of the server at an IP address.
func service(addr netip.Addr) netip.AddrPort { return netip.AddrPortFrom(addr, coap.DefaultPort) }
