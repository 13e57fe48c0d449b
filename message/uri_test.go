package message

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var (
	destV4 = netip.MustParseAddrPort("198.51.100.1:5683")
	destV6 = netip.MustParseAddrPort("[2001:db8::2:1]:5683")
)

// list is a readable form of options: "Uri-Path:\"a\"".
func list(o *Options) []string {
	var s []string
	for n, v := range o.All() {
		s = append(s, Option{n, v}.String())
	}
	return s
}

// decompose parses uri and returns the options that a request to dest needs.
func decompose(t *testing.T, uri string, dest netip.AddrPort) *Options {
	t.Helper()
	u, err := ParseURI(uri)
	require.NoError(t, err, uri)
	var o Options
	require.NoError(t, u.SetOptions(&o, dest), uri)
	return &o
}

// Proves 7252-6.1-s06, 7252-6.3-s02, 7252-6.3-s03, 7252-6.3-s04, 7252-6.3-s05,
// 7252-6.4-s11, 7252-6.4-s13, 7252-6.4-s14, 7252-6.4-s15, 7252-5.10.1-01, 7252-5.10.1-s15.
func TestParseURI(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, c := range []struct {
		name, uri string
		want      URI
		normal    string // empty: as uri
	}{
		{"root", "coap://h/", URI{"coap", "h", 5683, nil, nil}, ""},
		{"no path", "coap://h", URI{"coap", "h", 5683, nil, nil}, "coap://h/"},
		{"empty port", "coap://h:/", URI{"coap", "h", 5683, nil, nil}, "coap://h/"},
		{"default port", "coap://h:5683/", URI{"coap", "h", 5683, nil, nil}, "coap://h/"},
		{"port with zeros", "coap://h:05683/", URI{"coap", "h", 5683, nil, nil}, "coap://h/"},
		{"other port", "coap://h:61616/", URI{"coap", "h", 61616, nil, nil}, ""},
		{"coaps", "coaps://h/", URI{"coaps", "h", 5684, nil, nil}, ""},
		{"coaps with the port of coap", "coaps://h:5683/", URI{"coaps", "h", 5683, nil, nil}, ""},
		{"case", "COAP://EXAMPLE.com/A?B", URI{"coap", "example.com", 5683, []string{"A"}, []string{"B"}}, "coap://example.com/A?B"},
		{"needless encoding", "coap://EXAMPLE.com:/%7esensors/temp.xml",
			URI{"coap", "example.com", 5683, []string{"~sensors", "temp.xml"}, nil}, "coap://example.com/~sensors/temp.xml"},
		{"encoded host letter", "coap://%45xample.com/", URI{"coap", "example.com", 5683, nil, nil}, "coap://example.com/"},
		{"host with UTF-8", "coap://b%C3%BCcher.example/", URI{"coap", "bücher.example", 5683, nil, nil}, ""},
		{"host with lower-case digits", "coap://b%c3%bccher/", URI{"coap", "bücher", 5683, nil, nil}, "coap://b%C3%BCcher/"},
		{"host of sub-delims", "coap://a!$&'()*+,;=b/", URI{"coap", "a!$&'()*+,;=b", 5683, nil, nil}, ""},
		{"IPv4", "coap://198.51.100.1/", URI{"coap", "198.51.100.1", 5683, nil, nil}, ""},
		{"no IPv4", "coap://198.51.100.001/", URI{"coap", "198.51.100.001", 5683, nil, nil}, ""},
		{"IPv6", "coap://[2001:DB8:0:0::2:1]:61616/", URI{"coap", "2001:db8::2:1", 61616, nil, nil}, "coap://[2001:db8::2:1]:61616/"},
		{"mapped", "coap://[::ffff:198.51.100.1]/", URI{"coap", "198.51.100.1", 5683, nil, nil}, "coap://198.51.100.1/"},
		{"zone", "coap://[fe80::1%25eth0]/", URI{"coap", "fe80::1%eth0", 5683, nil, nil}, ""},
		{"bare zone", "coap://[FE80::1%eth0]:5683", URI{"coap", "fe80::1%eth0", 5683, nil, nil}, "coap://[fe80::1%25eth0]/"},
		{"encoded zone", "coap://[fe80::1%25a%2Fb]/", URI{"coap", "fe80::1%a/b", 5683, nil, nil}, ""},
		{"zone 25", "coap://[fe80::1%2525]/", URI{"coap", "fe80::1%25", 5683, nil, nil}, ""},
		{"bare zone 25", "coap://[fe80::1%25]/", URI{"coap", "fe80::1%25", 5683, nil, nil}, "coap://[fe80::1%2525]/"},
		{"trailing slash", "coap://h/a/", URI{"coap", "h", 5683, []string{"a", ""}, nil}, ""},
		{"two slashes", "coap://h//", URI{"coap", "h", 5683, []string{"", ""}, nil}, ""},
		{"three slashes", "coap://h///", URI{"coap", "h", 5683, []string{"", "", ""}, nil}, ""},
		{"empty segment inside", "coap://h/a//b", URI{"coap", "h", 5683, []string{"a", "", "b"}, nil}, ""},
		{"slash in segment", "coap://h/a%2Fb/c", URI{"coap", "h", 5683, []string{"a/b", "c"}, nil}, ""},
		{"decoded once", "coap://h/%2541", URI{"coap", "h", 5683, []string{"%41"}, nil}, ""},
		{"all bytes", "coap://h/%00%FF", URI{"coap", "h", 5683, []string{"\x00\xff"}, nil}, ""},
		{"path characters", "coap://h/a:b@c;d=1,2!$&'()*+", URI{"coap", "h", 5683, []string{"a:b@c;d=1,2!$&'()*+"}, nil}, ""},
		{"query", "coap://h/?a=1&b", URI{"coap", "h", 5683, nil, []string{"a=1", "b"}}, ""},
		{"query without path", "coap://h?a", URI{"coap", "h", 5683, nil, []string{"a"}}, "coap://h/?a"},
		{"empty query", "coap://h/?", URI{"coap", "h", 5683, nil, []string{""}}, ""},
		{"empty query without path", "coap://h?", URI{"coap", "h", 5683, nil, []string{""}}, "coap://h/?"},
		{"empty arguments", "coap://h/?&a&", URI{"coap", "h", 5683, nil, []string{"", "a", ""}}, ""},
		{"ampersand in argument", "coap://h/?a%26b", URI{"coap", "h", 5683, nil, []string{"a&b"}}, ""},
		{"query characters", "coap://h/?/?:@", URI{"coap", "h", 5683, nil, []string{"/?:@"}}, ""},
		{"slash encoded in query", "coap://h/?%2F%3f", URI{"coap", "h", 5683, nil, []string{"/?"}}, "coap://h/?/?"},
		{"dot", "coap://h/a/./b", URI{"coap", "h", 5683, []string{"a", "b"}, nil}, "coap://h/a/b"},
		{"dot dot", "coap://h/a/b/../c", URI{"coap", "h", 5683, []string{"a", "c"}, nil}, "coap://h/a/c"},
		{"dots at the end", "coap://h/a/b/..", URI{"coap", "h", 5683, []string{"a", ""}, nil}, "coap://h/a/"},
		{"above the root", "coap://h/../../a", URI{"coap", "h", 5683, []string{"a"}, nil}, "coap://h/a"},
		{"back to the root", "coap://h/a/..?x", URI{"coap", "h", 5683, nil, []string{"x"}}, "coap://h/?x"},
		{"encoded dots", "coap://h/a/%2E%2e/%2e/b", URI{"coap", "h", 5683, []string{"b"}, nil}, "coap://h/b"},
		{"three dots", "coap://h/...", URI{"coap", "h", 5683, []string{"..."}, nil}, ""},
		{"dots in query", "coap://h/?..", URI{"coap", "h", 5683, nil, []string{".."}}, ""},
		{"longest", "coap://" + long + "/" + long + "?" + long, URI{"coap", long, 5683, []string{long}, []string{long}}, ""},
		{"length counts decoded bytes", "coap://h/" + strings.Repeat("%20", 255),
			URI{"coap", "h", 5683, []string{strings.Repeat(" ", 255)}, nil}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseURI(c.uri)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(c.want, got))
			if c.normal == "" {
				c.normal = c.uri
			}
			require.Equal(t, c.normal, got.String(), "normal form")
			again, err := ParseURI(got.String())
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(got, again), "the normal form means the same")
		})
	}
}

