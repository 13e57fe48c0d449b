package exchange

import (
	"bytes"
	"context"
	"io"

	"github.com/coapkit/coap/message"
)

// A body is the whole representation that a request or response carries, whatever number of
// messages it takes (RFC 7959 section 2). Most are bytes: Payload. Streams are Request.Body,
// Transfer.Sink, Response.Body and Response.Content, which say who reads or writes, until when,
// and who closes.

// Transfer has the less usual wishes of a client about bodies that take several messages. The
// zero value of each field stands for the default. RoundTrip only reads it.
type Transfer struct {
	// BlockSize is the largest block to use, in bytes: a power of two from 16 to 1024, others
	// are rounded down. It is proposed to the server in the first request
	// (RFC 7959 section 2.4). 0 means the size that the client is configured with.
	BlockSize int
	// Size is the length of Request.Body in bytes, if it is known and Body is no
	// io.Seeker. It is told to the server as an estimate.
	Size int64
	// Sink gets the body of a successful response as it arrives; Response.Payload is empty
	// then. RoundTrip writes to it, in the goroutine that called it, and never after it
	// has returned; the caller closes it. What has been written cannot be taken back: if
	// the body changes on the way, the transfer ends with an error.
	Sink io.Writer
	// Limit is the longest response body to accept, in bytes. 0 means that of the
	// client without a Sink, and no limit with one.
	Limit int64
	// Progress, if not nil, is called after each block, by RoundTrip.
	Progress func(Progress)
	// Resume is where an earlier transfer of the same bodies was interrupted, as its error
	// says. The zero value starts at the beginning.
	Resume Position
}

// Progress is how far the bodies of a request and its response have come, in bytes.
type Progress struct {
	// Sent is acknowledged by the server; SendTotal is the length of the request's body, 0
	// if unknown.
	Sent, SendTotal int64
	// Received is the part of the response's body that has arrived; ReceiveTotal is
	// what the server says of its length, 0 if nothing.
	Received, ReceiveTotal int64
}

// Position is where a transfer that was interrupted can go on.
//
// An upload is resumed with the same body: bytes and an io.ReadSeeker from their beginning, any other
// io.Reader from Offset on. A resumed download yields what follows Offset.
type Position struct {
	// Upload says that the body of the request is under way, else that of the response.
	Upload bool
	// Offset is the number of bytes that have arrived for certain.
	Offset int64
	// ETag is that of the body of the response; what comes later must have the same.
	ETag []byte
	// RequestTag is what the server knows the operation by, nil if by nothing
	// (RFC 9175 section 3.4).
	RequestTag []byte
}

// BodyReader returns the body of a received request as a reader: Body, or else Payload.
func (r *Request) BodyReader() io.Reader {
	if r.Body != nil {
		return r.Body
	}
	return bytes.NewReader(r.Payload)
}

// ReadBody returns the whole body of a received request: Payload, or what Body still
// yields. A body of more than limit bytes gives an *[Error] with code 4.13.
func (r *Request) ReadBody(limit int64) ([]byte, error) {
	b := r.Payload
	if r.Body != nil {
		var err error
		if b, err = io.ReadAll(io.LimitReader(r.Body, limit+1)); err != nil {
			return nil, err
		}
	}
	if int64(len(b)) > limit {
		return nil, &Error{Code: message.RequestEntityTooLarge}
	}
	return b, nil
}

// Detach returns a copy of a received request that may be kept, as Clone does, with a context of
// its own. It is for layers that run a handler for longer than one message is being answered.
func (r *Request) Detach(ctx context.Context) *Request {
	c := r.Clone()
	c.arrival.Context = ctx
	return c
}

// Body makes what r yields the body, and sets 2.05 if no code is set. It is read block by
// block as the client asks, from beginning to end only: a client that has lost the thread gets
// 4.08 and starts again, for which the handler runs again.
//
// r belongs to the library from now on. It is read after the handler has returned, while later
// requests are answered, so it must not depend on this one; no context governs it. If
// it is an io.Closer it is closed: when the last block was read, when the client has asked for
// nothing for EXCHANGE_LIFETIME or the memory is needed, and when the response is not sent at
// all. Body always returns nil.
func (w *Response) Body(r io.Reader) error {
	w.setBody(r, false)
	return nil
}

// Content makes what r holds from its start to its end the body, states its entity-tag and sets
// 2.05 if no code is set. It is read at random access and not copied: the handler runs for each
// block of a GET, and r need only outlive that. So etag has to change with the content, and
// to be the same while that is the same: keep it with the content, since to compute it anew for
// each block takes its time. r belongs to the library from now on, as with
// [Response.Body]. The error says that etag has not 1 to 8 bytes.
func (w *Response) Content(r io.ReadSeeker, etag []byte) error {
	w.setBody(r, true)
	return w.SetETag(etag)
}

func (w *Response) setBody(r io.Reader, random bool) {
	if w.Code == message.Empty {
		w.Code = message.Content
	}
	w.Payload, w.body, w.random = nil, r, random
}

// TakeBody returns the reader given to Body or Content, nil if there is none, and whether it was
// Content, so an io.ReadSeeker. The caller owns it then. It is for layers that send bodies.
func (w *Response) TakeBody() (body io.Reader, random bool) {
	body, random = w.body, w.random
	w.body, w.random = nil, false
	return body, random
}
