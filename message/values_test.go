package message

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proves 7252-5.5.1-s03.
func TestContentFormatAndAccept(t *testing.T) {
	var o Options
	_, ok := o.ContentFormat()
	require.False(t, ok)
	_, ok = o.Accept()
	require.False(t, ok)
	o.SetContentFormat(TextPlain)
	o.SetAccept(CBOR)
	o.SetAccept(65535)
	f, ok := o.ContentFormat()
	require.True(t, ok)
	require.Equal(t, TextPlain, f)
	f, ok = o.Accept()
	require.True(t, ok)
	require.Equal(t, ContentFormat(65535), f)
	require.Equal(t, []string{"Content-Format:0", "Accept:65535"}, list(&o))
	o.Set(OptionContentFormat, []byte{0, 0, 50})
	_, ok = o.ContentFormat()
	require.False(t, ok, "a value of three bytes is out of range")
	o.Set(OptionAccept, []byte{0, 0, 50})
	_, ok = o.Accept()
	require.False(t, ok, "a value of three bytes is out of range")
}

// Proves 7252-5.10.5-s02, 7252-5.10.5-s03, 7252-5.4.4-01, 7252-5.4.4-02, 7252-5.6.1-01.
func TestMaxAge(t *testing.T) {
	var o Options
	require.Equal(t, 60*time.Second, o.MaxAge(), "the default")
	for _, c := range []struct {
		set, want time.Duration
		option    string
	}{
		{0, 0, "Max-Age:0"},
		{-time.Hour, 0, "Max-Age:0"},
		{999 * time.Millisecond, 0, "Max-Age:0"},
		{1999 * time.Millisecond, time.Second, "Max-Age:1"},
		{time.Hour, time.Hour, "Max-Age:3600"},
		{60 * time.Second, 60 * time.Second, ""},
		{(1<<32 - 1) * time.Second, (1<<32 - 1) * time.Second, "Max-Age:4294967295"},
		{1<<63 - 1, (1<<32 - 1) * time.Second, "Max-Age:4294967295"},
	} {
		o.SetMaxAge(c.set)
		require.Equal(t, c.want, o.MaxAge())
		require.Equal(t, c.option, strings.Join(list(&o), " "), "%v", c.set)
	}
	o.Set(OptionMaxAge, []byte{0, 0, 0, 0, 1})
	require.Equal(t, 60*time.Second, o.MaxAge(), "a value of five bytes is ignored")
}

// Without the option nothing is known of the size, and an empty one is the size 0.
//
// Proves 7959-4-s23.
func TestSizes(t *testing.T) {
	var o Options
	_, ok := o.Size1()
	require.False(t, ok)
	_, ok = o.Size2()
	require.False(t, ok)
	o.SetSize1(1<<32 - 1)
	o.SetSize2(0)
	size, ok := o.Size1()
	require.True(t, ok)
	require.Equal(t, uint32(1<<32-1), size)
	size, ok = o.Size2()
	require.True(t, ok)
	require.Zero(t, size)
}

// What is set again is replaced, so that nothing is there twice.
//
// Proves 7252-5.4.5-02.
func TestSetTwice(t *testing.T) {
	var o Options
	u, err := ParseURI("coap://h.example:7/a?b")
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, u.SetOptions(&o, netip.MustParseAddrPort("192.0.2.1:5683")))
		o.SetContentFormat(JSON)
		o.SetAccept(JSON)
		o.SetMaxAge(time.Second)
		o.SetSize1(1)
		o.SetSize2(1)
		o.SetIfNoneMatch()
		require.NoError(t, o.SetETag([]byte("tag")))
		require.NoError(t, o.SetLocation("/c?d"))
		want := []OptionNumber{
			OptionURIHost, OptionETag, OptionIfNoneMatch, OptionURIPort, OptionLocationPath, OptionURIPath, OptionContentFormat,
			OptionMaxAge, OptionURIQuery, OptionAccept, OptionLocationQuery, OptionSize2, OptionSize1,
		}
		var got []OptionNumber
		for n := range o.All() {
			got = append(got, n)
		}
		require.Equal(t, want, got)
	}
}