// Proves 7252-6.1-01, 7252-6.4-s03, 7252-6.4-s07, 7252-6.4-s08, 7252-5.10.1-s10.
func TestParseURIErrors(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, c := range []struct{ uri, reason string }{
		{"", "the scheme is missing, write coap://host"},
		{"/a", "the scheme is missing, write coap://host/a"},
		{"//h/a", "the scheme is missing, write coap://h/a"},
		{"h/a", "the scheme is missing, write coap://h/a"},
		{"example.com:5683/a", "the scheme is missing, write coap://example.com:5683/a"},
		{"[::1]:5683", "the scheme is missing, write coap://[::1]:5683"},
		{"198.51.100.1", "the scheme is missing, write coap://198.51.100.1"},
		{"http://h/", `scheme "http" is not supported, want coap or coaps`},
		{"coap+tcp://h/", `scheme "coap+tcp" is not supported, want coap or coaps`},
		{"coap:h/a", "the host is missing, write coap://h/a"},
		{"coaps:/a", "the host is missing, write coaps://host/a"},
		{"coap:", "the host is missing, write coap://host"},
		{"coap://", "the host is empty"},
		{"coap:///a", "the host is empty"},
		{"coap://:5683/a", "the host is empty"},
		{"coap://?a", "the host is empty"},
		{"coap://h/a#", "a CoAP URI has no fragment, leave out # and what follows it"},
		{"coap://h/a#b", "a CoAP URI has no fragment, leave out # and what follows it"},
		{"coap://user@h/", "a CoAP URI has no user information, leave out the @ and what precedes it"},
		{"coap://@h/", "a CoAP URI has no user information, leave out the @ and what precedes it"},
		{"coap://h:0/", `the port is "0", want a number from 1 to 65535`},
		{"coap://h:65536/", `the port is "65536", want a number from 1 to 65535`},
		{"coap://h:99999999999999999999/", `the port is "99999999999999999999", want a number from 1 to 65535`},
		{"coap://h:-1/", `the port is "-1", want a number from 1 to 65535`},
		{"coap://h:+1/", `the port is "+1", want a number from 1 to 65535`},
		{"coap://h:1_0/", `the port is "1_0", want a number from 1 to 65535`},
		{"coap://h:x/", `the port is "x", want a number from 1 to 65535`},
		{"coap://h:1:2/", `the port is "1:2", want a number from 1 to 65535`},
		{"coap://2001:db8::1/", "an IPv6 address stands in brackets, write coap://[2001:db8::1]"},
		{"coap://[2001:db8::1/", "the host starts with [ and does not end with ]"},
		{"coap://[::1]x/", "the host starts with [ and does not end with ]"},
		{"coap://[", "the host starts with [ and does not end with ]"},
		{"coap://[]/", `"[]" is no IPv6 address`},
		{"coap://[1.2.3.4]/", `"[1.2.3.4]" is no IPv6 address`},
		{"coap://[v1.x]/", `"[v1.x]" is no IPv6 address`},
		{"coap://[fe80::1%]/", `"[fe80::1%]" has no valid zone`},
		{"coap://[::ffff:1.2.3.4%25eth0]/", `"[::ffff:1.2.3.4%25eth0]" has no valid zone`},
		{"coap://[fe80::1%25a b]/", `in the zone " " has to be percent-encoded, write %20`},
		{"coap://a b/", `in the host " " has to be percent-encoded, write %20`},
		{"coap://a%20b/", `' ' cannot be part of a host, percent-encoded or not`},
		{"coap://a%2Fb/", `'/' cannot be part of a host, percent-encoded or not`},
		{"coap://a%25b/", `'%' cannot be part of a host, percent-encoded or not`},
		{"coap://%5B::1%5D/", "'[' cannot be part of a host, percent-encoded or not"},
		{"coap://%FF/", "the host is not valid UTF-8"},
		{"coap://bücher/", `in the host "ü" has to be percent-encoded, write %C3%BC`},
		{"coap://" + long + "/", "the host has 256 bytes, want 1 to 255"},
		{"coap://h/" + long, "a path segment has 256 bytes, want at most 255"},
		{"coap://h/?" + long, "a query argument has 256 bytes, want at most 255"},
		{"coap://h/a b", `in the path " " has to be percent-encoded, write %20`},
		{"coap://h/ü", `in the path "ü" has to be percent-encoded, write %C3%BC`},
		{"coap://h/\xff", `in the path "\xff" has to be percent-encoded, write %FF`},
		{"coap://h/%", `in the path "%" is no percent-encoding, write % as %25`},
		{"coap://h/%4", `in the path "%4" is no percent-encoding, write % as %25`},
		{"coap://h/%4g5", `in the path "%4g" is no percent-encoding, write % as %25`},
		{"coap://h/?[x]", `in the query "[" has to be percent-encoded, write %5B`},
		{"coap://h/\x00", `in the path "\x00" has to be percent-encoded, write %00`},
	} {
		t.Run(c.uri[:min(len(c.uri), 40)], func(t *testing.T) {
			got, err := ParseURI(c.uri)
			require.Equal(t, &URIError{URI: c.uri, Reason: c.reason}, err)
			require.Zero(t, got)
		})
	}
	_, err := ParseURI("h:1")
	require.EqualError(t, err, `message: "h:1": the scheme is missing, write coap://h:1`)
}

