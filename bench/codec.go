package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"testing"

	gomessage "github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
)

// sample is one of the messages that are decoded and encoded: what CoAP traffic is made of.
type sample struct {
	name    string
	m       message.Message // without options
	options []message.Option
	wire    []byte
}

func samples() []sample {
	option := func(n message.OptionNumber, value string) message.Option {
		return message.Option{Number: n, Value: []byte(value)}
	}
	token := message.Token{1, 2, 3, 4, 5, 6, 7, 8}
	all := []sample{
		{"short GET", message.Message{Code: message.GET, MessageID: 0x1234, Token: token[:2]}, []message.Option{
			option(message.OptionURIPath, "temperature"),
		}, nil},
		{"long GET", message.Message{Code: message.GET, MessageID: 0x1235, Token: token}, []message.Option{
			option(message.OptionURIHost, "coap.example.com"), option(message.OptionURIPort, "\x16\x33"),
			option(message.OptionURIPath, "sensors"), option(message.OptionURIPath, "building-7"), option(message.OptionURIPath, "temperature"),
			option(message.OptionURIQuery, "unit=c"), option(message.OptionURIQuery, "avg=60"), option(message.OptionAccept, "\x3c"),
		}, nil},
		{"2.05, 64 bytes", message.Message{
			Type: message.Acknowledgement, Code: message.Content, MessageID: 0x1236, Token: token[:4], Payload: longBody[:64],
		}, []message.Option{
			option(message.OptionETag, "\x08\x07\x06\x05\x04\x03\x02\x01"), option(message.OptionContentFormat, "\x3c"),
			option(message.OptionMaxAge, "\x78"), option(message.OptionBlock2, "\x32"),
		}, nil},
		{"2.05, 1024 bytes", message.Message{Code: message.Content, MessageID: 0x1237, Token: token, Payload: longBody[:1024]}, []message.Option{
			option(message.OptionObserve, "\x01\x23\x45"), option(message.OptionContentFormat, "\x2a"), option(message.OptionBlock2, "\x0e"),
		}, nil},
	}
	for i := range all {
		all[i].wire = floorEncode(nil, &all[i])
	}
	return all
}

// codecTask is one benchmark of the codec, of one of those who are compared.
type codecTask struct {
	group, name string
	floor       bool
	mark        float64 // how many times the floor of the group it may take; 0: none
	run         func(*testing.B, *sample)
}

var codecTasks = []codecTask{
	{"Decode", "floor: a walk that checks the form", true, 0, func(b *testing.B, s *sample) {
		for b.Loop() { // which lets no compiler leave out the work
			floorDecode(s.wire)
		}
	}},
	{"Decode", nameOurs + ", DecodeUDP", false, 1.3, func(b *testing.B, s *sample) {
		var m message.Message
		for b.Loop() {
			if err := codec.DecodeUDP(s.wire, &m); err != nil {
				b.Fatal(err)
			}
		}
	}},
	{"Decode", nameGoCoAP + ", Coder", false, 0, func(b *testing.B, s *sample) {
		options := make(gomessage.Options, 0, 32)
		for b.Loop() {
			m := gomessage.Message{Options: options}
			if _, err := coder.DefaultCoder.Decode(s.wire, &m); err != nil {
				b.Fatal(err)
			}
		}
	}},
	{"Decode", nameGoCoAP + ", pool.Message, as its server does", false, 0, func(b *testing.B, s *sample) {
		p := pool.New(1024, 2048)
		for b.Loop() {
			m := p.AcquireMessage(context.Background())
			if _, err := m.UnmarshalWithDecoder(coder.DefaultCoder, s.wire); err != nil {
				b.Fatal(err)
			}
			p.ReleaseMessage(m)
		}
	}},
	{"Encode a message that is ready", "floor: append of the bytes", true, 0, func(b *testing.B, s *sample) {
		var out []byte
		room := make([]byte, 0, 2048)
		for b.Loop() {
			out = append(room, s.wire...)
		}
		runtime.KeepAlive(out)
	}},
	{"Encode a message that is ready", nameOurs + ", AppendUDP", false, 2.5, func(b *testing.B, s *sample) {
		room := make([]byte, 0, 2048)
		m := s.m
		for _, o := range s.options {
			m.Options.Add(o.Number, o.Value)
		}
		for b.Loop() {
			if _, err := codec.AppendUDP(room, &m); err != nil {
				b.Fatal(err)
			}
		}
	}},
	{"Encode a message that is ready", nameGoCoAP + ", Coder", false, 0, func(b *testing.B, s *sample) {
		room := make([]byte, 2048)
		m := gomessage.Message{
			Token: gomessage.Token(s.m.Token), Code: codes.Code(s.m.Code), Payload: s.m.Payload,
			MessageID: int32(s.m.MessageID), Type: gomessage.Type(s.m.Type),
		}
		for _, o := range s.options {
			m.Options = append(m.Options, gomessage.Option{ID: gomessage.OptionID(o.Number), Value: o.Value})
		}
		for b.Loop() {
			if _, err := coder.DefaultCoder.Encode(m, room); err != nil {
				b.Fatal(err)
			}
		}
	}},
	{"Build and encode field by field", "floor: append field by field", true, 0, func(b *testing.B, s *sample) {
		room := make([]byte, 0, 2048)
		for b.Loop() {
			floorEncode(room, s)
		}
	}},
	{"Build and encode field by field", nameOurs + ", Options.Add and AppendUDP", false, 1.8, func(b *testing.B, s *sample) {
		room := make([]byte, 0, 2048)
		var m message.Message
		for b.Loop() {
			m.Reset()
			m.Type, m.Code, m.MessageID, m.Token, m.Payload = s.m.Type, s.m.Code, s.m.MessageID, s.m.Token, s.m.Payload
			for i := range s.options {
				m.Options.Add(s.options[i].Number, s.options[i].Value)
			}
			if _, err := codec.AppendUDP(room, &m); err != nil {
				b.Fatal(err)
			}
		}
	}},
	{"Build and encode field by field", nameGoCoAP + ", pool.Message, as its handlers do", false, 0, func(b *testing.B, s *sample) {
		p := pool.New(1024, 2048)
		body := bytes.NewReader(s.m.Payload)
		for b.Loop() {
			m := p.AcquireMessage(context.Background())
			m.SetType(gomessage.Type(s.m.Type))
			m.SetCode(codes.Code(s.m.Code))
			m.SetMessageID(int32(s.m.MessageID))
			m.SetToken(gomessage.Token(s.m.Token))
			for i := range s.options {
				m.AddOptionBytes(gomessage.OptionID(s.options[i].Number), s.options[i].Value)
			}
			if len(s.m.Payload) > 0 {
				m.SetBody(body)
			}
			out, err := m.MarshalWithEncoder(coder.DefaultCoder)
			if err != nil || len(out) != len(s.wire) {
				b.Fatal(err, len(out))
			}
			p.ReleaseMessage(m)
		}
	}},
}

