package hostile

import (
	"bytes"
	"encoding/binary"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// inFlight is an exchange of a client whose server is a peer that has not answered yet.
type inFlight struct {
	client client
	server *peer
	asked  message.Message // what the server has got
	done   chan error
	resp   *coap.Response
}

func (s *site) inFlight() *inFlight {
	s.Helper()
	conn := listen(s, "127.0.0.7:0")
	x := &inFlight{client: client{&coap.Client{Endpoint: endpoint(s, conn, nil, &patient)}, conn}, done: make(chan error, 1)}
	x.server = newPeer(s, "127.0.0.8:0", x.client.conn.LocalAddr())
	ctx, uri := s.Context(), "coap://"+x.server.addr.String()+"/x"
	go func() {
		var err error
		x.resp, err = x.client.Get(ctx, uri)
		x.done <- err
	}()
	x.asked = x.server.next()
	require.Equal(s, message.GET, x.asked.Code)
	return x
}

// finish expects that the exchange is still there, and that the answer to it ends it.
func (x *inFlight) finish(t testing.TB) {
	t.Helper()
	require.Empty(t, x.done, "the exchange goes on")
	m := message.Message{Type: message.Acknowledgement, Code: message.Content, MessageID: x.asked.MessageID, Token: x.asked.Token, Payload: []byte("right")}
	x.server.send(m)
	require.NoError(t, <-x.done)
	require.Equal(t, "right", string(x.resp.Payload))
}

// bare returns an Empty message.
func bare(typ message.Type, mid uint16) []byte {
	return codec.AppendHeader(nil, typ, message.Empty, mid)
}

// sweep sends n messages, each with a message ID that is not mid, and pings after each burst.
func (p *peer) sweep(n int, mid uint16, make func(mid uint16) []byte) {
	p.Helper()
	for i := 1; i <= n; i++ {
		p.sendBytes(make(mid + uint16(i)))
		if i%smallBurst == 0 || i == n {
			p.fence()
		}
	}
}

// An exchange ends by an acknowledgement or reset with its message ID from its server, and by a response with
// its token as well; not by any that a third party sends, nor by any other one.
//
// Proves 7252-4.2-s07, 7252-5.3.2-01, 7252-5.3.2-02, 7252-5.3.2-s05.
func TestForgedReplies(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	x := s.inFlight()
	mid, token := x.asked.MessageID, x.asked.Token
	stranger := newPeer(t, "127.0.0.9:0", x.server.to)
	piggybacked := message.Message{Type: message.Acknowledgement, Code: message.Content, MessageID: mid, Token: token}
	want := map[exchange.DropReason]int{}
	before := x.client.Stats()

	// A stranger who has overheard everything.
	stranger.sendBytes(bare(message.Reset, mid))
	want[exchange.DropUnmatchedReset]++
	stranger.sendBytes(bare(message.Acknowledgement, mid))
	want[exchange.DropUnmatchedAck]++
	stranger.send(piggybacked)
	want[exchange.DropUnmatchedAck]++
	for _, typ := range []message.Type{message.Confirmable, message.NonConfirmable} {
		stranger.send(message.Message{Type: typ, Code: message.Content, MessageID: 1, Token: token})
		want[exchange.DropUnexpected]++
	}
	resets := stranger.fence()
	require.Len(t, resets, 2, "what nobody has asked for is rejected")

	// The server's address, but a guess.
	n := scaled(1<<16 - 1)
	for _, typ := range []message.Type{message.Reset, message.Acknowledgement} {
		x.server.sweep(n, mid, func(mid uint16) []byte { return bare(typ, mid) })
	}
	want[exchange.DropUnmatchedReset] += n
	want[exchange.DropUnmatchedAck] += n
	for _, length := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 64, 65, 269, 1000} {
		guess := bytes.Repeat(token, 1+length/len(token))[:length]
		if length == len(token) {
			guess[0] ^= 1
		}
		for typ := message.Confirmable; typ <= message.Acknowledgement; typ++ {
			m := message.Message{Type: typ, Code: message.Content, MessageID: mid, Token: guess, Payload: []byte("wrong")}
			x.server.send(m)
			if typ == message.Acknowledgement {
				want[exchange.DropTokenMismatch]++
			} else {
				want[exchange.DropUnexpected]++
			}
		}
		x.server.fence()
	}
	for i := range uint64(scaled(20_000)) {
		guess := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(token)+i+1)
		x.server.send(message.Message{Type: message.NonConfirmable, Code: message.Content, MessageID: uint16(i), Token: guess})
		want[exchange.DropUnexpected]++
		if i%smallBurst == smallBurst-1 {
			x.server.fence()
		}
	}
	x.server.fence()
	require.Equal(t, want, dropsSince(before, x.client.Stats()))
	figure(t, "an exchange has survived %v", want)
	x.finish(t)
}

