package linkformat

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func parseOne(t *testing.T, text string) *Link {
	t.Helper()
	links, err := Parse([]byte(text))
	require.NoError(t, err)
	require.Len(t, links, 1)
	return &links[0]
}

// Proves 6690-2.2-s01.
func TestRelations(t *testing.T) {
	require.Equal(t, []string{"hosts"}, parseOne(t, "</a>").Relations())
	require.Equal(t, []string{"alternate"}, parseOne(t, "</a>;rel=alternate").Relations())
	require.Equal(t, []string{"next", "http://example.net/r"},
		parseOne(t, `</a>;REL="next  http://example.net/r"`).Relations())
}

// Proves 6690-3.1-01, 6690-3.2-01.
func TestValues(t *testing.T) {
	require.Equal(t, []string{"a", "b.c"}, parseOne(t, `<>;rt="a b.c";rt="d"`).Values("RT"))
	require.Equal(t, []string{"en", "de"}, parseOne(t, `<>;hreflang=en;hreflang=de`).Values("hreflang"))
	require.Equal(t, []string{"core.s", "core.ll"}, parseOne(t, `<>;if="core.s core.ll"`).Values("if"))
	require.Empty(t, parseOne(t, `<>;if=" "`).Values("if"))
	require.Empty(t, parseOne(t, `<>`).Values("if"))
}

// Proves 6690-3.3-03.
func TestSize(t *testing.T) {
	for _, c := range []struct {
		text string
		want uint64
		ok   bool
	}{
		{"<>;sz=0", 0, true},
		{"<>;sz=262144", 262144, true},
		{`<>;sz="262144"`, 262144, true},
		{"<>;sz=4294967296", 1 << 32, true},
		{"<>;sz=18446744073709551615", math.MaxUint64, true},
		{"<>;sz=18446744073709551616", math.MaxUint64, true},
		{"<>;sz=" + strings.Repeat("9", 1000), math.MaxUint64, true},
		{"<>", 0, false},
		{"<>;sz", 0, false},
		{"<>;sz=007", 0, false},
		{"<>;sz=-1", 0, false},
		{"<>;sz=1e3", 0, false},
	} {
		n, ok := parseOne(t, c.text).Size()
		require.Equal(t, c.want, n, c.text)
		require.Equal(t, c.ok, ok, c.text)
	}
}

// Proves 7252-7.2.1-01, 7252-7.2.1-02.
func TestContentFormats(t *testing.T) {
	require.Equal(t, []uint16{40}, parseOne(t, "<>;ct=40").ContentFormats())
	require.Equal(t, []uint16{0, 65535}, parseOne(t, `<>;ct="0  65535"`).ContentFormats())
	require.Equal(t, []uint16{0, 40}, parseOne(t, `<>;ct=0;ct=40`).ContentFormats())
	require.Equal(t, []uint16{1}, parseOne(t, `<>;ct="65536 1 -1 x 01 text/plain"`).ContentFormats())
	require.Empty(t, parseOne(t, `<>`).ContentFormats())
}

func TestObservable(t *testing.T) {
	require.True(t, parseOne(t, "<>;obs").Observable())
	require.True(t, parseOne(t, "<>;obs=0").Observable(), "any value is ignored")
	require.False(t, parseOne(t, "<>;x=obs").Observable())
}

func TestTitle(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"none", `<>`, ""},
		{"title", `<>;title="Größe \"x\""`, `Größe "x"`},
		{"title* is preferred", `<>;title="a";title*=UTF-8'de'%C3%A4`, "ä"},
		{"in Latin-1", `<>;title*=iso-8859-1'de'%E4`, "ä"},
		{"not in an unknown character set", `<>;title="a";title*=KOI8-R''%C1`, "a"},
		{"not with invalid UTF-8", `<>;title="a";title*=UTF-8''%C1`, "a"},
	} {
		require.Equal(t, c.want, parseOne(t, c.text).Title(), c.name)
	}
}

func TestSet(t *testing.T) {
	l := Link{Target: "/sensors/light"}
	l.Set("rt", "light-lux", "core.sen-light")
	l.Set("if", "sensor")
	l.Set("ct", "0", "40")
	l.Set("sz", "12")
	l.Set("obs")
	l.Set("title", "")
	l.Set("x", "")
	l.Set("y", "z")
	const want = `</sensors/light>;rt="light-lux core.sen-light";if="sensor";ct="0 40";sz=12;obs;title="";x="";y=z`
	b, err := AppendLink(nil, &l)
	require.NoError(t, err)
	require.Equal(t, want, string(b))

	l.Params = append(l.Params, bare("RT", "x"), bare("q", "1"), bare("Rt", "y"))
	l.Set("RT", "z")
	require.Equal(t, quoted("RT", "z"), l.Params[0], "in place of the first")
	require.Equal(t, bare("q", "1"), l.Params[len(l.Params)-1], "the others are gone")
	require.Len(t, l.Params, 9)
}

// The links of one text do not share memory that can be written to.
func TestLinksAreIndependent(t *testing.T) {
	links, err := Parse([]byte("</a>;x=1;x=2,</b>;y"))
	require.NoError(t, err)
	links[0].Set("z", "3")
	links[0].Set("x", "4")
	links[0].Params = append(links[0].Params, noValue("w"))
	require.Equal(t, []Param{bare("x", "4"), bare("z", "3"), noValue("w")}, links[0].Params)
	require.Equal(t, []Param{noValue("y")}, links[1].Params)

	text := []byte(`</a>;title="a\"b"`)
	links, err = Parse(text)
	require.NoError(t, err)
	clear(text)
	require.Equal(t, []Link{link("/a", quoted("title", `a"b`))}, links)
}
