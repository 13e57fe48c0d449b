// Package examples holds small programs that use the library; the README shows them.
package examples

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The programs in the README are the ones that are compiled and run here.
func TestReadmeShowsThePrograms(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	for _, program := range []string{"server", "client"} {
		code, err := os.ReadFile(filepath.Join(program, "main.go"))
		require.NoError(t, err)
		_, code2, _ := strings.Cut(string(code), "package main")
		require.Contains(t, string(readme), "```go\npackage main"+code2+"```", "README.md does not show examples/%s/main.go", program)
	}
}

func TestServerAndClient(t *testing.T) {
	probe, err := net.ListenPacket("udp", ":5683")
	if err != nil {
		t.Skip("port 5683, which the examples use, is taken: ", err)
	}
	probe.Close()
	dir := t.TempDir()
	for _, program := range []string{"server", "client"} {
		out, err := exec.Command("go", "build", "-o", filepath.Join(dir, program), "./"+program).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	server := exec.Command(filepath.Join(dir, "server"))
	require.NoError(t, server.Start())
	defer func() {
		server.Process.Kill()
		server.Wait()
	}()
	// The client fails at once as long as nobody listens.
	var out []byte
	for range 200 {
		if out, err = exec.Command(filepath.Join(dir, "client")).CombinedOutput(); err == nil {
			break
		}
	}
	require.NoError(t, err, string(out))
	require.Equal(t, `/hello/world: 2.05 Content Hello, world!
/slow: 2.05 Content That took a while.
/nothing: 4.04 Not Found 
`, string(out))
}
