package exchange

import (
	"iter"
	"strconv"
)

// DropReason says why a datagram was not processed, or a message not sent.
type DropReason uint8

// The reasons. Those marked RST are answered with a Reset when the message was a
// unicast Confirmable one.
const (
	DropNone             DropReason = iota
	DropTooShort                    // fewer bytes than a header
	DropVersion                     // version is not 1 (RFC 7252 section 3)
	DropMalformed                   // message format error; RST (sections 4.2, 4.3)
	DropReservedCode                // code class 1, 6 or 7; RST
	DropEmptyNon                    // Empty Non-confirmable message (section 4.3)
	DropBadReply                    // Acknowledgement or Reset with content it must not have
	DropUnmatchedAck                // Acknowledgement of nothing that is outstanding
	DropUnmatchedReset              // Reset of nothing that is outstanding
	DropUnexpected                  // response that nobody waits for; RST (section 5.3.2)
	DropTokenMismatch               // piggybacked response with another token (section 5.3.2)
	DropBadOption                   // Non-confirmable message, or response, with a critical option that is not understood (section 5.4.1)
	DropGroupConfirmable            // Confirmable message sent to a group (section 8.1)
	DropSuppressed                  // response that was not sent: an error to a group (section 8.2), or what No-Response declines (RFC 7967)
	DropTokenTooLong                // request token over the limit, answered with 4.00 if Confirmable (RFC 8974 section 2.2.2)
	DropTruncated                   // longer than the receive buffer, answered with 4.13 if a Confirmable request
	DropBusy                        // too many requests in handlers, answered with 5.03 if Confirmable
	DropPeerBusy                    // the same for one peer's share
	DropMemory                      // memory for message IDs and replies used up, answered with 5.03 if Confirmable
	DropPeers                       // peer table full, or full of peers that must not be forgotten; answered with 5.03 if Confirmable
	DropClosing                     // endpoint is shutting down, answered with 5.03 if Confirmable
	DropUndelivered                 // report of an undelivered datagram that matches nothing, or says nothing final
	DropQueueFull                   // send queue of the endpoint is full
	DropWrite                       // the transport could not send it
	DropLate                        // response to a request to a group after its window
	DropSessionEnded                // response whose secure session has ended
	numDropReasons
)

var dropNames = [numDropReasons]string{
	"none", "too-short", "version", "malformed", "reserved-code", "empty-non", "bad-reply", "unmatched-ack",
	"unmatched-reset", "unexpected-response", "token-mismatch", "bad-option", "group-confirmable", "suppressed",
	"token-too-long", "truncated", "busy", "peer-busy", "memory", "peers", "closing", "undelivered",
	"queue-full", "write-error", "late", "session-ended",
}

// String returns a short name, fit for a label of a metric.
func (r DropReason) String() string {
	if r < numDropReasons {
		return dropNames[r]
	}
	return "reason-" + strconv.Itoa(int(r))
}

// Stats are the counters of an endpoint, since it was made, and the sizes of its tables at
// this moment.
type Stats struct {
	Received      uint64 // datagrams
	Sent          uint64 // datagrams, retransmissions included
	Retransmitted uint64 // Confirmable messages sent again (RFC 7252 section 4.2)
	Duplicates    uint64 // messages received again and not processed again (section 4.5)
	Pings         uint64 // Empty Confirmable messages received (section 4.3)
	Resets        uint64 // Reset messages sent
	EmptyAcks     uint64 // Empty Acknowledgements sent
	Separate      uint64 // separate responses sent (section 5.2.2)

	Requests  uint64 // requests handed to the handler
	Responses uint64 // responses that ended an exchange of ours
	TimedOut  uint64 // exchanges of ours that ended by a time-out
	Rejected  uint64 // exchanges of ours that the peer rejected with a Reset
	// Unreachable counts exchanges of ours that ended because the network refused, or with their secure session.
	Unreachable uint64
	Canceled    uint64 // exchanges of ours that the caller gave up
	Unusable    uint64 // exchanges of ours that ended with a response we cannot use
	// Superseded counts responses of open exchanges that were dropped because newer ones
	// came before somebody took them.
	Superseded uint64
	// LostResponses counts notifications and separate responses that nobody acknowledged or that
	// were rejected.
	LostResponses uint64

	EvictedReplies uint64 // remembered replies to idempotent requests dropped for want of memory
	EvictedPeers   uint64 // peers forgotten for want of room

	Dropped [numDropReasons]uint64 // by DropReason; see Drops

	Peers           int // peers with any state
	Exchanges       int // exchanges of ours that are not settled, queued ones included
	Queued          int // requests that wait for NSTART, PROBING_RATE or a message ID
	Handling        int // requests in handlers
	Remembered      int // message IDs of received messages
	RememberedBytes int // memory for them and their replies
}

// Add adds the counters and sizes of another endpoint.
func (s *Stats) Add(o *Stats) {
	for _, sum := range [...]struct {
		to   *uint64
		from uint64
	}{
		{&s.Received, o.Received}, {&s.Sent, o.Sent}, {&s.Retransmitted, o.Retransmitted}, {&s.Duplicates, o.Duplicates},
		{&s.Pings, o.Pings}, {&s.Resets, o.Resets}, {&s.EmptyAcks, o.EmptyAcks}, {&s.Separate, o.Separate},
		{&s.Requests, o.Requests}, {&s.Responses, o.Responses}, {&s.TimedOut, o.TimedOut}, {&s.Rejected, o.Rejected},
		{&s.Unreachable, o.Unreachable}, {&s.Canceled, o.Canceled}, {&s.Unusable, o.Unusable}, {&s.Superseded, o.Superseded},
		{&s.LostResponses, o.LostResponses}, {&s.EvictedReplies, o.EvictedReplies}, {&s.EvictedPeers, o.EvictedPeers},
	} {
		*sum.to += sum.from
	}
	for r, n := range o.Dropped {
		s.Dropped[r] += n
	}
	for _, sum := range [...]struct {
		to   *int
		from int
	}{
		{&s.Peers, o.Peers}, {&s.Exchanges, o.Exchanges}, {&s.Queued, o.Queued}, {&s.Handling, o.Handling},
		{&s.Remembered, o.Remembered}, {&s.RememberedBytes, o.RememberedBytes},
	} {
		*sum.to += sum.from
	}
}

// Drops ranges over all reasons with their counts, for exporters.
func (s *Stats) Drops() iter.Seq2[DropReason, uint64] {
	return func(yield func(DropReason, uint64) bool) {
		for r := DropNone + 1; r < numDropReasons; r++ {
			if !yield(r, s.Dropped[r]) {
				return
			}
		}
	}
}
