package coap

import (
	"slices"
	"strconv"
	"strings"

	"github.com/coapkit/coap/linkformat"
	"github.com/coapkit/coap/message"
)

// Resource discovery (RFC 7252 section 7.2, RFC 6690 section 4): a Mux tells at
// /.well-known/core which resources it has.

const wellKnownCore = "GET /.well-known/core"

// addWellKnown registers the built-in resource, unless there is a pattern for its path. The
// lock is held.
func (m *Mux) addWellKnown() {
	p, _ := parsePattern(wellKnownCore)
	p.builtIn = true
	p.route = Route{Formats: []ContentFormat{message.LinkFormat}, Unlisted: true}
	p.handler = HandlerFunc(m.serveLinks)
	m.insert(p)
}

// replaceWellKnown takes the built-in resource away when p is for its path. The lock is held.
func (m *Mux) replaceWellKnown(p *pattern) {
	i := slices.IndexFunc(m.patterns, func(q *pattern) bool { return q.builtIn })
	if i < 0 || !slices.Equal(p.segments, m.patterns[i].segments) {
		return
	}
	m.patterns = slices.Delete(m.patterns, i, i+1)
}

// serveLinks answers with the links that match the query. To a group it answers only if there
// are some (RFC 6690 section 4.1).
func (m *Mux) serveLinks(w *Response, r *Request) error {
	var filters []linkformat.Filter
	for arg := range r.Options.Values(message.OptionURIQuery) {
		f, err := linkformat.ParseFilter(arg)
		if err != nil {
			return &Error{Code: message.BadRequest, Diagnostic: "a query is name=value or name=prefix*"}
		}
		filters = append(filters, f)
	}
	links, err := linkformat.Select(nil, m.linkText(), filters...)
	if err != nil {
		return err
	}
	if len(links) == 0 && r.IsMulticast() {
		return &Error{Code: message.NotFound} // is not sent to a group
	}
	return w.Bytes(message.LinkFormat, links)
}

// linkText returns the links of all listed patterns. Those with wildcards stand for resources
// that only the handler knows.
func (m *Mux) linkText() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.links != nil {
		return m.links
	}
	text := []byte{}
	seen := make(map[string]int) // path: which of links
	var links []linkformat.Link
	for _, p := range m.patterns {
		path, ok := p.path()
		if !ok || p.route.Unlisted {
			continue
		}
		i, known := seen[path]
		if !known {
			i = len(links)
			seen[path] = i
			links = append(links, linkformat.Link{Target: path})
		}
		p.describe(&links[i])
	}
	for i := range links {
		// Handle has made sure that each can be written.
		text, _ = linkformat.AppendLink(text, &links[i])
		if i < len(links)-1 {
			text = append(text, ',')
		}
	}
	m.links = text
	return text
}

// path returns the path that the pattern matches, as a URI has it, if it is only one.
func (p *pattern) path() (string, bool) {
	var o Options
	for _, s := range p.segments {
		if s.wild || s.rest {
			return "", false
		}
		if len(p.segments) > 1 || s.text != "" {
			o.AddString(message.OptionURIPath, s.text)
		}
	}
	return o.Path(), true
}

// describe adds what the route says to the link of its path. Routes for other methods may have
// said something already.
func (p *pattern) describe(l *linkformat.Link) {
	for _, a := range p.route.Attributes {
		if _, has := l.Get(a.Name); !has {
			l.Params = append(l.Params, a)
		}
	}
	if _, has := l.Get("ct"); !has && len(p.route.Formats) > 0 && (p.method == GET || p.method == message.Empty) {
		var numbers []string
		for _, f := range p.route.Formats {
			numbers = append(numbers, strconv.Itoa(int(f)))
		}
		l.Params = append(l.Params, linkformat.Param{Name: "ct", Value: strings.Join(numbers, " "), Quoted: len(numbers) > 1})
	}
	if p.route.Observable && !l.Observable() {
		l.Params = append(l.Params, linkformat.Param{Name: "obs"}) // (RFC 7641 section 6)
	}
}

// checkLink returns what is wrong with the attributes of a route.
func (p *pattern) checkLink() error {
	path, ok := p.path()
	if !ok {
		path = "/"
	}
	l := linkformat.Link{Target: path}
	p.describe(&l)
	_, err := linkformat.AppendLink(nil, &l)
	return err
}
