package coap_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
)

// The model of a Mux: the requests of a small world, all of them, and for each pattern the set of
// those that it matches, found in the most obvious way. Of the patterns that match a request
// the one with the smallest set answers, and two patterns conflict if their sets overlap and
// neither is a proper part of the other.

// world holds every path of up to four segments over an alphabet with one letter that no
// pattern uses, and three methods.
type world struct{ requests []modelRequest }

type modelRequest struct {
	method coap.Code
	path   []string
}

func newWorld() *world {
	w := new(world)
	paths := [][]string{{}}
	for start, depth := 0, 0; depth < 4; depth++ {
		end := len(paths)
		for _, p := range paths[start:end] {
			for _, s := range []string{"", "a", "b", "z"} {
				paths = append(paths, append(p[:len(p):len(p)], s))
			}
		}
		start = end
	}
	for _, p := range paths[1:] {
		for _, m := range []coap.Code{coap.GET, coap.PUT, coap.POST} {
			w.requests = append(w.requests, modelRequest{m, p})
		}
	}
	return w
}

// matches is the definition of what a pattern matches.
func (r *modelRequest) matches(pattern string) bool {
	path := pattern
	if method, rest, ok := strings.Cut(pattern, " "); ok {
		if method != r.method.Name() {
			return false
		}
		path = rest
	}
	want := strings.Split(path[1:], "/")
	for i, s := range want {
		last := i == len(want)-1
		switch {
		case last && (s == "" || strings.HasSuffix(s, "...}")):
			return len(r.path) > i
		case i >= len(r.path):
			return false
		case s == "{$}":
			if r.path[i] != "" {
				return false
			}
		case s[0] == '{':
			if r.path[i] == "" {
				return false
			}
		case s != r.path[i]:
			return false
		}
	}
	return len(r.path) == len(want)
}

func (w *world) set(pattern string) map[int]bool {
	set := make(map[int]bool)
	for i := range w.requests {
		if w.requests[i].matches(pattern) {
			set[i] = true
		}
	}
	return set
}

func conflict(a, b map[int]bool) bool {
	both := 0
	for i := range a {
		if b[i] {
			both++
		}
	}
	return both > 0 && (both < min(len(a), len(b)) || len(a) == len(b))
}

func randomPattern(rnd *rand.Rand) string {
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	var b strings.Builder
	b.WriteString(pick("", "", "GET ", "PUT "))
	for i, n := 0, rnd.IntN(3); i < n; i++ {
		b.WriteString("/" + pick("a", "a", "b", fmt.Sprintf("{w%d}", i)))
	}
	b.WriteString("/" + pick("a", "b", "{last}", "{$}", "", "{rest...}"))
	return b.String()
}

// A Mux and the model agree on what conflicts and on what answers.
func TestMuxModel(t *testing.T) {
	rounds := 300
	if raceEnabled {
		rounds = 30
	}
	w := newWorld()
	conflicts, answered := 0, 0
	for seed := range uint64(rounds) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		mux := coap.NewMux()
		sets := make(map[string]map[int]bool)
		for range 12 {
			p, bad := randomPattern(rnd), false
			set := w.set(p)
			for _, other := range sets {
				bad = bad || conflict(set, other)
			}
			message := panics(func() { mux.HandleFunc(p, teller) })
			require.Equal(t, bad, message != "", "seed %d: %q after %v: %s", seed, p, sets, message)
			if bad {
				conflicts++
				continue
			}
			sets[p] = set
		}
		for i, r := range w.requests {
			best, exists := "", false
			for p, set := range sets {
				if set[i] && (best == "" || len(set) < len(sets[best])) {
					best = p
				}
				if !exists {
					any := modelRequest{path: r.path}
					for _, any.method = range []coap.Code{coap.GET, coap.PUT, coap.POST} {
						exists = exists || any.matches(p)
					}
				}
			}
			got, err := serve(mux, r.method, r.path...)
			why := fmt.Sprintf("seed %d: %s %q", seed, r.method, r.path)
			if best != "" {
				answered++
				require.NoError(t, err, why)
				require.Equal(t, best, strings.SplitN(got, ` rest="`, 2)[0], why)
				continue
			}
			var e *coap.Error
			require.ErrorAs(t, err, &e, why)
			require.Equal(t, map[bool]string{true: "4.05", false: "4.04"}[exists], e.Code.Dotted(), why)
		}
	}
	require.Greater(t, conflicts, rounds)
	require.Greater(t, answered, 100*rounds)
}
