// Package coap serves and calls the Constrained Application Protocol (RFC 7252), REST over
// UDP in a compact binary format.
//
// A server is a [Mux] with handlers, much as with net/http:
//
//	mux := coap.NewMux()
//	mux.HandleFunc("GET /sensors/{id}", func(w *coap.Response, r *coap.Request) error {
//		return w.Text("21.5 C")
//	})
//	err := coap.ListenAndServe(ctx, ":5683", mux)
//
// A client needs a URI:
//
//	resp, err := coap.Get(ctx, "coap://[2001:db8::1]/sensors/7")
//
// [Client] keeps its socket for many requests; [Endpoint] is client and server over one
// socket, on any transport. The library retransmits, acknowledges, finds duplicates, sends slow
// answers separately and bounds what it keeps, as RFC 7252 sections 4 and 5 ask; [Config]
// has the knobs.
//
// The names of this package are those of the layers below: messages and options are in
// package message, bytes in package codec, sockets in transport/udp, a simulated
// network for tests in transport/mem, contracts in package exchange.
package coap

import (
	"context"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// Contracts and values of package exchange, which documents them.
type (
	// Handler answers requests.
	Handler = exchange.Handler
	// HandlerFunc is a function that is a Handler.
	HandlerFunc = exchange.HandlerFunc
	// RoundTripper sends a request and waits for its response.
	RoundTripper = exchange.RoundTripper
	// Request is a request, to be sent or received.
	Request = exchange.Request
	// Response is a response, to be filled in or received.
	Response = exchange.Response
	// Peer is the other end of an exchange.
	Peer = exchange.Peer
	// Authority is scheme, host and port of a URI.
	Authority = exchange.Authority
	// Transfer has the less usual wishes about bodies that take several messages.
	Transfer = exchange.Transfer
	// Progress is how far such bodies have come.
	Progress = exchange.Progress
	// Position is where an interrupted transfer can go on.
	Position = exchange.Position
	// Params are the transmission parameters of RFC 7252 section 4.8.
	Params = exchange.Params
	// Limits bound what an endpoint keeps in memory.
	Limits = exchange.Limits
	// Stats are the counters of an endpoint.
	Stats = exchange.Stats
	// DropReason says why something was dropped.
	DropReason = exchange.DropReason
	// TraceKind says what a TraceEvent is about.
	TraceKind = exchange.TraceKind
	// TraceEvent is one thing that happened in an endpoint.
	TraceEvent = exchange.TraceEvent
	// Error is a response of class 4 or 5 as a Go error.
	Error = exchange.Error
	// EndError says why an exchange ended without a usable response.
	EndError = exchange.EndError
	// OpError is the error of one operation.
	OpError = exchange.OpError
	// RequestError says why a request cannot be sent as it is.
	RequestError = exchange.RequestError

	// Code is a method or a response code.
	Code = message.Code
	// OptionNumber identifies an option.
	OptionNumber = message.OptionNumber
	// Options is a list of options.
	Options = message.Options
	// ContentFormat is the number of a media type.
	ContentFormat = message.ContentFormat
)

// The ends of an exchange without a usable response; see [EndError].
const (
	ErrTimeout            = exchange.ErrTimeout
	ErrNotAcknowledged    = exchange.ErrNotAcknowledged
	ErrNoSeparateResponse = exchange.ErrNoSeparateResponse
	ErrNotAnswered        = exchange.ErrNotAnswered
	ErrReset              = exchange.ErrReset
	ErrClosed             = exchange.ErrClosed
	ErrUnreachable        = exchange.ErrUnreachable
	ErrTooLarge           = exchange.ErrTooLarge
	ErrBusy               = exchange.ErrBusy
	ErrResponseTooLarge   = exchange.ErrResponseTooLarge
	ErrBadOption          = exchange.ErrBadOption
	ErrSessionEnded       = exchange.ErrSessionEnded
)

// The methods (RFC 7252 section 5.8, RFC 8132).
const (
	GET    = message.GET
	POST   = message.POST
	PUT    = message.PUT
	DELETE = message.DELETE
	FETCH  = message.FETCH
	PATCH  = message.PATCH
	IPATCH = message.IPATCH
)

// Response codes that handlers use (RFC 7252 section 5.9, RFC 8132, RFC 8516); package message has
// all of them.
const (
	Created                  = message.Created
	Deleted                  = message.Deleted
	Valid                    = message.Valid
	Changed                  = message.Changed
	Content                  = message.Content
	BadRequest               = message.BadRequest
	Unauthorized             = message.Unauthorized
	BadOption                = message.BadOption
	Forbidden                = message.Forbidden
	NotFound                 = message.NotFound
	MethodNotAllowed         = message.MethodNotAllowed
	NotAcceptable            = message.NotAcceptable
	Conflict                 = message.Conflict
	PreconditionFailed       = message.PreconditionFailed
	RequestEntityTooLarge    = message.RequestEntityTooLarge
	UnsupportedContentFormat = message.UnsupportedContentFormat
	UnprocessableEntity      = message.UnprocessableEntity
	TooManyRequests          = message.TooManyRequests
	InternalServerError      = message.InternalServerError
	NotImplemented           = message.NotImplemented
	ServiceUnavailable       = message.ServiceUnavailable
)

// Content formats that handlers use (RFC 7252 section 12.3); package message has all of them.
const (
	TextPlain   = message.TextPlain
	LinkFormat  = message.LinkFormat
	XML         = message.XML
	OctetStream = message.OctetStream
	JSON        = message.JSON
	CBOR        = message.CBOR
	SenMLJSON   = message.SenMLJSON
	SenMLCBOR   = message.SenMLCBOR
)

// The kinds of a [TraceEvent].
const (
	TraceSent          = exchange.TraceSent
	TraceReceived      = exchange.TraceReceived
	TraceRetransmitted = exchange.TraceRetransmitted
	TraceDuplicate     = exchange.TraceDuplicate
	TraceDropped       = exchange.TraceDropped
	TraceQueued        = exchange.TraceQueued
	TraceAcknowledged  = exchange.TraceAcknowledged
	TraceEnded         = exchange.TraceEnded
	TraceUndelivered   = exchange.TraceUndelivered
)

// DefaultPort is the UDP port of the coap scheme (RFC 7252 section 6.1).
const DefaultPort = 5683

// NewRequest returns a request with this method for an absolute URI, or for a path if the
// client is bound to a server.
func NewRequest(method Code, uri string) (*Request, error) { return exchange.NewRequest(method, uri) }

// Get gets the resource at uri over a socket of its own, which it closes again. For more
// than one request use a [Client].
func Get(ctx context.Context, uri string) (*Response, error) {
	var c Client
	defer c.Close()
	return c.Get(ctx, uri)
}

// Post sends a representation to be processed by the resource at uri; see [Get].
func Post(ctx context.Context, uri string, format ContentFormat, body []byte) (*Response, error) {
	var c Client
	defer c.Close()
	return c.Post(ctx, uri, format, body)
}

// Put makes a representation the state of the resource at uri; see [Get].
func Put(ctx context.Context, uri string, format ContentFormat, body []byte) (*Response, error) {
	var c Client
	defer c.Close()
	return c.Put(ctx, uri, format, body)
}

// Delete deletes the resource at uri; see [Get].
func Delete(ctx context.Context, uri string) (*Response, error) {
	var c Client
	defer c.Close()
	return c.Delete(ctx, uri)
}
