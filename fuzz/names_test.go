package fuzz

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/message"
)

// FuzzNames looks up what people write for codes, content formats and options: what is found has
// that name, and every number comes back from the name that it is written with.
func FuzzNames(f *testing.F) {
	for _, s := range []string{
		"GET", "iPATCH", "2.05", "7.31", "0.00", "json", "text/plain;charset=utf-8", "application/json@deflate", "senml+cbor", "65535", "65536",
		"text", `application/cose; cose-type="cose-sign1"`, "Uri-Path", "uri-pth", "Block1", "no-response", "İ", "\xff", "",
	} {
		f.Add(s, uint16(len(s)), []byte(s))
	}
	f.Fuzz(func(t *testing.T, s string, n uint16, value []byte) {
		if c, err := message.ParseCode(s); err == nil && c.Dotted() != s && c.Name() != s {
			t.Fatalf("%q is %v", s, c)
		}
		code := message.Code(n)
		if c, err := message.ParseCode(code.Dotted()); err != nil || c != code {
			t.Fatalf("%v is read as %v, %v", code, c, err)
		}
		if _, err := message.ParseContentFormat(s); err != nil && len(err.Error()) > 1000+8*len(s) {
			t.Fatalf("%q: a long error: %v", s, err)
		}
		format := message.ContentFormat(n)
		if got, err := message.ParseContentFormat(strings.ToUpper(format.String())); err != nil || got != format {
			t.Fatalf("content format %d, %q, is read as %d, %v", n, format, got, err)
		}
		checkOptionNames(t, s, message.OptionNumber(n), value)
	})
}

func checkOptionNames(t *testing.T, s string, n message.OptionNumber, value []byte) {
	var all *message.Registry
	if d, ok := all.ByName(s); ok && !strings.EqualFold(d.Name, s) {
		t.Fatalf("option %q is %+v", s, d)
	}
	similar := all.Similar(s)
	for _, name := range similar {
		if _, ok := all.ByName(name); !ok || len(similar) > 3 {
			t.Fatalf("similar to %q are %q", s, similar)
		}
	}
	if d, known := all.Lookup(n); known {
		if again, ok := all.ByName(strings.ToLower(d.Name)); !ok || again != d {
			t.Fatalf("%+v comes back as %+v", d, again)
		}
	}
	before := bytes.Clone(value)
	text := message.Option{Number: n, Value: value}.String()
	if !utf8.ValidString(text) || !strings.HasPrefix(text, n.String()) || len(text) > len(n.String())+4*len(value)+32 || !bytes.Equal(before, value) {
		t.Fatalf("option %d with %x is described as %q", n, value, text)
	}
	custom, err := message.NewRegistry(message.Definition{Number: n, Name: s, MaxLen: len(value)})
	if (err == nil) != (s != "" && len(value) <= message.MaxOptionLength) {
		t.Fatalf("a definition with the name %q: %v", s, err)
	}
	if d, ok := custom.Lookup(n); err == nil && (!ok || d.Name != s) {
		t.Fatalf("%q is not found: %+v", s, d)
	}
}

// FuzzBlockValue reads the values of Block options: those that are well-formed mean what RFC 7959 section
// 2.2 says, and are the same after they are written.
func FuzzBlockValue(f *testing.F) {
	for _, v := range []string{"", "\x06", "\x1e", "\xff\xff\xff", "\x00\x00\x0e", "\x01\x00\x00\x00"} {
		f.Add([]byte(v))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) > 2000 {
			return
		}
		var o message.Options
		o.Add(message.OptionBlock2, value)
		b, ok := blockwise.ParseBlock(&o, message.OptionBlock2)
		if _, other := blockwise.ParseBlock(&o, message.OptionBlock1); other || ok != (len(value) <= 3) {
			t.Fatalf("%x is a block: %v; another one: %v", value, ok, other)
		}
		if !ok {
			return
		}
		bits := 0
		for _, v := range value {
			bits = bits<<8 | int(v)
		}
		size := 1 << (bits%8 + 4)
		if int(b.Num) != bits/16 || b.More != (bits/8%2 == 1) || b.Size() != size || b.Offset() != int64(bits/16)*int64(size) {
			t.Fatalf("%x is read as %v", value, b)
		}
		o.Reset()
		o.AddUint(message.OptionBlock2, b.Value())
		if again, ok := blockwise.ParseBlock(&o, message.OptionBlock2); !ok || again != b {
			t.Fatalf("%v is written as %#x", b, b.Value())
		}
	})
}
