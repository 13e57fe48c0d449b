package codec_test

import (
	"fmt"
	"log"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
)

// The request of RFC 7252 figure 17 as bytes, and read from them again.
func Example() {
	m := message.Message{Type: message.Confirmable, Code: message.GET, MessageID: 0x7d34, Token: message.Token{0x20}}
	m.Options.AddString(message.OptionURIPath, "temperature")
	datagram, err := codec.AppendUDP(nil, &m)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("% x\n", datagram)

	var got message.Message // its parts point into datagram; Clone keeps them
	if err := codec.DecodeUDP(datagram, &got); err != nil {
		log.Fatal(err)
	}
	fmt.Println(got.Type, got.Code, got.MessageID, got.Token, got.Options.Path())
	// Output:
	// 41 01 7d 34 20 bb 74 65 6d 70 65 72 61 74 75 72 65
	// CON GET 32052 20 /temperature
}

// The fixed header is enough to reject what cannot be decoded: a Confirmable message that breaks
// the format is answered with a Reset that has its message ID (RFC 7252 section 4.2).
func ExampleParseHeader() {
	datagram := []byte{0x40, 0x01, 0x12, 0x34, 0xff} // a payload marker without a payload
	var m message.Message
	if err := codec.DecodeUDP(datagram, &m); err != nil {
		fmt.Println(err)
		if h, err := codec.ParseHeader(datagram); err == nil && h.Type == message.Confirmable {
			fmt.Printf("% x\n", codec.AppendHeader(nil, message.Reset, message.Empty, h.MessageID))
		}
	}
	// Output:
	// malformed message: payload marker without payload
	// 70 00 12 34
}

// The response of RFC 7252 figure 17, field by field.
func ExampleExplain() {
	fmt.Printf("%s", codec.Explain(nil, []byte("\x61\x45\x7d\x34\x20\xff22.3 C")))
	// Output:
	// 0000  61                       version, type, token length
	//                                01.. .... version 1
	//                                ..10 .... type 2: ACK, Acknowledgement
	//                                .... 0001 token length 1
	// 0001  45                       code 2.05: Content, a response, success
	// 0002  7d 34                    message ID 32052
	// 0004  20                       token, 1 byte
	// 0005  ff                       payload marker
	// 0006  32 32 2e 33 20 43        payload, 6 bytes, text "22.3 C"
}
