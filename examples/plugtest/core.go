package main

import (
	"strings"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// Where POST to /test and /location-query makes resources.
const (
	location      = "/location1/location2/location3"
	locationQuery = "first=1&second=2"
)

func (s *site) serveCore(m *coap.Mux) {
	s.test.handle(m, "/test", conditional(title("Default test resource")))
	m.HandleFunc("POST /test", s.post, conditional())
	s.created.handle(m, location, unlisted())
	m.HandleFunc("GET /seg1/seg2/seg3", func(w *coap.Response, r *coap.Request) error {
		return w.Text("This is the resource with three path segments.\n")
	}, fixed(coap.TextPlain, title("Path of several segments")))
	m.HandleFunc("GET /query", echoQuery, fixed(coap.TextPlain, title("Shows the query")))
	m.HandleFunc("GET /separate", s.separate, fixed(coap.TextPlain, title("Takes a while, so is answered separately")))
	formats := fixed(coap.TextPlain, title("Text or XML"))
	formats.Formats = append(formats.Formats, coap.XML)
	m.HandleFunc("GET /multi-format", multiFormat, formats)
	s.validate.handle(m, "/validate", conditional(title("Has an ETag, which changes with PUT")))
	s.create.handle(m, "/create1", unlisted())
	s.serveLocationQuery(m)
}

// post makes a resource of the payload, in place of one that an earlier POST has made, so that
// there is one at most.
func (s *site) post(w *coap.Response, r *coap.Request) error {
	if err := check(r, s.test.load()); err != nil {
		return err
	}
	s.created.set(sent(r))
	w.SetCode(coap.Created)
	return w.Options.SetLocation(location)
}

// echoQuery answers with the arguments of the query, one a line.
func echoQuery(w *coap.Response, r *coap.Request) error {
	var b strings.Builder
	for arg := range r.Options.Values(message.OptionURIQuery) {
		b.WriteString(strings.ToValidUTF8(string(arg), "\uFFFD") + "\n")
	}
	if b.Len() == 0 {
		return w.Text("There is no query.\n")
	}
	return w.Text(b.String())
}

// separate answers after a while. The library acknowledges a confirmable request before that, and
// sends the response separately (RFC 7252 section 5.2.2).
func (s *site) separate(w *coap.Response, r *coap.Request) error {
	if err := s.wait(r.Context()); err != nil {
		return &coap.Error{Code: coap.ServiceUnavailable, Diagnostic: "the server ends"}
	}
	return w.Text("That took a while.\n")
}

// multiFormat answers in the format that Accept names, else in text. Other formats have been
// refused with 4.06 (RFC 7252 section 5.10.4), since the route lists these two.
func multiFormat(w *coap.Response, r *coap.Request) error {
	if format, ok := r.Options.Accept(); ok && format == coap.XML {
		return w.Bytes(coap.XML, []byte("<format>XML</format>\n"))
	}
	return w.Text("The format is text.\n")
}

// serveLocationQuery registers /location-query. With the query that POST answers with, it is the
// resource that POST has made, without one the place to make it.
func (s *site) serveLocationQuery(m *coap.Mux) {
	const path = "/location-query"
	made := func(h func(w *coap.Response, r *coap.Request) error) func(w *coap.Response, r *coap.Request) error {
		return func(w *coap.Response, r *coap.Request) error {
			if r.Options.Query() != locationQuery {
				return &coap.Error{Code: coap.NotFound}
			}
			return h(w, r)
		}
	}
	place := text("POST makes " + path + "?" + locationQuery + "\n")
	m.HandleFunc("GET "+path, func(w *coap.Response, r *coap.Request) error {
		if r.Options.Query() != "" {
			return made(s.query.get)(w, r)
		}
		if err := check(r, place); err != nil {
			return err
		}
		return place.write(w)
	}, conditional(title("Makes a resource with a query")))
	m.HandleFunc("POST "+path, func(w *coap.Response, r *coap.Request) error {
		if err := check(r, place); err != nil {
			return err
		}
		s.query.set(sent(r))
		w.SetCode(coap.Created)
		return w.Options.SetLocation(path + "?" + locationQuery)
	}, conditional())
	m.HandleFunc("PUT "+path, made(s.query.put), conditional())
	m.HandleFunc("DELETE "+path, made(s.query.delete), conditional())
}
