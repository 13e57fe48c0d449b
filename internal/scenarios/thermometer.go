package scenarios

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/stretchr/testify/require"
)

// thermometer is a resource whose value can be set, with a server that makes it observable.
type thermometer struct {
	mu     sync.Mutex
	value  string
	etags  bool
	maxAge time.Duration
	gone   bool
	calls  atomic.Int64
	srv    *observe.Server
}

func newThermometer(t testing.TB, cfg observe.ServerConfig) *thermometer {
	d := &thermometer{value: "18.5"}
	mux := coap.NewMux()
	mux.Handle("GET /temperature", d)
	mux.Handle("FETCH /temperature", d)
	d.srv = observe.NewServer(mux, cfg)
	t.Cleanup(func() { d.srv.Close() })
	return d
}

func (d *thermometer) ServeCoAP(w *coap.Response, r *coap.Request) error {
	d.calls.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return &coap.Error{Code: message.NotFound}
	}
	if d.maxAge > 0 {
		w.SetMaxAge(d.maxAge)
	}
	if d.etags {
		w.SetETag([]byte(d.value))
	}
	return w.Text(d.value + string(r.Payload))
}

func (d *thermometer) set(value string) {
	d.mu.Lock()
	d.value = value
	d.mu.Unlock()
	d.srv.Notify("/temperature")
}

func (d *thermometer) vanish() {
	d.mu.Lock()
	d.gone = true
	d.mu.Unlock()
	d.srv.Notify("/temperature")
}

// observed keeps what an observation has told.
type observed struct {
	*observe.Observation
	mu     sync.Mutex
	values []string
	states []observe.State
	err    error
	done   chan struct{}
}

func watch(t testing.TB, c *observe.Client, req *coap.Request) *observed {
	t.Helper()
	o, err := c.Observe(context.Background(), req)
	require.NoError(t, err)
	w := &observed{Observation: o, done: make(chan struct{})}
	go w.run()
	t.Cleanup(func() { o.Close(); <-w.done })
	return w
}

func (w *observed) run() {
	defer close(w.done)
	for {
		n, err := w.Next(context.Background())
		w.mu.Lock()
		w.err = err
		if err == nil {
			w.states = append(w.states, n.State)
		}
		if n.Response != nil {
			w.values = append(w.values, string(n.Response.Payload))
		}
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// told returns the values so far.
func (w *observed) told() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.values...)
}

func (w *observed) last() string {
	v := w.told()
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1]
}

func (w *observed) ended() error {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
