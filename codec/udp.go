package codec

import (
	"encoding/binary"

	"github.com/coapkit/coap/internal/wire"
	"github.com/coapkit/coap/message"
)

// HeaderSize is the length of the fixed header of a datagram, in bytes.
const HeaderSize = 4

const (
	version       = 1
	payloadMarker = 0xFF
)

// Header is the fixed header of a datagram (RFC 7252 section 3, figure 7).
type Header struct {
	Type      message.Type
	Code      message.Code
	MessageID uint16
	// TokenNibble is the TKL field as it stands: the token length up to 12, or 13 and
	// 14 for the extended lengths of RFC 8974.
	TokenNibble uint8
}

// ParseHeader reads the fixed header, which is enough to drop, deduplicate or reject a
// datagram. The error is [message.ErrHeaderTooShort], after which nothing can be said
// about the datagram, or [message.ErrVersion].
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, message.ErrHeaderTooShort
	}
	if b[0]>>6 != version {
		return Header{}, message.ErrVersion
	}
	return Header{
		Type:        message.Type(b[0] >> 4 & 3),
		Code:        message.Code(b[1]),
		MessageID:   binary.BigEndian.Uint16(b[2:]),
		TokenNibble: b[0] & 15,
	}, nil
}

// AppendHeader appends a fixed header without token, which is a complete Empty message
// when the code is 0.00.
func AppendHeader(dst []byte, t message.Type, c message.Code, messageID uint16) []byte {
	return append(dst, version<<6|byte(t&3)<<4, byte(c), byte(messageID>>8), byte(messageID))
}

// DecodeUDP reads one datagram into m, overwriting all of it. Token, options and payload
// of m are views into b, with their capacity cut to their length: they are valid as long as
// the bytes of b are, and [message.Message.Clone] keeps them. After an error, which is a
// [message.FormatError], m holds what the header says, if there is one, and nothing else.
func DecodeUDP(b []byte, m *message.Message) error {
	h, err := ParseHeader(b)
	if err != nil {
		*m = message.Message{}
		return err
	}
	m.Type, m.Code, m.MessageID = h.Type, h.Code, h.MessageID
	// The buffer may go on with another datagram: appending to the payload must not
	// overwrite it.
	rest := b[HeaderSize:len(b):len(b)]
	// A token of usual length is split off here, for speed: it is the shortest messages that come by the million.
	if n := int(h.TokenNibble); n < wire.Ext8 && n <= len(rest) && h.Code != message.Empty {
		m.Token, rest = rest[:n:n], rest[n:]
	} else if m.Token, rest, err = unusual(h, rest); err != nil {
		m.Options, m.Payload = message.Options{}, nil
		return err
	}
	m.Payload, err = m.Options.Decode(rest)
	if err != nil {
		m.Token = nil
	}
	return err
}

// unusual deals with what follows the header of an Empty message, which is nothing, and with tokens that are long, or not
// all there.
func unusual(h Header, b []byte) (token message.Token, rest []byte, err error) {
	// An Empty message ends with the header, whatever the token length says
	// (RFC 7252 section 4.1).
	if h.Code == message.Empty && (len(b) > 0 || h.TokenNibble != 0) {
		return nil, nil, message.ErrEmptyNotEmpty
	}
	return consumeToken(h.TokenNibble, b)
}

// consumeToken splits off the token (RFC 8974 section 2.1). b starts behind the header.
func consumeToken(nibble uint8, b []byte) (token, rest []byte, err error) {
	n, used := int(nibble), 0
	if nibble >= wire.Ext8 {
		if nibble == wire.Reserved {
			return nil, nil, message.ErrTokenLengthReserved
		}
		if n, used = wire.ConsumeExt(nibble, b); used < 0 {
			return nil, nil, message.ErrTokenTruncated
		}
		b = b[used:]
	}
	if n > len(b) {
		return nil, nil, message.ErrTokenTruncated
	}
	return b[:n:n], b[n:], nil
}

// AppendUDP appends m as one datagram to dst and returns the extended slice. It does
// not touch dst[:len(dst)] and does not keep m or dst. It refuses what no receiver would
// accept: an Empty message with content, and lengths that the format cannot express.
// Whether the datagram fits the path is for the caller to see.
func AppendUDP(dst []byte, m *message.Message) ([]byte, error) {
	options, err := m.Options.Encoded()
	switch {
	case err != nil:
		return dst, err
	case len(m.Token) > message.MaxTokenLength:
		return dst, message.ErrTokenTooLong
	case m.Type > message.Reset:
		return dst, message.ErrType
	case m.Code == message.Empty && (len(m.Token) > 0 || len(options) > 0 || len(m.Payload) > 0):
		return dst, message.ErrEmptyNotEmpty
	}
	first := version<<6 | byte(m.Type)<<4
	if n := len(m.Token); n < wire.Ext8 {
		dst = append(dst, first|byte(n), byte(m.Code), byte(m.MessageID>>8), byte(m.MessageID))
	} else {
		nibble, _ := wire.Nibble(n)
		dst = append(dst, first|nibble, byte(m.Code), byte(m.MessageID>>8), byte(m.MessageID))
		dst = wire.AppendExt(dst, n)
	}
	dst = append(dst, m.Token...)
	dst = append(dst, options...)
	if len(m.Payload) > 0 {
		dst = append(dst, payloadMarker)
		dst = append(dst, m.Payload...)
	}
	return dst, nil
}

// SizeUDP returns the length of the datagram that [AppendUDP] would append for m.
func SizeUDP(m *message.Message) int {
	options, _ := m.Options.Encoded()
	_, ext := wire.Nibble(len(m.Token))
	n := HeaderSize + ext + len(m.Token) + len(options)
	if len(m.Payload) > 0 {
		n += 1 + len(m.Payload)
	}
	return n
}
