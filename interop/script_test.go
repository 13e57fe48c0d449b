package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/message"
)

// scriptRequest is what the client scripts take, scriptResult what they print. The scripts for
// node-coap and CoAPthon know less than the one for aiocoap; they say what.
type scriptRequest struct {
	aiocoapRequest
	Send  string `json:"send,omitempty"`  // file with the payload
	Save  string `json:"save,omitempty"`  // file for the payload of the response
	Block *int   `json:"block,omitempty"` // size exponent of the blocks to begin with
}

type scriptResult struct {
	aiocoapResult
	Links []scriptLink
}

// scriptLink is a link as the parser of a peer understands it. A flag has no value.
type scriptLink struct {
	Target     string
	Attributes [][2]string
}

// transferOf returns the request of a method that a script is to send. The payload, if there is one,
// goes by a file; that of the response is to be saved in the file that is returned.
func transferOf(t *testing.T, method message.Code, uri string, body []byte) (r scriptRequest, saved string) {
	t.Helper()
	dir := t.TempDir()
	saved = filepath.Join(dir, "response")
	r = scriptRequest{aiocoapRequest: aiocoapRequestOf(uri, &scenario{method: method, code: message.Content}), Save: saved}
	if body != nil {
		r.Send = filepath.Join(dir, "request")
		require.NoError(t, os.WriteFile(r.Send, body, 0o600))
	}
	return r, saved
}

// runScript has a client script send requests, all at the same time, and returns the results in the
// same order.
func runScript(t *testing.T, command []string, requests ...scriptRequest) []scriptResult {
	t.Helper()
	command = slices.Clone(command) // others run it at the same time
	for _, r := range requests {
		b, err := json.Marshal(r)
		require.NoError(t, err)
		command = append(command, string(b))
	}
	stdout, _ := run(t, command[0], command[1:]...)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, len(requests), "results")
	results := make([]scriptResult, len(lines))
	for i, l := range lines {
		require.NoError(t, json.Unmarshal([]byte(l), &results[i]), "result %s", l)
	}
	return results
}
