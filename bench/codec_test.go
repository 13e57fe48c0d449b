package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
)

// The floors do the same as the codec, or comparing with them would mean nothing.
func TestFloors(t *testing.T) {
	for _, s := range samples() {
		m := s.m
		for _, o := range s.options {
			m.Options.Add(o.Number, o.Value)
		}
		wire, err := codec.AppendUDP(nil, &m)
		require.NoError(t, err)
		require.Equal(t, wire, s.wire, s.name)
		for n := range len(wire) + 1 {
			var got message.Message
			err := codec.DecodeUDP(wire[:n], &got)
			require.Equal(t, err == nil, floorDecode(wire[:n]) >= 0, "%s, its first %d bytes: %v", s.name, n, err)
		}
		require.Equal(t, len(wire)-len(s.m.Payload), floorDecode(wire), s.name)
	}
	long := sample{m: message.Message{Code: message.GET}, options: []message.Option{{Number: 2000, Value: make([]byte, 300)}, {Number: 2100, Value: make([]byte, 20)}}}
	var m message.Message
	require.NoError(t, codec.DecodeUDP(floorEncode(nil, &long), &m))
	for n, v := range m.Options.All() {
		require.Equal(t, long.options[0], message.Option{Number: n, Value: v})
		long.options = long.options[1:]
	}
	require.Empty(t, long.options)
}

// The options that the generator writes by itself are those of the library.
func TestGeneratorOptions(t *testing.T) {
	var o message.Options
	o.AddUint(message.OptionObserve, 0)
	require.NoError(t, o.SetPath("/a/temperature"[:12]))
	want, err := o.Encoded()
	require.NoError(t, err)
	require.Equal(t, want, pathOptions("/a/temperature"[:12], true))
	o.Reset()
	require.NoError(t, o.SetPath("/t"))
	for _, n := range []int{1, 12, 13, 40} {
		value := make([]byte, n)
		o.Set(message.OptionEcho, value)
		want, err := o.Encoded()
		require.NoError(t, err)
		got := appendEcho(pathOptions("/t", false), value)
		require.Equal(t, want, got)
		require.Equal(t, value, echoOption(append([]byte{0x40, 0x81, 0, 0}, got...)))
	}
	require.Nil(t, echoOption([]byte{0x40, 0x81, 0, 0, 0xB1, 't'}))
	require.Nil(t, echoOption([]byte{0x40, 0x81, 0, 0, 0xDF}), "malformed")
}
