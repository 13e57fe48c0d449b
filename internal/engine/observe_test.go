package engine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// open starts an exchange with several responses.
func (r *rig) open(user any, format string, args ...any) Exchange {
	r.Helper()
	x, err := r.try(RequestOptions{User: user, Open: true, Window: 10 * time.Second}, format, args...)
	require.NoError(r, err)
	return x
}

// opened starts an observation and lets it be answered.
func (r *rig) opened(user any) (x Exchange, request sent) {
	r.Helper()
	x = r.open(user, "CON GET opt=6: opt=11:61")
	request = r.want("registration", "CON GET opt=6: opt=11:61")
	r.receive("response", "ACK 2.05 mid=%d tok=%s opt=6:09 pay=one", request.MessageID, request.Token)
	require.True(r, r.response("response", user, "2.05").More, "others may follow")
	return x, request
}

func (r *rig) renew(x Exchange, format string, args ...any) error {
	r.Helper()
	l := parseLine(r, format, args...)
	err := r.e.Renew(r.now, x, &l.Message)
	r.collect()
	return err
}

func (r *rig) push(user any, format string, args ...any) Exchange {
	r.Helper()
	x, err := r.tryPush(user, format, args...)
	require.NoError(r, err)
	return x
}

func (r *rig) tryPush(user any, format string, args ...any) (Exchange, error) {
	r.Helper()
	l := parseLine(r, format, args...)
	x, err := r.e.Push(r.now, Target{Remote: l.addr, Local: l.local, Session: l.session}, &l.Message, user)
	r.collect()
	return x, err
}

// An exchange with notifications stays open, and acknowledges those that are confirmable.
//
// Proves 7641-3.5-01, 7641-3.5-s02.
func TestOpenExchange(t *testing.T) {
	r := newRig(t, Config{})
	x, req := r.opened("obs")
	r.idle("registered")
	r.advance(time.Hour)
	r.idle("no time-out runs")
	r.receive("notification", "NON 2.05 mid=0x7b50 tok=%s opt=6:10 pay=two", req.Token)
	require.Equal(t, "two", string(r.response("notification", "obs", "2.05").Message.Payload))
	r.idle("a NON is not acknowledged")
	r.receive("notification", "CON 2.05 mid=0x7b51 tok=%s opt=6:19", req.Token)
	r.response("notification", "obs", "2.05")
	r.want("acknowledged", "ACK 0.00 mid=0x7b51")
	r.receive("again, the ACK was lost", "CON 2.05 mid=0x7b51 tok=%s opt=6:19", req.Token)
	r.want("acknowledged once more", "ACK 0.00 mid=0x7b51")
	r.idle("but handed on once")
	r.receive("from somebody else", "CON 2.05 mid=0x7b52 tok=%s opt=6:1a from=B", req.Token)
	r.want("rejected", "RST 0.00 mid=0x7b52 to=B")
	checkEngine(t, r.e)
	r.cancel(x)
	r.receive("forgotten", "CON 2.05 mid=0x7b53 tok=%s opt=6:20", req.Token)
	r.want("rejected", "RST 0.00 mid=0x7b53")
	r.receive("forgotten", "NON 2.05 mid=0x7b54 tok=%s opt=6:21", req.Token)
	// Proves 7641-3.6-s02, 7641-3.6-s06.
	r.want("each is rejected", "RST 0.00 mid=0x7b54")
	r.quiet()
}

// What is no notification ends the exchange.
func TestOpenExchangeEnds(t *testing.T) {
	for name, last := range map[string]string{"an error": "4.04", "a success without Observe": "2.05", "an error with Observe": "5.00 opt=6:11"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			x, req := r.opened("obs")
			r.receive(name, "CON "+last+" mid=5 tok=%s", req.Token)
			require.False(t, r.event(name, EventResponse).More)
			r.want("acknowledged", "ACK 0.00 mid=5")
			require.Equal(t, exchange.ErrClosed, r.renew(x, "CON GET opt=6:"))
			r.receive("one more", "NON 2.05 mid=6 tok=%s opt=6:12", req.Token)
			r.want("rejected", "RST 0.00 mid=6")
			r.quiet()
		})
	}
	r := newRig(t, Config{})
	r.opened("obs")
	r.e.Close()
	r.collect()
	r.end("the engine is closed", "obs", exchange.ErrClosed)
}

