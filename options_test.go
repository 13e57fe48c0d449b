package coap_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
)

// A critical option that a handler does not understand keeps it from running: a Confirmable
// request gets 4.02 with a diagnostic that names the option, a Non-confirmable one nothing. What
// is elective is ignored. It makes no difference whether there is a Mux.
//
// Proves 7252-5.4.1-01, 7252-5.4.1-02, 7252-5.4.1-03, 7252-5.4.1-05, 7252-5.4.3-01, 7252-5.4.5-03.
func TestRequestOptions(t *testing.T) {
	for _, test := range []struct {
		name, options, want, names string
	}{
		{"none", "", "2.05", ""},
		{"unknown critical", "opt=65:", "4.02", "65"},
		{"experimental critical", "opt=65001:ff", "4.02", "65001"},
		{"unknown elective", "opt=66:", "2.05", ""},
		{"If-Match, not declared", "opt=1:01", "4.02", "If-Match"},
		{"If-None-Match, not declared", "opt=5:", "4.02", "If-None-Match"},
		{"Q-Block2, not declared", "opt=31:00", "4.02", "Q-Block2"},
		{"Uri-Port", "opt=7:1633", "2.05", ""},
		{"Uri-Port too long", "opt=7:010203", "4.02", "Uri-Port"},
		{"Uri-Port twice", "opt=7:1633 opt=7:1633", "4.02", "Uri-Port"},
		{"Uri-Host", "opt=3:61", "2.05", ""},
		{"Accept twice", "opt=17:00 opt=17:00", "4.02", "Accept"},
		{"Accept too long", "opt=17:010203", "4.02", "Accept"},
		{"Uri-Query", "opt=15:61 opt=15:61 opt=15:", "2.05", ""},
		{"Content-Format too long", "opt=12:010203", "2.05", ""},
		{"Content-Format twice", "opt=12:01 opt=12:02", "2.05", ""},
		{"Proxy-Uri", "opt=35:636f6170", "5.05", ""},
		{"Proxy-Scheme", "opt=39:636f6170", "5.05", ""},
		{"Proxy-Scheme and unknown", "opt=39:636f6170 opt=65:", "5.05", ""},
	} {
		for _, plain := range []bool{true, false} {
			bubble(t, test.name, func(t *testing.T) {
				runs := 0
				var seen message.Options
				var h coap.Handler = coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
					runs++
					seen = r.Options.Clone()
					return nil
				})
				if !plain {
					mux := coap.NewMux()
					mux.Handle("/x", h)
					h = mux
				}
				r := newRig(t, h, nil)
				r.peer.send("CON POST mid=1 tok=01 path=x %s", test.options)
				got := r.peer.want(test.options, "ACK %s mid=1 tok=01", test.want)
				if test.names != "" {
					require.Contains(t, string(got.Payload), test.names)
				}
				r.peer.send("NON POST mid=2 tok=02 path=x %s", test.options)
				if test.want == "4.02" {
					r.peer.wantNothing("rejected in silence")
					require.EqualValues(t, 1, r.ep.Stats().Dropped[exchange.DropBadOption])
				} else {
					r.peer.want(test.options, "NON %s tok=02", test.want)
				}
				if test.want == "2.05" {
					require.Equal(t, 2, runs)
				} else {
					require.Zero(t, runs, "the handler")
				}
				f := 0
				for range seen.Values(message.OptionContentFormat) {
					f++
				}
				require.LessOrEqual(t, f, 1, "supernumerary occurrences are taken away")
				if test.name == "Content-Format too long" {
					require.Zero(t, f, "as if it were not there")
				}
			})
		}
	}
}

