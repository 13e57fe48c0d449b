package dtls

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// recorded returns the datagrams of a client's handshake and of a request, as they went over the wire.
func recorded(t *testing.T) (sent [][]byte) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pskClient("lamp"), pskServer())
		p.net.Watch(func(packet *mem.Packet, _ mem.Verdict) {
			if packet.Dst == serverAddr {
				sent = append(sent, bytes.Clone(packet.Data))
			}
		})
		s := p.dial()
		send(t, p.client, s, "request")
		receive(t, p.server)
		p.close()
	})
	return sent
}

// stranger returns the n-th address that somebody can forge.
func stranger(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 5684)
}

// inject has the server receive a datagram from any address.
func (p *pair) inject(from netip.AddrPort, b []byte) {
	p.server.receive(&transport.Datagram{Data: bytes.Clone(b), Remote: from, Local: serverAddr}, time.Now())
}

// requireServed expects that a client with the right key gets through.
func (p *pair) requireServed() {
	p.Helper()
	s, err := p.client.Dial(context.Background(), serverAddr, "")
	require.NoError(p, err)
	send(p.T, p.client, s, "good")
	require.Equal(p, "good", string(receive(p.T, p.server).Data))
}

// Thousands that begin a handshake and say nothing more are in nobody's way: the table of them is bounded, and empty
// some seconds later (S7).
func TestUnfinishedHandshakes(t *testing.T) {
	hello := recorded(t)[0]
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pskClient("lamp"), pskServer())
		for n := range 5000 {
			p.inject(stranger(n), hello)
			if n%100 == 0 {
				synctest.Wait()
				require.LessOrEqual(t, p.server.Stats().Handshakes, 1000)
			}
		}
		begin := time.Now()
		p.requireServed()
		require.Less(t, time.Since(begin), time.Second)
		coaptest.Pass(time.Minute)
		st := p.server.Stats()
		require.Zero(t, st.Handshakes)
		require.Nil(t, p.server.unproven.first, "nothing is kept of those that are over")
		require.Nil(t, p.server.proven.first)
		require.Equal(t, 1, st.Sessions)
		require.EqualValues(t, 5001, st.Started)
		require.EqualValues(t, 5000, st.Failed[Displaced]+st.Failed[Unfinished])
		p.close() // and no goroutine is left, which the bubble sees to
	})
}

// Nor do those that stop after they have returned the cookie, which takes addresses of their own.
func TestUnfinishedProvenHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := pskServer()
		server.MaxHandshakes = 50
		p := newPair(t, pskClient("lamp"), server)
		p.lose(func(b []byte) bool { // what comes after the cookie
			r, _, ok := nextRecord(b, 0)
			return ok && isHandshake(&r, clientKeyExchange)
		})
		for i := range 60 {
			c := p.listen(netip.AddrPortFrom(clientAddr.Addr(), uint16(41000+i)), pskClient("lamp"))
			defer c.Close()
			go func() { _, _ = c.Dial(context.Background(), serverAddr, "") }()
		}
		coaptest.Pass(500 * time.Millisecond)
		require.Equal(t, 50, p.server.Stats().Handshakes)
		p.lose(func(b []byte) bool { return false })
		begin := time.Now()
		p.requireServed()
		require.Less(t, time.Since(begin), time.Second)
		p.close()
	})
}

// A handshake whose peer has shown that it is where it says does not give way to those who have not.
func TestProvenHandshakesStay(t *testing.T) {
	hello := recorded(t)[0]
	synctest.Test(t, func(t *testing.T) {
		server := pskServer()
		server.MaxHandshakes = 20
		p := newPair(t, pskClient("lamp"), server)
		p.net.SetConfig(mem.Config{Delay: 400 * time.Millisecond})
		got := make(chan error)
		go func() {
			_, err := p.client.Dial(context.Background(), serverAddr, "")
			got <- err
		}()
		coaptest.Pass(1300 * time.Millisecond) // it has sent the cookie back
		for n := range 500 {
			p.inject(stranger(n), hello)
		}
		require.NoError(t, <-got)
		p.close()
	})
}

