package udp

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func option(t *testing.T, c *Conn, level, name int) int {
	t.Helper()
	var value int
	var err error
	require.NoError(t, c.raw.Control(func(fd uintptr) {
		value, err = syscall.GetsockoptInt(int(fd), level, name)
	}))
	require.NoError(t, err)
	return value
}

func TestOptionsReachTheSocket(t *testing.T) {
	const ip, ip6, sol = syscall.IPPROTO_IP, syscall.IPPROTO_IPV6, syscall.SOL_SOCKET
	c, err := Listen(":0", nil)
	require.NoError(t, err)
	defer c.Close()
	if c.family == inet4 {
		t.Skip("no IPv6")
	}
	require.Equal(t, inet4|inet6, c.family)
	require.Equal(t, 1, option(t, c, ip, syscall.IP_MULTICAST_TTL))
	require.Equal(t, 1, option(t, c, ip6, syscall.IPV6_MULTICAST_HOPS))
	require.Equal(t, 1, option(t, c, ip, syscall.IP_MULTICAST_LOOP))
	require.Equal(t, 1, option(t, c, ip6, syscall.IPV6_MULTICAST_LOOP))
	require.Equal(t, 0, option(t, c, ip, ipMulticastAll))
	require.Equal(t, 0, option(t, c, ip6, ipv6MulticastAll))
	require.Equal(t, 0, option(t, c, sol, syscall.SO_REUSEADDR), "no stealing by default")
	system := option(t, c, sol, syscall.SO_RCVBUF)

	c, err = Listen(":0", &Config{
		ReadBuffer: system / 8, WriteBuffer: system / 16, ReuseAddr: true, MulticastHops: 255, NoMulticastLoop: true,
	})
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, 255, option(t, c, ip, syscall.IP_MULTICAST_TTL))
	require.Equal(t, 255, option(t, c, ip6, syscall.IPV6_MULTICAST_HOPS))
	require.Equal(t, 0, option(t, c, ip, syscall.IP_MULTICAST_LOOP))
	require.Equal(t, 0, option(t, c, ip6, syscall.IPV6_MULTICAST_LOOP))
	require.Equal(t, 1, option(t, c, sol, syscall.SO_REUSEADDR))
	require.Equal(t, system/8*2, option(t, c, sol, syscall.SO_RCVBUF), "Linux doubles it")
	require.Equal(t, system/16*2, option(t, c, sol, syscall.SO_SNDBUF))
}

func TestZoneCache(t *testing.T) {
	ifs, err := net.Interfaces()
	require.NoError(t, err)
	require.NotEmpty(t, ifs)
	var z zoneCache
	for range 2 {
		for _, ifi := range ifs {
			require.Equal(t, ifi.Name, z.name(ifi.Index))
			require.Equal(t, ifi.Index, z.index(ifi.Name))
		}
	}
	require.Equal(t, "999999", z.name(999999), "an interface without a name")
	require.Equal(t, 999999, z.index("999999"))
	require.Zero(t, z.index("no such interface"))
	require.Zero(t, z.index("-1"))
	last := ifs[len(ifs)-1]
	z.name(last.Index)
	require.Zero(t, testing.AllocsPerRun(100, func() { z.name(last.Index) }))
}
