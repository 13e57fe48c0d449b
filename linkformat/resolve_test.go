package linkformat

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proves 6690-2.1-s03, 6690-2.1-s04, 6690-2.1-s05, 6690-2.3-01.
func TestResolve(t *testing.T) {
	const wellKnown = "coap://[2001:db8:f0::1]/.well-known/core"
	for _, c := range []struct{ name, base, link, target, context string }{
		{"RFC 9176 appendix B.1", wellKnown, "</sensors/temp>;rt=temperature;ct=0",
			"coap://[2001:db8:f0::1]/sensors/temp", "coap://[2001:db8:f0::1]"},
		{"RFC 9176 appendix B.2, an alternative", wellKnown, `</t>;anchor="/sensors/temp";rel=alternate`,
			"coap://[2001:db8:f0::1]/t", "coap://[2001:db8:f0::1]/sensors/temp"},
		{"RFC 9176 appendix B.2, a description", wellKnown,
			`<http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel=describedby`,
			external, "coap://[2001:db8:f0::1]/sensors/temp"},
		{"a target with an origin", wellKnown, "<coaps://example.com:5685/a/b?c>",
			"coaps://example.com:5685/a/b?c", "coaps://example.com:5685"},
		{"a target with a host only", wellKnown, "<//example.com/a>", "coap://example.com/a", "coap://example.com"},
		{"a target without an origin", wellKnown, "<urn:dev:ow:1>", "urn:dev:ow:1", "coap://[2001:db8:f0::1]"},
		{"a relative path", "coap://h:61616/sensors/", "<temp>", "coap://h:61616/sensors/temp", "coap://h:61616"},
		{"a base without a path", "coap://h", "<temp>", "coap://h/temp", "coap://h"},
		{"dots", "coap://h/a/b/c", "<../d>", "coap://h/a/d", "coap://h"},
		{"an empty target", "coap://h/a?q", "<>", "coap://h/a?q", "coap://h"},
		{"a query", "coap://h/a?q", "<?x>", "coap://h/a?x", "coap://h"},
		{"an absolute anchor", "coap://h/", `</a>;anchor="coap://other/x";rel="y"`, "coap://h/a", "coap://other/x"},
		{"an empty anchor", "coap://h/b?q", `</a>;anchor="";rel="y"`, "coap://h/a", "coap://h/b?q"},
		{"the first anchor", "coap://h/", `</a>;anchor="/x";anchor="/y"`, "coap://h/a", "coap://h/x"},
		{"a zone", "coap://[fe80::1%25eth0]/.well-known/core", "</a>", "coap://[fe80::1%25eth0]/a", "coap://[fe80::1%25eth0]"},
		{"another scheme", "coap+tcp://h/", "</a>", "coap+tcp://h/a", "coap+tcp://h"},
		{"no ASCII", "coap://h/", "</Malmö>", "coap://h/Malm%C3%B6", "coap://h"},
		{"a user is no part of an origin", "http://u:p@h/", "</a>", "http://u:p@h/a", "http://h"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, err := url.Parse(c.base)
			require.NoError(t, err)
			target, context, err := parseOne(t, c.link).Resolve(base)
			require.NoError(t, err)
			require.Equal(t, c.target, target.String())
			require.Equal(t, c.context, context.String())
			require.Equal(t, c.base, base.String(), "base is not changed")
		})
	}
	base := &url.URL{Scheme: "coap", Host: "h"}
	_, _, err := parseOne(t, "<coap://h:x/>").Resolve(base)
	require.Equal(t, &LinkError{Target: "coap://h:x/", Reason: ErrTarget}, err)
	_, _, err = parseOne(t, `</a>;anchor="1:b"`).Resolve(base)
	require.Equal(t, &LinkError{Target: "/a", Param: "anchor", Reason: ErrValue}, err)
}
