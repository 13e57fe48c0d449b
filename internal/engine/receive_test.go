package engine

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// malformed are messages of type CON with a format error, in hexadecimal.
var malformed = []string{
	"4d010001", "4e01000100", "4f010001", "48010001010203", "40010001d0", "40010001e001", "400100010d", "400100010e01",
	"40010001f0", "40010001bf", "40010001b56162", "40010001beffff", "40010001e0fef2c0", "40010001b161e0fee7c162",
	"40010001ff", "40010001b161ff", "41000001aa", "40000001b161", "40000001ff78", "44000001", "4f000001", "40450001ff", "4f450001",
}

// as returns the datagram with another type.
func as(t message.Type, digits string) string {
	b, _ := hex.DecodeString(digits)
	b[0] = b[0]&^0x30 | byte(t)<<4
	return hex.EncodeToString(b)
}

// A Confirmable message with a format error is reset, unless it went to a group. A
// Non-confirmable one, an Acknowledgement and a Reset are ignored.
//
// Proves 7252-4.1-01, 7252-4.1-02, 7252-4.2-01, 7252-4.2-03, 7252-4.2-04, 7252-4.2-s04, 7252-4.2-s07,
// 7252-4.3-03, 7252-4.3-04, 7252-4.4-01, 7252-8.1-03, 8974-2.1-01.
func TestMalformed(t *testing.T) {
	for _, digits := range malformed {
		t.Run(digits, func(t *testing.T) {
			r := newRig(t, Config{})
			for range 2 {
				r.bytes("a format error", digits)
				r.want("in a CON", "RST 0.00 mid=1")
			}
			r.dropped("malformed", exchange.DropMalformed, 2)
			for _, typ := range []message.Type{message.NonConfirmable, message.Acknowledgement, message.Reset} {
				r.bytes("a format error", as(typ, digits))
				r.idle("in another message")
			}
			b, _ := hex.DecodeString(digits)
			r.datagram(transport.Datagram{Data: b, Remote: addresses["A"], Group: group})
			b, _ = hex.DecodeString(as(message.NonConfirmable, digits))
			r.datagram(transport.Datagram{Data: b, Remote: addresses["A"], Group: group})
			r.idle("nothing is reset that went to a group")
			require.Equal(t, uint64(2), r.e.Stats().Resets)
			requireEmpty(t, r.e)
		})
	}
}

// Proves 7252-3-02.
func TestIgnoredInSilence(t *testing.T) {
	for digits, reason := range map[string]exchange.DropReason{
		"": exchange.DropTooShort, "40": exchange.DropTooShort, "400100": exchange.DropTooShort,
		"00010001": exchange.DropVersion, "80010001": exchange.DropVersion, "c0010001": exchange.DropVersion, "80000001": exchange.DropVersion,
		"50000001": exchange.DropEmptyNon, "51000001aa": exchange.DropEmptyNon,
		"60000001": exchange.DropUnmatchedAck, "60450001": exchange.DropUnmatchedAck, "70000001": exchange.DropUnmatchedReset,
		"60010001": exchange.DropBadReply, "70010001": exchange.DropBadReply, "70450001": exchange.DropBadReply,
		"60210001": exchange.DropBadReply, "60e10001": exchange.DropBadReply, "70e10001": exchange.DropBadReply,
		"60000001ff78": exchange.DropBadReply, "61000001aa": exchange.DropBadReply, "61000001": exchange.DropBadReply,
		"70000001ff78": exchange.DropBadReply, "7100000100": exchange.DropBadReply,
		"50210001": exchange.DropReservedCode, "50c10001": exchange.DropReservedCode, "50e10001": exchange.DropReservedCode,
		"50010001ff": exchange.DropMalformed,
	} {
		t.Run(digits, func(t *testing.T) {
			r := newRig(t, Config{})
			r.bytes("", digits)
			r.idle("ignored")
			r.dropped("counted", reason, 1)
			require.Equal(t, uint64(1), r.e.Stats().Received)
			requireEmpty(t, r.e)
		})
	}
}

