package engine

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// endSession reports the end of a session.
func (r *rig) endSession(name string) {
	r.Helper()
	r.e.Receive(r.now, &transport.Datagram{Remote: addresses["A"], Session: sessions[name], Err: transport.ErrSessionEnded})
	r.collect()
	checkEngine(r, r.e)
}

// All exchanges with the peer end with its session, whatever they wait for, and nothing is sent any more; those of
// another session at the same address go on.
//
// Proves 7252-9.1.1-03.
func TestSessionEnds(t *testing.T) {
	r := newRig(t, Config{})
	r.request("acked", "CON GET session=S")
	q := r.want("request", "CON GET session=S")
	r.receive("the response will come separately", "ACK 0.00 mid=%d session=S", q.MessageID)
	r.open("open", "CON GET opt=6: session=S")
	q = r.want("registration", "CON GET session=S")
	r.receive("notification", "ACK 2.05 mid=%d tok=%s opt=6:01 session=S", q.MessageID, hexOf(q))
	r.response("first notification", "open", "2.05")
	r.request("sent", "CON GET session=S")
	r.want("request", "CON GET session=S")
	r.request("queued", "CON GET session=S")
	r.push("push", "CON 2.05 tok=4a session=S")
	r.want("notification", "CON 2.05 session=S")
	r.request("one way", "NON PUT opt=258:1a session=S")
	r.want("request", "NON PUT session=S")
	require.Equal(t, "one way", r.event("nothing comes back", EventDone).User)
	r.request("other", "CON GET session=T")
	other := r.want("request", "CON GET session=T")
	require.Equal(t, 7, r.e.Stats().Exchanges)

	r.endSession("S")
	ends := map[any]bool{}
	for range 5 {
		ev := r.event("end", EventEnd)
		require.Equal(t, exchange.ErrSessionEnded, ev.Err)
		require.ErrorIs(t, ev.Cause, transport.ErrSessionEnded)
		require.Same(t, sessions["S"], ev.Peer.Session)
		require.Equal(t, ev.User == "queued", ev.Unsent, "%s was not sent", ev.User)
		ends[ev.User] = true
	}
	require.Len(t, ends, 5)
	r.idle("what ends does not make others start")
	s := r.e.Stats()
	require.Equal(t, [3]int{1, 1, 0}, [3]int{s.Peers, s.Exchanges, s.Queued}, "the other session")
	require.Equal(t, uint64(4), s.Unreachable)
	require.Equal(t, uint64(1), s.LostResponses)

	r.receive("other session", "ACK 2.05 mid=%d tok=%s session=T", other.MessageID, hexOf(other))
	r.response("response", "other", "2.05")
	r.advance(time.Hour)
	r.idle("nothing is retransmitted")
	r.quiet()
}

// What was received over a session is forgotten with it, also what answers requests that are not idempotent.
func TestSessionEndsMemory(t *testing.T) {
	r := newRig(t, Config{})
	for mid, method := range []string{"GET", "POST", "PUT"} {
		r.receive("request", "CON %s mid=%d tok=01 session=S", method, mid)
		r.respond(r.handle("request", method), "2.05 pay=hello")
		r.want("response", "ACK 2.05 session=S")
	}
	r.receive("request", "NON POST mid=7 tok=01 session=S")
	r.respond(r.handle("request", "POST"), "2.04")
	r.want("response", "NON 2.04 session=S")
	r.receive("request without session", "CON POST mid=1 tok=01")
	r.respond(r.handle("request", "POST"), "2.04")
	r.want("response", "ACK 2.04")
	require.Equal(t, 5, r.e.Stats().Remembered)
	checkEngine(t, r.e)
	r.endSession("S")
	s := r.e.Stats()
	require.Equal(t, [2]int{1, 1}, [2]int{s.Peers, s.Remembered}, "the one without session")
	require.Zero(t, r.e.keys.live, "nothing refers to the session")
	r.endSession("S")
	r.idle("to end once more changes nothing")
	require.Zero(t, r.e.Stats().Dropped)
	r.quiet()
}

