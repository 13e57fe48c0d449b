package observe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// bubble runs a test in virtual time.
func bubble(t *testing.T, name string, f func(t *testing.T)) bool {
	return t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// pass lets time pass, then waits until everything has come to rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// lab is a Server around a handler, with an endpoint that only notes what it is to send.
type lab struct {
	testing.TB
	*Server
	mu       sync.Mutex
	value    string
	answer   func(w *exchange.Response, r *exchange.Request) error // nil: value as text
	rendered int
	sent     []*note
	err      error // of Push
	ids      uint16
	rejected atomic.Pointer[func(exchange.Peer, uint16) bool]
	fate     []string
}

// note is a notification that was pushed.
type note struct {
	to        exchange.Peer
	token     string
	resp      exchange.Response
	con       bool
	done      func(error)
	at        time.Time
	forgotten bool
	unknown   bool   // done was called, and nobody waited for it
	due       func() // it is outdated
	over      bool   // Replace fails
	lab       *lab
}

func (n *note) Forget() {
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	n.forgotten = true
}

func (n *note) seq() uint32 {
	v, ok := n.resp.Options.Uint(message.OptionObserve)
	require.True(n.lab, ok, "a notification has a sequence number")
	return uint32(v)
}

func newLab(t testing.TB, cfg ServerConfig) *lab {
	l := &lab{TB: t, value: "1"}
	if cfg.OnEnd == nil {
		cfg.OnEnd = func(p exchange.Peer, path string, why End) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.fate = append(l.fate, fmt.Sprintf("%d %s %s", p.Addr.Port(), path, why))
		}
	}
	l.Server = NewServer(exchange.HandlerFunc(l.serve), cfg)
	t.Cleanup(func() { l.Close() })
	return l
}

func (l *lab) serve(w *exchange.Response, r *exchange.Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rendered++
	if l.answer != nil {
		return l.answer(w, r)
	}
	return w.Text(l.value)
}

func (l *lab) Push(w *exchange.Response, to []exchange.Notice, ready func()) {
	for i := range to {
		l.push(w, &to[i])
	}
	if ready != nil {
		ready()
	}
}

func (l *lab) push(w *exchange.Response, to *exchange.Notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to.Err = l.err; to.Err != nil {
		return
	}
	l.ids++
	n := &note{to: to.Peer, token: string(to.Token), con: to.Confirmable, done: to.Done, at: time.Now(), lab: l}
	l.copy(n, w, to.Seq)
	l.sent = append(l.sent, n)
	if n.con {
		to.Pushed = n
		return
	}
	to.ID = l.ids
	peer, id := to.Peer, to.ID
	n.done = func(error) { n.unknown = !(*l.rejected.Load())(peer, id) }
}

// copy makes w, with a sequence number, what n says.
func (l *lab) copy(n *note, w *exchange.Response, seq uint32) {
	o := w.Options.Clone()
	if w.Code.IsSuccess() {
		o.SetUint(message.OptionObserve, uint64(seq))
	}
	require.NoError(l, n.resp.Receive(&message.Message{Code: w.Code, Options: o, Payload: w.Payload}, n.to))
}

func (l *lab) Watch(rejected func(exchange.Peer, uint16) bool) (stop func()) {
	l.rejected.Store(&rejected)
	return func() {}
}

func (l *lab) set(value string) {
	l.mu.Lock()
	l.value = value
	l.mu.Unlock()
	l.Notify("/a")
}

// ask makes a request from a port; action below 0 leaves the Observe option out.
func (l *lab) ask(port uint16, token string, action int, edit ...func(*exchange.Request)) *exchange.Response {
	l.Helper()
	r := &exchange.Request{Code: message.GET}
	r.Options.AddString(message.OptionURIPath, "a")
	if action >= 0 {
		r.Options.SetUint(message.OptionObserve, uint64(action))
	}
	a := exchange.Arrival{
		Context: context.Background(), Token: message.Token(token), Pusher: l,
		Peer: exchange.Peer{Addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)},
	}
	r.Arrive(a)
	for _, f := range edit {
		f(r)
	}
	w := new(exchange.Response)
	if err := l.ServeCoAP(w, r); err != nil {
		coded, ok := errors.AsType[*exchange.Error](err)
		require.True(l, ok, "%v", err)
		w.Code = coded.Code
	}
	return w
}

