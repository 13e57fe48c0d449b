package main

import (
	"bytes"
	"crypto/sha256"
	"strconv"
	"sync"
	"time"

	"github.com/coapkit/coap"
)

// representation is a body with its format. It does not change once it is made, so it may be read
// block by block while another takes its place.
type representation struct {
	body   []byte
	format coap.ContentFormat
	typed  bool // whether there is a format; a client need not say it (RFC 7252 section 5.5.1)
	etag   []byte
}

func newRepresentation(body []byte, format coap.ContentFormat, typed bool) *representation {
	h := sha256.New()
	if typed {
		h.Write([]byte(strconv.Itoa(int(format))))
	}
	h.Write([]byte{0})
	h.Write(body)
	return &representation{body: body, format: format, typed: typed, etag: h.Sum(nil)[:8]}
}

func text(s string) *representation { return newRepresentation([]byte(s), coap.TextPlain, true) }

// sent returns the representation that a request carries.
func sent(r *coap.Request) *representation {
	format, typed := r.Options.ContentFormat()
	return newRepresentation(bytes.Clone(r.Payload), format, typed)
}

// write answers with the representation. An equal ETag of the request makes it 2.03, another
// Accept 4.06.
func (p *representation) write(w *coap.Response) error {
	if p.typed {
		w.Options.SetContentFormat(p.format)
	}
	return w.Content(bytes.NewReader(p.body), p.etag)
}

// document is a resource with one representation at a time that clients can replace and delete.
type document struct {
	initial *representation // what DELETE brings back; nil: nothing
	// maxAge, unless 0, is how long a response is fresh.
	maxAge time.Duration
	// fixed says that PUT does not make what does not exist.
	fixed bool
	// changed, if not nil, is called after each change, without the lock.
	changed func()

	mu  sync.Mutex
	now *representation // nil: the resource does not exist
}

func newDocument(initial *representation) *document { return &document{initial: initial, now: initial} }

// handle registers GET, PUT and DELETE of d. route is that of GET.
func (d *document) handle(m *coap.Mux, path string, route coap.Route) {
	other := conditional()
	other.Unlisted = route.Unlisted
	m.HandleFunc("GET "+path, d.get, route)
	m.HandleFunc("PUT "+path, d.put, other)
	m.HandleFunc("DELETE "+path, d.delete, other)
}

// set makes p the state, without a condition.
func (d *document) set(p *representation) {
	_ = d.change(func(*representation) (*representation, error) { return p, nil })
}

// change replaces the state by what next makes of it, unless that fails.
func (d *document) change(next func(now *representation) (*representation, error)) error {
	d.mu.Lock()
	p, err := next(d.now)
	changed := err == nil && p != d.now
	if changed {
		d.now = p
	}
	d.mu.Unlock()
	if changed && d.changed != nil {
		d.changed()
	}
	return err
}

// check looks at If-Match and If-None-Match of a request (RFC 7252 section 5.10.8).
func check(r *coap.Request, now *representation) error {
	if now == nil {
		return r.Precondition(nil, false)
	}
	return r.Precondition(now.etag, true)
}

func (d *document) load() *representation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *document) get(w *coap.Response, r *coap.Request) error {
	now := d.load()
	if err := check(r, now); err != nil {
		return err
	}
	if now == nil {
		return &coap.Error{Code: coap.NotFound}
	}
	if d.maxAge > 0 {
		w.SetMaxAge(d.maxAge)
	}
	return now.write(w)
}

// put makes the payload the state: 2.01 if there was none, else 2.04 (RFC 7252 section 5.8.3).
func (d *document) put(w *coap.Response, r *coap.Request) error {
	p := sent(r)
	return d.change(func(now *representation) (*representation, error) {
		if err := check(r, now); err != nil {
			return nil, err
		}
		switch {
		case now != nil:
			w.SetCode(coap.Changed)
		case d.fixed:
			return nil, &coap.Error{Code: coap.NotFound}
		default:
			w.SetCode(coap.Created)
		}
		return p, w.SetETag(p.etag)
	})
}

// delete deletes the state, or brings back the initial one. It is 2.02 also if there was nothing
// to delete (RFC 7252 section 5.8.4).
func (d *document) delete(w *coap.Response, r *coap.Request) error {
	return d.change(func(now *representation) (*representation, error) {
		w.SetCode(coap.Deleted)
		return d.initial, check(r, now)
	})
}
