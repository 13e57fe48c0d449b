package exchange

import (
	"fmt"

	"github.com/coapkit/coap/message"
)

// Limits bound what an endpoint keeps in memory and how much of it one peer may have. The
// zero value of each field stands for the default. Reaching a limit is never silent: it is
// answered with an error or counted in [Stats], mostly both.
type Limits struct {
	// MessageSize is the longest message to be sent, in bytes. 0 means 1152, which fits
	// every path (RFC 7252 section 4.6). At least 64.
	MessageSize int
	// ReceiveSize is the longest message that can be received, in bytes. 0 means 8192.
	ReceiveSize int
	// TokenLength is the longest token accepted in a request, in bytes, at least 8 and at
	// most 65804 (RFC 8974). 0 means 64.
	TokenLength int

	// Peers is the number of peers with any state. 0 means 1,000,000. Those with a remembered request that is
	// not idempotent take at most seven eighths of it, since they make no room for others.
	Peers int
	// Exchanges is the number of requests of our own that are not settled. 0
	// means 131072.
	Exchanges int
	// QueuePerPeer is the number of requests that may wait for their turn with one
	// peer. 0 means 1024.
	QueuePerPeer int
	// Handlers is the number of requests in handlers. 0 means 1024.
	Handlers int
	// HandlersPerPeer is the share of one peer in Handlers. 0 means a quarter.
	HandlersPerPeer int
	// RememberedBytes is the memory for the message IDs of received messages and for the
	// replies to them, which find and answer duplicates: 144 bytes for each, with its share in the table of
	// peers, and its reply. 0 means 256 MiB.
	RememberedBytes int
	// RememberedBytesPerPeer is the share of one peer in RememberedBytes. 0
	// means an eighth: by default enough for all message IDs of a peer with replies of 256 bytes.
	RememberedBytesPerPeer int
	// SendQueue is the number of datagrams that may wait for the transport. 0 means 8192.
	SendQueue int
}

// WithDefaults returns l with the defaults in place of zero fields.
func (l Limits) WithDefaults() Limits {
	set(&l.MessageSize, 1152)
	set(&l.ReceiveSize, 8192)
	set(&l.TokenLength, 64)
	set(&l.Peers, 1_000_000)
	set(&l.Exchanges, 1<<17)
	set(&l.QueuePerPeer, 1024)
	set(&l.Handlers, 1024)
	set(&l.HandlersPerPeer, max(l.Handlers/4, 1))
	set(&l.RememberedBytes, 256<<20)
	set(&l.RememberedBytesPerPeer, max(l.RememberedBytes/8, 1))
	set(&l.SendQueue, 8192)
	return l
}

// Validate returns an error that names a field whose value is out of range and the range.
func (l Limits) Validate() error {
	for _, f := range []struct {
		name             string
		value, low, high int
	}{
		{"MessageSize", l.MessageSize, 64, 65535},
		{"ReceiveSize", l.ReceiveSize, 64, 65535},
		{"TokenLength", l.TokenLength, 8, message.MaxTokenLength},
		{"Peers", l.Peers, 1, 1 << 30},
		{"Exchanges", l.Exchanges, 1, 1 << 30},
		{"QueuePerPeer", l.QueuePerPeer, 1, 1 << 30},
		{"Handlers", l.Handlers, 1, 1 << 30},
		{"HandlersPerPeer", l.HandlersPerPeer, 1, 1 << 30},
		{"RememberedBytes", l.RememberedBytes, 1, 1<<31 - 1},
		{"RememberedBytesPerPeer", l.RememberedBytesPerPeer, 1, 1<<31 - 1},
		{"SendQueue", l.SendQueue, 1, 1 << 30},
	} {
		if f.value != 0 && (f.value < f.low || f.value > f.high) {
			return fmt.Errorf("coap: Limits.%s is %d, want %d to %d, or 0 for the default", f.name, f.value, f.low, f.high)
		}
	}
	return nil
}
