package coaptest

import (
	"bytes"
	"testing"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/internal/reference"
	"github.com/coapkit/coap/message"
)

// FuzzLine: the line that a chart shows for a message says all of it, and reads as that message; any
// other text is a line that matches what it describes, or an error.
func FuzzLine(f *testing.F) {
	for _, s := range []string{
		"CON GET mid=7 tok=0a1b path=a/b query=unit=C Accept:json # why", `* * pay="a b\n" opt=65001:00ff`, "ACK 2.05 Max-Age:60 ETag:0x01 pay=#",
		"NON POST path=/ If-None-Match Uri-Host:\"x y\"", "RST 0.00 mid=0x10000", "CON GET Max-Age:", "CON 9.99", `CON GET pay="`, "",
	} {
		f.Add(s, []byte{})
	}
	for _, p := range reference.Packets() {
		f.Add("", p.Bytes())
	}
	f.Fuzz(func(t *testing.T, text string, datagram []byte) {
		if l, err := parseLine("%s", text); err == nil {
			if err := l.match(&l.msg); err != nil {
				t.Fatalf("%q does not match what it says: %v", text, err)
			}
		}
		var m message.Message
		if codec.DecodeUDP(datagram, &m) != nil {
			return
		}
		line := formatLine(&m)
		l, err := parseLine("%s", line)
		if err != nil {
			t.Fatalf("%x is written as %s: %v", datagram, line, err)
		}
		if err := l.match(&m); err != nil {
			t.Fatalf("%x is written as %s: %v", datagram, line, err)
		}
		same := l.msg.Type == m.Type && l.msg.Code == m.Code && l.mid && l.msg.MessageID == m.MessageID &&
			bytes.Equal(l.msg.Token, m.Token) && bytes.Equal(l.msg.Payload, m.Payload) && l.msg.Options.Len() == m.Options.Len()
		if again := formatLine(&l.msg); !same || again != line {
			t.Fatalf("%x is written as %s, which is read as %s", datagram, line, again)
		}
	})
}