// A notification is acknowledged or rejected by its message ID and its observer only.
//
// Proves 7641-4.5-04.
func TestForgedObserverReplies(t *testing.T) {
	s := serve(t, "127.0.0.1:0", &patient)
	p, stranger := s.peer("127.0.0.9:0"), s.peer("127.0.0.10:0")
	m := get(message.Confirmable, 1, "observer", "state")
	m.Options.SetUint(message.OptionObserve, 0)
	require.Equal(t, message.Content, p.prove(m).Code)
	before := s.rest()

	notify := func() uint16 {
		n := s.state.Add(1)
		s.Notify("/state")
		for {
			if got := p.next(); len(got.Payload) > 0 && string(got.Payload) == string(rune('0'+n)) {
				require.Equal(t, message.Confirmable, got.Type)
				return got.MessageID
			}
		}
	}
	mid := notify()
	for _, typ := range []message.Type{message.Reset, message.Acknowledgement} {
		stranger.sendBytes(bare(typ, mid))
		stranger.fence()
		n := scaled(1<<16 - 1)
		p.sweep(n, mid, func(mid uint16) []byte { return bare(typ, mid) })
		reason := exchange.DropUnmatchedReset
		if typ == message.Acknowledgement {
			reason = exchange.DropUnmatchedAck
		}
		require.Equal(t, n+1, dropsSince(before, s.Stats())[reason])
		require.Equal(t, 1, s.Observers("/state"))
		require.Equal(t, 1, s.Stats().Exchanges, "the notification is not acknowledged")
	}
	p.sendBytes(bare(message.Acknowledgement, mid))
	p.fence()
	s.rest()
	mid = notify()
	require.Equal(t, 1, s.Observers("/state"))
	p.sendBytes(bare(message.Reset, mid))
	p.fence()
	require.Zero(t, s.Observers("/state"), "the right one does")
	require.EqualValues(t, 1, s.Stats().LostResponses)
}

// A message of ICMP ends an exchange if it quotes the request, and no other does.
//
// Proves 7252-4.2-10.
func TestForgedICMP(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	router, err := net.ListenIP("ip4:1", &net.IPAddr{IP: net.IPv4(127, 0, 0, 66)})
	if err != nil {
		t.Skipf("no raw sockets, which want root: %v", err)
	}
	defer router.Close()
	x := s.inFlight()
	sent := encode(t, x.asked)
	from, to := x.client.conn.LocalAddr(), x.server.addr
	unreachable := func(quoted []byte) {
		data := icmp(3, 3, ipPacket(from.Addr().AsSlice(), to.Addr().AsSlice(), udpPacket(from.Port(), to.Port(), quoted)))
		_, err := router.WriteToIP(data, &net.IPAddr{IP: from.Addr().AsSlice()})
		require.NoError(t, err)
	}
	wrong := func(at int) []byte {
		b := bytes.Clone(sent)
		b[at] ^= 1
		return b
	}
	quotes := [][]byte{
		{}, sent[:2], bare(message.Confirmable, x.asked.MessageID+1), wrong(2), wrong(3), wrong(4), wrong(len(sent) - 1),
		append(bytes.Clone(sent), 0), bytes.Repeat([]byte{0xFF}, len(sent)),
	}
	before := x.client.Stats()
	for _, q := range quotes {
		unreachable(q)
		x.server.fence()
	}
	require.Empty(t, x.done, "the exchange goes on")
	require.Equal(t, map[exchange.DropReason]int{exchange.DropUndelivered: len(quotes)}, dropsSince(before, x.client.Stats()))
	unreachable(sent)
	err = <-x.done
	require.ErrorIs(t, err, coap.ErrUnreachable)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	figure(t, "an exchange has survived %d forged ICMP messages", len(quotes))
}

// ipPacket returns data of UDP behind a header of IPv4 (RFC 791).
func ipPacket(from, to, data []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(data)))
	b = append(b, 0, 0, 0, 0, 64, 17, 0, 0)
	b = append(append(b, from...), to...)
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, data...)
}

// icmp returns a message of ICMP that quotes a packet (RFC 792).
func icmp(typ, code byte, quoted []byte) []byte {
	b := append([]byte{typ, code, 0, 0, 0, 0, 0, 0}, quoted...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// checksum is that of the Internet (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xFFFF {
		sum = sum&0xFFFF + sum>>16
	}
	return ^uint16(sum)
}