// Handshakes that fail leave nothing behind, whatever was wrong with them, and the next good one is served (S7, S8).
func TestFailedHandshakes(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	ca, other := newAuthority(t, "ours"), newAuthority(t, "others")
	bad := []*Config{
		pskClient("nobody"),
		{Certificates: []tls.Certificate{other.issue("lamp")}, RootCAs: ca.pool(), CipherSuites: []CipherSuite{ECDHEECDSAWithAES128CCM8}},
		{RootCAs: ca.pool()},
		{RootCAs: other.pool()},
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pskClient("lamp"), &Config{PSK: Keys{"lamp": key}.Lookup, Certificates: []tls.Certificate{ca.issue("192.0.2.1")}, ClientCAs: ca.pool()})
		for i := range rounds {
			c := p.listen(netip.AddrPortFrom(clientAddr.Addr(), uint16(41000+i)), bad[i%len(bad)])
			_, err := c.Dial(context.Background(), serverAddr, "")
			require.Error(t, err)
			c.Close()
		}
		p.requireServed()
		coaptest.Pass(time.Minute)
		st := p.server.Stats()
		require.Zero(t, st.Handshakes)
		require.Nil(t, p.server.unproven.first, "nothing is kept of those that are over")
		require.Nil(t, p.server.proven.first)
		require.Equal(t, 1, st.Sessions)
		var failed uint64
		for _, n := range st.Failed {
			failed += n
		}
		require.EqualValues(t, rounds, failed)
		p.close() // and no goroutine is left, which the bubble sees to
	})
}

// To resume a session under another cipher suite or with other extensions takes the proof of an address like any handshake, and is
// answered by less than was sent until then (S6).
func TestResumptionWantsCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := pskServer()
		server.ConnectionID = -1 // else sessions are not resumed
		p, atClient, _ := established(t, pskClient("lamp"), server)
		require.NoError(t, p.client.Forget(atClient))
		requireEnd(t, p.client, atClient, ClosedHere)
		var hello []byte
		answered := map[netip.AddrPort]int{}
		p.net.Watch(func(packet *mem.Packet, _ mem.Verdict) {
			if packet.Dst == serverAddr && hello == nil {
				hello = bytes.Clone(packet.Data)
			}
			answered[packet.Dst] += len(packet.Data)
		})
		p.dial()
		sid := hello[headerSize+12+2+32:]
		require.EqualValues(t, 32, sid[0], "it asks for a session to be resumed")
		for name, change := range map[string][2]string{
			"as it was":             {},
			"another suite":         {"\xC0\xA8", "\xC0\xA4"},
			"another master secret": {"\x00\x17\x00\x00", "\xFF\x17\x00\x00"},
		} {
			require.True(t, bytes.Contains(hello, []byte(change[0])), name)
			forged := bytes.Replace(hello, []byte(change[0]), []byte(change[1]), 1)
			from := stranger(len(name))
			p.inject(from, forged)
			synctest.Wait()
			coaptest.Pass(9 * time.Second)
			require.NotZero(t, answered[from], name)
			require.Less(t, answered[from], len(forged), name)
		}
		p.close()
	})
}

// What comes for a session that there is not yet waits, to the limit, if there can be keys for it; else it is counted.
func TestEarlyDataIsBounded(t *testing.T) {
	c, err := New(pipeless{done: make(chan struct{})}, pskServer())
	require.NoError(t, err)
	data := append([]byte{byte(typeData), 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 1, 1000 >> 8, 1000 & 0xFF}, make([]byte, 1000)...)
	finished := []byte{byte(typeHandshake), 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0}
	as := party{stranger(1), false}
	c.mu.Lock()
	h := c.begin(&transport.Datagram{Remote: as.addr}, as)
	h.hand(data)
	require.EqualValues(t, 1, c.stats.Unknown)
	require.Empty(t, h.left())
	h.seen.ending = true
	for range maxLater/len(data) + 3 {
		h.hand(append(bytes.Clone(finished), data...))
	}
	require.EqualValues(t, 3, c.stats.Lost)
	left := h.left()
	require.Len(t, left, 2*(maxLater/len(data))+3)
	require.Equal(t, finished, left[0])
	require.Equal(t, data, left[len(left)-1])
	c.leave(h)
	c.mu.Unlock()
	require.NoError(t, c.Close())
}