// A separate response that is not acknowledged yet ends with its session, and so does the memory of its request.
func TestSessionEndsSeparate(t *testing.T) {
	r := newRig(t, Config{})
	for mid, method := range []string{"GET", "POST"} {
		r.receive("request", "CON %s mid=%d tok=01 session=S", method, mid)
		ev := r.handle("request", method)
		r.advance(r.e.params.EmptyAckDelay)
		r.want("acknowledgement", "ACK 0.00 session=S")
		r.respond(ev, "2.05")
		r.want("separate response", "CON 2.05 session=S")
	}
	checkEngine(t, r.e)
	r.endSession("S")
	require.Equal(t, uint64(2), r.e.Stats().LostResponses)
	r.idle("nobody else is told")
	requireEmpty(t, r.e)
}

// The answer to a request whose session has ended meanwhile is dropped, and the peer forgotten after it.
//
// Proves 7252-9.1.2-02.
func TestSessionEndsInHandler(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("answered in time, it would be piggybacked", "CON POST mid=1 tok=01 session=S")
	first := r.handle("request", "POST")
	r.receive("second request", "CON GET mid=2 tok=02 session=S")
	second := r.handle("request", "GET")
	r.advance(r.e.params.EmptyAckDelay)
	r.want("both are acknowledged", "ACK 0.00 mid=1 session=S")
	r.want("both are acknowledged", "ACK 0.00 mid=2 session=S")
	r.receive("third request", "CON GET mid=3 tok=03 session=S")
	third := r.handle("request", "GET")
	r.endSession("S")
	r.advance(time.Minute)
	r.idle("no acknowledgement goes to nowhere")
	require.Equal(t, 3, r.e.Stats().Handling)

	_, err := r.try(RequestOptions{}, "CON GET session=S")
	require.Equal(t, exchange.ErrSessionEnded, err)
	m := message.Message{Code: message.Content, Token: message.Token{1}}
	_, err = r.e.Push(r.now, Target{Remote: addresses["A"], Session: sessions["S"]}, &m, "push")
	require.Equal(t, exchange.ErrSessionEnded, err)
	_, err = r.e.Notify(r.now, Target{Remote: addresses["A"], Session: sessions["S"]}, message.Content, message.Token{1}, nil, new(transport.Datagram))
	require.Equal(t, exchange.ErrSessionEnded, err)
	checkEngine(t, r.e)

	r.respond(first, "2.04")
	r.respond(second, "2.05")
	r.e.Drop(r.now, third.Incoming, exchange.DropSuppressed)
	r.collect()
	r.idle("nothing is sent")
	require.Equal(t, uint64(2), r.e.Stats().Dropped[exchange.DropSessionEnded])
	requireEmpty(t, r.e)
}

// A transport that refuses to send over a session that has ended says the same as one that reports its end, and of which
// message it has not sent.
func TestSessionEndsOnSending(t *testing.T) {
	r := newRig(t, Config{})
	r.request("first", "CON GET session=S")
	q := r.want("request", "CON GET session=S")
	r.request("second", "CON GET session=S")
	r.e.Receive(r.now, &transport.Datagram{Data: bytes.Clone(q.raw), Remote: q.to, Session: q.session, Err: transport.ErrSessionEnded})
	r.collect()
	require.True(t, r.end("sent never", "first", exchange.ErrSessionEnded).Unsent)
	require.True(t, r.end("queued", "second", exchange.ErrSessionEnded).Unsent)
	requireEmpty(t, r.e)

	r.request("third", "CON GET session=S")
	r.want("request", "CON GET session=S")
	r.advance(5 * time.Second)
	again := r.want("retransmission", "CON GET session=S")
	r.e.Receive(r.now, &transport.Datagram{Data: bytes.Clone(again.raw), Remote: again.to, Session: again.session, Err: transport.ErrSessionEnded})
	r.collect()
	require.False(t, r.end("the first transmission may have arrived", "third", exchange.ErrSessionEnded).Unsent)
	r.e.Receive(r.now, &transport.Datagram{Data: bytes.Clone(again.raw), Remote: again.to, Session: again.session, Err: transport.ErrSessionEnded})
	require.Equal(t, uint64(1), r.e.Stats().Dropped[exchange.DropSessionEnded], "what belongs to nothing any more")
	requireEmpty(t, r.e)
}
