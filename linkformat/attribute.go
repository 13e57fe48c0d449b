package linkformat

import (
	"strconv"
	"strings"
)

// attribute is a link parameter that has rules of its own.
type attribute uint8

const (
	attrOther attribute = iota
	attrAnchor
	attrCT
	attrHref
	attrHreflang
	attrIf
	attrMedia
	attrObs
	attrRel
	attrRev
	attrRT
	attrSZ
	attrTitle
	attrTitleStar
	attrType
)

// attributeOf finds the attribute of a name. The names of the grammar are strings of ABNF, and those
// are the same in capitals and small letters (RFC 5234 section 2.3).
func attributeOf[T chars](name T) attribute {
	var lower [8]byte
	if len(name) > len(lower) {
		return attrOther
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	switch string(lower[:len(name)]) {
	case "anchor":
		return attrAnchor
	case "ct":
		return attrCT
	case "href":
		return attrHref
	case "hreflang":
		return attrHreflang
	case "if":
		return attrIf
	case "media":
		return attrMedia
	case "obs":
		return attrObs
	case "rel":
		return attrRel
	case "rev":
		return attrRev
	case "rt":
		return attrRT
	case "sz":
		return attrSZ
	case "title":
		return attrTitle
	case "title*":
		return attrTitleStar
	case "type":
		return attrType
	}
	return attrOther
}

// sameName reports whether two names are the same but for capitals and small letters.
func sameName[S, T chars](a S, b T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		c, d := a[i], b[i]
		if c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

// once reports whether the attribute may appear once only in a link: rel, media, title, title*
// and type by RFC 5988 sections 5.3 and 5.4, rt, if and sz by sections 3.1 to 3.3, obs by RFC 7641
// section 6. Two anchors would give a link two contexts, and rev is rel read backwards. Several
// hreflang are several languages, and nothing is said of ct.
func (a attribute) once() bool {
	return a != attrOther && a != attrHreflang && a != attrCT
}

// seenBefore reports whether an attribute that may appear once is in seen, and adds it.
func (a attribute) seenBefore(seen *uint16) bool {
	bit := uint16(1) << a
	again := *seen&bit != 0
	*seen |= bit
	return again && a.once()
}

// relationTypes reports whether the grammar says that the value is a list of relation types.
func (a attribute) relationTypes() bool {
	return a == attrRel || a == attrRev || a == attrRT || a == attrIf
}

// quoted reports whether the grammar wants quotes around any value.
func (a attribute) quoted() bool { return a == attrTitle || a == attrAnchor }

// bare reports whether the grammar wants no quotes around any value.
func (a attribute) bare() bool { return a == attrSZ || a == attrHreflang }

// valid reports whether the grammar of the attribute has this value.
func (a attribute) valid(v string) bool {
	switch a {
	case attrAnchor:
		return reference(v, 0) == len(v)
	case attrRel, attrRev, attrRT, attrIf:
		return eachWord(v, func(w string) bool { return only(w, isURI) })
	case attrCT:
		return eachWord(v, func(w string) bool { _, ok := contentFormat(w); return ok })
	case attrSZ:
		return isCardinal(v)
	case attrHreflang:
		return only(v, isLanguage) && v[0] != '-'
	case attrMedia:
		return v != ""
	case attrType:
		major, minor, _ := strings.Cut(v, "/")
		return only(major, isMedia) && only(minor, isMedia)
	}
	return true
}

// eachWord reports whether v is a list, separated by spaces, of words that are all ok.
func eachWord(v string, ok func(word string) bool) bool {
	if v == "" || v[0] == ' ' || v[len(v)-1] == ' ' {
		return false
	}
	for w := range strings.SplitSeq(v, " ") {
		if w != "" && !ok(w) {
			return false
		}
	}
	return true
}

// isCardinal is "cardinal" of section 2: digits without a leading zero.
func isCardinal(s string) bool {
	if s == "" || s[0] == '0' && s != "0" {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// contentFormat reads one number of a ct attribute (RFC 7252 section 7.2.1).
func contentFormat(s string) (n uint16, ok bool) {
	if !isCardinal(s) {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 10, 16)
	return uint16(v), err == nil
}
