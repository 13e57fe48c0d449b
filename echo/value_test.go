package echo

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// A value holds for one address and port, for some time, and with the server that has made it: one that was
// started again, and counts time anew, takes none from before.
//
// Proves 9175-2.2.1-02, 9175-5-01, 9175-5-09, 9175-A-06, 9175-A-07.
func TestValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error { return nil })
		s := NewServer(next, ServerConfig{Lifetime: time.Minute})
		proves := func(s *Server, peer netip.AddrPort, value []byte) bool {
			r := get(peer, string(value))
			r.Arrive(exchange.Arrival{Peer: exchange.Peer{Addr: peer}})
			return s.prove(r, value)
		}
		<-time.After(time.Hour)
		v := s.value(one, s.clock())
		require.True(t, proves(s, one, v[:]))
		require.False(t, proves(s, two, v[:]), "another address")
		require.False(t, proves(s, netip.AddrPortFrom(one.Addr(), one.Port()+1), v[:]), "another port")
		require.False(t, proves(s, one, v[:11]), "cut")
		again := NewServer(next, ServerConfig{})
		require.False(t, proves(again, one, v[:]), "a server that was started again")
		same := s.value(one, again.clock())
		require.False(t, proves(again, one, same[:]), "nor one with its present time: it has another key")
		for i := range v {
			forged := v
			forged[i] ^= 1
			require.False(t, proves(s, one, forged[:]), "byte %d changed", i)
		}
		<-time.After(time.Minute)
		require.True(t, proves(s, one, v[:]), "as old as it may be")
		<-time.After(time.Second)
		require.False(t, proves(s, one, v[:]), "too old")
	})
}

// The hash is HMAC-SHA-256, cut to 64 bits, and the time comes from a clock that is not set back.
//
// Proves 9175-5-05, 9175-A-05.
func TestHashAndClock(t *testing.T) {
	s := NewServer(nil, ServerConfig{})
	require.NotEqual(t, s.epoch.Round(0), s.epoch, "the reading of the monotonic clock is there")
	mac := hmac.New(sha256.New, s.key[:])
	text, err := hex.DecodeString("00000007" + "00000000000000000000ffffc0000201" + "1633")
	require.NoError(t, err)
	mac.Write(text)
	v := s.value(one, 7)
	require.Equal(t, hex.EncodeToString(mac.Sum(nil)[:8]), hex.EncodeToString(v[4:]))
}

// A request of any method may have the option. What is not ours is left to the handler, also where
// there was nothing to prove.
//
// Proves 9175-2.3-01.
func TestValueOfTheApplication(t *testing.T) {
	for _, method := range []message.Code{message.GET, message.POST, message.PUT, message.DELETE} {
		var seen []byte
		s := NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
			seen, _ = r.Options.First(message.OptionEcho)
			return nil
		}), ServerConfig{})
		r := get(one, "own")
		r.Code = method
		r.Arrive(exchange.Arrival{Peer: exchange.Peer{Addr: one, Verified: true}})
		require.NoError(t, s.ServeCoAP(new(exchange.Response), r))
		require.Equal(t, "own", string(seen), "%v", method)
	}
}
