package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// TD_COAP_CORE_01 to 08.
//
// Proves 7252-5.8.1-01, 7252-5.8.3-01.
func TestTest(t *testing.T) {
	for name, mode := range map[string]with{"CON": func(*coap.Request) {}, "NON": nonConfirmable()} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			initial := "This is the test resource.\n"
			wantFormat(t, coap.TextPlain, r.get("/test", initial, mode))
			r.do(coap.Changed, coap.PUT, "/test", body(coap.JSON, "{}"), mode)
			wantFormat(t, coap.JSON, r.get("/test", "{}", mode))
			r.do(coap.Deleted, coap.DELETE, "/test", mode)
			r.get("/test", initial, mode)
			r.do(coap.Changed, coap.PUT, "/test", untyped("bytes"), mode)
			require.False(t, r.get("/test", "bytes", mode).Options.Has(message.OptionContentFormat))
			r.do(coap.Changed, coap.PUT, "/test", mode)
			r.get("/test", "", mode)
			r.do(coap.MethodNotAllowed, coap.FETCH, "/test", plain("x"), mode)
		})
	}
}

// TD_COAP_CORE_18: each segment of the location is an option of its own.
//
// Proves 7252-5.8.2-01.
func TestPostToTest(t *testing.T) {
	r := newRig(t)
	r.do(coap.NotFound, coap.GET, location)
	for _, what := range []string{"one", "two"} {
		resp := r.do(coap.Created, coap.POST, "/test", plain(what))
		var segments []string
		for v := range resp.Options.Values(message.OptionLocationPath) {
			segments = append(segments, string(v))
		}
		require.Equal(t, []string{"location1", "location2", "location3"}, segments)
		wantFormat(t, coap.TextPlain, r.get(location, what))
	}
	r.do(coap.Changed, coap.PUT, location, plain("three"))
	r.get(location, "three")
	r.do(coap.Deleted, coap.DELETE, location)
	r.do(coap.NotFound, coap.GET, location)
	r.do(coap.Created, coap.PUT, location, plain("four"))
}

// TD_COAP_CORE_13 and 14.
func TestPathAndQuery(t *testing.T) {
	r := newRig(t)
	wantFormat(t, coap.TextPlain, r.get("/seg1/seg2/seg3", "This is the resource with three path segments.\n"))
	r.do(coap.NotFound, coap.GET, "/seg1/seg2")
	r.do(coap.NotFound, coap.GET, "/seg1/seg2/seg3/seg4")
	r.do(coap.NotFound, coap.GET, "/seg1%2Fseg2%2Fseg3")
	r.do(coap.MethodNotAllowed, coap.DELETE, "/seg1/seg2/seg3")

	wantFormat(t, coap.TextPlain, r.get("/query?first=1&second=2&third=3", "first=1\nsecond=2\nthird=3\n"))
	r.get("/query?a%26b=%C3%A9", "a&b=é\n")
	r.get("/query?%FF", "\uFFFD\n")
	r.get("/query", "There is no query.\n")
}

// TD_COAP_CORE_09, 11 and 16: an empty ACK first, then the response in a CON of its own, which is
// acknowledged. Meanwhile others are served.
func TestSeparate(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, func(s *site) {
		s.wait = func(context.Context) error { <-release; return nil }
	})
	got := make(chan *coap.Response, 1)
	go func() {
		resp, _ := r.client.Get(context.Background(), "/separate")
		got <- resp
	}()
	ask := r.wire.await(func(m recorded) bool { return !m.sent && m.Code == coap.GET })
	ack := r.wire.await(func(m recorded) bool { return m.sent && m.Type == message.Acknowledgement })
	require.Equal(t, message.Empty, ack.Code)
	require.Equal(t, ask.MessageID, ack.MessageID)
	r.get("/seg1/seg2/seg3", "This is the resource with three path segments.\n")
	close(release)
	resp := <-got
	require.NotNil(t, resp)
	require.Equal(t, "That took a while.\n", string(resp.Payload))
	wantFormat(t, coap.TextPlain, resp)
	sent := r.wire.await(func(m recorded) bool { return m.sent && m.Type == message.Confirmable })
	require.Equal(t, coap.Content, sent.Code)
	require.True(t, bytes.Equal(ask.Token, sent.Token))
	r.wire.await(func(m recorded) bool {
		return !m.sent && m.Type == message.Acknowledgement && m.MessageID == sent.MessageID
	})
}

