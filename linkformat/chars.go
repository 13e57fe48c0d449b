package linkformat

// The character classes of section 2 and of the RFCs that it cites.
const (
	isPtoken   = 1 << iota // ptokenchar
	isAttr                 // attr-char of RFC 5987, the characters of a parmname
	isCharset              // mime-charsetc of RFC 5987
	isURI                  // what RFC 3986 allows anywhere in a URI reference
	isMedia                // reg-name-chars of RFC 4288 section 4.2
	isLanguage             // letters, digits and "-" of RFC 5646
	isPlain                // what stands for itself in a quoted string of RFC 2616
)

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// class has the bits of each byte; it is never changed.
var class = makeClasses(
	alphanumeric+"!#$%&'()*+-./:<=>?@[]^_`{|}~", // isPtoken
	alphanumeric+"!#$&+-.^_`|~",                 // isAttr
	alphanumeric+"!#$%&+-^_`{}~",                // isCharset
	alphanumeric+"-._~:/?#[]@!$&'()*+,;=%",      // isURI
	alphanumeric+"!#$&.+-^_",                    // isMedia
	alphanumeric+"-",                            // isLanguage
)

// makeClasses takes the characters of each bit, lowest first, but for isPlain.
func makeClasses(sets ...string) (table [256]uint8) {
	for i, set := range sets {
		for _, c := range []byte(set) {
			table[c] |= 1 << i
		}
	}
	for c := range table {
		if c := byte(c); c != '"' && c != '\\' && (c == '\t' || !isControl(c)) {
			table[c] |= isPlain
		}
	}
	return table
}

// chars is what the functions for both forms take.
type chars interface{ ~string | ~[]byte }

// span returns where the characters of a class end that begin at i.
func span[T chars](s T, i int, bits uint8) int {
	for i < len(s) && class[s[i]]&bits != 0 {
		i++
	}
	return i
}

// only reports whether s is not empty and has characters of a class only.
func only[T chars](s T, bits uint8) bool { return len(s) > 0 && span(s, 0, bits) == len(s) }

// isControl is CTL of RFC 2616 section 2.2.
func isControl(c byte) bool { return c < ' ' || c == 0x7F }

// skipSpace returns where the white space ends that begins at i.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// percent reports whether a percent-encoding begins at i.
func percent[T chars](s T, i int) bool {
	return i+2 < len(s) && s[i] == '%' && isHex(s[i+1]) && isHex(s[i+2])
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' || 'a' <= c && c <= 'f'
}

// reference returns where the URI reference that begins at i ends, which is the end of s or
// the first character that cannot be part of it. Its characters are checked,
// not its structure. Characters outside ASCII count as part of it (section 2: UTF-8).
func reference[T chars](s T, i int) int {
	fragment := false
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%':
			if !percent(s, i) {
				return i
			}
		case c == '#':
			if fragment {
				return i
			}
			fragment = true
		case c < 0x80 && class[c]&isURI == 0:
			return i
		}
	}
	return i
}
