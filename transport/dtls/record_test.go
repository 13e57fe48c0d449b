package dtls

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// What cannot be opened is left as it was: it may be the end of another handshake, to which it is given then.
func TestRecordInPlace(t *testing.T) {
	for _, id := range []CipherSuite{PSKWithAES128CCM8, PSKWithAES128CCM, PSKWithAES128GCMSHA256} {
		x, y := twoEnds(t, id, "")
		stranger := y.read
		stranger.iv[0] ^= 1
		data := []byte("twenty bytes of text")
		sealed, err := x.seal(nil, typeData, data)
		require.NoError(t, err)
		before := bytes.Clone(sealed)
		r, _, ok := nextRecord(sealed, 0)
		require.True(t, ok)
		_, _, ok = stranger.open(&r)
		require.False(t, ok)
		require.Equal(t, before, sealed)
		_, got, _, ok := y.openRecord(&r)
		require.True(t, ok)
		require.Equal(t, data, got)
	}
}

// Records with GCM need no memory but what they are written to. CCM is the library's, which takes some for each.
func TestRecordAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("pools forget on purpose under the race detector")
	}
	for _, cid := range []string{"", "123456"} {
		x, y := twoEnds(t, PSKWithAES128GCMSHA256, cid)
		data := make([]byte, 64)
		sealed := make([]byte, 0, 200)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			sealed, _ = x.seal(sealed[:0], typeData, data)
			r, _, _ := nextRecord(sealed, len(cid))
			if _, _, _, ok := y.openRecord(&r); !ok {
				t.Fatal("not authentic")
			}
		}))
	}
}

// A window of 64 records: each is taken once, and none that is older.
func TestWindow(t *testing.T) {
	var w window
	require.True(t, w.fresh(0))
	require.True(t, w.take(5))
	for n := range uint64(5) {
		require.True(t, w.fresh(n), n)
	}
	require.False(t, w.fresh(5))
	require.False(t, w.take(3), "not the newest")
	require.False(t, w.fresh(3))
	require.True(t, w.take(68))
	require.False(t, w.fresh(4), "too old")
	require.False(t, w.fresh(5), "taken")
	require.True(t, w.fresh(6))
	require.True(t, w.take(1000))
	require.False(t, w.fresh(936))
	require.True(t, w.fresh(937))
	require.True(t, w.take(maxSequence))
	require.False(t, w.fresh(maxSequence))
}
