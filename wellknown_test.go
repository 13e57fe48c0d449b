package coap_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/linkformat"
)

func sensors() *coap.Mux {
	mux := coap.NewMux()
	text := func(w *coap.Response, r *coap.Request) error { return w.Text("x") }
	mux.HandleFunc("GET /sensors/temp", text, coap.Route{
		Attributes: []linkformat.Param{{Name: "rt", Value: "temperature-c outdoor"}, {Name: "if", Value: "sensor"}},
		Formats:    []coap.ContentFormat{coap.TextPlain, coap.JSON},
	})
	mux.HandleFunc("PUT /sensors/temp", text)
	mux.HandleFunc("/sensors/a%20b", text, coap.Route{Attributes: []linkformat.Param{{Name: "rt", Value: "light"}, {Name: "obs"}}})
	mux.HandleFunc("POST /hidden", text, coap.Route{Unlisted: true})
	mux.HandleFunc("GET /things/{id}", text)
	mux.HandleFunc("GET /{$}", text)
	return mux
}

const sensorLinks = `</sensors/temp>;rt="temperature-c outdoor";if=sensor;ct="0 50",</sensors/a%20b>;rt=light;obs,</>`

// A Mux tells which resources it has, and filters the list.
//
// Proves 6690-2.2-01, 6690-4-01, 6690-4-02, 7252-7.2-01, 7252-7.2.1-02.
func TestWellKnownCore(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, sensors(), nil)
		asker := endpoint(t, listen(t, r.net, peerAddr2), nil, nil)
		for query, want := range map[string]string{
			"":                      sensorLinks,
			"?rt=outdoor":           `</sensors/temp>;rt="temperature-c outdoor";if=sensor;ct="0 50"`,
			"?rt=li*":               `</sensors/a%20b>;rt=light;obs`,
			"?href=/sensors*":       `</sensors/temp>;rt="temperature-c outdoor";if=sensor;ct="0 50",</sensors/a%20b>;rt=light;obs`,
			"?rt=outdoor&if=sensor": `</sensors/temp>;rt="temperature-c outdoor";if=sensor;ct="0 50"`,
			"?rt=light&if=sensor":   "",
			"?rt=none":              "",
		} {
			resp := do(t, asker, request(t, coap.GET, serverAddr, "/.well-known/core"+query))
			require.Equal(t, coap.Content, resp.Code, query)
			f, ok := resp.Options.ContentFormat()
			require.True(t, ok)
			require.Equal(t, coap.LinkFormat, f)
			require.Equal(t, want, string(resp.Payload), query)
		}
		for target, code := range map[string]coap.Code{
			"/.well-known/core?rt": coap.BadRequest,
			"/.well-known/core/x":  coap.NotFound,
			"/.well-known":         coap.NotFound,
		} {
			require.Equal(t, code, do(t, asker, request(t, coap.GET, serverAddr, target)).Code, target)
		}
		require.Equal(t, coap.MethodNotAllowed, do(t, asker, request(t, coap.DELETE, serverAddr, "/.well-known/core")).Code)
		r.peer.send("CON GET mid=1 tok=51 path=.well-known/core opt=17:32")
		r.peer.want("JSON is not on offer", "ACK 4.06 mid=1 tok=51")
	})
}

// To a group, a server answers only if something matches.
//
// Proves 6690-4.1-04.
func TestWellKnownCoreOfGroup(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, sensors(), nil)
		r.peer.to = groupAddr
		r.peer.send("NON GET mid=1 tok=51 path=.well-known/core query=rt=light")
		pass(defaultLeisure)
		r.peer.want("a match", "NON 2.05 tok=51 pay=</sensors/a%%20b>;rt=light;obs")
		r.peer.send("NON GET mid=2 tok=52 path=.well-known/core query=rt=none")
		pass(defaultLeisure)
		r.peer.wantNothing("no match")
	})
}

// A route that is added later is listed as well, and one that is observable says so (RFC 7641 section 6).
func TestWellKnownCoreGrows(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		mux := coap.NewMux()
		r := newRig(t, mux, nil)
		asker := endpoint(t, listen(t, r.net, peerAddr2), nil, nil)
		links := func() string {
			return string(do(t, asker, request(t, coap.GET, serverAddr, "/.well-known/core")).Payload)
		}
		handler := func(w *coap.Response, r *coap.Request) error { return w.Text("x") }
		mux.HandleFunc("GET /a", handler)
		require.Equal(t, "</a>", links())
		mux.HandleFunc("GET /b", handler, coap.Route{Observable: true})
		require.Equal(t, "</a>,</b>;obs", links())
	})
}

// A pattern for the path takes the place of the built-in resource, whenever it is registered.
func TestWellKnownCoreReplaced(t *testing.T) {
	for name, pattern := range map[string]string{"with a method": "GET /.well-known/core", "for all": "/.well-known/core"} {
		bubble(t, name, func(t *testing.T) {
			mux := sensors()
			mux.HandleFunc(pattern, func(w *coap.Response, r *coap.Request) error { return w.Text("mine") })
			r := newRig(t, mux, nil)
			asker := endpoint(t, listen(t, r.net, peerAddr2), nil, nil)
			require.Equal(t, "mine", string(do(t, asker, request(t, coap.GET, serverAddr, "/.well-known/core")).Payload))
			require.Equal(t, "x", string(do(t, asker, request(t, coap.GET, serverAddr, "/sensors/temp")).Payload))
		})
	}
	require.Panics(t, func() {
		coap.NewMux().HandleFunc("GET /x", nil, coap.Route{Attributes: []linkformat.Param{{Name: "sz", Value: "big"}}})
	}, "an attribute that cannot be written is a mistake in the program")
}

// Wrap keeps a Mux known as one that checks options, so that routes with preconditions work
// behind middleware which sees everything.
func TestWrap(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		mux := coap.NewMux()
		mux.HandleFunc("PUT /a", func(w *coap.Response, r *coap.Request) error {
			return r.Precondition(nil, true)
		}, coap.Route{Preconditions: true})
		var saw []string
		note := func(name string) func(coap.Handler) coap.Handler {
			return func(next coap.Handler) coap.Handler {
				return coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
					saw = append(saw, name+" "+r.Path())
					return next.ServeCoAP(w, r)
				})
			}
		}
		r := newRig(t, coap.Wrap(mux, note("outer"), note("inner")), nil)
		r.peer.send("CON PUT mid=1 tok=51 path=a opt=5:")
		r.peer.want("looked at by the handler", "ACK 4.12 mid=1")
		r.peer.send("CON GET mid=2 tok=51 path=b")
		r.peer.want("no route", "ACK 4.04 mid=2")
		require.Equal(t, []string{"outer /a", "inner /a", "outer /b", "inner /b"}, saw)

		r = newRig(t, note("outer")(mux), nil) // another network
		r.peer.send("CON PUT mid=1 tok=51 path=a opt=5:")
		r.peer.want("an unknown handler", "ACK 4.02 mid=1")
	})
}
