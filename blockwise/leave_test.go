package blockwise_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
)

// Transfers of a session are forgotten with it, and no others.
func TestLeave(t *testing.T) {
	h := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		return w.Bytes(0, bodyOf(100))
	})
	s := blockwise.NewServer(h, blockwise.ServerConfig{BlockSize: 64})
	plain, session, other := peerAt(1), peerAt(1), peerAt(1)
	session.Session, other.Session = "s", "t"
	for _, p := range []exchange.Peer{plain, session, other} {
		got, _ := send(s, p, step{request: "PUT /a 1:0/1/16"}.make())
		require.Equal(t, "2.31 1:0/1/16", got)
		got, _ = send(s, p, step{request: "GET /a"}.make())
		require.Equal(t, "2.05 2:0/1/64 +64", got)
	}
	s.Leave(plain)
	require.Zero(t, s.Stats().Expired)
	s.Leave(session)
	s.Leave(session)
	require.Equal(t, uint64(2), s.Stats().Expired)
	for _, p := range []exchange.Peer{plain, other} {
		got, _ := send(s, p, step{request: "PUT /a 1:1/1/16"}.make())
		require.Equal(t, "2.31 1:1/1/16", got)
	}
	got, _ := send(s, session, step{request: "PUT /a 1:1/1/16"}.make())
	require.Contains(t, got, "4.08")
}
