package fuzz

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coapkit/coap/linkformat"
)

// linkFormat is the grammar of RFC 6690 section 2 as a regular expression, reduced to the
// production link-extension, of which the other parameters are special cases, and with white
// space around separators.
var linkFormat = func() *regexp.Regexp {
	const (
		space  = `[ \t\r\n]*`
		uri    = `(?:[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2}|[^\x00-\x7f])*`
		target = `<` + uri + `(?:#` + uri + `)?>`
		attr   = "[A-Za-z0-9!#$&+\\-.^_`|~]"
		token  = "[A-Za-z0-9!#$%&'()*+\\-./:<=>?@\\[\\]^_`{|}~]+"
		quoted = `"(?:[^\x00-\x08\x0a-\x1f\x7f"\\]|\r\n[ \t]|\\[\x00-\x7f])*"`
		ext    = "[A-Za-z0-9!#$%&+\\-^_`{}~]+'[A-Za-z0-9\\-]*'(?:" + attr + `|%[0-9A-Fa-f]{2})*`
		param  = attr + `+(?:\*=` + ext + `|=` + token + `|=` + quoted + `)?`
		link   = target + `(?:` + space + `;` + space + param + `)*`
	)
	return regexp.MustCompile(`^` + space + `(?:` + link + `(?:` + space + `,` + space + link + `)*` + space + `)?$`)
}()

// FuzzLinkFormat takes a text and a filter. A text is accepted if and only if the grammar has it; the
// cursor and the links of Parse agree; what they hold is written as a text that gives the same, and writing
// that again changes nothing; a filter finds what a slow and obvious search finds.
func FuzzLinkFormat(f *testing.F) {
	for _, text := range []string{
		`</sensors/temp>;if="sensor",</sensors/light>;if="sensor"`,
		`</sensors>;ct=40`,
		`</sensors/temp>;rt="temperature-c";if="sensor",</sensors/light>;rt="light-lux";if="sensor"`,
		`</sensors/light>;rt="light-lux core.sen-light";if="sensor"`,
		"</sensors>;ct=40;title=\"Sensor Index\",\n</sensors/temp>;rt=\"temperature-c\";if=\"sensor\",\n" +
			"<http://www.example.com/sensors/t123>;anchor=\"/sensors/temp\"\n;rel=\"describedby\",\n" +
			"</t>;anchor=\"/sensors/temp\";rel=\"alternate\"\n",
		`</firmware/v2.1>;rt="firmware";sz=262144`,
		`</temperature/Malmö>;rel=live-environment-data;title*=UTF-8'sv'Malm%C3%B6;obs;hreflang=sv;type=text/plain`,
		"<a#b>;title=\"\\\"\\\\\\\x00\t\r\n x\";media=\"a,b;c\";rev=x;rel=y;rel=z;href=\"/b\";obs=\"1\";x=\"\"",
		"</a>,", "<>;", "<>;x=", `<>;x="`, `<>;x="\`, "<>;x*=y", "<%4", "<#a#>", "<\xff>;x=\"\xff\"", "<>;sz=01;ct=x;rt=\"\"",
	} {
		for _, filter := range []string{"rt=light*", "href=/sensors*", "if=sensor", "title=*", "OBS=", `x="`, "rt"} {
			f.Add([]byte(text), []byte(filter))
		}
	}
	f.Fuzz(func(t *testing.T, text, filter []byte) {
		before := bytes.Clone(text)
		links, err := linkformat.Parse(text)
		if e := (*linkformat.SyntaxError)(nil); err != nil && (!errors.As(err, &e) || e.Offset > len(text)) {
			t.Fatalf("error %v is a %T, want a SyntaxError within %d bytes", err, err, len(text))
		}
		if want := linkFormat.Match(text); want != (err == nil) {
			t.Fatalf("error %v, the grammar says %v\n%q", err, want, text)
		}
		checkCursor(t, text, links)
		checkSelect(t, text, links, err)
		checkAppend(t, links)
		checkFilter(t, text, filter, links)
		if !bytes.Equal(before, text) {
			t.Fatalf("reading changed the text\nfrom %q\nto   %q", before, text)
		}
	})
}

