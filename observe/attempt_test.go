package observe

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// A FETCH of several blocks registers with its last one, if there is a whole body, and one that can be
// kept.
func TestRegisterInBlocks(t *testing.T) {
	for name, c := range map[string]struct {
		first, last int // values of the Observe option, below 0 for none
		size        int
		register    bool
	}{
		"said by the first block":      {0, -1, 100, true},
		"said by the last block":       {-1, 0, 100, true},
		"said by neither":              {-1, -1, 100, false},
		"deregisters":                  {1, 1, 100, false},
		"the longest":                  {0, 0, maxGathered, true},
		"too long":                     {0, 0, maxGathered + 1, false},
		"not gathered, perhaps stream": {0, 0, -1, false},
	} {
		bubble(t, name, func(t *testing.T) {
			l := newLab(t, ServerConfig{})
			l.answer = func(w *exchange.Response, r *exchange.Request) error {
				if r.Options.Has(message.OptionBlock1) && c.size >= 0 { // as the layer that gathers
					r.Options.Remove(message.OptionBlock1)
					if r.Payload = make([]byte, c.size); c.first >= 0 {
						r.Options.SetUint(message.OptionObserve, uint64(c.first))
					}
					r.Gathered()
				}
				require.False(t, r.Options.Has(message.OptionObserve))
				require.LessOrEqual(t, c.size, len(r.Payload), "a notification renders the whole")
				return w.Text(l.value)
			}
			w := l.ask(1, "t", c.last, func(r *exchange.Request) {
				r.Code = message.FETCH
				r.Options.SetUint(message.OptionBlock1, 3<<4|2)
			})
			require.Equal(t, c.register, w.Options.Has(message.OptionObserve))
			l.set("2")
			if synctest.Wait(); c.register {
				l.want("a notification", 1, "2").done(nil)
			}
			l.idle("no more")
		})
	}
}
