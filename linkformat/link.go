package linkformat

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Link is one link: a target and parameters in order. The zero value is a link to the empty
// reference. A Link is plain data: it may be read concurrently, not while somebody changes it.
//
// Its methods see what a reader has to see: the first of several parameters that may appear once.
type Link struct {
	// Target is a URI reference, mostly a path: "/sensors/temp".
	Target string
	// Params are the parameters in order, those without a meaning here too.
	Params []Param
}

// Param is one link parameter, called an attribute if it describes the target.
type Param struct {
	// Name is a parmname of RFC 5987, with a "*" at its end if Value is extended as that RFC
	// has it. Names are the same in capitals and small letters.
	Name string
	// Value is the value without quotes and backslashes. Empty and not Quoted means
	// that there is none: the parameter is a flag.
	Value string
	// Quoted asks for quotes where they are optional. [Append] sets them without being
	// asked where they are needed, and leaves them out where the grammar has none.
	Quoted bool
}

// Parse copies the links of a text. The error is a [*SyntaxError]; the links before it are
// returned with it. The strings share one copy of the text, so that keeping one keeps all.
func Parse(text []byte) ([]Link, error) {
	// Counting first is quick, and allocates what is there and not what is claimed.
	c := NewCursor(text)
	nLinks, nParams := 0, 0
	for c.Next() {
		nLinks++
		params := c.Link().Params()
		for params.Next() {
			nParams++
		}
	}
	if nLinks == 0 {
		return nil, c.Err()
	}
	s, links, params := string(text[:c.pos]), make([]Link, 0, nLinks), make([]Param, 0, nParams)
	again := NewCursor(text)
	for range nLinks {
		again.Next()
		v, first := again.link, len(params)
		params = appendParams(params, v, s[v.offset:])
		l := Link{Target: s[v.offset+1 : v.offset+v.target-1]}
		if len(params) > first {
			l.Params = params[first:len(params):len(params)]
		}
		links = append(links, l)
	}
	return links, c.Err()
}

// appendParams appends the parameters of v, whose text is at the start of s.
func appendParams(dst []Param, v View, s string) []Param {
	c := v.Params()
	for c.Next() {
		at := &c.at
		p := Param{Name: s[at.name:at.nameEnd], Value: s[at.value:at.valueEnd], Quoted: at.quoted}
		if raw := c.Param(); raw.escaped() {
			p.Value = string(raw.AppendValue(make([]byte, 0, len(raw.Raw))))
		}
		dst = append(dst, p)
	}
	return dst
}

// Get returns the value of the first parameter with this name, and whether there is one. That of
// a flag is empty.
func (l *Link) Get(name string) (value string, ok bool) {
	for i := range l.Params {
		if sameName(l.Params[i].Name, name) {
			return l.Params[i].Value, true
		}
	}
	return "", false
}

// Set gives the link one parameter with this name, in place of those that it has. Several values
// are joined by spaces, as rel, rev, rt, if and ct want it; none at all make a flag, like obs. Whether
// the attribute can have the value is checked by [Append].
//
// Relation types are written in quotes, as in all examples of RFC 6690.
func (l *Link) Set(name string, values ...string) {
	p := Param{Name: name, Value: strings.Join(values, " ")}
	a := attributeOf(name)
	p.Quoted = len(values) > 0 && (p.Value == "" || a.relationTypes() || a.quoted())
	i := slices.IndexFunc(l.Params, p.hasNameOf)
	if i < 0 {
		l.Params = append(l.Params, p)
		return
	}
	l.Params[i] = p
	rest := slices.DeleteFunc(l.Params[i+1:], p.hasNameOf)
	l.Params = l.Params[:i+1+len(rest)]
}

func (p Param) hasNameOf(q Param) bool { return sameName(p.Name, q.Name) }

// Values returns the values of a parameter that is a list separated by spaces: the relation
// types of rel, rev, rt and if (section 2), the numbers of ct. If the name may appear several
// times, as hreflang may, they come from all of them.
func (l *Link) Values(name string) []string {
	var values []string
	for i := range l.Params {
		if !sameName(l.Params[i].Name, name) {
			continue
		}
		for v := range strings.SplitSeq(l.Params[i].Value, " ") {
			if v != "" {
				values = append(values, v)
			}
		}
		if attributeOf(name).once() {
			break
		}
	}
	return values
}

// Relations returns the relation types of the link. Without the parameter rel that is "hosts": the
// target is a resource of the server that the context names (section 2.2).
func (l *Link) Relations() []string {
	if _, ok := l.Get("rel"); !ok {
		return []string{"hosts"}
	}
	return l.Values("rel")
}

// Size returns the maximum size estimate sz in bytes, and whether there is one that is a number
// (section 3.3). One that exceeds 64 bits is [math.MaxUint64].
func (l *Link) Size() (n uint64, ok bool) {
	s, _ := l.Get("sz")
	if !isCardinal(s) {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return math.MaxUint64, true // "Big"
	}
	return n, true
}

// ContentFormats returns the numbers of the attribute ct, the content formats that a GET may
// give (RFC 7252 section 7.2.1). What is no number from 0 to 65535 is left out.
func (l *Link) ContentFormats() []uint16 {
	var formats []uint16
	for _, s := range l.Values("ct") {
		if n, ok := contentFormat(s); ok {
			formats = append(formats, n)
		}
	}
	return formats
}

// Observable reports whether the link has the flag obs: observing its target makes sense, which is
// no promise that it works (RFC 7641 section 6).
func (l *Link) Observable() bool {
	_, ok := l.Get("obs")
	return ok
}

// Title returns the label of the link for people, empty if there is none: that of title* if it can be
// decoded, else that of title (RFC 5988 section 5.4). It may have control characters.
func (l *Link) Title() string {
	if s, ok := l.Get("title*"); ok {
		if text, _, ok := ParseExtValue(s); ok {
			return text
		}
	}
	s, _ := l.Get("title")
	return s
}
