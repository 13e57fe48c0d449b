package linkformat

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func filter(t *testing.T, arg string) Filter {
	t.Helper()
	f, err := ParseFilter([]byte(arg))
	require.NoError(t, err, arg)
	return f
}

// Proves 6690-3-02, 6690-4.1-02, 6690-4.1-s07, 6690-4.1-s08, 6690-4.1-s09, 6690-4.1-s10, 6690-4.1-s11,
// 6690-4.1-s12.
func TestFilter(t *testing.T) {
	for _, c := range []struct {
		name, filter, link string
		want               bool
	}{
		// the examples of section 4.1
		{"the target", "href=/foo", "</foo>", true},
		{"not a longer target", "href=/foo", "</foobar>", false},
		{"the beginning of a target", "href=/foo*", "</foobar>", true},
		{"not another beginning", "href=/foo*", "</bar/foo>", false},
		{"a value", "foo=bar", "</a>;foo=bar", true},
		{"not a longer value", "foo=bar", "</a>;foo=barley", false},
		{"a prefix is a prefix of itself", "foo=bar*", "</a>;foo=bar", true},
		{"the beginning of a value", "foo=bar*", "</a>;foo=barley", true},
		{"not a value that is shorter", "foo=bar*", "</a>;foo=ba", false},
		{"any value", "foo=*", "</a>;foo=x", true},

		{"any value of an attribute that is not there", "foo=*", "</a>;bar=x", false},
		{"any value, also an empty one", "foo=*", `</a>;foo=""`, true},
		{"any value, also none", "foo=*", `</a>;foo`, true},
		{"any value of a list", "rt=*", `</a>;rt="a b"`, true},
		{"any value of an empty list", "rt=*", `</a>;rt=""`, true},
		{"the empty value", "foo=", `</a>;foo=""`, true},
		{"the empty value of a flag", "foo=", `</a>;foo`, true},
		{"not the empty value of nothing", "foo=", `</a>;bar`, false},
		{"not the empty value", "foo=", `</a>;foo=x`, false},
		{"not an empty word", "rt=", `</a>;rt="a  b "`, false},
		{"a flag", "obs=*", `</a>;obs`, true},
		{"no flag", "obs=*", `</a>`, false},
		{"any target", "href=*", `<>`, true},
		{"the empty target", "href=", `<>`, true},
		{"not the parameter href", "href=/b", `</a>;href="/b"`, false},

		{"the first relation type", "rt=light-lux", `</a>;rt="light-lux core.sen-light"`, true},
		{"the second relation type", "rt=core.sen-light", `</a>;rt="light-lux core.sen-light"`, true},
		{"one between two", "rt=b", `</a>;rt="a b c"`, true},
		{"one after several spaces", "rt=b", `</a>;rt="a   b"`, true},
		{"the beginning of the second", "if=core*", `</a>;if="x core.s"`, true},
		{"not the beginning", "if=core", `</a>;if="core.s x"`, false},
		{"not the end", "if=re", `</a>;if="core"`, false},
		{"not both together", "rt=a b", `</a>;rt="a b"`, false},
		{"not both together as a prefix", "rt=a *", `</a>;rt="a b"`, false},
		{"rel", "rel=next", `</a>;rel="prev next"`, true},
		{"rev", "rev=next", `</a>;rev="prev next"`, true},
		{"the URI of RFC 9176 section 6.2", "if=tag:example.net,2020:sensor",
			`</a>;if="example.regname tag:example.net,2020:sensor"`, true},
		{"the default relation is not there", "rel=hosts", `</a>`, false},
		{"not a word of what is no list of relation types", "title=b", `</a>;title="a b"`, false},
		{"the whole of it", "title=a b", `</a>;title="a b"`, true},
		{"one content format of several", "ct=40", `</a>;ct="0 40"`, true},
		{"no part of a content format", "ct=4", `</a>;ct="0 40"`, false},
		{"all content formats", "ct=0 40", `</a>;ct="0 40"`, true},

		{"numbers are strings", "sz=010", "</a>;sz=10", false},
		{"the same string", "sz=10", "</a>;sz=10", true},
		{"in quotes or not", "ct=40", `</a>;ct="40"`, true},
		{"case matters", "rt=light", `</a>;rt=Light`, false},
		{"but not in names", "RT=light", `</a>;Rt=light`, true},
		{"not in unknown names either", "foo-1=x", `</a>;FOO-1=x`, true},

		{"a quote", `title="x"`, `</a>;title="\"x\""`, true},
		{"a backslash that is not needed", `title=xyz`, `</a>;title="\x\y\z"`, true},
		{"a prefix with a backslash", `title=x\*`, `</a>;title="x\\y"`, true},
		{"not the backslash", `title=\**`, `</a>;title="\*"`, false},
		{"a hidden space separates", `rt=b`, `</a>;rt="a\ b"`, true},
		{"a hidden letter in a relation type", `rt=ab`, `</a>;rt="x \a\b y"`, true},
		{"UTF-8 is compared as bytes", "title=Größe*", `</a>;title="Größe 1"`, true},
		{"an equals sign in the value", "foo=a=b", `</a>;foo="a=b"`, true},
		{"only the last star is one", "foo=a*b", `</a>;foo="a*b"`, true},
		{"two stars", "foo=a**", `</a>;foo="a*b"`, true},
		{"a percent sign is one", "foo=%41", `</a>;foo=A`, false},
		{"an extended value as it is", "title*=UTF-8''%C3*", `</a>;title*=UTF-8''%C3%A4`, true},

		{"one of several parameters", "x=2", `</a>;x=1;x=2`, true},
		{"not one that is ignored", "rt=b", `</a>;rt=a;rt=b`, false},
		{"not an ignored value", "obs=1", `</a>;obs=1`, false},
		{"the anchor", "anchor=/sensors/temp", `</t>;anchor="/sensors/temp"`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := filter(t, c.filter)
			cursor := NewCursor([]byte(c.link))
			require.True(t, cursor.Next(), "%v", cursor.Err())
			require.Equal(t, c.want, f.Match(cursor.Link()))
		})
	}
}

