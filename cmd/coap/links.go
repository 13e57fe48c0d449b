package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coapkit/coap/linkformat"
	"github.com/coapkit/coap/message"
)

// linkColumns are the columns of a table of links, from left to right.
var linkColumns = []struct {
	name string
	cell func(*linkformat.Link) string
}{
	{"target", func(l *linkformat.Link) string { return l.Target }},
	{"rt", attributeCell("rt")},
	{"if", attributeCell("if")},
	{"ct", formatsCell},
	{"sz", attributeCell("sz")},
	{"obs", observableCell},
	{"title", (*linkformat.Link).Title},
	{"other", otherCell},
}

// attributeCell returns what shows the value of an attribute.
func attributeCell(name string) func(*linkformat.Link) string {
	return func(l *linkformat.Link) string {
		v, _ := l.Get(name)
		return v
	}
}

// formatsCell shows content formats by name (RFC 7252 section 7.2.1).
func formatsCell(l *linkformat.Link) string {
	names := l.Values("ct")
	for i, text := range names {
		if n, err := strconv.ParseUint(text, 10, 16); err == nil {
			names[i] = shortName(message.ContentFormat(n))
		}
	}
	return strings.Join(names, " ")
}

func observableCell(l *linkformat.Link) string {
	if l.Observable() {
		return "yes"
	}
	return ""
}

// otherCell shows the attributes without a column.
func otherCell(l *linkformat.Link) string {
	var all []string
	for _, p := range l.Params {
		switch name := strings.ToLower(p.Name); {
		case slices.Contains([]string{"rt", "if", "ct", "sz", "obs", "title", "title*"}, name):
		case isFlag(p):
			all = append(all, p.Name)
		case p.Value == "" || strings.ContainsAny(p.Value, " \""):
			all = append(all, p.Name+"="+strconv.Quote(p.Value))
		default:
			all = append(all, p.Name+"="+p.Value)
		}
	}
	return strings.Join(all, " ")
}

// isFlag reports whether a parameter has no value.
func isFlag(p linkformat.Param) bool { return p.Value == "" && !p.Quoted }

// linkTable returns a table of links for people, without the columns that are empty; nothing if
// there are no links.
func linkTable(links []linkformat.Link) string {
	if len(links) == 0 {
		return ""
	}
	rows := make([][]string, len(links)+1)
	for _, column := range linkColumns {
		cells, used := make([]string, len(rows)), column.name == "target"
		cells[0] = column.name
		for i := range links {
			cells[i+1] = printable(column.cell(&links[i]))
			used = used || cells[i+1] != ""
		}
		if !used {
			continue
		}
		for i := range rows {
			rows[i] = append(rows[i], cells[i])
		}
	}
	return aligned(rows)
}

// aligned writes rows of cells below each other.
func aligned(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// groupHeading says whose links follow: the start of their URIs, and the interface.
func groupHeading(origin, link string) string {
	if link == "" {
		return origin + "\n"
	}
	return fmt.Sprintf("%s by %s\n", origin, link)
}

// printable returns s without anything that a terminal would take for a command.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) < 0 {
		return s
	}
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// plainLink is the text of an error of the link format for people.
func plainLink(err error) string {
	var bad *linkformat.SyntaxError
	if !errors.As(err, &bad) {
		return err.Error()
	}
	return fmt.Sprintf("%s at byte %d", strings.TrimPrefix(bad.Reason.Error(), "linkformat: "), bad.Offset)
}

// linkJSON is a link in JSON. Its fields keep their names and meanings.
type linkJSON struct {
	Peer   string `json:"peer"`
	Link   string `json:"interface,omitempty"` // of the answers of a group
	Target string `json:"target"`
	// Attributes are texts, true for those without a value, lists for repeated ones.
	Attributes map[string]any `json:"attributes"`
}

// newLinkJSON resolves the target against base, where the link comes from. A target that is no
// URI stays as it is.
func newLinkJSON(a *answer, l *linkformat.Link, base *url.URL) *linkJSON {
	j := &linkJSON{Peer: a.resp.Peer().String(), Target: l.Target, Attributes: make(map[string]any)}
	if u, err := base.Parse(l.Target); err == nil {
		j.Target = u.String()
	}
	if a.ofGroup() {
		j.Link = linkOf(a.resp)
	}
	for _, p := range l.Params {
		name := strings.ToLower(p.Name)
		var value any = p.Value
		if isFlag(p) {
			value = true
		}
		switch old := j.Attributes[name].(type) {
		case nil:
			j.Attributes[name] = value
		case []any:
			j.Attributes[name] = append(old, value)
		default:
			j.Attributes[name] = []any{old, value}
		}
	}
	return j
}