// checkCursor walks over the text and makes links of the views.
func checkCursor(t *testing.T, text []byte, want []linkformat.Link) {
	var links []linkformat.Link
	c := linkformat.NewCursor(text)
	for c.Next() {
		l := linkformat.Link{Target: string(c.Link().Target())}
		params := c.Link().Params()
		for params.Next() {
			p := params.Param()
			l.Params = append(l.Params, linkformat.Param{
				Name: string(p.Name), Value: string(p.AppendValue(nil)), Quoted: p.Quoted,
			})
		}
		links = append(links, l)
	}
	if d := cmp.Diff(want, links); d != "" {
		t.Fatalf("%q\nlinks differ (-Parse +Cursor):\n%s", text, d)
	}
}

// checkSelect writes the views of a text again, which keeps everything that is not ignored.
func checkSelect(t *testing.T, text []byte, links []linkformat.Link, parseErr error) {
	selected, err := linkformat.Select(nil, text)
	if (err == nil) != (parseErr == nil) {
		t.Fatalf("%q\nSelect: %v, Parse: %v", text, err, parseErr)
	}
	if err != nil {
		return
	}
	again, err := linkformat.Parse(selected)
	if d := cmp.Diff(links, again); err != nil || d != "" {
		t.Fatalf("%q\nis selected as %q: %v\nlinks differ (-want +got):\n%s", text, selected, err, d)
	}
}

// checkAppend writes each link. What a text may have and a sender must not write is refused.
func checkAppend(t *testing.T, links []linkformat.Link) {
	var ok []linkformat.Link
	for i := range links {
		_, err := linkformat.AppendLink(nil, &links[i])
		switch {
		case err == nil:
			ok = append(ok, links[i])
		case !errors.Is(err, linkformat.ErrValue) && !errors.Is(err, linkformat.ErrUTF8):
			t.Fatalf("%#v\nis not written: %v", links[i], err)
		}
	}
	text, err := linkformat.Append(nil, ok)
	if err != nil {
		t.Fatalf("%#v\nare written alone and not together: %v", ok, err)
	}
	again, err := linkformat.Parse(text)
	if err != nil || len(again) != len(ok) {
		t.Fatalf("%#v\nis written as %q\nwhich is read as %#v: %v", ok, text, again, err)
	}
	for i := range ok {
		// Quotes are put where the attribute wants them.
		if d := cmp.Diff(withoutQuotes(ok[i]), withoutQuotes(again[i])); d != "" {
			t.Fatalf("%q\nlinks differ (-written +read):\n%s", text, d)
		}
	}
	if stable, err := linkformat.Append(nil, again); err != nil || !bytes.Equal(text, stable) {
		t.Fatalf("%q\nis written again as %q: %v", text, stable, err)
	}
}

func withoutQuotes(l linkformat.Link) linkformat.Link {
	params := append([]linkformat.Param(nil), l.Params...)
	for i := range params {
		params[i].Quoted = false
	}
	return linkformat.Link{Target: l.Target, Params: params}
}

// checkFilter compares a filter with a search through the links.
func checkFilter(t *testing.T, text, arg []byte, links []linkformat.Link) {
	f, err := linkformat.ParseFilter(arg)
	if err != nil && err != linkformat.ErrFilter {
		t.Fatalf("filter %q: error %v, want ErrFilter", arg, err)
	}
	c := linkformat.NewCursor(text)
	for i := 0; c.Next(); i++ {
		got, want := f.Match(c.Link()), err == nil && slowMatch(string(arg), &links[i])
		if got != want {
			t.Fatalf("filter %q, link %#v: got %v, want %v", arg, links[i], got, want)
		}
	}
}

// slowMatch is section 4.1 read sentence by sentence.
func slowMatch(filter string, l *linkformat.Link) bool {
	name, value, _ := strings.Cut(filter, "=")
	name = strings.ToLower(name)
	prefix, isPrefix := strings.CutSuffix(value, "*")
	match := func(s string) bool { return s == value || isPrefix && strings.HasPrefix(s, prefix) }
	if name == "href" {
		return match(l.Target)
	}
	for _, p := range l.Params {
		if strings.ToLower(p.Name) != name {
			continue
		}
		values := []string{p.Value}
		switch name {
		case "rel", "rev", "rt", "if":
			if value != "" && value != "*" { // those ask about the parameter, not a relation type
				values = strings.Split(p.Value, " ")
			}
		case "ct":
			if value != "" && value != "*" {
				values = append(strings.Split(p.Value, " "), p.Value)
			}
		}
		for _, v := range values {
			if match(v) {
				return true
			}
		}
	}
	return false
}