// A renewal has the same token. It is a request like others: retransmitted, and the end of the
// exchange if nobody answers.
//
// Proves 7641-3.3.1-03.
func TestRenew(t *testing.T) {
	r := newRig(t, Config{})
	x, req := r.opened("obs")
	require.NoError(t, r.renew(x, "CON GET opt=6: opt=11:61"))
	again := r.want("renewal", "CON GET tok=%s opt=6: opt=11:61", req.Token)
	require.NotEqual(t, req.MessageID, again.MessageID)
	require.Equal(t, exchange.ErrBusy, r.renew(x, "CON GET opt=6:"), "one at a time")
	r.receive("a notification crosses it", "NON 2.05 mid=7 tok=%s opt=6:10", req.Token)
	r.response("handed on", "obs", "2.05")
	r.advance(3 * time.Second)
	r.want("retransmission: the notification did not answer the renewal", "CON GET mid=%d", again.MessageID)
	r.receive("response", "ACK 2.05 mid=%d tok=%s opt=6:11", again.MessageID, req.Token)
	require.True(t, r.response("response", "obs", "2.05").More)
	r.advance(time.Hour)
	r.idle("open again")

	require.NoError(t, r.renew(x, "NON GET opt=6: opt=11:61"))
	r.want("renewal", "NON GET tok=%s", req.Token)
	r.receive("response", "NON 2.05 mid=8 tok=%s opt=6:12", req.Token)
	r.response("response", "obs", "2.05")
	r.advance(time.Hour)
	r.idle("nothing tells the response to a NON from a notification")

	require.NoError(t, r.renew(x, "CON GET opt=6: opt=11:61"))
	r.advance(100 * time.Second)
	require.Len(t, r.out, 5)
	r.end("nobody answers", "obs", exchange.ErrNotAcknowledged)
	require.Equal(t, exchange.ErrClosed, r.renew(x, "CON GET opt=6:"))
	r.quiet()
}

// A renewal may have its response later, and may have to wait for another request.
func TestRenewWaits(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{QueuePerPeer: 2}})
	x, req := r.opened("obs")
	r.request("other", "CON GET")
	other := r.want("another request", "CON GET")
	require.NoError(t, r.renew(x, "CON GET opt=6:"))
	r.idle("NSTART: the renewal waits")
	r.receive("a notification", "NON 2.05 mid=7 tok=%s opt=6:10", req.Token)
	r.response("handed on", "obs", "2.05")
	checkEngine(t, r.e)
	r.receive("acknowledged", "ACK 0.00 mid=%d", other.MessageID)
	again := r.want("renewal", "CON GET tok=%s", req.Token)
	r.receive("acknowledged", "ACK 0.00 mid=%d", again.MessageID)
	r.receive("the separate response", "CON 2.05 mid=8 tok=%s opt=6:11", req.Token)
	r.response("response", "obs", "2.05")
	r.want("acknowledged", "ACK 0.00 mid=8")

	r.request("other 2", "CON GET")
	r.request("other 3", "CON GET")
	r.request("other 4", "CON GET")
	require.Equal(t, exchange.ErrBusy, r.renew(x, "CON GET opt=6:"), "the queue is full")
	checkEngine(t, r.e)
	r.receive("the exchange is as it was", "NON 2.05 mid=9 tok=%s opt=6:12", req.Token)
	r.response("handed on", "obs", "2.05")
	r.cancel(x)
	r.quiet()
}

