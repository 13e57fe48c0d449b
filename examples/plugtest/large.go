package main

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/linkformat"
)

// largeSize is the length of large bodies: more than the 1280 bytes that the descriptions want,
// and no whole number of blocks.
const largeSize = 1700

// filler returns n bytes of text, in numbered lines.
func filler(name string, n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%s, line %3d: the quick brown fox\n", name, i)
	}
	return b.String()[:n-1] + "\n"
}

func (s *site) serveLarge(m *coap.Mux) {
	large := text(filler("large", largeSize))
	m.HandleFunc("GET /large", func(w *coap.Response, r *coap.Request) error {
		return large.write(w)
	}, fixed(coap.TextPlain, title("Large resource"), rt("block"), sz(largeSize)))
	s.update.handle(m, "/large-update", conditional(title("Large resource to replace"), rt("block"), sz(maxBody)))
	create := conditional(title("Makes large resources"), rt("block"))
	create.Formats = []coap.ContentFormat{coap.LinkFormat}
	m.HandleFunc("GET /large-create", s.uploads.list, create)
	m.HandleFunc("POST /large-create", s.uploads.post, conditional())
	m.HandleFunc("GET /large-create/{id}", s.uploads.item((*document).get), conditional())
	m.HandleFunc("PUT /large-create/{id}", s.uploads.item((*document).put), conditional())
	m.HandleFunc("DELETE /large-create/{id}", s.uploads.delete, conditional())
	m.HandleFunc("POST /large-post", report, unconditional(title("Answers a large body with one"), rt("block")))
}

// report answers with what it has got, and enough text to make that large.
func report(w *coap.Response, r *coap.Request) error {
	format := "no format"
	if f, ok := r.Options.ContentFormat(); ok {
		format = "format " + strconv.Itoa(int(f))
	}
	w.SetCode(coap.Changed)
	return w.Text(fmt.Sprintf("%d bytes, %s, SHA-256 %x\n%s",
		len(r.Payload), format, sha256.Sum256(r.Payload), filler("large-post", largeSize)))
}

// collection is the resources that clients have made below /large-create. There are at most
// maxCreated: the oldest one makes place for another.
type collection struct {
	mu    sync.Mutex
	last  int
	items []item // in the order in which they were made
}

type item struct {
	id string
	*document
}

func (c *collection) path(id string) string { return "/large-create/" + id }

func (c *collection) post(w *coap.Response, r *coap.Request) error {
	d := &document{now: sent(r), fixed: true}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := r.Precondition(nil, true); err != nil {
		return err
	}
	if len(c.items) == maxCreated {
		c.items = slices.Delete(c.items, 0, 1)
	}
	c.last++
	id := strconv.Itoa(c.last)
	c.items = append(c.items, item{id, d})
	w.SetCode(coap.Created)
	return w.Options.SetLocation(c.path(id))
}

// list answers with links to all of them.
func (c *collection) list(w *coap.Response, r *coap.Request) error {
	if err := r.Precondition(nil, true); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var links []linkformat.Link
	for _, i := range c.items {
		links = append(links, linkformat.Link{Target: c.path(i.id)})
	}
	body, err := linkformat.Append(nil, links)
	if err != nil {
		return err
	}
	return w.Bytes(coap.LinkFormat, body)
}

// item returns a handler that is a method of the document that the path names. A document that
// nobody has stands for what does not exist.
func (c *collection) item(do func(*document, *coap.Response, *coap.Request) error) func(*coap.Response, *coap.Request) error {
	return func(w *coap.Response, r *coap.Request) error {
		d := &document{fixed: true}
		c.mu.Lock()
		if i := c.index(r); i >= 0 {
			d = c.items[i].document
		}
		c.mu.Unlock()
		return do(d, w, r)
	}
}

// delete deletes the document and forgets it.
func (c *collection) delete(w *coap.Response, r *coap.Request) error {
	if err := c.item((*document).delete)(w, r); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.index(r); i >= 0 {
		c.items = slices.Delete(c.items, i, i+1)
	}
	return nil
}

// index returns which item the path names, or -1. The lock is held.
func (c *collection) index(r *coap.Request) int {
	id := r.PathValue("id")
	return slices.IndexFunc(c.items, func(i item) bool { return i.id == id })
}
