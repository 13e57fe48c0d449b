package coap_test

import (
	"bytes"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// How long GET /slow takes.
const slowTime = 1500 * time.Millisecond

// resources is a server with one resource of each kind.
type resources struct {
	*coap.Mux
	mu    sync.Mutex
	hits  map[string]int // by pattern
	value []byte         // of /a
}

func newResources() *resources {
	s := &resources{Mux: coap.NewMux(), hits: make(map[string]int), value: []byte("v0")}
	s.Use(func(next coap.Handler) coap.Handler {
		return coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			s.mu.Lock()
			s.hits[r.Pattern()]++
			s.mu.Unlock()
			return next.ServeCoAP(w, r)
		})
	})
	preconditions := coap.Route{Preconditions: true}
	s.HandleFunc("GET /a", s.get, preconditions)
	s.HandleFunc("PUT /a", s.put, preconditions)
	s.HandleFunc("GET /plain", func(w *coap.Response, r *coap.Request) error { return w.Text("plain") })
	s.HandleFunc("/echo", echo)
	s.HandleFunc("POST /count", func(w *coap.Response, r *coap.Request) error {
		return w.Text(strconv.Itoa(s.count("POST /count")))
	})
	worker := coap.Route{Placement: coap.OnWorker} // from the first request on, at no cost of time
	s.HandleFunc("GET /slow", slow, worker)
	s.HandleFunc("POST /slow", slow, worker)
	s.HandleFunc("GET /id/{id}", func(w *coap.Response, r *coap.Request) error {
		return w.Text(strconv.Quote(r.PathValue("id")))
	})
	s.HandleFunc("GET /x/a/b", func(w *coap.Response, r *coap.Request) error { return w.Text("three segments") })
	s.HandleFunc("GET /panic", func(*coap.Response, *coap.Request) error { panic("the handler's own") })
	s.HandleFunc("GET /fails", func(*coap.Response, *coap.Request) error { return errors.New("the database is gone") })
	s.HandleFunc("GET /forbidden", func(*coap.Response, *coap.Request) error {
		return &coap.Error{Code: message.Forbidden, Diagnostic: "not you"}
	})
	return s
}

// count says how often a handler has run.
func (s *resources) count(pattern string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits[pattern]
}

func (s *resources) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.value)
}

func (s *resources) get(w *coap.Response, r *coap.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.Precondition(s.value, s.value != nil); err != nil {
		return err
	}
	w.SetETag(s.value)
	return w.Text(string(s.value))
}

func (s *resources) put(w *coap.Response, r *coap.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.Precondition(s.value, s.value != nil); err != nil {
		return err
	}
	s.value = bytes.Clone(r.Payload)
	w.SetCode(message.Changed)
	return nil
}

// echo answers with the payload, or else with the query argument "n".
func echo(w *coap.Response, r *coap.Request) error {
	if n, ok := r.Query("n"); ok {
		return w.Text(n)
	}
	return w.Bytes(message.OctetStream, r.Payload)
}

func slow(w *coap.Response, r *coap.Request) error {
	select {
	case <-time.After(slowTime):
		return w.Text("late")
	case <-r.Context().Done():
		return r.Context().Err()
	}
}
