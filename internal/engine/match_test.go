package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/transport"
)

// An Acknowledgement or Reset counts only if message ID and endpoint match.
//
// Proves 7252-4.4-03, 7252-5.3.2-01, 7252-5.3.2-02.
func TestForeignRepliesAreIgnored(t *testing.T) {
	for _, from := range []string{"from=A2", "from=B", "session=S", "local=L2"} {
		for _, reply := range []string{"ACK 0.00", "RST 0.00", "ACK 2.05"} {
			t.Run(reply+" "+from, func(t *testing.T) {
				r := newRig(t, Config{})
				r.request(1, "CON GET local=L1")
				r.request(2, "CON GET to=B") // so that B is known
				q := r.want("request", "CON GET local=L1")
				r.want("request", "CON GET to=B")
				r.e.stats.Dropped = exchange.Stats{}.Dropped
				tok := ""
				if reply == "ACK 2.05" {
					tok = "tok=" + hexOf(q)
				}
				r.receive("a reply from elsewhere", "%s mid=%d %s %s", reply, q.MessageID, tok, from)
				r.idle("is ignored")
				reason := exchange.DropUnmatchedAck
				if reply == "RST 0.00" {
					reason = exchange.DropUnmatchedReset
				}
				r.dropped("counted", reason, 1)
				r.advance(3 * time.Second)
				r.want("retransmission goes on", "CON GET mid=%d", q.MessageID)
			})
		}
	}
}

// Proves 7252-5.3.2-02.
func TestPiggybackedResponseMustMatch(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "CON GET")
	q := r.want("request", "CON GET")
	tok := hexOf(q)
	r.receive("wrong message ID", "ACK 2.05 mid=%d tok=%s", q.MessageID+1, tok)
	r.idle("is ignored")
	for _, other := range []string{"", "00", tok[:14], tok + "00", tok[:14] + "00", "00" + tok[2:]} {
		r.receive("wrong token", "ACK 2.05 mid=%d tok=%s", q.MessageID, other)
		r.idle("is ignored")
	}
	require.Equal(t, uint64(6), r.e.Stats().Dropped[exchange.DropTokenMismatch])
	require.Equal(t, uint64(1), r.e.Stats().Dropped[exchange.DropUnmatchedAck])
	r.advance(3 * time.Second)
	r.want("it did not count as acknowledgement", "CON GET mid=%d", q.MessageID)
	r.receive("the right one", "ACK 2.05 mid=%d tok=%s pay=hello", q.MessageID, tok)
	ev := r.response("the right one", 1, "2.05")
	require.Equal(t, "hello", string(ev.Message.Payload))
	require.True(t, ev.Peer.Verified, "a token of ours came back")
	r.receive("the right one again", "ACK 2.05 mid=%d tok=%s", q.MessageID, tok)
	r.idle("is ignored")
	r.quiet()
}

// A separate response needs the token and the endpoint, nothing else.
//
// Proves 7252-5.3.2-01, 7252-5.3.2-03, 7252-5.3.2-s05.
func TestSeparateResponseMatchesByToken(t *testing.T) {
	for _, typ := range []string{"CON", "NON"} {
		r := newRig(t, Config{})
		r.request(1, "CON GET local=L1")
		q := r.want("request", "CON GET local=L1")
		tok := hexOf(q)
		r.receive("acknowledged", "ACK 0.00 mid=%d", q.MessageID)
		for _, other := range []string{
			"tok=00", "", "tok=" + tok[:14], "tok=" + tok + "00", "from=B tok=" + tok, "from=A2 tok=" + tok, "session=S tok=" + tok, "local=L2 tok=" + tok,
		} {
			r.receive("another token, endpoint or local address", "%s 2.05 mid=5 %s", typ, other)
			require.Len(r, r.out, 1, "rejected: %s", other)
			require.Equal(t, "RST 0x0005 0.00", fmt.Sprintf("%s 0x%04x %s", r.out[0].Type, r.out[0].MessageID, r.out[0].Code.Dotted()))
			r.out = nil
		}
		r.idle("none was taken")
		require.Equal(t, uint64(8), r.e.Stats().Dropped[exchange.DropUnexpected])
		r.receive("any message ID", "%s 2.05 mid=%d tok=%s", typ, q.MessageID+17, tok)
		r.response("separate", 1, "2.05")
		if typ == "CON" {
			r.want("acknowledged", "ACK 0.00 mid=%d", q.MessageID+17)
		}
		r.idle("that is all")
	}
}

