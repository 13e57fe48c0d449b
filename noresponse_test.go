package coap_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
)

// An update can go to a group, whose members are silent.
func TestSendToGroup(t *testing.T) {
	bubble(t, "a group", func(t *testing.T) {
		r := newRig(t, nil, nil)
		member := r.newPeer(netip.MustParseAddrPort("192.0.2.11:5683"))
		require.NoError(t, member.conn.Join(groupAddr.Addr(), 0))
		c := &coap.Client{Endpoint: r.ep}
		require.NoError(t, c.Send(t.Context(), request(t, coap.POST, groupAddr, "/lights?on")))
		s := member.want("the switch", "NON POST path=lights query=on opt=258:1a")
		member.send("NON 4.04 mid=1 tok=%s", s.Token)
		require.Equal(t, uint64(0), r.ep.Stats().Responses)
		require.Error(t, c.Do(t.Context(), request(t, coap.POST, groupAddr, "/lights?on"), new(coap.Response)))
		r.requireForgotten()
	})
}
