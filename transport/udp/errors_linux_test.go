package udp

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
)

// extended builds the control message of an entry of the error queue.
func extended(level, typ int, errno syscall.Errno, origin, icmpType, code byte) []byte {
	b, data := appendControl(nil, level, typ, sizeofExtendedErr+16)
	native.PutUint32(data, uint32(errno))
	data[4], data[5], data[6] = origin, icmpType, code
	return b
}

// RFC 7252 section 4.2: Packet Too Big, Source Quench and Time Exceeded should be ignored.
//
// Proves 7252-4.2-11.
// Proves 7252-4.2-12.
func TestWhichICMPErrorsAreReported(t *testing.T) {
	const (
		ip, ip6    = syscall.IPPROTO_IP, syscall.IPPROTO_IPV6
		err4, err6 = syscall.IP_RECVERR, syscall.IPV6_RECVERR
		local      = 1
	)
	for _, test := range []struct {
		name               string
		level, typ         int
		errno              syscall.Errno
		origin, icmp, code byte
		want               bool
	}{
		{"port unreachable", ip, err4, syscall.ECONNREFUSED, originICMP, 3, 3, true},
		{"host unreachable", ip, err4, syscall.EHOSTUNREACH, originICMP, 3, 1, true},
		{"fragmentation needed", ip, err4, syscall.EMSGSIZE, originICMP, 3, 4, false},
		{"source quench", ip, err4, syscall.ECONNREFUSED, originICMP, 4, 0, false},
		{"time exceeded", ip, err4, syscall.EHOSTUNREACH, originICMP, 11, 0, false},
		{"parameter problem", ip, err4, syscall.EPROTO, originICMP, 12, 0, true},
		{"IPv4 on a dual-stack socket", ip6, err6, syscall.ECONNREFUSED, originICMP, 3, 3, true},
		{"IPv6 port unreachable", ip6, err6, syscall.ECONNREFUSED, originICMP6, 1, 4, true},
		{"IPv6 packet too big", ip6, err6, syscall.EMSGSIZE, originICMP6, 2, 0, false},
		{"IPv6 time exceeded", ip6, err6, syscall.EHOSTUNREACH, originICMP6, 3, 0, false},
		{"IPv6 parameter problem", ip6, err6, syscall.EPROTO, originICMP6, 4, 1, true},
		{"refused by the system", ip, err4, syscall.EMSGSIZE, local, 0, 0, false},
		{"time stamp", ip, err4, syscall.ENOMSG, 4, 3, 3, false},
		{"no error", ip, err4, 0, originICMP, 3, 3, false},
		{"another message", ip, 99, syscall.ECONNREFUSED, originICMP, 3, 3, false},
	} {
		errno, got := parseError(extended(test.level, test.typ, test.errno, test.origin, test.icmp, test.code))
		require.Equal(t, test.want, got, test.name)
		if got {
			require.Equal(t, test.errno, errno, test.name)
		}
	}
	// The packet info comes first, and what is too short is nothing.
	both := append(appendPacketInfo(nil, true, addr("192.0.2.1"), 1),
		extended(ip, err4, syscall.ECONNREFUSED, originICMP, 3, 3)...)
	_, got := parseError(both)
	require.True(t, got)
	short, _ := appendControl(nil, ip, err4, sizeofExtendedErr-1)
	_, got = parseError(short)
	require.False(t, got)
}

// However many ICMP errors come, they do not end the socket: anybody can send them.
func TestICMPErrorsNeverEndTheSocket(t *testing.T) {
	done := make(chan struct{})
	close(done)
	p := patience{}
	for range 10 * maxFailures {
		require.True(t, p.pause(done, syscall.ECONNREFUSED))
	}
}

// What does not fit into one batch of reports is looked after by the next read, although no error
// is pending any more that would remind it.
func TestErrorQueueIsEmptied(t *testing.T) {
	c, err := Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	defer c.Close()
	gone, err := Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	require.NoError(t, gone.Close())

	_, err = c.WriteBatch([]transport.Datagram{{Data: []byte("x"), Remote: gone.LocalAddr()}})
	require.NoError(t, err)
	_, err = c.WriteBatch([]transport.Datagram{{Data: make([]byte, 65520), Remote: c.LocalAddr()}})
	require.ErrorIs(t, err, transport.ErrTooLarge)
	_, err = c.WriteBatch([]transport.Datagram{{Data: []byte("y"), Remote: c.LocalAddr()}})
	require.NoError(t, err)

	ds := []transport.Datagram{{Data: make([]byte, 10)}}
	n, err := c.ReadBatch(ds)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.ErrorIs(t, ds[0].Err, syscall.ECONNREFUSED)
	n, err = c.ReadBatch(ds)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "y", string(ds[0].Data))
	_, found := c.readErrors(ds)
	require.False(t, found, "the queue shares its memory with received datagrams")
}

// An entry of the error queue comes from the kernel, but what is in it comes from the network.
func FuzzParseError(f *testing.F) {
	f.Add(extended(syscall.IPPROTO_IP, syscall.IP_RECVERR, syscall.ECONNREFUSED, originICMP, 3, 3))
	f.Add(append(extended(1, 2, 0, 0, 0, 0), extended(syscall.IPPROTO_IPV6, syscall.IPV6_RECVERR, syscall.EACCES, originICMP6, 1, 1)...))
	f.Add(extended(syscall.IPPROTO_IP, syscall.IP_RECVERR, 0, originICMP, 3, 3)[:20])
	f.Fuzz(func(t *testing.T, control []byte) {
		errno, wanted := parseError(control)
		if wanted && errno == 0 {
			t.Fatalf("%x: an undelivered datagram without an error", control)
		}
		// Who it was is found in front of and behind other messages.
		known := extended(syscall.IPPROTO_IP, syscall.IP_RECVERR, syscall.EHOSTUNREACH, originICMP, 3, 1)
		if e, ok := parseError(append(known, control...)); !ok || e != syscall.EHOSTUNREACH {
			t.Fatalf("%x hides the error before it: %v %v", control, e, ok)
		}
		if e, ok := parseError(append(extended(-1, -1, 7, 7, 7, 7), known...)); !ok || e != syscall.EHOSTUNREACH {
			t.Fatalf("an unknown message hides the error behind it: %v %v", e, ok)
		}
	})
}
