package reference

import (
	"encoding/hex"
	"strings"

	"github.com/coapkit/coap/message"
)

// Packet is a datagram that has broken some CoAP implementation, or could.
type Packet struct {
	Name string
	Hex  string
	// Err is the format error that decoding gives, 0 when the format is fine and the
	// difficulty, if any, is on a higher level.
	Err message.FormatError
	// Options are the decoded options, "number:hex" each, separated by spaces, of packets
	// whose format is fine.
	Options string
}

// Bytes returns the datagram in a new slice of exactly its length.
func (p Packet) Bytes() []byte {
	b, err := hex.DecodeString(p.Hex)
	if err != nil {
		panic("packet " + p.Name + ": " + err.Error())
	}
	return b
}

const sixteen = "78787878787878787878787878787878" // a block of 16 bytes

// longURI is "coap://" and a host of 301 characters.
var longURI = hex.EncodeToString([]byte("coap://" + strings.Repeat("h", 301)))

// Packets returns all packets, in a new slice.
func Packets() []Packet {
	return []Packet{
		{"P1 three bytes", "400100", message.ErrHeaderTooShort, ""},
		{"P2 token of 9 bytes", "49010001010203040506070809", 0, ""},
		{"P3 TKL 13, header only", "4d010001", message.ErrTokenTruncated, ""},
		{"P4 TKL 14, one byte follows", "4e01000100", message.ErrTokenTruncated, ""},
		{"P5 TKL 15", "4f010001", message.ErrTokenLengthReserved, ""},
		{"P6 TKL 8, three bytes", "48010001010203", message.ErrTokenTruncated, ""},
		{"P7 delta 13, no byte", "40010001d0", message.ErrOptionHeaderTruncated, ""},
		{"P8 delta 14, one byte", "40010001e001", message.ErrOptionHeaderTruncated, ""},
		{"P9 length 13, no byte", "400100010d", message.ErrOptionHeaderTruncated, ""},
		{"P10 length 14, one byte", "400100010e01", message.ErrOptionHeaderTruncated, ""},
		{"P11 delta 15", "40010001f0", message.ErrOptionDeltaReserved, ""},
		{"P12 length 15", "40010001bf", message.ErrOptionLengthReserved, ""},
		{"P13 length 5, two bytes left", "40010001b56162", message.ErrOptionValueTruncated, ""},
		{"P14 length 65804", "40010001beffff", message.ErrOptionValueTruncated, ""},
		{"P15 number 65547", "40010001e0fef2c0", message.ErrOptionNumberOverflow, ""},
		{"P16 number wraps to Uri-Path", "40010001b161e0fee7c162", message.ErrOptionNumberOverflow, ""},
		{"P17 marker without payload", "40010001ff", message.ErrPayloadMissing, ""},
		{"P17 marker without payload after an option", "40010001b161ff", message.ErrPayloadMissing, ""},
		{"P18 Empty with token", "41000001aa", message.ErrEmptyNotEmpty, ""},
		{"P18 Empty with option", "40000001b161", message.ErrEmptyNotEmpty, ""},
		{"P18 Empty with payload", "40000001ff78", message.ErrEmptyNotEmpty, ""},
		{"P19 ping", "40000001", 0, ""},
		{"P20 Empty NON", "50000001", 0, ""},
		{"P21 code class 1", "40210001", 0, ""},
		{"P21 code class 6", "40c10001", 0, ""},
		{"P21 code class 7", "40e10001", 0, ""},
		{"P22 version 0", "00010001", message.ErrVersion, ""},
		{"P22 version 2", "80010001", message.ErrVersion, ""},
		{"P22 version 3", "c0010001", message.ErrVersion, ""},
		{"P23 ACK with a request", "60010001", 0, ""},
		{"P23 RST with a request", "70010001", 0, ""},
		{"P24 CON with a message ID in use", "40010001b174", 0, "11:74"},
		{"P25 1000 empty Uri-Path", "40010001b0" + strings.Repeat("00", 999), 0, strings.TrimSpace(strings.Repeat("11: ", 1000))},
		{"P26 unknown critical option 65", "40030001b161d029ff78", 0, "11:61 65:"},
		{"P27 unknown elective option 66", "40030001b161d02aff78", 0, "11:61 66:"},
		{"P28 Accept twice", "40010001b16161000132", 0, "11:61 17:00 17:32"},
		{"P29 empty Uri-Host", "40010001308161", 0, "3: 11:61"},
		{"P30 Uri-Port of 3 bytes", "40010001730102034161", 0, "7:010203 11:61"},
		{"P31 Content-Format of 3 bytes", "40030001b16113000000", 0, "11:61 12:000000"},
		{"P31 Observe of 4 bytes", "4001000164000000005161", 0, "6:00000000 11:61"},
		{"P31 ETag of 9 bytes", "40010001490102030405060708097161", 0, "4:010203040506070809 11:61"},
		{"P32 If-None-Match with a value", "4003000151016161", 0, "5:01 11:61"},
		{"P33 Block1 SZX 7", "40030001b161d1030fff" + sixteen, 0, "11:61 27:0f"},
		{"P34 Block1 of 4 bytes", "40030001b161d40300000008ff" + sixteen, 0, "11:61 27:00000008"},
		{"P35 Block1 with leading zeros", "40030001b161d303000008ff" + sixteen, 0, "11:61 27:000008"},
		{"P36 transfer starts at block 1", "40030001b161d10318ff" + sixteen, 0, "11:61 27:18"},
		{"P37 short block with more to come", "40030001b161d10308ff7878787878", 0, "11:61 27:08"},
		{"P38 block without payload", "40030001b161d10308", 0, "11:61 27:08"},
		{"P39 last block number", "40030001b161d303fffffeff78", 0, "11:61 27:fffffe"},
		{"P40 Block1 and Block2", "40030001b161c1024108ff" + sixteen, 0, "11:61 23:02 27:08"},
		{"P41 NON GET with ETag, Block2, Block1", "54010001c98669bf410d71614162811943558ec1", 0, "4:0d 11:61 15:62 23:19 27:558ec1"},
		{"P42 Proxy-Uri with a long host", "40010001de160027" + longURI, 0, "35:" + longURI},
		{"P42 Uri-Host of 256 bytes", "400100013df3" + strings.Repeat("68", 256), 0, "3:" + strings.Repeat("68", 256)},
		{"P43 If-Match with another ETag", "400300011455443322a161ff78", 0, "1:55443322 11:61"},
		{"P44 Location-Path in a request", "4003000181623161d070", 0, "8:62 11:61 136:"},
		{"P45 confusing path segments", "40010001b22e2e03612f620100" + "02fffe", 0, "11:2e2e 11:612f62 11:00 11:fffe"},
		{"P46 PUT with If-None-Match", "40030001506161ff78", 0, "5: 11:61"},
	}
}
