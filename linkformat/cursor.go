package linkformat

// Cursor walks over the links of a text in the link format, without allocating:
//
//	c := linkformat.NewCursor(text)
//	for c.Next() {
//		link := c.Link()
//		params := link.Params()
//		for params.Next() {
//			use(link.Target(), params.Param())
//		}
//	}
//	if err := c.Err(); err != nil {
//		…
//	}
//
// The links before an error are good. What a cursor yields are views into the text, valid as long as
// its bytes are; [Parse] copies. A Cursor is for one goroutine; any number of them may
// walk over the same text.
type Cursor struct {
	text   []byte
	pos    int // after the link, its white space included
	link   View
	reason FormatError
}

// NewCursor returns a cursor before the first link of a text. An empty text has no links
// (section 4). The text must not change while the cursor or its views are in use.
func NewCursor(text []byte) Cursor { return Cursor{text: text} }

// Next moves to the next link and reports whether there is one. After an error there is
// none.
func (c *Cursor) Next() bool {
	if c.reason != 0 {
		return false
	}
	i := skipSpace(c.text, c.pos)
	if i == len(c.text) {
		c.pos = i
		return false
	}
	if c.link.text != nil { // link-value-list: this is the comma, as consumeLink has seen
		i = skipSpace(c.text, i+1)
	}
	link, i, reason := consumeLink(c.text, i)
	c.link, c.pos, c.reason = link, i, reason
	return reason == 0
}

// Link returns the current link.
func (c *Cursor) Link() View { return c.link }

// Err returns the error that ended the walk, a [*SyntaxError], or nil.
func (c *Cursor) Err() error {
	if c.reason == 0 {
		return nil
	}
	return &SyntaxError{Offset: c.pos, Reason: c.reason}
}

// consumeLink reads the link at i and the white space behind it. With a reason, next is the
// place of the error.
//
//	link-value = "<" URI-Reference ">" *( ";" link-param )
func consumeLink(b []byte, i int) (v View, next int, reason FormatError) {
	if i == len(b) || b[i] != '<' {
		return View{}, i, ErrLinkStart
	}
	start, end := i, reference(b, i+1)
	if end == len(b) {
		return View{}, start, ErrTargetEnd
	}
	if b[end] != '>' {
		return View{}, end, ErrTarget
	}
	end++
	target := end - start
	for i = skipSpace(b, end); i < len(b) && b[i] == ';'; i = skipSpace(b, end) {
		var p fields
		if p, reason = consumeParam(b, skipSpace(b, i+1)); reason != 0 {
			return View{}, p.end, reason
		}
		end = p.end
	}
	if i < len(b) && b[i] != ',' {
		return View{}, i, ErrSeparator
	}
	return View{text: b[start:end:end], target: target, offset: start}, i, 0
}

// fields are the places of the parts of a parameter. The value is without its quotes.
type fields struct {
	name, nameEnd, value, valueEnd int
	quoted                         bool
	end                            int // of the parameter, or the place of the error
}

// consumeParam reads the parameter at i.
//
//	link-extension = ( parmname [ "=" ( ptoken / quoted-string ) ] )
//	               / ( ext-name-star "=" ext-value )
//
// All other forms of link-param are special cases of it, but for a URI or MediaDesc with a comma or
// semicolon that is not quoted. There the grammar is ambiguous, and the value ends.
func consumeParam(b []byte, i int) (p fields, reason FormatError) {
	p.name, p.nameEnd = i, span(b, i, isAttr)
	if p.nameEnd == i {
		p.end = i
		return p, ErrName
	}
	star := p.nameEnd < len(b) && b[p.nameEnd] == '*'
	if star {
		p.nameEnd++
	}
	i = p.nameEnd
	p.value, p.valueEnd, p.end = i, i, i
	switch {
	case i == len(b) || b[i] != '=':
	case i+1 < len(b) && b[i+1] == '"':
		p.end, reason = consumeQuoted(b, i+1)
		p.value, p.valueEnd, p.quoted = i+2, p.end-1, true
	default:
		p.value, p.valueEnd = i+1, span(b, i+1, isPtoken)
		p.end = p.valueEnd
		if p.end == i+1 {
			reason = ErrValueMissing
		}
	}
	if star && reason == 0 && (p.quoted || !isExtValue(b[p.value:p.valueEnd])) {
		p.end, reason = p.name, ErrExtValue
	}
	return p, reason
}

// consumeQuoted reads the quoted string at i (RFC 2616 section 2.2). With a reason, next is the
// place of the error.
func consumeQuoted(b []byte, i int) (next int, reason FormatError) {
	start := i
	for i = span(b, i+1, isPlain); i < len(b); i = span(b, i+1, isPlain) {
		switch c := b[i]; {
		case c == '"':
			return i + 1, 0
		case c == '\\': // quoted-pair = "\" CHAR, any of ASCII
			if i++; i < len(b) && b[i] >= 0x80 {
				return i, ErrQuotedCharacter
			}
		case c == '\r' && i+2 < len(b) && b[i+1] == '\n' && (b[i+2] == ' ' || b[i+2] == '\t'):
			i += 2 // LWS = [CRLF] 1*( SP | HT )
		default: // a control character
			return i, ErrQuotedCharacter
		}
	}
	return start, ErrQuotedEnd
}

