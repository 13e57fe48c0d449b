package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/linkformat"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/dtls"
)

// index is what GET / answers.
const index = `/.well-known/core
            GET      the links of all this, for coap discover
/time       GET      the time of the server, fresh for a second; to be observed
/text       GET PUT POST DELETE
                     keeps what was put there, up to 1024 bytes, with its content
                     format; POST appends; If-Match and If-None-Match are heeded;
                     to be observed
/large?size=N
            GET      N bytes, 1 MiB if not said, 64 MiB at most, in blocks
/slow?ms=N  GET      answers after N milliseconds, 2000 if not said, 10000 at most
/echo       any      describes the request as it was received
/whoami     GET      who the client is, as far as it has proven that
`

// newResources returns the handler of coap serve, of which nothing can be observed.
func newResources() *coap.Mux { return newObservable(nil) }

// newObservable returns it with resources that can be, if notify is not nil: it is told their path
// when they have changed. The time changes all the time; that is for the caller to tell.
func newObservable(notify func(path string)) *coap.Mux {
	mux := coap.NewMux()
	serveIndex := func(w *coap.Response, _ *coap.Request) error { return w.Text(index) }
	mux.HandleFunc("GET /{$}", serveIndex, textRoute("What is here", attribute("rt", "index"), size(len(index))))
	timeRoute := textRoute("Time of the server", attribute("rt", "time"), attribute("if", "sensor"))
	timeRoute.Observable = notify != nil
	mux.HandleFunc("GET /time", serveTime, timeRoute)
	mux.HandleFunc("GET /slow", serveSlow, textRoute("An answer that takes its time", attribute("rt", "delay"), attribute("if", "sensor")))
	mux.HandleFunc("GET /large", serveLarge, coap.Route{Formats: []coap.ContentFormat{coap.OctetStream}, Attributes: []linkformat.Param{
		attribute("rt", "bytes"), size(usualLarge), attribute("title", "A long body"),
	}})
	// Formats would be about other methods than GET, too.
	mux.HandleFunc("/echo", serveEcho, coap.Route{Attributes: []linkformat.Param{
		attribute("rt", "echo"), {Name: "ct", Value: "0"}, attribute("title", "The request as it was received"),
	}})
	mux.HandleFunc("GET /whoami", serveWhoami, textRoute("Who is asking", attribute("rt", "identity"), attribute("if", "sensor")))
	text := new(textResource)
	if notify != nil {
		text.changed = func() { notify("/text") }
	}
	conditional := coap.Route{Preconditions: true}
	mux.HandleFunc("GET /text", text.get, coap.Route{Preconditions: true, Observable: notify != nil, Attributes: []linkformat.Param{
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

// The lengths of /large, in bytes.
const (
	usualLarge   = 1 << 20
	longestLarge = 64 << 20
)

// serveLarge answers with a body that takes many blocks.
func serveLarge(w *coap.Response, r *coap.Request) error {
	n := usualLarge
	if text, ok := r.Query("size"); ok {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 0 || n > longestLarge {
			return &coap.Error{Code: message.BadRequest, Diagnostic: fmt.Sprintf("size: want 0 to %d", longestLarge)}
		}
	}
	w.Options.SetContentFormat(coap.OctetStream)
	return w.Content(io.NewSectionReader(numbered{}, 0, int64(n)), []byte{1}) // which never changes
}

// numbered is an endless text of lines of 16 bytes that say at which byte they begin.
type numbered struct{}

// ReadAt reads what is at off.
func (numbered) ReadAt(b []byte, off int64) (int, error) {
	for n := 0; n < len(b); {
		at := off + int64(n)
		line := fmt.Sprintf("byte %10d\n", at&^15)
		n += copy(b[n:], line[at&15:])
	}
	return len(b), nil
}

// textResource keeps a representation.
type textResource struct {
	mu     sync.Mutex
	exists bool
	format coap.ContentFormat
	typed  bool // format is known
	body   []byte

	changed func() // called without mu, unless it is nil
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

func (t *textResource) put(w *coap.Response, r *coap.Request) error {
	defer t.tell()
	return t.change(w, r, false)
}

func (t *textResource) post(w *coap.Response, r *coap.Request) error {
	defer t.tell()
	return t.change(w, r, true)
}

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

// tell tells those who want to know that there has been a change.
func (t *textResource) tell() {
	if t.changed != nil {
		t.changed()
	}
}

func (t *textResource) delete(w *coap.Response, r *coap.Request) error {
	defer t.tell() // last, so without the lock
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

// serveWhoami says what the server knows of the client.
func serveWhoami(w *coap.Response, r *coap.Request) error {
	who, secure := dtls.IdentityOf(r.Peer())
	var text string
	switch {
	case !secure:
		text = "anybody, since coap proves nothing; ask by coaps"
	case who.PSK != "":
		text = fmt.Sprintf("PSK identity %q", who.PSK)
	case len(who.Certificates) > 0:
		cert := who.Certificates[0]
		text = fmt.Sprintf("certificate of %q, signed by %q, valid until %s", cert.Subject, cert.Issuer, cert.NotAfter.UTC().Format(time.DateOnly))
	default:
		text = "anybody: a secure session without key or certificate"
	}
	w.SetMaxAge(0) // it depends on who asks
	return w.Text(fmt.Sprintf("%s, from %v\n", text, r.Peer()))
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