// Only letters have two cases: "@" and "`" differ by the same bit.
func TestSameName(t *testing.T) {
	require.True(t, sameName("aZ-1", []byte("Az-1")))
	for _, c := range [][2]string{{"a", "b"}, {"a", "aa"}, {"^", "~"}, {"@", "`"}, {"-", "\r"}, {"a", "\x01"}, {"é", "É"}} {
		require.False(t, sameName(c[0], c[1]), "%q", c)
	}
}

func TestFilterErrors(t *testing.T) {
	for _, arg := range []string{"", "rt", "=x", "*=x", "a*b=x", "a b=x", "ü=x", "**"} {
		_, err := ParseFilter([]byte(arg))
		require.Equal(t, ErrFilter, err, arg)
		if arg != "" {
			_, err = ParseQuery("a=b&" + arg)
			require.Equal(t, ErrFilter, err, arg)
		}
	}
	for _, q := range []string{"a=%", "a=%4", "a=%zz", "&", "a=b&"} {
		_, err := ParseQuery(q)
		require.Equal(t, ErrFilter, err, q)
	}
	cursor := NewCursor([]byte("</a>;x;rt=y"))
	require.True(t, cursor.Next())
	require.False(t, Filter{}.Match(cursor.Link()), "the zero value")
}

// Percent-encodings are decoded once, and a star may be encoded like any character (RFC 6570 does it).
//
// Proves 6690-4.1-s09.
func TestParseQuery(t *testing.T) {
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", nil},
		{"rt=light", []string{"rt=light"}},
		{"href=%2Ffoo%2A", []string{"href=/foo*"}},
		{"title=a%26b%3D%2541+", []string{"title=a&b=%41+"}},
		{"rt=a&if=b%20c", []string{"rt=a", "if=b c"}},
	} {
		got, err := ParseQuery(c.query)
		require.NoError(t, err, c.query)
		var want []Filter
		for _, arg := range c.want {
			want = append(want, filter(t, arg))
		}
		require.Equal(t, want, got, c.query)
	}
}

// The queries of section 5.
//
// Proves 6690-4-s08.
func TestSelect(t *testing.T) {
	text := []byte(examples[4].text)
	const light = `</sensors/light>;rt="light-lux";if="sensor"`
	for _, c := range []struct {
		name    string
		filters []string
		want    string
	}{
		{"rt", []string{"rt=light-lux"}, light},
		{"anchor", []string{"anchor=/sensors/temp"},
			`<http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel="describedby",` +
				`</t>;anchor="/sensors/temp";rel="alternate"`},
		{"two that match", []string{"if=sensor", "rt=light*"}, light},
		{"two of which one matches", []string{"if=sensor", "rt=x"}, ""},
		{"nothing", []string{"rt=none"}, ""},
		{"all", nil, examples[4].text},
	} {
		t.Run(c.name, func(t *testing.T) {
			var filters []Filter
			for _, f := range c.filters {
				filters = append(filters, filter(t, f))
			}
			b, err := Select([]byte("before"), text, filters...)
			require.NoError(t, err)
			require.Equal(t, "before"+c.want, string(b))
		})
	}
}