// A peer's own Confirmable message may have the message ID of our pending request.
//
// Proves 7252-4.4-03.
func TestEqualMessageIDsOfBothSides(t *testing.T) { // P24
	r := newRig(t, Config{})
	r.request(1, "CON GET")
	q := r.want("request", "CON GET")
	for _, typ := range []string{"CON", "NON"} {
		r.receive("a request of the peer's", "%s POST mid=%d tok=%s", typ, q.MessageID, hexOf(q))
		r.respond(r.handle("it is a request", "POST"), "2.04")
		if typ == "CON" {
			r.want("response", "ACK 2.04 mid=%d", q.MessageID)
		} else {
			r.want("response", "NON 2.04")
		}
	}
	r.receive("a ping of the peer's", "CON 0.00 mid=%d", q.MessageID)
	r.want("pong", "RST 0.00 mid=%d", q.MessageID)
	r.idle("our request is not settled")
	r.advance(3 * time.Second)
	r.want("our request is not confirmed", "CON GET mid=%d", q.MessageID)
}

// Proves 7252-5.3.1-02, 7252-5.3.1-03, 7252-5.3.1-04, 7967-3.1-05, 9175-4.2-01.
func TestTokens(t *testing.T) {
	seen := map[string]bool{}
	var ones [64]int
	const total = 10_000
	r := newRig(t, Config{})
	for i := range total {
		x := r.request(i, "CON GET")
		q := r.want("request", "CON GET")
		require.Len(t, q.Token, 8)
		require.False(t, seen[string(q.Token)], "a token is unique")
		seen[string(q.Token)] = true
		for bit := range ones {
			ones[bit] += int(q.Token[bit/8] >> (bit % 8) & 1)
		}
		r.cancel(x)
	}
	for bit, n := range ones {
		require.InDelta(t, total/2, n, 300, "bit %d is random", bit)
	}
	other := newRig(t, Config{Seed: seed(1)})
	other.request(1, "CON GET")
	require.False(t, seen[string(other.want("request", "CON GET").Token)], "seeds differ")
}

// newToken never returns a token in use, however unlikely the generator makes it.
//
// Proves 9175-4.2-01.
func TestTokenInUseIsSkipped(t *testing.T) {
	now := time.Unix(0, 0)
	next := New(Config{}, now).rand.Uint64()
	e := New(Config{}, now)
	e.tokens.set(next, &exchangeState{})
	require.NotEqual(t, next, e.newToken())
}

// Whatever type the request has, its response may come in any.
//
// Proves 7252-5.2.1-01, 7252-5.2.3-02, 7252-5.2.2-03, 7252-5.2.2-s15, 7252-4.3-02.
func TestResponsesOfAllTypes(t *testing.T) {
	for _, test := range []struct{ name, request, first, second, answer string }{
		{"piggybacked", "CON", "ACK 2.05", "", ""},
		{"separate CON", "CON", "ACK 0.00", "CON 2.05", "ACK"},
		{"separate NON", "CON", "ACK 0.00", "NON 2.05", ""},
		{"separate CON before the ACK", "CON", "CON 2.05", "ACK 0.00", "ACK"},
		{"separate NON before the ACK", "CON", "NON 2.05", "ACK 0.00", ""},
		{"ACK lost, CON", "CON", "CON 2.05", "", "ACK"},
		{"ACK lost, NON", "CON", "NON 2.05", "", ""},
		{"error, separate", "CON", "ACK 0.00", "CON 4.04", "ACK"},
		{"NON to NON", "NON", "NON 2.05", "", ""},
		{"CON to NON", "NON", "CON 2.05", "", "ACK"},
		{"piggybacked after an Empty ACK, against the rules", "CON", "ACK 0.00", "ACK 2.05", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.request(1, "%s GET", test.request)
			q := r.want("request", "%s GET", test.request)
			for _, l := range []string{test.first, test.second} {
				switch {
				case l == "":
					continue
				case l == "ACK 0.00":
					l += fmt.Sprintf(" mid=%d", q.MessageID)
				case l[:3] == "ACK":
					l += fmt.Sprintf(" mid=%d tok=%s", q.MessageID, hexOf(q))
				default:
					l += fmt.Sprintf(" mid=77 tok=%s", hexOf(q))
				}
				r.receive("a part of the answer", "%s", l)
			}
			require.Len(t, r.events, 1, "one response")
			require.Equal(t, EventResponse, r.events[0].Kind)
			r.events = nil
			if test.answer != "" {
				r.want("acknowledged by an Empty message", "ACK 0.00 mid=77")
			}
			r.idle("nothing else is sent")
			r.advance(10 * time.Second)
			r.idle("a response ends retransmission as an acknowledgement does")
			require.Zero(t, r.e.Stats().Exchanges)
			r.quiet()
		})
	}
}