// A confirmable notification ends with its acknowledgement, a Reset, or a time-out.
//
// Proves 7641-4.2-01.
func TestPush(t *testing.T) {
	r := newRig(t, Config{})
	r.push("n1", "CON 2.05 tok=4a opt=6:10 pay=19.2 local=L2")
	first := r.want("notification", "CON 2.05 tok=4a opt=6:10 pay=19.2 local=L2")
	r.advance(3 * time.Second)
	r.want("retransmission", "CON 2.05 mid=%d", first.MessageID)
	r.receive("acknowledged", "ACK 0.00 mid=%d local=L2", first.MessageID)
	require.Equal(t, "n1", r.event("acknowledged", EventAcked).User)

	r.push("n2", "CON 2.05 tok=4a opt=6:11")
	second := r.want("notification", "CON 2.05 tok=4a opt=6:11")
	require.NotEqual(t, first.MessageID, second.MessageID)
	r.receive("rejected", "RST 0.00 mid=%d", second.MessageID)
	r.end("rejected", "n2", exchange.ErrReset)

	r.push("n3", "CON 2.05 tok=4a opt=6:12")
	r.advance(100 * time.Second)
	require.Len(t, r.out, 5, "sent once and retransmitted four times")
	r.out = nil
	r.end("given up", "n3", exchange.ErrNotAcknowledged)

	x := r.push("n4", "CON 2.05 tok=4a opt=6:13")
	s := r.want("notification", "CON 2.05 tok=4a opt=6:13")
	r.cancel(x)
	r.advance(100 * time.Second)
	r.receive("too late", "ACK 0.00 mid=%d", s.MessageID)
	r.idle("forgotten: no retransmission, no event")
	r.dropped("the late acknowledgement", exchange.DropUnmatchedAck, 1)
	r.quiet()
}

// notify sends a notification that is not confirmable.
func (r *rig) notify(format string, args ...any) (sent, error) {
	r.Helper()
	l := parseLine(r, format, args...)
	encoded, err := codec.AppendUDP(nil, &message.Message{Code: l.Code, Options: l.Options, Payload: l.Payload})
	require.NoError(r, err)
	var d transport.Datagram
	mid, err := r.e.Notify(r.now, Target{Remote: l.addr, Local: l.local, Session: l.session}, l.Code, l.Token, encoded[codec.HeaderSize:], &d)
	r.collect()
	s := sent{raw: d.Data, to: d.Remote, local: d.Local, session: d.Session}
	if err == nil {
		require.NoError(r, codec.DecodeUDP(d.Data, &s.Message))
		require.Equal(r, mid, s.MessageID)
		require.Equal(r, message.NonConfirmable, s.Type)
	}
	return s, err
}

// Of a notification that is not confirmable nothing is kept but its message ID: a Reset is told as long as that
// is in use.
//
// Proves 7641-3.5-02.
func TestPushNonConfirmable(t *testing.T) {
	r := newRig(t, Config{})
	r.e.WatchResets("watcher")
	s, err := r.notify("NON 2.05 tok=4a opt=6:10 pay=x")
	require.NoError(t, err)
	require.Equal(t, "x", string(s.Payload))
	require.Equal(t, "4a", s.Token.String())
	require.True(t, s.Options.Has(message.OptionObserve))
	require.Equal(t, addresses["A"], s.to)
	require.Zero(t, r.e.Stats().Exchanges)
	checkEngine(t, r.e)
	r.advance(140 * time.Second)
	r.idle("no retransmission")
	r.receive("rejected late", "RST 0.00 mid=%d", s.MessageID)
	ev := r.event("rejected", EventRejected)
	require.Equal(t, "watcher", ev.User)
	require.Equal(t, s.MessageID, ev.Message.MessageID)
	require.Equal(t, addresses["A"], ev.Peer.Addr)
	r.receive("of another peer", "RST 0.00 mid=%d from=B", s.MessageID)
	r.receive("of another message", "RST 0.00 mid=%d", s.MessageID+1)
	r.receive("of another message", "RST 0.00 mid=%d", s.MessageID-1)
	r.idle("means nothing")
	r.e.Rejected(true)
	require.Equal(t, uint64(1), r.e.Stats().LostResponses)
	r.dropped("others", exchange.DropUnmatchedReset, 3)
	r.e.Rejected(false)
	r.dropped("nobody has sent that", exchange.DropUnmatchedReset, 4)

	s, err = r.notify("NON 2.05 tok=4a opt=6:11")
	require.NoError(t, err)
	r.advance(150 * time.Second)
	r.receive("its message ID means nothing any more", "RST 0.00 mid=%d", s.MessageID)
	r.idle("over")
	s, err = r.notify("NON 2.05 tok=4a opt=6:11")
	require.NoError(t, err)
	r.e.WatchResets(nil)
	r.receive("nobody wants to know", "RST 0.00 mid=%d", s.MessageID)
	r.idle("so nobody is told")
	r.dropped("both", exchange.DropUnmatchedReset, 6)
	r.receive("nobody may acknowledge it", "ACK 0.00 mid=%d", s.MessageID)
	r.idle("so it means nothing")
	require.Equal(t, uint64(1), r.e.Stats().Dropped[exchange.DropUnmatchedAck])
	r.quiet()
}

