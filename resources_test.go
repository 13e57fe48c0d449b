package coap_test

import (
	"bytes"
	"errors"
	"strconv"
	"sync"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/internal/scenarios"
	"github.com/coapkit/coap/message"
)

// How long GET /slow takes.
const slowTime = scenarios.SlowTime

// resources is a server with one resource of each kind.
type resources struct {
	*scenarios.Resources
	mu    sync.Mutex
	value []byte // of /a
}

func newResources() *resources {
	s := &resources{Resources: scenarios.NewResources(), value: []byte("v0")}
	preconditions := coap.Route{Preconditions: true}
	s.HandleFunc("GET /a", s.get, preconditions)
	s.HandleFunc("PUT /a", s.put, preconditions)
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
