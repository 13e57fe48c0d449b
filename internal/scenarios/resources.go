package scenarios

import (
	"strconv"
	"sync"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// slowTime is how long /slow takes.
const slowTime = 1500 * time.Millisecond

// resources is a server with one resource of each kind.
type resources struct {
	*coap.Mux
	mu   sync.Mutex
	hits map[string]int // by pattern
}

func newResources() *resources {
	s := &resources{Mux: coap.NewMux(), hits: make(map[string]int)}
	s.Use(func(next coap.Handler) coap.Handler {
		return coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			s.mu.Lock()
			s.hits[r.Pattern()]++
			s.mu.Unlock()
			return next.ServeCoAP(w, r)
		})
	})
	s.HandleFunc("GET /plain", func(w *coap.Response, r *coap.Request) error { return w.Text("plain") })
	s.HandleFunc("/echo", func(w *coap.Response, r *coap.Request) error { return w.Bytes(message.OctetStream, r.Payload) })
	s.HandleFunc("POST /count", func(w *coap.Response, r *coap.Request) error {
		return w.Text(strconv.Itoa(s.count("POST /count")))
	})
	worker := coap.Route{Placement: coap.OnWorker} // from the first request on, at no cost of time
	s.HandleFunc("GET /slow", slow, worker)
	s.HandleFunc("POST /slow", slow, worker)
	return s
}

// count says how often a handler has run.
func (s *resources) count(pattern string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits[pattern]
}

func slow(w *coap.Response, r *coap.Request) error {
	select {
	case <-time.After(slowTime):
		return w.Text("late")
	case <-r.Context().Done():
		return r.Context().Err()
	}
}
