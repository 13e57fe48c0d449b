package dtls

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
)

// FuzzRecords splits a datagram as the library of the handshakes does, and opens nothing that was not sealed.
func FuzzRecords(f *testing.F) {
	a, _ := twoEnds(f, PSKWithAES128CCM8, "123456")
	sealed, err := a.seal(nil, typeData, []byte("hello"))
	require.NoError(f, err)
	f.Add(sealed, 3, byte(0))
	f.Add(append(bytes.Clone(sealed), sealed...), 40, byte(1))
	f.Add([]byte{22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1}, 0, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at int, flip byte) {
		theirs, err := recordlayer.ContentAwareUnpackDatagram(b, 6)
		for i, rest := 0, b; len(rest) > 0; i++ {
			r, after, ok := nextRecord(rest, 6)
			if !ok {
				break
			}
			require.Less(t, len(after), len(rest))
			if err == nil {
				require.Equal(t, theirs[i], r.whole)
				h := recordlayer.Header{ConnectionID: make([]byte, 6)}
				require.NoError(t, h.Unmarshal(r.whole))
				require.Equal(t, h.Epoch, r.epoch)
				require.Equal(t, h.SequenceNumber, r.sequence)
			}
			rest = after
		}
		// What is sealed is opened as it was, unless a bit of it has changed.
		x, y := twoEnds(t, PSKWithAES128CCM8, "123456")
		data := b[:min(len(b), 2000)]
		sealed, err := x.seal(nil, typeData, data)
		require.NoError(t, err)
		at = max(at, 0) % len(sealed)
		sealed[at] ^= flip
		r, _, ok := nextRecord(sealed, 6)
		if !ok {
			require.NotZero(t, flip)
			return
		}
		typ, opened, _, ok := y.openRecord(&r)
		require.Equal(t, flip == 0, ok, "changed at %d by %x", at, flip)
		if ok {
			require.Equal(t, typeData, typ)
			require.True(t, bytes.Equal(data, opened))
		}
	})
}

// FuzzReceive has a server receive anything from anybody. Whoever has no key gets no session, and nothing is left in the end.
func FuzzReceive(f *testing.F) {
	hello := append([]byte{22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, clientHello, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, 0, 52, 0xFE, 0xFD}, make([]byte, 34)...)
	hello = append(hello, 0, 0, 2, 0xC0, 0xA8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	finished := []byte{22, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4}
	script := func(parts ...[]byte) (b []byte) {
		for i, p := range parts {
			b = append(b, byte(i%2))
			b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
			b = append(b, p...)
		}
		return b
	}
	f.Add(script(hello, hello, finished))
	f.Add(script(hello, []byte{21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40}, finished, hello))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := pskServer()
		cfg.MaxHandshakes = 3
		c, err := New(pipeless{done: make(chan struct{})}, cfg)
		require.NoError(t, err)
		for n := 0; len(b) > 3 && n < 20; n++ {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, b[0] & 7}), 5684)
			size := min(int(binary.BigEndian.Uint16(b[1:])), len(b)-3)
			c.receive(&transport.Datagram{Data: bytes.Clone(b[3 : 3+size]), Remote: from}, time.Now())
			b = b[3+size:]
			require.LessOrEqual(t, c.Stats().Handshakes, 3)
		}
		require.NoError(t, c.Close())
		st := c.Stats()
		require.Zero(t, st.Begun)
		require.Zero(t, st.Handshakes)
		var failed uint64
		for _, n := range st.Failed {
			failed += n
		}
		require.Equal(t, st.Started, failed)
	})
}