// codec measures decoding and encoding, in this process.
func (b *bench) codec() (*part, error) {
	testing.Init()
	each, rounds := "20ms", 3*b.rounds // short ones, so that whoever disturbs hits few of them
	if b.quick {
		each, rounds = "5ms", b.rounds
	}
	if err := flag.Set("test.benchtime", each); err != nil {
		return nil, err
	}
	all := samples()
	runs := map[string][]figures{}
	for round := range rounds {
		b.say("codec, round %d of %d", round+1, rounds)
		for i := range all {
			if err := b.ctx.Err(); err != nil {
				return nil, err
			}
			if err := codecRound(&all[i], runs); err != nil {
				return nil, err
			}
		}
	}
	return &part{tables: codecTables(all, runs)}, nil
}

func codecKey(t *codecTask, s *sample) string { return t.group + ", " + t.name + ", " + s.name }

// codecRound runs all tasks with one message, and compares each with the floor that was run with it.
func codecRound(s *sample, runs map[string][]figures) error {
	floor := 0.0
	for i := range codecTasks {
		t := &codecTasks[i]
		r := testing.Benchmark(func(tb *testing.B) {
			tb.ReportAllocs()
			t.run(tb, s)
		})
		if r.N == 0 {
			return errors.New(codecKey(t, s) + " fails")
		}
		ns := float64(r.T.Nanoseconds()) / float64(r.N)
		if t.floor {
			floor = ns
		}
		runs[codecKey(t, s)] = append(runs[codecKey(t, s)], figures{"ns": ns, "allocs": float64(r.AllocsPerOp()), "ratio": ns / floor})
	}
	return nil
}

func codecTables(all []sample, runs map[string][]figures) []*table {
	var tables []*table
	for i := range codecTasks {
		t := &codecTasks[i]
		if t.floor {
			head := []string{"who"}
			for _, s := range all {
				head = append(head, s.name)
			}
			tables = append(tables, &table{
				title: t.group, about: "Nanoseconds (allocations), times the floor.", head: append(head, "mark for the worst"),
			})
		}
		row, worst := []string{t.name}, 0.0
		for j := range all {
			m := medians(runs[codecKey(t, &all[j])])
			worst = max(worst, m.get("ratio"))
			row = append(row, fmt.Sprintf("%s (%.0f), %s", number(m.get("ns")), m.get("allocs"), times(m.get("ratio"), 1)))
		}
		if t.mark > 0 {
			row = append(row, atMost(t.mark, "x").judge(worst))
		}
		tables[len(tables)-1].add(row...)
	}
	return tables
}
