package linkformat

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Proves 6690-2-s08, 6690-3.1-01, 6690-3.2-01.
func TestAppendQuotes(t *testing.T) {
	for _, c := range []struct {
		name  string
		param Param
		want  string
	}{
		{"a token", bare("x", "a/b"), `x=a/b`},
		{"a token that shall be quoted", quoted("x", "a"), `x="a"`},
		{"a space", bare("x", "a b"), `x="a b"`},
		{"a comma", bare("x", "a,b"), `x="a,b"`},
		{"a semicolon", bare("x", "a;b"), `x="a;b"`},
		{"a quote", bare("x", `"`), `x="\""`},
		{"a backslash", bare("x", `\`), `x="\\"`},
		{"a line break", bare("x", "\r\n"), "x=\"\\\r\\\n\""},
		{"a NUL", bare("x", "\x00"), "x=\"\\\x00\""},
		{"a tab", bare("x", "\t"), "x=\"\t\""},
		{"no ASCII", bare("x", "ü"), `x="ü"`},
		{"a flag", noValue("x"), `x`},
		{"an empty value", quoted("x", ""), `x=""`},
		{"a title", bare("title", "a"), `title="a"`},
		{"an empty title", noValue("title"), `title=""`},
		{"an anchor", bare("anchor", "/a"), `anchor="/a"`},
		{"an empty anchor", noValue("anchor"), `anchor=""`},
		{"a size", quoted("sz", "1"), `sz=1`},
		{"a language", quoted("hreflang", "de"), `hreflang=de`},
		{"an extended value", quoted("title*", "UTF-8''a"), `title*=UTF-8''a`},
		{"two content formats", bare("ct", "0 1"), `ct="0 1"`},
		{"two interfaces", bare("if", "core.s core.ll"), `if="core.s core.ll"`},
		{"a relation type that is a URI", bare("rel", "http://a/b;c"), `rel="http://a/b;c"`},
		{"a media type", bare("type", "application/senml+json"), `type=application/senml+json`},
		{"a relation type of the ETSI plug tests", bare("rt", "Type1 Type2"), `rt="Type1 Type2"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := link("/a", c.param)
			b, err := AppendLink(nil, &l)
			require.NoError(t, err)
			require.Equal(t, "</a>;"+c.want, string(b))
			value, ok := parseOne(t, string(b)).Get(c.param.Name)
			require.True(t, ok)
			require.Equal(t, c.param.Value, value)
		})
	}
}