// Proves 7252-4.2-01, 7252-4.2-03, 7252-4.2-s04, 7252-4.3-03.
func TestReservedClasses(t *testing.T) {
	for _, code := range []string{"1.01", "1.31", "6.01", "7.00", "7.01", "7.31"} {
		r := newRig(t, Config{})
		r.receive("reserved class", "CON %s mid=9 tok=01", code)
		r.want("rejected", "RST 0.00 mid=9")
		r.receive("reserved class", "NON %s mid=9 tok=01", code)
		r.idle("rejected in silence")
		r.receive("reserved class", "ACK %s mid=9 tok=01", code)
		r.receive("reserved class", "RST %s mid=9", code)
		r.idle("ignored")
		requireEmpty(t, r.e)
	}
	r := newRig(t, Config{})
	for i, code := range []string{"0.01", "0.08", "0.31"} {
		r.receive("an unknown method is for the layer above", "CON %s mid=%d", code, i)
		require.Equal(t, code, r.event("request", EventRequest).Message.Code.Dotted())
	}
}

// Proves 7252-4.2-01, 7252-4.2-03, 7252-4.3-s13.
func TestPingOfThePeer(t *testing.T) {
	r := newRig(t, Config{})
	for range 3 {
		r.receive("ping", "CON 0.00 mid=0x1234")
		s := r.want("pong", "RST 0.00 mid=0x1234 local=L1")
		require.Equal(t, 0, s.ifIndex, "routing chooses the way back")
	}
	r.receive("ping by a link-local address", "CON 0.00 mid=0x1234 from=C")
	require.Equal(t, 3, r.want("pong", "RST 0.00 mid=0x1234 to=C").ifIndex, "which is good on that link only")
	r.receive("ping to a group", "CON 0.00 mid=0x1234 group")
	r.idle("is not answered")
	require.Equal(t, uint64(4), r.e.Stats().Pings)
	requireEmpty(t, r.e)
}

// Replies never cause a reply, whatever is in them and whatever they are about.
//
// Proves 7252-4.2-04, 7252-4.2-s07, 7252-4.3-02.
func TestRepliesAreNeverAnswered(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{NStart: 5}})
	r.request(1, "CON GET")
	con := r.want("request", "CON GET")
	r.request(2, "NON GET")
	non := r.want("request", "NON GET")
	for _, s := range []sent{con, non, {}} {
		for code := range 256 {
			if code>>5 >= 2 && code>>5 <= 5 || code == 0 {
				continue // responses and Empty: those are valid
			}
			for _, typ := range []byte{0x60, 0x70} {
				b := []byte{typ | 8, byte(code), byte(s.MessageID >> 8), byte(s.MessageID)}
				r.datagram(transport.Datagram{Data: append(b, s.Token...), Remote: addresses["A"]})
				r.datagram(transport.Datagram{Data: append(append(b, s.Token...), 0xFF), Remote: addresses["A"]})
			}
		}
	}
	r.receive("an acknowledgement of a NON", "ACK 0.00 mid=%d", non.MessageID)
	r.receive("an acknowledgement of a NON", "ACK 2.05 mid=%d tok=%s", non.MessageID, hexOf(non))
	r.receive("a Reset with a response", "RST 2.05 mid=%d tok=%s", con.MessageID, hexOf(con))
	r.bytes("an Empty acknowledgement that is not empty", fmt.Sprintf("60000000%x", con.MessageID))
	r.bytes("an Empty acknowledgement that is not empty", fmt.Sprintf("6000%04xff00", con.MessageID))
	r.bytes("a Reset that is not empty", fmt.Sprintf("7000%04xff00", con.MessageID))
	r.bytes("a Reset that is not empty", fmt.Sprintf("7100%04x", con.MessageID))
	r.idle("nothing of this says anything")
	require.Equal(t, 2, r.e.Stats().Exchanges)
	r.receive("the response", "ACK 2.05 mid=%d tok=%s", con.MessageID, hexOf(con))
	r.response("the response", 1, "2.05")
	r.receive("a Reset of a NON is valid", "RST 0.00 mid=%d", non.MessageID)
	r.end("the peer rejects", 2, exchange.ErrReset)
	r.quiet()
}

