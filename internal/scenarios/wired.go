package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport/mem"
	"github.com/stretchr/testify/require"
)

// ObserveWired: a client observes a resource through the whole library: values of any length, a loop that ends
// the observation, a server that is closed and comes back.
func ObserveWired(t *testing.T, over *Transport) {
	for name, size := range map[string]int{"one message": 0, "blocks": 3000} {
		bubble(t, name, func(t *testing.T) {
			m := &Meter{Size: size}
			s := newSite(t, over, m.Mux(), mem.Config{Delay: 10 * time.Millisecond})
			c := &coap.Client{Endpoint: s.client}

			// It is found by its attribute.
			links := Do(t, c, Request(t, coap.GET, serverAddr, "/.well-known/core?obs=*"))
			require.Equal(t, "</meter>;obs", string(links.Payload))

			seen := 0
			for n, err := range c.Observe(t.Context(), s.uri("/meter")) {
				require.NoError(t, err)
				if n.Response == nil {
					continue
				}
				require.Equal(t, fmt.Sprintf("%d %s", seen, strings.Repeat("x", size)), string(n.Response.Payload))
				require.Equal(t, 1, s.server.Observers("/meter"))
				seen++
				m.Set(seen)
				switch seen {
				case 3: // the server restarts
					s.stop(false)
					s.start(m.Mux())
				default:
					s.server.Notify("/meter")
				}
				if seen == 6 {
					break
				}
			}
			require.Equal(t, 6, seen)
			pass(time.Minute)
			require.Zero(t, s.server.Observers("/meter"), "the server has learnt that the loop was left")
		})
	}
}

// NotObservable: what is not declared observable is answered like any request, and the observation ends.
func NotObservable(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, over, new(Meter).Mux(), mem.Config{})
		c := &coap.Client{Endpoint: s.client}
		var values []string
		var last error
		for n, err := range c.Observe(context.Background(), s.uri("/plain")) {
			if n.Response != nil {
				values = append(values, string(n.Response.Payload))
			}
			last = err
		}
		require.Equal(t, []string{"plain"}, values)
		require.ErrorContains(t, last, "does not notify")
	})
}
