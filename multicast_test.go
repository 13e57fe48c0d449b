package coap_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// A group answers: every member, spread over the leisure, each from its own address.
//
// Proves 7252-8.1-01, 7252-8.2-05, 7252-8.2-03.
func TestMulticast(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		members := map[netip.AddrPort]bool{}
		for _, at := range []string{"192.0.2.1:5683", "192.0.2.2:5683", "192.0.2.3:5683", "192.0.2.4:5683"} {
			addr := netip.MustParseAddrPort(at)
			conn := listen(t, network, addr)
			require.NoError(t, conn.Join(groupAddr.Addr(), 0))
			endpoint(t, conn, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
				if !r.IsMulticast() || !r.NonConfirmable {
					return &coap.Error{Code: coap.BadRequest}
				}
				if addr.Addr() == netip.MustParseAddr("192.0.2.4") {
					return &coap.Error{Code: coap.NotFound}
				}
				return w.Text(at)
			}), nil)
			members[addr] = true
		}
		c := &coap.Client{Endpoint: endpoint(t, listen(t, network, peerAddr), nil, nil)}
		req := request(t, coap.GET, groupAddr, "/x")
		req.IfIndex = 1
		start := time.Now()
		got := map[netip.AddrPort]time.Duration{}
		for r, err := range c.Multicast(t.Context(), req) {
			require.NoError(t, err)
			require.Equal(t, r.Peer().Addr.String(), string(r.Payload))
			got[r.Peer().Addr] = time.Since(start)
		}
		require.Equal(t, coap.DefaultWindow, time.Since(start))
		require.Len(t, got, 3, "who has an error stays silent")
		require.NotContains(t, got, netip.MustParseAddrPort("192.0.2.4:5683"))
		distinct := map[time.Duration]bool{}
		for _, d := range got {
			require.LessOrEqual(t, d, defaultLeisure)
			distinct[d] = true
		}
		require.Len(t, distinct, 3, "the answers do not come at once")

		for range c.Multicast(t.Context(), req) {
			break // leaving the loop ends it
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var last error
		for _, err := range c.Multicast(ctx, req) {
			last = err
		}
		require.ErrorIs(t, last, context.DeadlineExceeded)
		pass(20 * time.Minute)
		require.Zero(t, sizes(c.Stats()))
	})
}

// joining is a transport that notes which groups it is asked to join.
type joining struct {
	*mem.Conn
	joined chan netip.Addr
	fail   error
}

func (j *joining) Join(group netip.Addr, ifIndex int) error {
	if j.fail != nil {
		return j.fail
	}
	j.joined <- group
	return nil
}

// A server joins its groups, and again and again, since interfaces come up.
func TestServerJoinsGroups(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		conn := &joining{Conn: listen(t, mem.NewNetwork(mem.Config{}), serverAddr), joined: make(chan netip.Addr, 100)}
		s := &coap.Server{Groups: coap.AllNodes()}
		done := make(chan error, 1)
		go func() { done <- s.Serve(t.Context(), conn) }()
		pass(time.Second)
		require.Len(t, conn.joined, 3)
		pass(30 * time.Second)
		require.Len(t, conn.joined, 12)
		require.NoError(t, s.Close())
		require.NoError(t, <-done)
		pass(time.Minute)
		require.Len(t, conn.joined, 12, "it has stopped")
	})
	bubble(t, "cannot", func(t *testing.T) {
		network := mem.NewNetwork(mem.Config{})
		failed := errors.New("no interface")
		s := &coap.Server{Groups: coap.AllNodes()}
		require.ErrorIs(t, s.Serve(t.Context(), &joining{Conn: listen(t, network, serverAddr), fail: failed}), failed)
		s = &coap.Server{Groups: coap.AllNodes()}
		plain := struct{ transport.Conn }{listen(t, network, serverAddr)}
		require.ErrorContains(t, s.Serve(t.Context(), plain), "the transport cannot join any")
	})
}

func TestMulticastMistakes(t *testing.T) {
	var c coap.Client
	defer c.Close()
	for _, uri := range []string{"coap://192.0.2.1/x", "coap://example.com/x", "/x"} {
		req, err := coap.NewRequest(coap.GET, uri)
		require.NoError(t, err)
		n := 0
		for _, err := range c.Multicast(t.Context(), req) {
			var mistake coap.RequestError
			require.ErrorAs(t, err, &mistake, uri)
			n++
		}
		require.Equal(t, 1, n)
	}
	// Proves 7252-8.2.1-04.
	req, err := coap.NewRequest(coap.GET, "coap://224.0.1.187/x")
	require.NoError(t, err)
	require.NoError(t, req.Options.AddETag([]byte{1}))
	req.IfIndex = 1
	for _, err := range c.Multicast(t.Context(), req) {
		require.ErrorContains(t, err, "ETag")
	}
	require.Zero(t, c.Stats().Sent)
}
