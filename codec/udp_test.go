package codec_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/internal/reference"
	"github.com/coapkit/coap/message"
)

// unhex reads bytes written in hexadecimal with spaces, in a slice of exactly their length.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err, "hexadecimal in the test: %s", s)
	return b[:len(b):len(b)]
}

// build returns a message with options written as pairs of number and value.
func build(t message.Type, c message.Code, mid uint16, token string, payload string, options ...any) message.Message {
	m := message.Message{Type: t, Code: c, MessageID: mid, Token: message.Token(token), Payload: []byte(payload)}
	for i := 0; i < len(options); i += 2 {
		m.Options.AddString(message.OptionNumber(options[i].(int)), options[i+1].(string))
	}
	return m
}

// describe writes the options of m as "number:hex" each.
func describe(m *message.Message) string {
	var s []string
	for n, v := range m.Options.All() {
		s = append(s, fmt.Sprintf("%d:%x", n, v))
	}
	return strings.Join(s, " ")
}

// requireSame compares field by field, so that a failure names the field.
func requireSame(t *testing.T, want, got *message.Message) {
	t.Helper()
	require.Equal(t, want.Type, got.Type, "type")
	require.Equal(t, want.Code, got.Code, "code")
	require.Equal(t, want.MessageID, got.MessageID, "message ID")
	require.Equal(t, want.Token.String(), got.Token.String(), "token")
	require.Equal(t, describe(want), describe(got), "options")
	require.Equal(t, hex.EncodeToString(want.Payload), hex.EncodeToString(got.Payload), "payload")
}

// The messages of RFC 7252 appendix A, with their bytes where the figures draw them,
// and written out by hand from the header line where they do not.
//
// Proves 7252-3-01, 7252-3-s07, 7252-3-s16, 7252-3-s19, 7252-3-s24, 7252-3-s25, 7252-3-s28,
// 7252-3-s37, 7252-3-s38, 7252-3-s39, 7252-3.1-01, 7252-3.1-s04, 7252-3.1-s10, 7252-3.1-s19,
// 7252-3.1-s25.
func TestFigures(t *testing.T) {
	const (
		con = message.Confirmable
		non = message.NonConfirmable
		ack = message.Acknowledgement
		rst = message.Reset
	)
	const temperature = "bb 74656d7065726174757265"
	const reading = "ff 32322e332043"
	for _, c := range []struct {
		name string
		hex  string
		want message.Message
	}{
		{"figure 16 request", "40 01 7d34" + temperature, build(con, message.GET, 0x7d34, "", "", 11, "temperature")},
		{"figure 16 response", "60 45 7d34" + reading, build(ack, message.Content, 0x7d34, "", "22.3 C")},
		{"figure 17 request", "41 01 7d35 20" + temperature, build(con, message.GET, 0x7d35, "\x20", "", 11, "temperature")},
		{"figure 17 response", "61 45 7d35 20" + reading, build(ack, message.Content, 0x7d35, "\x20", "22.3 C")},
		{"figure 18 request", "41 01 7d36 31" + temperature, build(con, message.GET, 0x7d36, "\x31", "", 11, "temperature")},
		{"figure 19 response", "61 45 7d37 42" + reading, build(ack, message.Content, 0x7d37, "\x42", "22.3 C")},
		{"figure 20 Empty ACK", "60 00 7d38", build(ack, message.Empty, 0x7d38, "", "")},
		{"figure 20 separate response", "41 45 ad7b 53" + reading, build(con, message.Content, 0xad7b, "\x53", "22.3 C")},
		{"figure 21 RST", "70 00 ad7c", build(rst, message.Empty, 0xad7c, "", "")},
		{"figure 22 request", "51 01 7d40 75" + temperature, build(non, message.GET, 0x7d40, "\x75", "", 11, "temperature")},
		{"figure 22 response", "51 45 ad7d 75" + reading, build(non, message.Content, 0xad7d, "\x75", "22.3 C")},
		{"figure 23 error", "51 84 952a 86", build(non, message.NotFound, 0x952a, "\x86", "")},
		{"appendix B, empty segments and slashes", "40 01 0001 b0 01 2f 00 00 42 2f2f 02 3f26",
			build(con, message.GET, 1, "", "", 11, "", 11, "/", 11, "", 11, "", 15, "//", 15, "?&")},
		{"the longest token of RFC 7252", "48 02 ffff 0102030405060708", build(con, message.POST, 0xffff, "\x01\x02\x03\x04\x05\x06\x07\x08", "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			wire := unhex(t, c.hex)
			var got message.Message
			require.NoError(t, codec.DecodeUDP(wire, &got))
			requireSame(t, &c.want, &got)

			b, err := codec.AppendUDP(nil, &c.want)
			require.NoError(t, err)
			require.Equal(t, hex.EncodeToString(wire), hex.EncodeToString(b), "encoding of the same message")
			require.Equal(t, len(wire), codec.SizeUDP(&c.want), "SizeUDP")
		})
	}
}

