package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

func TestDemo(t *testing.T) {
	r := runCLI(t, "demo")
	require.Equal(t, exitSuccess, r.status, r.err)
	assert.Empty(t, r.err)
	for i, step := range demoSteps {
		assert.Contains(t, r.out, step.title, "step %d", i+1)
	}
	assert.Equal(t, 2, strings.Count(r.out, "lost on purpose"))
	assert.Equal(t, 2, strings.Count(r.out, "retransmission"))
	assert.Regexp(t, `(?s)GET ------->\|  /slow.*ACK \[0x....\] -+\|  empty.*CON \[0x....\] 2\.05.*ACK \[0x....\] -+>\|  empty`, r.out)
	for line := range strings.Lines(r.out) {
		assert.LessOrEqual(t, len(strings.TrimSuffix(line, "\n")), 120, line)
	}
	assert.Contains(t, r.out, "coap serve")
}

// TestDemoNotices has a server that does not do what the demonstration says.
func TestDemoNotices(t *testing.T) {
	base := startServer(t, newResources())
	step := demoStep{requests: []demoRequest{{code: coap.GET, target: "/text", want: message.Content, body: "hello"}}}
	var b strings.Builder
	_, err := step.run(t.Context(), &b, base)
	assert.EqualError(t, err, `GET /text was answered with 4.04 Not Found "nothing is here yet: PUT something", want 2.05 Content "hello"`)
	assert.Contains(t, b.String(), "4.04")
}
