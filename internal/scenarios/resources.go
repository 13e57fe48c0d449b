package scenarios

import (
	"strconv"
	"sync"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// SlowTime is how long /slow takes.
const SlowTime = 1500 * time.Millisecond

// Resources is a server with one resource of each kind.
type Resources struct {
	*coap.Mux
	mu   sync.Mutex
	hits map[string]int // by pattern
}

// NewResources makes one: /plain, /echo, /count and /slow.
func NewResources() *Resources {
	s := &Resources{Mux: coap.NewMux(), hits: make(map[string]int)}
	s.Use(func(next coap.Handler) coap.Handler {
		return coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			s.mu.Lock()
			s.hits[r.Pattern()]++
			s.mu.Unlock()
			return next.ServeCoAP(w, r)
		})
	})
	s.HandleFunc("GET /plain", func(w *coap.Response, r *coap.Request) error { return w.Text("plain") })
	s.HandleFunc("/echo", Echo)
	s.HandleFunc("POST /count", func(w *coap.Response, r *coap.Request) error {
		return w.Text(strconv.Itoa(s.Count("POST /count")))
	})
	worker := coap.Route{Placement: coap.OnWorker} // from the first request on, at no cost of time
	s.HandleFunc("GET /slow", Slow, worker)
	s.HandleFunc("POST /slow", Slow, worker)
	return s
}

// Count says how often a handler has run.
func (s *Resources) Count(pattern string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits[pattern]
}

// Echo answers with the payload, or else with the query argument "n".
func Echo(w *coap.Response, r *coap.Request) error {
	if n, ok := r.Query("n"); ok {
		return w.Text(n)
	}
	return w.Bytes(message.OctetStream, r.Payload)
}

// Slow answers after SlowTime.
func Slow(w *coap.Response, r *coap.Request) error {
	select {
	case <-time.After(SlowTime):
		return w.Text("late")
	case <-r.Context().Done():
		return r.Context().Err()
	}
}
