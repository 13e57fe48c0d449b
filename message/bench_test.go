package message_test

import (
	"net/netip"
	"testing"

	"github.com/coapkit/coap/message"
)

// Options in order, the usual case, in memory that is used again.
func BenchmarkOptionsAdd(b *testing.B) {
	var o message.Options
	path, accept := []byte("temperature"), []byte{60}
	b.ReportAllocs()
	for b.Loop() {
		o.Reset()
		o.Add(message.OptionURIPath, path)
		o.Add(message.OptionURIPath, path)
		o.Add(message.OptionAccept, accept)
	}
}

// An option that belongs before others moves them.
func BenchmarkOptionsAddBefore(b *testing.B) {
	var o message.Options
	path, accept := []byte("temperature"), []byte{60}
	b.ReportAllocs()
	for b.Loop() {
		o.Reset()
		o.Add(message.OptionAccept, accept)
		o.Add(message.OptionURIPath, path)
	}
}

func BenchmarkOptionsFirst(b *testing.B) {
	var o message.Options
	if err := o.SetTarget("/sensors/building-7/temperature?unit=c"); err != nil {
		b.Fatal(err)
	}
	o.SetAccept(message.CBOR)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := o.First(message.OptionAccept); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkOptionsSetPath(b *testing.B) {
	var o message.Options
	b.ReportAllocs()
	for b.Loop() {
		o.Reset()
		if err := o.SetPath("/sensors/building-7/temperature"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOptionsPath(b *testing.B) {
	var o message.Options
	if err := o.SetPath("/sensors/building-7/temperature"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		o.Path()
	}
}

func BenchmarkRegistryCheck(b *testing.B) {
	r, err := message.NewRegistry()
	if err != nil {
		b.Fatal(err)
	}
	var o message.Options
	if err := o.SetTarget("/sensors/building-7/temperature?unit=c"); err != nil {
		b.Fatal(err)
	}
	understood := func(message.OptionNumber) bool { return true }
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Check(&o, understood); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkURIToOptions(b *testing.B) {
	var o message.Options
	b.ReportAllocs()
	for b.Loop() {
		o.Reset()
		u, err := message.ParseURI("coap://[2001:db8::1]:5683/sensors/temperature?unit=c")
		if err == nil {
			err = u.SetOptions(&o, netip.AddrPort{})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClone(b *testing.B) {
	m := message.Message{Code: message.Content, Token: message.Token{1, 2, 3, 4}, Payload: make([]byte, 64)}
	m.Options.SetContentFormat(message.CBOR)
	b.ReportAllocs()
	for b.Loop() {
		m.Clone()
	}
}
