package codec_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/internal/reference"
	"github.com/coapkit/coap/message"
)

// checkAgainstReference decodes b both ways and returns what the codec makes of it.
func checkAgainstReference(t *testing.T, b []byte) (message.Message, error) {
	t.Helper()
	want, wantErr := reference.Decode(b)
	var got message.Message
	err := codec.DecodeUDP(b, &got)
	require.Equal(t, wantErr, err, "%x", b)
	if err == nil {
		require.Empty(t, want.Differs(&got), "%x", b)
	}
	return got, err
}

func TestDecodeAgreesWithReference(t *testing.T) {
	r := rand.New(rand.NewPCG(7252, 3))
	seen := map[error]int{}
	for range 20000 {
		b := reference.Encode(reference.Random(r))
		if r.IntN(4) > 0 {
			b = reference.Mutate(r, b)
		}
		_, err := checkAgainstReference(t, b)
		seen[err]++
	}
	for range 20000 {
		b := make([]byte, r.IntN(24))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if len(b) > 1 && r.IntN(8) > 0 {
			b[0], b[1] = b[0]&0x33|0x40, b[1]|1 // else nearly all fail at the header
		}
		_, err := checkAgainstReference(t, b)
		seen[err]++
	}
	for e := message.ErrHeaderTooShort; e <= message.ErrPayloadMissing; e++ {
		require.Greater(t, seen[e], 10, "the inputs hardly cover %v", e)
	}
	require.Greater(t, seen[nil], 1000, "the inputs hardly cover valid messages")
}

// All values of each pair of bytes behind the header, so all option headers and token
// lengths with the byte that follows.
func TestDecodeAgreesOnAllShortMessages(t *testing.T) {
	for v := range 1 << 16 {
		b := []byte{0x40, 1, 0, 1, byte(v >> 8), byte(v)}
		checkAgainstReference(t, b)
		b = []byte{byte(v >> 8), byte(v), 0, 1}
		checkAgainstReference(t, b)
	}
}

func TestEncodeAgreesWithReference(t *testing.T) {
	r := rand.New(rand.NewPCG(7252, 4))
	for range 5000 {
		ref := reference.Random(r)
		want := reference.Encode(ref)
		m := message.Message{
			Type: message.Type(ref.Type), Code: message.Code(ref.Code), MessageID: uint16(ref.MessageID),
			Token: ref.Token, Payload: ref.Payload,
		}
		for _, o := range ref.Options {
			m.Options.Add(message.OptionNumber(o.Number), o.Value)
		}
		got, err := codec.AppendUDP(nil, &m)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "want %x\ngot  %x", want, got)
		require.Equal(t, len(got), codec.SizeUDP(&m), "SizeUDP of %x", got)
	}
}

// Whatever decodes, encodes to the same bytes: a message has one encoding only.
func TestDecodeEncodeIsIdentity(t *testing.T) {
	r := rand.New(rand.NewPCG(7252, 5))
	valid := 0
	for range 20000 {
		b := reference.Mutate(r, reference.Encode(reference.Random(r)))
		var m message.Message
		if codec.DecodeUDP(b, &m) != nil {
			continue
		}
		got, err := codec.AppendUDP(nil, &m)
		require.NoError(t, err, "%x", b)
		require.True(t, bytes.Equal(b, got), "from %x\nto   %x", b, got)
		valid++
	}
	require.Greater(t, valid, 1000, "the inputs hardly cover valid messages")
}

// The bytes behind the datagram, which in a receive buffer are those of another one,
// never matter.
func TestDecodeStaysWithinDatagram(t *testing.T) {
	r := rand.New(rand.NewPCG(7252, 6))
	for range 150 {
		whole := reference.Encode(reference.Random(r))
		for n := range len(whole) + 1 {
			exact := bytes.Clone(whole[:n])
			exact = exact[:n:n]
			zeros, ones := make([]byte, n+300), bytes.Repeat([]byte{0xFF}, n+300)
			copy(zeros, exact)
			copy(ones, exact)

			var a, b, c message.Message
			errA := codec.DecodeUDP(exact, &a)
			errB := codec.DecodeUDP(zeros[:n], &b)
			errC := codec.DecodeUDP(ones[:n], &c)
			require.True(t, errA == errB && errB == errC, "%x: %v, %v, %v", exact, errA, errB, errC)
			if !sameMessage(&a, &b) || !sameMessage(&a, &c) {
				t.Fatalf("%x decodes differently with other bytes behind it:\n%v\n%v\n%v", exact, &a, &b, &c)
			}
		}
	}
}