// Handshakes made of damaged pieces end without harm (S11). What came of an honest client is changed in one place or more.
func TestDamagedHandshakes(t *testing.T) {
	sent := recorded(t)
	rounds := 600
	if testing.Short() {
		rounds = 60
	}
	damage := []func(r *rand.Rand, b []byte) []byte{
		func(_ *rand.Rand, b []byte) []byte { // a fragment of length zero
			copy(b[headerSize+9:], []byte{0, 0, 0})
			return b
		},
		func(_ *rand.Rand, b []byte) []byte { // a fragment that overlaps
			copy(b[headerSize+6:], []byte{0, 0, 5})
			return b
		},
		func(_ *rand.Rand, b []byte) []byte { // a message longer than anything
			copy(b[headerSize+1:], []byte{0xFF, 0xFF, 0xFF})
			return b
		},
		func(_ *rand.Rand, b []byte) []byte { // a record longer than the datagram
			binary.BigEndian.PutUint16(b[11:], 0xFFFF)
			return b
		},
		func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] },
		func(r *rand.Rand, b []byte) []byte { b[r.IntN(len(b))] ^= byte(1 + r.IntN(255)); return b },
		func(r *rand.Rand, b []byte) []byte { // its last field takes everything
			binary.BigEndian.PutUint16(b[len(b)-2-r.IntN(min(40, len(b)-2)):], uint16(r.IntN(300)))
			return b
		},
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pskClient("lamp"), pskServer())
		r := rand.New(rand.NewPCG(1, 2))
		for n := range rounds {
			from := stranger(n)
			for _, b := range sent {
				for range 1 + r.IntN(3) {
					b = damage[r.IntN(len(damage))](r, append(bytes.Clone(b), make([]byte, 40)...)[:max(len(b), 40)])
				}
				p.inject(from, b)
			}
		}
		p.requireServed()
		coaptest.Pass(time.Minute)
		require.Zero(t, p.server.Stats().Handshakes)
		require.Equal(t, 1, p.server.Stats().Sessions)
		p.close() // and no goroutine is left, which the bubble sees to
	})
}

// A client certificate without the proof that its key is there opens nothing (S9). The client is one that leaves out that proof.
func TestNoProofOfKey(t *testing.T) {
	ca := newAuthority(t, "ours")
	synctest.Test(t, func(t *testing.T) {
		server := &Config{Certificates: []tls.Certificate{ca.issue("192.0.2.1")}, ClientCAs: ca.pool(), CipherSuites: []CipherSuite{ECDHEECDSAWithAES128CCM8}}
		stolen := ca.issue("lamp")
		client := &Config{Certificates: []tls.Certificate{{Certificate: stolen.Certificate, PrivateKey: newAuthority(t, "thief").key}}, RootCAs: ca.pool()}
		p := newPair(t, client, server)
		requireCause(t, p, CertificateRefused) // a proof by another key

		client.Certificates = []tls.Certificate{stolen}
		p.client.Close()
		p.client = p.listen(clientAddr, client)
		left := false
		cfg := p.net.Config()
		cfg.Filter = func(packet *mem.Packet) mem.Verdict {
			if packet.Dst == serverAddr {
				packet.Data = without(packet.Data, 15, &left)
			}
			return mem.Verdict{}
		}
		p.net.SetConfig(cfg)
		_, err := p.client.Dial(context.Background(), serverAddr, "")
		require.Error(t, err)
		require.True(t, left)
		require.Zero(t, p.server.Stats().Begun)
		p.close()
	})
}

// without leaves out the records that begin with this message of a handshake.
func without(b []byte, message byte, left *bool) (kept []byte) {
	for len(b) > 0 {
		r, rest, ok := nextRecord(b, 0)
		if !ok {
			return append(kept, b...)
		}
		if isHandshake(&r, message) {
			*left = true
		} else {
			kept = append(kept, r.whole...)
		}
		b = rest
	}
	return kept
}