// Proves 6690-2-01, 6690-3.1-02, 6690-3.2-02, 6690-3.3-02, 7252-7.2.1-01, 7641-6-02, 7641-6-03.
func TestAppendErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		link   Link
		reason FormatError
		text   string
	}{
		{"a space in the target", link("/a b"), ErrTarget, `linkformat: link "/a b": not a character of a URI reference`},
		{"the end of the target", link("/a>;x=1,<b"), ErrTarget, ""},
		{"a bare percent", link("/100%"), ErrTarget, ""},
		{"a target that is no UTF-8", link("/\xff"), ErrUTF8, ""},
		{"no name", link("/a", noValue("")), ErrName, `linkformat: link "/a", parameter "": not a parameter name`},
		{"a name with a separator", link("/a", noValue("x;y")), ErrName, ""},
		{"a name with a star in it", link("/a", noValue("x*y")), ErrName, ""},
		{"only a star", link("/a", bare("*", "UTF-8''x")), ErrName, ""},
		{"two stars", link("/a", bare("x**", "UTF-8''x")), ErrName, ""},
		{"href", link("/a", bare("href", "/b")), ErrReserved, `linkformat: link "/a", parameter "href": the name is reserved`},
		{"HREF", link("/a", bare("HREF", "/b")), ErrReserved, ""},
		{"rt twice", link("/a", bare("rt", "x"), bare("RT", "x")), ErrRepeated, `linkformat: link "/a", parameter "RT": may appear once only`},
		{"if twice", link("/a", bare("if", "x"), bare("if", "x")), ErrRepeated, ""},
		{"sz twice", link("/a", bare("sz", "1"), bare("sz", "1")), ErrRepeated, ""},
		{"rel twice", link("/a", bare("rel", "x"), bare("rel", "x")), ErrRepeated, ""},
		{"rev twice", link("/a", bare("rev", "x"), bare("rev", "x")), ErrRepeated, ""},
		{"anchor twice", link("/a", bare("anchor", "x"), bare("anchor", "x")), ErrRepeated, ""},
		{"media twice", link("/a", bare("media", "x"), bare("media", "x")), ErrRepeated, ""},
		{"title twice", link("/a", bare("title", "x"), bare("title", "x")), ErrRepeated, ""},
		{"title* twice", link("/a", bare("title*", "UTF-8''x"), bare("title*", "UTF-8''x")), ErrRepeated, ""},
		{"type twice", link("/a", bare("type", "x/x"), bare("type", "x/x")), ErrRepeated, ""},
		{"obs twice", link("/a", noValue("obs"), noValue("obs")), ErrRepeated, ""},
		{"obs with a value", link("/a", bare("obs", "1")), ErrValue, ""},
		{"obs with an empty value", link("/a", quoted("obs", "")), ErrValue, ""},
		{"rt as a flag", link("/a", noValue("rt")), ErrValue, ""},
		{"an empty rel", link("/a", quoted("rel", "")), ErrValue, ""},
		{"if with a space at the end", link("/a", bare("if", "x ")), ErrValue, ""},
		{"rt with a quote", link("/a", bare("rt", `x"`)), ErrValue, ""},
		{"rt that is no ASCII", link("/a", bare("rt", "ü")), ErrValue, ""},
		{"an anchor with a space", link("/a", bare("anchor", "/b c")), ErrValue, ""},
		{"sz that is no number", link("/a", bare("sz", "big")), ErrValue, `linkformat: link "/a", parameter "sz": not a value of this attribute`},
		{"sz with a leading zero", link("/a", bare("sz", "01")), ErrValue, ""},
		{"sz below zero", link("/a", bare("sz", "-1")), ErrValue, ""},
		{"sz as a flag", link("/a", noValue("sz")), ErrValue, ""},
		{"ct above 65535", link("/a", bare("ct", "65536")), ErrValue, ""},
		{"ct with a media type", link("/a", bare("ct", "text/plain")), ErrValue, ""},
		{"ct with commas", link("/a", bare("ct", "0,40")), ErrValue, ""},
		{"hreflang with an underscore", link("/a", bare("hreflang", "en_GB")), ErrValue, ""},
		{"hreflang as a flag", link("/a", noValue("hreflang")), ErrValue, ""},
		{"media as a flag", link("/a", noValue("media")), ErrValue, ""},
		{"type without a slash", link("/a", bare("type", "text")), ErrValue, ""},
		{"type with a parameter", link("/a", bare("type", "text/plain;charset=utf-8")), ErrValue, ""},
		{"title* with plain text", link("/a", bare("title*", "x")), ErrExtValue, ""},
		{"a title that is no UTF-8", link("/a", bare("title", "\xff")), ErrUTF8, `linkformat: link "/a", parameter "title": not valid UTF-8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := Append([]byte("before"), []Link{link("/ok"), c.link})
			require.ErrorIs(t, err, c.reason)
			require.Equal(t, "before", string(b), "nothing is appended")
			if c.text != "" {
				require.EqualError(t, err, c.text)
			}
			var e *LinkError
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.link.Target, e.Target)
			if n := len(c.link.Params); n > 0 {
				require.Equal(t, c.link.Params[n-1].Name, e.Param)
			}
		})
	}
}

// Proves 6690-2-s13, 6690-4-s08.
func TestAppendSeparates(t *testing.T) {
	b, err := Append(nil, []Link{link("/a"), link("/b", noValue("obs")), link("/c")})
	require.NoError(t, err)
	require.Equal(t, "</a>,</b>;obs,</c>", string(b))

	b, err = Append(nil, nil)
	require.NoError(t, err)
	require.Empty(t, b)
}

func TestErrorText(t *testing.T) {
	for e := ErrLinkStart; e <= ErrUTF8; e++ {
		require.NotContains(t, e.Error(), "error ", "%d has no text", e)
	}
	require.Equal(t, "linkformat: error 0", FormatError(0).Error())
	require.Equal(t, "linkformat: error 200", FormatError(200).Error())
	require.EqualError(t, &SyntaxError{Offset: 7, Reason: ErrName}, "linkformat: not a parameter name at offset 7")
}
