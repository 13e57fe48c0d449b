package linkformat

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// quoted, bare and noValue make parameters.
func quoted(name, value string) Param { return Param{Name: name, Value: value, Quoted: true} }
func bare(name, value string) Param   { return Param{Name: name, Value: value} }
func noValue(name string) Param       { return Param{Name: name} }

func link(target string, params ...Param) Link { return Link{Target: target, Params: params} }

const external = "http://www.example.com/sensors/t123"

// The examples of section 5 of RFC 6690, and others, as they are on the wire: they are written
// by the same bytes.
var examples = []struct {
	name, text string
	links      []Link
}{
	{"section 5, two sensors", `</sensors/temp>;if="sensor",</sensors/light>;if="sensor"`, []Link{
		link("/sensors/temp", quoted("if", "sensor")),
		link("/sensors/light", quoted("if", "sensor")),
	}},
	{"section 5, an entry point", `</sensors>;ct=40`, []Link{link("/sensors", bare("ct", "40"))}},
	{"section 5, behind the entry point",
		`</sensors/temp>;rt="temperature-c";if="sensor",</sensors/light>;rt="light-lux";if="sensor"`, []Link{
			link("/sensors/temp", quoted("rt", "temperature-c"), quoted("if", "sensor")),
			link("/sensors/light", quoted("rt", "light-lux"), quoted("if", "sensor")),
		}},
	{"section 5, two relation types", `</sensors/light>;rt="light-lux core.sen-light";if="sensor"`, []Link{
		link("/sensors/light", quoted("rt", "light-lux core.sen-light"), quoted("if", "sensor")),
	}},
	{"section 5, anchors", `</sensors>;ct=40;title="Sensor Index",` +
		`</sensors/temp>;rt="temperature-c";if="sensor",` +
		`</sensors/light>;rt="light-lux";if="sensor",` +
		`<http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel="describedby",` +
		`</t>;anchor="/sensors/temp";rel="alternate"`, []Link{
		link("/sensors", bare("ct", "40"), quoted("title", "Sensor Index")),
		link("/sensors/temp", quoted("rt", "temperature-c"), quoted("if", "sensor")),
		link("/sensors/light", quoted("rt", "light-lux"), quoted("if", "sensor")),
		link(external, quoted("anchor", "/sensors/temp"), quoted("rel", "describedby")),
		link("/t", quoted("anchor", "/sensors/temp"), quoted("rel", "alternate")),
	}},
	{"section 5, a large resource", `</firmware/v2.1>;rt="firmware";sz=262144`, []Link{
		link("/firmware/v2.1", quoted("rt", "firmware"), bare("sz", "262144")),
	}},
	{"section 3.1, a type that is a URI",
		`</t>;rt="http://sweet.jpl.nasa.gov/2.0/phys.owl#Temperature"`, []Link{
			link("/t", quoted("rt", "http://sweet.jpl.nasa.gov/2.0/phys.owl#Temperature")),
		}},
	{"RFC 9176 figure 31", `</sensors/temp>;rt=temperature;ct=0,</t>;anchor="/sensors/temp";rel=alternate`, []Link{
		link("/sensors/temp", bare("rt", "temperature"), bare("ct", "0")),
		link("/t", quoted("anchor", "/sensors/temp"), bare("rel", "alternate")),
	}},
	{"RFC 9176 appendix B.4", `</temperature/Malmö>;rel=live-environment-data`, []Link{
		link("/temperature/Malmö", bare("rel", "live-environment-data")),
	}},
	{"RFC 7641 section 6", `</s>;obs`, []Link{link("/s", noValue("obs"))}},
	{"RFC 7252 section 7.2.1", `</s>;ct="40 41"`, []Link{link("/s", quoted("ct", "40 41"))}},
	{"no links", ``, nil},
	{"an empty target", `<>`, []Link{link("")}},
	{"commas, semicolons and quotes that separate nothing", `</a,b;c>;title="x,</y>;z=\"1\"",</d>`, []Link{
		link("/a,b;c", quoted("title", `x,</y>;z="1"`)), link("/d"),
	}},
	{"every parameter of the grammar", `<a?b#c>;rel="next prev";anchor="";rev=up;hreflang=de;hreflang=en-GB;` +
		`media="print, tv";title="";title*=UTF-8'de'%C3%A4;type=text/plain;rt=r;if=i;sz=0;x="";y=1;z*=ISO-8859-1''%E4`, []Link{
		link("a?b#c", quoted("rel", "next prev"), quoted("anchor", ""), bare("rev", "up"),
			bare("hreflang", "de"), bare("hreflang", "en-GB"), quoted("media", "print, tv"), quoted("title", ""),
			bare("title*", "UTF-8'de'%C3%A4"), bare("type", "text/plain"), bare("rt", "r"), bare("if", "i"),
			bare("sz", "0"), quoted("x", ""), bare("y", "1"), bare("z*", "ISO-8859-1''%E4")),
	}},
	{"every character of a token", "<>;x=!#$%&'()*+-./09:<=>?@AZ[]^_`az{|}~", []Link{
		link("", bare("x", "!#$%&'()*+-./09:<=>?@AZ[]^_`az{|}~")),
	}},
	{"every character of a name", "<>;!#$&+-.^_`|~aZ9", []Link{link("", noValue("!#$&+-.^_`|~aZ9"))}},
	{"every character of a reference", "<azAZ09-._~:/?#[]@!$&'()*+,;=%aF>", []Link{link("azAZ09-._~:/?#[]@!$&'()*+,;=%aF")}},
	{"a title with everything", "<>;title=\"\\\"\\\\\\\x00\\\n\\\x7f\tπ 😀\"", []Link{
		link("", quoted("title", "\"\\\x00\n\x7f\tπ 😀")),
	}},
}

