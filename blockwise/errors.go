package blockwise

import (
	"strconv"
	"strings"

	"github.com/coapkit/coap/exchange"
)

// Reason says why a transfer failed. It is an error to compare with by errors.Is.
type Reason uint8

// The reasons. The first group is what a client gets, the second what a handler gets that reads a
// streamed body.
const (
	// ErrInterrupted: the exchange of a block ended without a response. Error.Err says how.
	ErrInterrupted Reason = iota + 1
	// ErrBodyChanged: the body of the response changed on the way, more often than it may be
	// started again, or it cannot be: the request is not safe to repeat, or bytes have gone
	// to a Sink.
	ErrBodyChanged
	// ErrIncomplete: the server has lost or refused blocks of the request's body (4.08) and the
	// transfer was started again too often.
	ErrIncomplete
	// ErrNoRestart: the transfer has to be started again, but the body is an io.Reader that
	// cannot go back.
	ErrNoRestart
	// ErrTooLarge: the body exceeds a limit of ours.
	ErrTooLarge
	// ErrTooLong: the body has more blocks than can be numbered.
	ErrTooLong
	// ErrBadResponse: the peer does not follow the protocol. Error.Err says in what.
	ErrBadResponse
	// ErrBody: reading the body that was to be sent, or writing to the Sink, failed. Error.Err
	// says why.
	ErrBody

	// ErrExpired: no block came for too long, or none can come any more since the secure session has ended.
	ErrExpired
	// ErrEvicted: the room was needed for other transfers.
	ErrEvicted
	// ErrReplaced: the client has started the upload again.
	ErrReplaced
	// ErrShutdown: the server is closing.
	ErrShutdown
)

var reasons = [...]string{
	ErrInterrupted: "interrupted",
	ErrBodyChanged: "the body of the response changed on the way",
	ErrIncomplete:  "the server has lost blocks of the request's body",
	ErrNoRestart:   "the transfer has to start again, but the body cannot be read again",
	ErrTooLarge:    "the body exceeds the limit",
	ErrTooLong:     "the body has more blocks than can be numbered",
	ErrBadResponse: "the peer does not follow the protocol",
	ErrBody:        "the body cannot be read or written",
	ErrExpired:     "no block came for too long",
	ErrEvicted:     "given up for want of memory",
	ErrReplaced:    "the client has started the upload again",
	ErrShutdown:    "the server is closing",
}

// Error describes the reason.
func (r Reason) Error() string {
	if int(r) < len(reasons) && reasons[r] != "" {
		return "coap: block-wise transfer: " + reasons[r]
	}
	return "coap: block-wise transfer: reason " + strconv.Itoa(int(r))
}

// Error is the end of a block-wise transfer without a usable response. errors.Is finds its Reason
// and, like errors.As, looks into Err.
type Error struct {
	Reason Reason
	// Position is where the transfer can be resumed; see exchange.Transfer. After a body has
	// changed or cannot be trusted, that is its beginning.
	Position exchange.Position
	// Err says more, such as how the exchange of one block ended. It may be nil.
	Err error
}

// Error puts the parts together.
func (e *Error) Error() string {
	s := e.Reason.Error()
	if e.Position.Offset > 0 {
		s += " at byte " + strconv.FormatInt(e.Position.Offset, 10)
	}
	if e.Err != nil {
		s += ": " + strings.TrimPrefix(e.Err.Error(), "coap: ")
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Is makes an Error match its Reason.
func (e *Error) Is(target error) bool { return target == e.Reason }

// Timeout reports whether a time-out ended the exchange of a block.
func (e *Error) Timeout() bool {
	t, ok := e.Err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}