// register makes a request that has to be accepted.
func (l *lab) register(port uint16, token string, edit ...func(*exchange.Request)) {
	l.Helper()
	require.True(l, l.ask(port, token, 0, edit...).Options.Has(message.OptionObserve), "registered")
}

// want takes the next notification.
func (l *lab) want(why string, port uint16, payload string) *note {
	l.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.NotEmpty(l, l.sent, "%s: a notification", why)
	n := l.sent[0]
	l.sent = l.sent[1:]
	require.Equal(l, port, n.to.Addr.Port(), why)
	require.Equal(l, payload, string(n.resp.Payload), why)
	return n
}

func (l *lab) idle(why string) {
	l.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Empty(l, l.sent, why)
}

func (l *lab) requireFate(want ...string) {
	l.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Equal(l, want, l.fate)
}

func path(segment string) func(*exchange.Request) {
	return func(r *exchange.Request) { r.Options.SetString(message.OptionURIPath, segment) }
}

func option(n message.OptionNumber, v uint64) func(*exchange.Request) {
	return func(r *exchange.Request) { r.Options.AddUint(n, v) }
}

// Proves 7641-4.1-02, 7641-4.1-05, 7641-4.1-06, 7641-4.2-06, 7641-4.1-s03, 7641-2-s05, 7959-2.6-s04.
func TestRegister(t *testing.T) {
	bubble(t, "the list", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.register(1, "t")
		require.Equal(t, 1, l.Stats().Observers, "the same entry")
		l.register(1, "u")
		l.register(2, "t")
		require.Equal(t, 3, l.Observers("/a"))
		require.Zero(t, l.Observers("/b"))
		require.False(t, l.ask(1, "t", 1).Options.Has(message.OptionObserve))
		require.False(t, l.ask(1, "x", 1).Options.Has(message.OptionObserve), "was not there")
		require.Equal(t, 2, l.Observers("/a"))
		require.False(t, l.ask(2, "t", -1).Options.Has(message.OptionObserve), "a request for something else")
		require.False(t, l.ask(2, "y", 7).Options.Has(message.OptionObserve), "no known action")
		require.Equal(t, 2, l.Observers("/a"))
		l.requireFate("1 /a deregistered")
	})
	bubble(t, "another resource under the same token", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.register(1, "t", path("b"))
		require.Zero(t, l.Observers("/a"))
		require.Equal(t, 1, l.Observers("/b"))
		l.Notify("/a")
		l.idle("it is on the list no more")
		l.Notify("/b")
		l.want("but there", 1, "1").done(nil)
		l.requireFate("1 /a replaced")
		require.Equal(t, 1, l.Stats().Resources)
	})
	bubble(t, "what is no registration", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		for name, edit := range map[string]func(*exchange.Request){
			"a later block":              option(message.OptionBlock2, 1<<4|2),
			"a block of a request":       option(message.OptionBlock1, 8|2),
			"the last block of one":      option(message.OptionBlock1, 3<<4|2),
			"another format is accepted": option(message.OptionAccept, 50),
			"nobody to notify":           func(r *exchange.Request) { r.Arrive(exchange.Arrival{Peer: r.Peer()}) },
			"another method":             func(r *exchange.Request) { r.Code = message.POST },
		} {
			require.False(t, l.ask(1, "t", 0, edit).Options.Has(message.OptionObserve), name)
			require.Zero(t, l.Stats().Observers, name)
		}
		l.register(1, "t", option(message.OptionBlock2, 2))
		l.register(2, "t", func(r *exchange.Request) { r.Code = message.FETCH })
	})
	bubble(t, "errors", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.answer = func(w *exchange.Response, r *exchange.Request) error { return &exchange.Error{Code: message.NotFound} }
		require.Equal(t, message.NotFound, l.ask(2, "t", 0).Code)
		require.Equal(t, message.NotFound, l.ask(1, "t", 0).Code)
		require.Zero(t, l.Stats().Observers)
		l.requireFate("1 /a error response")
		l.answer = func(w *exchange.Response, r *exchange.Request) error { w.Code = message.NotFound; return nil }
		require.False(t, l.ask(2, "t", 0).Options.Has(message.OptionObserve))
		require.Zero(t, l.Stats().Observers)
		l.answer = func(w *exchange.Response, r *exchange.Request) error { panic("oh") }
		require.Panics(t, func() { l.ask(2, "t", 0) })
		require.Zero(t, l.Stats().Observers)
		require.Zero(t, l.Stats().Peers)
		require.Empty(t, l.Server.resources)
		require.Empty(t, l.Server.groups)
		require.Empty(t, l.Server.routes)
	})
	// Proves 7641-4.1-03, 7641-4.1-04, 7641-2-s10.
	bubble(t, "limits", func(t *testing.T) {
		l := newLab(t, ServerConfig{MaxObservers: 3, MaxPerPeer: 2})
		l.register(1, "a")
		l.register(1, "b")
		w := l.ask(1, "c", 0)
		require.False(t, w.Options.Has(message.OptionObserve))
		require.Equal(t, "1", string(w.Payload), "answered all the same")
		l.register(2, "a")
		require.False(t, l.ask(3, "a", 0).Options.Has(message.OptionObserve))
		require.Equal(t, uint64(2), l.Stats().Refused)
		l.register(1, "a")
		l.ask(1, "a", 1)
		l.register(3, "a")
	})
}

