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

// Pusher sends responses to requests that have been answered before: notifications. A Pusher is comparable.
type Pusher interface {
	// Push sends w to each addressee and stores in its Notice what has become of that. Options and payload are
	// encoded once, except for the Observe option: a success gets one with the Notice's Seq, an error has none. ready, if
	// not nil, is called once when all results are in place, before anything that is not confirmable leaves. w
	// and to are read until Push returns, which may wait for the network.
	Push(w *Response, to []Notice, ready func())
	// Watch makes rejected be called, by a goroutine that must not be kept waiting, for each Reset that may be
	// about a notification that was not confirmable, until stop is called. id is that of the Notice; rejected reports whether it
	// knows it. An id means something only together with the peer, and only until its lifetime has passed:
	// later Resets are not told.
	Watch(rejected func(from Peer, id uint16) bool) (stop func())
}

// Notice is an addressee of a notification, and what has become of that.
type Notice struct {
	// Peer sent the request that had Token.
	Peer  Peer
	Token message.Token
	// Seq is the sequence number, of 24 bits (RFC 7641 section 4.4).
	Seq uint32
	// Confirmable says whether the notification is.
	Confirmable bool
	// Done, if not nil, is called once, by a goroutine that must not be kept waiting, with nil when the peer has
	// acknowledged a confirmable notification, or with the [EndError] that ended it. It may be called
	// before Push returns, and is not for others than confirmable ones.
	Done func(error)

	// Err is set by Push: nil, or why this notification is not sent.
	Err error
	// Pushed is set by Push for a confirmable notification on its way.
	Pushed Pushed
	// ID is set by Push for one that is not confirmable: by it a rejection is told, see Watch.
	ID uint16
}

// Pushed is a confirmable notification on its way.
type Pushed interface {
	// Forget stops retransmitting and waiting; Done is not called any more, unless the call
	// is under way already.
	Forget()
	// Supersede says that the notification is outdated: in place of each retransmission due is called,
	// by a goroutine that must not be kept waiting, for Replace to be called in turn
	// (RFC 7641 section 4.5.2).
	Supersede(due func())
	// Replace sends w with the sequence number seq in place of a superseded notification, in a new message
	// with what is left of retransmissions. w is read until Replace returns. Done is called for w
	// then. After an error nothing has changed; it is ErrClosed if the notification
	// was acknowledged, rejected or given up meanwhile.
	Replace(w *Response, seq uint32) error
}