// What a transport does not know of a local address matches everything.
func TestRouteMatches(t *testing.T) {
	a := netip.MustParseAddrPort
	for _, test := range []struct {
		route, datagram netip.AddrPort
		want            bool
	}{
		{netip.AddrPort{}, a("192.0.2.1:5683"), true},
		{a("192.0.2.1:5683"), netip.AddrPort{}, true},
		{a("192.0.2.1:5683"), a("192.0.2.1:5683"), true},
		{a("192.0.2.1:5683"), a("192.0.2.2:5683"), false},
		{a("192.0.2.1:5683"), a("192.0.2.1:5684"), false},
		{a("192.0.2.1:0"), a("192.0.2.1:5684"), true},
		{a("192.0.2.1:0"), a("192.0.2.2:5684"), false},
		{a("192.0.2.1:5683"), a("192.0.2.1:0"), true},
		{a("0.0.0.0:5683"), a("192.0.2.1:5683"), true},
		{a("0.0.0.0:5683"), a("192.0.2.1:5684"), false},
		{a("[::]:0"), a("[2001:db8::1]:5684"), true},
		{netip.AddrPortFrom(netip.Addr{}, 5683), a("192.0.2.1:5683"), true},
		{a("192.0.2.1:5683"), netip.AddrPortFrom(netip.Addr{}, 5683), true},
		{a("[fe80::1%a]:5683"), a("[fe80::1%b]:5683"), false},
	} {
		r := route{local: test.route}
		require.Equal(t, test.want, r.matches(&transport.Datagram{Local: test.datagram}), "%s and %s", test.route, test.datagram)
	}
}

// Messages of a session belong to it, whatever address they come from.
//
// Proves 7252-9.1.1-02, 7252-9.1.2-01, 7252-9.1.2-03.
func TestSessions(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "CON GET session=S")
	q := r.want("request", "CON GET session=S")
	tok := hexOf(q)
	r.receive("same address, other session", "ACK 2.05 mid=%d tok=%s session=T", q.MessageID, tok)
	r.receive("same address, no session", "ACK 2.05 mid=%d tok=%s", q.MessageID, tok)
	r.receive("other session", "RST 0.00 mid=%d session=T", q.MessageID)
	r.receive("no session", "RST 0.00 mid=%d", q.MessageID)
	r.idle("ignored")
	r.receive("separate response in another session", "CON 2.05 mid=7 tok=%s session=T", tok)
	r.want("rejected", "RST 0.00 mid=7 session=T")
	r.receive("separate response without session", "CON 2.05 mid=7 tok=%s", tok)
	r.want("rejected", "RST 0.00 mid=7")
	r.idle("they answer nothing")
	r.receive("other address, same session", "ACK 2.05 mid=%d tok=%s session=S from=B", q.MessageID, tok)
	ev := r.response("response", 1, "2.05")
	require.True(t, ev.Peer.Secure && ev.Peer.Verified)
	require.Equal(t, "device-1", ev.Peer.Identity)
	r.quiet()
}