// Proves 7252-6.4-s09, 7252-6.4-s11, 7252-6.4-s12, 7252-6.4-s13, 7252-6.4-s14, 7252-6.4-s15,
// 7252-5.10.1-s11, 7252-5.10.1-s12.
func TestSetOptions(t *testing.T) {
	linkLocal := netip.MustParseAddrPort("[fe80::1%eth0]:5683")
	for _, c := range []struct {
		name, uri string
		dest      netip.AddrPort
		want      []string
	}{
		{"name", "coap://h/", destV4, []string{`Uri-Host:"h"`}},
		{"the address of the destination", "coap://198.51.100.1/", destV4, nil},
		{"another address", "coap://198.51.100.2/", destV4, []string{`Uri-Host:"198.51.100.2"`}},
		{"the address spelled otherwise", "coap://[2001:DB8::0:2:1]/", destV6, nil},
		{"another IPv6 address", "coap://[2001:db8::3]/", destV6, []string{`Uri-Host:"[2001:db8::3]"`}},
		{"mapped URI", "coap://[::ffff:198.51.100.1]/", destV4, nil},
		{"mapped destination", "coap://198.51.100.1/", netip.MustParseAddrPort("[::ffff:198.51.100.1]:5683"), nil},
		{"zone", "coap://[fe80::1%25eth0]/", linkLocal, nil},
		{"another zone", "coap://[fe80::1%25eth1]/", linkLocal, nil},
		{"zone stays here", "coap://[fe80::2%25eth0]/", linkLocal, []string{`Uri-Host:"[fe80::2]"`}},
		{"port of the destination", "coap://198.51.100.1:61616/", netip.MustParseAddrPort("198.51.100.1:61616"), nil},
		{"another port", "coap://198.51.100.1:61616/", destV4, []string{"Uri-Port:61616"}},
		{"default port, other destination", "coap://198.51.100.1/", netip.MustParseAddrPort("198.51.100.1:61616"), []string{"Uri-Port:5683"}},
		{"default port of coaps", "coaps://198.51.100.1/", destV4, []string{"Uri-Port:5684"}},
		{"destination not known", "coap://198.51.100.1/", netip.AddrPort{}, []string{`Uri-Host:"198.51.100.1"`}},
		{"destination and port not known", "coap://198.51.100.1:1/", netip.AddrPort{}, []string{`Uri-Host:"198.51.100.1"`, "Uri-Port:1"}},
		{"everything", "coap://h:1/a//b/?x=1&&y", destV4, []string{
			`Uri-Host:"h"`, "Uri-Port:1", `Uri-Path:"a"`, `Uri-Path:""`, `Uri-Path:"b"`, `Uri-Path:""`,
			`Uri-Query:"x=1"`, `Uri-Query:""`, `Uri-Query:"y"`}},
		{"empty query", "coap://198.51.100.1?", destV4, []string{`Uri-Query:""`}},
		{"two slashes", "coap://198.51.100.1//", destV4, []string{`Uri-Path:""`, `Uri-Path:""`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, list(decompose(t, c.uri, c.dest)))
		})
	}
}