// Proves 7252-4.2-01, 7252-5.3.2-s05, 7252-8.1-03.
func TestUnexpectedResponse(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("nobody waits for it", "CON 2.05 mid=1 tok=0102030405060708")
	r.want("rejected", "RST 0.00 mid=1")
	r.receive("nobody waits for it", "CON 4.04 mid=2")
	r.want("rejected", "RST 0.00 mid=2")
	r.receive("nobody waits for it", "NON 2.05 mid=3 tok=0102030405060708")
	r.want("rejected, so that a stale observation ends", "RST 0.00 mid=3")
	r.receive("nobody waits for it", "NON 2.05 mid=4 tok=0102030405060708 group")
	r.idle("nothing is reset that went to a group")
	r.dropped("unexpected", exchange.DropUnexpected, 4)
	requireEmpty(t, r.e)
}

// A response with a critical option that is not understood is rejected; elective ones are
// ignored.
//
// Proves 7252-5.4.1-01, 7252-5.4.1-04, 7252-5.4.1-05.
func TestCriticalOptionInResponse(t *testing.T) {
	for _, test := range []struct{ request, response, answer string }{
		{"CON", "ACK", ""}, {"CON", "CON", "RST"}, {"CON", "NON", ""}, {"NON", "CON", "RST"}, {"NON", "NON", ""},
	} {
		t.Run(test.response+" to "+test.request, func(t *testing.T) {
			r := newRig(t, Config{})
			for _, opt := range []string{"65:", "23:06", "9:"} { // unknown, Block2, OSCORE
				r.request(1, "%s GET", test.request)
				q := r.want("request", "%s GET", test.request)
				r.receive("critical", "%s 2.05 mid=%d tok=%s opt=12: opt=%s", test.response, q.MessageID, hexOf(q), opt)
				r.end("rejected", 1, exchange.ErrBadOption)
				if test.answer != "" {
					r.want("a Reset rejects a CON", "RST 0.00 mid=%d", q.MessageID)
				}
				r.idle("silence rejects the others")
			}
			require.Equal(t, uint64(3), r.e.Stats().Dropped[exchange.DropBadOption])
			require.Equal(t, uint64(3), r.e.Stats().Unusable)

			r.request(2, "%s GET", test.request)
			q := r.want("request", "%s GET", test.request)
			r.receive("elective", "%s 2.05 mid=%d tok=%s opt=4:01 opt=66:", test.response, q.MessageID, hexOf(q))
			r.response("ignored", 2, "2.05")
			r.out = nil

			_, err := r.try(RequestOptions{User: 3, Understood: []message.OptionNumber{27, 23}}, "%s GET", test.request)
			require.NoError(t, err)
			q = r.want("request", "%s GET", test.request)
			r.receive("critical and understood", "%s 2.05 mid=%d tok=%s opt=23:06 opt=27:06", test.response, q.MessageID, hexOf(q))
			r.response("passed on", 3, "2.05")
			r.quiet()
		})
	}
}

// Tokens are opaque, of any length up to the limit, and come back as they were.
//
// Proves 7252-5.3.1-01, 7252-5.3.1-05, 7252-5.3.1-s02, 8974-2.2.2-04, 8974-2.2.2-05.
func TestTokenLengths(t *testing.T) {
	r := newRig(t, Config{})
	for n := range 65 {
		token := strings.Repeat("a5", n)
		r.receive("request", "CON GET mid=%d tok=%s", n, token)
		r.respond(r.handle("request", "GET"), "2.05")
		r.want("piggybacked", "ACK 2.05 mid=%d tok=%s", n, token)
		r.receive("request", "NON GET mid=%d tok=%s", 100+n, token)
		r.respond(r.handle("request", "GET"), "2.05")
		r.want("in a NON", "NON 2.05 tok=%s", token)
	}
	for _, n := range []int{65, 268, 269, 300, 1500} {
		token := strings.Repeat("5a", n)
		r.receive("over the limit", "CON GET mid=%d tok=%s", n, token)
		s := r.want("not reset, which would mean that long tokens are not supported at all", "ACK 4.00 mid=%d tok=%s", n, token)
		require.Len(t, s.Token, n)
		r.receive("over the limit", "NON GET mid=%d tok=%s", n, token)
		r.idle("in a NON")
	}
	r.dropped("too long", exchange.DropTokenTooLong, 10)
	r.bytes("P2", "49010001010203040506070809")
	r.respond(r.handle("message ID 1 was used before, with other bytes", "GET"), "2.05")
	r.want("a legal token of 9 bytes", "ACK 2.05 mid=1 tok=010203040506070809")
	r.quiet()

	r = newRig(t, Config{Limits: exchange.Limits{TokenLength: message.MaxTokenLength, MessageSize: 65535}})
	token := strings.Repeat("01", 60000)
	r.receive("a limit can be raised", "CON GET mid=1 tok=%s", token)
	r.respond(r.handle("request", "GET"), "2.05")
	require.Zero(t, r.e.incoming.live, "a long token is not remembered for as long as the reply is")
	r.want("response", "ACK 2.05 mid=1 tok=%s", token)
	r.quiet()
}

