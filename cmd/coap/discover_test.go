package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/linkformat"
	"github.com/coapkit/coap/message"
)

// sampleLinks has something for each column, and things that happen.
const sampleLinks = `</sensors/temp>;rt="temperature-c outdoor";if="sensor";ct=0;obs;title="Temperature in °C",` +
	`</firmware>;rt=firmware;sz=262144;ct="42 65000 x",` +
	`<//[2001:db8::2]/lamp>;title*=UTF-8'de'K%C3%BCche;hreflang=de;hreflang=en;x="";y;Z="a \"b\"",` +
	`<urn:dev:1>;anchor="/a";rel=alternate;title="bell ` + "\\\x07" + `"`

func sample(t *testing.T) []linkformat.Link {
	t.Helper()
	links, err := linkformat.Parse([]byte(sampleLinks))
	require.NoError(t, err)
	return links
}

func TestLinkTable(t *testing.T) {
	table := linkTable(sample(t))
	golden(t, "links", table)
	for _, r := range table {
		assert.True(t, r == '\n' || r >= ' ' && r != 0x7f, "control character %q", r)
	}
	assert.Equal(t, "target\n/a\n", linkTable([]linkformat.Link{{Target: "/a"}}), "no empty columns")
	assert.Empty(t, linkTable(nil))
}

// discovered runs discover on a server that answers with a text of links.
func discovered(t *testing.T, answer func(w *coap.Response) error, args ...string) (r result, h *recorder) {
	t.Helper()
	h = &recorder{answer: answer}
	base := startServer(t, h)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "URI", base)
	}
	r = runCLI(t, append([]string{"discover"}, args...)...)
	r.out = strings.ReplaceAll(strings.ReplaceAll(r.out, base, "URI"), strings.TrimPrefix(base, "coap://"), "PEER")
	r.err = strings.ReplaceAll(r.err, strings.TrimPrefix(base, "coap://"), "PEER")
	return r, h
}

// links answers with a text.
func links(text string) func(w *coap.Response) error {
	return func(w *coap.Response) error { return w.Bytes(message.LinkFormat, []byte(text)) }
}

func TestDiscover(t *testing.T) {
	r, h := discovered(t, links(sampleLinks), "URI")
	assert.Equal(t, result{exitSuccess, linkTable(sample(t)), "2.05 Content\n"}, r)
	assert.Equal(t, "GET /.well-known/core con", describeRequest(h.request()))

	r, h = discovered(t, links("</a>"), "URI/rd?ep=x", "--filter", "rt=li*", "--filter", "title=a b&c")
	assert.Equal(t, result{exitSuccess, "target\n/a\n", "2.05 Content\n"}, r)
	assert.Equal(t, "GET /rd?ep=x&rt=li*&title=a%20b%26c con", describeRequest(h.request()))

	r, _ = discovered(t, links(""), "URI")
	assert.Equal(t, result{exitSuccess, "", "2.05 Content\nno links\n"}, r)
	r, _ = discovered(t, links(""), "URI", "--filter", "rt=x")
	assert.Equal(t, result{exitSuccess, "", "2.05 Content\nno link matches\n"}, r)
}

func TestDiscoverJSON(t *testing.T) {
	r, _ := discovered(t, links(sampleLinks+",<rel/../ative>"), "--json", "URI/dir/links")
	require.Equal(t, exitSuccess, r.status, r.err)
	golden(t, "links-json", r.out)
	for line := range strings.Lines(r.out) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}

// TestDiscoverFaults has answers that are no links, and what can be read of them. Whether they are is
// tried only where the answer does not say its format.
//
// Proves 7252-5.5.1-01.
func TestDiscoverFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(w *coap.Response) error
		want   result
	}{
		{"broken", links("</a>,</b>;rt=,</c>"), result{exitNoAnswer, "target\n/a\n",
			"2.05 Content\ncoap: PEER breaks the link format: no value after the equals sign at byte 13, 1 link could be read\n"}},
		{"nothing of it", links("hello"), result{exitNoAnswer, "",
			"2.05 Content\ncoap: PEER breaks the link format: a link begins with < at byte 0, 0 links could be read\n"}},
		{"other format", func(w *coap.Response) error { return w.Text("hello") }, result{exitNoAnswer, "",
			"2.05 Content\ncoap: PEER answered in text/plain; charset=utf-8, which is no list of links; coap get shows it\n"}},
		{"no format", func(w *coap.Response) error { w.Payload = []byte("</a>"); return nil }, result{exitSuccess, "target\n/a\n", "2.05 Content\n"}},
		{"error", func(*coap.Response) error { return &coap.Error{Code: coap.NotFound} }, result{4, "", "4.04 Not Found\n"}},
		{"error with diagnostic", func(*coap.Response) error { return &coap.Error{Code: coap.InternalServerError, Diagnostic: "a\x1bb"} },
			result{5, "", "5.00 Internal Server Error\ncoap: the server says: a\\x1bb\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, _ := discovered(t, test.answer, "URI")
			assert.Equal(t, test.want, r)
		})
	}
}