// The three URIs that section 6.3 calls equivalent.
//
// Proves 7252-6.3-s05.
func TestEquivalentURIs(t *testing.T) {
	want := []string{`Uri-Host:"example.com"`, `Uri-Path:"~sensors"`, `Uri-Path:"temp.xml"`}
	for _, uri := range []string{
		"coap://example.com:5683/~sensors/temp.xml",
		"coap://EXAMPLE.com/%7Esensors/temp.xml",
		"coap://EXAMPLE.com:/%7esensors/temp.xml",
	} {
		require.Equal(t, want, list(decompose(t, uri, destV4)), uri)
	}
}

func TestSetOptionsReplaces(t *testing.T) {
	var o Options
	o.AddString(OptionURIHost, "old")
	o.AddUint(OptionURIPort, 1)
	o.AddString(OptionURIPath, "old")
	o.AddString(OptionURIQuery, "old")
	o.SetAccept(JSON)
	u, err := ParseURI("coap://198.51.100.1/a?b")
	require.NoError(t, err)
	require.NoError(t, u.SetOptions(&o, destV4))
	require.Equal(t, []string{`Uri-Path:"a"`, `Uri-Query:"b"`, "Accept:50"}, list(&o))
}

// A URI whose fields were set by hand is checked where it is used.
//
// Proves 7252-5.10.1-01.
func TestSetOptionsErrors(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, c := range []struct {
		u      URI
		reason string
	}{
		{URI{Scheme: "http", Host: "h"}, `scheme "http" is not supported, want coap or coaps`},
		{URI{Scheme: "coap"}, "the host is empty"},
		{URI{Scheme: "coap", Host: "a/b"}, "'/' cannot be part of a host, percent-encoded or not"},
		{URI{Scheme: "coap", Host: "[::1]"}, "'[' cannot be part of a host, percent-encoded or not"},
		{URI{Scheme: "coap", Host: "h", Path: []string{""}}, `the path "/" has no segment, not an empty one`},
		{URI{Scheme: "coap", Host: "h", Path: []string{"a", ".."}}, `a path segment must not be ".."`},
		{URI{Scheme: "coap", Host: "h", Path: []string{"."}}, `a path segment must not be "."`},
		{URI{Scheme: "coap", Host: "h", Path: []string{long}}, "a path segment has 256 bytes, want at most 255"},
		{URI{Scheme: "coap", Host: "h", Query: []string{long}}, "a query argument has 256 bytes, want at most 255"},
	} {
		var o Options
		o.SetAccept(JSON)
		before := o.Clone()
		err := c.u.SetOptions(&o, destV4)
		var uriErr *URIError
		require.ErrorAs(t, err, &uriErr)
		require.Equal(t, c.reason, uriErr.Reason)
		require.True(t, before.Equal(&o), "options are left alone")
	}
	var o Options
	require.NoError(t, URI{Scheme: "coap", Host: "EXAMPLE.com"}.SetOptions(&o, destV4))
	require.Equal(t, []string{`Uri-Host:"example.com"`}, list(&o), "zero port is the default port")
	require.NoError(t, URI{Scheme: "coap", Host: "::ffff:198.51.100.1"}.SetOptions(&o, destV4))
	require.Empty(t, list(&o))
}

