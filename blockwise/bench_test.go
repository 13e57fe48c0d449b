package blockwise_test

import (
	"testing"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/message"
)

// What each block of a transfer needs: the option of the response is read, that of the next
// request is written.
func BenchmarkBlockValue(b *testing.B) {
	var o message.Options
	o.SetUint(message.OptionBlock2, blockwise.Block{Num: 1000, More: true, SZX: 6}.Value())
	b.ReportAllocs()
	for b.Loop() {
		v, ok := blockwise.ParseBlock(&o, message.OptionBlock2)
		if !ok {
			b.Fatal("no block")
		}
		v.Num ^= 1
		o.SetUint(message.OptionBlock2, v.Value())
	}
}
