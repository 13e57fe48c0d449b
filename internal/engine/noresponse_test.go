package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// A response of a class that the client has declined is not sent; a CON is acknowledged all the same.
// Towards a group the option also asks for what would be suppressed.
//
// Proves 7967-1-01, 7967-2.1-01, 7967-2.1-02, 7967-2-s04, 7967-2.1-s17, 7967-2.1-s19, 7967-2.1-s22, 7967-2.1-s23, 7967-2.1-s26.
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
		{"18, 2.xx", "CON PUT opt=258:12", "2.04", "ACK 0.00"},
		{"18, 4.xx", "CON PUT opt=258:12", "4.04", "ACK 4.04"},
		{"18, 5.xx", "CON PUT opt=258:12", "5.00", "ACK 0.00"},
		{"nothing wanted, 2.xx", "CON PUT opt=258:1a", "2.04", "ACK 0.00"},
		{"nothing wanted, 4.xx", "CON PUT opt=258:1a", "4.04", "ACK 0.00"},
		{"nothing wanted, 5.xx", "CON PUT opt=258:1a", "5.00", "ACK 0.00"},
		{"twice, so the second is ignored", "CON PUT opt=258:02 opt=258:10", "5.00", "ACK 5.00"},
		{"too long, so ignored", "CON PUT opt=258:1a00", "5.00", "ACK 5.00"},
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

// In a response the option means nothing, and is ignored as an elective one.
//
// Proves 7967-2-s03.
func TestNoResponseInResponse(t *testing.T) {
	r := newRig(t, Config{})
	r.request(1, "CON GET")
	q := r.want("request", "CON GET")
	r.receive("response", "ACK 2.05 mid=%d tok=%s opt=258:1a pay=hello", q.MessageID, hexOf(q))
	require.Equal(t, "hello", string(r.response("taken as any other", 1, "2.05").Message.Payload))
	r.quiet()
}

// A request that declines all responses is over when it was sent or, a confirmable one, acknowledged. Its
// token stays known for a while: whoever answers all the same does no harm.
//
// Proves 7967-2.1-03, 7967-3.1-02, 7967-3.1-03, 7967-3.1-04.
func TestNoResponseWanted(t *testing.T) {
	t.Run("NON", func(t *testing.T) {
		r := newRig(t, Config{})
		r.request("con", "CON GET")
		r.want("NSTART is used up", "CON GET")
		for i := range 3 {
			r.request(i, "NON PUT opt=258:1a")
			r.want("nothing is outstanding", "NON PUT opt=258:1a")
			require.Equal(t, i, r.event("over", EventDone).User)
		}
		checkEngine(t, r.e)
		x := r.request("x", "NON PUT opt=258:1a")
		s := r.want("one more", "NON PUT")
		r.event("over", EventDone)
		r.cancel(x)
		r.receive("an answer all the same", "NON 2.04 mid=1 tok=%s", s.Token)
		r.idle("nothing")
		r.receive("one that would be retransmitted", "CON 2.04 mid=2 tok=%s", s.Token)
		r.want("stopped", "RST 0.00 mid=2")
		require.Equal(t, uint64(2), r.e.Stats().Dropped[exchange.DropLate])
		r.receive("rejected", "RST 0.00 mid=%d", s.MessageID)
		r.idle("nobody is told")
		p := exchange.Params{}.WithDefaults()
		reuse := p.NonLifetime() + p.DefaultLeisure + p.MaxLatency // TOKEN_REUSE_TIME is more
		r.e.Advance(r.now.Add(reuse))
		_, known := r.e.tokens.get(x.x.token)
		require.True(t, known)
		r.now = r.now.Add(reuse)
		r.events, r.out = nil, nil
		r.quiet()
	})
	t.Run("CON", func(t *testing.T) {
		r := newRig(t, Config{})
		r.request("x", "CON PUT opt=258:1a")
		s := r.want("request", "CON PUT opt=258:1a")
		r.advance(3 * time.Second)
		r.want("retransmission", "CON PUT mid=%d", s.MessageID)
		r.request("y", "CON PUT")
		r.idle("NSTART")
		r.receive("acknowledged", "ACK 0.00 mid=%d", s.MessageID)
		require.Equal(t, "x", r.event("over", EventDone).User)
		r.want("the next", "CON PUT")
		checkEngine(t, r.e)
		r.receive("the acknowledgement once more", "ACK 0.00 mid=%d", s.MessageID)
		r.receive("a separate response all the same", "CON 2.04 mid=2 tok=%s", s.Token)
		r.want("stopped", "RST 0.00 mid=2")
		r.advance(100 * time.Second)
		r.end("the next", "y", exchange.ErrNotAcknowledged)
		r.out = nil
		r.quiet()
	})
	t.Run("piggybacked all the same", func(t *testing.T) {
		r := newRig(t, Config{})
		r.request("x", "CON PUT opt=258:1a")
		s := r.want("request", "CON PUT opt=258:1a")
		r.receive("response", "ACK 2.04 mid=%d tok=%s", s.MessageID, s.Token)
		r.response("better than none", "x", "2.04")
		r.quiet()
	})
	t.Run("not acknowledged", func(t *testing.T) {
		r := newRig(t, Config{})
		r.request("x", "CON PUT opt=258:1a")
		r.advance(100 * time.Second)
		r.out = nil
		r.end("that is a failure", "x", exchange.ErrNotAcknowledged)
		r.quiet()
	})
	t.Run("group", func(t *testing.T) {
		r := newRig(t, Config{})
		m := message.Message{Type: message.NonConfirmable, Code: message.PUT}
		m.Options.AddUint(message.OptionNoResponse, 26)
		_, err := r.e.Request(r.now, toGroup(), &m, RequestOptions{User: "all"})
		require.NoError(t, err)
		r.collect()
		s := r.out[0]
		r.out = nil
		require.Equal(t, transportGroup, s.to)
		r.event("over", EventDone)
		r.receive("a member all the same", "NON 2.04 mid=1 tok=%s", s.Token)
		r.idle("nothing")
		checkEngine(t, r.e)
		r.quiet()
	})
}

// A request that declines some responses waits for the others, but not for as long as for one that
// is sure to come.
func TestSomeResponseWanted(t *testing.T) {
	for name, typ := range map[string]string{"CON": "CON", "NON": "NON"} {
		t.Run(name, func(t *testing.T) {
			for window, want := range map[time.Duration]time.Duration{0: 10 * time.Second, 30 * time.Second: 30 * time.Second} {
				r := newRig(t, Config{})
				start := func() (s sent) {
					_, err := r.try(RequestOptions{User: "x", Window: window}, "%s PUT opt=258:02", typ)
					require.NoError(t, err)
					s = r.want("request", "%s PUT opt=258:02", typ)
					if typ == "CON" {
						r.receive("acknowledged", "ACK 0.00 mid=%d", s.MessageID)
					}
					r.idle("an error may come")
					return s
				}
				s := start()
				r.advance(want - time.Second)
				r.receive("an error", "NON 4.04 mid=1 tok=%s", s.Token)
				r.response("that is wanted", "x", "4.04")

				s = start()
				r.advance(want - time.Millisecond)
				r.idle("it may still come")
				r.advance(time.Millisecond)
				r.event("success, or lost", EventDone)
				checkEngine(t, r.e)
				r.receive("late", "NON 4.04 mid=2 tok=%s", s.Token)
				r.idle("too late")
				r.dropped("late", exchange.DropLate, 1)
				r.quiet()
			}
		})
	}
}
