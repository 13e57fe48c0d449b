package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
)

// A response that is ready in time is piggybacked.
//
// Proves 7252-4.2-01, 7252-4.2-02, 7252-4.4-01, 7252-5.3.1-01.
func TestPiggybacked(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("request", "CON GET mid=0xBEEF tok=0102030405")
	ev := r.handle("request", "GET")
	r.advance(500*time.Millisecond - 1)
	r.idle("nothing is sent by itself yet")
	r.respond(ev, "2.05 opt=12:28 pay=hello")
	s := r.want("response", "ACK 2.05 mid=0xBEEF tok=0102030405 opt=12:28 pay=hello local=L1")
	require.Equal(t, 0, s.ifIndex, "routing chooses the way back")
	r.advance(time.Hour)
	r.idle("an acknowledgement is never retransmitted")
	require.Equal(t, exchange.ErrClosed, r.tryRespond(ev, "2.05"), "answered once")
	require.Zero(t, r.e.Stats().Separate)
	r.quiet()
}

// A response that is late is announced by an Empty acknowledgement and then sent in a
// Confirmable message, with the token of the request.
//
// Proves 7252-5.2.2-s10, 7252-4.2-02, 7252-5.3.1-01, 7252-5.2.2-01.
func TestSeparate(t *testing.T) {
	for name, delay := range map[string]time.Duration{"default": 0, "200ms": 200 * time.Millisecond, "at once": -1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{Params: exchange.Params{EmptyAckDelay: delay, AckRandomFactor: 1}})
			r.receive("request", "CON GET mid=0xBEEF tok=0102")
			ev := r.handle("request", "GET")
			want := map[string]time.Duration{"default": 500 * time.Millisecond, "200ms": 200 * time.Millisecond}[name]
			if want > 0 {
				r.advance(want - 1)
				r.idle("not yet")
				r.advance(1)
			}
			require.Equal(t, want, r.want("acknowledged", "ACK 0.00 mid=0xBEEF local=L1").at)
			r.advance(10 * time.Second)
			r.idle("once")
			r.respond(ev, "2.05 pay=hello")
			s := r.want("separate", "CON 2.05 tok=0102 pay=hello local=L1")
			r.advance(2 * time.Second)
			r.want("retransmitted", "CON 2.05 mid=%d", s.MessageID)
			r.acknowledge(s)
			r.advance(time.Minute)
			r.idle("acknowledged")
			require.Equal(t, uint64(1), r.e.Stats().Separate)
			require.Zero(t, r.e.Stats().LostResponses)
			r.quiet()
		})
	}
}

// A Reset of a request that the peer has acknowledged is of something else: whoever makes the server reset a
// message with our message ID, in our name, ends nothing.
//
// Proves 7252-4.2-s14.
func TestResetAfterAcknowledgement(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "CON GET")
	q := r.want("request", "CON GET")
	r.receive("acknowledged", "ACK 0.00 mid=%d", q.MessageID)
	r.receive("no longer outstanding", "RST 0.00 mid=%d", q.MessageID)
	r.idle("the request goes on")
	require.Equal(t, uint64(1), r.e.Stats().Dropped[exchange.DropUnmatchedReset])
	r.receive("the response", "CON 2.05 mid=7 tok=%s", hexOf(q))
	r.want("acknowledged", "ACK 0.00 mid=7")
	r.response("the response", 1, "2.05")
	require.Zero(t, r.e.Stats().Rejected)
	r.quiet()
}

// What stops the retransmission of a separate response, and what does not.
//
// Proves 7252-5.2.2-04, 7252-4.4-03.
func TestSeparateResponseStops(t *testing.T) {
	for _, test := range []struct {
		reply string
		stops bool
		lost  uint64
	}{
		{"ACK 0.00 mid=%d", true, 0},
		{"ACK 2.05 mid=%d tok=99 pay=nonsense", true, 0},
		{"ACK 4.04 mid=%d", true, 0},
		{"RST 0.00 mid=%d", true, 1},
		{"ACK 0.00 mid=%d from=B", false, 0},
		{"RST 0.00 mid=%d from=A2", false, 0},
		{"ACK 0.01 mid=%d", false, 0},
		{"RST 2.05 mid=%d", false, 0},
	} {
		t.Run(test.reply, func(t *testing.T) {
			r := newRig(t, Config{Params: exchange.Params{EmptyAckDelay: -1}})
			r.receive("request", "CON GET mid=1 tok=02")
			ev := r.handle("request", "GET")
			r.want("acknowledged", "ACK 0.00 mid=1")
			r.respond(ev, "2.05")
			s := r.want("separate", "CON 2.05")
			r.receive("a reply", "%s", fmt.Sprintf(test.reply, s.MessageID))
			r.idle("no reply to a reply")
			r.advance(3 * time.Second)
			require.Equal(t, !test.stops, len(r.out) > 0, "retransmission")
			r.advance(100 * time.Second)
			require.Empty(t, r.events, "the layer above is not bothered")
			require.Equal(t, test.lost, r.e.Stats().LostResponses-map[bool]uint64{false: 1}[test.stops])
			r.quiet()
		})
	}
}

