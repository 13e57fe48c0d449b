package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// What servers do. All that they say, and all that they are told, has a checksum, so that damage
// on the way is not taken for a mistake of the library.

// seal adds the checksum to a text.
func seal(format string, args ...any) []byte {
	b := fmt.Appendf(nil, format, args...)
	return fmt.Appendf(b, "#%08x", crc32.ChecksumIEEE(b))
}

// unseal returns the words of a sealed text.
func unseal(b []byte) (words []string, ok bool) {
	i := len(b) - 9
	if i < 0 || b[i] != '#' || fmt.Sprintf("%08x", crc32.ChecksumIEEE(b[:i])) != string(b[i+1:]) {
		return nil, false
	}
	return strings.Fields(string(b[:i])), true
}

// unsealInts is unseal for a word and n numbers.
func unsealInts(b []byte, word string, n int) (numbers []int, ok bool) {
	words, ok := unseal(b)
	if !ok || len(words) < n+1 || words[0] != word {
		return nil, false
	}
	for _, s := range words[1 : n+1] {
		v, err := strconv.Atoi(s)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, v)
	}
	return numbers, true
}

// body is a text of some length that belongs to a request.
func body(word string, size int, numbers ...int) []byte {
	s := word
	for _, n := range numbers {
		s += " " + strconv.Itoa(n)
	}
	for i := 0; len(s) < size; i++ {
		s += " " + strconv.Itoa(numbers[0]*1000+i)
	}
	return seal("%s", s)
}

// run is a request that must be dealt with once.
type run struct {
	server, epoch int
	from          netip.AddrPort
	id            int
}

// damaged answers a request whose payload was damaged, if it can have been.
func (h *host) damaged(r *coap.Request) error {
	from := int(r.Peer().Addr.Addr().As4()[3]) - 1
	if !h.w.hurt(from, h.i) {
		h.w.fail("mixed up", []int{from, h.i}, 0, "%s was given a body that nobody has sent: %q", h.name, r.Payload)
	}
	return &coap.Error{Code: message.BadRequest, Diagnostic: "checksum"}
}

// hurt reports whether a damaged datagram was delivered from one actor to another.
func (w *world) hurt(from, to int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.damaged[[2]int{from, to}] > 0
}

// delay is how long a handler takes.
func delay(r *coap.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}

func number(r *coap.Request, key string) int {
	v, _ := r.Query(key)
	n, _ := strconv.Atoi(v)
	return n
}

// site returns the handler of a server for one life of it.
func (h *host) site(epoch int) coap.Handler {
	mux := coap.NewMux()
	mux.HandleFunc("GET /echo", func(w *coap.Response, r *coap.Request) error {
		id := number(r, "id")
		delay(r, time.Duration(number(r, "late")))
		return w.Bytes(coap.TextPlain, seal("echo %d %d", id, h.i))
	})
	mux.HandleFunc("GET /who", func(w *coap.Response, r *coap.Request) error {
		return w.Bytes(coap.TextPlain, seal("who %d %d %d", number(r, "id"), h.i, epoch))
	})
	mux.HandleFunc("POST /count", func(w *coap.Response, r *coap.Request) error {
		v, ok := unsealInts(r.Payload, "count", 2)
		if !ok {
			return h.damaged(r)
		}
		h.ran(r, epoch, v[0])
		delay(r, time.Duration(v[1]))
		w.SetCode(coap.Changed)
		return w.Bytes(coap.TextPlain, seal("counted %d %d", v[0], h.i))
	})
	upload := func(w *coap.Response, r *coap.Request) error {
		b, err := r.ReadBody(10_000)
		if err != nil {
			return err
		}
		v, ok := unsealInts(b, "upload", 2)
		if !ok || !bytes.Equal(b, body("upload", v[1], v...)) {
			return h.damaged(r)
		}
		if r.Code == coap.POST {
			h.ran(r, epoch, v[0])
		}
		w.SetCode(coap.Changed)
		return w.Bytes(coap.TextPlain, seal("uploaded %d %d", v[0], h.i))
	}
	mux.HandleFunc("PUT /box", upload)
	mux.HandleFunc("POST /box", upload)
	mux.HandleFunc("PUT /pipe", upload, coap.Route{Body: streamed})
	mux.HandleFunc("GET /large", func(w *coap.Response, r *coap.Request) error {
		id, n := number(r, "id"), number(r, "n")
		w.SetETag([]byte(strconv.Itoa(id)))
		return w.Bytes(coap.TextPlain, body("large", n, id, h.i))
	})
	for n := range resources {
		mux.HandleFunc("GET /value/"+strconv.Itoa(n), func(w *coap.Response, r *coap.Request) error {
			version := h.value(n)
			w.SetMaxAge(h.w.knobs.maxAge)
			w.SetETag([]byte(strconv.Itoa(version)))
			// The second one takes several blocks.
			return w.Bytes(coap.TextPlain, body("value", n*150, h.i, n, version))
		}, coap.Route{Observable: true})
	}
	return mux
}

// ran notes that a handler does what must not be done twice.
func (h *host) ran(r *coap.Request, epoch, id int) {
	k := run{h.i, epoch, r.Peer().Addr, id}
	h.w.mu.Lock()
	h.w.runs[k]++
	n := h.w.runs[k]
	h.w.mu.Unlock()
	if n > 1 {
		h.w.fail("twice", []int{h.i, int(k.from.Addr().As4()[3]) - 1}, 0, "%s has done request %d of %v %d times", h.name, id, k.from, n)
	}
}

func (h *host) value(n int) int {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.values[n]
}

// change gives a resource a new value.
func (h *host) change(n int) {
	h.w.mu.Lock()
	h.values[n]++
	h.w.mu.Unlock()
	h.endpoint().Notify("/value/" + strconv.Itoa(n))
}
