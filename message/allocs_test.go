package message

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// The allocation budget of the package.
func TestAllocs(t *testing.T) {
	var built Options
	u, err := ParseURI("coap://example.com:1/a/long-segment-name/c?x=1&y=2")
	require.NoError(t, err)
	dest := netip.MustParseAddrPort("198.51.100.1:5683")
	require.NoError(t, u.SetOptions(&built, dest))
	built.SetAccept(JSON)
	built.SetMaxAge(1)
	enc, err := built.Encoded()
	require.NoError(t, err)
	wire := append(append([]byte(nil), enc...), 0xFF, 1)
	malformed := append(append([]byte(nil), enc...), 0xF0)
	etag := []byte{1, 2, 3}
	understood := func(n OptionNumber) bool { return n != 65 }
	m := Message{Token: Token{1}, Options: built, Payload: []byte("payload")}
	var sink int
	var clone Message
	var clonedOptions Options

	for _, c := range []struct {
		name string
		want float64
		f    func()
	}{
		{"decode", 0, func() {
			o, p, err := decodeOptions(wire)
			if err != nil || o.Empty() || len(p) != 1 {
				t.Error("decode")
			}
		}},
		{"malformed", 0, func() {
			if _, _, err := decodeOptions(malformed); err != ErrOptionDeltaReserved {
				t.Error("malformed")
			}
		}},
		{"iterate with a cursor", 0, func() {
			for it := built.Iter(); it.Next(); {
				sink += len(it.Value())
			}
		}},
		{"iterate with range", 0, func() {
			for n, v := range built.All() {
				sink += int(n) + len(v)
			}
			for v := range built.Values(OptionURIPath) {
				sink += len(v)
			}
		}},
		{"First and Uint", 0, func() {
			v, _ := built.First(OptionURIPath)
			n, _ := built.Uint(OptionAccept)
			f, _ := built.Accept()
			sink += len(v) + int(n) + int(f) + int(built.MaxAge())
			if built.Has(OptionIfMatch) || !built.Precondition(etag, true) {
				t.Error("Has")
			}
		}},
		{"build into a reset list", 0, func() {
			built.Reset()
			built.AddString(OptionURIHost, "example.com")
			built.AddUint(OptionURIPort, 1)
			built.SetAccept(JSON)
			built.SetMaxAge(1)
			if built.SetPath("/a/long%2Fsegment/c") != nil || built.AddQuery("x=1") != nil || built.SetETag(etag) != nil {
				t.Error("build")
			}
		}},
		{"options of a URI", 0, func() {
			built.Reset()
			if u.SetOptions(&built, dest) != nil {
				t.Error("SetOptions")
			}
		}},
		{"Check", 0, func() {
			if (*Registry)(nil).Check(&built, understood) != nil || (*Registry)(nil).Check(&built, nil) != nil {
				t.Error("Check")
			}
		}},
		{"DropInvalid", 0, func() {
			if (*Registry)(nil).DropInvalid(&built) {
				t.Error("DropInvalid")
			}
		}},
		{"Clone of a message", 1, func() { clone = m.Clone() }},
		{"Clone of options", 1, func() { clonedOptions = built.Clone() }},
	} {
		got := testing.AllocsPerRun(100, c.f)
		require.Equal(t, c.want, got, c.name)
	}
	require.NotZero(t, sink)
	require.Equal(t, m.String(), clone.String())
	require.True(t, clonedOptions.Equal(&built))
}
