package coap_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// serve asks a Mux for a path and returns the response code or the pattern and the path values.
func serve(mux *coap.Mux, method coap.Code, segments ...string) (string, error) {
	var req coap.Request
	var resp coap.Response
	req.Code = method
	for _, s := range segments {
		req.Options.AddString(message.OptionURIPath, s)
	}
	err := mux.ServeCoAP(&resp, &req)
	return string(resp.Payload), err
}

// teller answers with the pattern that has matched and the values of some names.
func teller(w *coap.Response, r *coap.Request) error {
	says := []string{r.Pattern()}
	for _, name := range []string{"id", "x", "y", "rest", ""} {
		if v := r.PathValue(name); v != "" {
			says = append(says, fmt.Sprintf("%s=%q", name, v))
		}
	}
	return w.Text(strings.Join(says, " "))
}

func newMux(patterns ...string) *coap.Mux {
	mux := coap.NewMux()
	for _, p := range patterns {
		mux.HandleFunc(p, teller)
	}
	return mux
}

func TestMuxMatches(t *testing.T) {
	for _, test := range []struct {
		patterns string // separated by commas
		request  string // method and segments, separated by spaces; "-" is the empty segment
		want     string
	}{
		{"GET /a", "GET a", "GET /a"},
		{"GET /a", "PUT a", "4.05"},
		{"GET /a", "GET b", "4.04"},
		{"GET /a", "GET", "4.04"},
		{"GET /a", "GET a -", "4.04"},
		{"GET /a", "GET a b", "4.04"},
		{"GET /a", "GET A", "4.04"},
		{"/a", "GET a", "/a"},
		{"/a", "iPATCH a", "/a"},
		{"GET /a,/a", "GET a", "GET /a"},
		{"GET /a,/a", "PUT a", "/a"},
		{"GET /a,PUT /a", "PUT a", "PUT /a"},
		{"GET /a,PUT /a", "DELETE a", "4.05"},
		{"FETCH /a,PATCH /a,iPATCH /a", "FETCH a", "FETCH /a"},
		{"GET /{$}", "GET", "GET /{$}"},
		{"GET /{$}", "GET -", "GET /{$}"},
		{"GET /{$}", "GET a", "4.04"},
		{"GET /", "GET", "GET /"},
		{"GET /", "GET a b -", "GET /"},
		{"GET /,GET /{$}", "GET", "GET /{$}"},
		{"GET /,GET /{$},GET /a", "GET a", "GET /a"},
		{"GET /,GET /{$},GET /a", "GET b", "GET /"},
		{"GET /{id}", "GET a", `GET /{id} id="a"`},
		{"GET /{id}", "GET", "4.04"},
		{"GET /{id}", "GET -", "4.04"},
		{"GET /{id}", "GET a/b", `GET /{id} id="a/b"`},
		{"GET /{id}", "GET {id}", `GET /{id} id="{id}"`},
		{"GET /{id}/x", "GET a x", `GET /{id}/x id="a"`},
		{"GET /{id}/x", "GET a y", "4.04"},
		{"GET /{x}/{y}", "GET 1 2", `GET /{x}/{y} x="1" y="2"`},
		{"GET /{x}/b,GET /a/{y}/c", "GET a b", `GET /{x}/b x="a"`},
		{"GET /{x}/b,GET /a/{y}/c", "GET a b c", `GET /a/{y}/c y="b"`},
		{"GET /a/b,GET /a/{id}", "GET a b", "GET /a/b"},
		{"GET /a/b,GET /a/{id}", "GET a c", `GET /a/{id} id="c"`},
		{"PUT /a/b,GET /a/{id}", "GET a b", `GET /a/{id} id="b"`},
		{"PUT /a/b,GET /a/{id}", "PUT a c", "4.05"},
		{"GET /files/", "GET files", "4.04"},
		{"GET /files/", "GET files -", "GET /files/"},
		{"GET /files/", "GET files a b", "GET /files/"},
		{"GET /files,GET /files/", "GET files", "GET /files"},
		{"GET /files/{$}", "GET files -", "GET /files/{$}"},
		{"GET /files/{$}", "GET files a", "4.04"},
		{"GET /files/{rest...}", "GET files", "4.04"},
		{"GET /files/{rest...}", "GET files a b", `GET /files/{rest...} rest="a/b"`},
		{"GET /files/{rest...}", "GET files a/b c%d", `GET /files/{rest...} rest="a%2Fb/c%25d"`},
		{"GET /files/{rest...}", "GET files a -", `GET /files/{rest...} rest="a/"`},
		{"GET /{x}/{rest...}", "GET a b c", `GET /{x}/{rest...} x="a" rest="b/c"`},
		{"GET /files/{rest...},GET /files/a/b", "GET files a b", "GET /files/a/b"},
		{"GET /files/{rest...},GET /files/a/b", "GET files a c", `GET /files/{rest...} rest="a/c"`},
		{"GET /{rest...},PUT /a/b", "PUT a c", "4.05"},
		{"GET /b%2Fc", "GET b/c", "GET /b%2Fc"},
		{"GET /b%2Fc", "GET b c", "4.04"},
		{"GET /%7Bid%7D", "GET {id}", "GET /%7Bid%7D"},
		{"GET /%C3%A9", "GET é", "GET /%C3%A9"},
		{"GET /é", "GET é", "GET /é"},
		{"GET    /a", "GET a", "GET    /a"},
	} {
		t.Run(test.patterns+" "+test.request, func(t *testing.T) {
			mux := newMux(strings.Split(test.patterns, ",")...)
			words := strings.Fields(test.request)
			for i, w := range words {
				words[i] = strings.ReplaceAll(w, "-", "")
			}
			method, err := message.ParseCode(words[0])
			require.NoError(t, err)
			got, err := serve(mux, method, words[1:]...)
			if test.want[0] == '4' {
				var e *coap.Error
				require.ErrorAs(t, err, &e, "answered %q", got)
				got = e.Code.Dotted()
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, test.want, got)
		})
	}
}

