package interop

import (
	"math/rand/v2"
	"slices"

	"github.com/coapkit/coap/message"
)

// randomMessage returns a valid message: a code that the type may carry, a token of 0 to 8
// bytes, registered options with valid values and some that are not registered.
func randomMessage(r *rand.Rand) message.Message {
	m := message.Message{Type: message.Type(r.IntN(4)), MessageID: uint16(r.Uint32())}
	m.Code = randomCode(r, m.Type)
	if m.Code == message.Empty {
		return m
	}
	m.Token = randomBytes(r, r.IntN(9))
	addRandomOptions(r, &m.Options)
	if r.IntN(3) > 0 {
		m.Payload = randomBytes(r, r.IntN(100))
	}
	if r.IntN(20) == 0 {
		m.Payload = randomBytes(r, 1024)
	}
	return m
}

// randomCode returns a code that RFC 7252 section 4.3, table 1 allows with the type.
func randomCode(r *rand.Rand, t message.Type) message.Code {
	var codes []message.Code
	for i := range 256 {
		c := message.Code(i)
		request, response := c.IsRequest() && c.Name() != "", c.IsResponse() && c.Name() != ""
		if response && t != message.Reset || request && t <= message.NonConfirmable {
			codes = append(codes, c)
		}
	}
	if len(codes) == 0 || t != message.NonConfirmable && r.IntN(20) == 0 {
		return message.Empty
	}
	return codes[r.IntN(len(codes))]
}

func addRandomOptions(r *rand.Rand, o *message.Options) {
	definitions := (*message.Registry)(nil).Definitions()
	for range r.IntN(7) {
		d := definitions[r.IntN(len(definitions))]
		if o.Has(d.Number) && !d.Repeatable {
			continue
		}
		if d.Number == message.OptionOSCORE {
			o.Add(d.Number, randomOSCORE(r))
			continue
		}
		o.Add(d.Number, randomValue(r, d))
	}
	if r.IntN(4) == 0 { // not registered, up to the largest number
		n := message.OptionNumber(300 + r.IntN(1<<16-300))
		o.Add(n, randomBytes(r, []int{0, 1, 12, 13, 268, 269, 700}[r.IntN(7)]))
	}
}

// randomValue returns a valid value, often with one of the lengths around which the
// header changes.
func randomValue(r *rand.Rand, d message.Definition) []byte {
	lengths := slices.DeleteFunc([]int{d.MinLen, d.MinLen + 1, 4, 12, 13, 14, 40, 255, 268, 269, 270, d.MaxLen},
		func(n int) bool { return n < d.MinLen || n > min(d.MaxLen, 1100) })
	v := randomBytes(r, lengths[r.IntN(len(lengths))])
	switch d.Format {
	case message.FormatString:
		const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~ <>&\"'%/"
		for i := range v {
			v[i] = letters[int(v[i])%len(letters)]
		}
	case message.FormatUint:
		if len(v) > 0 { // without leading zero bytes
			v[0] |= 1
		}
		if isBlock(d.Number) && len(v) > 0 && v[len(v)-1]&7 == 7 { // size exponent 7 is reserved
			v[len(v)-1]--
		}
	}
	return v
}

// randomOSCORE returns a value that is well-formed by RFC 8613 section 6.1: tshark stops
// reading options at one that is not. It is without a key ID context.
func randomOSCORE(r *rand.Rand) []byte {
	partialIV, kid := randomBytes(r, r.IntN(6)), randomBytes(r, r.IntN(7))
	flags := byte(len(partialIV))
	if len(kid) > 0 {
		flags |= 8
	}
	if flags == 0 {
		return nil
	}
	return slices.Concat([]byte{flags}, partialIV, kid)
}

func isBlock(n message.OptionNumber) bool {
	switch n {
	case message.OptionBlock1, message.OptionBlock2, message.OptionQBlock1, message.OptionQBlock2:
		return true
	}
	return false
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
