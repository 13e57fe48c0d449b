package message

import (
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"github.com/coapkit/coap/internal/wire"
)

// OptionNumber identifies an option. Its bits say how somebody who does not know the
// option has to treat it (RFC 7252 section 5.4.6).
type OptionNumber uint16

// Critical reports whether a message with this option must be rejected by an endpoint that
// does not understand it; the other options are elective and ignored then.
func (n OptionNumber) Critical() bool { return n&1 != 0 }

// Unsafe reports whether a proxy that does not understand this option must not forward it.
func (n OptionNumber) Unsafe() bool { return n&2 != 0 }

// NoCacheKey reports whether this option, if safe to forward, is left out of the
// cache key of a request.
func (n OptionNumber) NoCacheKey() bool { return n&0x1e == 0x1c }

// String returns the name of the option as registered, or "Option 1234".
func (n OptionNumber) String() string {
	if d, ok := (*Registry)(nil).Lookup(n); ok {
		return d.Name
	}
	return "Option " + strconv.Itoa(int(n))
}

// Option is one instance of an option.
type Option struct {
	Number OptionNumber
	// Value is the bytes of the value, in wire form and not percent-encoded.
	Value []byte
}

// String describes the option for people, as [Option.Append] does.
func (o Option) String() string { return string(o.Append(nil)) }

// Append appends a description of the option for people, by the format that the standard
// registry gives it: Uri-Path:"temperature", Max-Age:60, ETag:0x01ff, If-None-Match.
func (o Option) Append(b []byte) []byte {
	d, _ := (*Registry)(nil).Lookup(o.Number)
	b = append(b, o.Number.String()...)
	return d.appendValue(b, o.Value)
}

func (d Definition) appendValue(b, value []byte) []byte {
	switch v, isUint := wire.Uint(value); {
	case d.Format == FormatEmpty && len(value) == 0:
		return b
	case d.Format == FormatUint && isUint:
		return strconv.AppendUint(append(b, ':'), v, 10)
	case d.Format == FormatString && utf8.Valid(value):
		return strconv.AppendQuote(append(b, ':'), string(value))
	default:
		return hex.AppendEncode(append(b, ":0x"...), value)
	}
}
