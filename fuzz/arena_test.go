//go:build !gofuzz

package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/internal/entropy"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport/mem"
)

var (
	arenaServer   = netip.MustParseAddrPort("192.0.2.1:5683")
	arenaFriend   = netip.MustParseAddrPort("192.0.2.2:5683")
	arenaStranger = [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.8:5683"), netip.MustParseAddrPort("192.0.2.9:61616")}
	arenaGroup    = netip.MustParseAddrPort("224.0.1.187:5683")
)

// The limits of the server in the arena. What the stranger can take from all his addresses, two and
// maxRebinds more, leaves enough for the friend.
const (
	maxRebinds  = 4
	arenaShares = 8
)

var arenaLimits = coap.Limits{
	ReceiveSize: 1500, MessageSize: 256, TokenLength: 16, Peers: 100, Exchanges: 24, QueuePerPeer: 3,
	Handlers: 2 * arenaShares, HandlersPerPeer: 2, RememberedBytes: arenaShares * 4096, RememberedBytesPerPeer: 4096,
}.WithDefaults()

var arenaBlocks = blockwise.ServerConfig{
	BlockSize: 64, MaxBody: 4096, Bytes: arenaShares * 8192, BytesPerPeer: 8192, Streams: arenaShares, StreamsPerPeer: 1,
}

const arenaObservers, arenaObserversPerPeer = 3 * arenaShares, 3

// arena is a live endpoint, client and server at once, with two others: a friend, who keeps to the
// protocol and has to be served well all the time, and a stranger, who sends anything.
type arena struct {
	*testing.T
	net      *mem.Network
	ep       *coap.Endpoint
	client   *coap.Client // of ep
	friend   *coap.Client
	stranger *stranger
	watch    *observe.Observation // of the friend
	work     sync.WaitGroup
	watched  int  // what it observes
	softly   bool // the endpoint is shut down, not closed
	ctx      context.Context
	playing  context.Context // ends when the stranger falls silent
	play     context.CancelFunc
	asked    int // requests of the friend

	mu     sync.Mutex
	values [2]int // versions of the observable resources
	seen   int    // by the friend
	open   int    // requests of ep's client that have not ended
	ours   []*observe.Observation
	log    []mem.Packet
}

// checked is a text with its checksum.
func checked(format string, args ...any) []byte {
	b := fmt.Appendf(nil, format, args...)
	return fmt.Appendf(b, "#%08x", crc32.ChecksumIEEE(b))
}

// whole reports whether b has its checksum.
func whole(b []byte) bool {
	i := bytes.LastIndexByte(b, '#')
	return i >= 0 && string(b[i:]) == fmt.Sprintf("#%08x", crc32.ChecksumIEEE(b[:i]))
}

// site returns what the endpoint serves.
func (a *arena) site() *coap.Mux {
	mux := coap.NewMux()
	mux.HandleFunc("GET /small", func(w *coap.Response, r *coap.Request) error {
		id, _ := r.Query("id")
		return w.Text("small " + id)
	})
	mux.HandleFunc("GET /slow", func(w *coap.Response, r *coap.Request) error {
		select {
		case <-time.After(5 * time.Second):
		case <-r.Context().Done():
		}
		return w.Text("slow")
	})
	mux.HandleFunc("GET /large", func(w *coap.Response, r *coap.Request) error {
		id, _ := r.Query("id")
		w.SetETag([]byte{byte(len(id))})
		return w.Bytes(coap.OctetStream, checked("large %s %s", id, strings.Repeat("x", 700)))
	})
	mux.HandleFunc("GET /file", func(w *coap.Response, r *coap.Request) error {
		return w.Content(bytes.NewReader(a.file()), []byte("file"))
	})
	mux.HandleFunc("GET /live", func(w *coap.Response, r *coap.Request) error {
		return w.Body(io.LimitReader(bytes.NewReader(a.file()), 600)) // can be read but once
	})
	store := func(w *coap.Response, r *coap.Request) error {
		b, err := r.ReadBody(4096)
		if err != nil {
			return err
		}
		w.SetCode(coap.Changed)
		return w.Text(strconv.Itoa(int(crc32.ChecksumIEEE(b))))
	}
	mux.HandleFunc("/box", store)
	mux.HandleFunc("PUT /pipe", store, coap.Route{Body: blockwise.Mode{Stream: true}})
	mux.HandleFunc("/panic", func(*coap.Response, *coap.Request) error { panic("of a handler") })
	for n := range a.values {
		path := "/value/" + strconv.Itoa(n)
		get := func(w *coap.Response, r *coap.Request) error {
			w.SetMaxAge(time.Minute)
			return w.Bytes(coap.TextPlain, a.value(n)) // the second one takes several blocks
		}
		mux.HandleFunc("GET "+path, get, coap.Route{Observable: true})
		mux.HandleFunc("FETCH "+path, get, coap.Route{Observable: true})
	}
	return mux
}

func (a *arena) value(n int) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return checked("value %d %d %s", n, a.values[n], strings.Repeat("v", 200*n))
}