// Options that the application knows: of its own with a definition, or understood by a route.
func TestCustomOptions(t *testing.T) {
	registry, err := message.NewRegistry(message.Definition{Number: 65001, Name: "Tenant", Format: message.FormatString, MinLen: 1, MaxLen: 4})
	require.NoError(t, err)
	bubble(t, "", func(t *testing.T) {
		mux := coap.NewMux()
		mux.HandleFunc("/tenant", func(w *coap.Response, r *coap.Request) error {
			s, _ := r.Options.String(65001)
			return w.Text(s)
		}, coap.Route{Understands: []coap.OptionNumber{65001}})
		mux.HandleFunc("/other", echo)
		r := newRig(t, mux, &coap.Config{Options: registry})
		r.peer.send("CON GET mid=1 path=tenant opt=65001:61")
		r.peer.want("understood", "ACK 2.05 pay=a")
		r.peer.send("CON GET mid=2 path=tenant opt=65001:6162636465")
		require.Contains(t, string(r.peer.want("too long", "ACK 4.02").Payload), "Tenant")
		r.peer.send("CON GET mid=3 path=tenant opt=65001:61 opt=65001:62")
		require.Contains(t, string(r.peer.want("twice", "ACK 4.02").Payload), "Tenant")
		r.peer.send("CON GET mid=4 path=other opt=65001:61")
		require.Contains(t, string(r.peer.want("another route", "ACK 4.02").Payload), "Tenant")
	})
}

// A handler that checks options itself gets all of them.
func TestOptionChecker(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, checker{}, nil)
		r.peer.send("CON GET mid=1 opt=65001:61")
		r.peer.want("", "ACK 2.05 pay=seen")
		r.peer.send("CON GET mid=2 opt=65003:61")
		r.peer.want("its own complaint", "ACK 4.02 pay=mine")
	})
}

type checker struct{}

func (checker) ChecksOptions() {}

func (checker) ServeCoAP(w *coap.Response, r *coap.Request) error {
	if r.Options.Has(65001) {
		return w.Text("seen")
	}
	return &message.OptionError{Number: 65003, Reason: "mine"}
}

// A response with a critical option that is not understood is rejected: by a Reset, if it came
// in a message of its own.
//
// Proves 7252-5.4.1-04, 7252-5.4.1-05.
func TestResponseWithUnknownOption(t *testing.T) {
	for line, reset := range map[string]bool{"ACK": false, "CON": true, "NON": false} {
		bubble(t, line, func(t *testing.T) {
			r := newRig(t, nil, nil)
			ours := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/x"))
			asked := r.peer.want("", "CON GET")
			r.peer.send("%s 2.05 mid=%d tok=%s opt=65:", line, asked.MessageID, asked.Token)
			if reset {
				r.peer.want("rejected", "RST 0.00 mid=%d", asked.MessageID)
			} else {
				r.peer.wantNothing("rejected in silence")
			}
			ours.RequireErr(t, "the caller is told", coap.ErrBadOption)
			require.EqualValues(t, 1, r.ep.Stats().Unusable)

			ours = async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/x"))
			asked = r.peer.want("", "CON GET")
			r.peer.send("ACK 2.05 mid=%d tok=%s opt=66:", asked.MessageID, asked.Token)
			ours.RequireCode(t, "elective", "2.05")
			r.requireForgotten()
		})
	}
}

