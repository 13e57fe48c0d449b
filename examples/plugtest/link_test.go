package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/linkformat"
)

// TD_COAP_LINK_01 to 08: filters select exactly these (RFC 6690 section 4.1).
func TestDiscovery(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", []string{
			"/test", "/seg1/seg2/seg3", "/query", "/separate", "/multi-format", "/validate", "/location-query",
			"/large", "/large-update", "/large-create", "/large-post", "/link1", "/link2", "/link3", "/path",
			"/obs", "/obs-non", "/obs-large", "/obs-pumping", "/obs-reset",
		}},
		{"?rt=Type1", []string{"/link1", "/link3"}},
		{"?rt=Type2", []string{"/link1", "/link2"}},
		{"?rt=Type3", []string{"/link2", "/link3"}},
		{"?rt=Type", nil},
		{"?rt=Type*", []string{"/link1", "/link2", "/link3"}},
		{"?rt=*", []string{
			"/large", "/large-update", "/large-create", "/large-post", "/link1", "/link2", "/link3",
			"/obs", "/obs-non", "/obs-large", "/obs-pumping", "/obs-reset",
		}},
		{"?if=If1", []string{"/link1"}},
		{"?if=If*", []string{"/link1", "/link2"}},
		{"?if=*", []string{"/link1", "/link2", "/link3"}},
		{"?sz=*", []string{"/large", "/large-update", "/obs-large"}},
		{"?sz=1700", []string{"/large"}},
		{"?ct=40", []string{"/large-create", "/link1", "/link2", "/link3", "/path"}},
		{"?ct=41", []string{"/multi-format"}},
		{"?ct=0%2041", []string{"/multi-format"}},
		{"?href=/link1", []string{"/link1"}},
		{"?href=/link*", []string{"/link1", "/link2", "/link3"}},
		{"?href=/none", nil},
		{"?rt=Type1&if=If1", []string{"/link1"}},
		{"?title=Default%20test%20resource", []string{"/test"}},
		{"?obs=*", []string{"/obs", "/obs-non", "/obs-large", "/obs-pumping", "/obs-reset"}},
	} {
		require.ElementsMatch(t, c.want, r.links("/.well-known/core"+c.query), c.query)
	}
	r.do(coap.NotAcceptable, coap.GET, "/.well-known/core", accept(coap.TextPlain))
}

// Every link of the site leads to a resource that answers GET, in a format that its link has, if
// that has one; only /large-post wants POST. What is longer than a message has its size in the link.
//
// Proves 6690-3.3-01.
func TestLinksLeadSomewhere(t *testing.T) {
	r := newRig(t, func(s *site) { s.wait = pauseNot })
	links, err := linkformat.Parse(r.do(coap.Content, coap.GET, "/.well-known/core").Payload)
	require.NoError(t, err)
	for _, l := range links {
		if l.Target == "/large-post" {
			r.do(coap.MethodNotAllowed, coap.GET, l.Target)
			continue
		}
		resp := r.do(coap.Content, coap.GET, l.Target)
		format, ok := resp.Options.ContentFormat()
		require.True(t, ok, l.Target)
		if formats := l.ContentFormats(); len(formats) > 0 {
			require.Contains(t, formats, uint16(format), l.Target)
		}
		if size, ok := l.Size(); ok {
			require.LessOrEqual(t, len(resp.Payload), int(size), l.Target)
		} else {
			require.LessOrEqual(t, len(resp.Payload), 1024, l.Target)
		}
	}
}

// TD_COAP_LINK_09: links below /path are found there.
func TestPath(t *testing.T) {
	r := newRig(t)
	subs := r.links("/path")
	require.Equal(t, []string{"/path/sub1", "/path/sub2", "/path/sub3"}, subs)
	for _, sub := range subs {
		wantFormat(t, coap.TextPlain, r.get(sub, "This is "+sub+"\n"))
	}
	r.do(coap.NotFound, coap.GET, "/path/sub4")
}

// The bodies of /link1 to 3 are links to resources that exist.
func TestLinkBodies(t *testing.T) {
	r := newRig(t, func(s *site) { s.wait = pauseNot })
	for _, path := range []string{"/link1", "/link2", "/link3"} {
		targets := r.links(path)
		require.NotEmpty(t, targets)
		for _, target := range targets {
			r.do(coap.Content, coap.GET, target)
		}
	}
}
