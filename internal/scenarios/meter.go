package scenarios

import (
	"fmt"
	"strings"
	"sync"

	"github.com/coapkit/coap"
)

// Meter is a resource with a value that changes.
type Meter struct {
	mu    sync.Mutex
	value int
	Size  int // of the representation, padded
}

// Set changes the value.
func (m *Meter) Set(v int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.value = v
}

// Mux has it as /meter, which is observable, and /plain.
func (m *Meter) Mux() *coap.Mux {
	mux := coap.NewMux()
	mux.HandleFunc("GET /meter", func(w *coap.Response, r *coap.Request) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		return w.Text(fmt.Sprintf("%d %s", m.value, strings.Repeat("x", m.Size)))
	}, coap.Route{Observable: true})
	mux.HandleFunc("GET /plain", func(w *coap.Response, r *coap.Request) error { return w.Text("plain") })
	return mux
}
