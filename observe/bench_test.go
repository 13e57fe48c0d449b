package observe_test

import (
	"testing"
	"time"

	"github.com/coapkit/coap/observe"
)

// Whether a notification is newer than the one before (RFC 7641 section 3.4), which is asked for each.
func BenchmarkFresher(b *testing.B) {
	before := time.Unix(0, 0)
	now := before.Add(time.Second)
	b.ReportAllocs()
	for v := uint32(0); b.Loop(); v++ {
		if !observe.Fresher(v&(1<<24-1), before, (v+1)&(1<<24-1), now) {
			b.Fatal("not fresher")
		}
	}
}
