package observe

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// Proves 7641-4.2-03, 7641-4.2-04, 7641-4.2-05, 7641-4.2-06, 7641-3.2-s09.
func TestErrorNotification(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w *exchange.Response, r *exchange.Request) error
		code   message.Code
		fate   string
	}{
		"not found": {func(w *exchange.Response, r *exchange.Request) error {
			return &exchange.Error{Code: message.NotFound}
		}, message.NotFound, "1 /a error response"},
		"failure": {func(w *exchange.Response, r *exchange.Request) error { return errors.New("oh") }, message.InternalServerError, "1 /a error response"},
		"panic":   {func(w *exchange.Response, r *exchange.Request) error { panic("oh") }, message.InternalServerError, "1 /a error response"},
		"no code": {func(w *exchange.Response, r *exchange.Request) error {
			w.Code = message.GET
			return nil
		}, message.InternalServerError, "1 /a error response"},
		"another format": {func(w *exchange.Response, r *exchange.Request) error { return w.JSON([]byte("{}")) }, message.NotAcceptable, "1 /a content format changed"},
	} {
		bubble(t, name, func(t *testing.T) {
			l := newLab(t, ServerConfig{ConfirmEvery: 10})
			l.register(1, "t")
			l.register(1, "other", path("b"))
			l.answer = c.answer
			l.Notify("/a")
			n := l.want("error", 1, "")
			require.Equal(t, c.code, n.resp.Code)
			require.True(t, n.con, "confirmable, so that it arrives")
			require.False(t, n.resp.Options.Has(message.OptionObserve))
			l.requireFate(c.fate)
			require.Equal(t, 1, l.Stats().Observers)
			l.answer = nil
			l.Notify("/b")
			l.idle("the error is on its way")
			n.done(nil)
			l.want("then the next", 1, "1").done(nil)
		})
	}
}

// Proves 7641-4.2-02, 7641-4.3.2-01, 7641-3.2-s07.
func TestValidNotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.answer = func(w *exchange.Response, r *exchange.Request) error {
			w.SetETag([]byte(l.value))
			return w.Text(l.value)
		}
		l.register(1, "t", func(r *exchange.Request) { r.Options.AddETag([]byte("7")) })
		l.set("7")
		n := l.want("2.03", 1, "")
		require.Equal(t, message.Valid, n.resp.Code)
		n.seq()
		n.done(nil)
		l.set("8")
		require.Equal(t, message.Content, l.want("2.05", 1, "8").resp.Code)
	})
}

// A NON has its place for 3 seconds, and a confirmable notification comes after a while.
//
// Proves 7641-7-01.
func TestNonConfirmable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{ConfirmEvery: 5})
		l.register(1, "t")
		var types []bool
		var previous *note
		for i := range 10 {
			l.set(fmt.Sprint(i))
			n := l.want("a notification", 1, fmt.Sprint(i))
			types = append(types, n.con)
			if previous != nil && !previous.con {
				require.GreaterOrEqual(t, n.at.Sub(previous.at), 3*time.Second)
				previous.done(exchange.ErrReset)
				require.True(t, previous.unknown, "the newest one alone can be rejected")
			}
			previous = n
			if n.con {
				n.done(nil)
			}
			pass(3 * time.Second)
		}
		require.Equal(t, []bool{false, false, false, false, true, false, false, false, false, true}, types)
		l.set("x")
		require.False(t, l.want("one more", 1, "x").con)
		pass(9 * time.Second)
		l.idle("the burst may go on")
		pass(2 * time.Second)
		n := l.want("it is over", 1, "x")
		require.True(t, n.con, "its loss must not leave the client behind")
		n.done(nil)
		pass(23 * time.Hour)
		l.idle("nothing changes")
	})
}

