package exchange

import (
	"strconv"
	"time"
)

// TraceKind says what a [TraceEvent] is about.
type TraceKind uint8

// The kinds of events.
const (
	TraceSent          TraceKind = iota + 1 // a datagram was handed to the transport
	TraceReceived                           // a datagram arrived
	TraceRetransmitted                      // a Confirmable message is sent once more
	TraceDuplicate                          // a received message is a duplicate
	TraceDropped                            // something was dropped, see Reason
	TraceQueued                             // a request waits for NSTART, PROBING_RATE or a message ID
	TraceAcknowledged                       // a Confirmable message of ours was acknowledged
	TraceEnded                              // an exchange of ours ended without a response, see Err
	TraceUndelivered                        // the network reports that a datagram was not delivered
)

var traceNames = [...]string{"", "sent", "received", "retransmitted", "duplicate", "dropped", "queued", "acknowledged", "ended", "undelivered"}

// String returns a word for the kind.
func (k TraceKind) String() string {
	if int(k) < len(traceNames) {
		return traceNames[k]
	}
	return "kind-" + strconv.Itoa(int(k))
}

// TraceEvent is one thing that happened in an endpoint. A retransmission is followed by its
// TraceSent, a received datagram comes before what became of it.
type TraceEvent struct {
	Kind TraceKind
	// Time is when the endpoint dealt with it.
	Time time.Time
	// Peer is the other end.
	Peer Peer
	// Datagram is the bytes concerned, nil for a response that is not even encoded. It belongs to
	// the receiver of the event.
	Datagram []byte
	// Reason says why something was dropped.
	Reason DropReason
	// Err says how an exchange ended, or why a datagram was dropped as malformed.
	Err error
}
