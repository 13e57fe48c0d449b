package linkformat

import (
	"strings"
	"unicode/utf8"
)

// Append appends links to dst, separated by commas, and returns the extended slice. No links
// are no bytes (section 4). The error is a [*LinkError]; dst is returned as it was then.
// Nothing is retained, and nothing allocated if dst has room.
func Append(dst []byte, links []Link) ([]byte, error) {
	b := dst
	for i := range links {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = AppendLink(b, &links[i]); err != nil {
			return dst, err
		}
	}
	return b, nil
}

// AppendLink appends one link to dst, as [Append] does.
func AppendLink(dst []byte, l *Link) ([]byte, error) {
	if reason := checkTarget(l.Target); reason != 0 {
		return dst, &LinkError{Target: l.Target, Reason: reason}
	}
	b := append(dst, '<')
	b = append(b, l.Target...)
	b = append(b, '>')
	var seen uint16
	for i := range l.Params {
		p := &l.Params[i]
		if reason := p.check(&seen); reason != 0 {
			return dst, &LinkError{Target: l.Target, Param: p.Name, Reason: reason}
		}
		b = appendParam(append(b, ';'), p)
	}
	return b, nil
}

func checkTarget(s string) FormatError {
	if reference(s, 0) != len(s) {
		return ErrTarget
	}
	if !utf8.ValidString(s) {
		return ErrUTF8
	}
	return 0
}

// check says what keeps the parameter from being written after those that are in seen.
func (p *Param) check(seen *uint16) FormatError {
	name, star := strings.CutSuffix(p.Name, "*")
	a := attributeOf(p.Name)
	switch {
	case !only(name, isAttr):
		return ErrName
	case a == attrHref:
		return ErrReserved
	case a.seenBefore(seen):
		return ErrRepeated
	case star && !isExtValue(p.Value):
		return ErrExtValue
	case a == attrObs && (p.Quoted || p.Value != ""): // RFC 7641 section 6
		return ErrValue
	case !a.valid(p.Value):
		return ErrValue
	case !utf8.ValidString(p.Value):
		return ErrUTF8
	}
	return 0
}

// appendParam appends a parameter that was checked. An ext-value is written bare.
func appendParam(b []byte, p *Param) []byte {
	b = append(b, p.Name...)
	a, star := attributeOf(p.Name), p.Name[len(p.Name)-1] == '*'
	switch {
	case a.quoted():
		return appendQuoted(b, p.Value)
	case a.bare() || star || !p.Quoted && only(p.Value, isPtoken):
		b = append(b, '=')
		return append(b, p.Value...)
	case !p.Quoted && p.Value == "":
		return b
	}
	return appendQuoted(b, p.Value)
}

// appendQuoted appends "=" and a quoted string (RFC 2616 section 2.2). Control characters are
// allowed behind a backslash, tabs also without.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '=', '"')
	for i := range len(s) {
		if class[s[i]]&isPlain == 0 {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}
