package exchange

import (
	"io"
	"slices"
	"time"

	"github.com/coapkit/coap/message"
)

// Response is a response: to be filled by a handler, or received by a client. It keeps its
// memory when it is reused.
//
// In a handler it is valid until the handler returns; Payload may point to memory of the
// handler's own, which must not change before the handler returns. In a client it belongs to
// the caller, and Options and Payload are valid until the next RoundTrip with it.
type Response struct {
	// Code is the response code; 0 in a handler stands for 2.05.
	Code message.Code
	// Options of the response.
	Options message.Options
	// Payload of the response. Without a Content-Format, that of an error is a
	// diagnostic text (RFC 7252 section 5.5.2).
	Payload []byte
	// Retransmissions is how often the request had to be sent again until this response came, 0 in
	// a handler and where nobody knows. It is for layers that have several requests under way, to
	// which it is a sign of congestion.
	Retransmissions int

	peer   Peer
	body   io.Reader // see Body and Content
	random bool
	buf    []byte // holds what Options and Payload of a received response point to
}

// Reset empties the response and keeps its memory.
func (w *Response) Reset() {
	w.Options.Reset()
	*w = Response{Options: w.Options, buf: w.buf[:0]}
}

// Receive makes w a copy of a received message. It is for endpoints and
// for layers that make up responses.
func (w *Response) Receive(m *message.Message, from Peer) error {
	encoded, err := m.Options.Encoded()
	if err != nil {
		return err
	}
	w.buf = append(append(w.buf[:0], encoded...), m.Payload...)
	_, err = w.Options.Decode(w.buf[:len(encoded):len(encoded)])
	w.Code, w.Payload, w.peer, w.Retransmissions = m.Code, w.buf[len(encoded):], from, 0
	if w.Code == message.Valid {
		w.Payload = nil // to be ignored (RFC 7252 section 5.5)
	}
	return err
}

// Peer returns who sent a received response.
func (w *Response) Peer() Peer { return w.peer }

// Err returns nil for a success, 2.xx, and for no response, Empty, and an *[Error] with code and diagnostic for other
// codes. An error response with a Content-Format has no diagnostic, but a payload
// of its own.
func (w *Response) Err() error {
	if w.Code.IsSuccess() || w.Code == message.Empty {
		return nil
	}
	e := &Error{Code: w.Code}
	if _, ok := w.Options.ContentFormat(); !ok {
		e.Diagnostic = string(w.Payload)
	}
	return e
}

// SetCode sets the response code.
func (w *Response) SetCode(c message.Code) { w.Code = c }

// Room returns n bytes of w's own memory, to be filled and made the payload. They are valid as long as w;
// another call returns the same ones.
func (w *Response) Room(n int) []byte {
	// Options of w may be a view of what buf has.
	w.buf = slices.Grow(w.buf, n)
	return w.buf[len(w.buf) : len(w.buf)+n]
}

// Text makes s the payload, as text/plain, and sets 2.05 if no code is set. It always returns
// nil, so that a handler can end with it.
func (w *Response) Text(s string) error {
	w.buf = append(w.buf[:0], s...)
	return w.Bytes(message.TextPlain, w.buf)
}

// JSON makes b, which must not change until the handler has returned, the payload, as
// application/json. It always returns nil.
func (w *Response) JSON(b []byte) error { return w.Bytes(message.JSON, b) }

// CBOR makes b, which must not change until the handler has returned, the payload, as
// application/cbor. It always returns nil.
func (w *Response) CBOR(b []byte) error { return w.Bytes(message.CBOR, b) }

// Bytes makes b, which must not change until the handler has returned, the payload, with
// this content format, and sets 2.05 if no code is set. It always returns nil.
func (w *Response) Bytes(format message.ContentFormat, b []byte) error {
	if w.Code == message.Empty {
		w.Code = message.Content
	}
	w.Options.SetContentFormat(format)
	w.Payload = b
	return nil
}

// SetETag sets the entity-tag of the representation, 1 to 8 bytes
// (RFC 7252 section 5.10.6). A request that has the same ETag is then
// answered with 2.03 and no payload.
func (w *Response) SetETag(tag []byte) error { return w.Options.SetETag(tag) }

// SetMaxAge says how long the response is fresh, in whole seconds; 0 prevents caching
// (RFC 7252 section 5.10.5).
func (w *Response) SetMaxAge(d time.Duration) { w.Options.SetMaxAge(d) }
