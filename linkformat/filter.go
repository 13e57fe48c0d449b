package linkformat

import (
	"bytes"
	"net/url"
	"strings"
)

// Filter is one search of section 4.1: the name of an attribute, or "href" for the target, and a
// value that may be a prefix. [ParseFilter] makes one. The zero value matches nothing.
//
// A Filter is immutable and may be used concurrently.
type Filter struct {
	name   []byte
	value  []byte
	attr   attribute
	prefix bool
}

// ParseFilter reads "name=value" or "name=prefix*" as a view: the filter is valid as long as
// the bytes of arg are.
//
// arg is the value of a Uri-Query option, from which whoever composed the option has removed
// percent-encodings (RFC 7252 section 6.4); they are not decoded twice. For the query of a URI
// see [ParseQuery]. A last "*" always asks for a prefix: there is no way to search for a value
// that ends in one.
//
// The error is [ErrFilter] for anything else, such as "page" without a value. A server chooses whether
// to answer that with an error or to ignore it.
func ParseFilter(arg []byte) (Filter, error) {
	name, value, found := bytes.Cut(arg, []byte{'='})
	if !found || !only(bytes.TrimSuffix(name, []byte{'*'}), isAttr) {
		return Filter{}, ErrFilter
	}
	value, prefix := bytes.CutSuffix(value, []byte{'*'})
	return Filter{name: name, value: value, attr: attributeOf(name), prefix: prefix}, nil
}

// ParseQuery reads the filters of the query of a URI, what follows its "?", with
// percent-encodings (section 4.1). An empty query has no filters. The RFC knows queries with a
// single search only; several are separated by "&". The error is [ErrFilter].
func ParseQuery(query string) ([]Filter, error) {
	if query == "" {
		return nil, nil
	}
	var filters []Filter
	for arg := range strings.SplitSeq(query, "&") {
		decoded, err := url.PathUnescape(arg)
		if err != nil {
			return nil, ErrFilter
		}
		f, err := ParseFilter([]byte(decoded))
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// Match reports whether a link has what the filter asks for. It does not allocate.
//
// Values are compared as strings of bytes after quoting is resolved: "40" is not "040" (section
// 3). Each relation type of rel, rev, rt and if is a value of its own. So is each number of ct, which
// RFC 7252 section 7.2.1 made a list: ct=40 matches ct="0 40". A flag has an empty value. What a
// link does not have is not matched, so that rel=hosts finds only links that say it.
func (f Filter) Match(link View) bool {
	if f.attr == attrHref {
		return f.match(link.Target(), false)
	}
	c := link.Params()
	for c.Next() {
		p := c.Param()
		if sameName(p.Name, f.name) && f.match(p.Raw, p.Quoted) {
			return true
		}
	}
	return false
}

func (f Filter) match(raw []byte, quoted bool) bool {
	switch {
	case len(f.value) == 0: // also of a list without a value
		return f.prefix || len(raw) == 0
	case f.attr.relationTypes():
		return f.matchWord(raw, quoted)
	case f.attr == attrCT && f.matchWord(raw, quoted):
		return true
	case quoted:
		return f.matchQuoted(raw)
	case f.prefix:
		return bytes.HasPrefix(raw, f.value)
	}
	return bytes.Equal(raw, f.value)
}

// matchQuoted compares the value of a quoted string.
func (f Filter) matchQuoted(raw []byte) bool {
	n, i := 0, 0 // how many bytes of f.value are found, and in how many of raw
	for ; i < len(raw) && n < len(f.value); n++ {
		var c byte
		if c, i = unquote(raw, i); c != f.value[n] {
			return false
		}
	}
	return n == len(f.value) && (f.prefix || i == len(raw))
}

// matchWord compares each of the words that are separated by spaces.
func (f Filter) matchWord(raw []byte, quoted bool) bool {
	n, differs := 0, false // how many bytes of f.value the word has
	for i := 0; i < len(raw); {
		c := raw[i]
		if quoted {
			c, i = unquote(raw, i)
		} else {
			i++
		}
		switch {
		case c == ' ':
			if !differs && n == len(f.value) {
				return true
			}
			n, differs = 0, false
		case n < len(f.value) && c == f.value[n]:
			n++
		case n < len(f.value) || !f.prefix:
			differs = true
		}
	}
	return !differs && n == len(f.value)
}

// Select appends to dst the links of a text that match all filters, and returns the extended
// slice. That several filters narrow the result is our choice, and the rule of RFC 9176 section
// 6.2; RFC 6690 knows one only. Without filters all links match.
//
// If no link matches, nothing is appended: the answer is an empty payload (section 4), and to a
// request by multicast there should be none at all (section 4.1).
//
// dst must not overlap the text. The error is a [*SyntaxError]; dst is returned as it was then.
// Nothing is allocated if dst has room.
func Select(dst, text []byte, filters ...Filter) ([]byte, error) {
	c := NewCursor(text)
	b := dst
	for c.Next() {
		if !matchAll(filters, c.Link()) {
			continue
		}
		if len(b) > len(dst) {
			b = append(b, ',')
		}
		b = c.Link().AppendTo(b)
	}
	if err := c.Err(); err != nil {
		return dst, err
	}
	return b, nil
}

func matchAll(filters []Filter, link View) bool {
	for i := range filters {
		if !filters[i].Match(link) {
			return false
		}
	}
	return true
}