func TestTruncated(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{ReceiveSize: 512}})
	r.receive("longer than the room", "CON PUT mid=1 tok=07 pay=x trunc")
	s := r.want("4.13 with the size that fits", "ACK 4.13 mid=1 tok=07")
	size, ok := s.Options.Uint(message.OptionSize1)
	require.True(t, ok)
	require.Equal(t, uint64(512), size)
	r.receive("in a NON", "NON PUT mid=2 pay=x trunc")
	r.idle("dropped")
	r.datagram(transport.Datagram{Data: []byte{0x40, 3, 0, 3, 0xB5, 'a'}, Remote: addresses["A"], Truncated: true})
	r.want("cut within the options", "RST 0.00 mid=3")
	r.dropped("truncated", exchange.DropTruncated, 3)
	requireEmpty(t, r.e)

	for _, test := range []struct{ request, response, answer string }{
		{"CON", "ACK", ""}, {"CON", "CON", "RST"}, {"CON", "NON", ""}, {"NON", "NON", ""},
	} {
		r := newRig(t, Config{})
		r.request(1, "%s GET", test.request)
		q := r.want("request", "%s GET", test.request)
		r.receive("cut, but the token is another", "ACK 2.05 mid=%d tok=01 trunc", q.MessageID)
		r.idle("is not ours")
		r.receive("response", "%s 2.05 mid=%d tok=%s pay=x trunc", test.response, q.MessageID, hexOf(q))
		r.end("cut off", 1, exchange.ErrResponseTooLarge)
		if test.answer != "" {
			r.want("rejected", "RST 0.00 mid=%d", q.MessageID)
		}
		r.idle("that is all")
		require.Equal(t, uint64(1), r.e.Stats().Unusable)
		r.quiet()
	}

	r = newRig(t, Config{})
	r.request(1, "CON GET")
	q := r.want("request", "CON GET")
	b := append(codec.AppendHeader(nil, message.Acknowledgement, message.Content, q.MessageID), 0xB5)
	r.datagram(transport.Datagram{Data: b, Remote: addresses["A"], Truncated: true})
	r.end("cut before the token could be read", 1, exchange.ErrResponseTooLarge)
}

