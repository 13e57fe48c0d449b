package coap_test

import (
	"context"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// vector is a datagram that has been trouble for some implementation, as a Confirmable
// message with message ID 0001, and the right reaction to it: "RST", "nothing", or the
// line of the answer, "ACK 4.02" or "ACK 2.05 tok=01".
type vector struct {
	name, digits, want string
}

// x16 is a payload of 16 bytes.
var x16 = strings.Repeat("78", 16)

var vectors = []vector{
	{"P1 three bytes", "400100", "nothing"},
	{"P2 token of 9 bytes", "49010001010203040506070809", "ACK 4.04 tok=010203040506070809"},
	{"P2 token of 9 bytes, resource there", "49010001010203040506070809b161", "ACK 2.05 tok=010203040506070809"},
	{"P3 TKL 13, nothing follows", "4d010001", "RST"},
	{"P4 TKL 14, one byte follows", "4e01000100", "RST"},
	{"P5 TKL 15", "4f010001", "RST"},
	{"P6 TKL 8, three bytes", "48010001010203", "RST"},
	{"P7 delta 13, no byte", "40010001d0", "RST"},
	{"P8 delta 14, one byte", "40010001e001", "RST"},
	{"P9 length 13, no byte", "400100010d", "RST"},
	{"P10 length 14, one byte", "400100010e01", "RST"},
	{"P11 delta 15", "40010001f0", "RST"},
	{"P12 length 15", "40010001bf", "RST"},
	{"P13 length 5, two bytes", "40010001b56162", "RST"},
	{"P14 length 65804", "40010001beffff", "RST"},
	{"P15 number 65547", "40010001e0fef2c0", "RST"},
	{"P16 numbers wrap to Uri-Path", "40010001b161e0fee7c162", "RST"},
	{"P17 marker alone", "40010001ff", "RST"},
	{"P17 option, marker", "40010001b161ff", "RST"},
	{"P18 Empty with token", "41000001aa", "RST"},
	{"P18 Empty with option", "40000001b161", "RST"},
	{"P18 Empty with payload", "40000001ff78", "RST"},
	{"P19 ping", "40000001", "RST"},
	{"P21 code class 1", "40210001", "RST"},
	{"P21 code class 6", "40c10001", "RST"},
	{"P21 code class 7", "40e10001", "RST"},
	{"P22 version 0", "00010001", "nothing"},
	{"P22 version 2", "80010001", "nothing"},
	{"P22 version 3", "c0010001", "nothing"},
	{"P25 1,000 Uri-Paths", "40010001b0" + strings.Repeat("00", 999), "ACK 4.04"},
	{"P26 critical option 65", "40030001b161d029ff78", "ACK 4.02"},
	{"P27 elective option 66", "40030001b161d02aff78", "ACK 2.04"},
	{"P28 Accept twice", "40010001b16161000132", "ACK 4.02"},
	{"P29 Uri-Host of length 0", "40010001308161", "ACK 4.02"},
	{"P30 Uri-Port of 3 bytes", "40010001730102034161", "ACK 4.02"},
	{"P31 Content-Format of 3 bytes", "40030001b16113000000", "ACK 2.04"},
	{"P31 Observe of 4 bytes", "4001000164000000005161", "ACK 2.05"},
	{"P31 ETag of 9 bytes", "40010001490102030405060708097161", "ACK 2.05"},
	{"P32 If-None-Match not empty", "4003000151016161", "ACK 4.02"},
	{"P33 Block1 of SZX 7", "40030001b161d1030fff" + x16, "ACK 4.00"},
	{"P34 Block1 of 4 bytes", "40030001b161d40300000008ff" + x16, "ACK 4.02"},
	{"P35 Block1 with leading zeros", "40030001b161d303000008ff" + x16, "ACK 2.31"},
	{"P36 transfer starts at NUM 1", "40030001b161d10318ff" + x16, "ACK 4.08"},
	{"P37 block of 16 with 5 bytes", "40030001b161d10308ff7878787878", "ACK 4.00"},
	{"P38 block without payload", "40030001b161d10308", "ACK 4.00"},
	{"P39 NUM 0xFFFFF", "40030001b161d303fffffeff78", "ACK 4.00"},
	{"P40 Block1 and Block2", "40030001b161c1024108ff" + x16, "ACK 2.31"},
	{"P42 Proxy-Uri with a host of 300 bytes", encoded(message.OptionProxyURI, "coap://"+strings.Repeat("h", 300)+"/"), "ACK 5.05"},
	{"P42 Uri-Host of 256 bytes", encoded(message.OptionURIHost, strings.Repeat("h", 256)), "ACK 4.02"},
	{"P43 If-Match with another ETag", "400300011455443322a161ff78", "ACK 4.12"},
	{"P44 reserved Location option", "4003000181623161d070", "ACK 4.02"},
	{"P45 segment ..", encoded(message.OptionURIPath, "x", "a", "..", "b"), "ACK 4.02"},
	{"P45 segment a/b merges with nothing", encoded(message.OptionURIPath, "x", "a/b"), "ACK 4.04"},
	{"P45 segment a/b", encoded(message.OptionURIPath, "id", "a/b"), `ACK 2.05 pay="\"a/b\""`},
	{"P45 segment NUL", encoded(message.OptionURIPath, "id", "\x00"), `ACK 2.05 pay="\"\\x00\""`},
	{"P45 segment of invalid UTF-8", encoded(message.OptionURIPath, "id", "\xff\xfe"), `ACK 2.05 pay="\"\\xff\\xfe\""`},
	{"P46 PUT If-None-Match, exists", "40030001506161ff78", "ACK 4.12"},
}

// encoded returns a GET with an option once for each value.
func encoded(n message.OptionNumber, values ...string) string {
	m := message.Message{Code: message.GET, MessageID: 1}
	for _, v := range values {
		m.Options.AddString(n, v)
	}
	b, err := codec.AppendUDP(nil, &m)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

// reaction returns what is to come when the vector is sent with another type: a
// Non-confirmable message is rejected in silence, acknowledgements and resets always are.
func (v *vector) reaction(typ message.Type) string {
	switch typ {
	case message.Confirmable:
		return v.want
	case message.NonConfirmable:
		if answer, ok := strings.CutPrefix(v.want, "ACK "); ok && !strings.HasPrefix(answer, "4.02") {
			return "NON " + answer
		}
	}
	return "nothing"
}

// Each vector gets the right reaction, in each type, while two exchanges with the same peer are
// under way, which go on; and nothing is left in the end.
//
// Proves 7252-3-02, 7252-3-04, 7252-3.1-02, 7252-3.1-03, 7252-4.1-02.
// Proves 7252-4.2-01, 7252-4.2-03, 7252-4.2-04, 7252-4.2-s04, 7252-4.2-s07.
// Proves 7252-4.3-03, 7252-4.3-04, 7252-4.4-01.
// Proves 7252-5.3.1-01, 7252-5.4.1-01, 7252-5.4.1-02, 7252-5.4.1-05, 7252-5.4.3-01, 7252-5.4.5-03.
// Proves 7252-5.2.3-01, 7252-5.7.2-01, 7252-5.10.2-03, 7252-5.10.7-03, 7252-5.10.8-01, 7252-5.10.8-02.
func TestVectors(t *testing.T) {
	for _, v := range vectors {
		for typ := message.Confirmable; typ <= message.Reset; typ++ {
			bubble(t, v.name+" as "+typ.String(), func(t *testing.T) { testVector(t, v, typ) })
		}
	}
}

func testVector(t *testing.T, v vector, typ message.Type) {
	s := newResources()
	r := newRig(t, s, nil)
	under := startBoth(r)
	before := r.ep.Stats()

	data := unhex(t, v.digits)
	data[0] = data[0]&^0x30 | byte(typ)<<4
	r.peer.sendBytes(serverAddr, data)
	switch want := v.reaction(typ); want {
	case "nothing":
		r.peer.wantNothing(v.name)
	case "RST":
		r.peer.want(v.name, "RST 0.00 mid=0x0001")
	default:
		got := r.peer.want(v.name, "%s", want)
		if typ == message.Confirmable {
			require.EqualValues(t, 1, got.MessageID)
		}
		if got.Code == message.BadOption {
			require.NotEmpty(t, got.Payload, "4.02 has a diagnostic")
		}
	}
	after := r.ep.Stats()
	if want := v.reaction(typ); want == "RST" || want == "nothing" && v.want[:3] != "ACK" {
		require.Equal(t, sizes(before), sizes(after), "a datagram that does not parse leaves no state")
	}
	if code := strings.TrimPrefix(v.want, "ACK "); code == v.want || code[0] == '4' {
		require.Equal(t, "v0", s.state(), "the resource")
		require.Zero(t, s.Count("GET /x/a/b"), "segments are not merged")
	}
	under.finish()
	r.requireForgotten()
}

// both are two exchanges with the peer that are under way: the peer waits for a slow answer of ours, and
// we wait for its answer.
type both struct {
	*rig
	ours   *result
	asked  packet
	cancel context.CancelFunc
}

func startBoth(r *rig) *both {
	r.Helper()
	b := &both{rig: r}
	r.peer.send("CON GET mid=0x7001 tok=51 path=slow")
	pass(time.Second)
	r.peer.want("the handler takes its time", "ACK 0.00 mid=0x7001")
	for b.asked.MessageID <= 1 { // which is that of the vectors
		if b.cancel != nil {
			b.cancel()
		}
		var ctx context.Context
		ctx, b.cancel = context.WithCancel(context.Background())
		b.ours = async(ctx, r.ep, request(r, coap.GET, peerAddr, "/ours"))
		b.asked = r.peer.want("our request", "CON GET path=ours")
	}
	return b
}

// finish expects that both exchanges come to a good end.
func (b *both) finish() {
	b.Helper()
	pass(slowTime - time.Second)
	got := b.peer.want("the slow answer", "CON 2.05 tok=51 pay=late")
	b.peer.send("ACK 0.00 mid=%d", got.MessageID)
	require.False(b, b.ours.IsDone(), "our request is not answered yet")
	b.peer.send("ACK 2.05 mid=%d tok=%s pay=hello", b.asked.MessageID, b.asked.Token)
	b.ours.RequireCode(b, "our request", "2.05")
	b.cancel()
	b.peer.wantNothing("all is said")
}

// What is malformed, reserved or an error gets no answer at all when it was sent to a
// group, of whatever type, least of all a Reset.
//
// Proves 7252-8.1-03.
func TestVectorsToGroup(t *testing.T) {
	for _, v := range vectors {
		if strings.HasPrefix(v.want, "ACK 2") {
			continue
		}
		for typ := message.Confirmable; typ <= message.Reset; typ++ {
			bubble(t, v.name+" as "+typ.String(), func(t *testing.T) {
				r := newRig(t, newResources(), nil)
				under := startBoth(r)
				before := r.ep.Stats()
				data := unhex(t, v.digits)
				data[0] = data[0]&^0x30 | byte(typ)<<4
				r.peer.sendBytes(groupAddr, data)
				r.peer.wantNothing(v.name)
				if !strings.HasPrefix(v.want, "ACK") {
					require.Equal(t, sizes(before), sizes(r.ep.Stats()), "no state")
				}
				under.finish()
				r.requireForgotten()
			})
		}
	}
}

// P24: a message of the peer's own with the message ID of our request, which is pending, neither
// confirms nor answers it.
//
// Proves 7252-4.4-03, 7252-5.3.2-02.
func TestVectorSameMessageID(t *testing.T) {
	for _, line := range []string{"CON GET", "NON GET"} {
		bubble(t, line, func(t *testing.T) {
			r := newRig(t, newResources(), nil)
			ours := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/ours"))
			asked := r.peer.want("our request", "CON GET")
			r.peer.send("%s mid=%d tok=%s path=plain", line, asked.MessageID, asked.Token)
			got := r.peer.next("the answer to the peer's")
			require.Equal(t, "plain", string(got.Payload))
			require.False(t, ours.IsDone())
			pass(3 * time.Second)
			r.peer.want("our request again", "CON GET mid=%d", asked.MessageID)
			r.peer.send("ACK 2.05 mid=%d tok=%s pay=hello", asked.MessageID, asked.Token)
			require.Equal(t, "hello", string(ours.RequireCode(t, "our request", "2.05").Payload))
			r.requireForgotten()
		})
	}
}

// A separate response with the wrong token, and an acknowledgement with the wrong token or from
// somebody else, leave our request pending.
//
// Proves 7252-4.4-03, 7252-5.3.2-01, 7252-5.3.2-02, 7252-5.3.2-03, 7252-5.3.2-s05.
func TestForgedAnswers(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, nil, nil)
		other := r.newPeer(peerAddr2)
		ours := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/ours"))
		asked := r.peer.want("our request", "CON GET")
		mid, token := asked.MessageID, asked.Token.String()

		r.peer.send("ACK 2.05 mid=%d tok=0102030405060708 pay=forged", mid)
		r.peer.send("ACK 2.05 mid=%d pay=forged", mid)
		r.peer.send("ACK 2.05 mid=%d tok=%s pay=forged", mid+1, token)
		r.peer.wantNothing("an acknowledgement is never answered")
		r.peer.send("CON 2.05 mid=9 tok=0102030405060708 pay=forged")
		r.peer.want("nobody waits for it", "RST 0.00 mid=9")
		other.send("ACK 2.05 mid=%d tok=%s pay=forged", mid, token)
		other.send("RST 0.00 mid=%d", mid)
		other.wantNothing("neither is answered")
		other.send("CON 2.05 mid=9 tok=%s pay=forged", token)
		other.want("not from whom we asked", "RST 0.00 mid=9")
		require.False(t, ours.IsDone())

		r.peer.send("CON 2.05 mid=10 tok=%s pay=true", token)
		r.peer.want("the separate response", "ACK 0.00 mid=10")
		require.Equal(t, "true", string(ours.RequireCode(t, "our request", "2.05").Payload))
		stats := r.ep.Stats()
		require.EqualValues(t, 2, stats.Dropped[exchange.DropTokenMismatch], "wrong tokens")
		require.EqualValues(t, 2, stats.Dropped[exchange.DropUnmatchedAck], "wrong message ID, wrong peer")
		require.EqualValues(t, 1, stats.Dropped[exchange.DropUnmatchedReset])
		require.EqualValues(t, 2, stats.Dropped[exchange.DropUnexpected])
	})
}
