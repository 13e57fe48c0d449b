package message

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// URI is a CoAP URI taken apart, every percent-encoding resolved (RFC 7252 section 6).
// [ParseURI] makes one from text. The fields may be set by hand; what no URI can say
// is an error of [URI.SetOptions].
type URI struct {
	// Scheme is "coap" or "coaps".
	Scheme string
	// Host is a name in lower case or an IP address without brackets. A link-local
	// address may have a zone, "fe80::1%eth0", which stays on this machine: it is
	// in no option.
	Host string
	// Port is the UDP port. Zero means the default port of the scheme; ParseURI fills
	// it in.
	Port uint16
	// Path is the segments of the path, at most 255 bytes each and none "." or "..".
	// None at all is the path "/". A trailing slash is an empty last segment.
	Path []string
	// Query is the arguments of the query, at most 255 bytes each. A URI with a "?" that
	// ends there has one empty argument.
	Query []string
}

// defaultPort is the table of the URI schemes that are supported (RFC 7252 sections 6.1
// and 6.2), a function because a map could be changed.
func defaultPort(scheme string) (port uint16, ok bool) {
	switch scheme {
	case "coap":
		return 5683, true
	case "coaps":
		return 5684, true
	}
	return 0, false
}

const wantScheme = "want coap or coaps"

// maxURIOption is the longest value of Uri-Host, Uri-Path, Uri-Query and their Location
// twins, in bytes (RFC 7252 section 5.10).
const maxURIOption = 255

// URIError says why text is no CoAP URI, or options make none.
type URIError struct {
	// URI is the text, empty if there were only options.
	URI string
	// Reason says what is wrong and what to write instead.
	Reason string
}

// Error returns the URI and the reason.
func (e *URIError) Error() string {
	if e.URI == "" {
		return "message: no URI from these options: " + e.Reason
	}
	return "message: " + strconv.Quote(e.URI) + ": " + e.Reason
}

// ParseURI takes apart an absolute coap or coaps URI (RFC 7252 section 6.4, steps 1 to 4):
// dot segments are resolved, scheme and host become lower case, an IP address gets its
// normal form (an IPv4-mapped one becomes IPv4), the default port is filled in, each
// percent-encoding is decoded once. A zone may be spelled [fe80::1%25eth0] or
// [fe80::1%eth0].
//
// The syntax is that of RFC 3986: what a URI must percent-encode is not
// accepted bare. A fragment or user information is refused. The error is a [*URIError].
func ParseURI(s string) (URI, error) {
	u, reason := parseURI(s)
	if reason != "" {
		return URI{}, &URIError{URI: s, Reason: reason}
	}
	return u, nil
}

func parseURI(s string) (u URI, reason string) {
	if strings.IndexByte(s, '#') >= 0 {
		return u, "a CoAP URI has no fragment, leave out # and what follows it" // step 4
	}
	u.Scheme, s, reason = cutScheme(s)
	if reason != "" {
		return u, reason
	}
	authority, resource := s, ""
	if i := strings.IndexAny(s, "/?"); i >= 0 {
		authority, resource = s[:i], s[i:]
	}
	if u.Host, u.Port, reason = parseAuthority(authority, u.Scheme); reason != "" {
		return u, reason
	}
	u.Path, u.Query, reason = parseTarget(resource)
	return u, reason
}

// cutScheme returns the scheme in lower case and what follows the "//".
func cutScheme(s string) (scheme, rest, reason string) {
	scheme, rest, found := strings.Cut(s, ":")
	scheme = lower(scheme)
	_, known := defaultPort(scheme)
	switch {
	case found && known && strings.HasPrefix(rest, "//"):
		return scheme, rest[2:], ""
	case found && known:
		return "", "", "the host is missing, write " + scheme + "://" + hostless(rest)
	case found && strings.HasPrefix(rest, "//"):
		return "", "", "scheme " + strconv.Quote(scheme) + " is not supported, " + wantScheme
	}
	return "", "", "the scheme is missing, write coap://" + hostless(s)
}

// hostless makes of text without scheme what may stand behind "coap://".
func hostless(s string) string {
	switch {
	case strings.HasPrefix(s, "//"):
		return s[2:]
	case s == "" || s[0] == '/':
		return "host" + s
	}
	return s
}

func parseAuthority(s, scheme string) (host string, port uint16, reason string) {
	if strings.IndexByte(s, '@') >= 0 {
		return "", 0, "a CoAP URI has no user information, leave out the @ and what precedes it"
	}
	rawHost, rawPort := s, ""
	if i := strings.IndexByte(s[strings.LastIndexByte(s, ']')+1:], ':'); i >= 0 {
		i += strings.LastIndexByte(s, ']') + 1
		rawHost, rawPort = s[:i], s[i+1:]
	}
	if addr, ok := parseIP(s); ok && addr.Is6() {
		return "", 0, "an IPv6 address stands in brackets, write " + scheme + "://[" + s + "]"
	}
	if host, reason = parseHost(rawHost); reason != "" {
		return "", 0, reason
	}
	port, reason = parsePort(rawPort, scheme)
	return host, port, reason
}

