package main

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/linkformat"
)

const (
	// maxBody is the longest representation that a client can leave here; a longer one
	// is answered with 4.13 (RFC 7959 section 2.9.3).
	maxBody = 64 << 10
	// maxCreated is how many resources below /large-create there may be.
	maxCreated = 16
	// separateAfter is how long /separate takes.
	separateAfter = time.Second
)

// site is the state of all resources. Each part of it guards itself.
type site struct {
	// wait is what /separate waits for.
	wait func(context.Context) error

	test, created    *document // /test, and what POST to it makes
	query            *document // what POST to /location-query makes
	validate, create *document
	update           *document
	uploads          *collection
	changing         []*changing
	resets           atomic.Int64 // POSTs to /obs-reset

	// notify is called with the path of a resource below /obs after each change of
	// its state, forget when the server is to lose the observers of one without telling them. Nil
	// means that there are no observers. They are set before the site is served.
	notify func(path string)
	forget func(path string)
}

func newSite() *site {
	s := &site{
		wait:     func(ctx context.Context) error { return pause(ctx, separateAfter) },
		test:     newDocument(text("This is the test resource.\n")),
		created:  newDocument(nil),
		query:    newDocument(nil),
		validate: newDocument(text("This changes with each PUT.\n")),
		create:   newDocument(nil),
		update:   newDocument(text(filler("large-update", largeSize))),
		uploads:  new(collection),
	}
	s.changing = newChanging(s.changed)
	return s
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mux returns a handler for all resources.
func (s *site) mux() *coap.Mux {
	m := coap.NewMux()
	s.serveCore(m)
	s.serveLarge(m)
	s.serveLinks(m)
	s.serveChanging(m)
	return m
}

// Attributes of links (RFC 6690 section 3).

func title(s string) linkformat.Param { return linkformat.Param{Name: "title", Value: s, Quoted: true} }
func rt(types string) linkformat.Param {
	return linkformat.Param{Name: "rt", Value: types, Quoted: true}
}
func iface(types string) linkformat.Param {
	return linkformat.Param{Name: "if", Value: types, Quoted: true}
}
func sz(n int) linkformat.Param { return linkformat.Param{Name: "sz", Value: strconv.Itoa(n)} }

// fixed is the route of a resource with representations that never change.
func fixed(format coap.ContentFormat, attributes ...linkformat.Param) coap.Route {
	return coap.Route{Formats: []coap.ContentFormat{format}, Attributes: attributes}
}

// conditional is the route of a method that looks at If-Match and If-None-Match.
func conditional(attributes ...linkformat.Param) coap.Route {
	r := unconditional(attributes...)
	r.Preconditions = true
	return r
}

// unconditional is the route of a method that does not; such a request is answered with 4.02.
func unconditional(attributes ...linkformat.Param) coap.Route {
	return coap.Route{Attributes: attributes, Body: blockwise.Mode{Limit: maxBody}}
}

// unlisted is a route of a path that may lead to nothing.
func unlisted() coap.Route {
	r := conditional()
	r.Unlisted = true
	return r
}