// Proves 7641-4.5-05.
func TestConfirmedDaily(t *testing.T) {
	bubble(t, "nothing changes", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		for range 3 {
			pass(24*time.Hour - time.Second)
			l.idle("not yet")
			pass(time.Second)
			n := l.want("is anybody there", 1, "1")
			require.True(t, n.con)
			n.done(nil)
		}
		pass(24 * time.Hour)
		l.want("is anybody there", 1, "1").done(exchange.ErrNotAcknowledged)
		require.Zero(t, l.Stats().Observers)
	})
	bubble(t, "it changes all the time", func(t *testing.T) {
		l := newLab(t, ServerConfig{ConfirmEvery: 1 << 30})
		l.register(1, "t")
		var last time.Time
		start := time.Now()
		for i := 0; time.Since(start) < 50*time.Hour; i++ {
			l.set(fmt.Sprint(i))
			for synctest.Wait(); len(l.sent) > 0; synctest.Wait() {
				n := l.sent[0]
				l.sent = l.sent[1:]
				if n.con {
					n.done(nil)
					last = n.at
				}
			}
			require.Less(t, time.Since(maxTime(last, start)), 24*time.Hour+10*time.Second)
			pass(8 * time.Second)
		}
		require.False(t, last.IsZero())
	})
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// An endpoint that has no room is tried again.
func TestPushFails(t *testing.T) {
	bubble(t, "busy", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.err = &exchange.OpError{Err: exchange.ErrBusy}
		l.set("2")
		pass(10 * time.Second)
		require.Greater(t, l.Stats().Postponed, uint64(3))
		require.Less(t, l.Stats().Postponed, uint64(11))
		l.mu.Lock()
		l.err = nil
		l.mu.Unlock()
		l.set("3")
		pass(3 * time.Second)
		l.want("in the end", 1, "3").done(nil)
		pass(time.Hour)
		l.idle("once")
	})
	bubble(t, "too large", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.err = exchange.ErrTooLarge
		l.set("2")
		synctest.Wait()
		l.requireFate("1 /a unsendable")
		require.Zero(t, l.Stats().Peers)
	})
	bubble(t, "closed", func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.register(1, "t")
		l.err = exchange.ErrClosed
		l.set("2")
		synctest.Wait()
		l.requireFate("1 /a closed")
	})
}

// A change between rendering and registering is not missed.
func TestNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		l.answer = func(w *exchange.Response, r *exchange.Request) error {
			old := l.value
			if l.rendered == 1 {
				l.value = "2"
				l.Notify("/a")
			}
			return w.Text(old)
		}
		w := l.ask(1, "t", 0)
		require.Equal(t, "1", string(w.Payload))
		first, _ := w.Options.Uint(message.OptionObserve)
		n := l.want("the change", 1, "2")
		require.True(t, Fresher(uint32(first), n.at, n.seq(), n.at))
	})
}

// Hundreds of clients and changes at once, with the race detector: the books are balanced in the
// end.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{ConfirmEvery: 3, Outstanding: 2})
		var wg sync.WaitGroup
		for port := range uint16(20) {
			wg.Go(func() {
				for i := range 20 {
					token := fmt.Sprint(i % 4)
					l.ask(port, token, min(i%7, 1), path(fmt.Sprint("p", i%3)))
					l.Notify(fmt.Sprint("/p", i%3))
				}
			})
		}
		stop := make(chan struct{})
		go func() {
			for n := 0; ; n++ {
				l.mu.Lock()
				sent := l.sent
				l.sent = nil
				l.mu.Unlock()
				for i, s := range sent {
					switch {
					case (n+i)%11 == 0:
						s.done(exchange.ErrReset)
					case s.con:
						s.done(nil)
					}
				}
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
		wg.Wait()
		pass(time.Minute)
		l.Server.mu.Lock()
		for _, g := range l.Server.groups {
			for _, o := range g.observers {
				require.False(t, o.is(dirty|inFlight|removed), o.place)
				require.Contains(t, []place{settling, confirming, atConfirm}, o.place)
				require.Zero(t, o.handling)
				require.Zero(t, o.from.outstanding)
				require.Zero(t, o.from.crowd.waiting.n)
			}
			require.False(t, g.sweeping || g.queued || g.busy)
			require.Zero(t, g.ready.n+g.users)
		}
		require.Zero(t, l.Server.running)
		require.Nil(t, l.Server.queue.head)
		l.Server.mu.Unlock()
		for port := range uint16(20) {
			for i := range 4 {
				l.ask(port, fmt.Sprint(i), 1)
			}
		}
		close(stop)
		st := l.Stats()
		require.Zero(t, st.Observers+st.Peers+st.Resources)
		require.Nil(t, l.Server.firstDue())
		require.Empty(t, l.Server.groups)
		require.Empty(t, l.Server.routes)
	})
}