// Accept of what the resource cannot offer is 4.06, an entity-tag that is still right 2.03
// without payload.
//
// Proves 7252-5.9.1.3-01, 7252-5.10.4-01, 7252-5.10.4-s05, 7252-5.10.6.2-s02.
func TestNegotiation(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		runs := 0
		mux := coap.NewMux()
		mux.HandleFunc("/text", func(w *coap.Response, r *coap.Request) error {
			runs++
			w.SetETag([]byte("tag"))
			return w.Text("hello")
		})
		mux.HandleFunc("/both", func(w *coap.Response, r *coap.Request) error {
			runs++
			if f, ok := r.Options.Accept(); ok && f == message.JSON {
				return w.JSON([]byte(`"hello"`))
			}
			return w.Text("hello")
		}, coap.Route{Formats: []coap.ContentFormat{message.TextPlain, message.JSON}})
		mux.HandleFunc("/none", func(w *coap.Response, r *coap.Request) error {
			runs++
			w.Payload = []byte("no format")
			return nil
		})
		r := newRig(t, mux, nil)
		mid := 0
		for _, test := range []struct {
			request, want string
			runs          bool
		}{
			{"GET path=text", "2.05 opt=12: opt=4:746167 pay=hello", true},
			{"GET path=text opt=17:", "2.05 opt=12: pay=hello", true},
			{"GET path=text opt=17:32", "4.06", true},
			{"POST path=text opt=17:32", "2.05 pay=hello", true}, // the result of an action that has happened
			{"GET path=text opt=17:32 opt=4:746167", "4.06", true},
			{"GET path=text opt=4:746167", "2.03 opt=4:746167 pay=", true},
			{"GET path=text opt=4:00 opt=4:746167 opt=4:01", "2.03 opt=4:746167 pay=", true},
			{"GET path=text opt=4:74616700", "2.05 pay=hello", true},
			{"GET path=text opt=4:746168", "2.05 pay=hello", true},
			{"FETCH path=text opt=4:746167", "2.03 opt=4:746167 pay=", true},
			{"GET path=both", "2.05 opt=12: pay=hello", true},
			{"GET path=both opt=17:32", `2.05 opt=12:32 pay="\"hello\""`, true},
			{"GET path=both opt=17:3c", "4.06", false},
			{"PUT path=both opt=17:3c", "4.06", false},
			{"GET path=none opt=17:32", "2.05", true},
		} {
			for _, kind := range []string{"CON", "NON"} {
				mid++
				before := runs
				r.peer.send("%s %s mid=%d", kind, test.request, mid)
				got := r.peer.want(test.request, "%s %s", map[string]string{"CON": "ACK", "NON": "NON"}[kind], test.want)
				require.Equal(t, test.runs, runs > before, "%s: the handler runs", test.request)
				if got.Code == message.Valid {
					require.False(t, got.Options.Has(message.OptionContentFormat))
				}
			}
		}
	})
}

// If-Match and If-None-Match are decided before anything is changed.
//
// Proves 7252-5.10.8-01, 7252-5.10.8-02, 7252-5.10.8.1-s04, 7252-5.10.8.1-s05, 7252-5.10.8.1-s07,
// 7252-5.10.8.1-s08, 7252-5.10.8.2-s04.
func TestPreconditions(t *testing.T) {
	for _, test := range []struct{ value, options, want, state string }{
		{"v0", "opt=1:7630", "2.04", "new"},
		{"v0", "opt=1:7631", "4.12", "v0"},
		{"v0", "opt=1:7631 opt=1:7630", "2.04", "new"},
		{"v0", "opt=1:7631 opt=1:7632", "4.12", "v0"},
		{"v0", "opt=1:", "2.04", "new"},
		{"", "opt=1:", "4.12", ""},
		{"v0", "opt=5:", "4.12", "v0"},
		{"", "opt=5:", "2.04", "new"},
		{"v0", "opt=1:7630 opt=5:", "4.12", "v0"},
	} {
		bubble(t, test.options, func(t *testing.T) {
			s := newResources()
			if s.value = []byte(test.value); test.value == "" {
				s.value = nil
			}
			r := newRig(t, s, nil)
			r.peer.send("CON PUT mid=1 path=a pay=new %s", test.options)
			r.peer.want(test.options, "ACK %s mid=1", test.want)
			require.Equal(t, test.state, s.state())
			r.peer.send("CON POST mid=2 path=echo %s", test.options)
			r.peer.want("a route that does not declare to look at them", "ACK 4.02 mid=2")
		})
	}
}

