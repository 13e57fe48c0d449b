package engine

import (
	"encoding/binary"

	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// Matching of received messages with exchanges of ours (RFC 7252 sections 4.4 and 5.3.2).

// tokenLength is the length of the tokens that we make: 64 bits from a cryptographic
// generator, so that responses cannot be forged blindly (section 5.3.1).
const tokenLength = 8

// newToken returns a token that no exchange of ours uses.
func (e *Engine) newToken() uint64 {
	for {
		t := e.rand.Uint64()
		if _, used := e.tokens.get(t); !used {
			return t
		}
	}
}

// chooseToken returns a new token, or the one of a series that goes on. Messages of the exchange before
// do not disturb the next one: copies are found by their message IDs, and what is piggybacked
// has to match by that, too.
func (e *Engine) chooseToken(series *uint64) uint64 {
	if series != nil && *series != 0 {
		if _, used := e.tokens.get(*series); !used {
			return *series
		}
	}
	t := e.newToken()
	if series != nil {
		*series = t
	}
	return t
}

// midKey finds what an Acknowledgement or Reset is about: the message ID and the endpoint must
// match (section 4.4).
type midKey struct {
	peer *peer
	mid  uint16
}

// matchMID returns the exchange of ours that was started by the message that d answers.
func (e *Engine) matchMID(d *transport.Datagram, mid uint16) *exchangeState {
	p := e.findPeer(d)
	if p == nil {
		return nil
	}
	x, ok := e.mids.get(midKey{p, mid})
	if !ok || !x.matches(d) {
		return nil
	}
	return x
}

// matchToken returns the request of ours that a response with this token from the
// sender of d answers: exact bytes, same endpoint. An exchange that waits in the queue
// has not been sent, so nothing can answer it.
func (e *Engine) matchToken(d *transport.Datagram, token message.Token) *exchangeState {
	if len(token) != tokenLength {
		return nil
	}
	x, ok := e.tokens.get(binary.BigEndian.Uint64(token))
	switch {
	case !ok || !x.matches(d):
		return nil
	case x.group:
		// Any member may answer: only the token has to match (section 8.2).
		return x
	case x.state == stateQueued && !x.renewed || !e.is(e.rows.at(x.peer.row), keyOf(d)):
		return nil
	}
	return x
}