// A report of an undelivered datagram ends an exchange only if it quotes its message.
//
// Proves 7252-4.2-10.
func TestUndelivered(t *testing.T) {
	refused := errors.New("connection refused")
	for _, test := range []struct {
		name string
		edit func(b []byte) []byte
		from string
		ends bool
	}{
		{"all of it", func(b []byte) []byte { return b }, "A", true},
		{"the header", func(b []byte) []byte { return b[:4] }, "A", true},
		{"header and half of the token", func(b []byte) []byte { return b[:8] }, "A", true},
		{"none of it, though the system quotes", func(b []byte) []byte { return b[:0] }, "A", false},
		{"less than a header", func(b []byte) []byte { return b[:3] }, "A", false},
		{"other message ID", func(b []byte) []byte { b[3]++; return b }, "A", false},
		{"other token", func(b []byte) []byte { b[11]++; return b }, "A", false},
		{"other type", func(b []byte) []byte { b[0] ^= 0x10; return b }, "A", false},
		{"other code", func(b []byte) []byte { b[1]++; return b }, "A", false},
		{"more than was sent", func(b []byte) []byte { return append(b, 0) }, "A", false},
		{"other port", func(b []byte) []byte { return b }, "A2", false},
		{"nothing, from another peer", func(b []byte) []byte { return nil }, "B", false},
	} {
		for _, typ := range []string{"CON", "NON"} {
			t.Run(test.name+" "+typ, func(t *testing.T) {
				r := newRig(t, Config{})
				r.request(1, "%s GET", typ)
				q := r.want("request", "%s GET", typ)
				r.datagram(transport.Datagram{Data: test.edit(append([]byte(nil), q.raw...)), Remote: addresses[test.from], Err: refused})
				if test.ends {
					ev := r.end("unreachable", 1, exchange.ErrUnreachable)
					require.Equal(t, refused, ev.Cause)
					require.Equal(t, uint64(1), r.e.Stats().Unreachable)
				} else {
					r.dropped("not believed", exchange.DropUndelivered, 1)
				}
				r.idle("that is all")
				require.Zero(t, r.e.Stats().Received, "a report is no datagram")
				r.quiet()
			})
		}
	}
}

// A report that quotes nothing ends what was sent to that peer and not answered. What was
// acknowledged, and what waits, stays.
func TestUndeliveredQuotesNothing(t *testing.T) {
	r := newRig(t, Config{Params: exchange.Params{NStart: 2}})
	r.request(0, "CON GET")
	r.acknowledge(r.want("request", "CON GET"))
	for i := 1; i < 10; i++ {
		r.request(i, "CON GET pay=%d", i)
	}
	r.request("other", "CON GET to=B")
	r.out = nil
	r.datagram(transport.Datagram{Remote: addresses["A"], Err: errors.New("connection refused")})
	r.end("on its way", 1, exchange.ErrUnreachable)
	r.end("on its way", 2, exchange.ErrUnreachable)
	r.want("the next is tried", "CON GET pay=3")
	r.want("the next is tried", "CON GET pay=4")
	r.idle("and not ended by a report that was not about it")
	require.Equal(t, 9, r.e.Stats().Exchanges)
	checkEngine(t, r.e)

	// The same with responses in the queue, which end as soon as they are sent.
	r = newRig(t, Config{})
	r.request(1, "CON GET")
	p := r.peerNamed("A")
	for p.mids.live < midsForPeers {
		r.e.takeMID(p, 10e9)
	}
	for i := range 20 {
		r.receive("request", "NON GET mid=%d", i)
		r.respond(r.handle("request", "GET"), "2.05")
	}
	p.mids.last = 0
	r.out = nil
	r.datagram(transport.Datagram{Remote: addresses["A"], Err: errors.New("connection refused")})
	r.end("on its way", 1, exchange.ErrUnreachable)
	require.Len(t, r.out, 20)
	checkEngine(t, r.e)
}

// Once the peer has acknowledged the request, a report about it says nothing.
func TestUndeliveredAfterAcknowledgement(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "CON GET")
	q := r.want("request", "CON GET")
	r.acknowledge(q)
	r.datagram(transport.Datagram{Data: q.raw, Remote: addresses["A"], Err: errors.New("refused")})
	r.idle("not believed")
	r.dropped("counted", exchange.DropUndelivered, 1)
	r.receive("response", "NON 2.05 mid=1 tok=%s", hexOf(q))
	r.response("the exchange goes on", 1, "2.05")
}

func TestUndeliveredResponse(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("request", "CON GET mid=1")
	ev := r.handle("request", "GET")
	r.advance(time.Second)
	r.want("late", "ACK 0.00 mid=1")
	r.respond(ev, "2.05")
	s := r.want("separate", "CON 2.05")
	r.datagram(transport.Datagram{Data: s.raw, Remote: addresses["A"], Err: errors.New("refused")})
	r.advance(100 * time.Second)
	r.idle("no retransmission to nowhere")
	require.Equal(t, uint64(1), r.e.Stats().LostResponses)
}

