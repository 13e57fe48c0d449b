package linkformat

import (
	"strings"
	"unicode/utf8"
)

// The extended values of RFC 5987 section 3.2:
//
//	ext-value = charset "'" [ language ] "'" *( pct-encoded / attr-char )

// AppendExtValue appends text to dst as an extended value, which can name the language of the
// text: the value of title* and other parameters whose names end in a star. Without a language the
// plain title does as well, since the link format is UTF-8. Bytes that are no UTF-8 become U+FFFD.
func AppendExtValue(dst []byte, text, language string) []byte {
	const digits = "0123456789ABCDEF"
	dst = append(dst, "UTF-8'"...)
	dst = append(dst, language...)
	dst = append(dst, '\'')
	for _, r := range text {
		var buf [utf8.UTFMax]byte
		for _, c := range buf[:utf8.EncodeRune(buf[:], r)] {
			if class[c]&isAttr != 0 {
				dst = append(dst, c)
			} else {
				dst = append(dst, '%', digits[c>>4], digits[c&15])
			}
		}
	}
	return dst
}

// ParseExtValue decodes an extended value. ok is false if it is none, if its character set is neither
// of the two that every reader has to know, UTF-8 and ISO-8859-1, or if its text is not valid
// UTF-8.
func ParseExtValue(s string) (text, language string, ok bool) {
	if !isExtValue(s) {
		return "", "", false
	}
	charset, s, _ := strings.Cut(s, "'")
	language, s, _ = strings.Cut(s, "'")
	b := make([]byte, 0, len(s))
	latin1 := sameName(charset, "ISO-8859-1")
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		}
		if latin1 {
			b = utf8.AppendRune(b, rune(c))
		} else {
			b = append(b, c)
		}
	}
	if !latin1 && !sameName(charset, "UTF-8") || !utf8.Valid(b) {
		return "", "", false
	}
	return string(b), language, true
}

// isExtValue reports whether s is an ext-value, in whatever character set.
func isExtValue[T chars](s T) bool {
	i := span(s, 0, isCharset)
	if i == 0 || i == len(s) || s[i] != '\'' {
		return false
	}
	i = span(s, i+1, isLanguage)
	if i == len(s) || s[i] != '\'' {
		return false
	}
	for i++; i < len(s); i++ {
		if percent(s, i) {
			i += 2
		} else if class[s[i]]&isAttr == 0 {
			return false
		}
	}
	return true
}

// unhex returns the value of a hexadecimal digit.
func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&0xF + 9
}
