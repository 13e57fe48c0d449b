package scenarios

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/stretchr/testify/require"
)

// SpoofedMalformedDatagram: a spoofed malformed datagram from the address of a peer that we wait for does not end
// the exchange, at whatever stage it is.
func SpoofedMalformedDatagram(t *testing.T, over *Transport) {
	for _, spoofed := range []string{"48010001010203", "40010001ff", "50010001f0", "41000001aa", "400100", "40000001"} {
		bubble(t, spoofed, func(t *testing.T) {
			r := newRig(t, over, nil, nil)
			ours := Async(t.Context(), r.ep, Request(t, coap.GET, peerAddr, "/ours"))
			asked := r.peer.want("our request", "CON GET")
			spoof := func() {
				t.Helper()
				r.peer.sendHex(spoofed)
				for r.peer.Pending() > 0 {
					r.peer.want("at most a Reset", "RST 0.00 mid=1")
				}
				require.False(t, ours.IsDone(), "our request lives")
			}
			spoof()
			r.peer.send("ACK 0.00 mid=%d", asked.MessageID)
			spoof()
			pass(time.Minute)
			spoof()
			r.peer.send("CON 2.05 mid=77 tok=%s pay=hello", asked.Token)
			r.peer.want("the separate response", "ACK 0.00 mid=77")
			ours.RequireCode(t, "our request", "2.05")
			r.requireForgotten()
		})
	}
}

// FloodOfOnePeer: who floods a handler that takes its time gets its share of handlers; beyond that a
// Confirmable request is told to come again, others are dropped, and nobody else notices.
func FloodOfOnePeer(t *testing.T, over *Transport) {
	for name, cfg := range map[string]*coap.Config{
		"default":  {},
		"2 of 8":   {Limits: coap.Limits{Handlers: 8}},
		"6 of 8":   {Limits: coap.Limits{Handlers: 8, HandlersPerPeer: 6}},
		"1 of 100": {Limits: coap.Limits{Handlers: 100, HandlersPerPeer: 1}},
	} {
		bubble(t, name, func(t *testing.T) {
			s := NewResources()
			r := newRig(t, over, s, cfg)
			other := r.newPeer(peerAddr2)
			share := cfg.Limits.WithDefaults().HandlersPerPeer
			for i := range share {
				r.peer.send("CON POST mid=%d path=slow", i)
			}
			r.peer.wantNothing("handlers work")
			require.Equal(t, share, r.ep.Stats().Handling)
			for i := range 50 {
				r.peer.send("CON POST mid=%d tok=99 path=slow", 1000+i)
				got := r.peer.want("beyond the share", "ACK 5.03 mid=%d tok=99", 1000+i)
				require.True(t, got.Options.Has(message.OptionMaxAge))
				require.NotZero(t, got.Options.MaxAge())
				r.peer.send("NON POST mid=%d path=slow", 2000+i)
				r.peer.wantNothing("a NON is dropped")
				other.send("CON GET mid=%d path=plain", i)
				other.want("others are served at once", "ACK 2.05 mid=%d pay=plain", i)
				other.send("NON GET mid=%d tok=%04x path=plain", 3000+i, i)
				other.want("others are served at once", "NON 2.05 tok=%04x pay=plain", i)
			}
			require.EqualValues(t, 100, r.ep.Stats().Dropped[exchange.DropPeerBusy])
			require.Equal(t, share, s.Count("POST /slow"))
			pass(SlowTime)
			r.peer.send("CON POST mid=4000 tok=98 path=echo pay=x")
			for got := r.peer.next("answers"); got.Type != message.Acknowledgement || got.MessageID != 4000; got = r.peer.next("answers") {
				if got.Type == message.Confirmable {
					require.Equal(t, message.Content, got.Code)
					r.peer.send("ACK 0.00 mid=%d", got.MessageID)
				}
			}
			r.requireForgotten()
		})
	}
}

// AllHandlersBusy: with all handlers busy on behalf of many peers, everybody is told so.
func AllHandlersBusy(t *testing.T, over *Transport) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, over, NewResources(), &coap.Config{Limits: coap.Limits{Handlers: 2, HandlersPerPeer: 1}})
		other := r.newPeer(peerAddr2)
		r.peer.send("CON GET mid=1 path=slow")
		other.send("CON GET mid=1 path=slow")
		third := r.newPeer(netip.MustParseAddrPort("192.0.2.11:1"))
		third.send("CON GET mid=1 tok=1234 path=plain")
		third.want("no handler left", "ACK 5.03 mid=1 tok=1234")
		require.EqualValues(t, 1, r.ep.Stats().Dropped[exchange.DropBusy])
		pass(SlowTime)
		third.send("CON GET mid=1 tok=1234 path=plain")
		third.want("the same again is no duplicate", "ACK 2.05 mid=1 tok=1234 pay=plain")
	})
}

