package message

import "strconv"

// FormatError says which rule of the message format the bytes of a message break
// (RFC 7252 section 3, RFC 8974 section 2.1). It is a small number, so returning it allocates
// nothing.
type FormatError uint8

// The message format errors.
const (
	// ErrHeaderTooShort: fewer than the 4 bytes of the fixed header. There is no
	// message ID, so the message can be neither rejected nor answered.
	ErrHeaderTooShort FormatError = iota + 1
	// ErrVersion: a version other than 1. Such a message is ignored in silence
	// (RFC 7252 section 3).
	ErrVersion
	// ErrTokenLengthReserved: token length nibble 15.
	ErrTokenLengthReserved
	// ErrTokenTruncated: the message ends within the token or its extended length.
	ErrTokenTruncated
	// ErrEmptyNotEmpty: token, options or payload in a message with code 0.00
	// (RFC 7252 section 4.1).
	ErrEmptyNotEmpty
	// ErrOptionDeltaReserved: delta nibble 15 in a byte that is no payload marker.
	ErrOptionDeltaReserved
	// ErrOptionLengthReserved: length nibble 15.
	ErrOptionLengthReserved
	// ErrOptionHeaderTruncated: the message ends within an extended delta or length.
	ErrOptionHeaderTruncated
	// ErrOptionValueTruncated: the message ends within an option value.
	ErrOptionValueTruncated
	// ErrOptionNumberOverflow: the sum of the deltas exceeds 65535.
	ErrOptionNumberOverflow
	// ErrPayloadMissing: a payload marker with nothing behind it.
	ErrPayloadMissing
	// ErrTokenTooLong: a token of more than 65804 bytes cannot be encoded.
	ErrTokenTooLong
	// ErrOptionTooLong: an option value of more than 65804 bytes cannot be encoded.
	ErrOptionTooLong
	// ErrType: a type above 3 cannot be encoded.
	ErrType
)

var formatErrors = [...]string{
	ErrHeaderTooShort:        "shorter than the 4 bytes of the header",
	ErrVersion:               "version is not 1",
	ErrTokenLengthReserved:   "token length 15 is reserved",
	ErrTokenTruncated:        "ends within the token",
	ErrEmptyNotEmpty:         "code 0.00 with more than a header",
	ErrOptionDeltaReserved:   "option delta 15 is reserved",
	ErrOptionLengthReserved:  "option length 15 is reserved",
	ErrOptionHeaderTruncated: "ends within an option header",
	ErrOptionValueTruncated:  "ends within an option value",
	ErrOptionNumberOverflow:  "option number exceeds 65535",
	ErrPayloadMissing:        "payload marker without payload",
	ErrTokenTooLong:          "token exceeds 65804 bytes",
	ErrOptionTooLong:         "option value exceeds 65804 bytes",
	ErrType:                  "message type exceeds 3",
}

// Error describes the broken rule.
func (e FormatError) Error() string {
	if int(e) < len(formatErrors) && formatErrors[e] != "" {
		return "malformed message: " + formatErrors[e]
	}
	return "malformed message: error " + strconv.Itoa(int(e))
}
