package main

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/linkformat"
	"github.com/coapkit/coap/message"
)

// index is what GET / answers.
const index = `/.well-known/core
            GET      the links of all this, for coap discover
/time       GET      the time of the server, fresh for a second
/text       GET PUT POST DELETE
                     keeps what was put there, up to 1024 bytes, with its content
                     format; POST appends; If-Match and If-None-Match are heeded
/slow?ms=N  GET      answers after N milliseconds, 2000 if not said, 10000 at most
/echo       any      describes the request as it was received
`

// newResources returns the handler of coap serve.
func newResources() *coap.Mux {
	mux := coap.NewMux()
	serveIndex := func(w *coap.Response, _ *coap.Request) error { return w.Text(index) }
	mux.HandleFunc("GET /{$}", serveIndex, textRoute("What is here", attribute("rt", "index"), size(len(index))))
	mux.HandleFunc("GET /time", serveTime, textRoute("Time of the server", attribute("rt", "time"), attribute("if", "sensor")))
	mux.HandleFunc("GET /slow", serveSlow, textRoute("An answer that takes its time", attribute("rt", "delay"), attribute("if", "sensor")))
	// Formats would be about other methods than GET, too.
	mux.HandleFunc("/echo", serveEcho, coap.Route{Attributes: []linkformat.Param{
		attribute("rt", "echo"), {Name: "ct", Value: "0"}, attribute("title", "The request as it was received"),
	}})
	text := new(textResource)
	conditional := coap.Route{Preconditions: true}
	mux.HandleFunc("GET /text", text.get, coap.Route{Preconditions: true, Attributes: []linkformat.Param{
		attribute("rt", "text"), attribute("if", "parameter"), attribute("title", "Keeps what is put there"),
	}})
	mux.HandleFunc("PUT /text", text.put, conditional)
	mux.HandleFunc("POST /text", text.post, conditional)
	mux.HandleFunc("DELETE /text", text.delete, conditional)
	return mux
}

// textRoute says of a resource that it is plain text, and more.
func textRoute(title string, attributes ...linkformat.Param) coap.Route {
	return coap.Route{
		Formats:    []coap.ContentFormat{coap.TextPlain},
		Attributes: append(attributes, attribute("title", title)),
	}
}

// attribute is a link attribute, with quotes as in the examples of RFC 6690.
func attribute(name, value string) linkformat.Param {
	return linkformat.Param{Name: name, Value: value, Quoted: true}
}

// size is the attribute of a representation that has always the same size, in bytes.
func size(n int) linkformat.Param { return linkformat.Param{Name: "sz", Value: strconv.Itoa(n)} }

func serveTime(w *coap.Response, _ *coap.Request) error {
	w.SetMaxAge(time.Second)
	return w.Text(time.Now().Format(time.RFC3339Nano))
}

// The times that /slow takes, in milliseconds.
const (
	usualSlow   = 2000
	slowestSlow = 10000
)

// serveSlow takes so long that the request is acknowledged before the response comes, by
// itself (RFC 7252 section 5.2.2).
func serveSlow(w *coap.Response, r *coap.Request) error {
	ms := usualSlow
	if text, ok := r.Query("ms"); ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > slowestSlow {
			return &coap.Error{Code: message.BadRequest, Diagnostic: fmt.Sprintf("ms: want 0 to %d", slowestSlow)}
		}
		ms = n
	}
	pause(r.Context(), time.Duration(ms)*time.Millisecond)
	return w.Text(fmt.Sprintf("this took %d ms\n", ms))
}

// textResource keeps a representation.
type textResource struct {
	mu     sync.Mutex
	exists bool
	format coap.ContentFormat
	typed  bool // format is known
	body   []byte
}

// maxText is how much a textResource keeps, in bytes.
const maxText = 1024

func (t *textResource) get(w *coap.Response, r *coap.Request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := r.Precondition(t.etag(), t.exists); err != nil {
		return err
	}
	if !t.exists {
		return &coap.Error{Code: message.NotFound, Diagnostic: "nothing is here yet: PUT something"}
	}
	if t.typed {
		w.Options.SetContentFormat(t.format)
	}
	w.Code, w.Payload = message.Content, append([]byte(nil), t.body...)
	return w.SetETag(t.etag())
}

func (t *textResource) put(w *coap.Response, r *coap.Request) error { return t.change(w, r, false) }

func (t *textResource) post(w *coap.Response, r *coap.Request) error { return t.change(w, r, true) }

// change keeps the payload of r, alone or behind what is kept already.
func (t *textResource) change(w *coap.Response, r *coap.Request, appends bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := r.Precondition(t.etag(), t.exists); err != nil {
		return err
	}
	var body []byte
	if appends {
		body = append(body, t.body...)
	}
	body = append(body, r.Payload...)
	if len(body) > maxText {
		w.Code, w.Payload = message.RequestEntityTooLarge, []byte("too long")
		w.Options.SetSize1(maxText) // what would have been accepted (RFC 7252 section 5.9.2.9)
		return nil
	}
	w.Code = message.Changed
	if !t.exists {
		w.Code = message.Created
	}
	t.exists, t.body = true, body
	if !appends || w.Code == message.Created {
		t.format, t.typed = r.Options.ContentFormat()
	}
	return w.SetETag(t.etag())
}

func (t *textResource) delete(w *coap.Response, r *coap.Request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := r.Precondition(t.etag(), t.exists); err != nil {
		return err
	}
	t.exists, t.typed, t.format, t.body = false, false, 0, nil
	w.Code = message.Deleted // also when there was nothing (RFC 7252 section 5.8.4)
	return nil
}

// etag returns the entity-tag of what is kept, nil if there is nothing. The lock is held.
func (t *textResource) etag() []byte {
	if !t.exists {
		return nil
	}
	h := sha256.New()
	fmt.Fprintf(h, "%t %d ", t.typed, t.format)
	h.Write(t.body)
	return h.Sum(nil)[:message.MaxETagLength]
}

// maxEcho bounds what /echo answers, so that it fits into a datagram.
const maxEcho = 900

// serveEcho describes the request.
func serveEcho(w *coap.Response, r *coap.Request) error {
	var b strings.Builder
	kind := "confirmable"
	if r.NonConfirmable {
		kind = "non-confirmable"
	}
	fmt.Fprintf(&b, "%v %s\n", r.Code, r.Options.Target())
	fmt.Fprintf(&b, "%s, %d bytes, from %v\n", kind, r.WireSize(), r.Peer())
	for n, v := range r.Options.All() {
		name, value := describeOption(n, v)
		fmt.Fprintf(&b, "%s\n", strings.TrimSuffix(name+": "+value, ": "))
	}
	if len(r.Payload) > 0 {
		fmt.Fprintf(&b, "payload: %s\n", describePayload(r.Payload))
	}
	switch r.Code {
	case coap.POST, coap.PUT, coap.PATCH, coap.IPATCH:
		w.Code = message.Changed
	case coap.DELETE:
		w.Code = message.Deleted
	}
	text := b.String()
	if len(text) > maxEcho {
		text = strings.ToValidUTF8(text[:maxEcho], "") + "…\n"
	}
	return w.Text(text)
}