func TestDiscoverThatCannotBeWritten(t *testing.T) {
	uri := startServer(t, &recorder{answer: links("</a>")})
	for _, args := range [][]string{{"discover", uri}, {"discover", "--json", uri}} {
		_, closed := io.Pipe()
		require.NoError(t, closed.Close())
		var errs strings.Builder
		assert.Equal(t, exitUsage, run(t.Context(), args, nil, closed, &errs), args)
		assert.Contains(t, errs.String(), "cannot write the", args)
	}
}

// TestServedLinks looks at what the resources of serve say of themselves.
func TestServedLinks(t *testing.T) {
	r := runCLI(t, "discover", startServer(t, newResources()))
	require.Equal(t, exitSuccess, r.status, r.err)
	golden(t, "links-served", r.out)
}

// TestDiscoverGroup has a good member, one with a fault, and one that does not know links. Targets are
// relative to the member that has sent them.
//
// Proves 7252-8.2-s17.
func TestDiscoverGroup(t *testing.T) { synctest.Test(t, testDiscoverGroup) }

func testDiscoverGroup(t *testing.T) {
	member := func(d time.Duration, answer func(w *coap.Response) error) coap.HandlerFunc {
		return func(w *coap.Response, r *coap.Request) error {
			pause(r.Context(), d)
			return answer(w)
		}
	}
	members := []coap.HandlerFunc{
		member(time.Second, links("</a>;rt=x,<coap://other/b>")), member(2*time.Second, links("</c>,d")),
		member(3*time.Second, func(w *coap.Response) error { return w.Text("hello") }),
	}
	for _, asJSON := range []bool{false, true} {
		g := newSimulated(t, members...)
		f := discoverFlags{reach: reach{window: 10 * time.Second}, talk: talk{json: asJSON}}
		where, err := wellKnown("coap://224.0.1.187")
		require.NoError(t, err)
		req, err := f.request(where, g.target)
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, f.askAll(t.Context(), g.streams(&out), g.client, g.target, req, where))
		name := "discover-group"
		if asJSON {
			name += "-json"
		}
		golden(t, name, unlinked(out.String())+"--- standard error\n"+unnamed(g.log.String()))
	}

	g := newSimulated(t, members[1])
	f := discoverFlags{reach: reach{window: 10 * time.Second}}
	where, _ := wellKnown("coap://224.0.1.187")
	req, err := f.request(where, g.target)
	require.NoError(t, err)
	err = f.askAll(t.Context(), g.streams(new(bytes.Buffer)), g.client, g.target, req, where)
	assert.Equal(t, exitNoAnswer, reportFailure(io.Discard, err), "no good answer")
}

// TestDiscoverManyOfGroup has more links than fit into the answer to a group.
func TestDiscoverManyOfGroup(t *testing.T) { synctest.Test(t, testDiscoverManyOfGroup) }

func testDiscoverManyOfGroup(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`</a>;rt="x",`, 200), ",")
	g := newSimulated(t, func(w *coap.Response, _ *coap.Request) error { return links(many)(w) })
	f := discoverFlags{reach: reach{window: 10 * time.Second}}
	where, err := wellKnown("coap://224.0.1.187")
	require.NoError(t, err)
	req, err := f.request(where, g.target)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, f.askAll(t.Context(), g.streams(&out), g.client, g.target, req, where))
	assert.Equal(t, "coap://192.0.2.1 by link\ntarget  rt\n"+strings.Repeat("/a      x\n", 200), unnamed(out.String()))
}

// unlinked is unnamed for JSON, too.
func unlinked(out string) string {
	lines := strings.SplitAfter(unnamed(out), "\n")
	for i, line := range lines {
		before, rest, found := strings.Cut(line, `"interface":"`)
		if _, after, ok := strings.Cut(rest, `"`); found && ok {
			lines[i] = before + `"interface":"link"` + after
		}
	}
	return strings.Join(lines, "")
}