func TestURIAddr(t *testing.T) {
	for host, want := range map[string]string{
		"198.51.100.1": "198.51.100.1", "[fe80::1%25eth0]": "fe80::1%eth0", "[::ffff:1.2.3.4]": "1.2.3.4", "h": "",
	} {
		u, err := ParseURI("coap://" + host)
		require.NoError(t, err)
		addr, ok := u.Addr()
		require.Equal(t, want != "", ok)
		if ok {
			require.Equal(t, netip.MustParseAddr(want), addr)
		}
	}
}

// The examples of appendix B. In the last one the appendix encodes the slashes of the query,
// which step 8 of section 6.5 does not; both mean the same options.
//
// Proves 7252-6.5-s05, 7252-6.5-s07, 7252-6.5-s09, 7252-6.5-s11, 7252-6.5-s13,
// 7252-6.5-s15, 7252-6.5-s16, 7252-6.5-s17, 7252-6.5-01.
func TestComposeURIExamples(t *testing.T) {
	for _, c := range []struct {
		scheme, dest, host string
		path, query        []string
		want               string
	}{
		{"coap", "[2001:db8::2:1]:5683", "", nil, nil, "coap://[2001:db8::2:1]/"},
		{"coap", "[2001:db8::2:1]:5683", "example.net", nil, nil, "coap://example.net/"},
		{"coap", "[2001:db8::2:1]:5683", "example.net", []string{".well-known", "core"}, nil, "coap://example.net/.well-known/core"},
		{"coap", "[2001:db8::2:1]:5683", "xn--18j4d.example", []string{"こんにちは"}, nil,
			"coap://xn--18j4d.example/%E3%81%93%E3%82%93%E3%81%AB%E3%81%A1%E3%81%AF"},
		{"coap", "198.51.100.1:61616", "", []string{"", "/", "", ""}, []string{"//", "?&"},
			"coap://198.51.100.1:61616//%2F//?//&?%26"},
		{"coaps", "198.51.100.1:5684", "", []string{"a"}, nil, "coaps://198.51.100.1/a"},
		{"coaps", "198.51.100.1:5683", "", []string{"a"}, nil, "coaps://198.51.100.1:5683/a"},
	} {
		var o Options
		if c.host != "" {
			o.AddString(OptionURIHost, c.host)
		}
		for _, s := range c.path {
			o.AddString(OptionURIPath, s)
		}
		for _, s := range c.query {
			o.AddString(OptionURIQuery, s)
		}
		dest := netip.MustParseAddrPort(c.dest)
		got, err := ComposeURI(c.scheme, &o, dest)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
		require.True(t, o.Equal(decompose(t, got, dest)), "and back")
	}
	appendix := decompose(t, "coap://198.51.100.1:61616//%2F//?%2F%2F&?%26", destV4)
	ours := decompose(t, "coap://198.51.100.1:61616//%2F//?//&?%26", destV4)
	require.True(t, appendix.Equal(ours))
}

