package interop

import (
	"os"
	"os/exec"
	"testing"
)

// requirePeers is the environment variable that turns skipping into failing.
const requirePeers = "COAPKIT_REQUIRE_PEERS"

// requireTool returns the path of a program. If it is missing, the test is skipped, or
// fails where peers are required. pkg says how to get it: "tshark (Debian)".
func requireTool(t *testing.T, name, pkg string) (path string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name, pkg)
	}
	return path
}

// missing skips the test for want of a peer, or fails it where peers are required.
func missing(t *testing.T, name, pkg string) {
	t.Helper()
	if os.Getenv(requirePeers) == "1" {
		t.Fatalf("%s is required by %s=1 but missing; install %s", name, requirePeers, pkg)
	}
	t.Skipf("SKIPPED: %s is missing; install %s, or set %s=1 to fail instead", name, pkg, requirePeers)
}