// Every limit on requests answers 5.03 with Max-Age to a CON, drops a NON, counts, and keeps
// nothing.
func TestRefusedRequests(t *testing.T) {
	for _, test := range []struct {
		reason exchange.DropReason
		limits exchange.Limits
		fill   func(r *rig)
		method string
	}{
		{exchange.DropBusy, exchange.Limits{Handlers: 2, HandlersPerPeer: 2}, func(r *rig) {
			r.receive("fills a place", "NON GET mid=1 from=B")
			r.receive("fills a place", "NON GET mid=1 from=C")
		}, "GET"},
		{exchange.DropPeerBusy, exchange.Limits{HandlersPerPeer: 1}, func(r *rig) {
			r.receive("fills a place", "NON GET mid=1")
		}, "GET"},
		{exchange.DropMemory, exchange.Limits{RememberedBytes: 100}, func(*rig) {}, "POST"},
		{exchange.DropMemory, exchange.Limits{RememberedBytesPerPeer: 100}, func(*rig) {}, "PATCH"},
		{exchange.DropPeers, exchange.Limits{Peers: 2}, func(r *rig) {
			r.receive("fills a place", "NON GET mid=1 from=B")
			r.receive("fills a place", "NON GET mid=1 from=C")
		}, "GET"},
		{exchange.DropClosing, exchange.Limits{}, func(r *rig) { r.e.Drain() }, "GET"},
	} {
		t.Run(test.reason.String(), func(t *testing.T) {
			r := newRig(t, Config{Limits: test.limits})
			test.fill(r)
			r.out, r.events = nil, nil
			before := r.e.Stats()
			r.receive("request", "CON %s mid=77 tok=0102", test.method)
			s := r.want("refused", "ACK 5.03 mid=77 tok=0102")
			age, ok := s.Options.Uint(message.OptionMaxAge)
			require.True(t, ok, "Max-Age says when to come back")
			require.NotZero(t, age)
			r.receive("request", "NON %s mid=78 tok=0102", test.method)
			r.receive("request to a group", "NON %s mid=79 tok=0102 group", test.method)
			r.idle("in silence")
			r.dropped("refused", test.reason, 3)
			after := r.e.Stats()
			require.Equal(t, before.Peers, after.Peers)
			require.Equal(t, before.Remembered, after.Remembered)
			require.Equal(t, before.Handling, after.Handling)
			checkEngine(t, r.e)
		})
	}
}

// A later block of a body is taken when new requests are refused: who has begun is to come to an end.
func TestHandlersForLaterBlocks(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{Handlers: 1}})
	r.receive("fills the place", "NON GET mid=1 from=B")
	r.handle("request", "GET")
	r.receive("the first block", "CON PUT mid=1 tok=01 opt=27:08")
	r.want("refused", "ACK 5.03 mid=1")
	r.receive("a later one", "CON PUT mid=2 tok=01 opt=27:18")
	r.handle("request", "PUT")
	r.receive("one more", "CON PUT mid=3 tok=01 opt=27:28")
	r.want("refused: there are twice as many places", "ACK 5.03 mid=3")
}

func TestDrain(t *testing.T) {
	r := newRig(t, Config{})
	require.True(t, r.e.Idle())
	r.receive("request", "CON GET mid=1 tok=01")
	ev := r.handle("request", "GET")
	r.e.Drain()
	require.False(t, r.e.Idle(), "a handler works")
	r.receive("another", "CON GET mid=2 tok=01")
	r.want("refused", "ACK 5.03 mid=2")
	r.advance(time.Second)
	r.want("acknowledged", "ACK 0.00 mid=1")
	r.receive("a duplicate of what is under way", "CON GET mid=1 tok=01")
	r.want("is not", "ACK 0.00 mid=1")
	r.respond(ev, "2.05")
	s := r.want("the answer goes out", "CON 2.05")
	require.False(t, r.e.Idle(), "it waits for its acknowledgement")
	r.acknowledge(s)
	require.True(t, r.e.Idle())
}