// Proves 7252-6.5-s07, 7252-6.5-s08, 7252-6.5-s11, 7252-6.5-s16, 7252-6.5-01.
func TestComposeURI(t *testing.T) {
	opt := func(n OptionNumber, v string) func(*Options) { return func(o *Options) { o.AddString(n, v) } }
	for _, c := range []struct {
		name         string
		dest         netip.AddrPort
		add          []func(*Options)
		want, reason string
	}{
		{"host in capitals", destV4, []func(*Options){opt(OptionURIHost, "EXAMPLE.com")}, "coap://example.com/", ""},
		{"host with UTF-8", destV4, []func(*Options){opt(OptionURIHost, "bücher")}, "coap://b%C3%BCcher/", ""},
		{"host with an address", destV4, []func(*Options){opt(OptionURIHost, "[2001:DB8::1]")}, "coap://[2001:db8::1]/", ""},
		{"Uri-Port", destV4, []func(*Options){opt(OptionURIPort, "\x01\x00")}, "coap://198.51.100.1:256/", ""},
		{"Uri-Port with a leading zero", destV4, []func(*Options){opt(OptionURIPort, "\x00\x50")}, "coap://198.51.100.1:80/", ""},
		{"Uri-Port is the default", netip.MustParseAddrPort("198.51.100.1:1"), []func(*Options){opt(OptionURIPort, "\x16\x33")}, "coap://198.51.100.1/", ""},
		{"zone", netip.MustParseAddrPort("[fe80::1%eth0]:5683"), nil, "coap://[fe80::1%25eth0]/", ""},
		{"mapped", netip.MustParseAddrPort("[::ffff:1.2.3.4]:5683"), nil, "coap://1.2.3.4/", ""},
		{"one empty segment", destV4, []func(*Options){opt(OptionURIPath, "")}, "coap://198.51.100.1/", ""},
		{"bytes", destV4, []func(*Options){opt(OptionURIPath, "\x00\xff %")}, "coap://198.51.100.1/%00%FF%20%25", ""},
		{"port not known", netip.AddrPort{}, []func(*Options){opt(OptionURIHost, "h")}, "coap://h/", ""},

		{"no host", netip.AddrPort{}, nil, "", "neither Uri-Host nor the destination address is known"},
		{"empty host", destV4, []func(*Options){opt(OptionURIHost, "")}, "", "Uri-Host: the host is empty"},
		{"host with space", destV4, []func(*Options){opt(OptionURIHost, "a b")}, "", `Uri-Host: in the host " " has to be percent-encoded, write %20`},
		{"host with slash", destV4, []func(*Options){opt(OptionURIHost, "a/b")}, "", `Uri-Host: in the host "/" has to be percent-encoded, write %2F`},
		{"host with percent", destV4, []func(*Options){opt(OptionURIHost, "a%41")}, "", "Uri-Host: '%' cannot be part of a host"},
		{"host with zone", destV4, []func(*Options){opt(OptionURIHost, "[fe80::1%25x]")}, "", "Uri-Host: '%' cannot be part of a host"},
		{"host without brackets", destV4, []func(*Options){opt(OptionURIHost, "::1")}, "", `Uri-Host: in the host ":" has to be percent-encoded, write %3A`},
		{"host not UTF-8", destV4, []func(*Options){opt(OptionURIHost, "\xff")}, "", "Uri-Host: not valid UTF-8"},
		{"port 0", destV4, []func(*Options){opt(OptionURIPort, "")}, "", "Uri-Port is 0x, want 1 to 65535"},
		{"port of three bytes", destV4, []func(*Options){opt(OptionURIPort, "\x01\x00\x00")}, "", "Uri-Port is 0x010000, want 1 to 65535"},
		{"dots", destV4, []func(*Options){opt(OptionURIPath, "..")}, "", `a path segment must not be ".."`},
		{"long", destV4, []func(*Options){opt(OptionURIPath, strings.Repeat("x", 256))}, "", "a path segment has 256 bytes, want at most 255"},
		{"long argument", destV4, []func(*Options){opt(OptionURIQuery, strings.Repeat("x", 256))}, "", "a query argument has 256 bytes, want at most 255"},

		{"Proxy-Scheme", destV4, []func(*Options){opt(OptionProxyScheme, "HTTP"), opt(OptionURIHost, "h"), opt(OptionURIPath, "a")}, "http://h/a", ""},
		{"Proxy-Scheme is none", destV4, []func(*Options){opt(OptionProxyScheme, "4x")}, "", `Proxy-Scheme "4x" is no scheme`},
		{"Proxy-Uri goes first", destV4, []func(*Options){opt(OptionProxyURI, "coap+tcp://u@h:1/%41?q"), opt(OptionURIHost, "h")}, "coap+tcp://u@h:1/%41?q", ""},
		{"Proxy-Uri relative", destV4, []func(*Options){opt(OptionProxyURI, "//h/a")}, "", `Proxy-Uri "//h/a" is not absolute`},
		{"Proxy-Uri with fragment", destV4, []func(*Options){opt(OptionProxyURI, "http://h/#a")}, "", `Proxy-Uri "http://h/#a" contains '#'`},
		{"Proxy-Uri with line end", destV4, []func(*Options){opt(OptionProxyURI, "http://h/\r\n")}, "", `Proxy-Uri "http://h/\r\n" contains '\r'`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o Options
			for _, add := range c.add {
				add(&o)
			}
			got, err := ComposeURI("coap", &o, c.dest)
			require.Equal(t, c.want, got)
			if c.reason == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, &URIError{Reason: c.reason}, err)
			require.EqualError(t, err, "message: no URI from these options: "+c.reason)
		})
	}
	_, err := ComposeURI("http", &Options{}, destV4)
	require.ErrorContains(t, err, `scheme "http" is not supported`)
}

