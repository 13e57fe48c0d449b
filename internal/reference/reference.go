// Package reference is a slow and obvious codec for CoAP datagrams, written from the text of
// RFC 7252 section 3 and RFC 8974 section 2.1 alone, and a list of packets that have broken
// CoAP implementations. Tests and fuzz targets use the codec as the oracle for package codec
// and the packets as seeds; nothing else may import this package.
//
// It reads bit by bit, copies everything and shares no code with what it judges. Keep it
// that way: do not make it fast, and do not fix it by looking at package codec. What the two
// share is the names of the format errors.
package reference

import (
	"bytes"
	"strconv"

	"github.com/coapkit/coap/message"
)

// Message is a decoded datagram. Nothing in it shares memory with the datagram.
type Message struct {
	Type, Code, MessageID int
	Token                 []byte
	Options               []Option
	Payload               []byte
}

// Option is one option with its number, the deltas added up.
type Option struct {
	Number int
	Value  []byte
}

// reader hands out a datagram from left to right, bit by bit as the figures show it.
type reader struct {
	bits []byte // one bit each
}

func newReader(datagram []byte) *reader {
	r := &reader{}
	for _, b := range datagram {
		for i := 7; i >= 0; i-- {
			r.bits = append(r.bits, b>>i&1)
		}
	}
	return r
}

// has reports whether n more bytes are there.
func (r *reader) has(n int) bool { return len(r.bits) >= 8*n }

// take reads an unsigned integer of n bits, the most significant first.
func (r *reader) take(n int) int {
	v := 0
	for _, bit := range r.bits[:n] {
		v = 2*v + int(bit)
	}
	r.bits = r.bits[n:]
	return v
}

func (r *reader) takeBytes(n int) []byte {
	b := []byte{}
	for range n {
		b = append(b, byte(r.take(8)))
	}
	return b
}

// extended completes a field of 4 bits with the bytes that follow it; ok is false when
// they are not there. 15 is for the caller to exclude.
func (r *reader) extended(field int) (v int, ok bool) {
	switch {
	case field == 13 && r.has(1):
		return 13 + r.take(8), true
	case field == 14 && r.has(2):
		return 269 + r.take(16), true
	}
	return field, field < 13
}

// Decode reads a datagram. The error is the first broken rule, reading from left to right.
func Decode(datagram []byte) (*Message, error) {
	r := newReader(datagram)
	m := &Message{}
	if !r.has(4) {
		return nil, message.ErrHeaderTooShort
	}
	version := r.take(2)
	m.Type = r.take(2)
	tokenLength := r.take(4)
	m.Code = r.take(8)
	m.MessageID = r.take(16)
	if version != 1 {
		return nil, message.ErrVersion
	}
	// RFC 7252 section 4.1: an Empty message has token length 0 and ends here.
	if m.Code == 0 && (tokenLength != 0 || r.has(1)) {
		return nil, message.ErrEmptyNotEmpty
	}
	if tokenLength == 15 {
		return nil, message.ErrTokenLengthReserved
	}
	tokenLength, ok := r.extended(tokenLength)
	if !ok || !r.has(tokenLength) {
		return nil, message.ErrTokenTruncated
	}
	m.Token = r.takeBytes(tokenLength)
	return m, m.decodeRest(r)
}

// decodeRest reads options and payload.
func (m *Message) decodeRest(r *reader) error {
	number := 0
	for r.has(1) {
		delta, length := r.take(4), r.take(4)
		if delta == 15 && length == 15 {
			if !r.has(1) {
				return message.ErrPayloadMissing
			}
			m.Payload = r.takeBytes(len(r.bits) / 8)
			return nil
		}
		if delta == 15 {
			return message.ErrOptionDeltaReserved
		}
		if length == 15 {
			return message.ErrOptionLengthReserved
		}
		delta, deltaOK := r.extended(delta)
		if !deltaOK {
			return message.ErrOptionHeaderTruncated
		}
		length, lengthOK := r.extended(length)
		if !lengthOK {
			return message.ErrOptionHeaderTruncated
		}
		number += delta
		if number > 65535 {
			return message.ErrOptionNumberOverflow
		}
		if !r.has(length) {
			return message.ErrOptionValueTruncated
		}
		m.Options = append(m.Options, Option{number, r.takeBytes(length)})
	}
	return nil
}

// Encode writes a message whose options are in order and whose lengths and numbers fit.
func Encode(m *Message) []byte {
	field, extension := split(len(m.Token))
	b := []byte{byte(1*64 + m.Type*16 + field), byte(m.Code), byte(m.MessageID / 256), byte(m.MessageID % 256)}
	b = append(b, extension...)
	b = append(b, m.Token...)
	number := 0
	for _, o := range m.Options {
		delta, deltaExtension := split(o.Number - number)
		length, lengthExtension := split(len(o.Value))
		b = append(b, byte(delta*16+length))
		b = append(b, deltaExtension...)
		b = append(b, lengthExtension...)
		b = append(b, o.Value...)
		number = o.Number
	}
	if len(m.Payload) > 0 {
		b = append(b, 255)
		b = append(b, m.Payload...)
	}
	return b
}

// split is the inverse of extended.
func split(v int) (field int, extension []byte) {
	switch {
	case v <= 12:
		return v, nil
	case v <= 13+255:
		return 13, []byte{byte(v - 13)}
	default:
		return 14, []byte{byte((v - 269) / 256), byte((v - 269) % 256)}
	}
}

// Differs compares what package codec decoded with r and says what differs, or returns "".
func (r *Message) Differs(m *message.Message) string {
	switch {
	case r.Type != int(m.Type):
		return "type"
	case r.Code != int(m.Code):
		return "code"
	case r.MessageID != int(m.MessageID):
		return "message ID"
	case !bytes.Equal(r.Token, m.Token):
		return "token"
	case !bytes.Equal(r.Payload, m.Payload):
		return "payload"
	}
	i := 0
	for n, v := range m.Options.All() {
		if i >= len(r.Options) || int(n) != r.Options[i].Number || !bytes.Equal(v, r.Options[i].Value) {
			return "option " + strconv.Itoa(i+1)
		}
		i++
	}
	if i != len(r.Options) {
		return "number of options"
	}
	return ""
}