func (a *arena) file() []byte { return checked("file %s", strings.Repeat("f", 700)) }

func (a *arena) change(n int) {
	a.mu.Lock()
	a.values[n]++
	a.mu.Unlock()
	a.ep.Notify("/value/" + strconv.Itoa(n))
}

// newArena starts the endpoints; the bits of how choose the configuration.
func newArena(t *testing.T, how uint16, script []byte) *arena {
	a := &arena{T: t, ctx: context.Background(), seen: -1, watched: int(how >> 13 & 1), softly: how&0x4000 != 0}
	a.playing, a.play = context.WithCancel(a.ctx)
	delay := time.Duration(how&1) * 20 * time.Millisecond
	a.net = mem.NewNetwork(mem.Config{Delay: delay, NoUnreachable: how&2 != 0})
	a.net.Watch(func(p *mem.Packet, _ mem.Verdict) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.log = append(a.log[max(0, len(a.log)-300):], *p)
	})
	cfg := &coap.Config{
		Limits: arenaLimits, ServeBlocks: arenaBlocks,
		Params: coap.Params{
			NStart: 1 + int(how>>2&2), EmptyAckDelay: []time.Duration{0, -1}[how>>4&1],
			ProbingRate: []float64{0, -1}[how>>5&1], MaxRetransmit: []int{0, 1}[how>>6&1],
		},
		ServeEcho:    echo.ServerConfig{Mode: []echo.Mode{echo.Off, echo.Large, echo.Off, echo.Always}[how>>7&3]},
		ServeObserve: observe.ServerConfig{MaxObservers: arenaObservers, MaxPerPeer: arenaObserversPerPeer, ConfirmEvery: int(how >> 9 & 3)},
		SendBlocks:   blockwise.ClientConfig{BlockSize: 64, Early: how&0x800 != 0, MaxBody: 4096},
		SendObserve:  observe.ClientConfig{Jitter: time.Second, MaxBackoff: 20 * time.Second, Poll: how&0x1000 != 0},
	}
	a.ep = a.endpoint(arenaServer, a.site(), cfg)
	a.client = &coap.Client{Endpoint: a.ep}
	who := coap.NewMux()
	who.HandleFunc("GET /who", func(w *coap.Response, r *coap.Request) error { return w.Text("the friend") })
	a.friend = &coap.Client{Endpoint: a.endpoint(arenaFriend, who, &coap.Config{SendBlocks: blockwise.ClientConfig{BlockSize: 64}})}
	a.observeAsFriend()
	a.stranger = newStranger(a, script)
	return a
}

func (a *arena) endpoint(at netip.AddrPort, h coap.Handler, cfg *coap.Config) *coap.Endpoint {
	conn, err := a.net.Listen(at)
	if err == nil {
		err = conn.Join(arenaGroup.Addr(), 0)
	}
	if err != nil {
		a.Fatal(err)
	}
	ep, err := coap.NewEndpoint(conn, h, cfg)
	if err != nil {
		a.Fatal(err)
	}
	return ep
}