// Proves 8974-2.1-s03, 8974-2.1-s05, 8974-2.1-s06, 8974-2.1-s11.
func TestTokenLengths(t *testing.T) {
	for _, c := range []struct {
		length int
		head   string // of a CON GET with message ID 1
	}{
		{0, "40010001"},
		{1, "41010001"},
		{8, "48010001"},
		{9, "49010001"},
		{12, "4c010001"},
		{13, "4d010001 00"},
		{14, "4d010001 01"},
		{268, "4d010001 ff"},
		{269, "4e010001 0000"},
		{270, "4e010001 0001"},
		{65804, "4e010001 ffff"},
	} {
		t.Run(fmt.Sprint(c.length), func(t *testing.T) {
			token := strings.Repeat("t", c.length)
			want := append(unhex(t, c.head), token...)
			want = append(want, 0xFF, 'x')
			m := build(message.Confirmable, message.GET, 1, token, "x")

			got, err := codec.AppendUDP(nil, &m)
			require.NoError(t, err)
			require.True(t, string(want) == string(got), "starts with %x", got[:min(8, len(got))])

			var back message.Message
			require.NoError(t, codec.DecodeUDP(got, &back))
			requireSame(t, &m, &back)
			// Every byte that is missing from the token or its length is noticed.
			for _, cut := range []int{codec.HeaderSize, len(got) - 3} {
				if c.length > 0 {
					require.Equal(t, message.ErrTokenTruncated, codec.DecodeUDP(got[:cut:cut], &back), "cut to %d bytes", cut)
				}
			}
		})
	}
}

// Proves 7252-3.1-s05, 7252-3.1-s10, 7252-3.1-s12, 7252-3.1-s13, 7252-3.1-s16, 7252-3.1-s19,
// 7252-3.1-s21, 7252-3.1-s22.
func TestOptionHeaders(t *testing.T) {
	for _, c := range []struct {
		name   string
		deltas []int // of options of the given length
		length int
		heads  string // of the options, separated by spaces
	}{
		{"number 0", []int{0}, 0, "00"},
		{"largest short delta and length", []int{12}, 12, "cc"},
		{"smallest delta of one byte", []int{13}, 0, "d000"},
		{"largest delta of one byte", []int{268}, 0, "d0ff"},
		{"smallest delta of two bytes", []int{269}, 0, "e00000"},
		{"largest option number", []int{65535}, 0, "e0fef2"},
		{"smallest length of one byte", []int{0}, 13, "0d00"},
		{"largest length of one byte", []int{0}, 268, "0dff"},
		{"smallest length of two bytes", []int{0}, 269, "0e0000"},
		{"largest length", []int{0}, 65804, "0effff"},
		{"delta extension before length extension", []int{269}, 13, "ed000000"},
		{"deltas add up", []int{11, 0, 1, 300}, 1, "b1 01 11 e1001f"},
		{"largest number in two steps", []int{65534, 1}, 0, "e0fef1 10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			value := strings.Repeat("v", c.length)
			m := build(message.Confirmable, message.GET, 1, "", "")
			want, number := unhex(t, "40010001"), 0
			for i, head := range strings.Fields(c.heads) {
				number += c.deltas[i]
				m.Options.AddString(message.OptionNumber(number), value)
				want = append(append(want, unhex(t, head)...), value...)
			}
			got, err := codec.AppendUDP(nil, &m)
			require.NoError(t, err)
			require.True(t, string(want) == string(got), "want it to start with %x, got %x", want[:min(16, len(want))], got[:min(16, len(got))])

			var back message.Message
			require.NoError(t, codec.DecodeUDP(got, &back))
			require.True(t, m.Options.Equal(&back.Options), "decoded options")
		})
	}
}

