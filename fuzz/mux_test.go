package fuzz

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// patternMatches is the definition of what a valid pattern of a Mux matches.
func patternMatches(pattern string, method coap.Code, path []string) (matches, ifOtherMethod bool) {
	name, rest, ok := strings.Cut(pattern, " ")
	if strings.HasPrefix(pattern, "/") {
		name, rest, ok = "", pattern, false
	}
	any := !ok
	if ok {
		c, _ := message.ParseCode(name)
		any = c == method
	}
	want := strings.Split(strings.TrimLeft(rest, " ")[1:], "/")
	for i, s := range want {
		last := i == len(want)-1
		literal, _ := url.PathUnescape(s)
		switch {
		case last && (s == "" || strings.HasSuffix(s, "...}")):
			return any && len(path) > i, len(path) > i
		case i >= len(path):
			return false, false
		case s == "{$}" && path[i] == "", s != "{$}" && s[0] == '{' && path[i] != "", s[0] != '{' && literal == path[i]:
		default:
			return false, false
		}
	}
	return any && len(want) == len(path), len(want) == len(path)
}

// register registers a pattern and reports whether it was accepted.
func register(t *testing.T, mux *coap.Mux, pattern string) (ok bool) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case string, interface{ Unwrap() error }:
		case error:
			if !strings.HasPrefix(p.Error(), "coap: ") {
				panic(p)
			}
		default:
			t.Fatalf("%q panics with %v", pattern, p)
		}
	}()
	mux.HandleFunc(pattern, func(w *coap.Response, r *coap.Request) error { return w.Text(r.Pattern()) })
	return true
}

// FuzzMux registers patterns, one in a line, and asks for a path, one segment in a line: the answer comes
// from a pattern that matches, and is 4.05 or 4.04 only if there is none.
func FuzzMux(f *testing.F) {
	f.Add("GET /a/{id}\n/a/b\nPUT /a/{rest...}\n/{$}", byte(1), "a\nb")
	f.Add("/files/\n/files/{$}\nGET /x%2Fy/{z}\nPOST   /q", byte(2), "x/y\n")
	f.Add("/{a}/{a}\n/{}\n//\n/{b...}/c\nGOT /\n/%zz\n{", byte(1), "")
	f.Fuzz(func(t *testing.T, patterns string, method byte, path string) {
		lines, segments := strings.Split(patterns, "\n"), strings.Split(path, "\n")
		if len(lines) > 12 || len(path) > 255 { // what one Uri-Path option may have
			return
		}
		mux := coap.NewMux()
		code := coap.Code(method)
		can, exists := map[string]bool{}, false
		for _, p := range lines {
			if !register(t, mux, p) {
				continue
			}
			matches, other := patternMatches(p, code, segments)
			can[p], exists = matches, exists || other
		}
		if segments[0] == ".well-known" || slices.Contains(segments, ".") || slices.Contains(segments, "..") {
			return // is served by the library, in competition with patterns; must not be sent
		}
		var req coap.Request
		var resp coap.Response
		req.Code = code
		for _, s := range segments {
			req.Options.AddString(message.OptionURIPath, s)
		}
		err := mux.ServeCoAP(&resp, &req)
		if err == nil {
			if !can[string(resp.Payload)] {
				t.Fatalf("%q for %v %q", resp.Payload, code, segments)
			}
			return
		}
		want := coap.NotFound
		if exists {
			want = coap.MethodNotAllowed
		}
		var e *coap.Error
		for p, matches := range can {
			if matches {
				t.Fatalf("%v %q gets %v, but there is %q", code, segments, err, p)
			}
		}
		if !errors.As(err, &e) || e.Code != want || fmt.Sprint(err) == "" {
			t.Fatalf("%v %q gets %v, want %v", code, segments, err, want)
		}
	})
}
