package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
)

// A response of a class that the client has declined is not sent; a CON is acknowledged all the same.
// Towards a group the option also asks for what would be suppressed.
//
// Proves 7967-1-01, 7967-2.1-01, 7967-2.1-02.
func TestNoResponse(t *testing.T) {
	for _, test := range []struct {
		name, request, answer, want string
	}{
		{"nothing stated", "CON PUT", "2.04", "ACK 2.04"},
		{"all wanted", "CON PUT opt=258:", "2.04", "ACK 2.04"},
		{"no 2.xx", "CON PUT opt=258:02", "2.04", "ACK 0.00"},
		{"no 2.xx, but an error", "CON PUT opt=258:02", "4.04", "ACK 4.04"},
		{"no 4.xx", "CON PUT opt=258:08", "4.04", "ACK 0.00"},
		{"no 4.xx, but a 5.xx", "CON PUT opt=258:08", "5.00", "ACK 5.00"},
		{"no 5.xx", "CON PUT opt=258:10", "5.00", "ACK 0.00"},
		{"nothing wanted", "CON PUT opt=258:1a", "5.00", "ACK 0.00"},
		{"too long, so ignored", "CON PUT opt=258:001a", "5.00", "ACK 5.00"},
		{"2.31 is needed", "CON PUT opt=258:1a", "2.31", "ACK 2.31"},
		{"NON, no 2.xx", "NON PUT opt=258:02", "2.04", ""},
		{"NON, but an error", "NON PUT opt=258:02", "4.04", "NON 4.04"},
		{"group", "NON GET group", "2.05", "NON 2.05"},
		{"group, error", "NON GET group", "4.04", ""},
		{"group, all wanted", "NON GET group opt=258:", "4.04", "NON 4.04"},
		{"group, no 2.xx", "NON GET group opt=258:02", "2.05", ""},
		{"group, no 2.xx, but an error", "NON GET group opt=258:02", "4.04", "NON 4.04"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, Config{Params: exchange.Params{DefaultLeisure: time.Second}})
			r.receive("request", "%s mid=1 tok=51", test.request)
			method := "PUT"
			if r.events[0].Message.Code == 1 {
				method = "GET"
			}
			r.respond(r.handle("request", method), test.answer)
			r.advance(2 * time.Second)
			if test.want == "" {
				r.idle("not sent")
				require.Equal(t, uint64(1), r.e.Stats().Dropped[exchange.DropSuppressed])
			} else {
				r.want("sent", "%s", test.want)
			}
			require.Zero(t, r.e.Stats().Handling)
		})
	}
}