// TD_COAP_CORE_17: nothing is acknowledged, and the response is a NON.
func TestSeparateNon(t *testing.T) {
	r := newRig(t, func(s *site) {
		s.wait = func(context.Context) error { return nil }
	})
	r.get("/separate", "That took a while.\n", nonConfirmable())
	require.Zero(t, r.wire.count(func(m recorded) bool { return m.sent && m.Type != message.NonConfirmable }))
}

// TD_COAP_CORE_19: each argument of the query is an option of its own.
func TestLocationQuery(t *testing.T) {
	const made = "/location-query?" + locationQuery
	r := newRig(t)
	wantFormat(t, coap.TextPlain, r.do(coap.Content, coap.GET, "/location-query"))
	r.do(coap.NotFound, coap.GET, made)
	resp := r.do(coap.Created, coap.POST, "/location-query", plain("made"))
	wantLocation(t, made, resp)
	var args []string
	for v := range resp.Options.Values(message.OptionLocationQuery) {
		args = append(args, string(v))
	}
	require.Equal(t, []string{"first=1", "second=2"}, args)
	r.get(made, "made")
	r.do(coap.Changed, coap.PUT, made, plain("more"))
	r.get(made, "more")
	r.do(coap.NotFound, coap.GET, "/location-query?first=1")
	r.do(coap.NotFound, coap.PUT, "/location-query", plain("x"))
	r.do(coap.Deleted, coap.DELETE, made)
	r.do(coap.NotFound, coap.GET, made)
	r.do(coap.PreconditionFailed, coap.POST, "/location-query", plain("x"), ifNoneMatch())
	r.do(coap.PreconditionFailed, coap.GET, "/location-query", ifNoneMatch())
}

// TD_COAP_CORE_20, and 4.06 for other formats (RFC 7252 section 5.10.4).
//
// Proves 7252-5.10.4-01.
func TestMultiFormat(t *testing.T) {
	r := newRig(t)
	wantFormat(t, coap.TextPlain, r.get("/multi-format", "The format is text.\n"))
	wantFormat(t, coap.TextPlain, r.get("/multi-format", "The format is text.\n", accept(coap.TextPlain)))
	wantFormat(t, coap.XML, r.get("/multi-format", "<format>XML</format>\n", accept(coap.XML)))
	r.do(coap.NotAcceptable, coap.GET, "/multi-format", accept(coap.JSON))
	r.do(coap.NotAcceptable, coap.GET, "/test", accept(coap.XML))
	r.do(coap.NotAcceptable, coap.GET, "/large", accept(coap.XML))
	r.do(coap.NotAcceptable, coap.GET, "/large-update", accept(coap.XML))
}

// TD_COAP_CORE_21: 2.03 has the ETag and no payload, until the state changes.
func TestValidate(t *testing.T) {
	r := newRig(t)
	first := r.do(coap.Content, coap.GET, "/validate")
	tag1 := tag(t, first)
	wantFormat(t, coap.TextPlain, first)
	require.NotEmpty(t, first.Payload)
	for _, options := range [][]with{{etag(tag1)}, {etag([]byte("x")), etag(tag1)}} {
		valid := r.do(message.Valid, coap.GET, "/validate", options...)
		require.Equal(t, tag1, tag(t, valid))
		require.Empty(t, valid.Payload)
		require.False(t, valid.Options.Has(message.OptionContentFormat))
	}
	changed := r.do(coap.Changed, coap.PUT, "/validate", plain("new"))
	second := r.get("/validate", "new", etag(tag1))
	require.NotEqual(t, tag1, tag(t, second))
	require.Equal(t, tag(t, changed), tag(t, second))
	r.do(coap.Changed, coap.PUT, "/validate", body(coap.OctetStream, "new"))
	require.NotEqual(t, tag(t, second), tag(t, r.get("/validate", "new")), "the format is part of the representation")
}

