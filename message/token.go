package message

import (
	"bytes"
	"encoding/hex"
)

// MaxTokenLength is the longest token that a message can carry (RFC 8974 section 2.1).
// Peers that do not implement RFC 8974 reject tokens of more than 8 bytes.
const MaxTokenLength = 65804

// Token matches a response to its request (RFC 7252 section 5.3.1). It is opaque bytes; an
// empty token is a token like any other.
type Token []byte

// Equal reports whether t and u are the same bytes.
func (t Token) Equal(u Token) bool { return bytes.Equal(t, u) }

// String returns the token in hexadecimal.
func (t Token) String() string { return hex.EncodeToString(t) }
