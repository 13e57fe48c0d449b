package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// TD_COAP_BLOCK_01, 02 and 06: with the block size of the client, or that of the server.
func TestLarge(t *testing.T) {
	for _, size := range []int{0, 64, 16} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := newRig(t)
			resp := r.get("/large", filler("large", largeSize), blocksOf(size))
			wantFormat(t, coap.TextPlain, resp)
			require.Greater(t, len(resp.Payload), 1280)
			if size == 0 {
				size = 1024
			}
			blocks := r.wire.count(func(m recorded) bool { return m.sent && m.Options.Has(message.OptionBlock2) })
			require.Equal(t, (largeSize+size-1)/size, blocks)
			r.do(message.Valid, coap.GET, "/large", etag(tag(t, resp)))
		})
	}
}

// TD_COAP_BLOCK_03: the body takes effect when it is there as a whole.
func TestLargeUpdate(t *testing.T) {
	r := newRig(t)
	r.get("/large-update", filler("large-update", largeSize))
	longer := filler("update", 3*largeSize)
	resp := r.do(coap.Changed, coap.PUT, "/large-update", plain(longer), blocksOf(64))
	require.Equal(t, tag(t, resp), tag(t, r.get("/large-update", longer, blocksOf(64))))
	require.Equal(t, len(longer)/64, r.wire.count(func(m recorded) bool { return m.sent && m.Code == message.Continue }))
	r.do(coap.PreconditionFailed, coap.PUT, "/large-update", plain("x"+longer), ifMatch([]byte("old")))
	r.get("/large-update", longer)
	r.do(coap.Deleted, coap.DELETE, "/large-update")
	r.get("/large-update", filler("large-update", largeSize))
}

// TD_COAP_BLOCK_04.
func TestLargeCreate(t *testing.T) {
	r := newRig(t)
	require.Empty(t, r.links("/large-create"))
	large := filler("create", largeSize)
	resp := r.do(coap.Created, coap.POST, "/large-create", plain(large), blocksOf(64))
	wantLocation(t, "/large-create/1", resp)
	r.get("/large-create/1", large, blocksOf(64))
	wantLocation(t, "/large-create/2", r.do(coap.Created, coap.POST, "/large-create", body(coap.JSON, "{}")))
	wantFormat(t, coap.JSON, r.get("/large-create/2", "{}"))
	require.Equal(t, []string{"/large-create/1", "/large-create/2"}, r.links("/large-create"))

	r.do(coap.Changed, coap.PUT, "/large-create/1", plain("short"))
	r.get("/large-create/1", "short")
	r.do(coap.PreconditionFailed, coap.DELETE, "/large-create/1", ifMatch([]byte("x")))
	r.do(coap.Deleted, coap.DELETE, "/large-create/1")
	r.do(coap.Deleted, coap.DELETE, "/large-create/1")
	r.do(coap.NotFound, coap.GET, "/large-create/1")
	r.do(coap.NotFound, coap.PUT, "/large-create/1", plain("x"))
	r.do(coap.PreconditionFailed, coap.PUT, "/large-create/1", plain("x"), ifMatch(nil))
	require.Equal(t, []string{"/large-create/2"}, r.links("/large-create"))
	r.do(coap.MethodNotAllowed, coap.POST, "/large-create/2", plain("x"))
	r.do(coap.PreconditionFailed, coap.POST, "/large-create", plain("x"), ifNoneMatch())
	r.do(coap.PreconditionFailed, coap.GET, "/large-create", ifNoneMatch())
}

// The oldest of the resources that clients have made goes when there are too many.
func TestCreatedAreBounded(t *testing.T) {
	r := newRig(t)
	var want []string
	for i := range maxCreated + 3 {
		path := fmt.Sprintf("/large-create/%d", i+1)
		wantLocation(t, path, r.do(coap.Created, coap.POST, "/large-create", plain(path)))
		want = append(want, path)
	}
	require.Equal(t, want[3:], r.links("/large-create"))
	r.do(coap.NotFound, coap.GET, want[2])
	r.get(want[3], want[3])
}

// TD_COAP_BLOCK_05: both bodies take several blocks.
func TestLargePost(t *testing.T) {
	r := newRig(t)
	large := filler("post", largeSize)
	for _, size := range []int{0, 64} {
		resp := r.do(coap.Changed, coap.POST, "/large-post", plain(large), blocksOf(size))
		require.True(t, strings.HasPrefix(string(resp.Payload), "1700 bytes, format 0, SHA-256 "), "%s", resp.Payload)
		require.Greater(t, len(resp.Payload), largeSize)
		wantFormat(t, coap.TextPlain, resp)
	}
	resp := r.do(coap.Changed, coap.POST, "/large-post", untyped("short"))
	require.True(t, strings.HasPrefix(string(resp.Payload), "5 bytes, no format, "), "%s", resp.Payload)
}

// A body of maxBody bytes is kept, a longer one refused with 4.13 and what would be taken, before
// all of it was sent (RFC 7959 sections 2.9.3 and 4). Nothing changes then.
func TestBodiesAreBounded(t *testing.T) {
	r := newRig(t)
	most, more := strings.Repeat("x", maxBody), strings.Repeat("y", maxBody+1)
	r.do(coap.Created, coap.POST, "/test", plain("small"))
	r.do(coap.Created, coap.POST, "/location-query", plain("small"))
	r.do(coap.Created, coap.POST, "/large-create", plain("small"))
	paths := []string{"/test", "/validate", "/create1", "/large-update", "/large-create/1", location, "/location-query?" + locationQuery}
	for _, c := range r.changing {
		paths = append(paths, c.path)
	}
	for _, path := range paths {
		before, err := r.client.Get(t.Context(), path)
		require.NoError(t, err)
		resp := r.do(coap.RequestEntityTooLarge, coap.PUT, path, plain(more))
		size, ok := resp.Options.Size1()
		require.True(t, ok, "no Size1")
		require.EqualValues(t, maxBody, size)
		after, err := r.client.Get(t.Context(), path)
		require.NoError(t, err)
		require.Equal(t, before.Payload, after.Payload, path)
	}
	for _, path := range []string{"/test", "/large-create", "/large-post", "/location-query"} {
		r.do(coap.RequestEntityTooLarge, coap.POST, path, plain(more))
	}
	r.do(coap.Changed, coap.PUT, "/large-update", plain(most))
	r.get("/large-update", most)
	require.Equal(t, []string{"/large-create/1"}, r.links("/large-create"))
}
