package codec_test

import (
	"bytes"
	"testing"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
)

// benchMessages are what CoAP traffic is made of: a short and a usual request, a usual
// response and a response with a full block.
var benchMessages = []struct {
	name    string
	m       message.Message
	options []message.Option
}{
	{"1-short-request", message.Message{
		Type: message.Confirmable, Code: message.GET, MessageID: 0x1234, Token: message.Token{1, 2},
	}, []message.Option{
		{Number: message.OptionURIPath, Value: []byte("temperature")},
	}},
	{"2-usual-request", message.Message{
		Type: message.Confirmable, Code: message.GET, MessageID: 0x1235, Token: message.Token{1, 2, 3, 4, 5, 6, 7, 8},
	}, []message.Option{
		{Number: message.OptionURIHost, Value: []byte("coap.example.com")},
		{Number: message.OptionURIPort, Value: []byte{0x16, 0x33}},
		{Number: message.OptionURIPath, Value: []byte("sensors")},
		{Number: message.OptionURIPath, Value: []byte("building-7")},
		{Number: message.OptionURIPath, Value: []byte("temperature")},
		{Number: message.OptionURIQuery, Value: []byte("unit=c")},
		{Number: message.OptionURIQuery, Value: []byte("avg=60")},
		{Number: message.OptionAccept, Value: []byte{60}},
	}},
	{"3-usual-response", message.Message{
		Type: message.Acknowledgement, Code: message.Content, MessageID: 0x1236, Token: message.Token{1, 2, 3, 4},
		Payload: bytes.Repeat([]byte("a"), 64),
	}, []message.Option{
		{Number: message.OptionETag, Value: []byte{8, 7, 6, 5, 4, 3, 2, 1}},
		{Number: message.OptionContentFormat, Value: []byte{60}},
		{Number: message.OptionMaxAge, Value: []byte{120}},
		{Number: message.OptionBlock2, Value: []byte{0x32}},
	}},
	{"4-full-block", message.Message{
		Type: message.Confirmable, Code: message.Content, MessageID: 0x1237, Token: message.Token{1, 2, 3, 4, 5, 6, 7, 8},
		Payload: bytes.Repeat([]byte("a"), 1024),
	}, []message.Option{
		{Number: message.OptionObserve, Value: []byte{1, 0x23, 0x45}},
		{Number: message.OptionContentFormat, Value: []byte{42}},
		{Number: message.OptionBlock2, Value: []byte{0x0e}},
	}},
}

// benchWire returns the message with its options and its datagram.
func benchWire(tb testing.TB, i int) (message.Message, []byte) {
	m := benchMessages[i].m
	for _, o := range benchMessages[i].options {
		m.Options.Add(o.Number, o.Value)
	}
	wire, err := codec.AppendUDP(nil, &m)
	if err != nil {
		tb.Fatal(err)
	}
	return m, wire
}

var sink []byte // keeps results alive

func eachBenchMessage(b *testing.B, f func(b *testing.B, i int)) {
	for i := range benchMessages {
		b.Run(benchMessages[i].name, func(b *testing.B) {
			b.ReportAllocs()
			f(b, i)
		})
	}
}

// One validating pass; compare with a hand-written walk that fills a table of options.
func BenchmarkDecode(b *testing.B) {
	eachBenchMessage(b, func(b *testing.B, i int) {
		_, wire := benchWire(b, i)
		var m message.Message
		for b.Loop() {
			if err := codec.DecodeUDP(wire, &m); err != nil {
				b.Fatal(err)
			}
		}
		sink = m.Payload
	})
}

func BenchmarkDecodeAndIterate(b *testing.B) {
	eachBenchMessage(b, func(b *testing.B, i int) {
		_, wire := benchWire(b, i)
		var m message.Message
		for b.Loop() {
			if err := codec.DecodeUDP(wire, &m); err != nil {
				b.Fatal(err)
			}
			it := m.Options.Iter() // not in the loop, which would copy it in each round
			for it.Next() {
				sink = it.Value()
			}
		}
	})
}

// The message is ready; compare with BenchmarkAppendOnly.
func BenchmarkEncode(b *testing.B) {
	eachBenchMessage(b, func(b *testing.B, i int) {
		m, wire := benchWire(b, i)
		buf := make([]byte, 0, len(wire))
		for b.Loop() {
			sink, _ = codec.AppendUDP(buf, &m)
		}
	})
}

// The floor of BenchmarkEncode: the bytes are ready.
func BenchmarkAppendOnly(b *testing.B) {
	eachBenchMessage(b, func(b *testing.B, i int) {
		_, wire := benchWire(b, i)
		buf := make([]byte, 0, len(wire))
		for b.Loop() {
			sink = append(buf, wire...)
		}
	})
}

// The message is built field by field in memory that is used again, then encoded.
func BenchmarkBuildAndEncode(b *testing.B) {
	eachBenchMessage(b, func(b *testing.B, i int) {
		from := &benchMessages[i]
		_, wire := benchWire(b, i)
		buf := make([]byte, 0, len(wire))
		var m message.Message
		for b.Loop() {
			m.Reset()
			m.Type, m.Code, m.MessageID = from.m.Type, from.m.Code, from.m.MessageID
			m.Token, m.Payload = from.m.Token, from.m.Payload
			for j := range from.options {
				m.Options.Add(from.options[j].Number, from.options[j].Value)
			}
			sink, _ = codec.AppendUDP(buf, &m)
		}
	})
}

func BenchmarkExplain(b *testing.B) {
	eachBenchMessage(b, func(b *testing.B, i int) {
		_, wire := benchWire(b, i)
		buf := make([]byte, 0, 1<<16)
		for b.Loop() {
			sink = codec.Explain(buf, wire)
		}
	})
}