// Proves 7252-5.10.6-01, 7252-5.10.6.1-01, 7252-5.10.6.2-01.
func TestETag(t *testing.T) {
	var o Options
	_, ok := o.ETag()
	require.False(t, ok)
	for _, tag := range []string{"\x00", "\xff\xff", "12345678"} {
		require.NoError(t, o.SetETag([]byte(tag)))
		got, ok := o.ETag()
		require.True(t, ok)
		require.Equal(t, tag, string(got))
		require.Equal(t, 1, o.Len(), "one at most in a response")
	}
	require.EqualError(t, o.SetETag(nil), "message: ETag has 0 bytes, want 1 to 8")
	require.EqualError(t, o.AddETag([]byte("123456789")), "message: ETag has 9 bytes, want 1 to 8")
	require.EqualError(t, o.AddIfMatch([]byte("123456789")), "message: If-Match has 9 bytes, want 0 to 8")
	require.Equal(t, 1, o.Len())

	require.NoError(t, o.AddETag([]byte("b")))
	o.Add(OptionETag, nil)
	o.AddString(OptionETag, "123456789")
	require.NoError(t, o.AddETag([]byte("c")))
	var tags []string
	for tag := range o.ETags() {
		tags = append(tags, string(tag))
	}
	require.Equal(t, []string{"12345678", "b", "c"}, tags, "invalid lengths are left out")
	for range o.ETags() {
		break
	}
}

// Proves 7252-5.10.8.1-s04, 7252-5.10.8.1-s05, 7252-5.10.8.1-s07, 7252-5.10.8.1-s08,
// 7252-5.10.8.2-s04.
func TestPrecondition(t *testing.T) {
	for _, c := range []struct {
		name        string
		ifMatch     []string
		ifNoneMatch bool
		etag        string
		exists      bool
		want        bool
	}{
		{"no condition, missing", nil, false, "", false, true},
		{"no condition, exists", nil, false, "a", true, true},
		{"If-Match equal", []string{"a"}, false, "a", true, true},
		{"If-Match different", []string{"b"}, false, "a", true, false},
		{"If-Match prefix", []string{"a"}, false, "ab", true, false},
		{"If-Match one of several", []string{"b", "a"}, false, "a", true, true},
		{"If-Match none of several", []string{"b", "c"}, false, "a", true, false},
		{"If-Match any, exists", []string{""}, false, "a", true, true},
		{"If-Match any, exists without tag", []string{""}, false, "", true, true},
		{"If-Match any, missing", []string{""}, false, "", false, false},
		{"If-Match tag, missing", []string{"a"}, false, "a", false, false},
		{"If-Match tag, exists without tag", []string{"a"}, false, "", true, false},
		{"If-None-Match, missing", nil, true, "", false, true},
		{"If-None-Match, exists", nil, true, "a", true, false},
		{"both, exists", []string{"a"}, true, "a", true, false},
		{"both, missing", []string{"a"}, true, "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o Options
			for _, tag := range c.ifMatch {
				require.NoError(t, o.AddIfMatch([]byte(tag)))
			}
			if c.ifNoneMatch {
				o.SetIfNoneMatch()
			}
			require.Equal(t, c.ifNoneMatch, o.IfNoneMatch())
			var etag []byte
			if c.etag != "" {
				etag = []byte(c.etag)
			}
			require.Equal(t, c.want, o.Precondition(etag, c.exists))
		})
	}
}

// Proves 7252-5.10.1-01, 7252-5.10.1-s15, 7252-6.5-s15, 7252-6.5-s16.
func TestSetPath(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, c := range []struct {
		path, composed string
		segments       []string
	}{
		{"", "/", nil},
		{"/", "/", nil},
		{"//", "//", []string{"", ""}},
		{"/a", "/a", []string{"a"}},
		{"a/b", "/a/b", []string{"a", "b"}},
		{"/a/", "/a/", []string{"a", ""}},
		{"/a/b c", "/a/b%20c", []string{"a", "b c"}},
		{"/a%2Fb/%25/%c3%bc", "/a%2Fb/%25/%C3%BC", []string{"a/b", "%", "ü"}},
		{"/ü/...", "/%C3%BC/...", []string{"ü", "..."}},
		{"/" + long, "/" + long, []string{long}},
		{"/" + strings.Repeat("%41", 255), "/" + strings.Repeat("A", 255), []string{strings.Repeat("A", 255)}},
	} {
		var o Options
		o.AddString(OptionURIPath, "old")
		o.AddString(OptionURIQuery, "stays")
		require.NoError(t, o.SetPath(c.path))
		require.Equal(t, c.segments, values(&o, OptionURIPath), c.path)
		require.Equal(t, c.composed, o.Path())
		require.Equal(t, "stays", o.Query())
		require.NoError(t, o.SetPath("/x"))
		require.NoError(t, o.SetPathSegments(c.segments...))
		require.Equal(t, c.segments, values(&o, OptionURIPath), c.path)
	}
	for path, reason := range map[string]string{
		"/a?b":           "a path has no ?, use SetTarget for a query or write it as %3F",
		"/a#b":           "a path has no #, use SetTarget for a query or write it as %23",
		"/a/../b":        `a path segment must not be ".."`,
		"/%2e":           `a path segment must not be "."`,
		"/100%":          `"%" is no percent-encoding, write % as %25`,
		"/" + long + "y": "a path segment has 256 bytes, want at most 255",
	} {
		var o Options
		o.AddString(OptionURIPath, "old")
		require.Equal(t, &URIError{URI: path, Reason: reason}, o.SetPath(path))
		require.Equal(t, []string{"old"}, values(&o, OptionURIPath))
	}
	var o Options
	require.EqualError(t, o.SetPathSegments("a", ".."), `message: "a/..": a path segment must not be ".."`)
	require.NoError(t, o.SetPathSegments("a/b", "%41", "?"))
	require.Equal(t, "/a%2Fb/%2541/%3F", o.Path())
}