// While one notification is on its way, newer states wait, and only the newest is sent.
//
// Proves 7641-4.5.1-01, 7641-4.4-01, 7641-4.4-03.
func TestLatestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.set("2")
		first := l.want("at once", 1, "2")
		require.True(t, first.con)
		for i := range 10 {
			l.set(fmt.Sprint("skipped ", i))
			if i < 5 {
				synctest.Wait()
			}
		}
		l.set("last")
		l.idle("one at a time")
		pass(time.Minute)
		l.idle("until it is acknowledged")
		first.done(nil)
		second := l.want("the newest", 1, "last")
		require.True(t, Fresher(first.seq(), first.at, second.seq(), first.at))
		require.Equal(t, uint64(10), l.Stats().Coalesced)
		second.done(nil)
		l.idle("that is all")
		require.Equal(t, uint64(2), l.Stats().Rendered)
		l.Notify("/other")
		l.idle("of no interest")
	})
}

// A client with several observations gets one notification at a time, in order.
func TestOneAtATimePerClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		for _, token := range []string{"a", "b", "c"} {
			l.register(1, token)
		}
		l.set("2")
		for _, token := range []string{"a", "b", "c"} {
			n := l.want("one", 1, "2")
			require.Equal(t, token, n.token)
			l.idle("at a time")
			n.done(nil)
		}
		l.idle("all")
	})
}

// One rendering serves all whose requests are equal.
func TestRenderedOnce(t *testing.T) {
	bubble(t, "shared", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		for port := range uint16(50) {
			l.register(port, "t")
			l.register(port+1000, "t", option(message.OptionBlock2, 2))
		}
		l.rendered = 0
		l.set("2")
		synctest.Wait()
		require.Len(t, l.sent, 100)
		require.Equal(t, 2, l.rendered, "once for each block size")
		tokens := map[string]bool{}
		for _, n := range l.sent {
			tokens[n.to.String()] = true
			require.Equal(t, "2", string(n.resp.Payload))
			n.seq()
		}
		require.Len(t, tokens, 100)
	})
	bubble(t, "not where it depends on who asks", func(t *testing.T) {
		l := newLab(t, ServerConfig{PerPeer: func(r *exchange.Request) bool { return r.Path() == "/a" }})
		for port := range uint16(5) {
			l.register(port, "t")
			l.register(port, "u", path("b"))
			l.register(port, "v", path("c"), func(r *exchange.Request) {
				p := r.Peer()
				p.Identity = port
				r.Arrive(exchange.Arrival{Peer: p, Token: message.Token("v"), Pusher: l})
			})
		}
		for path, want := range map[string]int{"/a": 5, "/b": 1, "/c": 5} {
			l.rendered = 0
			l.Notify(path)
			for range 5 {
				synctest.Wait()
				l.mu.Lock()
				n := l.sent[0]
				l.sent = l.sent[1:]
				l.mu.Unlock()
				n.done(nil)
			}
			require.Equal(t, want, l.rendered, path)
		}
	})
}

