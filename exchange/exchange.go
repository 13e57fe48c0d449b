// Package exchange holds the contracts between the layers of the library: what a request and
// a response are to those who make and answer them, and the interfaces by which a
// server, a client, block-wise transfer, observation, caches and proxies fit on each
// other. It contains next to no logic, so that an extension need not import the
// client and server. Package coap has aliases of all names that users need.
//
//	Handler       answers a request        (RFC 7252 section 5.2)
//	RoundTripper  gets a response to one   (RFC 7252 section 5.3)
//	Opener        gets several responses   (RFC 7252 section 8, RFC 7641)
//	Pusher        sends notifications      (RFC 7641)
//	Params        transmission parameters  (RFC 7252 section 4.8)
//	EndError      why an exchange ended without a response
//	TraceEvent    what happened on the way
//	Stats         how often it happened
//
// A wrapper takes one of the interfaces and gives back the same one:
// func(Handler) Handler, func(RoundTripper) RoundTripper.
package exchange

import "context"

// Handler answers requests.
//
// ServeCoAP is called concurrently, once for each request that is not a duplicate
// (RFC 7252 section 4.5). It may block: other exchanges go on, and a Confirmable request is
// acknowledged by itself before its sender retransmits (RFC 7252 section 5.2.2). r and w
// are valid until it returns: to keep something, clone it. A nil error sends w; its
// code is 2.05 unless set. An error that has an [*Error] in its chain is answered with
// its code and diagnostic, and the options of w but Content-Format and ETag; every other error
// and a panic is logged and answered with 5.00.
type Handler interface {
	ServeCoAP(w *Response, r *Request) error
}

// HandlerFunc is a function that is a [Handler].
type HandlerFunc func(w *Response, r *Request) error

// ServeCoAP calls f.
func (f HandlerFunc) ServeCoAP(w *Response, r *Request) error { return f(w, r) }

// OptionChecker is a Handler that itself looks for critical options it does not understand
// and returns the *message.OptionError of the first. The endpoint checks the options of
// requests to all other handlers, which get no request with a critical option besides
// those of the URI and Accept (RFC 7252 section 5.4.1).
type OptionChecker interface {
	Handler
	// ChecksOptions is never called.
	ChecksOptions()
}

// RoundTripper sends a request and waits for its response.
//
// RoundTrip may be called concurrently with different requests and responses. It reads req
// until it returns and overwrites resp, whose memory it reuses. The exchange always ends
// by itself, at the latest by the time-outs that [EndError] names, sooner with ctx. A
// response of any code is a success: err is about exchanges without a usable response.
//
// If req declines classes of responses by the No-Response option, there may be none: err is nil and the
// code of resp Empty then. If all are declined, nothing is waited for but the acknowledgement of a
// confirmable request, else a response for req.Window after that. Whether one was
// suppressed or lost on the way, nobody can tell (RFC 7967 section 2.1).
type RoundTripper interface {
	RoundTrip(ctx context.Context, req *Request, resp *Response) error
}
