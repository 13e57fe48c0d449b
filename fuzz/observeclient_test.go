//go:build !gofuzz

package fuzz

import (
	"context"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
)

// observedHost is where a client that observes gets what the bytes of a fuzzer say.
type observedHost struct {
	*testing.T
	mu      sync.Mutex
	streams []*observedStream
	said    map[string]bool // "port payload"
	group   bool            // there are several
	version int
	renewed int
	openErr error
	renew   error
}

// observedStream is an exchange that the client has opened.
type observedStream struct {
	host   *observedHost
	in     chan observedAnswer
	closed bool
}

type observedAnswer struct {
	m    message.Message
	from uint16
	err  error
}

func (h *observedHost) Open(context.Context, *exchange.Request) (exchange.Responses, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.openErr != nil {
		h.renewed++
		return nil, h.openErr
	}
	s := &observedStream{host: h, in: make(chan observedAnswer, 1000)}
	h.streams = append(h.streams, s)
	return s, nil
}

func (s *observedStream) Next(ctx context.Context, resp *exchange.Response) error {
	select {
	case a := <-s.in:
		if a.err != nil {
			return a.err
		}
		return resp.Receive(&a.m, exchange.Peer{Addr: netip.AddrPortFrom(netip.IPv6Loopback(), a.from)})
	case <-ctx.Done():
		return &exchange.OpError{Err: ctx.Err()}
	}
}

func (s *observedStream) Renew(context.Context, *exchange.Request) error {
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	s.host.renewed++
	if s.closed {
		s.host.Errorf("an exchange is renewed that was closed")
	}
	return s.host.renew
}

func (s *observedStream) Close() error {
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	s.closed = true
	return nil
}

// tell has the server say something in the exchange that was opened last.
func (h *observedHost) tell(a observedAnswer, ends bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.streams) == 0 {
		return
	}
	if !h.group {
		a.from = 0
	}
	s := h.streams[len(h.streams)-1]
	if a.err == nil {
		h.version++
		a.m.Payload = []byte(strconv.Itoa(h.version))
		if a.m.Code == message.Valid {
			a.m.Payload = nil
		}
		h.said[strconv.Itoa(int(a.from))+" "+string(a.m.Payload)] = true
	}
	if len(s.in) < 900 {
		s.in <- a
	}
	if ends && a.err == nil {
		s.in <- observedAnswer{err: io.EOF}
	}
}

// play does one thing; false if that is for the caller to do.
func (h *observedHost) play(op, b byte) bool {
	a := observedAnswer{from: uint16(b & 3)}
	switch op & 7 {
	case 0, 1, 2:
		a.m.Code = message.Content
		a.m.Options.AddUint(message.OptionObserve, uint64(h.version)+uint64(b>>2&3)<<22)
		a.m.Options.AddUint(message.OptionMaxAge, []uint64{60, 0, 1, 1<<32 - 1}[b>>4&3])
		if b&0x40 != 0 {
			a.m.Options.AddETag([]byte{b >> 7})
		}
		if op&0x18 == 0x18 {
			a.m.Code = message.Valid
		}
		h.tell(a, false)
	case 3:
		a.m.Code = []message.Code{message.Content, message.NotFound, message.ServiceUnavailable, message.Valid}[b>>2&3]
		h.tell(a, op&0x18 != 0)
	case 4:
		a.err = []error{exchange.ErrNotAcknowledged, exchange.ErrReset, io.EOF, exchange.ErrUnreachable, exchange.ErrClosed}[b%5]
		h.tell(a, true)
	case 5:
		<-time.After(time.Millisecond << (b % 18))
	case 6:
		h.mu.Lock()
		defer h.mu.Unlock()
		h.renew = []error{nil, exchange.ErrBusy, io.EOF, exchange.ErrNotAcknowledged}[b&3]
		h.openErr = []error{nil, nil, exchange.ErrBusy, exchange.ErrUnreachable}[b>>2&3]
	default:
		return false
	}
	return true
}

// check looks at a notification.
func (h *observedHost) check(from uint16, n *observe.Notification) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n.Response != nil && !h.said[strconv.Itoa(int(from))+" "+string(n.Response.Payload)] {
		h.Errorf("%d is said to have told %q", from, n.Response.Payload)
	}
	if n.Response == nil && n.State == observe.Live && n.Cause != nil || n.State > observe.Ended {
		h.Errorf("a strange state: %+v", n)
	}
}

