package dtls

import (
	"bytes"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A client ends a handshake with the connection ID of the server, also where a session is resumed and the library forgets
// it (RFC 9146 section 3).
func TestFinishedHasConnectionID(t *testing.T) {
	const cid = "server"
	hello := append(make([]byte, 12), 0xFE, 0xFD)
	hello = append(hello, bytes.Repeat([]byte{1}, 32)...)
	hello = append(hello, 3, 's', 'i', 'd', 0xC0, 0xA8, 0, 0, 15, 0, 23, 0, 0, 0, extensionCID, 0, 7, 6)
	hello = append(hello, cid...)
	for n := range hello {
		new(finish).hello(hello[:n]) // does not panic
	}
	var f finish
	f.hello(hello)
	require.Equal(t, PSKWithAES128CCM8, f.suite)
	require.Equal(t, cid, string(f.cid))
	f.secret(bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{3}, 48))

	changed := []byte{byte(typeChangeCipherSpec), 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1}
	for n := range uint64(3) {
		b := f.mend(f.write.seal(bytes.Clone(changed), typeHandshake, epochOne|n, []byte("finished")))
		require.Equal(t, changed, b[:len(changed)])
		r, rest, ok := nextRecord(b[len(changed):], len(cid))
		require.True(t, ok)
		require.Empty(t, rest)
		require.Equal(t, n, r.sequence)
		p := *f.write
		p.cid = []byte(cid)
		typ, data, ok := p.open(&r)
		require.True(t, ok)
		require.Equal(t, typeHandshake, typ)
		require.Equal(t, "finished", string(data))
	}
}

// What is repeated in a handshake is repeated in smaller datagrams (RFC 6347 section 4.1.1.1).
func TestRepeatedFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pskClient("lamp"), pskServer())
		var records []int // in each datagram that begins with a ServerHello
		p.lose(func(b []byte) bool {
			if first, _, ok := nextRecord(b, 0); !ok || !isHandshake(&first, serverHello) {
				return false
			}
			n := 0
			for len(b) > 0 {
				_, b, _ = nextRecord(b, 0)
				n++
			}
			records = append(records, n)
			return len(records) == 1
		})
		p.dial()
		require.Equal(t, []int{2, 1}, records)
		p.close()
	})
}

// An alert means what can be meant by it at this point.
func TestCauseOfAlert(t *testing.T) {
	for _, x := range []struct {
		description byte
		psk, chosen bool
		want        Cause
	}{
		{handshakeFailure, true, false, NoCommonSuite},
		{handshakeFailure, false, false, NoCommonSuite},
		{handshakeFailure, false, true, CertificateRefused},
		{handshakeFailure, true, true, Refused},
		{unknownCA, false, true, CertificateRefused},
		{decryptError, true, true, WrongKey},
		{decryptError, false, true, Refused},
		{unknownPSKIdentity, true, true, UnknownIdentity},
	} {
		require.Equal(t, x.want.String(), causeOfAlert(x.description, x.psk, x.chosen).String(), "%+v", x)
	}
}