// A notification that is not confirmable keeps to the size limit, the table of peers, and the message IDs.
func TestNotifyLimits(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{MessageSize: 64}})
	s, err := r.notify("NON 2.05 tok=4a pay=%s", strings.Repeat("x", 58))
	require.NoError(t, err)
	require.Len(t, s.raw, 64)
	_, err = r.notify("NON 2.05 tok=4a pay=%s", strings.Repeat("x", 59))
	require.Equal(t, exchange.ErrTooLarge, err)
	for range midsForPeers - 1 {
		_, err = r.notify("NON 2.05 tok=4a")
		require.NoError(t, err)
	}
	_, err = r.notify("NON 2.05 tok=4a")
	require.Equal(t, exchange.ErrBusy, err, "each message ID once")
	_, err = r.notify("NON 2.05 tok=4a to=B")
	require.NoError(t, err)
	checkEngine(t, r.e)
	r.quiet()
	r.e.Close()
	_, err = r.notify("NON 2.05 tok=4a")
	require.Equal(t, exchange.ErrClosed, err)
}

// A notification that is not confirmable allocates nothing, and neither does its Reset.
func TestNotifyAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	e := New(Config{}, time.Unix(0, 0))
	e.WatchResets("watcher")
	to := Target{Remote: addresses["A"]}
	var ev Event
	var d, in transport.Datagram
	in.Remote = addresses["A"]
	token, rest, now := message.Token{1, 2, 3, 4}, []byte{0x61, 5, 0xff, 'x'}, time.Unix(0, 0)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		mid, err := e.Notify(now, to, message.Content, token, rest, &d)
		in.Data = codec.AppendHeader(in.Data[:0], message.Reset, message.Empty, mid)
		e.Receive(now, &in)
		if ok := e.Event(&ev); err != nil || !ok || ev.Kind != EventRejected {
			t.Fatal(err)
		}
	}))
}

// Notifications do not wait for requests of ours to the same peer, and keep to the limits.
func TestPushLimits(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{Exchanges: 2, MessageSize: 100}})
	r.request("ours", "CON GET")
	r.want("request", "CON GET")
	for range 3 {
		r.push("n", "CON 2.05 tok=4a")
		r.want("notification", "CON 2.05 tok=4a")
	}
	_, err := r.tryPush("n", "CON 2.05 tok=4a")
	require.Equal(t, exchange.ErrBusy, err)
	checkEngine(t, r.e)
	r.quiet()
	big := message.Message{Type: message.Confirmable, Code: message.Content, Payload: make([]byte, 100)}
	_, err = r.e.Push(r.now, Target{Remote: addresses["A"]}, &big, "n")
	require.Equal(t, exchange.ErrTooLarge, err)
	requireEmpty(t, r.e)
	r.e.Close()
	_, err = r.tryPush("n", "CON 2.05 tok=4a")
	require.Equal(t, exchange.ErrClosed, err)
}

