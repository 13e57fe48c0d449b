package fuzz

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/internal/reference"
	"github.com/coapkit/coap/message"
)

// forge makes messages that are valid, or nearly so, as the bytes of a fuzzer say: random bytes
// hardly ever get past the decoder, and never meet what an endpoint waits for.
type forge struct {
	bytecode
	mids   []uint16 // that were seen
	tokens [][]byte
	echo   []byte // the value of the Echo option that came last
}

func (f *forge) uint16() uint16 { return uint16(f.next())<<8 | uint16(f.next()) }

func (f *forge) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = f.next()
	}
	return b
}

// filler is a payload that costs the fuzzer one byte.
func (f *forge) filler(n int) []byte { return bytes.Repeat([]byte{'a' + f.next()%26}, n) }

// oneOf chooses one of several by the next byte.
func oneOf[T any](f *forge, all ...T) T { return all[int(f.next())%len(all)] }

// mid is one that was seen, the one after it, or a new one.
func (f *forge) mid() uint16 {
	how := f.next()
	if i, ok := pick(f.mids, how>>2); ok && how&3 != 0 {
		return f.mids[i] + uint16(how&3)/3
	}
	return f.uint16()
}

// token is one that was seen, or one of a few.
func (f *forge) token() []byte {
	how := f.next()
	if i, ok := pick(f.tokens, how>>2); ok && how&3 == 3 {
		return f.tokens[i]
	}
	return [][]byte{{}, {how >> 2}, {1, 2, 3, 4, 5, 6, 7, how >> 2}, bytes.Repeat([]byte{7}, 20)}[how>>2&3]
}

// seen remembers the message ID, the token and the Echo value of a datagram.
func (f *forge) seen(data []byte) {
	var m message.Message
	if codec.DecodeUDP(data, &m) != nil {
		return
	}
	const most = 32
	if !slices.Contains(f.mids, m.MessageID) && len(f.mids) < most {
		f.mids = append(f.mids, m.MessageID)
	}
	known := slices.ContainsFunc(f.tokens, func(t []byte) bool { return bytes.Equal(t, m.Token) })
	if !known && len(f.tokens) < most {
		f.tokens = append(f.tokens, bytes.Clone(m.Token))
	}
	if v, ok := m.Options.First(message.OptionEcho); ok {
		f.echo = bytes.Clone(v)
	}
}

var (
	forgedMethods = []message.Code{
		message.GET, message.GET, message.PUT, message.POST, message.FETCH, message.DELETE, message.IPATCH, 31, 0, 0x24,
	}
	forgedResponses = []message.Code{
		message.Content, message.Content, message.Changed, message.Continue, message.Valid, message.Created,
		message.RequestEntityIncomplete, message.RequestEntityTooLarge, message.Unauthorized, message.BadOption,
		message.NotFound, message.NotAcceptable, message.ServiceUnavailable, message.TooManyRequests, 0x5F, 0xE1, 0x21, message.GET, 0,
	}
	forgedOptions = []message.OptionNumber{
		message.OptionObserve, message.OptionBlock1, message.OptionBlock2, message.OptionETag, message.OptionEcho,
		message.OptionNoResponse, message.OptionRequestTag, message.OptionSize1, message.OptionSize2, message.OptionMaxAge,
		message.OptionContentFormat, message.OptionAccept, message.OptionIfMatch, message.OptionIfNoneMatch,
		message.OptionURIHost, message.OptionURIPort, message.OptionURIQuery, message.OptionProxyURI, message.OptionHopLimit, 65001, 65000,
	}
)