// pass lets time pass until everything has come to rest.
func (a *arena) pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
	synctest.Wait()
}

func (a *arena) request(method coap.Code, to netip.AddrPort, target string) *coap.Request {
	req, err := coap.NewRequest(method, target)
	if err != nil {
		a.Fatal(err)
	}
	req.To = to
	return req
}

func (a *arena) observeAsFriend() {
	o, err := a.friend.ObserveRequest(a.ctx, a.request(coap.GET, arenaServer, "/value/"+strconv.Itoa(a.watched)))
	if err != nil {
		a.Fatal(err)
	}
	a.watch = o
	a.work.Go(func() {
		for n, err := range o.All() {
			if err != nil {
				a.Errorf("the friend's observation ends: %v", err)
				return
			}
			if n.Response == nil {
				continue
			}
			var version int
			want := fmt.Sprintf("value %d %%d ", a.watched)
			if _, err := fmt.Sscanf(string(n.Response.Payload), want, &version); err != nil || !whole(n.Response.Payload) {
				a.Errorf("the friend is told %v %q", n.Response.Code, n.Response.Payload)
			}
			a.mu.Lock()
			a.seen = version
			a.mu.Unlock()
		}
	})
}

// befriend has the friend ask something, or be asked, and wants the right answer soon.
func (a *arena) befriend(b byte) {
	a.asked++
	id := strconv.Itoa(a.asked)
	client, code, want := a.friend, coap.Content, "small "+id
	var req *coap.Request
	switch b % 8 {
	case 0:
		req = a.request(coap.GET, arenaServer, "/small?id="+id)
	case 1:
		req, want = a.request(coap.GET, arenaServer, "/large?id="+id), string(checked("large %s %s", id, strings.Repeat("x", 700)))
	case 2, 3:
		req = a.request(coap.PUT, arenaServer, []string{"/box", "/pipe"}[b%8-2])
		req.Payload = checked("upload %s %s", id, strings.Repeat("u", 300))
		code, want = coap.Changed, strconv.Itoa(int(crc32.ChecksumIEEE(req.Payload)))
	case 4:
		n := int(b >> 4 & 1)
		req, want = a.request(coap.GET, arenaServer, "/value/"+strconv.Itoa(n)), string(a.value(n))
	case 5, 6:
		req, want = a.request(coap.GET, arenaServer, "/"+[]string{"file", "live"}[b%8-5]), string(a.file())
		if b%8 == 6 {
			want = want[:600]
		}
	case 7:
		client, req, want = a.client, a.request(coap.GET, arenaFriend, "/who"), "the friend"
	}
	began := time.Now()
	var resp coap.Response
	err := client.Do(a.ctx, req, &resp)
	if err != nil || resp.Code != code || string(resp.Payload) != want {
		a.Fatalf("the friend's request %v %s gets %v %v %q, want %q", req.Code, req.Path(), err, resp.Code, resp.Payload, want)
	}
	if took := time.Since(began); took > 30*time.Second {
		a.Fatalf("the friend's request %v %s takes %v", req.Code, req.Path(), took)
	}
}

// check compares the tables of the endpoint with its limits.
func (a *arena) check(what string) {
	s, o := a.ep.Stats(), a.ep.ObserveStats()
	b, _ := a.ep.BlockwiseStats()
	for _, x := range [...]struct {
		name      string
		got, most int
	}{
		{"peers", s.Peers, arenaLimits.Peers},
		// What others ask for has as many places again.
		{"exchanges", s.Exchanges, 2 * arenaLimits.Exchanges},
		{"queued requests", s.Queued, arenaLimits.Exchanges},
		{"requests in handlers", s.Handling, 2 * arenaLimits.Handlers},
		{"remembered bytes", s.RememberedBytes, arenaLimits.RememberedBytes},
		{"observers", o.Observers, arenaObservers},
		{"bytes of blocks", b.Bytes, arenaBlocks.Bytes + arenaBlocks.BytesPerPeer},
		{"streams", b.Streams, arenaBlocks.Streams},
	} {
		if x.got < 0 || x.got > x.most {
			a.Fatalf("after %s there are %d %s, want at most %d", what, x.got, x.name, x.most)
		}
	}
	if a.Failed() {
		a.Fatalf("after %s", what)
	}
}

