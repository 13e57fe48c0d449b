package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport/dtls"
)

// The first byte of a record with a connection ID (RFC 9146 section 4).
const tls12CID = 25

// Californium's client observes a resource of our server through a NAT, which takes another port in the middle: with its
// next message the session is there, and so are the notifications, without another handshake.
//
// RFC 9146 sections 3, 4, 5 and 6.
func TestCaliforniumClientMoves(t *testing.T) {
	t.Parallel()
	requireCalifornium(t)
	inEachWay(t, func(t *testing.T, w way) {
		s := startSite(t, w.server)
		n := startNAT(t, s.conn.LocalAddr(), loss{})
		c := startCalifornium(t, "client", append(w.californiumClient, "cid=4")...)
		base := "coaps://" + n.addr.String()

		c.tell(t, "observe "+base+"/value")
		require.Equal(t, "start", c.notification(t))
		s.set("one")
		require.Equal(t, "one", c.notification(t))
		require.Equal(t, fmt.Sprintf("%s at /%v", w.who, n.seen()), c.get(t, base+"/who"))
		require.EqualValues(t, tls12CID, n.contentType())

		n.rebind(t)
		require.Equal(t, fmt.Sprintf("%s at /%v", w.who, n.seen()), c.get(t, base+"/who"))
		require.Equal(t, n.seen(), s.event(t, dtls.SessionMoves).Addr)
		s.set("two")
		require.Equal(t, "two", c.notification(t))

		// What somebody sends again from elsewhere does not take the session there.
		again := s.conn.Stats().NotAuthentic
		n.replay(t)
		s.set("three")
		require.Equal(t, "three", c.notification(t))

		requireOneSession(t, s.conn)
		require.EqualValues(t, 1, s.conn.Stats().Moved)
		require.Equal(t, again+1, s.conn.Stats().NotAuthentic)
		require.Equal(t, 1, c.sessions())
		c.tell(t, "close")
		require.ErrorIs(t, s.event(t, dtls.SessionEnds).Err, dtls.ClosedByPeer)
	})
}

// Our client observes a resource of Californium's server through a NAT, which takes another port in the middle: the next message of
// our client brings the session there, without another handshake.
//
// Californium 3.14 goes on to send notifications to the address from which it was asked for them; so they arrive again when our
// client has not had one for as long as Max-Age, and registers again.
//
// RFC 9146 sections 3, 4, 5 and 6.
func TestOurClientMoves(t *testing.T) {
	t.Parallel()
	requireCalifornium(t)
	inEachWay(t, func(t *testing.T, w way) {
		server := startCalifornium(t, "server", append(w.californiumServer, "cid=6", "age=1")...)
		n := startNAT(t, server.addr(), loss{})
		c := newClient(t, w.client)
		base := "coaps://" + n.addr.String()

		o := c.observe(t, base+"/value")
		requireNext(t, o, "start")
		server.tell(t, "set one")
		requireNext(t, o, "one")
		require.True(t, strings.HasSuffix(c.get(t, base+"/who"), fmt.Sprintf(" at /%v", n.seen())))
		require.EqualValues(t, tls12CID, n.contentType())

		n.rebind(t)
		require.True(t, strings.HasSuffix(c.get(t, base+"/who"), fmt.Sprintf(" at /%v", n.seen())))
		server.tell(t, "set two")
		requireNext(t, o, "two")
		server.tell(t, "set three")
		requireNext(t, o, "three")

		requireOneSession(t, c.conn)
		require.Equal(t, 1, server.sessions())
	})
}

// A client that does not offer connection IDs sends and gets records without.
//
// RFC 9146 section 3.
func TestCaliforniumClientWithoutConnectionID(t *testing.T) {
	t.Parallel()
	w := ways(t)[0]
	s := startSite(t, w.server)
	n := startNAT(t, s.conn.LocalAddr(), loss{})
	c := startCalifornium(t, "client", w.californiumClient...)
	require.Equal(t, fmt.Sprintf("%s at /%v", w.who, n.seen()), c.get(t, "coaps://"+n.addr.String()+"/who"))
	require.EqualValues(t, 23, n.contentType(), "application data")
	requireOneSession(t, s.conn)
}

// Whichever datagram of a handshake with connection IDs gets lost, there is a session.
//
// RFC 9146 section 3, RFC 6347 section 4.2.4.
func TestCaliforniumHandshakeLoss(t *testing.T) {
	t.Parallel()
	requireCalifornium(t)
	w := ways(t)[2]
	server := startCalifornium(t, "server", append(w.californiumServer, "cid=6")...)
	for _, toServer := range []bool{true, false} {
		for nth := 1; nth <= 5; nth++ {
			lost := loss{toServer, nth}
			t.Run(fmt.Sprintf("to the server %v, datagram %d", toServer, nth), func(t *testing.T) {
				t.Parallel()
				n := startNAT(t, server.addr(), lost)
				c := newClient(t, w.client)
				require.Equal(t, fmt.Sprintf("%s at /%v", w.who, n.seen()), c.get(t, fmt.Sprintf("coaps://%v/who", n.addr)))
				requireOneSession(t, c.conn)
				require.EqualValues(t, tls12CID, n.contentType())

				s := startSite(t, w.server)
				n = startNAT(t, s.conn.LocalAddr(), lost)
				peer := startCalifornium(t, "client", append(w.californiumClient, "cid=4")...)
				require.Equal(t, fmt.Sprintf("%s at /%v", w.who, n.seen()), peer.get(t, fmt.Sprintf("coaps://%v/who", n.addr)))
				require.EqualValues(t, 1, s.conn.Stats().Begun)
				require.EqualValues(t, tls12CID, n.contentType())
			})
		}
	}
}