// option adds an option that means something to somebody.
func (f *forge) option(o *message.Options) {
	n := oneOf(f, forgedOptions...)
	how := f.next()
	switch {
	case how >= 0xF0:
		o.Add(n, f.bytes(int(how&15)))
	case n == message.OptionBlock1, n == message.OptionBlock2:
		// Small numbers, mostly blocks of 64 bytes, the site's size.
		o.AddUint(n, uint64(how>>4)<<4|uint64(how&8)|[...]uint64{2, 2, 2, 2, 0, 1, 6, 7}[how&7])
	case n == message.OptionObserve:
		o.AddUint(n, [...]uint64{0, 0, 1, 2, 3, 1 << 20, 1<<24 - 1, uint64(how)}[how&7])
	case n == message.OptionEcho && f.echo != nil && how&1 == 0:
		o.Add(n, f.echo)
	case n == message.OptionNoResponse:
		o.AddUint(n, uint64(how&31))
	case n == message.OptionIfNoneMatch:
		o.Add(n, nil)
	case n == message.OptionETag || n == message.OptionRequestTag || n == message.OptionIfMatch:
		o.Add(n, []byte{how & 3})
	case n == message.OptionMaxAge:
		o.AddUint(n, [...]uint64{0, 1, 60, 1<<32 - 1}[how&3])
	default:
		o.AddUint(n, uint64(how))
	}
}

func (f *forge) options(o *message.Options) {
	for range f.next() % 5 {
		f.option(o)
	}
}

// encode makes a datagram of a message, every eighth one damaged.
func (f *forge) encode(m *message.Message) []byte {
	b, err := codec.AppendUDP(nil, m)
	if err != nil {
		return f.bytes(4)
	}
	if f.next()%8 == 7 {
		b = f.damage(b)
	}
	return b
}

func (f *forge) damage(b []byte) []byte {
	i := int(f.next()) % (len(b) + 1)
	switch f.next() % 4 {
	case 0:
		return b[:i]
	case 1:
		return slices.Insert(b, i, f.next())
	case 2:
		return slices.Delete(b, min(i, len(b)), min(i+1, len(b)))
	}
	if i < len(b) {
		b[i] ^= 1 << (f.next() & 7)
	}
	return b
}

// FuzzForged builds messages of any options and lengths, damages some, and wants what FuzzDecode wants: the
// decoder agrees with the reference decoder, and what decodes, encodes to the same bytes.
func FuzzForged(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 2, 3, 4})
	f.Add([]byte{1, 4, 9, 9, 13, 4, 0, 0, 1, 0xF5, 1, 2, 3, 4, 5, 15, 0xFD, 1, 2, 3, 0, 10})
	f.Add([]byte{2, 8, 0, 0, 0, 14, 2, 0, 2, 1, 0x28, 1, 3, 7, 20, 1, 4})
	for _, p := range reference.Packets() {
		f.Add(p.Bytes())
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		m := new(forge)
		m.b = script
		kind := m.next()
		msg := message.Message{Type: message.Type(kind & 3), Code: message.Code(m.next()), MessageID: m.uint16()}
		borders := []int{0, 1, 8, 12, 13, 14, 268, 269, 270, 600}
		msg.Token = m.filler(oneOf(m, borders...))
		for range m.next() % 8 {
			if m.next()&1 == 0 {
				m.option(&msg.Options)
			} else {
				msg.Options.Add(m.number(), []byte(m.value()))
			}
		}
		msg.Payload = m.filler(oneOf(m, borders...))
		b, err := codec.AppendUDP(nil, &msg)
		if err != nil {
			return
		}
		if kind&0x80 == 0 {
			checkForged(t, b, &msg)
		} else {
			b = m.damage(b)
		}
		want, wantErr := reference.Decode(b)
		var got message.Message
		if err := codec.DecodeUDP(b, &got); err != wantErr {
			t.Fatalf("error %v, the reference decoder says %v\n%x", err, wantErr, b)
		}
		if wantErr != nil {
			return
		}
		if d := want.Differs(&got); d != "" {
			t.Fatalf("%s differs from the reference decoder's\n%x", d, b)
		}
		checkEncode(t, b, &got)
	})
}

// checkForged wants that the bytes say what they were made of.
func checkForged(t *testing.T, b []byte, m *message.Message) {
	var got message.Message
	if err := codec.DecodeUDP(b, &got); err != nil {
		t.Fatalf("%v does not decode: %v\n%x", m, err, b)
	}
	same := got.Type == m.Type && got.Code == m.Code && got.MessageID == m.MessageID &&
		bytes.Equal(got.Token, m.Token) && got.Options.Equal(&m.Options) && bytes.Equal(got.Payload, m.Payload)
	if !same || binary.BigEndian.Uint16(b[2:]) != m.MessageID {
		t.Fatalf("%v comes back as %v\n%x", m, &got, b)
	}
}
