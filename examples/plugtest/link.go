package main

import (
	"github.com/coapkit/coap"
	"github.com/coapkit/coap/linkformat"
)

// serveLinks registers resources that are lists of links. The first three have the attributes
// that the descriptions filter by.
func (s *site) serveLinks(m *coap.Mux) {
	list := func(path string, attributes []linkformat.Param, targets ...string) {
		var links []linkformat.Link
		for _, t := range targets {
			links = append(links, linkformat.Link{Target: t})
		}
		body, err := linkformat.Append(nil, links)
		if err != nil {
			panic(err) // a mistake in this program
		}
		p := newRepresentation(body, coap.LinkFormat, true)
		m.HandleFunc("GET "+path, func(w *coap.Response, r *coap.Request) error {
			return p.write(w)
		}, fixed(coap.LinkFormat, attributes...))
	}
	list("/link1", []linkformat.Param{rt("Type1 Type2"), iface("If1")}, "/test", "/validate")
	list("/link2", []linkformat.Param{rt("Type2 Type3"), iface("If2")}, "/query", "/separate")
	list("/link3", []linkformat.Param{rt("Type1 Type3"), iface("foo")}, "/large", "/large-update")

	// The links of /path are found there, not in /.well-known/core (RFC 6690 section 5).
	subs := []string{"/path/sub1", "/path/sub2", "/path/sub3"}
	list("/path", []linkformat.Param{title("Links to resources below")}, subs...)
	for _, sub := range subs {
		route := fixed(coap.TextPlain)
		route.Unlisted = true
		m.HandleFunc("GET "+sub, func(w *coap.Response, r *coap.Request) error {
			return w.Text("This is " + sub + "\n")
		}, route)
	}
}
