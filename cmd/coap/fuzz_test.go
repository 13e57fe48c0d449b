package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
)

// FuzzDecode: what is typed for a message is explained, or refused with a reason, and the JSON has all of
// it, whatever is between the digits.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"44017d340f1e2d3cbb74656d7065726174757265", "0x40, 01:00\n 01", "60457d34ff32322e332043", "400100", "4001000", "xy", "",
	} {
		b, _ := hex.DecodeString(s)
		f.Add(s, b)
	}
	f.Fuzz(func(t *testing.T, text string, datagram []byte) {
		var out bytes.Buffer
		s := &streams{out: &out, err: io.Discard}
		for _, asJSON := range []bool{false, true} {
			if err := decode(s, text, asJSON); err != nil && err.Error() == "" {
				t.Fatalf("%q is refused without a reason", text)
			}
		}
		var typed strings.Builder
		for i, b := range datagram {
			typed.WriteString(hex.EncodeToString([]byte{b}) + []string{"", ":", " ", ", 0x", "\n"}[(i+len(text))%5])
		}
		got, err := parseHex(typed.String() + " ")
		if strings.HasSuffix(typed.String(), "0x") {
			return
		}
		if err != nil || !bytes.Equal(got, datagram) {
			t.Fatalf("%q is read as %x, %v", &typed, got, err)
		}
		var m message.Message
		if codec.DecodeUDP(datagram, &m) != nil {
			return
		}
		out.Reset()
		var j messageJSON
		if err := decode(s, typed.String(), true); err != nil {
			t.Fatalf("%x: %v", datagram, err)
		}
		if err := json.Unmarshal(out.Bytes(), &j); err != nil || j.Payload != hex.EncodeToString(m.Payload) ||
			j.Token != m.Token.String() || j.MessageID != m.MessageID || len(j.Options) != m.Options.Len() {
			t.Fatalf("%x is written as %s, %v", datagram, &out, err)
		}
	})
}