func parsePort(s, scheme string) (port uint16, reason string) {
	if s == "" { // also for "host:" (section 6.1)
		port, _ = defaultPort(scheme)
		return port, ""
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, "the port is " + strconv.Quote(s) + ", want a number from 1 to 65535"
	}
	return uint16(n), ""
}

// parseHost returns the host in normal form: IP addresses without brackets, names in
// lower case and decoded.
func parseHost(s string) (host, reason string) {
	if s == "" {
		return "", "the host is empty" // section 6.1
	}
	if s[0] == '[' {
		return parseIPLiteral(s)
	}
	name, reason := unescape(s, isRegName)
	if reason != "" {
		return "", "in the host " + reason
	}
	// Step 5 of section 6.4 has it the other way around, lower case first. But %45xample.com
	// is equivalent to example.com (section 6.3) and has to give the same options.
	return normalName(name)
}

// normalName returns a decoded name or IPv4 address in lower case, or why it is none.
func normalName(name string) (normal, reason string) {
	if name == "" {
		return "", "the host is empty"
	}
	for i := range len(name) {
		// Section 6.5 could not compose the URI again.
		if c := name[i]; c < utf8.RuneSelf && !isRegName(c) {
			return "", fmt.Sprintf("%q cannot be part of a host, percent-encoded or not", c)
		}
	}
	if !utf8.ValidString(name) {
		return "", "the host is not valid UTF-8"
	}
	if len(name) > maxURIOption {
		return "", fmt.Sprintf("the host has %d bytes, want 1 to %d", len(name), maxURIOption)
	}
	return lower(name), ""
}