// Proves 7252-5.10.2-04, 7252-5.10.2-s09.
func TestComposeURIForProxy(t *testing.T) {
	var o Options
	o.AddString(OptionURIHost, "example.com")
	require.NoError(t, o.SetTarget("/a?b"))
	o.AddString(OptionProxyScheme, "coap+tcp")
	got, err := ComposeURI("coap", &o, destV4)
	require.NoError(t, err)
	require.Equal(t, "coap+tcp://example.com/a?b", got)

	o.AddString(OptionProxyURI, "http://example.net/")
	got, err = ComposeURI("coap", &o, destV4)
	require.NoError(t, err)
	require.Equal(t, "http://example.net/", got)
}

// Whatever parses composes to the normal form, and the normal form means the same
// options.
//
// Proves 7252-6.4-s14, 7252-6.4-s15, 7252-6.5-s15, 7252-6.5-s17.
func TestURIRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7252, 64))
	parts := []string{"/", "/", "a", "Z", "..", ".", "%2e", "%2F", "%00", "%fF", "~", "?", "&", "=", ":", "@", "%25", "%3f", "!", "%C3%BC"}
	hosts := []string{"h", "EXAMPLE.com", "198.51.100.1", "[2001:db8::2:1]", "[fe80::1%25eth0]", "b%C3%BC", "%31.2.3.4"}
	ports := []string{"", ":", ":5683", ":61616"}
	dests := []netip.AddrPort{destV4, destV6, netip.MustParseAddrPort("[fe80::1%eth0]:61616")}
	for range 5000 {
		uri := "coap://" + hosts[rnd.IntN(len(hosts))] + ports[rnd.IntN(len(ports))]
		if n := rnd.IntN(10); n > 0 {
			uri += "/"
			for range n {
				uri += parts[rnd.IntN(len(parts))]
			}
		}
		u, err := ParseURI(uri)
		require.NoError(t, err, uri)
		dest := dests[rnd.IntN(len(dests))]
		o := decompose(t, uri, dest)
		composed, err := ComposeURI("coap", o, dest)
		require.NoError(t, err, uri)
		normal := u.String()
		if !strings.Contains(composed, "%25eth0") { // a zone is not in the options
			normal = strings.Replace(normal, "%25eth0", "", 1)
		}
		require.Equal(t, normal, composed, uri)
		require.Equal(t, list(o), list(decompose(t, composed, dest)), "%s composes to %s", uri, composed)
	}
}

