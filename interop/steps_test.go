package interop

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// step is one message of an exchange, as one of the two ends saw it.
type step struct {
	toServer bool
	typ      message.Type
	code     message.Code
	id       uint16
	token    string // in hexadecimal
}

// String returns the step for a chart: "> CON 0.01" to the server, "< ACK 2.05" from it.
func (s step) String() string {
	direction := "<"
	if s.toServer {
		direction = ">"
	}
	return direction + " " + s.typ.String() + " " + s.code.Dotted()
}

// chart writes steps as strings.
func chart(steps []step) []string {
	var c []string
	for _, s := range steps {
		c = append(c, s.String())
	}
	return c
}

// usualChart is what happens when a request is answered at once, code 0 for not at all.
func usualChart(non bool, method, code message.Code) []string {
	switch {
	case code == message.Empty:
		return []string{"> NON " + method.Dotted()}
	case non:
		return []string{"> NON " + method.Dotted(), "< NON " + code.Dotted()}
	}
	return []string{"> CON " + method.Dotted(), "< ACK " + code.Dotted()}
}

// separateChart is what happens when a request is acknowledged first and answered later.
func separateChart(method, code message.Code) []string {
	return []string{"> CON " + method.Dotted(), "< ACK 0.00", "< CON " + code.Dotted(), "> ACK 0.00"}
}

// requireConsistent checks what holds for all exchanges: who answers a message echoes its
// message ID and its token, and Empty messages have no token.
func requireConsistent(t *testing.T, steps []step) {
	t.Helper()
	for i, s := range steps {
		if s.code == message.Empty {
			assert.Empty(t, s.token, "token of %v", s)
		}
		earlier := func(match func(step) bool) bool {
			return slices.ContainsFunc(steps[:i], func(e step) bool { return e.toServer != s.toServer && match(e) })
		}
		if s.typ == message.Acknowledgement || s.typ == message.Reset {
			assert.True(t, earlier(func(e step) bool { return e.typ <= message.NonConfirmable && e.id == s.id }),
				"%v echoes no message ID of %v", s, steps[:i])
		}
		if s.code.IsResponse() {
			assert.True(t, earlier(func(e step) bool { return e.code.IsRequest() && e.token == s.token }),
				"%v echoes no token of %v", s, steps[:i])
		}
	}
}

// recorder keeps the messages that an endpoint of ours sends and receives. Copies of
// a message, as retransmission makes them, count once, so that a chart does not depend on how
// busy the machine is.
type recorder struct {
	server bool // the endpoint is the server

	mu      sync.Mutex
	seen    map[string]bool
	steps   []step
	changed chan struct{} // closed and replaced with each step
}

func newRecorder(server bool) *recorder {
	return &recorder{server: server, seen: make(map[string]bool), changed: make(chan struct{})}
}

// trace is for coap.Config.Trace.
func (r *recorder) trace(e coap.TraceEvent) {
	var m message.Message
	sent := e.Kind == exchange.TraceSent
	if !sent && e.Kind != exchange.TraceReceived || codec.DecodeUDP(e.Datagram, &m) != nil {
		return
	}
	s := step{toServer: sent != r.server, typ: m.Type, code: m.Code, id: m.MessageID, token: m.Token.String()}
	key := s.String() + string(e.Datagram)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[key] {
		return
	}
	r.seen[key] = true
	r.steps = append(r.steps, s)
	close(r.changed)
	r.changed = make(chan struct{})
}

// until waits until done is true of the steps so far, and returns them.
func (r *recorder) until(ctx context.Context, done func([]step) bool) ([]step, error) {
	for {
		r.mu.Lock()
		steps, changed := slices.Clone(r.steps), r.changed
		r.mu.Unlock()
		if done(steps) {
			return steps, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return steps, ctx.Err()
		}
	}
}

// contains is for recorder.until: there is a step that looks like this.
func contains(line string) func([]step) bool {
	return func(steps []step) bool { return slices.Contains(chart(steps), line) }
}

// requireChart waits until there are as many steps as wanted, and requires that they are
// those and consistent.
func (r *recorder) requireChart(t *testing.T, want []string) {
	t.Helper()
	steps, _ := r.until(within(t), func(s []step) bool { return len(s) >= len(want) })
	require.Equal(t, want, chart(steps), "messages that we saw")
	requireConsistent(t, steps)
}

// newClient returns a client of ours and the recorder of its messages.
func newClient(t *testing.T, params coap.Params) (*coap.Client, *recorder) {
	t.Helper()
	r := newRecorder(false)
	c := &coap.Client{Config: &coap.Config{Params: params, Trace: r.trace}}
	t.Cleanup(func() { c.Close() })
	return c, r
}
