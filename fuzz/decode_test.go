package fuzz

import (
	"bytes"
	"testing"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/internal/reference"
	"github.com/coapkit/coap/message"
)

// addDatagrams seeds a target that takes a datagram.
func addDatagrams(f *testing.F) {
	for _, p := range reference.Packets() {
		f.Add(p.Bytes())
	}
	for _, b := range captured() {
		f.Add(b)
	}
	for _, s := range []string{
		"D\x01\x00\x01tokn\xbbtemperature\x45unit=\xff payload",
		"M\x02\x12\x34\x00thirteenbytes\xd1\x03\x0e\xff\xff",
		"a\x45\x7d\x35 c\x01\x23\x45\x61\x32\x22\x02\x58\xff22.3 C",
		"N\x01\x00\x01\x00\x00" + string(make([]byte, 269)) + "\xe0\xfe\xf2",
	} {
		f.Add([]byte(s))
	}
}

func FuzzDecode(f *testing.F) {
	addDatagrams(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		want, wantErr := reference.Decode(b)
		var m message.Message
		before := bytes.Clone(b)
		err := codec.DecodeUDP(b, &m)
		if !bytes.Equal(before, b) {
			t.Fatalf("decoding changed the datagram\nfrom %x\nto   %x", before, b)
		}
		if err != wantErr {
			t.Fatalf("error %v, the reference decoder says %v\n%x", err, wantErr, b)
		}
		if _, isFormatError := err.(message.FormatError); err != nil && !isFormatError {
			t.Fatalf("error %v is a %T, want a FormatError\n%x", err, err, b)
		}
		if err != nil {
			return
		}
		if d := want.Differs(&m); d != "" {
			t.Fatalf("%s differs from the reference decoder's\n%x", d, b)
		}
		checkEncode(t, b, &m)
	})
}

// checkEncode encodes a message that b decoded to: a message has one encoding only.
func checkEncode(t *testing.T, b []byte, m *message.Message) {
	again, err := codec.AppendUDP(nil, m)
	if err != nil {
		t.Fatalf("does not encode again: %v\n%x", err, b)
	}
	if !bytes.Equal(b, again) {
		t.Fatalf("encodes to other bytes\nfrom %x\nto   %x", b, again)
	}
	if n := codec.SizeUDP(m); n != len(b) {
		t.Fatalf("SizeUDP is %d, want %d\n%x", n, len(b), b)
	}
	// A list that was built option by option is the same list.
	rebuilt := *m
	rebuilt.Options = message.Options{}
	for n, v := range m.Options.All() {
		rebuilt.Options.Add(n, v)
	}
	again, err = codec.AppendUDP(again[:0], &rebuilt)
	if err != nil || !bytes.Equal(b, again) {
		t.Fatalf("rebuilt option by option: %v\nfrom %x\nto   %x", err, b, again)
	}
	// And a clone does not depend on the datagram.
	clone := m.Clone()
	scribbled := bytes.Clone(b)
	for i := range b {
		b[i] ^= 0x5A
	}
	again, err = codec.AppendUDP(nil, &clone)
	copy(b, scribbled)
	if err != nil || !bytes.Equal(b, again) {
		t.Fatalf("clone after the datagram changed: %v\nfrom %x\nto   %x", err, b, again)
	}
}
