package hostile

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/reference"
	"github.com/coapkit/coap/message"
)

// fate returns why a datagram to a server that has sent nothing must be dropped, as the slow and obvious
// codec sees it; DropNone for what is a request, well-formed, or a ping.
func fate(data []byte) exchange.DropReason {
	m, err := reference.Decode(data)
	switch err {
	case message.ErrHeaderTooShort:
		return exchange.DropTooShort
	case message.ErrVersion:
		return exchange.DropVersion
	}
	typ, code := message.Type(data[0]>>4&3), message.Code(data[1])
	bare := len(data) == 4 && data[0]&15 == 0 && code == message.Empty
	class := code.Class()
	response := class >= 2 && class <= 5
	switch {
	case typ == message.Reset && bare:
		return exchange.DropUnmatchedReset
	case typ == message.Acknowledgement && (bare || response):
		return exchange.DropUnmatchedAck
	case typ == message.Reset || typ == message.Acknowledgement:
		return exchange.DropBadReply
	case typ == message.NonConfirmable && code == message.Empty:
		return exchange.DropEmptyNon
	case bare:
		return exchange.DropNone
	case class != 0 && !response:
		return exchange.DropReservedCode
	case err != nil:
		return exchange.DropMalformed
	case response:
		return exchange.DropUnexpected
	case len(m.Token) > coap.Limits{}.WithDefaults().TokenLength:
		return exchange.DropTokenTooLong
	}
	return exchange.DropNone
}

// judged are the reasons that fate knows all about.
var judged = []exchange.DropReason{
	exchange.DropTooShort, exchange.DropVersion, exchange.DropUnmatchedReset, exchange.DropUnmatchedAck, exchange.DropBadReply,
	exchange.DropEmptyNon, exchange.DropReservedCode, exchange.DropMalformed, exchange.DropUnexpected, exchange.DropTokenTooLong,
}

// malformed returns the datagrams that have broken implementations, as each type, and n more that are
// nearly right or not at all.
func malformed(n int) (all [][]byte) {
	for _, p := range reference.Packets() {
		for typ := range byte(4) {
			data := p.Bytes()
			data[0] = data[0]&^0x30 | typ<<4
			all = append(all, data)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for i := range n {
		data := reference.Mutate(r, reference.Encode(reference.Random(r)))
		if i%4 == 0 {
			data = make([]byte, r.IntN(40))
			for j := range data {
				data[j] = byte(r.Uint32())
			}
		}
		all = append(all, data)
	}
	return all
}

// Malformed datagrams are counted under the right reason, and neither an exchange nor an observation of
// anybody ends by them: not even if they seem to come from the one end or the other.
//
// Proves 7252-4.3-03, 7252-4.3-04.
func TestMalformed(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	v := s.victim()
	p := s.peer("127.0.0.9:0")
	all := malformed(scaled(20_000))
	want := map[exchange.DropReason]int{}
	before := s.rest1()
	for i, data := range all {
		want[fate(data)]++
		p.sendBytes(data)
		if i%burst == burst-1 || i == len(all)-1 {
			p.fence()
		}
		if i%(16*burst) == 0 {
			s.ask()
		}
	}
	after := s.rest1()
	got, seen := dropsSince(before, after), 0
	for _, r := range judged {
		require.Equal(t, want[r], got[r], "%v", r)
		require.NotZero(t, want[r], "%v is among them", r)
		seen += got[r]
	}
	figure(t, "%d datagrams, %d of them malformed or unexpected: %v", len(all), seen, got)

	// The same in the name of the victim and, but for resets, which might hit, in that of the server.
	for i, data := range all[:min(len(all), 5000)] {
		sendFrom(t, v.conn, s.to, data)
		if len(data) == 0 || data[0]>>4&3 != byte(message.Reset) {
			sendFrom(t, s.conn, v.conn.LocalAddr(), data)
		}
		if i%burst == burst-1 {
			s.ask()
			require.NoError(t, v.Ping(s.context(), "coap://"+s.to.String()))
		}
	}
	v.unharmed()
}