// Notifications stay in the session of the request.
//
// Proves 7641-7-02.
func TestPushSession(t *testing.T) {
	r := newRig(t, Config{})
	r.push("n1", "CON 2.05 tok=4a session=S")
	s := r.want("notification", "CON 2.05 tok=4a session=S")
	r.receive("of another session", "RST 0.00 mid=%d session=T", s.MessageID)
	r.idle("means nothing")
	r.receive("of the session", "ACK 0.00 mid=%d session=S", s.MessageID)
	r.event("acknowledged", EventAcked)
	r.quiet()
}

// toGroup is where requests to the group go.
func toGroup() Target {
	return Target{Remote: transportGroup, IfIndex: 3}
}

var transportGroup = netip.AddrPortFrom(group, 5683)

// askGroup sends a request to the group.
func (r *rig) askGroup(user any, window time.Duration) (Exchange, sent) {
	r.Helper()
	m := message.Message{Type: message.NonConfirmable, Code: message.GET}
	x, err := r.e.Request(r.now, toGroup(), &m, RequestOptions{User: user, Open: true, Window: window})
	require.NoError(r, err)
	r.collect()
	require.Len(r, r.out, 1)
	s := r.out[0]
	r.out = nil
	require.Equal(r, transportGroup, s.to)
	require.Equal(r, 3, s.ifIndex)
	require.Equal(r, message.NonConfirmable, s.Type)
	return x, s
}

// Any number of members answer until the window ends; those that are late are not told off.
//
// Proves 7252-8.2-05.
func TestGroupRequest(t *testing.T) {
	r := newRig(t, Config{})
	_, s := r.askGroup("all", 10*time.Second)
	r.receive("a member", "NON 2.05 mid=1 tok=%s pay=a", s.Token)
	require.True(t, r.response("handed on", "all", "2.05").More)
	r.receive("another", "CON 2.05 mid=1 tok=%s pay=b from=B", s.Token)
	r.response("handed on", "all", "2.05")
	r.want("acknowledged", "ACK 0.00 mid=1 to=B")
	r.receive("an error", "NON 4.04 mid=2 tok=%s from=C", s.Token)
	require.True(t, r.response("handed on", "all", "4.04").More, "it ends nothing")
	r.receive("the same twice", "NON 2.05 mid=1 tok=%s pay=a", s.Token)
	r.idle("handed on once")
	r.receive("useless", "CON 2.05 mid=9 tok=%s opt=9:00 from=A2", s.Token)
	r.want("rejected", "RST 0.00 mid=9 to=A2")
	r.idle("the others may do better")
	checkEngine(t, r.e)
	r.advance(10 * time.Second)
	require.Equal(t, "all", r.event("the window ends", EventDone).User)
	r.idle("once")
	before := r.e.Stats().Resets
	r.receive("late", "NON 2.05 mid=3 tok=%s from=B", s.Token)
	r.receive("late", "CON 2.05 mid=4 tok=%s from=B", s.Token)
	r.idle("silence")
	require.Equal(t, before, r.e.Stats().Resets)
	require.Equal(t, uint64(2), r.e.Stats().Dropped[exchange.DropLate])
	r.advance(300 * time.Second)
	r.receive("too late", "CON 2.05 mid=5 tok=%s from=B", s.Token)
	r.want("unexpected", "RST 0.00 mid=5 to=B")
	r.quiet()
}

// Message IDs of requests to groups are never those of messages to a single peer.
//
// Proves 7252-8.1-05.
func TestGroupMessageIDs(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{Exchanges: 4000}})
	seen := map[uint16]bool{}
	for range midsForGroups {
		x, s := r.askGroup("all", time.Second)
		require.GreaterOrEqual(t, s.MessageID, uint16(midsForPeers))
		require.False(t, seen[s.MessageID], "used once within its lifetime")
		seen[s.MessageID] = true
		r.cancel(x)
	}
	m := message.Message{Type: message.NonConfirmable, Code: message.GET}
	_, err := r.e.Request(r.now, toGroup(), &m, RequestOptions{Open: true, Window: time.Second})
	require.Equal(t, exchange.ErrBusy, err)
	r.quiet()
}

