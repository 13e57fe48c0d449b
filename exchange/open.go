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
	// req.Window; with Observe=0 and no window, until it is closed.
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
	// (RFC 7641 section 3.3.1). Its responses come out of Next. If the peer does not answer, the
	// exchange ends; with a group it goes on.
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
	// Supersede says that a confirmable notification is outdated: in place of each
	// retransmission due is called, by a goroutine that must not be kept waiting, for Replace to be
	// called in turn (RFC 7641 section 4.5.2). For others it does nothing.
	Supersede(due func())
	// Replace sends w, confirmable, in place of a superseded notification, in a new message with what is left
	// of retransmissions. w is read until Replace returns. What was passed to Push as done is
	// called for w then. After an error nothing has changed; it is ErrClosed if the notification
	// was acknowledged, rejected or given up meanwhile.
	Replace(w *Response) error
}