// quiet ends the stranger's play, and wants that everything comes to its end.
func (a *arena) quiet() {
	a.net.SetConfig(mem.Config{Delay: a.net.Config().Delay, NoUnreachable: a.net.Config().NoUnreachable})
	a.stranger.fallSilent()
	a.play()
	a.mu.Lock()
	ours := a.ours
	a.mu.Unlock()
	for _, o := range ours {
		o.Close()
	}
	a.pass(10 * time.Second) // what is on its way may be a registration
	a.change(0)
	a.change(1)
	a.pass(2 * time.Hour)
	a.check("two hours")
	a.mu.Lock()
	open, seen, last := a.open, a.seen, a.values[a.watched]
	a.mu.Unlock()
	if open > 0 || seen != last {
		a.Fatalf("%d requests have not ended; the friend was told version %d of %d", open, seen, last)
	}
	for b := range byte(8) {
		a.befriend(b)
	}
	switch err := a.watch.Cancel(a.ctx); {
	case errors.Is(err, coap.ErrBusy): // it is just registering again
		a.change(a.watched)
	case err != nil:
		a.Fatalf("the friend cannot deregister: %v", err)
	}
	a.work.Wait()
	a.pass(30 * time.Minute)
	a.requireNothingLeft()
}

func (a *arena) requireNothingLeft() {
	for _, ep := range []*coap.Endpoint{a.ep, a.friend.Endpoint} {
		s, o := ep.Stats(), ep.ObserveStats()
		b, _ := ep.BlockwiseStats()
		n := s.Peers + s.Exchanges + s.Queued + s.Handling + s.Remembered + s.RememberedBytes +
			o.Observers + o.Peers + o.Resources + b.Uploads + b.Streams + b.Downloads + b.Snapshots + b.Peers + b.Bytes
		if n != 0 {
			a.Fatalf("something is left at %v: %+v\n%+v\n%+v", ep.LocalAddr(), s, o, b)
		}
	}
}

// close ends all; that no goroutine is left is for the bubble to see.
func (a *arena) close() {
	a.play()
	for _, c := range []*coap.Client{a.client, a.friend} {
		c.Close()
		if a.softly && !a.Failed() {
			if err := c.Endpoint.Shutdown(a.ctx); err != nil {
				a.Errorf("shutting down: %v", err)
			}
		}
		c.Endpoint.Close()
	}
	a.net.Close()
	a.work.Wait()
	if !a.Failed() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.log {
		var m message.Message
		err := codec.DecodeUDP(p.Data, &m)
		a.Logf("%v -> %v %v %v %x", p.Src, p.Dst, &m, err, p.Data)
	}
}

// FuzzEndpoint lets a stranger do anything, as client and as server, to a live endpoint that others use
// as well. Whatever that is, nothing panics or hangs, no table exceeds its limit, others are served
// as if he were not there, and when he falls silent, all that he has caused ends.
func FuzzEndpoint(f *testing.F) {
	for _, s := range arenaScripts {
		f.Add(uint16(0), s)
		f.Add(uint16(0x69BD), s)
	}
	f.Fuzz(func(t *testing.T, how uint16, script []byte) {
		if len(script) > 400 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			defer entropy.Fix(uint64(how))()
			a := newArena(t, how, script)
			defer a.close()
			for a.stranger.more() {
				a.check(a.stranger.step())
			}
			a.quiet()
		})
	})
}
