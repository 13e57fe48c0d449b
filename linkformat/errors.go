package linkformat

import "strconv"

// FormatError says which rule of the link format is broken. It is a small number, so returning
// it allocates nothing.
type FormatError uint8

// The link format errors.
const (
	// ErrLinkStart: a link does not begin with "<".
	ErrLinkStart FormatError = iota + 1
	// ErrTarget: a character or percent-encoding that no URI reference has.
	ErrTarget
	// ErrTargetEnd: the text ends within a target.
	ErrTargetEnd
	// ErrSeparator: something other than a comma, a semicolon or the end after a target
	// or a parameter.
	ErrSeparator
	// ErrName: a parameter without a name, or with one that is no parmname.
	ErrName
	// ErrValueMissing: an equals sign and no value. An empty value is written "".
	ErrValueMissing
	// ErrExtValue: a name that ends in a star without a value as in RFC 5987 section 3.2.
	ErrExtValue
	// ErrQuotedCharacter: a control character in a quoted string without a backslash, or a
	// character outside ASCII with one.
	ErrQuotedCharacter
	// ErrQuotedEnd: the text ends within a quoted string.
	ErrQuotedEnd
	// ErrFilter: a query argument that is no filter of section 4.1.
	ErrFilter
	// ErrValue: a value that the attribute cannot have. Only when writing.
	ErrValue
	// ErrRepeated: an attribute twice that may appear once in a link. Only when writing.
	ErrRepeated
	// ErrReserved: a parameter href, whose name is reserved for filters (section 2). Only when writing.
	ErrReserved
	// ErrUTF8: text that is not valid UTF-8 (section 2). Only when writing.
	ErrUTF8
)

var formatErrors = [...]string{
	ErrLinkStart:       "a link begins with <",
	ErrTarget:          "not a character of a URI reference",
	ErrTargetEnd:       "the target has no > at its end",
	ErrSeparator:       "want a comma, a semicolon or the end",
	ErrName:            "not a parameter name",
	ErrValueMissing:    "no value after the equals sign",
	ErrExtValue:        "not an extended value like UTF-8'en'text",
	ErrQuotedCharacter: "not a character of a quoted string",
	ErrQuotedEnd:       "the quoted string has no \" at its end",
	ErrFilter:          "not a filter like name=value",
	ErrValue:           "not a value of this attribute",
	ErrRepeated:        "may appear once only",
	ErrReserved:        "the name is reserved",
	ErrUTF8:            "not valid UTF-8",
}

// Error describes the broken rule.
func (e FormatError) Error() string { return "linkformat: " + e.reason() }

func (e FormatError) reason() string {
	if int(e) < len(formatErrors) && formatErrors[e] != "" {
		return formatErrors[e]
	}
	return "error " + strconv.Itoa(int(e))
}

// SyntaxError says where text is not in the link format. errors.Is finds the rule.
type SyntaxError struct {
	// Offset is the number of bytes before the place.
	Offset int
	// Reason is the broken rule.
	Reason FormatError
}

// Error returns the reason and the offset.
func (e *SyntaxError) Error() string {
	return e.Reason.Error() + " at offset " + strconv.Itoa(e.Offset)
}

// Unwrap returns the broken rule.
func (e *SyntaxError) Unwrap() error { return e.Reason }

// LinkError says why a [Link] cannot be written. errors.Is finds the rule.
type LinkError struct {
	// Target is that of the link.
	Target string
	// Param is the name of the parameter, empty if the target is at fault.
	Param string
	// Reason is the broken rule.
	Reason FormatError
}

// Error returns target, parameter and reason.
func (e *LinkError) Error() string {
	s := "linkformat: link " + strconv.Quote(e.Target)
	if e.Param != "" || e.Reason == ErrName {
		s += ", parameter " + strconv.Quote(e.Param)
	}
	return s + ": " + e.Reason.reason()
}

// Unwrap returns the broken rule.
func (e *LinkError) Unwrap() error { return e.Reason }
