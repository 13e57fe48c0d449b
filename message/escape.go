package message

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The character sets of RFC 3986 sections 2.2, 2.3, 3.2.2, 3.3 and 3.4, all of them ASCII.

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func isSubDelim(c byte) bool { return c < utf8.RuneSelf && strings.IndexByte("!$&'()*+,;=", c) >= 0 }

func isRegName(c byte) bool { return isUnreserved(c) || isSubDelim(c) }

func isPathChar(c byte) bool { return isUnreserved(c) || isSubDelim(c) || c == ':' || c == '@' }

func isQuery(c byte) bool { return isPathChar(c) || c == '/' || c == '?' }

// isQueryArgument is the set of RFC 7252 section 6.5, step 8: "&" would end the argument.
func isQueryArgument(c byte) bool { return isQuery(c) && c != '&' }

// isAnyChar is for text that need not be a URI.
func isAnyChar(byte) bool { return true }

// unescape decodes percent-encodings. reason says which character may not stand there, or
// which encoding is none.
func unescape(s string, allowed func(byte) bool) (decoded, reason string) {
	escapes, reason := countEscapes(s, allowed)
	if escapes == 0 || reason != "" {
		return s, reason
	}
	return string(appendUnescaped(make([]byte, 0, len(s)-2*escapes), s)), ""
}

// countEscapes returns the number of percent-encodings, after checking s.
func countEscapes(s string, allowed func(byte) bool) (escapes int, reason string) {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			if _, ok := unhex(s[i:]); !ok {
				return 0, fmt.Sprintf("%q is no percent-encoding, write %% as %%25", s[i:min(i+3, len(s))])
			}
			escapes++
			i += 2
		} else if !allowed(s[i]) {
			_, n := utf8.DecodeRuneInString(s[i:])
			return 0, fmt.Sprintf("%q has to be percent-encoded, write %s", s[i:i+n], appendEscaped(nil, s[i:i+n], isUnreserved))
		}
	}
	return escapes, ""
}

// appendUnescaped decodes percent-encodings that are known to be valid.
func appendUnescaped(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			c, _ = unhex(s[i:])
			i += 2
		}
		b = append(b, c)
	}
	return b
}

// unhex decodes the percent-encoding at the start of s.
func unhex(s string) (c byte, ok bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, ok1 := hexDigit(s[1])
	lo, ok2 := hexDigit(s[2])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte) (v byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// appendEscaped percent-encodes all but the kept characters, with upper-case digits
// (RFC 7252 section 6.5).
func appendEscaped[T string | []byte](b []byte, s T, keep func(byte) bool) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; keep(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}