// Duplicates: copies of a request during and after a slow handler. It runs once, there is one answer, and
// each copy is acknowledged from memory.
func Duplicates(t *testing.T, over *Transport) {
	bubble(t, "slow", func(t *testing.T) {
		s := NewResources()
		r := newRig(t, over, s, nil)
		r.peer.send("CON POST mid=7 tok=51 path=slow")
		r.peer.wantNothing("the answer may still be piggybacked")
		pass(500 * time.Millisecond)
		r.peer.want("the handler takes its time", "ACK 0.00 mid=7")
		for range 3 {
			r.peer.send("CON POST mid=7 tok=51 path=slow")
			r.peer.want("a copy during the handler", "ACK 0.00 mid=7")
			r.peer.wantNothing("one acknowledgement for one copy")
		}
		pass(SlowTime - 500*time.Millisecond)
		answer := r.peer.want("the answer", "CON 2.05 tok=51 pay=late")
		require.NotEqual(t, 7, answer.MessageID, "message IDs of both directions are apart")
		for range 3 {
			r.peer.send("CON POST mid=7 tok=51 path=slow")
			r.peer.want("a copy before its acknowledgement", "ACK 0.00 mid=7")
			r.peer.wantNothing("no second answer")
		}
		pass(3 * time.Second)
		r.peer.want("the answer again, not acknowledged yet", "CON 2.05 tok=51 mid=%d", answer.MessageID)
		// Code and payload of the acknowledgement do not matter.
		r.peer.send("ACK 2.05 mid=%d tok=51 pay=?", answer.MessageID)
		pass(200 * time.Second)
		r.peer.wantNothing("acknowledged")
		r.peer.send("CON POST mid=7 tok=51 path=slow")
		r.peer.want("a copy much later", "ACK 0.00 mid=7")
		require.Equal(t, 1, s.Count("POST /slow"))
		require.EqualValues(t, 7, r.ep.Stats().Duplicates)
		r.requireForgotten()
	})
	bubble(t, "a copy before the empty acknowledgement is due", func(t *testing.T) {
		s := NewResources()
		r := newRig(t, over, s, nil)
		r.peer.send("CON POST mid=7 tok=51 path=slow")
		pass(100 * time.Millisecond)
		r.peer.send("CON POST mid=7 tok=51 path=slow")
		r.peer.wantNothing("the acknowledgement is on its way")
		pass(time.Second)
		r.peer.want("when it is due", "ACK 0.00 mid=7")
		r.peer.wantNothing("no second acknowledgement")
		pass(time.Second)
		got := r.peer.want("now only separately", "CON 2.05 tok=51")
		r.peer.send("RST 0.00 mid=%d", got.MessageID)
		pass(time.Minute)
		r.peer.wantNothing("rejected, so not sent again")
		require.EqualValues(t, 1, r.ep.Stats().LostResponses)
	})
	bubble(t, "fast", func(t *testing.T) {
		s := NewResources()
		r := newRig(t, over, s, nil)
		for i := range 5 {
			r.peer.send("CON POST mid=7 tok=51 path=count")
			got := r.peer.want("the same answer each time", "ACK 2.05 mid=7 tok=51 pay=1")
			require.NotNil(t, got.raw)
			require.Equal(t, 1, s.Count("POST /count"), "after copy %d", i)
			pass(45 * time.Second)
		}
		pass(247 * time.Second)
		r.peer.send("CON POST mid=7 tok=51 path=count")
		r.peer.want("EXCHANGE_LIFETIME has passed", "ACK 2.05 mid=7 tok=51 pay=2")
	})
	bubble(t, "NON", func(t *testing.T) {
		s := NewResources()
		r := newRig(t, over, s, nil)
		r.peer.send("NON POST mid=7 tok=51 path=count")
		r.peer.want("the answer", "NON 2.05 tok=51 pay=1")
		for range 3 {
			r.peer.send("NON POST mid=7 tok=51 path=count")
			r.peer.wantNothing("a copy is ignored")
		}
		require.Equal(t, 1, s.Count("POST /count"))
	})
	bubble(t, "other bytes with the same message ID", func(t *testing.T) {
		r := newRig(t, over, NewResources(), nil)
		for i := range uint16(3) {
			r.peer.send("CON POST mid=7 tok=%s path=echo pay=%d", message.Token(binary.BigEndian.AppendUint16(nil, i)), i)
			r.peer.want("no stale reply", "ACK 2.05 mid=7 pay=%d", i)
		}
	})
	bubble(t, "same message ID of another peer", func(t *testing.T) {
		s := NewResources()
		r := newRig(t, over, s, nil)
		other := r.newPeer(peerAddr2)
		r.peer.send("CON POST mid=7 tok=51 path=count")
		r.peer.want("", "ACK 2.05 mid=7 pay=1")
		other.send("CON POST mid=7 tok=51 path=count")
		other.want("", "ACK 2.05 mid=7 pay=2")
	})
}

