package main

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/udp"
)

// startCounter serves a resource that counts how often it was rendered, and changes each time
// until it has reached last. What it is then is up to final.
func startCounter(t *testing.T, last int64, final error) string {
	t.Helper()
	conn, err := udp.Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	var n atomic.Int64
	var server coap.Server
	mux := coap.NewMux()
	mux.HandleFunc("GET /n", func(w *coap.Response, _ *coap.Request) error {
		i := n.Add(1)
		if i > last && final != nil {
			return final
		}
		if i < last || final != nil {
			server.Notify("/n")
		}
		return w.Text(strconv.FormatInt(i, 10))
	}, coap.Route{Observable: true})
	server.Handler = mux
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), conn) }()
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		assert.NoError(t, <-served)
	})
	return "coap://" + conn.LocalAddr().String()
}

func TestObserve(t *testing.T) {
	r := runCLI(t, "observe", "-n", "3", startCounter(t, 100, nil)+"/n")
	assert.Equal(t, exitSuccess, r.status, r.err)
	assert.Empty(t, r.err)
	assert.Regexp(t, `^([0-9:.]{12} +[123]  live         [0-9] bytes? "[0-9]+".*\n){3}$`, r.out)

	r = runCLI(t, "observe", "-d", "50ms", startCounter(t, 1, nil)+"/n")
	assert.Equal(t, exitSuccess, r.status, r.err)
	assert.Regexp(t, `^[0-9:.]{12}    1  live         1 byte "1"\n$`, r.out)
}

func TestObserveJSON(t *testing.T) {
	base := startCounter(t, 100, nil)
	r := runCLI(t, "observe", "--json", "-n", "2", base+"/n")
	require.Equal(t, exitSuccess, r.status, r.err)
	number := 0.0
	for line := range strings.Lines(r.out) {
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &got))
		number++
		assert.Equal(t, number, got["number"])
		assert.Equal(t, []any{"live", base + "/n", "2.05"}, []any{got["state"], got["uri"], got["code"]})
		assert.Contains(t, got, "sequence")
		_, err := time.Parse(time.RFC3339Nano, got["time"].(string))
		assert.NoError(t, err)
	}
	assert.Equal(t, 2.0, number)
}

// TestObserveEnds has observations that end by themselves, or never begin.
func TestObserveEnds(t *testing.T) {
	gone := &coap.Error{Code: message.NotFound, Diagnostic: "gone"}
	for _, test := range []struct {
		name   string
		args   []string
		values int
		want   string
	}{
		{"the server ends it", []string{startCounter(t, 2, gone) + "/n"}, 2, "the observation ended: 4.04 Not Found"},
		{"nothing there", []string{startCounter(t, 0, gone) + "/n"}, 0, "the observation ended: 4.04 Not Found: gone\n"},
		{"not observable", []string{startServer(t, newResources()) + "/time"}, 1, "does not tell when this resource changes; coap get asks for it once\n"},
		{"silence", []string{"-d", "50ms", silentServer(t) + "/n"}, 0, "no value from coap://127.0.0.1:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := runCLI(t, append([]string{"observe"}, test.args...)...)
			assert.Equal(t, exitNoAnswer, r.status, r.err)
			assert.Contains(t, r.err, test.want)
			assert.LessOrEqual(t, strings.Count(r.out, "\n"), test.values)
		})
	}
}

func TestObserveInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := runWith(ctx, "", "observe", startCounter(t, 1, nil)+"/n")
	assert.Equal(t, exitInterrupted, r.status)
	assert.Equal(t, "coap: interrupted\n", r.err)
}

func TestNotificationLine(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	response := func(code coap.Code, payload string) *coap.Response {
		return &coap.Response{Code: code, Payload: []byte(payload)}
	}
	var b strings.Builder
	for _, n := range []coap.Notification{
		{},
		{State: 1, Response: response(message.Content, "21.5")},
		{State: 1, Response: response(message.Content, "\x1b[31m"), Skipped: 3},
		{State: 1, Response: response(message.Valid, "")},
		{State: 2},
	} {
		b.WriteString(notificationLine(at, 12, n, "", map[bool]string{true: "it is silent"}[n.State == 2]))
	}
	golden(t, "observe", b.String())
}

// TestServeObserve watches what "coap serve" has.
func TestServeObserve(t *testing.T) {
	server := serving(t)
	r := runCLI(t, "observe", "-n", "1", server.base+"/time")
	assert.Equal(t, exitSuccess, r.status, r.err)
	server.stop()
}