// Drop ends a request without a response.
func TestDropByTheLayerAbove(t *testing.T) {
	r := newRig(t, Config{})
	r.receive("request", "NON GET mid=1")
	ev := r.handle("request", "GET")
	r.e.Drop(r.now, ev.Incoming, exchange.DropBadOption)
	r.e.Drop(r.now, ev.Incoming, exchange.DropBadOption)
	r.collect()
	r.idle("a NON is rejected in silence")
	r.dropped("counted once", exchange.DropBadOption, 1)
	require.Equal(t, exchange.ErrClosed, r.tryRespond(ev, "2.05"), "it is settled")
	r.receive("request", "CON GET mid=2")
	ev = r.handle("request", "GET")
	r.e.Drop(r.now, ev.Incoming, exchange.DropBadOption)
	r.collect()
	r.want("a CON is acknowledged", "ACK 0.00 mid=2")
	r.receive("again", "CON GET mid=2")
	r.want("as is its duplicate", "ACK 0.00 mid=2")
	require.Zero(t, r.e.Stats().Handling)
	r.e.NotSent(&transport.Datagram{Remote: addresses["A"]})
	require.Equal(t, uint64(1), r.e.Stats().Dropped[exchange.DropWrite])
	r.quiet()
}

// The send queue is bounded. What is dropped there is retransmitted or asked for again.
func TestSendQueue(t *testing.T) {
	r := newRig(t, Config{Limits: exchange.Limits{SendQueue: 4}, Params: exchange.Params{NStart: 10}})
	get := message.Message{Code: message.GET}
	for range 6 {
		_, err := r.e.Request(r.now, Target{Remote: addresses["A"]}, &get, RequestOptions{})
		require.NoError(t, err)
	}
	ping := codec.AppendHeader(nil, message.Confirmable, message.Empty, 1)
	r.e.Receive(r.now, &transport.Datagram{Data: ping, Remote: addresses["A"]})
	checkEngine(t, r.e)
	require.Equal(t, uint64(3), r.e.Stats().Dropped[exchange.DropQueueFull])
	r.collect()
	require.Len(t, r.out, 4)
	r.out = nil
	r.advance(4 * time.Second)
	require.GreaterOrEqual(t, len(r.out), 6, "all are retransmitted")
	r.quiet()
}

// What is traced, in which order.
func TestTrace(t *testing.T) {
	r := newRig(t, Config{Trace: true})
	trace := func() string {
		var s []string
		for _, ev := range r.e.Traces(nil) {
			require.WithinDuration(t, r.now, ev.Time, time.Millisecond)
			w := ev.Kind.String()
			if ev.Reason != 0 {
				w += ":" + ev.Reason.String()
			}
			s = append(s, w)
		}
		return strings.Join(s, " ")
	}
	r.request(1, "CON GET")
	x := r.request(2, "CON GET")
	r.cancel(x)
	require.Equal(t, "sent queued", trace())
	q := r.want("request", "CON GET")
	for len(r.out) == 0 {
		r.advance(time.Millisecond)
	}
	require.Equal(t, "retransmitted sent", trace())
	r.receive("ack", "ACK 0.00 mid=%d", q.MessageID)
	require.Equal(t, "received acknowledged", trace())
	r.receive("again", "ACK 0.00 mid=%d", q.MessageID)
	require.Equal(t, "received dropped:unmatched-ack", trace())
	r.receive("rst", "RST 0.00 mid=%d", q.MessageID)
	require.Equal(t, "received dropped:unmatched-reset", trace())
	r.receive("response", "ACK 2.05 mid=%d tok=%s", q.MessageID, hexOf(q))
	r.request(3, "CON GET")
	require.Equal(t, "received sent", trace())
	q = r.out[len(r.out)-1]
	r.receive("rst", "RST 0.00 mid=%d", q.MessageID)
	require.Equal(t, "received ended", trace())
	r.receive("request", "NON GET mid=1")
	r.receive("request", "NON GET mid=1")
	require.Equal(t, "received received duplicate", trace())
	r.bytes("version 0", "00000000")
	require.Equal(t, "received dropped:version", trace())
	r.datagram(transport.Datagram{Data: q.raw, Remote: addresses["A"], Err: errors.New("refused")})
	require.Equal(t, "undelivered", trace())
	require.Empty(t, trace())
}