func sameMessage(a, b *message.Message) bool {
	return a.Type == b.Type && a.Code == b.Code && a.MessageID == b.MessageID && a.Token.Equal(b.Token) &&
		a.Options.Equal(&b.Options) && bytes.Equal(a.Payload, b.Payload)
}

// Appending to a part of a decoded message does not change the datagram, and neither do
// edits of its options.
func TestViewsDoNotReachNeighbours(t *testing.T) {
	datagram := unhex(t, "42 01 0001 7431 b161 ff 70")
	buffer := append(bytes.Clone(datagram), "the next datagram in the same buffer"...)
	before := bytes.Clone(buffer)

	var m message.Message
	require.NoError(t, codec.DecodeUDP(buffer[:len(datagram)], &m))
	// One byte has room in the datagram, more would be put elsewhere anyway.
	_ = append(m.Token, 'T')
	_ = append(m.Payload, 'P')
	value, ok := m.Options.First(message.OptionURIPath)
	require.True(t, ok)
	_ = append(value, 'V')
	encoded, err := m.Options.Encoded()
	require.NoError(t, err)
	_ = append(encoded, 'O')
	require.Equal(t, before, buffer, "after appending to views")

	m.Options.AddString(message.OptionURIPath, "b")
	m.Options.SetUint(message.OptionURIPort, 1)
	m.Options.Remove(message.OptionURIPath)
	require.Equal(t, before, buffer, "after editing the options")
}

// Clone is how to keep a message beyond its datagram.
func TestCloneOutlivesDatagram(t *testing.T) {
	b := unhex(t, "42 01 0001 7431 b161 ff 70")
	var m message.Message
	require.NoError(t, codec.DecodeUDP(b, &m))
	kept := m.Clone()
	clear(b)
	want := build(message.Confirmable, message.GET, 1, "t1", "p", 11, "a")
	requireSame(t, &want, &kept)
}

func TestAppendUDPOnlyAppends(t *testing.T) {
	m, wire := benchWire(t, 1)
	for _, room := range []int{0, 1, codec.HeaderSize, len(wire) - 1, len(wire), len(wire) + 10} {
		backing := make([]byte, 3, 3+room)
		copy(backing, "abc")
		got, err := codec.AppendUDP(backing, &m)
		require.NoError(t, err)
		require.Equal(t, "abc", string(backing), "room for %d bytes", room)
		require.Equal(t, append([]byte("abc"), wire...), got, "room for %d bytes", room)
	}
}

// The allocation budget.
func TestAllocs(t *testing.T) {
	m, wire := benchWire(t, 3)
	malformed := wire[:14] // in the middle of the first option
	buf := make([]byte, 0, 1<<16)
	var out message.Message
	var header codec.Header
	for _, c := range []struct {
		what string
		most float64
		f    func()
	}{
		{"DecodeUDP", 0, func() { _ = codec.DecodeUDP(wire, &out) }},
		{"DecodeUDP of malformed bytes", 0, func() { _ = codec.DecodeUDP(malformed, &out) }},
		{"ParseHeader", 0, func() { header, _ = codec.ParseHeader(wire) }},
		{"ParseHeader of malformed bytes", 0, func() { header, _ = codec.ParseHeader(wire[:3]) }},
		{"AppendHeader with room", 0, func() {
			buf = codec.AppendHeader(buf[:0], message.Reset, message.Empty, header.MessageID)
		}},
		{"AppendUDP with room", 0, func() { buf, _ = codec.AppendUDP(buf[:0], &m) }},
		{"SizeUDP", 0, func() { _ = codec.SizeUDP(&m) }},
		{"Explain with room", 2, func() { buf = codec.Explain(buf[:0], wire) }},
		{"Explain of malformed bytes", 2, func() { buf = codec.Explain(buf[:0], malformed) }},
	} {
		if got := testing.AllocsPerRun(100, c.f); got > c.most {
			t.Errorf("%s allocates %v times, want at most %v", c.what, got, c.most)
		}
	}
	require.Error(t, codec.DecodeUDP(malformed, &out), "the malformed datagram of this test")
}
