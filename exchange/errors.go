package exchange

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/coapkit/coap/message"
)

// Error is a response of class 4 or 5 as a Go error. A handler returns one to answer with
// it; a client gets one from [Response.Err].
type Error struct {
	// Code is the response code, 4.xx or 5.xx.
	Code message.Code
	// Diagnostic is a brief explanation for engineers, UTF-8; it may be empty
	// (RFC 7252 section 5.5.2).
	Diagnostic string
}

// Error returns the code and the diagnostic.
func (e *Error) Error() string {
	if e.Diagnostic == "" {
		return "coap: " + e.Code.String()
	}
	return "coap: " + e.Code.String() + ": " + e.Diagnostic
}

// EndError says why an exchange ended without a usable response.
type EndError uint8

// The ends of an exchange. The three time-outs say which timer ran out; each of them is
// also an ErrTimeout to errors.Is, and a net.Error whose Timeout method is true.
const (
	// ErrTimeout is what all time-outs have in common.
	ErrTimeout EndError = iota + 1
	// ErrNotAcknowledged: a Confirmable message was sent 1+MAX_RETRANSMIT times and the last
	// time-out passed, after MAX_TRANSMIT_WAIT at the latest (RFC 7252 section 4.2).
	ErrNotAcknowledged
	// ErrNoSeparateResponse: the request was acknowledged, but no response followed
	// within Params.ResponseTimeout (RFC 7252 section 5.2.2).
	ErrNoSeparateResponse
	// ErrNotAnswered: no response to a Non-confirmable request came within NON_LIFETIME.
	ErrNotAnswered
	// ErrReset: the peer rejected the message with a Reset (RFC 7252 section 4.2).
	ErrReset
	// ErrClosed: the endpoint was closed.
	ErrClosed
	// ErrUnreachable: the network says that the message cannot be delivered, by an
	// ICMP error that quotes it, or by refusing to send it (RFC 7252 section 4.2).
	ErrUnreachable
	// ErrTooLarge: the message exceeds Limits.MessageSize and was not sent
	// (RFC 7252 section 4.6). ErrResponseTooLarge is an ErrTooLarge as well.
	ErrTooLarge
	// ErrResponseTooLarge: the response came, but exceeds Limits.ReceiveSize.
	ErrResponseTooLarge
	// ErrBusy: a limit of the endpoint is reached, or NSTART or the message IDs of the
	// peer are used up and the request was not to wait.
	ErrBusy
	// ErrBadOption: the response has a critical option that is not understood and was
	// rejected (RFC 7252 section 5.4.1).
	ErrBadOption
	// ErrSessionEnded: the secure session that the message belongs to is over, so that no answer can come any
	// more. Whether the peer has received the message is not known. OpError.Cause matches transport.ErrSessionEnded.
	ErrSessionEnded
)

var endErrors = [...]string{
	ErrTimeout:            "timed out",
	ErrNotAcknowledged:    "no acknowledgement, all retransmissions timed out (MAX_TRANSMIT_WAIT)",
	ErrNoSeparateResponse: "acknowledged, but no response within the response time-out",
	ErrNotAnswered:        "no response to the non-confirmable request within NON_LIFETIME",
	ErrReset:              "rejected by the peer with a reset message",
	ErrClosed:             "endpoint closed",
	ErrUnreachable:        "destination unreachable",
	ErrTooLarge:           "message too large",
	ErrResponseTooLarge:   "response larger than the receive buffer",
	ErrBusy:               "too many requests under way",
	ErrBadOption:          "response has a critical option that is not understood",
	ErrSessionEnded:       "secure session ended",
}

// Error describes the end.
func (e EndError) Error() string {
	if int(e) < len(endErrors) && endErrors[e] != "" {
		return "coap: " + endErrors[e]
	}
	return "coap: exchange ended for reason " + strconv.Itoa(int(e))
}

// Timeout reports whether a timer ended the exchange. With Temporary it makes an EndError
// a net.Error.
func (e EndError) Timeout() bool { return e >= ErrTimeout && e <= ErrNotAnswered }

// Temporary reports whether the same request may succeed later.
func (e EndError) Temporary() bool {
	return e.Timeout() || e == ErrBusy || e == ErrUnreachable || e == ErrSessionEnded
}

// Is makes every time-out match ErrTimeout, and ErrResponseTooLarge match ErrTooLarge.
func (e EndError) Is(target error) bool {
	return target == ErrTimeout && e.Timeout() || target == ErrTooLarge && e == ErrResponseTooLarge
}

// RequestError says why a request cannot be sent as it is, and what to do about it: a mistake of
// the caller, which trying again does not mend.
type RequestError string

// Error returns the reason.
func (e RequestError) Error() string { return "coap: " + string(e) }

// OpError is the error of one operation: what was tried with whom, and why it failed.
// errors.Is and errors.As look through it.
type OpError struct {
	// Op is the operation: a method such as "GET", or "ping", "dial".
	Op string
	// Peer is the address of the other end, if it is known.
	Peer netip.AddrPort
	// Err is the reason: an [EndError], a [RequestError], or the error of a context, of a
	// look-up, or of a transport that could not begin a secure session.
	Err error
	// Cause is what was behind it, if that is known: the error of the system for
	// ErrUnreachable, a *message.OptionError for ErrBadOption, that of the transport for ErrSessionEnded.
	Cause error
}

// Error puts the parts together.
func (e *OpError) Error() string {
	s := "coap: " + e.Op
	if e.Peer.IsValid() {
		s += " " + e.Peer.String()
	}
	if e.Err != nil {
		s += ": " + strings.TrimPrefix(e.Err.Error(), "coap: ")
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns Err and Cause, as far as there are any.
func (e *OpError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Cause}
}

// Timeout reports whether the reason is a time-out.
func (e *OpError) Timeout() bool {
	t, ok := e.Err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}

// Temporary reports whether the same operation may succeed later.
func (e *OpError) Temporary() bool {
	t, ok := e.Err.(interface{ Temporary() bool })
	return ok && t.Temporary()
}