// Deep paths and many of them.
func TestMuxDeep(t *testing.T) {
	deep := strings.Repeat("/s", 40)
	mux := newMux("GET "+deep, "GET /{x}/{rest...}")
	got, err := serve(mux, coap.GET, strings.Split(deep, "/")[1:]...)
	require.NoError(t, err)
	require.Equal(t, "GET "+deep, got)
	got, err = serve(mux, coap.GET, strings.Split(deep+"/s", "/")[1:]...)
	require.NoError(t, err)
	require.Equal(t, `GET /{x}/{rest...} x="s" rest="s`+strings.Repeat("/s", 39)+`"`, got)
	_, err = serve(newMux("GET /a"), coap.GET, make([]string, 500)...)
	require.Error(t, err)
}

// Mistakes in patterns are found when they are registered.
func TestMuxPanics(t *testing.T) {
	for patterns, reason := range map[string]string{
		"":                              "slash",
		"a":                             "slash",
		"GET a":                         "slash",
		"GET":                           "slash",
		"get /a":                        "no method",
		"HEAD /a":                       "no method",
		"2.05 /a":                       "no method",
		"GET /a//b":                     "empty segment",
		"GET //":                        "empty segment",
		"GET /{}":                       "no wildcard",
		"GET /{a":                       "no wildcard",
		"GET /a}":                       "whole segment",
		"GET /x{a}":                     "whole segment",
		"GET /{a}x":                     "no wildcard",
		"GET /{...}":                    "no wildcard",
		"GET /{a.b}":                    "no wildcard",
		"GET /{a b}":                    "no wildcard",
		"GET /{rest...}/a":              "must be the end",
		"GET /{$}/a":                    "must be the end",
		"GET /{a}/{a}":                  "twice",
		"GET /{a}/{a...}":               "twice",
		"GET /%zz":                      "percent",
		"GET /a,GET /a":                 "conflicts",
		"/a,/a":                         "conflicts",
		"GET /{x},GET /{y}":             "conflicts",
		"GET /a/{x},GET /{y}/b":         "conflicts",
		"GET /a/{x},/a/b":               "conflicts",
		"GET /a/,GET /a/{rest...}":      "conflicts",
		"GET /{x}/b/{r...},GET /a/{y}/": "conflicts",
		"GET /,GET /{rest...}":          "conflicts",
		"GET /{x}/,/a/":                 "conflicts",
		"GET /%61,GET /a":               "conflicts",
	} {
		t.Run(patterns, func(t *testing.T) {
			message := panics(func() { newMux(strings.Split(patterns, ",")...) })
			require.Contains(t, message, reason)
			for _, p := range strings.Split(patterns, ",") {
				require.Contains(t, message, fmt.Sprintf("%q", p), "it names the patterns")
			}
		})
	}
	require.NotEmpty(t, panics(func() { coap.NewMux().Handle("/a", nil) }))
	require.NotEmpty(t, panics(func() { coap.NewMux().HandleFunc("/a", teller, coap.Route{}, coap.Route{}) }))

	// After a panic the Mux is as before.
	mux := newMux("GET /a")
	require.NotEmpty(t, panics(func() { mux.HandleFunc("GET /a", echo) }))
	got, err := serve(mux, coap.GET, "a")
	require.NoError(t, err)
	require.Equal(t, "GET /a", got)
}

func panics(f func()) (message string) {
	defer func() {
		if p := recover(); p != nil {
			message = fmt.Sprint(p)
		}
	}()
	f()
	return ""
}

// Middleware sees the pattern, the first outermost, and concerns what is registered later.
func TestMuxMiddleware(t *testing.T) {
	mux := coap.NewMux()
	mux.HandleFunc("/before", teller)
	var calls []string
	layer := func(name string) func(coap.Handler) coap.Handler {
		return func(next coap.Handler) coap.Handler {
			return coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
				calls = append(calls, name+" "+r.Pattern()+" "+r.PathValue("id"))
				err := next.ServeCoAP(w, r)
				calls = append(calls, name+" done")
				return err
			})
		}
	}
	mux.Use(layer("1"), layer("2"))
	mux.Use(layer("3"))
	mux.HandleFunc("GET /{id}/x", teller)
	_, err := serve(mux, coap.GET, "7", "x")
	require.NoError(t, err)
	require.Equal(t, []string{"1 GET /{id}/x 7", "2 GET /{id}/x 7", "3 GET /{id}/x 7", "3 done", "2 done", "1 done"}, calls)
	calls = nil
	_, err = serve(mux, coap.GET, "before")
	require.NoError(t, err)
	_, err = serve(mux, coap.GET, "nowhere")
	require.Error(t, err)
	require.Empty(t, calls)
}

// The zero Mux works, and one Mux can be registered while it serves.
func TestMuxConcurrently(t *testing.T) {
	var mux coap.Mux
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 50 {
				mux.HandleFunc(fmt.Sprintf("GET /%d/%d", i, j), teller)
				mux.Use(func(h coap.Handler) coap.Handler { return h })
			}
		})
		all.Go(func() {
			for j := range 200 {
				serve(&mux, coap.GET, fmt.Sprint(i), fmt.Sprint(j%50))
			}
		})
	}
	all.Wait()
	for i := range 4 {
		for j := range 50 {
			got, err := serve(&mux, coap.GET, fmt.Sprint(i), fmt.Sprint(j))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("GET /%d/%d", i, j), got)
		}
	}
}
