package blockwise

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// peerKey tells peers apart: the secure session or connection where there is one, so that nothing
// sent without it can take part in a transfer (RFC 7959 section 7), else the two addresses.
type peerKey struct {
	session     any
	addr, local netip.AddrPort
}

func keyOf(p exchange.Peer) peerKey {
	if p.Session != nil {
		return peerKey{session: p.Session}
	}
	return peerKey{addr: p.Addr, local: p.Local}
}

// key names an operation: all requests of a peer with the same one belong together.
type key struct {
	peer peerKey
	op   string
}

// varies reports whether an option tells operations apart: all do but Block1, Block2 and the
// elective NoCacheKey ones (RFC 9175 section 3.3), and those that need not be the same in all
// requests of an operation. Observe is for the first only (RFC 7959 section 3.4), ETag says what the
// client has stored, and If-None-Match must be left out from the second block on
// (section 2.10). Request-Tag does vary.
func varies(n message.OptionNumber) bool {
	switch n {
	case message.OptionBlock1, message.OptionBlock2, message.OptionObserve, message.OptionETag, message.OptionIfNoneMatch:
		return false
	}
	return n.Critical() || !n.NoCacheKey()
}

// appendOperation appends what tells an operation of one peer apart from others: the method and
// the options that vary. The token has no part in it.
func appendOperation(b []byte, method message.Code, o *message.Options) []byte {
	b = append(b, byte(method))
	it := o.Iter()
	for it.Next() {
		if !varies(it.Number()) {
			continue
		}
		v := it.Value()
		b = binary.BigEndian.AppendUint16(b, uint16(it.Number()))
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	return b
}

// usualOperation is room for most operations, on the stack of who looks for one.
const usualOperation = 256

// operation returns the operation that a request belongs to.
func operation(r *exchange.Request) string {
	var tmp [usualOperation]byte
	return string(appendOperation(tmp[:0], r.Code, &r.Options))
}

// appendSelection appends the operation of a request that was answered with a body. The payload of a
// FETCH is part of its cache key (RFC 8132 section 2).
func appendSelection(b []byte, r *exchange.Request) []byte {
	b = appendOperation(b, r.Code, &r.Options)
	if r.Code == message.FETCH && len(r.Payload) > 0 {
		sum := sha256.Sum256(r.Payload)
		b = append(b, sum[:]...)
	}
	return b
}

// tagOf returns an entity-tag for a body that has none: equal bodies get equal tags.
func tagOf(body []byte) []byte {
	sum := sha256.Sum256(body)
	return sum[:message.MaxETagLength]
}

// isSafe reports whether a request may be performed again at any time.
func isSafe(method message.Code) bool { return method == message.GET || method == message.FETCH }

// takesPayload reports whether a method is defined to have a payload.
func takesPayload(method message.Code) bool {
	return method != message.GET && method != message.DELETE
}