// A response to a request to a group is sent after a random part of the leisure, from the address of the
// server itself; errors and Resets are not.
//
// Proves 7252-8.1-02, 7252-8.1-03, 7252-8.2-03, 7252-8.2-s05.
func TestGroupRequest(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		groups := make(chan string, 100)
		mux := newResources()
		mux.HandleFunc("GET /group", func(w *coap.Response, r *coap.Request) error {
			require.True(t, r.IsMulticast())
			groups <- r.Group().String()
			return w.Text("here")
		})
		network := mem.NewNetwork(mem.Config{})
		r := newRigIn(t, network, mux, nil)
		r.peer.to = groupAddr
		delays := make(map[int64]bool)
		for i := range 20 {
			r.peer.send("NON GET mid=%d tok=%04x path=group", i, i)
			synctest.Wait()
			require.Equal(t, "224.0.1.187", <-groups)
			sent := time.Now()
			r.peer.send("NON GET mid=%d tok=%04x path=group", i, i) // a copy
			pass(defaultLeisure)
			got := r.peer.want("within the leisure", "NON 2.05 tok=%04x pay=here", i)
			require.Equal(t, serverAddr, got.from)
			delays[int64(got.at.Sub(sent))] = true
			r.peer.wantNothing("one answer, though a copy came")
		}
		require.Greater(t, len(delays), 15, "the delay is random")
		for i, line := range []string{
			"NON GET mid=%d path=nowhere", "NON GET mid=%d path=forbidden", "NON GET mid=%d path=panic", "NON 0.09 mid=%d path=a",
			"NON GET mid=%d path=a opt=65:", "CON GET mid=%d path=group", "NON 2.05 mid=%d tok=01", "CON 2.05 mid=%d tok=01",
			"CON 0.00 mid=%d", "NON 0.00 mid=%d", "ACK 0.00 mid=%d", "RST 0.00 mid=%d", "NON 1.01 mid=%d",
		} {
			r.peer.send(line, 100+i)
			pass(defaultLeisure)
			r.peer.wantNothing(line)
		}
		require.Empty(t, groups)
		require.EqualValues(t, 4, r.ep.Stats().Dropped[exchange.DropSuppressed])
		r.requireForgotten()
	})
}

// A group is no peer: a request to it is refused, with a hint.
//
// Proves 7252-8.1-01.
func TestRequestToGroup(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, nil, nil)
		member := r.newPeer(peerAddr2)
		require.NoError(t, member.conn.Join(groupAddr.Addr(), 0))
		err := r.ep.RoundTrip(t.Context(), request(t, coap.GET, groupAddr, "/x"), new(coap.Response))
		require.ErrorContains(t, err, "group")
		require.ErrorContains(t, r.ep.Ping(t.Context(), groupAddr), "group")
		member.wantNothing("nothing is sent")
	})
}

// An option where it has no meaning is as one that is not understood: what only requests have makes a
// response unusable if it is critical, what only responses have changes nothing in a request. The
// server adds nothing of the request's options to its response.
//
// Proves 7252-5.4-01.
func TestOptionsOutOfPlace(t *testing.T) {
	for _, n := range []coap.OptionNumber{
		message.OptionIfMatch, message.OptionURIHost, message.OptionIfNoneMatch, message.OptionURIPort, message.OptionURIPath,
		message.OptionURIQuery, message.OptionAccept, message.OptionProxyURI, message.OptionProxyScheme,
	} {
		bubble(t, "response with "+n.String(), func(t *testing.T) {
			r := newRig(t, nil, nil)
			ours := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/x"))
			asked := r.peer.want("", "CON GET")
			r.peer.send("ACK 2.05 mid=%d tok=%s opt=%d:", asked.MessageID, asked.Token, n)
			ours.RequireErr(t, "unusable", coap.ErrBadOption)
		})
	}
	bubble(t, "request", func(t *testing.T) {
		s := newResources()
		r := newRig(t, s, nil)
		r.peer.send("CON PUT mid=1 tok=01 path=a pay=new opt=3:61 opt=4:01 opt=8:61 opt=12: opt=14:05 opt=17: opt=20:61 opt=60:03")
		got := r.peer.want("Max-Age and Location-* are ignored", "ACK 2.04 mid=1 tok=01")
		require.Zero(t, got.Options.Len())
		require.Equal(t, "new", s.state())
	})
}
