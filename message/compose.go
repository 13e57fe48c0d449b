package message

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ComposeURI returns the URI that a request with these options, sent to dest, asks for
// (RFC 7252 section 6.5), in normal form. scheme is "coap", or "coaps" if the
// request was secured. A zone of dest shows in the result; pass an address without it
// where the URI leaves the machine.
//
// For a request to a forward proxy the result is the URI to fetch (RFC 7252 section 5.10.2):
// Proxy-Uri as it stands, or with Proxy-Scheme in place of the scheme.
//
// The error is a [*URIError] that names the option at fault: a Uri-Host that is no host,
// a Uri-Port of 0, a Uri-Path of "." or "..", a value that is too long, a Proxy-Uri that
// is no absolute URI.
func ComposeURI(scheme string, o *Options, dest netip.AddrPort) (string, error) {
	b, reason := composeURI(scheme, o, dest)
	if reason != "" {
		return "", &URIError{Reason: reason}
	}
	return string(b), nil
}

func composeURI(scheme string, o *Options, dest netip.AddrPort) (b []byte, reason string) {
	if v, ok := o.First(OptionProxyURI); ok {
		return v, checkProxyURI(string(v))
	}
	if _, ok := defaultPort(scheme); !ok {
		return nil, "scheme " + strconv.Quote(scheme) + " is not supported, " + wantScheme
	}
	b = make([]byte, 0, 64)
	if v, ok := o.First(OptionProxyScheme); ok {
		if !isScheme(string(v)) {
			return nil, "Proxy-Scheme " + strconv.Quote(string(v)) + " is no scheme"
		}
		b = append(b, lower(string(v))...)
	} else {
		b = append(b, scheme...)
	}
	b = append(b, "://"...)
	if b, reason = composeAuthority(b, o, dest, scheme); reason != "" {
		return nil, reason
	}
	for v := range o.Values(OptionURIPath) {
		if reason = checkSegment(v); reason != "" {
			return nil, reason
		}
	}
	for v := range o.Values(OptionURIQuery) {
		if reason = checkQueryArgument(v); reason != "" {
			return nil, reason
		}
	}
	return appendTarget(b, o, OptionURIPath, OptionURIQuery), ""
}

// composeAuthority does steps 2 to 5.
func composeAuthority(b []byte, o *Options, dest netip.AddrPort, scheme string) (_ []byte, reason string) {
	if v, ok := o.First(OptionURIHost); ok {
		host, reason := parseHostOption(v)
		if reason != "" {
			return nil, "Uri-Host: " + reason
		}
		b = appendHost(b, host)
	} else if dest.Addr().IsValid() {
		b = appendHost(b, dest.Addr().Unmap().String())
	} else {
		return nil, "neither Uri-Host nor the destination address is known"
	}
	port := dest.Port()
	if v, ok := o.First(OptionURIPort); ok {
		p, ok := o.Uint(OptionURIPort)
		if !ok || len(v) > 2 || p == 0 {
			return nil, fmt.Sprintf("Uri-Port is 0x%x, want 1 to 65535", v)
		}
		port = uint16(p)
	}
	return appendPort(b, port, scheme), ""
}

func parseHostOption(v []byte) (host, reason string) {
	if !utf8.Valid(v) {
		return "", "not valid UTF-8"
	}
	// The value is not percent-encoded, so this "%" is one: no host has it, and a
	// zone does not belong here.
	if strings.IndexByte(string(v), '%') >= 0 {
		return "", "'%' cannot be part of a host"
	}
	ascii := func(c byte) bool { return c < utf8.RuneSelf }
	return parseHost(string(appendEscaped(nil, v, ascii)))
}

// checkProxyURI says why s is no absolute-URI of RFC 3986 section 4.3, as far as that can be
// said without knowledge of the scheme.
func checkProxyURI(s string) (reason string) {
	scheme, _, found := strings.Cut(s, ":")
	if !found || !isScheme(scheme) {
		return "Proxy-Uri " + strconv.Quote(s) + " is not absolute"
	}
	for i := range len(s) {
		if c := s[i]; c == '#' || !isQuery(c) && c != '%' && c != '[' && c != ']' {
			return fmt.Sprintf("Proxy-Uri %q contains %q", s, c)
		}
	}
	return ""
}

// isScheme reports whether s has the syntax of RFC 3986 section 3.1.
func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		letter := 'a' <= c && c <= 'z'
		other := '0' <= s[i] && s[i] <= '9' || s[i] == '+' || s[i] == '-' || s[i] == '.'
		if !letter && (i == 0 || !other) {
			return false
		}
	}
	return s != ""
}

// appendHost writes a host that is not in brackets and not encoded.
func appendHost(b []byte, host string) []byte {
	addr, ok := parseIP(host)
	if !ok || !addr.Is6() {
		return appendEscaped(b, host, isRegName)
	}
	b = append(b, '[')
	b = append(b, addr.WithZone("").String()...)
	if zone := addr.Zone(); zone != "" {
		b = appendEscaped(append(b, "%25"...), zone, isUnreserved)
	}
	return append(b, ']')
}

// appendPort writes the port unless it is the default.
func appendPort(b []byte, port uint16, scheme string) []byte {
	if defaults, _ := defaultPort(scheme); port == 0 || port == defaults {
		return b
	}
	return strconv.AppendUint(append(b, ':'), uint64(port), 10)
}

// appendTarget writes path and query from the options with these numbers (steps 6 to 8).
func appendTarget(b []byte, o *Options, path, query OptionNumber) []byte {
	return appendQuery(appendPath(b, o, path), o, query)
}

func appendPath(b []byte, o *Options, n OptionNumber) []byte {
	start := len(b)
	for v := range o.Values(n) {
		b = appendSegment(b, v)
	}
	if len(b) == start {
		b = append(b, '/')
	}
	return b
}

func appendQuery(b []byte, o *Options, n OptionNumber) []byte {
	i := 0
	for v := range o.Values(n) {
		b = appendArgument(b, v, i)
		i++
	}
	return b
}

func appendSegment[T string | []byte](b []byte, segment T) []byte {
	b = append(b, '/')
	if isDots(segment) {
		// Section 5.10.1 forbids it. Encoded it leads nobody out of a directory.
		return append(b, strings.Repeat("%2E", len(segment))...)
	}
	return appendEscaped(b, segment, isPathChar)
}

func appendArgument[T string | []byte](b []byte, arg T, i int) []byte {
	if i == 0 {
		b = append(b, '?')
	} else {
		b = append(b, '&')
	}
	return appendEscaped(b, arg, isQueryArgument)
}