// A request to a group that was given up leaves its token known, as after the window. One that is
// confirmable, or not open, is refused.
func TestGroupRequestGivenUp(t *testing.T) {
	r := newRig(t, Config{})
	x, s := r.askGroup("all", 10*time.Second)
	r.cancel(x)
	r.cancel(x)
	r.receive("late", "CON 2.05 mid=1 tok=%s", s.Token)
	r.idle("silence")
	checkEngine(t, r.e)
	r.quiet()
	m := message.Message{Type: message.Confirmable, Code: message.GET}
	_, err := r.e.Request(r.now, toGroup(), &m, RequestOptions{Open: true})
	require.Equal(t, exchange.ErrBusy, err)
	m.Type = message.NonConfirmable
	_, err = r.e.Request(r.now, toGroup(), &m, RequestOptions{})
	require.Equal(t, exchange.ErrBusy, err)
	requireEmpty(t, r.e)

	_, s = r.askGroup("all", 10*time.Second)
	r.e.Close()
	r.collect()
	r.end("closed", "all", exchange.ErrClosed)
	b, err := codec.AppendUDP(nil, &message.Message{Type: message.NonConfirmable, Code: message.Content, MessageID: 1, Token: s.Token})
	require.NoError(t, err)
	r.datagram(transport.Datagram{Data: b, Remote: addresses["A"]})
	r.idle("silence")
}

// An observation of a group has no window: members notify until it is given up. It is asked again
// under the same token, and then to forget it; who goes on notifying nevertheless is rejected.
func TestGroupObservation(t *testing.T) {
	r := newRig(t, Config{})
	x, s := r.askGroup("all", 0)
	r.advance(24 * time.Hour)
	r.receive("a member, late", "NON 2.05 mid=1 tok=%s opt=6:07", s.Token)
	require.True(t, r.response("handed on", "all", "2.05").More)
	m := message.Message{Type: message.NonConfirmable, Code: message.GET}
	require.NoError(t, r.e.Renew(r.now, x, &m))
	r.collect()
	require.Len(t, r.out, 1)
	again := r.out[0]
	r.out = nil
	require.Equal(t, s.Token, again.Token)
	require.NotEqual(t, s.MessageID, again.MessageID)
	require.Equal(t, transportGroup, again.to)
	r.receive("another", "CON 2.05 mid=1 tok=%s opt=6:01 from=B", s.Token)
	r.response("handed on", "all", "2.05")
	r.want("acknowledged", "ACK 0.00 mid=1 to=B")
	checkEngine(t, r.e)
	r.cancel(x)
	require.Equal(t, exchange.ErrBusy, r.e.Renew(r.now, x, &m), "it is over")
	r.receive("an answer to the last request", "NON 2.05 mid=2 tok=%s", s.Token)
	r.idle("silence")
	r.receive("a notification", "NON 2.05 mid=3 tok=%s opt=6:08", s.Token)
	r.want("not wanted", "RST 0.00 mid=3")
	r.receive("a notification", "CON 2.05 mid=4 tok=%s opt=6:02 from=B", s.Token)
	r.want("not wanted", "RST 0.00 mid=4 to=B")
	r.quiet()

	x, _ = r.askGroup("all", 10*time.Second)
	require.Equal(t, exchange.ErrBusy, r.e.Renew(r.now, x, &m), "one with a window is asked once")
	r.cancel(x)
	r.quiet()
}

// The report that a group cannot be reached ends the request.
func TestGroupUnreachable(t *testing.T) {
	r := newRig(t, Config{})
	_, s := r.askGroup("all", 10*time.Second)
	r.datagram(transport.Datagram{Data: s.raw, Remote: transportGroup, Err: errors.New("no route")})
	r.advance(10 * time.Second)
	require.NotEmpty(t, r.events, "it ends")
	r.quiet()
}
