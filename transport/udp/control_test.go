package udp

import (
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is built for sending is understood when it comes back, on every system and word size.
func TestControlRoundTrip(t *testing.T) {
	if appendPacketInfo(nil, true, addr("192.0.2.1"), 0) == nil {
		t.Skipf("no packet info on %s", runtime.GOOS)
	}
	for _, ip := range []string{"192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"} {
		from := addr(ip)
		b := appendPacketInfo([]byte("head"), from.Is4(), from, 7)
		require.Equal(t, "head", string(b[:4]))
		b = b[4:]
		require.LessOrEqual(t, len(b), controlRoom/2)
		level, typ, data, rest, ok := nextControl(b)
		require.True(t, ok)
		require.Empty(t, rest)
		var pi packetInfo
		parsePacketInfo(level, typ, data, &pi)
		if from.Is6() {
			require.Equal(t, packetInfo{dst: from, ifIndex: 7}, pi)
		}
	}
}

// Two messages in a row, the last one without its padding, as systems may hand them over.
func TestControlSequence(t *testing.T) {
	b, data := appendControl(nil, 1, 2, 5)
	copy(data, "first")
	b, data = appendControl(b, -3, -4, 1)
	copy(data, "x")
	b = b[:cmsgSpace(5)+cmsgHeader()+1]

	level, typ, data, rest, ok := nextControl(b)
	require.True(t, ok)
	require.Equal(t, []any{1, 2, "first"}, []any{level, typ, string(data)})
	level, typ, data, rest, ok = nextControl(rest)
	require.True(t, ok)
	require.Equal(t, []any{-3, -4, "x"}, []any{level, typ, string(data)})
	_, _, _, _, ok = nextControl(rest)
	require.False(t, ok)
}

// Control messages come from the kernel, but a length is a length.
func FuzzParseControl(f *testing.F) {
	f.Add(appendPacketInfo(nil, true, addr("192.0.2.1"), 1))
	f.Add(appendPacketInfo(appendPacketInfo(nil, true, addr("192.0.2.1"), 1), false, addr("::1"), 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		var pi packetInfo
		parseControl(b, &pi)
		total := 0
		for {
			_, _, data, rest, ok := nextControl(b)
			if !ok {
				break
			}
			total += len(data)
			require.Less(t, len(rest), len(b), "no progress")
			b = rest
		}
		require.LessOrEqual(t, total, controlRoom+1<<20)
	})
}

// A read that fails for ever ends the socket, one that anybody could make fail does not.
func TestPatience(t *testing.T) {
	done := make(chan struct{})
	close(done) // do not wait for real
	p := patience{}
	n := 0
	for ; p.pause(done, errors.New("broken")); n++ {
	}
	require.Equal(t, maxFailures, n)
	require.Less(t, (maxFailures-quickFailures)*maxPause, 10*time.Second)
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
