package interop

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
)

// messagesToDissect is how many messages tshark reads. At least 500 are wanted.
const messagesToDissect = 700

// Random valid messages from our encoder, field by field as Wireshark's dissector, written by
// others, reads them from a capture file. Tried with tshark 4.0.
//
// Proves 7252-3-01, 7252-3-s16, 7252-3-s19, 7252-3-s25, 7252-3-s28, 7252-3-s37, 7252-3-s38,
// 7252-3-s39, 7252-3.1-01, 7252-3.1-s04, 7252-3.1-s05, 7252-3.1-s12, 7252-3.1-s13,
// 7252-3.1-s21, 7252-3.1-s22, 7252-3.1-s25, 7252-5.4.6-s05, 7252-5.4.6-s06, 7252-5.4.6-s07.
func TestTsharkReadsOurMessages(t *testing.T) {
	tshark := requireTool(t, "tshark", "tshark (Debian)")
	r := rand.New(rand.NewPCG(5683, 1))
	messages := make([]message.Message, messagesToDissect)
	datagrams := make([][]byte, messagesToDissect)
	for i := range messages {
		messages[i] = randomMessage(r)
		b, err := codec.AppendUDP(nil, &messages[i])
		require.NoError(t, err)
		datagrams[i] = b
	}
	packets := dissect(t, tshark, datagrams)
	require.Len(t, packets, messagesToDissect, "packets that tshark takes for CoAP")

	compared, seen := 0, map[string]bool{}
	for i := range messages {
		want := expect(&messages[i])
		if d := cmp.Diff(want, packets[i].read(t)); d != "" {
			t.Errorf("message %d, %v\n%x\nours (-), tshark's (+):\n%s", i, &messages[i], datagrams[i], d)
		}
		compared++
		seen[messages[i].Type.String()] = true
		for _, o := range want.Options {
			seen[o.Class] = true
			seen[fmt.Sprintf("delta of %d more bytes", o.DeltaExtension)] = true
			seen[fmt.Sprintf("length of %d more bytes", o.LengthExtension)] = true
		}
	}
	require.GreaterOrEqual(t, compared, 500, "messages compared")
	require.Len(t, seen, 4+6+3+3, "types, option classes and kinds of option headers in the messages: %v", seen)
}

// dissected is a message as tshark tells it.
type dissected struct {
	Version, Type, TokenLength, Code, MessageID int

	Token   string // in hexadecimal, like all bytes here
	Options []dissectedOption
	Payload string
}

type dissectedOption struct {
	Number                          int
	Class                           string // "Critical, Safe"
	Length                          int
	DeltaExtension, LengthExtension int // extension bytes in the header
	Value                           string
}

// expect says what tshark should tell of m.
func expect(m *message.Message) dissected {
	d := dissected{
		Version: 1, Type: int(m.Type), TokenLength: len(m.Token), Code: int(m.Code), MessageID: int(m.MessageID),
		Token: m.Token.String(), Payload: hex.EncodeToString(m.Payload),
	}
	last := 0
	for n, v := range m.Options.All() {
		d.Options = append(d.Options, dissectedOption{
			Number: int(n), Class: class(n), Length: len(v), Value: hex.EncodeToString(v),
			DeltaExtension: extensionBytes(int(n) - last), LengthExtension: extensionBytes(len(v)),
		})
		last = int(n)
	}
	return d
}

// class writes the properties of an option number as tshark does.
func class(n message.OptionNumber) string {
	s := "Elective"
	if n.Critical() {
		s = "Critical"
	}
	switch {
	case n.Unsafe():
		return s + ", Unsafe"
	case n.NoCacheKey():
		return s + ", Safe, NoCacheKey"
	}
	return s + ", Safe"
}

func extensionBytes(v int) int {
	switch {
	case v < 13:
		return 0
	case v < 269:
		return 1
	}
	return 2
}

// field is a field of PDML, tshark's most detailed output. Value holds the bytes of the
// field, Show its meaning.
type field struct {
	Name   string  `xml:"name,attr"`
	Size   int     `xml:"size,attr"`
	Show   string  `xml:"show,attr"`
	Value  string  `xml:"value,attr"`
	Fields []field `xml:"field"`
}

// find returns the first field directly below f with this name.
func (f field) find(name string) (field, bool) {
	for _, sub := range f.Fields {
		if sub.Name == name {
			return sub, true
		}
	}
	return field{}, false
}

// number returns the meaning of a field as a number, 0 if the field is missing.
func (f field) number(t *testing.T, name string) int {
	t.Helper()
	sub, ok := f.find(name)
	if !ok {
		return 0
	}
	v, err := strconv.Atoi(sub.Show)
	require.NoError(t, err, "%s of tshark", name)
	return v
}

