package udp

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
)

// Of sockets that share an address each gets what comes from some of the remote endpoints, always the same ones.
func TestListenShared(t *testing.T) {
	if runtime.GOOS != "linux" {
		_, err := ListenShared("127.0.0.1:0", 2, nil)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		return
	}
	const sockets, clients, each = 4, 64, 5
	conns, err := ListenShared("127.0.0.1:0", sockets, nil)
	require.NoError(t, err)
	require.Len(t, conns, sockets)
	type arrival struct {
		by   int
		from netip.AddrPort
	}
	arrivals := make(chan arrival, clients*each)
	for i, c := range conns {
		require.Equal(t, conns[0].LocalAddr(), c.LocalAddr())
		t.Cleanup(func() { c.Close() })
		go func() {
			ds := make([]transport.Datagram, 8)
			for {
				for j := range ds {
					ds[j].Data = make([]byte, 100)
				}
				n, err := c.ReadBatch(ds)
				if err != nil {
					return
				}
				for _, d := range ds[:n] {
					arrivals <- arrival{i, d.Remote}
				}
			}
		}()
	}
	to := net.UDPAddrFromAddrPort(conns[0].LocalAddr())
	for range clients {
		c, err := net.DialUDP("udp", nil, to)
		require.NoError(t, err)
		defer c.Close()
		for range each {
			_, err := c.Write([]byte("x"))
			require.NoError(t, err)
		}
	}
	of := make(map[netip.AddrPort]int)
	used := make(map[int]bool)
	limit := time.After(10 * time.Second)
	for range clients * each {
		select {
		case a := <-arrivals:
			if by, ok := of[a.from]; ok {
				require.Equal(t, by, a.by, "one socket for each remote endpoint")
			}
			of[a.from] = a.by
			used[a.by] = true
		case <-limit:
			t.Fatal("datagrams are missing")
		}
	}
	require.Len(t, of, clients)
	require.Len(t, used, sockets, "64 clients and no work for a socket")
}

// Only the first of them gets what is for all: a broadcast is answered once.
func TestSharedBroadcast(t *testing.T) {
	c := &Conn{follows: true}
	for group, want := range map[string]bool{"224.0.1.187": true, "255.255.255.255": true, "ff02::fd": true} {
		require.Equal(t, want, c.strays(&transport.Datagram{Group: netip.MustParseAddr(group)}), group)
	}
	require.False(t, c.strays(&transport.Datagram{}), "it is for one")
}

// One socket is an ordinary one, and an address that is taken stays an error.
func TestListenSharedFails(t *testing.T) {
	one, err := ListenShared("127.0.0.1:0", 1, nil)
	require.NoError(t, err)
	defer one[0].Close()
	for _, n := range []int{1, 3} {
		_, err = ListenShared(one[0].LocalAddr().String(), n, nil)
		require.Error(t, err)
	}
}