// Each format error by a datagram that breaks nothing else.
func TestFormatErrors(t *testing.T) {
	for _, c := range []struct {
		name string // with the requirement that the case proves, if there is one
		hex  string
		want message.FormatError
	}{
		{"no bytes", "", message.ErrHeaderTooShort},
		{"one byte", "40", message.ErrHeaderTooShort},
		{"three bytes", "400100", message.ErrHeaderTooShort},
		{"7252-3-02 version 0", "00010001", message.ErrVersion},
		{"7252-3-02 version 2", "80010001", message.ErrVersion},
		{"7252-3-02 version 3", "c0010001", message.ErrVersion},
		{"7252-3-02 version before everything else", "8f000001ffff", message.ErrVersion},
		{"8974-2.1-01 token length 15", "4f010001 000000000000000000000000000000", message.ErrTokenLengthReserved},
		{"token of 8, 7 bytes left", "48010001 01020304050607", message.ErrTokenTruncated},
		{"token length 13 without extension", "4d010001", message.ErrTokenTruncated},
		{"token length 13, token one byte short", "4d010001 00 000000000000000000000000", message.ErrTokenTruncated},
		{"token length 14 with half an extension", "4e010001 00", message.ErrTokenTruncated},
		{"token of 65804, nothing left", "4e010001 ffff", message.ErrTokenTruncated},
		{"7252-4.1-02 Empty with token length only", "41000001", message.ErrEmptyNotEmpty},
		{"7252-4.1-02 Empty with token", "41000001 aa", message.ErrEmptyNotEmpty},
		{"7252-4.1-02 Empty with option", "40000001 b0", message.ErrEmptyNotEmpty},
		{"7252-4.1-02 Empty with payload", "40000001 ff00", message.ErrEmptyNotEmpty},
		{"7252-4.1-02 Empty with payload marker", "60000001 ff", message.ErrEmptyNotEmpty},
		{"7252-3.1-02 delta 15, length 0", "40010001 f0", message.ErrOptionDeltaReserved},
		{"7252-3.1-02 delta 15, length 14", "40010001 fe0000", message.ErrOptionDeltaReserved},
		{"7252-3.1-02 delta 15 after an option", "40010001 b161 f1 00", message.ErrOptionDeltaReserved},
		{"7252-3.1-03 length 15, delta 0", "40010001 0f", message.ErrOptionLengthReserved},
		{"7252-3.1-03 length 15, delta 14", "40010001 ef0000 000000000000000000000000000000", message.ErrOptionLengthReserved},
		{"delta 13 without extension", "40010001 d0", message.ErrOptionHeaderTruncated},
		{"delta 14 with half an extension", "40010001 e000", message.ErrOptionHeaderTruncated},
		{"length 13 without extension", "40010001 0d", message.ErrOptionHeaderTruncated},
		{"length 14 with half an extension", "40010001 0e00", message.ErrOptionHeaderTruncated},
		{"both extended, the second is missing", "40010001 dd00", message.ErrOptionHeaderTruncated},
		{"value one byte short", "40010001 b2 61", message.ErrOptionValueTruncated},
		{"value of 65804, nothing left", "40010001 beffff", message.ErrOptionValueTruncated},
		{"number 65536 in one step", "40010001 e0fef3", message.ErrOptionNumberOverflow},
		{"number 65804 in one step", "40010001 e0ffff", message.ErrOptionNumberOverflow},
		{"number 65536 in two steps", "40010001 e0fef2 10", message.ErrOptionNumberOverflow},
		{"number that would wrap to 11", "40010001 b161 e0fef2 c162", message.ErrOptionNumberOverflow},
		{"7252-3-04 payload marker alone", "40010001 ff", message.ErrPayloadMissing},
		{"7252-3-04 payload marker behind token and option", "41010001 aa b161 ff", message.ErrPayloadMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.hex)
			m := build(message.Reset, message.GET, 7, "old", "old", 1, "old")
			err := codec.DecodeUDP(b, &m)
			require.Equal(t, c.want, err)

			// Only the header is left, none of what m held before.
			want := message.Message{}
			if h, err := codec.ParseHeader(b); err == nil {
				want = message.Message{Type: h.Type, Code: h.Code, MessageID: h.MessageID}
			}
			requireSame(t, &want, &m)

			_, err = reference.Decode(b)
			require.Equal(t, c.want, err, "the reference decoder's view")
		})
	}
}

