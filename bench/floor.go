package main

import "encoding/binary"

// The floor of the codec: the least that has to be done, written by hand for the purpose.

// floorDecode walks over a message and checks its form: version, token, each option, payload. It
// returns where the payload begins, -1 if the message is malformed.
//
//go:noinline
func floorDecode(b []byte) int {
	if len(b) < 4 || b[0]>>6 != 1 || b[0]&15 > 8 {
		return -1
	}
	at, number := 4+int(b[0]&15), uint32(0)
	for at < len(b) {
		first := b[at]
		if first == 0xFF {
			if at+1 == len(b) {
				return -1
			}
			return at + 1
		}
		at++
		delta, length := uint32(first>>4), uint32(first&15)
		if delta > 12 {
			if delta, at = floorExtended(b, at, delta); at < 0 {
				return -1
			}
		}
		if length > 12 {
			if length, at = floorExtended(b, at, length); at < 0 {
				return -1
			}
		}
		number += delta
		at += int(length)
		if number > 65535 || at > len(b) {
			return -1
		}
	}
	if at > len(b) {
		return -1
	}
	return at
}

// floorExtended reads what follows a nibble of 13 or 14.
func floorExtended(b []byte, at int, nibble uint32) (v uint32, next int) {
	switch {
	case nibble == 13 && at < len(b):
		return uint32(b[at]) + 13, at + 1
	case nibble == 14 && at+1 < len(b):
		return uint32(binary.BigEndian.Uint16(b[at:])) + 269, at + 2
	}
	return 0, -1
}

// floorEncode appends a message, whose options are in order, field by field.
//
//go:noinline
func floorEncode(b []byte, s *sample) []byte {
	b = append(b, 1<<6|byte(s.m.Type)<<4|byte(len(s.m.Token)), byte(s.m.Code), byte(s.m.MessageID>>8), byte(s.m.MessageID))
	b = append(b, s.m.Token...)
	last := 0
	for i := range s.options {
		number, value := int(s.options[i].Number), s.options[i].Value
		delta, length := number-last, len(value)
		last = number
		if delta < 13 && length < 13 {
			b = append(b, byte(delta)<<4|byte(length))
		} else {
			b = floorHead(b, delta, length)
		}
		b = append(b, value...)
	}
	if len(s.m.Payload) > 0 {
		b = append(append(b, 0xFF), s.m.Payload...)
	}
	return b
}

func floorHead(b []byte, delta, length int) []byte {
	at := len(b)
	b = append(b, 0)
	for _, v := range [2]int{delta, length} {
		b[at] <<= 4
		switch {
		case v < 13:
			b[at] |= byte(v)
		case v < 269:
			b[at] |= 13
			b = append(b, byte(v-13))
		default:
			b[at] |= 14
			b = binary.BigEndian.AppendUint16(b, uint16(v-269))
		}
	}
	return b
}
