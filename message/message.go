// Package message says what a CoAP message is: type, code, message ID, token, options
// and payload (RFC 7252 section 3), with the registries of options, codes and content
// formats, and the translation between URIs and options (RFC 7252 section 6).
//
// It knows nothing of bytes on a wire beyond the options, which are kept in their
// encoded form: package codec turns messages into datagrams and back. It does no I/O,
// holds no state and starts nothing.
//
// Where to look:
//
//	section 3      message.go, type.go, code.go, token.go, formaterror.go
//	section 3.1    options.go (reading), options_edit.go (writing)
//	section 5.4    option.go, registry.go, check.go; the tables are in zz_registry.go
//	section 5.10   values.go (ETag, If-Match, Location-*, Max-Age, …)
//	section 6      uri.go, compose.go, escape.go
//	section 12.3   contentformat.go
//
// To add an option to the library, add its row to internal/registry/registries.tsv and run
// "go generate ./message". To use an option of your own, see [NewRegistry].
package message

import (
	"log/slog"
	"strconv"
)

//go:generate go run ../internal/registry -out .

// Message is one CoAP message, independent of the transport that carries it.
//
// A message that a codec has decoded is a view: Token, Options and Payload point into
// the datagram and are valid as long as its bytes are. [Message.Clone] makes a copy that
// stands for itself. A Message is not safe for concurrent use while somebody changes it.
type Message struct {
	// Type is CON, NON, ACK or RST. Reliable transports have no types and ignore it.
	Type Type
	// Code is the method, the response code, a signaling code, or 0.00 for Empty.
	Code Code
	// MessageID matches an ACK or RST to a CON or NON and finds duplicates
	// (RFC 7252 section 4.4). Reliable transports ignore it.
	MessageID uint16
	// Token matches a response to its request, 0 to 65804 bytes.
	Token Token
	// Options are kept in wire form; the zero value is "no options".
	Options Options
	// Payload is the rest of the message; empty means that there is none.
	Payload []byte
}

// Reset empties the message and keeps the memory of its options for reuse.
func (m *Message) Reset() {
	m.Options.Reset()
	*m = Message{Options: m.Options}
}

// Clone returns a copy that shares no memory with m. It allocates once.
func (m *Message) Clone() Message {
	c := *m
	o := m.Options.wire()
	b := make([]byte, 0, len(m.Token)+len(o)+len(m.Payload))
	b = append(b, m.Token...)
	b = append(b, o...)
	b = append(b, m.Payload...)
	t, e := len(m.Token), len(m.Token)+len(o)
	c.Token = b[:t:t]
	c.Options = Options{buf: b[t:e:e], last: m.Options.last, tooLong: m.Options.tooLong}
	c.Payload = b[e:]
	return c
}

// String describes the message in one line, for people:
//
//	CON [0x7d34] GET token 0x71 Uri-Path:"temperature" 12 bytes
func (m *Message) String() string {
	b := make([]byte, 0, 96)
	b = append(b, m.Type.String()...)
	b = append(b, " [0x"...)
	b = appendHex16(b, m.MessageID)
	b = append(b, "] "...)
	b = append(b, m.Code.String()...)
	if len(m.Token) > 0 {
		b = append(b, " token 0x"...)
		b = append(b, m.Token.String()...)
	}
	for n, v := range m.Options.All() {
		b = append(b, ' ')
		b = Option{n, v}.Append(b)
	}
	if len(m.Payload) > 0 {
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(len(m.Payload)), 10)
		b = append(b, " bytes"...)
	}
	return string(b)
}

// LogValue returns the message as a group of attributes for log/slog. The payload appears
// as its length only.
func (m *Message) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, 6)
	attrs = append(attrs,
		slog.String("type", m.Type.String()),
		slog.String("code", m.Code.String()),
		slog.Int("mid", int(m.MessageID)),
		slog.String("token", m.Token.String()),
	)
	if !m.Options.Empty() {
		var b []byte
		for n, v := range m.Options.All() {
			if len(b) > 0 {
				b = append(b, ' ')
			}
			b = Option{n, v}.Append(b)
		}
		attrs = append(attrs, slog.String("options", string(b)))
	}
	return slog.GroupValue(append(attrs, slog.Int("payload", len(m.Payload)))...)
}

func appendHex16(b []byte, v uint16) []byte {
	const digits = "0123456789abcdef"
	return append(b, digits[v>>12], digits[v>>8&15], digits[v>>4&15], digits[v&15])
}