// SeparateResults: what handlers return and answer, when it goes separately.
func SeparateResults(t *testing.T, over *Transport) {
	for _, test := range []struct {
		name, want string
		handler    func(*coap.Response) error
	}{
		{"text", "2.05 pay=hello", func(w *coap.Response) error { return w.Text("hello") }},
		{"Error", "4.03 pay=no", func(*coap.Response) error { return &coap.Error{Code: message.Forbidden, Diagnostic: "no"} }},
		{"panic", "5.00", func(*coap.Response) error { panic("a bug") }},
		{"too large", "5.00", func(w *coap.Response) error { w.Options.Add(2000, make([]byte, 1200)); return nil }},
	} {
		bubble(t, test.name, func(t *testing.T) {
			r := newRig(t, over, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
				<-time.After(time.Second)
				return test.handler(w)
			}), nil)
			r.peer.send("CON GET mid=1 tok=01 path=x")
			pass(time.Second)
			r.peer.want("acknowledged", "ACK 0.00 mid=1")
			got := r.peer.want("separate", "CON %s tok=01", test.want)
			r.peer.send("ACK 0.00 mid=%d", got.MessageID)
			pass(time.Minute)
			r.peer.wantNothing("acknowledged")
			require.EqualValues(t, 1, r.ep.Stats().Separate)
			r.requireForgotten()
		})
	}
}

// SlowHandler: a handler that is slow is acknowledged after a quarter of ACK_TIMEOUT, or as Params say, and does
// not keep others waiting, not even those of the same peer.
func SlowHandler(t *testing.T, over *Transport) {
	for _, test := range []struct {
		delay, want time.Duration
	}{{0, 500 * time.Millisecond}, {-1, 0}, {200 * time.Millisecond, 200 * time.Millisecond}} {
		bubble(t, test.delay.String(), func(t *testing.T) {
			r := newRig(t, over, NewResources(), &coap.Config{Params: coap.Params{EmptyAckDelay: test.delay}})
			start := time.Now()
			r.peer.send("CON GET mid=1 tok=01 path=slow")
			r.peer.send("CON GET mid=2 tok=02 path=slow")
			if test.want > 0 {
				r.peer.wantNothing("the answer may still be piggybacked")
				pass(test.want)
			}
			require.Equal(t, test.want, r.peer.want("acknowledged", "ACK 0.00 mid=1").at.Sub(start))
			r.peer.want("acknowledged", "ACK 0.00 mid=2")
			r.peer.send("NON GET mid=3 tok=03 path=plain")
			r.peer.want("at once", "NON 2.05 tok=03")
			r.peer.send("CON GET mid=4 tok=04 path=slow")
			pass(SlowTime - test.want)
			var first []packet
			for len(first) < 2 {
				if got := r.peer.next("separate answers"); got.Type == message.Confirmable {
					first = append(first, got)
				}
			}
			require.Equal(t, SlowTime, first[0].at.Sub(start))
		})
	}
}

// SeparateResponse: the client acknowledges a separate response by an Empty message, whether the acknowledgement of
// the request comes before, after, or never, and copies of the response as well.
func SeparateResponse(t *testing.T, over *Transport) {
	for name, script := range map[string]func(r *rig, asked packet){
		"ACK, CON": func(r *rig, asked packet) {
			r.peer.send("ACK 0.00 mid=%d", asked.MessageID)
			pass(30 * time.Second)
			r.peer.wantNothing("no retransmission")
			r.peer.send("CON 2.05 mid=70 tok=%s pay=x", asked.Token)
			r.peer.want("", "ACK 0.00 mid=70")
		},
		"CON, ACK": func(r *rig, asked packet) {
			r.peer.send("CON 2.05 mid=70 tok=%s pay=x", asked.Token)
			r.peer.want("", "ACK 0.00 mid=70")
			r.peer.send("ACK 0.00 mid=%d", asked.MessageID)
		},
		"NON": func(r *rig, asked packet) { r.peer.send("NON 2.05 mid=70 tok=%s pay=x", asked.Token) },
		"ACK, NON": func(r *rig, asked packet) {
			r.peer.send("ACK 0.00 mid=%d", asked.MessageID)
			r.peer.send("NON 2.05 mid=70 tok=%s pay=x", asked.Token)
		},
		"CON, CON, CON": func(r *rig, asked packet) {
			for range 3 {
				r.peer.send("CON 2.05 mid=70 tok=%s pay=x", asked.Token)
				r.peer.want("each copy", "ACK 0.00 mid=70")
			}
		},
	} {
		for _, non := range []bool{false, true} {
			bubble(t, fmt.Sprintf("%s non=%v", name, non), func(t *testing.T) {
				r := newRig(t, over, nil, nil)
				req := Request(t, coap.GET, peerAddr, "/x")
				req.NonConfirmable = non
				got := Async(t.Context(), r.ep, req)
				script(r, r.peer.next("the request"))
				require.Equal(t, "x", string(got.RequireCode(t, "the response", "2.05").Payload))
				pass(time.Minute)
				r.peer.wantNothing("no more")
				require.EqualValues(t, 1, r.ep.Stats().Responses)
				r.requireForgotten()
			})
		}
	}
}
