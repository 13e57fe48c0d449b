package fuzz

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/coapkit/coap/internal/reference"
	"github.com/coapkit/coap/message"
)

// destinations of a request: not known, two addresses, and those with other ports.
var destinations = []netip.AddrPort{
	{},
	netip.MustParseAddrPort("198.51.100.1:5683"),
	netip.MustParseAddrPort("[2001:db8::2:1]:5683"),
	netip.MustParseAddrPort("[2001:db8::2:1]:61616"),
	netip.MustParseAddrPort("[fe80::1%eth0]:5684"),
}

func FuzzURI(f *testing.F) {
	for _, s := range []string{
		"coap://[2001:db8::2:1]/",
		"coap://example.net/.well-known/core",
		"coap://xn--18j4d.example/%E3%81%93%E3%82%93%E3%81%AB%E3%81%A1%E3%81%AF",
		"coap://198.51.100.1:61616//%2F//?%2F%2F&?%26",
		"coap://example.com:5683/~sensors/temp.xml",
		"COAP://EXAMPLE.com:/%7esensors/temp.xml",
		"coaps://[fe80::1%25eth0]:5684/a/../b/./?x=1&&y",
		"coap://h%C3%A4/?", "coap://a", "coap://a?b", "coap://[::ffff:192.0.2.1]//",
		"coap://", "http://a/", "coap:/a", "coap://a/#f", "coap://u@h/", "coap://h:65536/", "coap://h/%zz",
	} {
		f.Add(s, []byte{})
	}
	for _, p := range reference.Packets() {
		if b := p.Bytes(); len(b) > 4 && b[0] == 0x40 {
			f.Add("coap://a/b", b[4:])
		}
	}
	f.Fuzz(func(t *testing.T, s string, options []byte) {
		checkURI(t, s)
		checkOptionsURI(t, options)
	})
}

// checkURI takes a URI through text and through options and back.
func checkURI(t *testing.T, s string) {
	u, err := message.ParseURI(s)
	if err != nil {
		requireURIError(t, err)
		return
	}
	text := u.String()
	if again, err := message.ParseURI(text); err != nil || !equalURI(u, again) {
		t.Fatalf("%q parses to %#v, which is written as %q, which parses to %#v, %v", s, u, text, again, err)
	}
	for _, dest := range destinations {
		var o message.Options
		if err := u.SetOptions(&o, dest); err != nil {
			t.Fatalf("%q: options for %v: %v", s, dest, err)
		}
		composed, err := message.ComposeURI(u.Scheme, &o, dest)
		if err != nil {
			t.Fatalf("%q: composed from its options for %v: %v", s, dest, err)
		}
		again, err := message.ParseURI(composed)
		if err != nil || !equalURI(withoutZone(u), withoutZone(again)) {
			t.Fatalf("%q: composed from its options for %v: %q, which parses to %#v, %v, want %#v", s, dest, composed, again, err, u)
		}
	}
}

// checkOptionsURI takes options through a URI and back: where ComposeURI has no objection,
// setting the options of its result and composing again gives the same.
func checkOptionsURI(t *testing.T, b []byte) {
	o, _, err := decodeOptions(b)
	if err != nil || o.Has(message.OptionProxyURI) || o.Has(message.OptionProxyScheme) {
		return
	}
	for _, dest := range destinations {
		composed, err := message.ComposeURI("coap", &o, dest)
		if err != nil {
			requireURIError(t, err)
			continue
		}
		u, err := message.ParseURI(composed)
		if err != nil {
			t.Fatalf("options %v for %v make %q, which does not parse: %v", listOptions(&o), dest, composed, err)
		}
		// A single empty segment is written like no segment (RFC 7252 section 6.5).
		path := optionStrings(&o, message.OptionURIPath)
		if alone := len(path) == 1 && path[0] == ""; !alone && !slices.Equal(path, u.Path) {
			t.Fatalf("options %v for %v make %q, whose path is %q", listOptions(&o), dest, composed, u.Path)
		}
		if query := optionStrings(&o, message.OptionURIQuery); !slices.Equal(query, u.Query) {
			t.Fatalf("options %v for %v make %q, whose query is %q", listOptions(&o), dest, composed, u.Query)
		}
		changed := o.Clone()
		if err := u.SetOptions(&changed, dest); err != nil {
			t.Fatalf("options %v for %v make %q, whose options are: %v", listOptions(&o), dest, composed, err)
		}
		if again, err := message.ComposeURI("coap", &changed, dest); err != nil || again != composed {
			t.Fatalf("options %v for %v make %q, whose options make %q, %v", listOptions(&o), dest, composed, again, err)
		}
	}
}

func requireURIError(t *testing.T, err error) {
	t.Helper()
	if e := (*message.URIError)(nil); !errors.As(err, &e) || e.Reason == "" {
		t.Fatalf("error %v is a %T, want a URIError with a reason", err, err)
	}
}

func optionStrings(o *message.Options, n message.OptionNumber) (s []string) {
	for v := range o.Values(n) {
		s = append(s, string(v))
	}
	return s
}

func equalURI(a, b message.URI) bool {
	return a.Scheme == b.Scheme && a.Host == b.Host && a.Port == b.Port &&
		slices.Equal(a.Path, b.Path) && slices.Equal(a.Query, b.Query)
}

// withoutZone removes the zone of an address, which does not travel in options.
func withoutZone(u message.URI) message.URI {
	if addr, ok := u.Addr(); ok {
		u.Host = addr.WithZone("").String()
	}
	return u
}
