package exchange

import (
	"context"

	"github.com/coapkit/coap/message"
)

// Opener starts exchanges that have more than one response: observations (RFC 7641) and
// requests to groups (RFC 7252 section 8).
type Opener interface {
	// Open sends req and returns where its responses come out. It does not wait for
	// the first. req is read until Open returns. ctx bounds only what Open itself has to wait
	// for, such as the look-up of a name; Close ends the exchange.
	//
	// A request with the Observe option stays open as long as its responses have the option
	// and are successes. A request to a multicast address collects responses for
	// req.Window.
	Open(ctx context.Context, req *Request) (Responses, error)
}

// Responses are the responses of one exchange that may have several. One goroutine at a time may
// call Next and Renew; Close may be called by any.
type Responses interface {
	// Next waits for the next response and stores it in resp, reusing its memory. It returns
	// the error of ctx, which changes nothing, or how the exchange has ended: io.EOF after the
	// window of a group request and after the last response of any other, an
	// [EndError] else. If responses come faster than they are taken, old ones are dropped in
	// favour of new ones.
	Next(ctx context.Context, resp *Response) error
	// Renew sends req in the same exchange, under the same token, once more
	// (RFC 7641 section 3.3.1). Its responses come out of Next. If nobody answers, the
	// exchange ends.
	Renew(ctx context.Context, req *Request) error
	// Close ends the exchange. What still comes is rejected. It may be called again.
	Close() error
}

// Pusher sends responses to requests that have been answered before: notifications.
type Pusher interface {
	// Push sends w to the sender of the request that had token. w is read until Push returns.
	// done, if not nil, is called once, by a goroutine that must not be kept waiting, with nil when the peer has
	// acknowledged a confirmable notification, or with the [EndError] that ended it. For one
	// that is not confirmable it is called only if the peer rejects it, and only until the
	// notification is forgotten.
	Push(to Peer, token message.Token, w *Response, confirmable bool, done func(error)) (Pushed, error)
}

// Pushed is a notification on its way.
type Pushed interface {
	// Forget stops retransmitting and waiting; done is not called any more, unless the call
	// is under way already.
	Forget()
}