// finish wants that all exchanges are over, and that there were not too many attempts.
func (h *observedHost) finish(began time.Time, steps int) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range h.streams {
		if !s.closed {
			h.Errorf("exchange %d of %d is not closed", i, len(h.streams))
		}
	}
	if n, most := len(h.streams)+h.renewed, 10+4*steps+int(time.Since(began)/time.Second); n > most {
		h.Errorf("%d attempts to register, want at most %d", n, most)
	}
}

func newObservedHost(t *testing.T) *observedHost { return &observedHost{T: t, said: map[string]bool{}} }

// FuzzObserveClient has a server notify, refuse, vanish and come back, while callers begin and end to
// observe it. They are told only what it has said, every observation that is ended ends, no exchange is left
// open, and the client does not register more often than its pauses allow.
func FuzzObserveClient(f *testing.F) {
	f.Add([]byte{0, 0, 5, 16, 0, 0, 5, 17, 0, 0x40, 5, 17, 0x18, 0x40, 7, 0, 7, 1})
	f.Add([]byte{7, 0, 3, 4, 5, 13, 0, 0x10, 4, 0, 5, 14, 6, 1, 5, 16, 6, 2, 5, 17, 4, 2, 7, 3})
	f.Add([]byte{0, 0, 0, 0x0C, 0, 4, 0x1B, 0, 5, 17, 6, 8, 4, 1, 5, 15, 6, 0, 5, 15, 0, 0, 7, 2, 4, 4})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 200 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			h, began, steps := newObservedHost(t), time.Now(), len(script)
			c := observe.NewClient(h, observe.ClientConfig{Jitter: time.Second, MaxBackoff: 10 * time.Second, Poll: steps&1 != 0, Backlog: 3})
			var all []*observe.Observation
			var work sync.WaitGroup
			begin := func(path string) {
				req := &exchange.Request{Code: message.GET}
				req.Options.AddString(message.OptionURIPath, path)
				o, err := c.Observe(context.Background(), req)
				if err != nil {
					t.Errorf("cannot observe: %v", err)
					return
				}
				all = append(all, o)
				work.Go(func() {
					for {
						n, err := o.Next(context.Background())
						if err != nil {
							if o.State() != observe.Ended {
								t.Errorf("%v after the end: %v", o.State(), err)
							}
							return
						}
						from := uint16(0)
						if n.Response != nil {
							from = n.Response.Peer().Addr.Port()
						}
						h.check(from, &n)
					}
				})
			}
			begin("a")
			for ; len(script) >= 2; script = script[2:] {
				synctest.Wait()
				if op, b := script[0], script[1]; h.play(op, b) {
					continue
				} else if i, ok := pick(all, b>>2); b&1 == 0 && len(all) < 6 {
					begin("a")
				} else if ok && b&2 != 0 {
					all[i].Close()
				} else if ok {
					soon, cancel := context.WithTimeout(context.Background(), time.Minute)
					all[i].Cancel(soon)
					cancel()
				}
			}
			c.Close()
			work.Wait()
			h.finish(began, steps)
		})
	})
}

// FuzzObserveGroup has the members of a group do that. What is yielded is what the member has said, one that
// has ended is not stale before it is heard of again, and leaving the loop closes the exchange.
func FuzzObserveGroup(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 5, 16, 0, 0, 5, 17, 0, 2, 3, 5, 5, 17, 5, 17, 5, 17})
	f.Add([]byte{3, 0, 3, 1, 5, 14, 0, 0x11, 6, 1, 5, 16, 3, 0, 6, 0, 5, 17, 0, 0x0C, 7, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 200 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			h, began, steps := newObservedHost(t), time.Now(), len(script)
			h.group = true
			c := observe.NewClient(h, observe.ClientConfig{Jitter: time.Second, MaxBackoff: 10 * time.Second})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var work sync.WaitGroup
			work.Go(func() {
				states := map[uint16]observe.State{}
				for n, err := range c.ObserveGroup(ctx, &exchange.Request{Code: message.GET, To: arenaGroup}) {
					if err != nil {
						return
					}
					from := n.Peer.Addr.Port()
					h.check(from, &n.Notification)
					was, known := states[from]
					if n.State == observe.Stale && (!known || was == observe.Ended || was == observe.Stale) {
						t.Errorf("member %d is stale and was %v", from, was)
					}
					states[from] = n.State
				}
			})
			for ; len(script) >= 2; script = script[2:] {
				synctest.Wait()
				if !h.play(script[0], script[1]) {
					break // the loop is left
				}
			}
			cancel()
			work.Wait()
			h.finish(began, steps)
		})
	})
}