// 0xFF is a marker only where an option could start.
//
// Proves 7252-3-s42.
func TestMarkerByteWithinFields(t *testing.T) {
	var m message.Message
	require.NoError(t, codec.DecodeUDP(unhex(t, "42 01 ffff ffff 42ffff d2ffffff ff ffff"), &m))
	want := build(message.Confirmable, message.GET, 0xffff, "\xff\xff", "\xff\xff", 4, "\xff\xff", 4+13+255, "\xff\xff")
	requireSame(t, &want, &m)
}

// Datagrams that have broken other implementations; what they mean beyond their format
// is tested where it is decided.
func TestPackets(t *testing.T) {
	for _, p := range reference.Packets() {
		t.Run(p.Name, func(t *testing.T) {
			b := p.Bytes()
			var m message.Message
			err := codec.DecodeUDP(b, &m)
			if p.Err != 0 {
				require.Equal(t, p.Err, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, p.Options, describe(&m), "options")

			again, err := codec.AppendUDP(nil, &m)
			require.NoError(t, err)
			require.Equal(t, hex.EncodeToString(b), hex.EncodeToString(again), "encoded again")
		})
	}
}

// What no receiver would accept is not sent.
func TestAppendUDPRefuses(t *testing.T) {
	tooLong := strings.Repeat("v", message.MaxOptionLength+1)
	for _, c := range []struct {
		name string // with the requirement that the case proves, if there is one
		m    message.Message
		want message.FormatError
	}{
		{"7252-4.1-01 Empty with token", build(message.Confirmable, message.Empty, 1, "t", ""), message.ErrEmptyNotEmpty},
		{"7252-4.1-01 Empty with option", build(message.Reset, message.Empty, 1, "", "", 11, ""), message.ErrEmptyNotEmpty},
		{"7252-4.1-01 Empty with payload", build(message.Acknowledgement, message.Empty, 1, "", "x"), message.ErrEmptyNotEmpty},
		{"type 4", build(4, message.GET, 1, "", ""), message.ErrType},
		{"token of 65805 bytes", build(message.Confirmable, message.GET, 1, tooLong, ""), message.ErrTokenTooLong},
		{"option of 65805 bytes", build(message.Confirmable, message.GET, 1, "", "", 11, tooLong), message.ErrOptionTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := codec.AppendUDP([]byte("before"), &c.m)
			require.Equal(t, c.want, err)
			require.Equal(t, "before", string(got), "nothing is appended")
		})
	}
}

// Proves 7252-3-02, 7252-3-s16, 7252-3-s28.
func TestParseHeader(t *testing.T) {
	h, err := codec.ParseHeader(unhex(t, "7d 45 fffe"))
	require.NoError(t, err, "what follows the header is not looked at")
	require.Equal(t, codec.Header{Type: message.Reset, Code: message.Content, MessageID: 0xfffe, TokenNibble: 13}, h)

	for v := range 256 {
		h, err := codec.ParseHeader([]byte{byte(v), byte(v), 0, byte(v)})
		if v>>6 != 1 {
			require.Equal(t, message.ErrVersion, err, "first byte %02x", v)
			continue
		}
		require.NoError(t, err, "first byte %02x", v)
		again := codec.AppendHeader(nil, h.Type, h.Code, h.MessageID)
		require.Equal(t, []byte{byte(v) &^ 15, byte(v), 0, byte(v)}, again, "first byte %02x", v)
		require.Equal(t, byte(v)&15, h.TokenNibble, "first byte %02x", v)
	}
	for n := range codec.HeaderSize {
		_, err := codec.ParseHeader(make([]byte, n))
		require.Equal(t, message.ErrHeaderTooShort, err, "%d bytes", n)
	}
}