// Proves 7641-4.5-04, 7641-3.5-s05, 7641-3.6-s02.
func TestRemoved(t *testing.T) {
	for _, c := range []struct {
		err  error
		fate string
	}{
		{exchange.ErrReset, "1 /a reset"},
		{exchange.ErrNotAcknowledged, "1 /a timed out"},
		{exchange.ErrUnreachable, "1 /a unreachable"},
		{exchange.ErrClosed, "1 /a closed"},
	} {
		bubble(t, c.fate, func(t *testing.T) {
			l := newLab(t, ServerConfig{})
			l.register(1, "t")
			l.set("2")
			l.want("notification", 1, "2").done(c.err)
			l.requireFate(c.fate)
			l.set("3")
			l.idle("removed")
			require.Zero(t, l.Stats().Observers+l.Stats().Peers+l.Stats().Resources)
		})
	}
	bubble(t, "reset of a NON", func(t *testing.T) {
		l := newLab(t, ServerConfig{ConfirmEvery: 10})
		l.register(1, "t")
		l.set("2")
		n := l.want("notification", 1, "2")
		require.False(t, n.con)
		pass(4 * time.Second)
		n.done(exchange.ErrReset)
		l.requireFate("1 /a reset")
		pass(time.Hour)
		l.idle("removed")
	})
	bubble(t, "deregistered while a notification is on its way", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.register(1, "u")
		l.set("2")
		n := l.want("notification", 1, "2")
		l.ask(1, n.token, 1)
		require.True(t, n.forgotten, "it is not retransmitted")
		l.want("the other observation can go on", 1, "2").done(nil)
		l.idle("all")
	})
	bubble(t, "stopped by the handler", func(t *testing.T) {
		l := newLab(t, ServerConfig{OnEnd: func(exchange.Peer, string, End) {}})
		l.register(1, "t")
		l.answer = func(w *exchange.Response, r *exchange.Request) error {
			l.Stop()
			return w.Text("2")
		}
		l.Notify("/a")
		l.idle("what was being rendered is not sent")
		require.NoError(t, l.Close())
		require.Zero(t, l.Stats().Peers)
	})
	bubble(t, "closed", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.set("2")
		n := l.want("notification", 1, "2")
		require.NoError(t, l.Close())
		require.NoError(t, l.Close())
		require.True(t, n.forgotten)
		l.requireFate("1 /a closed")
		require.False(t, l.ask(1, "t", 0).Options.Has(message.OptionObserve))
		l.set("3")
		l.idle("closed")
	})
}

// Forgotten observers are told nothing, neither then nor later.
func TestForget(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t", path("x"))
		l.register(2, "t", path("x"))
		l.register(1, "u", path("y"))
		l.Forget("/x")
		l.Forget("/none")
		l.Notify("/x")
		pass(time.Minute)
		require.Empty(t, l.sent)
		require.Zero(t, l.Observers("/x"))
		require.Equal(t, 1, l.Observers("/y"))
	})
}

// ConfirmFor takes the place of ConfirmEvery for those who register by a request.
func TestConfirmFor(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		l := newLab(t, ServerConfig{ConfirmFor: func(r *exchange.Request) int {
			if r.Path() == "/non" {
				return 100
			}
			return 0
		}})
		l.register(1, "t", path("non"))
		l.register(2, "t", path("con"))
		l.Notify("/non")
		l.Notify("/con")
		pass(time.Second)
		require.Len(t, l.sent, 2)
		for _, n := range l.sent {
			require.Equal(t, n.to.Addr.Port() == 2, n.con)
		}
	})
}