// Proves 6690-2-s08, 6690-2-s13, 6690-2-s14, 6690-2.1-s01, 6690-2.3-01, 6690-3.1-01,
// 6690-4-s08, 7252-7.2.1-02.
func TestExamples(t *testing.T) {
	for _, c := range examples {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse([]byte(c.text))
			require.NoError(t, err)
			if d := cmp.Diff(c.links, got); d != "" {
				t.Errorf("parsed links differ (-want +got):\n%s", d)
			}
			b, err := Append([]byte("before"), c.links)
			require.NoError(t, err)
			require.Equal(t, "before"+c.text, string(b), "written")
			b, err = Select([]byte("before"), []byte(c.text))
			require.NoError(t, err)
			require.Equal(t, "before"+c.text, string(b), "selected")
		})
	}
}

// The examples of section 5 as they are printed.
func TestWhiteSpace(t *testing.T) {
	const printed = `
   </sensors>;ct=40;title="Sensor Index",
   </sensors/temp>;rt="temperature-c";if="sensor",
   </sensors/light>;rt="light-lux";if="sensor",
   <http://www.example.com/sensors/t123>;anchor="/sensors/temp"
   ;rel="describedby",
   </t>;anchor="/sensors/temp";rel="alternate"
`
	for _, c := range []struct{ name, text, want string }{
		{"section 5", printed, examples[4].text},
		{"section 5 in a file with CRLF", strings.ReplaceAll(printed, "\n", "\r\n"), examples[4].text},
		{"as in a Link header", `</a> ; rel="x" ,	</b>`, `</a>;rel="x",</b>`},
		{"nothing else", " \r\n\t", ``},
		{"within quotes it stays", `<>;title=" a  b "`, `<>;title=" a  b "`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := Select(nil, []byte(c.text))
			require.NoError(t, err)
			require.Equal(t, c.want, string(b))
			links, err := Parse([]byte(c.text))
			require.NoError(t, err)
			b, err = Append(nil, links)
			require.NoError(t, err)
			require.Equal(t, c.want, string(b))
		})
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, c := range []struct {
		name, text string
		links      int // before the error
		offset     int
		want       FormatError
	}{
		{"no <", "/a", 0, 0, ErrLinkStart},
		{"a link header", "Link: </a>", 0, 0, ErrLinkStart},
		{"a comma at the end", "</a>,", 1, 5, ErrLinkStart},
		{"an empty element", "</a>,,</b>", 1, 5, ErrLinkStart},
		{"only a comma", ",", 0, 0, ErrLinkStart},
		{"only a semicolon", ";a", 0, 0, ErrLinkStart},
		{"a target without end", "</a>,</b", 1, 5, ErrTargetEnd},
		{"nothing but <", "<", 0, 0, ErrTargetEnd},
		{"a space in a target", "</a b>", 0, 3, ErrTarget},
		{"a second < in a target", "</a</b>", 0, 3, ErrTarget},
		{"a quote in a target", `<">`, 0, 1, ErrTarget},
		{"a brace in a target", "</{x}>", 0, 2, ErrTarget},
		{"a backslash in a target", `<\>`, 0, 1, ErrTarget},
		{"a line break in a target", "</a\n>", 0, 3, ErrTarget},
		{"a NUL in a target", "<\x00>", 0, 1, ErrTarget},
		{"two fragments", "<#a#b>", 0, 3, ErrTarget},
		{"no percent-encoding", "<%4>", 0, 1, ErrTarget},
		{"no percent-encoding either", "<%gg>", 0, 1, ErrTarget},
		{"text behind a target", "</a>x", 0, 4, ErrSeparator},
		{"two links without comma", "</a></b>", 0, 4, ErrSeparator},
		{"text behind a parameter", `</a>;x="y"z`, 0, 10, ErrSeparator},
		{"a quote within a token", `</a>;x=y"z"`, 0, 8, ErrSeparator},
		{"a backslash within a token", `</a>;x=y\`, 0, 8, ErrSeparator},
		{"no ASCII within a token", `</a>;x=ü`, 0, 7, ErrValueMissing},
		{"white space before =", `</a>;x =y`, 0, 7, ErrSeparator},
		{"white space behind =", `</a>;x= y`, 0, 7, ErrValueMissing},
		{"white space before a star", `</a>;x *=y`, 0, 7, ErrSeparator},
		{"a semicolon at the end", "</a>;", 0, 5, ErrName},
		{"two semicolons", "</a>;;x", 0, 5, ErrName},
		{"no name", "</a>;=y", 0, 5, ErrName},
		{"only a star", "</a>;*=y", 0, 5, ErrName},
		{"no ASCII in a name", "</a>;ü=1", 0, 5, ErrName},
		{"no value at the end", "</a>;x=", 0, 7, ErrValueMissing},
		{"no value before a comma", "</a>;x=,</b>", 0, 7, ErrValueMissing},
		{"no value before a semicolon", "</a>;x=;y", 0, 7, ErrValueMissing},
		{"a quoted string without end", `</a>;x="y`, 0, 7, ErrQuotedEnd},
		{"a quote at the end", `</a>;x="`, 0, 7, ErrQuotedEnd},
		{"a hidden quote at the end", `</a>;x="y\"`, 0, 7, ErrQuotedEnd},
		{"a backslash at the end", `</a>;x="y\`, 0, 7, ErrQuotedEnd},
		{"a control character in quotes", "</a>;x=\"\x00\"", 0, 8, ErrQuotedCharacter},
		{"a line break in quotes", "</a>;x=\"\n\"", 0, 8, ErrQuotedCharacter},
		{"a line break in quotes, no fold", "</a>;x=\"\r\ny\"", 0, 8, ErrQuotedCharacter},
		{"a DEL in quotes", "</a>;x=\"\x7f\"", 0, 8, ErrQuotedCharacter},
		{"a backslash before no ASCII", `</a>;x="\ü"`, 0, 9, ErrQuotedCharacter},
		{"a star without value", "</a>;x*", 0, 5, ErrExtValue},
		{"a star with a token", "</a>;x*=y", 0, 5, ErrExtValue},
		{"a star with a quoted string", `</a>;x*="UTF-8''y"`, 0, 5, ErrExtValue},
		{"a star with one apostrophe", "</a>;x*=UTF-8'y", 0, 5, ErrExtValue},
		{"a star without character set", "</a>;x*=''y", 0, 5, ErrExtValue},
		{"a star with a wrong language", "</a>;x*=UTF-8'*'y", 0, 5, ErrExtValue},
		{"a star with a wrong encoding", "</a>;x*=UTF-8''%4", 0, 5, ErrExtValue},
		{"a star with a third apostrophe", "</a>;x*=UTF-8''y'", 0, 5, ErrExtValue},
	} {
		t.Run(c.name, func(t *testing.T) {
			links, err := Parse([]byte(c.text))
			require.Equal(t, &SyntaxError{Offset: c.offset, Reason: c.want}, err)
			require.ErrorIs(t, err, c.want)
			require.Len(t, links, c.links)

			cursor := NewCursor([]byte(c.text))
			for cursor.Next() {
			}
			require.Equal(t, err, cursor.Err())
			require.False(t, cursor.Next(), "the error is sticky")
			require.Equal(t, err, cursor.Err())

			b, selectErr := Select([]byte("before"), []byte(c.text))
			require.Equal(t, err, selectErr)
			require.Equal(t, "before", string(b))
		})
	}
}

// Proves 7641-6-02, 7641-6-03.
func TestIgnored(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"rel", `<>;rel=a;rel=b`, `<>;rel=a`},
		{"in other letters", `<>;Rel=a;REL=b`, `<>;Rel=a`},
		{"rev", `<>;rev=a;rev=b`, `<>;rev=a`},
		{"anchor", `<>;anchor="/a";anchor="/b"`, `<>;anchor="/a"`},
		{"media", `<>;media=a;media=b`, `<>;media=a`},
		{"title", `<>;title="a";title="b"`, `<>;title="a"`},
		{"title*", `<>;title="a";title*=UTF-8''b;title*=UTF-8''c`, `<>;title="a";title*=UTF-8''b`},
		{"type", `<>;type=a/a;type=b/b`, `<>;type=a/a`},
		{"rt", `<>;rt=a;rt=b;rt=c`, `<>;rt=a`},
		{"if", `<>;if=a;x;if=b`, `<>;if=a;x`},
		{"sz", `<>;sz=1;sz=2`, `<>;sz=1`},
		{"obs", `<>;obs;obs`, `<>;obs`},
		{"a value of obs", `<>;obs=1`, `<>;obs`},
		{"a quoted value of obs", `<>;obs=""`, `<>;obs`},
		{"href", `</a>;href="/b";x`, `</a>;x`},
		{"not hreflang", `<>;hreflang=a;hreflang=b`, `<>;hreflang=a;hreflang=b`},
		{"not ct", `<>;ct=0;ct=40`, `<>;ct=0;ct=40`},
		{"not what is unknown", `<>;x=1;x=1;x`, `<>;x=1;x=1;x`},
		{"each link anew", `<>;rt=a,<>;rt=b`, `<>;rt=a,<>;rt=b`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := Select(nil, []byte(c.text))
			require.NoError(t, err)
			require.Equal(t, c.want, string(b))
			links, err := Parse([]byte(c.text))
			require.NoError(t, err)
			b, err = Append(nil, links)
			require.NoError(t, err)
			require.Equal(t, c.want, string(b))
		})
	}
}

func TestView(t *testing.T) {
	text := []byte(` </a>;RT="x \"y\"" ; obs, </b>`)
	c := NewCursor(text)
	require.True(t, c.Next())
	a := c.Link()
	require.Equal(t, "/a", string(a.Target()))
	p, ok := a.Param("rt")
	require.True(t, ok)
	require.Equal(t, ParamView{Name: []byte("RT"), Raw: []byte(`x \"y\"`), Quoted: true}, p)
	require.Equal(t, `= x "y"`, string(p.AppendValue([]byte("= "))))
	p, ok = a.Param("obs")
	require.True(t, ok)
	require.Empty(t, p.Raw)
	require.False(t, p.Quoted)
	_, ok = a.Param("if")
	require.False(t, ok)

	require.True(t, c.Next())
	require.Equal(t, "/b", string(c.Link().Target()))
	require.False(t, c.Next())
	require.False(t, c.Next())
	require.NoError(t, c.Err())
	require.Equal(t, "/a", string(a.Target()), "a link stays when the cursor moves on")

	// Views are clipped: appending to one does not write into the text.
	before := string(text)
	_ = append(a.Target(), 'X')
	_ = append(p.Name, 'X')
	require.Equal(t, before, string(text))
}

func TestZeroView(t *testing.T) {
	var v View
	require.Empty(t, v.Target())
	params := v.Params()
	require.False(t, params.Next())
	require.Equal(t, "<>", string(v.AppendTo(nil)))
	_, ok := v.Param("rt")
	require.False(t, ok)
}

// A line break with white space behind it means white space (RFC 2616 section 2.2).
func TestFold(t *testing.T) {
	links, err := Parse([]byte("<>;title=\"a\r\n b\\\r\r\n\tc\""))
	require.NoError(t, err)
	require.Equal(t, "a b\r\tc", links[0].Title())
}

func TestAppendValueByHand(t *testing.T) {
	for raw, want := range map[string]string{`\`: `\`, `a\`: `a\`, "\r": "\r", "a\r\n": "a\r\n", `\\`: `\`} {
		require.Equal(t, want, string(ParamView{Raw: []byte(raw), Quoted: true}.AppendValue(nil)), "%q", raw)
	}
	require.Equal(t, `a\b`, string(ParamView{Raw: []byte(`a\b`)}.AppendValue(nil)), "a token has no backslashes")
}

// Long and hostile texts take a time that grows with their length only: what is quadratic here
// takes minutes.
func TestHostile(t *testing.T) {
	const n = 1 << 17
	for name, text := range map[string]string{
		"links":          strings.Repeat("<>,", n) + "<>",
		"parameters":     "<>" + strings.Repeat(";x", n),
		"repeated":       "<>" + strings.Repeat(";rt=a", n),
		"white space":    strings.Repeat(" ", n) + "<>" + strings.Repeat(" ", n) + ";x",
		"backslashes":    `<>;x="` + strings.Repeat(`\`, 2*n) + `"`,
		"spaces in rt":   `<>;rt="` + strings.Repeat(` `, n) + `"`,
		"percents":       "<" + strings.Repeat("%41", n) + ">",
		"a long name":    "<>;" + strings.Repeat("a", n),
		"open quotes":    "<>" + strings.Repeat(`;x="`, n),
		"open brackets":  strings.Repeat("<", n),
		"star":           "<>;a*=UTF-8''" + strings.Repeat("%41", n),
		"invalid UTF-8":  "<" + strings.Repeat("\xff", n) + ">",
		"one long value": "<>;x=" + strings.Repeat("a", n),
	} {
		_, err := Parse([]byte(text))
		if e := (*SyntaxError)(nil); err != nil && !errors.As(err, &e) {
			t.Errorf("%s: error %v is a %T, want a SyntaxError", name, err, err)
		}
		f, err := ParseFilter([]byte("rt=a"))
		require.NoError(t, err)
		_, _ = Select(nil, []byte(text), f)
	}
}