// TD_COAP_CORE_22: an update that assumes an old state is refused and changes nothing.
//
// Proves 7252-5.10.8-01.
func TestIfMatch(t *testing.T) {
	r := newRig(t)
	tag1 := tag(t, r.do(coap.Content, coap.GET, "/validate"))
	r.do(coap.Changed, coap.PUT, "/validate", plain("A"), ifMatch(tag1))
	tag2 := tag(t, r.get("/validate", "A"))
	r.do(coap.Changed, coap.PUT, "/validate", plain("B"))
	for _, stale := range [][]byte{tag1, tag2} {
		r.do(coap.PreconditionFailed, coap.PUT, "/validate", plain("C"), ifMatch(stale))
		r.do(coap.PreconditionFailed, coap.DELETE, "/validate", ifMatch(stale))
	}
	tag3 := tag(t, r.get("/validate", "B"))
	r.do(coap.PreconditionFailed, coap.GET, "/validate", ifMatch(tag1))
	r.do(coap.Changed, coap.PUT, "/validate", plain("C"), ifMatch(tag2), ifMatch(tag3))
	r.do(coap.Changed, coap.PUT, "/validate", plain("D"), ifMatch(nil))
	r.do(coap.PreconditionFailed, coap.PUT, "/validate", plain("E"), ifNoneMatch())
	r.do(coap.PreconditionFailed, coap.POST, "/test", plain("E"), ifMatch(tag3))
	r.do(coap.NotFound, coap.GET, location)
	r.get("/validate", "D")
	r.do(coap.BadOption, coap.GET, "/query", ifMatch(tag1))
}

// TD_COAP_CORE_23.
//
// Proves 7252-5.10.8-01.
func TestCreate(t *testing.T) {
	r := newRig(t)
	r.do(coap.NotFound, coap.GET, "/create1")
	r.do(coap.PreconditionFailed, coap.PUT, "/create1", plain("0"), ifMatch(nil))
	for range 2 {
		r.do(coap.Created, coap.PUT, "/create1", plain("A"), ifNoneMatch())
		r.do(coap.PreconditionFailed, coap.PUT, "/create1", plain("B"), ifNoneMatch())
		r.do(coap.PreconditionFailed, coap.PUT, "/create1", plain("B"), ifNoneMatch())
		r.get("/create1", "A")
		r.do(coap.Changed, coap.PUT, "/create1", plain("C"))
		r.do(coap.Deleted, coap.DELETE, "/create1")
		r.do(coap.Deleted, coap.DELETE, "/create1")
	}
}

// TD_COAP_CORE_31.
func TestPing(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.client.Ping(context.Background(), ""))
}

// GET changes nothing, and PUT and DELETE leave the same when they are made twice.
//
// Proves 7252-5.1-01, 7252-5.1-02.
func TestSafeAndIdempotent(t *testing.T) {
	r := newRig(t, func(s *site) { s.wait = pauseNot })
	paths := r.links("/.well-known/core")
	state := func() (all []string) {
		for _, path := range paths {
			resp, err := r.client.Get(t.Context(), path)
			require.NoError(t, err)
			all = append(all, path+" "+resp.Code.String()+" "+string(resp.Payload))
		}
		return all
	}
	require.Equal(t, state(), state())
	for _, path := range paths {
		before := state()
		_, err := r.client.Put(t.Context(), path, coap.TextPlain, []byte("new"))
		require.NoError(t, err)
		put := state()
		_, err = r.client.Put(t.Context(), path, coap.TextPlain, []byte("new"))
		require.NoError(t, err)
		require.Equal(t, put, state(), "PUT %s", path)
		require.Equal(t, path == "/test" || path == "/validate" || path == "/large-update" || strings.HasPrefix(path, "/obs") && path != "/obs-reset",
			!slices.Equal(before, put), "PUT %s does something", path)
		_, err = r.client.Delete(t.Context(), path)
		require.NoError(t, err)
		deleted := state()
		_, err = r.client.Delete(t.Context(), path)
		require.NoError(t, err)
		require.Equal(t, deleted, state(), "DELETE %s", path)
	}
}