// Duplicates while the handler works, and after its separate response, even when that was
// acknowledged: an Empty acknowledgement each, never the response in one.
//
// Proves 7252-5.2.2-01, 7252-5.2.2-02, 7252-4.2-08, 7252-4.5-01.
func TestDuplicateOfSlowRequest(t *testing.T) { // S14
	r := newRig(t, Config{})
	r.receive("request", "CON POST mid=1 tok=02")
	ev := r.handle("request", "POST")
	r.advance(100 * time.Millisecond)
	r.receive("a copy that the network has made", "CON POST mid=1 tok=02")
	r.idle("the acknowledgement is on its way")
	r.advance(400 * time.Millisecond)
	r.want("now it is due", "ACK 0.00 mid=1")
	r.advance(time.Second)
	r.idle("once")
	r.receive("again", "CON POST mid=1 tok=02")
	r.want("again", "ACK 0.00 mid=1")
	r.respond(ev, "2.04")
	s := r.want("separate, for there was an acknowledgement", "CON 2.04 tok=02")
	r.receive("again", "CON POST mid=1 tok=02")
	r.want("again", "ACK 0.00 mid=1")
	r.acknowledge(s)
	r.advance(200 * time.Second)
	r.receive("again", "CON POST mid=1 tok=02")
	r.want("the state for it is kept", "ACK 0.00 mid=1")
	r.idle("one request, one response")
	require.Equal(t, uint64(1), r.e.Stats().Requests)
	require.Equal(t, uint64(4), r.e.Stats().Duplicates)
	r.quiet()
}

// The response to a Non-confirmable request is Non-confirmable, with a message ID of ours.
//
// Proves 7252-5.2.3-01, 7252-5.2.2-s03, 7252-4.3-02, 7252-5.3.1-01.
func TestNonConfirmable(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("request", "NON GET mid=1 tok=02")
	ev := r.handle("request", "GET")
	r.advance(10 * time.Second)
	r.idle("a NON is never acknowledged")
	r.respond(ev, "2.05")
	r.want("response", "NON 2.05 tok=02 local=L1")
	r.advance(100 * time.Second)
	r.idle("it is sent once")
	r.quiet()
}

// A separate response waits neither for NSTART nor behind requests that do.
func TestResponsesOvertakeRequests(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{EmptyAckDelay: -1}})
	r.request(1, "CON GET")
	r.request(2, "CON GET")
	r.want("request", "CON GET")
	r.receive("request", "CON GET mid=1 tok=02")
	r.want("acknowledged", "ACK 0.00 mid=1")
	r.respond(r.handle("request", "GET"), "2.05")
	r.want("response", "CON 2.05 tok=02")
	r.receive("request", "NON GET mid=2 tok=03")
	r.respond(r.handle("request", "GET"), "2.05")
	r.want("response", "NON 2.05 tok=03")
	require.Equal(t, 1, r.e.Stats().Queued)
	r.quiet()
}

// Proves 7252-4.2-s13.
func TestLostSeparateResponse(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{EmptyAckDelay: -1}})
	r.receive("request", "CON GET mid=1 tok=02")
	r.want("acknowledged", "ACK 0.00 mid=1")
	r.respond(r.handle("request", "GET"), "2.05")
	r.advance(100 * time.Second)
	require.Len(t, r.out, 5)
	require.Equal(t, uint64(1), r.e.Stats().LostResponses)
	require.Zero(t, r.e.Stats().TimedOut, "it is no exchange of ours")
	r.quiet()
}

// A challenge to a request that only reads leaves nothing behind: a copy of it is challenged anew. Others are remembered,
// lest a copy be performed when the sender has proven itself by repeating them.
func TestChallengesAreForgotten(t *testing.T) {
	for method, forgotten := range map[string]bool{"GET": true, "FETCH": true, "POST": false, "PUT": false, "DELETE": false} {
		t.Run(method, func(t *testing.T) {
			r := newRig(t, Config{})
			r.receive("request", "CON %s mid=7 tok=01", method)
			r.respond(r.handle("request", method), "4.01 opt=252:0011223344556677")
			r.want("challenge", "ACK 4.01 mid=7 tok=01")
			if forgotten {
				require.Zero(t, r.e.Stats().Remembered)
				require.Zero(t, r.e.Stats().Peers)
			}
			r.receive("a copy", "CON %s mid=7 tok=01", method)
			if forgotten {
				r.respond(r.handle("the copy", method), "4.01 opt=252:8899aabbccddeeff")
			}
			r.want("challenge", "ACK 4.01 mid=7 tok=01")
			r.idle("that is all")
			r.quiet()
		})
	}
}