// Any options either make no URI or one that means the same.
func TestComposeRandomOptions(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7252, 65))
	const letters = "aZ./%&?:@[]1\x00\xff #"
	numbers := []OptionNumber{OptionURIHost, OptionURIPort, OptionURIPath, OptionURIPath, OptionURIQuery}
	composed := 0
	for range 5000 {
		var o Options
		for range rnd.IntN(5) {
			v := make([]byte, rnd.IntN(4))
			for i := range v {
				v[i] = letters[rnd.IntN(len(letters))]
			}
			o.Add(numbers[rnd.IntN(len(numbers))], v)
		}
		uri, err := ComposeURI("coap", &o, destV4)
		if err != nil {
			continue
		}
		composed++
		back := decompose(t, uri, destV4)
		again, err := ComposeURI("coap", back, destV4)
		require.NoError(t, err)
		require.Equal(t, uri, again)
		if v, _ := o.String(OptionURIPath); v == "" && len(values(&o, OptionURIPath)) == 1 {
			continue // one empty segment is the path "/", as is none
		}
		require.Equal(t, values(&o, OptionURIPath), values(back, OptionURIPath), uri)
		require.Equal(t, values(&o, OptionURIQuery), values(back, OptionURIQuery), uri)
	}
	require.Greater(t, composed, 500)
}

func values(o *Options, n OptionNumber) (vs []string) {
	for v := range o.Values(n) {
		vs = append(vs, string(v))
	}
	return vs
}

// removeDotSegments is RFC 3986 section 5.2.4 word by word.
func removeDotSegments(in string) string {
	out := ""
	dropLast := func() { out = out[:max(0, strings.LastIndexByte(out, '/'))] }
	for in != "" {
		switch {
		case strings.HasPrefix(in, "../"):
			in = in[3:]
		case strings.HasPrefix(in, "./"):
			in = in[2:]
		case strings.HasPrefix(in, "/./"):
			in = in[2:]
		case in == "/.":
			in = "/"
		case strings.HasPrefix(in, "/../"):
			in = in[3:]
			dropLast()
		case in == "/..":
			in = "/"
			dropLast()
		case in == "." || in == "..":
			in = ""
		default:
			end := strings.IndexByte(in[1:], '/') + 1
			if end == 0 {
				end = len(in)
			}
			out += in[:end]
			in = in[end:]
		}
	}
	return out
}

func TestDotSegmentsAgainstReference(t *testing.T) {
	require.Equal(t, "/a/g", removeDotSegments("/a/b/c/./../../g"))
	rnd := rand.New(rand.NewPCG(3986, 524))
	parts := []string{"/", "/", "/", ".", "..", "a", "b"}
	for range 5000 {
		path := "/"
		for range rnd.IntN(12) {
			path += parts[rnd.IntN(len(parts))]
		}
		u, err := ParseURI("coap://h" + path)
		require.NoError(t, err)
		require.Equal(t, "coap://h"+removeDotSegments(path), u.String(), path)
	}
}
