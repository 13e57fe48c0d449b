// Package examples holds small programs that use the library; the README shows them.
package examples

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
)

// The programs in the README are the ones that are compiled and run here.
func TestReadmeShowsThePrograms(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	for _, program := range []string{"server", "client", "thermometer", "watch", "secureserver", "secureclient"} {
		code, err := os.ReadFile(filepath.Join(program, "main.go"))
		require.NoError(t, err)
		_, code2, _ := strings.Cut(string(code), "package main")
		require.Contains(t, string(readme), "```go\npackage main"+code2+"```", "README.md does not show examples/%s/main.go", program)
	}
}

// programs builds the programs of a test and starts the first one, a server, which ends with the
// test. It skips the test if the port that the server uses is taken. path returns where each program is.
func programs(t *testing.T, port int, server string, others ...string) (path func(program string) string) {
	t.Helper()
	probe, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Skipf("port %d, which the examples use, is taken: %v", port, err)
	}
	probe.Close()
	dir := t.TempDir()
	path = func(program string) string { return filepath.Join(dir, program) }
	for _, program := range append(others, server) {
		out, err := exec.Command("go", "build", "-o", path(program), "./"+program).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	s := exec.Command(path(server))
	require.NoError(t, s.Start())
	t.Cleanup(func() {
		s.Process.Kill()
		s.Wait()
	})
	return path
}

// The programs run, and the server can be asked on the default port for what it has.
//
// Proves 7252-7.1-01.
func TestServerAndClient(t *testing.T) {
	path := programs(t, coap.DefaultPort, "server", "client")
	// The client fails at once as long as nobody listens.
	var out []byte
	var err error
	for range 200 {
		if out, err = exec.Command(path("client")).CombinedOutput(); err == nil {
			break
		}
	}
	require.NoError(t, err, string(out))
	require.Equal(t, `/hello/world: 2.05 Content Hello, world!
/slow: 2.05 Content That took a while.
/nothing: 4.04 Not Found 
`, string(out))
	resp, err := coap.Get(t.Context(), "coap://127.0.0.1/.well-known/core")
	require.NoError(t, err)
	require.Equal(t, "</slow>", string(resp.Payload))
}

// The URI of the client has no port, and the server is on the default one.
//
// Proves 7252-6.2-01.
func TestSecureServerAndClient(t *testing.T) {
	path := programs(t, 5684, "secureserver", "secureclient")
	var out []byte
	var err error
	for range 200 { // until somebody listens
		if out, err = exec.Command(path("secureclient")).CombinedOutput(); err == nil {
			break
		}
	}
	require.NoError(t, err, string(out))
	require.Equal(t, "2.05 Content You are lamp-7.\n", string(out))
}

func TestThermometerAndWatch(t *testing.T) {
	path := programs(t, coap.DefaultPort, "thermometer", "watch")
	var lines []string
	for range 200 { // until somebody listens
		if lines = firstLines(t, path("watch"), 3); len(lines) > 0 {
			break
		}
	}
	require.Len(t, lines, 3)
	last := -1
	for _, line := range lines {
		var degrees int
		_, err := fmt.Sscanf(line, "%d C (live)", &degrees)
		require.NoError(t, err, line)
		require.Greater(t, degrees, last, "each value is newer than the one before")
		last = degrees
	}
}

// firstLines runs a program until it has written so many lines, or has ended.
func firstLines(t *testing.T, program string, n int) (lines []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	for scanner := bufio.NewScanner(out); len(lines) < n && scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	cancel()
	cmd.Wait() // that it was killed is no error
	return lines
}