// read collects what tshark says of a message.
func (f field) read(t *testing.T) dissected {
	t.Helper()
	token, _ := f.find("coap.token")
	payload, _ := f.find("coap.payload")
	// With a block option tshark shows the block here, and as payload the
	// reassembled body, if it is complete.
	if block, ok := f.find("coap.block_payload"); ok {
		payload = block
	}
	d := dissected{
		Version:     f.number(t, "coap.version"),
		Type:        f.number(t, "coap.type"),
		TokenLength: f.number(t, "coap.token_len"),
		Code:        f.number(t, "coap.code"),
		MessageID:   f.number(t, "coap.mid"),
		Token:       token.Value,
		Payload:     payload.Value,
	}
	for _, sub := range f.Fields {
		if sub.Name == "coap.opt.name" {
			d.Options = append(d.Options, sub.readOption(t))
		}
	}
	return d
}

// readOption reads the parts that tshark shows alike for all options. Options that it does not
// know (in 4.0: 19, 21, 31, 235, 239, 252, 258, 292 and those from 2049 on) get a warning
// but are taken apart just the same, so none is left out of the comparison.
func (f field) readOption(t *testing.T) dissectedOption {
	t.Helper()
	desc, _ := f.find("coap.opt.desc") // "Type 11, Critical, Unsafe"
	number, class, _ := strings.Cut(strings.TrimPrefix(desc.Show, "Type "), ", ")
	n, err := strconv.Atoi(number)
	require.NoError(t, err, "option description of tshark: %q", desc.Show)

	deltaExt, _ := f.find("coap.opt.delta_ext")
	lengthExt, _ := f.find("coap.opt.length_ext")
	o := dissectedOption{Number: n, Class: class, DeltaExtension: deltaExt.Size, LengthExtension: lengthExt.Size}
	o.Length = f.number(t, "coap.opt.length") + f.number(t, "coap.opt.length_ext")
	if o.LengthExtension == 2 {
		o.Length += 269 - 14
	}
	header := 1 + o.DeltaExtension + o.LengthExtension
	require.GreaterOrEqual(t, len(f.Value), 2*header, "bytes of option %d", n)
	o.Value = f.Value[2*header:]
	return o
}

// dissect has tshark read datagrams from a capture file and returns the CoAP layer of each
// packet that has one.
func dissect(t *testing.T, tshark string, datagrams [][]byte) []field {
	t.Helper()
	file := filepath.Join(t.TempDir(), "coap.pcap")
	require.NoError(t, os.WriteFile(file, capture(datagrams), 0o600))
	cmd := exec.Command(tshark, "-n", "-r", file, "-T", "pdml", "-J", "coap")
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, "tshark: %s", &problems)

	var pdml struct {
		Packets []struct {
			Layers []field `xml:"proto"`
		} `xml:"packet"`
	}
	require.NoError(t, xml.Unmarshal(out, &pdml), "PDML of tshark")
	var packets []field
	for _, p := range pdml.Packets {
		for _, layer := range p.Layers {
			if layer.Name == "coap" {
				packets = append(packets, layer)
			}
		}
	}
	return packets
}

// capture writes a capture file of the classic format with each datagram in an IPv4 packet
// to port 5683. Each has its own source port: tshark follows requests, responses and
// blocks within a pair of endpoints, and these messages have nothing to do with each other.
func capture(datagrams [][]byte) []byte {
	const linkTypeRaw = 101 // the packet starts with its IP header
	little, big := binary.LittleEndian, binary.BigEndian

	b := little.AppendUint32(nil, 0xa1b2c3d4)
	b = little.AppendUint16(b, 2) // version 2.4
	b = little.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...) // time zone, accuracy
	b = little.AppendUint32(b, 1<<18) // longest packet
	b = little.AppendUint32(b, linkTypeRaw)
	for i, d := range datagrams {
		udpLength := 8 + len(d)
		length := 20 + udpLength
		b = little.AppendUint32(b, uint32(i)) // seconds
		b = little.AppendUint32(b, 0)
		b = little.AppendUint32(b, uint32(length)) // captured
		b = little.AppendUint32(b, uint32(length)) // on the wire

		b = append(b, 0x45, 0) // version 4, 20 bytes
		b = big.AppendUint16(b, uint16(length))
		b = append(b, 0, 0, 0, 0, 64, 17)         // not fragmented, TTL 64, UDP
		b = append(b, 0, 0)                       // checksum, which tshark does not look at
		b = append(b, 192, 0, 2, 1)               // from
		b = append(b, 192, 0, 2, 2)               // to
		b = big.AppendUint16(b, uint16(10_000+i)) // from
		b = big.AppendUint16(b, 5683)             // to
		b = big.AppendUint16(b, uint16(udpLength))
		b = append(b, 0, 0) // no checksum
		b = append(b, d...)
	}
	return b
}
