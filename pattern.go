package coap

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coapkit/coap/message"
)

// pattern is a parsed pattern of a [Mux] with what is registered for it.
type pattern struct {
	text     string
	method   Code // Empty: any
	segments []segment
	names    []string // for Request.SetPattern
	handler  Handler
	route    Route
	pace     pace
	builtIn  bool // the library's own /.well-known/core
}

// segment is one segment of a pattern: a literal, a wildcard, or, at the end, the rest.
type segment struct {
	text string // of a literal, decoded
	wild bool
	rest bool
}

func (p *pattern) String() string { return p.text }

func (p *pattern) understands(n OptionNumber) bool {
	switch n {
	case message.OptionIfMatch, message.OptionIfNoneMatch:
		return p.route.Preconditions
	}
	return understoodByAll(n) || slices.Contains(p.route.Understands, n)
}

// offers reports whether the route can answer in a format, as far as it says.
func (p *pattern) offers(f ContentFormat) bool {
	return len(p.route.Formats) == 0 || slices.Contains(p.route.Formats, f)
}

func parsePattern(text string) (*pattern, error) {
	fail := func(format string, args ...any) (*pattern, error) {
		return nil, fmt.Errorf("coap: pattern %q: %s", text, fmt.Sprintf(format, args...))
	}
	p := &pattern{text: text}
	path := text
	if method, rest, ok := strings.Cut(text, " "); ok && !strings.HasPrefix(text, "/") {
		code, err := message.ParseCode(method)
		if err != nil || !code.IsRequest() {
			return fail("%q is no method, want GET, POST, PUT, DELETE, FETCH, PATCH, iPATCH or none", method)
		}
		p.method, path = code, strings.TrimLeft(rest, " ")
	}
	if !strings.HasPrefix(path, "/") {
		return fail("the path must start with a slash")
	}
	parts := strings.Split(path[1:], "/")
	for i, part := range parts {
		last := i == len(parts)-1
		s, name, err := parseSegment(part, last)
		switch {
		case err != "":
			return fail("%s", err)
		case strings.TrimSuffix(name, "...") != "" && (slices.Contains(p.names, name) || slices.Contains(p.names, strings.TrimSuffix(name, "..."))):
			return fail("the name %s occurs twice", name)
		}
		p.segments = append(p.segments, s)
		p.names = append(p.names, name)
	}
	return p, nil
}

// parseSegment parses one segment of a pattern. name is as Request.SetPattern wants it.
func parseSegment(part string, last bool) (s segment, name, err string) {
	inner, isWild := strings.CutPrefix(part, "{")
	switch {
	case part == "" && last:
		return segment{rest: true}, "...", ""
	case part == "":
		return s, "", "an empty segment in the middle"
	case part == "{$}" && last:
		return segment{}, "", "" // one empty segment: the trailing slash
	case part == "{$}":
		return s, "", "{$} must be the end"
	case !isWild && strings.ContainsAny(part, "{}"):
		return s, "", "a wildcard must be a whole segment"
	case !isWild:
		text, ok := unescape(part)
		if !ok {
			return s, "", "the percent-encoding of " + part + " is wrong"
		}
		return segment{text: text}, "", ""
	}
	name, closed := strings.CutSuffix(inner, "}")
	bare, rest := strings.CutSuffix(name, "...")
	switch {
	case !closed || bare == "" || strings.ContainsAny(bare, "{}$. "):
		return s, "", part + " is no wildcard, want {name} or {name...}"
	case rest && !last:
		return s, "", part + " must be the end"
	}
	return segment{wild: !rest, rest: rest}, name, ""
}

// unescape resolves percent-encoding.
func unescape(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	var o Options
	if o.SetTarget("/"+s) != nil {
		return "", false
	}
	v, _ := o.String(message.OptionURIPath)
	return v, true
}

// relation is how the sets of requests that two patterns match stand to each other.
type relation uint8

const (
	equal relation = iota
	wider          // the first contains the second
	narrower
	overlapping
	disjoint
)

// conflicts reports whether some requests match both patterns and neither is more specific.
func (p *pattern) conflicts(q *pattern) bool {
	r := combine(compareMethods(p.method, q.method), comparePaths(p.segments, q.segments))
	return r == equal || r == overlapping
}

func compareMethods(a, b Code) relation {
	switch {
	case a == b:
		return equal
	case a == message.Empty:
		return wider
	case b == message.Empty:
		return narrower
	}
	return disjoint
}

func comparePaths(a, b []segment) relation {
	r := equal
	for i := 0; ; i++ {
		switch {
		case i == len(a) && i == len(b):
			return r
		case i == len(a) || i == len(b):
			return disjoint // only a rest could make up for the missing segment
		case a[i].rest && b[i].rest:
			return r
		case a[i].rest:
			return combine(r, wider)
		case b[i].rest:
			return combine(r, narrower)
		}
		if r = combine(r, compareSegments(a[i], b[i])); r == disjoint {
			return disjoint
		}
	}
}

func compareSegments(a, b segment) relation {
	switch {
	case a == b:
		return equal
	case a.wild && b.text != "":
		return wider
	case b.wild && a.text != "":
		return narrower
	}
	return disjoint // other literals; a wildcard and the empty segment
}

// combine is the relation of two products of sets.
func combine(a, b relation) relation {
	switch {
	case a == disjoint || b == disjoint:
		return disjoint
	case a == equal:
		return b
	case b == equal || a == b:
		return a
	}
	return overlapping
}
