package fuzz

import (
	"bytes"
	"testing"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/internal/reference"
)

func FuzzExplain(f *testing.F) {
	addDatagrams(f)
	f.Add([]byte("@\x01\x00\x01\xb9\x1b[2J\x1b]0;x\xff\x1b[31m\u202e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		text := codec.Explain(nil, b)
		if wrong := reference.CheckExplanation(b, text); wrong != "" {
			t.Fatalf("the explanation %s\n%x\n%s", wrong, b, text)
		}
		behind := codec.Explain([]byte("in front"), b)
		if !bytes.Equal(behind, append([]byte("in front"), text...)) {
			t.Fatalf("appended to something it is\n%s\nalone it is\n%s", behind, text)
		}
	})
}