// unquote returns the byte that a quoted string without its quotes has at i, and where the next
// one begins. A line break and the white space behind it mean white space.
func unquote(raw []byte, i int) (c byte, next int) {
	// A raw value from a cursor does not end behind either; one made by hand may.
	if raw[i] == '\r' && i+2 < len(raw) {
		i += 2
	}
	if raw[i] == '\\' && i+1 < len(raw) {
		i++
	}
	return raw[i], i + 1
}

// View is one link of a text, as a view into it. The zero value has an empty target and no
// parameters.
type View struct {
	text   []byte // the link-value, without white space around it
	target int    // how many of its bytes are "<target>"
	offset int    // where it stands in the whole text
}

// Target returns the URI reference between "<" and ">", a view.
func (v View) Target() []byte {
	if v.target == 0 {
		return nil
	}
	return v.text[1 : v.target-1 : v.target-1]
}

// Params returns a cursor before the first parameter of the link.
func (v View) Params() ParamCursor { return ParamCursor{text: v.text, pos: v.target} }

// Param returns the first parameter with this name, and whether there is one.
func (v View) Param(name string) (p ParamView, ok bool) {
	c := v.Params()
	for c.Next() {
		if p = c.Param(); sameName(p.Name, name) {
			return p, true
		}
	}
	return ParamView{}, false
}

// AppendTo appends the link to dst as the text has it, but without white space between its
// parts and without the parameters that are ignored. It allocates only to grow dst.
func (v View) AppendTo(dst []byte) []byte {
	dst = append(dst, '<')
	dst = append(dst, v.Target()...)
	dst = append(dst, '>')
	c := v.Params()
	for c.Next() {
		p := c.Param()
		dst = append(dst, ';')
		dst = append(dst, p.Name...)
		switch {
		case p.Quoted:
			dst = append(dst, '=', '"')
			dst = append(dst, p.Raw...)
			dst = append(dst, '"')
		case len(p.Raw) > 0:
			dst = append(dst, '=')
			dst = append(dst, p.Raw...)
		}
	}
	return dst
}

// ParamCursor walks over the parameters of a [View] in order, without allocating. It passes over
// those that a reader has to ignore: the package comment lists them.
type ParamCursor struct {
	text []byte // of the link, known to be valid
	pos  int
	at   fields
	seen uint16 // a bit for each attribute
}

// Next moves to the next parameter and reports whether there is one.
func (c *ParamCursor) Next() bool {
	for {
		i := skipSpace(c.text, c.pos)
		if i == len(c.text) {
			return false
		}
		c.at, _ = consumeParam(c.text, skipSpace(c.text, i+1))
		c.pos = c.at.end
		a := attributeOf(c.text[c.at.name:c.at.nameEnd])
		if a == attrHref || a.seenBefore(&c.seen) {
			continue
		}
		if a == attrObs { // any value is ignored (RFC 7641 section 6)
			c.at.quoted, c.at.value = false, c.at.valueEnd
		}
		return true
	}
}

// Param returns the current parameter.
func (c *ParamCursor) Param() ParamView {
	f := &c.at
	return ParamView{
		Name:   c.text[f.name:f.nameEnd:f.nameEnd],
		Raw:    c.text[f.value:f.valueEnd:f.valueEnd],
		Quoted: f.quoted,
	}
}

// ParamView is one parameter of a link, as views into the text.
type ParamView struct {
	// Name is as the text has it. Names are the same in capitals and small letters. One
	// that ends in "*" has a value for [ParseExtValue].
	Name []byte
	// Raw is the value as the text has it, without its quotes. Empty and not Quoted means that
	// there is none: the parameter is a flag.
	Raw []byte
	// Quoted says that the value stands in quotes, where a backslash hides what follows.
	Quoted bool
}

// AppendValue appends the value to dst, with quoting resolved (RFC 2616 section 2.2). It
// allocates only to grow dst.
func (p ParamView) AppendValue(dst []byte) []byte {
	if !p.escaped() {
		return append(dst, p.Raw...)
	}
	for i := 0; i < len(p.Raw); {
		var c byte
		c, i = unquote(p.Raw, i)
		dst = append(dst, c)
	}
	return dst
}

// escaped reports whether the value differs from Raw.
func (p ParamView) escaped() bool {
	if p.Quoted {
		for _, c := range p.Raw {
			if c == '\\' || c == '\r' {
				return true
			}
		}
	}
	return false
}
