//go:build linux

package interop

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
)

// Groups whose members, or who asks them, are processes of libcoap on hosts of their own.

// program returns the arguments of nsenter that run a program on a host.
func (h *host) program(name string, args ...string) []string {
	return append([]string{"--target", strconv.Itoa(h.process.Process.Pid), "--net", name}, args...)
}

// libcoapGroups are the groups of the tests, as libcoap's programs take them.
var libcoapGroups = []netip.Addr{netip.MustParseAddr("224.0.1.187"), netip.MustParseAddr("ff02::fd")}

// leisureOfLibcoap is more than the time that libcoap's server takes at most to answer a group.
const leisureOfLibcoap = 7 * time.Second

// Our client and our command hear every server of libcoap that is a member, each from its own
// unicast address, also with a body of several blocks, of which a group gets only the first.
//
// Proves 7252-8.1-01, 7252-8.2-05.
func TestNetnsOurClientLibcoapGroup(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	requireTool(t, libcoapClient, libcoapPackage)
	requireTool(t, "nsenter", "util-linux (Debian)")
	command := buildCommand(t)
	for _, group := range libcoapGroups {
		t.Run(group.String(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			client, servers := l.host(1), []*host{l.host(1), l.host(1), l.host(1)}
			own := client.on(1)
			bodies := map[netip.AddrPort]string{}
			var logs []*process
			for i, s := range servers {
				// The group has to be asked for on an interface: libcoap looks for one in the table of
				// routes otherwise, and ignores a zone.
				logs = append(logs, start(t, "nsenter", s.program(libcoapServer, "-g", group.String(), "-G", s.on(1).dev, "-v", "7")...))
				client.call("Reach", s.on(1).v4, nil)
				body := strings.Repeat(strconv.Itoa(i), 2500)
				bodies[service(scoped(group, s.on(1), own.dev))] = body
				run(t, "nsenter", client.program(libcoapClient, "-m", "put", "-e", body, coapURI(s.on(1).v4, coap.DefaultPort, "/example_data"))...)
			}

			var answers []Answer
			all := client.start("Multicast", Ask{
				URI: coapURI(group, coap.DefaultPort, "/example_data"), IfIndex: own.index, Want: len(servers), Window: leisureOfLibcoap,
			}, &answers)
			stdout, _ := run(t, "nsenter", client.program(command, "discover", "--json", "--window", leisureOfLibcoap.String(), coapURI(group, coap.DefaultPort, ""))...)
			client.wait(all)

			got := map[netip.AddrPort]string{}
			for _, a := range answers {
				require.Empty(t, a.Err)
				got[a.Peer] = string(a.Payload)
			}
			require.Equal(t, bodies, got, "representations by member")
			require.ElementsMatch(t, sameLink(group, 1, own.dev, servers...), peersWithTime(t, stdout), "members found by discover:\n%s", stdout)
			for _, log := range logs {
				require.Equal(t, []string{"NON GET", "NON GET"}, groupRequests(log.output.String(), group), "requests to the group in the log of a member")
			}
		})
	}
}

// buildCommand builds the command of this project and returns its path. How long that takes is
// up to the cache of the compiler.
func buildCommand(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "coap")
	out, err := exec.CommandContext(t.Context(), requireTool(t, "go", "Go"), "build", "-C", filepath.Join("..", "cmd", "coap"), "-o", path, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// peersWithTime returns who has a resource /time, which libcoap's server has, according to coap discover.
func peersWithTime(t *testing.T, lines string) (addrs []netip.AddrPort) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var link struct {
			Peer   netip.AddrPort
			Target string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &link))
		if strings.HasSuffix(link.Target, "/time") {
			addrs = append(addrs, link.Peer)
		}
	}
	return addrs
}

// groupRequests returns what has come to a group, according to the log of libcoap's server.
func groupRequests(log string, group netip.Addr) (messages []string) {
	to := regexp.MustCompile(`\* +\[\S*` + regexp.QuoteMeta(group.String()) + `\]:5683 <-> .* received \d+ bytes\nv:1 t:(\S+) c:(\S+)`)
	for _, m := range to.FindAllStringSubmatch(log, -1) {
		messages = append(messages, m[1]+" "+m[2])
	}
	return messages
}

// libcoapFrom matches who has answered, in the log of libcoap's client.
var libcoapFrom = regexp.MustCompile(`<-> (\S+) UDP : received \d+ bytes\nv:1 t:NON c:2\.05 `)

// libcoap's client hears and prints the answer of every server of ours that is a member. Of answers in
// blocks libcoap 4.3.1 puts together only those of the first member: it keeps one body for a request.
// So the answers are short.
//
// Proves 7252-8.1-02.
func TestNetnsLibcoapClientOurGroup(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapClient, libcoapPackage)
	requireTool(t, "nsenter", "util-linux (Debian)")
	l := newLab(t)
	client, servers := l.host(1), []*host{l.host(1), l.host(1), l.host(1)}
	own := client.on(1)
	for _, s := range servers {
		s.serve(ServeArgs{Groups: coap.AllNodes(), Leisure: quick})
	}
	client.warm(1, servers...)
	// libcoap's client cannot be told an interface for IPv4, and sends where the table of routes says.
	// For IPv6 it heeds no zone either: of several links it may take another. It sends the zone as
	// part of Uri-Host, which means nothing to other hosts; our servers stand it.
	client.ip("route add 224.0.0.0/4 dev %s", own.dev)
	for _, group := range append(coap.AllNodes(), netip.MustParseAddr("ff02::fd").WithZone(own.dev)) {
		t.Run(group.String(), func(t *testing.T) {
			t.Parallel()
			uri := "coap://" + group.String() + "/heard"
			if group.Is6() {
				uri = "coap://[" + group.String() + "]/heard" // with the zone as it is, not percent-encoded
			}
			stdout, _ := run(t, "nsenter", client.program(libcoapClient, "-N", "-m", "get", "-B", "2", "-w", "-v", "7", uri)...)

			var from []string
			for _, m := range libcoapFrom.FindAllStringSubmatch(stdout, -1) {
				from = append(from, m[1])
			}
			var want []string
			var printed, wantPrinted []string
			for _, s := range servers {
				want = append(want, service(scoped(group, s.on(1), "")).String())
				wantPrinted = append(wantPrinted, heard(s.on(1).index, group.WithZone("")))
			}
			for line := range strings.Lines(stdout) {
				if slices.Contains(wantPrinted, strings.TrimSpace(line)) {
					printed = append(printed, strings.TrimSpace(line))
				}
			}
			require.ElementsMatch(t, want, from, "who has answered")
			require.ElementsMatch(t, wantPrinted, printed, "answers that are printed")
		})
	}
}