func TestForbiddenSegmentsDoNotClimb(t *testing.T) {
	var o Options
	o.AddString(OptionURIPath, "a")
	o.AddString(OptionURIPath, "..")
	o.AddString(OptionURIPath, ".")
	require.Equal(t, "/a/%2E%2E/%2E", o.Path())
}

// Proves 7252-6.5-s17.
func TestQuery(t *testing.T) {
	var o Options
	require.Equal(t, "", o.Query())
	require.Equal(t, "/", o.Target())
	for _, arg := range []string{"a=1=2", "b", "a=3", "", "c&d/?%"} {
		require.NoError(t, o.AddQuery(arg))
	}
	require.Equal(t, "a=1=2&b&a=3&&c%26d/?%25", o.Query())
	require.Equal(t, "/?a=1=2&b&a=3&&c%26d/?%25", o.Target())
	for key, want := range map[string]string{"a": "1=2", "b": ""} {
		v, ok := o.QueryValue(key)
		require.True(t, ok)
		require.Equal(t, want, v)
	}
	_, ok := o.QueryValue("missing")
	require.False(t, ok)
	require.ErrorContains(t, o.AddQuery(strings.Repeat("x", 256)), "a query argument has 256 bytes, want at most 255")
}

func TestSetTarget(t *testing.T) {
	var o Options
	for target, want := range map[string]string{
		"": "/", "/": "/", "?a": "/?a", "/a/../b?c&d": "/b?c&d", "/a/": "/a/", "/?": "/?", "/%41": "/A",
	} {
		require.NoError(t, o.SetTarget(target))
		require.Equal(t, want, o.Target())
	}
	for target, reason := range map[string]string{
		"a/b":  `a path starts with a slash, write "/a/b"`,
		"/a b": `in the path " " has to be percent-encoded, write %20`,
		"/a#b": "a CoAP URI has no fragment, write # as %23",
	} {
		require.NoError(t, o.SetTarget("/old?old"))
		require.Equal(t, &URIError{URI: target, Reason: reason}, o.SetTarget(target))
		require.Equal(t, "/old?old", o.Target())
	}
}

// Proves 7252-5.10.7-s03, 7252-5.10.7-s09, 7252-5.10.7-s10, 7252-5.10.7-02, 7252-5.9.1.1-s03, 7252-5.9.1.1-s04.
func TestLocation(t *testing.T) {
	var o Options
	_, ok := o.Location()
	require.False(t, ok, "created at the URI of the request")
	base, err := url.Parse("coap://h:1/x/y?z")
	require.NoError(t, err)
	for ref, want := range map[string]string{
		"/jobs/17": "/jobs/17", "/a%2Fb/?c=d&%26": "/a%2Fb/?c=d&%26", "?x": "/?x", "/": "/", "/a/./../b": "/b", "/..": "/",
		"//": "//", "//other:2/x": "//other:2/x", "/a//b": "/a//b",
	} {
		require.NoError(t, o.SetLocation(ref))
		got, ok := o.Location()
		require.True(t, ok)
		reference, err := url.Parse(got)
		require.NoError(t, err)
		require.Equal(t, "coap://h:1"+want, base.ResolveReference(reference).String())
		if !strings.HasPrefix(want, "//") {
			require.Equal(t, want, got)
		}
		require.NoError(t, o.SetLocation(got), "what is read can be written")
		again, _ := o.Location()
		require.Equal(t, got, again)
		for v := range o.Values(OptionLocationPath) {
			require.False(t, isDots(v))
		}
	}
	require.ErrorContains(t, o.SetLocation("x"), "a path starts with a slash")
	require.NoError(t, o.SetLocation(""))
	require.True(t, o.Empty())

	o.AddString(OptionLocationPath, "..")
	_, ok = o.Location()
	require.False(t, ok, "forbidden segment")
	for _, n := range []OptionNumber{128, 132, 136, 140} {
		o.Reset()
		require.NoError(t, o.SetLocation("/a"))
		o.Add(n, nil)
		_, ok = o.Location()
		require.False(t, ok, "option %d", n)
	}
}
