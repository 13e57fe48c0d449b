package codec_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/internal/reference"
	"github.com/coapkit/coap/message"
)

var update = flag.Bool("update", false, "write the golden files of Explain anew: go test ./codec -update")

// The golden files are there to be read: testdata/explain is also the answer to "what
// does the output look like".
func TestExplainGolden(t *testing.T) {
	for _, c := range []struct{ name, hex string }{
		{"request", "40 01 7d34 bb 74656d7065726174757265"},
		{"response", "60 45 7d34 ff 32322e332043"},
		{"empty-ack", "60 00 7d38"},
		{"ping", "40 00 0001"},
		{"empty-non", "50 00 0001"},
		{"notification", "44 45 0f37 c0ffee01 63 012345 61 32 22 0258 92 012e ff a16174182d"},
		{"observe-register", "41 01 0002 aa 60 55 6c69676874"},
		{"observe-deregister", "41 01 0003 aa 61 01 55 6c69676874"},
		{"conditional-put", "42 03 0004 7431 13 0a0b0c 40 64 64617461 13 0027d9 d2 1f aabb ff 00ff00ff"},
		{"all-lengths", "4d 02 0005 01 000102030405060708090a0b0c0d dd 00 00" + strings.Repeat("76", 13) + "e0 0100 ff 68c3a46c6c6f"},
		{"token-16-bit-length", "4e 01 0006 0003" + strings.Repeat("74", 272)},
		{"reserved-block-size", "40 03 0007 b1 61 d1 03 0f ff 78"},
		{"repeated-and-unknown", "40 01 0008 b1 61 61 00 01 32 d0 23"},
		{"big-payload", "61 45 0009 20 c0 ff" + strings.Repeat("c3a4", 512)},
		{"big-binary-payload", "61 45 000a 20 c1 2a ff" + strings.Repeat("00ff", 512)},
		{"many-options", "40 01 000b b0" + strings.Repeat("00", 99) + "41 71 ff 21"},
		{"many-options-malformed", "40 01 000c b0" + strings.Repeat("00", 99) + "4f 71"},
		{"terminal-escapes", "40 01 000d b9 1b5b324a1b5d303b78 05 e280aeff07 ff 1b5b33316d"},
		{"reserved-class", "40 21 000e"},
		{"signal-over-udp", "50 e2 000f"},
		{"request-in-ack", "60 01 0010"},
		{"reset-with-code", "70 45 0011"},
		{"malformed-no-bytes", ""},
		{"malformed-header", "40 01 00"},
		{"malformed-version", "80 01 0001 b1 61"},
		{"malformed-token-reserved", "4f 01 0001 00"},
		{"malformed-token", "48 01 0001 010203"},
		{"malformed-empty", "41 00 0001 aa"},
		{"malformed-delta", "50 01 0001 f0"},
		{"malformed-length", "60 45 0001 bf"},
		{"malformed-option-header", "40 01 0001 e0 01"},
		{"malformed-option-value", "40 01 0001 b5 6162"},
		{"malformed-option-number", "40 01 0001 e0 fef2 c0"},
		{"malformed-payload", "40 01 0001 b1 61 ff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.hex)
			got := codec.Explain(nil, b)
			require.Empty(t, reference.CheckExplanation(b, got), "%s", got)

			file := filepath.Join("testdata", "explain", c.name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, got, 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got), "explanation of %s", c.hex)
		})
	}
}

// What a receiver does with a malformed message depends on its type, and on nothing else
// once the header can be read.
func TestExplainRejection(t *testing.T) {
	const malformed = "ff"
	for _, c := range []struct {
		what, hex, want string
	}{
		{"CON", "40010001" + malformed, "receiver  rejects the CON with a RST"},
		{"NON", "50010001" + malformed, "receiver  ignores the NON silently"},
		{"ACK", "60010001" + malformed, "receiver  ignores an ACK or RST silently"},
		{"RST", "70010001" + malformed, "receiver  ignores an ACK or RST silently"},
		{"CON of another version", "80010001" + malformed, "receiver  ignores it silently"},
		{"CON without message ID", "400100", "receiver  ignores it silently"},
	} {
		require.Contains(t, string(codec.Explain(nil, unhex(t, c.hex))), c.want, c.what)
	}
}

func TestExplainAppends(t *testing.T) {
	b := unhex(t, "40 01 7d34")
	alone := codec.Explain(nil, b)
	require.Equal(t, "before"+string(alone), string(codec.Explain([]byte("before"), b)))
}

// Every byte is shown, every error is named, nothing unprintable comes out.
func TestExplainAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(7252, 7))
	inputs := [][]byte{
		bytes.Repeat([]byte{0x1b}, 2000),
		append([]byte{0x40, 1, 0, 1}, make([]byte, 70000)...), // 70,000 options
		append([]byte{0x40, 1, 0, 1, 0xFF}, bytes.Repeat([]byte{0x1b}, 70000)...),
		longestExplanation(),
	}
	for range 5000 {
		inputs = append(inputs, reference.Mutate(r, reference.Encode(reference.Random(r))))
	}
	for _, p := range reference.Packets() {
		inputs = append(inputs, p.Bytes())
	}
	for _, b := range inputs {
		got := codec.Explain(nil, b)
		require.Empty(t, reference.CheckExplanation(b, got), "%.200x\n%.2000s", b, got)
	}
}

// longestExplanation returns a datagram of long fields whose text must be escaped.
func longestExplanation() []byte {
	hostile := strings.Repeat("\x1b", 400)
	m := build(message.Confirmable, message.GET, 1, hostile, hostile)
	for i := range 200 {
		m.Options.AddString(message.OptionURIHost, fmt.Sprint(hostile, i))
	}
	b, _ := codec.AppendUDP(nil, &m)
	return b
}
