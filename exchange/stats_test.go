package exchange_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
)

// Add leaves out no counter.
func TestStatsAdd(t *testing.T) {
	var a exchange.Stats
	n := 0
	var fill func(v reflect.Value, factor int)
	fill = func(v reflect.Value, factor int) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i), factor)
			}
		case reflect.Array:
			for i := range v.Len() {
				fill(v.Index(i), factor)
			}
		case reflect.Uint64:
			n++
			v.SetUint(uint64(n * factor))
		case reflect.Int:
			n++
			v.SetInt(int64(n * factor))
		}
	}
	fill(reflect.ValueOf(&a).Elem(), 1)
	b, want := a, exchange.Stats{}
	n = 0
	fill(reflect.ValueOf(&want).Elem(), 2)
	a.Add(&b)
	require.Equal(t, want, a)
}
