package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coapkit/coap"
)

// Resources that change by themselves, to be observed (RFC 7641).

const (
	changesEvery = 5 * time.Second
	pumpsEvery   = 200 * time.Millisecond
)

// changing is a document with a new state every now and then. PUT replaces the state, and DELETE
// deletes it, until the next one.
type changing struct {
	*document
	path, title string
	every       time.Duration
	render      func(n int) *representation
	n           int // how many states there were; it belongs to who calls tick
}

// newChanging returns the resources; changed gets the path of one after each change.
func newChanging(changed func(path string)) []*changing {
	small := func(n int) *representation { return text(fmt.Sprintf("State %d\n", n)) }
	large := func(n int) *representation {
		return text(fmt.Sprintf("State %6d\n", n) + filler("obs-large", largeSize))
	}
	all := []*changing{
		{path: "/obs", title: "Changes every 5 seconds", every: changesEvery, render: small},
		{path: "/obs-non", title: "Changes every 5 seconds, to be told by NON", every: changesEvery, render: small},
		{path: "/obs-large", title: "Changes every 5 seconds, large", every: changesEvery, render: large},
		{path: "/obs-pumping", title: "Changes 5 times a second", every: pumpsEvery, render: small},
	}
	for _, c := range all {
		c.document = new(document)
		c.tick()
		c.maxAge = max(c.every, time.Second)
		c.changed = func() { changed(c.path) }
	}
	return all
}

// tick makes the next state.
func (c *changing) tick() {
	c.n++
	c.set(c.render(c.n))
}

// start makes the resources change until ctx ends. Wait on what it returns waits for the end.
func (s *site) start(ctx context.Context) *sync.WaitGroup {
	var wg sync.WaitGroup
	for _, c := range s.changing {
		wg.Go(func() {
			t := time.NewTicker(c.every)
			defer t.Stop()
			for {
				select {
				case <-t.C:
					c.tick()
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return &wg
}

// changed says that the state of a resource is another one now.
func (s *site) changed(path string) {
	if s.notify != nil {
		s.notify(path)
	}
}

// lose loses all observers, as a restart would: silently (TD_COAP_OBS_04).
func (s *site) lose() {
	if s.forget == nil {
		return
	}
	for _, c := range s.changing {
		s.forget(c.path)
	}
	s.forget("/obs-reset")
}

// confirm says that /obs-non is told of by Non-confirmable messages, all others by Confirmable ones.
func confirm(r *coap.Request) int {
	if r.Path() == "/obs-non" {
		return 100
	}
	return 1
}

func (s *site) serveChanging(m *coap.Mux) {
	for _, c := range s.changing {
		route := conditional(title(c.title), rt("observe"))
		if c.path == "/obs-large" {
			route.Attributes = append(route.Attributes, sz(maxBody))
		}
		route.Observable = true
		c.handle(m, c.path, route)
	}
	reset := fixed(coap.TextPlain, title("POST makes the server lose its observers"), rt("observe"))
	reset.Observable = true
	m.HandleFunc("GET /obs-reset", func(w *coap.Response, r *coap.Request) error {
		w.SetMaxAge(changesEvery)
		return w.Text(fmt.Sprintf("Resets: %d\n", s.resets.Load()))
	}, reset)
	m.HandleFunc("POST /obs-reset", func(w *coap.Response, r *coap.Request) error {
		s.resets.Add(1)
		s.lose()
		w.SetCode(coap.Changed)
		return nil
	}, unconditional())
	m.HandleFunc("DELETE /obs-reset", func(w *coap.Response, r *coap.Request) error {
		s.resets.Store(0)
		s.lose()
		w.SetCode(coap.Deleted)
		return nil
	}, unconditional())
}