// parseIP is netip.ParseAddr without its cost for names.
func parseIP(host string) (addr netip.Addr, ok bool) {
	if host == "" || strings.IndexByte(host, ':') < 0 && (host[len(host)-1] < '0' || host[len(host)-1] > '9') {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(host)
	return addr, err == nil
}

func parseIPLiteral(s string) (host, reason string) {
	if s[len(s)-1] != ']' {
		return "", "the host starts with [ and does not end with ]"
	}
	text, zone, hasZone := strings.Cut(s[1:len(s)-1], "%")
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is6() {
		return "", strconv.Quote(s) + " is no IPv6 address"
	}
	addr = addr.Unmap()
	if !hasZone {
		return addr.String(), ""
	}
	// "%25" is "%" as a URI has to write it. The bare form is what other programs print;
	// a lone %25 can only be that.
	if len(zone) > 2 && zone[:2] == "25" {
		zone = zone[2:]
	}
	if zone, reason = unescape(zone, isUnreserved); reason != "" {
		return "", "in the zone " + reason
	}
	if zone == "" || !addr.Is6() || !utf8.ValidString(zone) {
		return "", strconv.Quote(s) + " has no valid zone"
	}
	return addr.WithZone(zone).String(), ""
}

// parseTarget splits and decodes path and query. s is empty or starts with "/" or "?".
func parseTarget(s string) (path, query []string, reason string) {
	rawPath, rawQuery, hasQuery := strings.Cut(s, "?")
	if path, reason = parsePath(rawPath); reason != "" {
		return nil, nil, reason
	}
	if !hasQuery {
		return path, nil, ""
	}
	for raw := range strings.SplitSeq(rawQuery, "&") {
		arg, reason := unescape(raw, isQuery)
		if reason != "" {
			return nil, nil, "in the query " + reason
		}
		if reason = checkQueryArgument(arg); reason != "" {
			return nil, nil, reason
		}
		query = append(query, arg)
	}
	return path, query, ""
}

// parsePath returns the decoded segments with dot segments resolved (RFC 3986 section
// 5.2.4). Dots may be percent-encoded: left in place they would be the options that
// section 5.10.1 forbids.
func parsePath(s string) (segments []string, reason string) {
	if s == "" {
		return nil, ""
	}
	for raw := range strings.SplitSeq(s[1:], "/") {
		segment, reason := unescape(raw, isPathChar)
		if reason != "" {
			return nil, "in the path " + reason
		}
		// A dot segment leaves the slash in front of it: an empty segment, unless
		// another one follows.
		if n := len(segments); n > 0 && segments[n-1] == dotSlash {
			segments = segments[:n-1]
		}
		switch segment {
		case "..":
			segments = append(segments[:max(0, len(segments)-1)], dotSlash)
		case ".":
			segments = append(segments, dotSlash)
		default:
			segments = append(segments, segment)
		}
	}
	if n := len(segments); segments[n-1] == dotSlash {
		segments[n-1] = ""
	}
	if len(segments) == 1 && segments[0] == "" {
		return nil, "" // step 8: "/" is no segment
	}
	for _, segment := range segments {
		if reason := checkSegment(segment); reason != "" {
			return nil, reason
		}
	}
	return segments, ""
}

// dotSlash marks the place of a dot segment while a path is parsed. No decoded segment
// is "..".
const dotSlash = ".."

func isDots[T string | []byte](s T) bool { return string(s) == "." || string(s) == ".." }

// checkSegment says what is wrong with the value of a Uri-Path or Location-Path option.
func checkSegment[T string | []byte](s T) (reason string) {
	switch {
	case isDots(s):
		return "a path segment must not be " + strconv.Quote(string(s)) // sections 5.10.1 and 5.10.7
	case len(s) > maxURIOption:
		return fmt.Sprintf("a path segment has %d bytes, want at most %d", len(s), maxURIOption)
	}
	return ""
}

// checkQueryArgument says what is wrong with the value of a Uri-Query or Location-Query
// option.
func checkQueryArgument[T string | []byte](s T) (reason string) {
	if len(s) > maxURIOption {
		return fmt.Sprintf("a query argument has %d bytes, want at most %d", len(s), maxURIOption)
	}
	return ""
}

// Addr returns the host as an IP address, with its zone, and whether it is one.
func (u URI) Addr() (addr netip.Addr, ok bool) {
	addr, ok = parseIP(u.Host)
	return addr.Unmap(), ok
}

// SetOptions sets Uri-Host, Uri-Port, Uri-Path and Uri-Query to what u asks of a server at
// dest, in place of those there are (RFC 7252 section 6.4, steps 5 to 9). Uri-Host is left
// out if the host is the address of dest, whatever the zone, and Uri-Port if the port is
// that of dest.
//
// The zero dest stands for one that is not known: there is a Uri-Host then, and a Uri-Port
// if the port is not the default. A [*URIError] says which field is invalid; the
// options stay as they are then.
func (u URI) SetOptions(o *Options, dest netip.AddrPort) error {
	if reason := u.check(); reason != "" {
		return &URIError{URI: u.String(), Reason: reason}
	}
	defaults, _ := defaultPort(u.Scheme)
	port, destPort := u.Port, dest.Port()
	if port == 0 {
		port = defaults
	}
	if destPort == 0 {
		destPort = defaults
	}
	for _, n := range [...]OptionNumber{OptionURIHost, OptionURIPort, OptionURIPath, OptionURIQuery} {
		o.Remove(n)
	}
	if host := u.hostOption(dest.Addr()); host != "" {
		o.AddString(OptionURIHost, host)
	}
	if port != destPort {
		o.AddUint(OptionURIPort, uint64(port))
	}
	for _, segment := range u.Path {
		o.AddString(OptionURIPath, segment)
	}
	for _, arg := range u.Query {
		o.AddString(OptionURIQuery, arg)
	}
	return nil
}

// check says why u is no URI.
func (u URI) check() (reason string) {
	if _, ok := defaultPort(u.Scheme); !ok {
		return "scheme " + strconv.Quote(u.Scheme) + " is not supported, " + wantScheme
	}
	if _, ok := u.Addr(); !ok {
		if _, reason = normalName(u.Host); reason != "" {
			return reason
		}
	}
	if len(u.Path) == 1 && u.Path[0] == "" {
		return `the path "/" has no segment, not an empty one`
	}
	for _, segment := range u.Path {
		if reason = checkSegment(segment); reason != "" {
			return reason
		}
	}
	for _, arg := range u.Query {
		if reason = checkQueryArgument(arg); reason != "" {
			return reason
		}
	}
	return ""
}

// hostOption returns the Uri-Host for a request to dest, "" if none is needed (section 6.4,
// step 5). Zones do not count and do not appear: a literal that leaves the machine has none.
func (u URI) hostOption(dest netip.Addr) string {
	addr, ok := u.Addr()
	switch addr = addr.WithZone(""); {
	case !ok:
		return lower(u.Host)
	case addr == dest.Unmap().WithZone(""):
		return ""
	case addr.Is6():
		return "[" + addr.String() + "]"
	}
	return addr.String()
}

// String returns the URI in normal form (RFC 7252 section 6.3): the default port left out,
// a path of at least "/", characters encoded only where section 6.5 says so. A zone is written
// as [fe80::1%25eth0].
func (u URI) String() string {
	b := append(make([]byte, 0, 64), u.Scheme...)
	b = append(b, "://"...)
	b = appendHost(b, u.Host)
	b = appendPort(b, u.Port, u.Scheme)
	if len(u.Path) == 0 {
		b = append(b, '/')
	}
	for _, segment := range u.Path {
		b = appendSegment(b, segment)
	}
	for i, arg := range u.Query {
		b = appendArgument(b, arg, i)
	}
	return string(b)
}

// lower converts ASCII letters to lower case.
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; 'A' <= c && c <= 'Z' {
					b[i] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
