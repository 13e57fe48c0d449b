package interop

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// nat forwards the datagrams of one client to a server and back, and sends the server those of the client from
// a port of its own, which it can change. It can lose one of them.
type nat struct {
	addr   netip.AddrPort // where clients send to
	server netip.AddrPort
	front  *net.UDPConn
	done   sync.WaitGroup

	mu     sync.Mutex
	back   *net.UDPConn
	client netip.AddrPort
	latest []byte // datagram of the client
	lost   loss
	passed [2]int // datagrams to and from the server
}

// loss is a datagram that gets lost: which one of those in a direction, from 1 on. 0 is none.
type loss struct {
	toServer bool
	nth      int
}

func startNAT(t *testing.T, server netip.AddrPort, lost loss) *nat {
	t.Helper()
	n := &nat{server: server, front: listenUDP(t), lost: lost}
	n.addr = n.front.LocalAddr().(*net.UDPAddr).AddrPort()
	n.rebind(t)
	n.done.Go(n.forward)
	t.Cleanup(func() {
		n.front.Close()
		n.outside().Close()
		n.done.Wait()
	})
	return n
}

func listenUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	require.NoError(t, err)
	return c
}

// rebind makes the client of the server come from another port. What the server sends to the old one gets lost.
func (n *nat) rebind(t *testing.T) {
	t.Helper()
	back := listenUDP(t)
	n.mu.Lock()
	old := n.back
	n.back = back
	n.mu.Unlock()
	if old != nil {
		require.NotEqual(t, old.LocalAddr(), back.LocalAddr())
		old.Close()
	}
	n.done.Go(func() { n.backward(back) })
}

// outside returns the socket that the server knows.
func (n *nat) outside() *net.UDPConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.back
}

// seen is the address of the client as the server sees it.
func (n *nat) seen() netip.AddrPort { return n.outside().LocalAddr().(*net.UDPAddr).AddrPort() }

// contentType is the first byte of the latest datagram of the client.
func (n *nat) contentType() byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.latest[0]
}

// replay sends the latest datagram of the client once more, from another address.
func (n *nat) replay(t *testing.T) {
	t.Helper()
	c := listenUDP(t)
	defer c.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	_, err := c.WriteToUDPAddrPort(n.latest, n.server)
	require.NoError(t, err)
}

// loses counts a datagram, and reports whether it gets lost. The lock is held.
func (n *nat) loses(toServer bool) bool {
	i := 0
	if toServer {
		i = 1
	}
	n.passed[i]++
	return n.lost == loss{toServer, n.passed[i]}
}

func (n *nat) forward() {
	b := make([]byte, 1<<16)
	for {
		size, from, err := n.front.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		n.mu.Lock()
		n.client, n.latest = from, append(n.latest[:0], b[:size]...)
		back, lost := n.back, n.loses(true)
		n.mu.Unlock()
		if !lost {
			back.WriteToUDPAddrPort(b[:size], n.server) // may be lost as well, as anywhere
		}
	}
}

func (n *nat) backward(back *net.UDPConn) {
	b := make([]byte, 1<<16)
	for {
		size, from, err := back.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if from != n.server {
			continue
		}
		n.mu.Lock()
		client, lost := n.client, n.loses(false)
		n.mu.Unlock()
		if !lost {
			n.front.WriteToUDPAddrPort(b[:size], client)
		}
	}
}
