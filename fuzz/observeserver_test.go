//go:build !gofuzz

package fuzz

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
)

// observerKey is a client and its token.
type observerKey struct{ port, token uint16 }

func (k observerKey) String() string { return fmt.Sprintf("observer %d of peer %d", k.token, k.port) }

// push is a notification that a server has handed to the endpoint.
type push struct {
	lab     *observeLab
	to      observerKey
	con     bool
	done    func(error)
	due     func()
	over    bool // it was acknowledged or has failed, or is not waited for any more
	version int  // -1: an error
}

// observeLab is an endpoint for an observe.Server, and what should be on the list of that. It all runs in one
// goroutine at a time, since it is looked at when the others wait: see settle.
type observeLab struct {
	*testing.T
	server  *observe.Server
	values  [3]int // versions of the resources
	failing [3]bool
	busy    bool
	all     chan struct{} // a lock that a bubble knows
	path    map[observerKey]int
	told    map[observerKey]int    // the last version
	seq     map[observerKey]uint32 // the last number
	at      map[observerKey]time.Time
	flights []*push

	ids      uint16
	rejected func(exchange.Peer, uint16) bool
}

func (l *observeLab) lock()   { l.all <- struct{}{} }
func (l *observeLab) unlock() { <-l.all }

func (l *observeLab) serve(w *exchange.Response, r *exchange.Request) error {
	n, _ := strconv.Atoi(r.Path()[1:])
	l.lock()
	defer l.unlock()
	if l.failing[n] {
		return &exchange.Error{Code: message.ServiceUnavailable}
	}
	return w.Text(strconv.Itoa(l.values[n]))
}

// look checks what an observer is told.
func (l *observeLab) look(k observerKey, w *exchange.Response, v uint32) (version int) {
	if !w.Code.IsSuccess() {
		return -1
	}
	version, err := strconv.Atoi(string(w.Payload))
	if last, ok := l.seq[k]; err != nil || ok && !observe.Fresher(last, l.at[k], v, time.Now()) || version < l.told[k] {
		l.Errorf("%v is told %q with number %#x after %d with %#x", k, w.Payload, v, l.told[k], last)
	}
	l.seq[k], l.at[k], l.told[k] = v, time.Now(), version
	return version
}

func (l *observeLab) Push(w *exchange.Response, to []exchange.Notice, ready func()) {
	l.lock()
	for i := range to {
		l.push(w, &to[i])
	}
	l.unlock()
	if ready != nil {
		ready()
	}
}

func (l *observeLab) push(w *exchange.Response, n *exchange.Notice) {
	p := &push{lab: l, to: observerKey{n.Peer.Addr.Port(), uint16(n.Token[0])}, con: n.Confirmable, done: n.Done}
	if _, ok := l.path[p.to]; !ok {
		l.Errorf("%v is told something and has not registered", p.to)
	}
	if l.busy {
		n.Err = exchange.ErrBusy
		return
	}
	l.dropIfError(p.to, w)
	for _, q := range l.flights {
		switch {
		case q.to == p.to && !q.con:
			q.over = true // the newest alone can be rejected
		case q.to.port == p.to.port && q.con && !q.over && p.con && q.version >= 0:
			l.Errorf("two confirmable notifications are on their way to peer %d", p.to.port)
		}
	}
	p.version = l.look(p.to, w, n.Seq)
	l.flights = append(l.flights, p)
	if p.con {
		n.Pushed = p
		return
	}
	l.ids++
	n.ID = l.ids
	peer, id := n.Peer, n.ID
	p.done = func(err error) {
		if errors.Is(err, exchange.ErrReset) {
			l.rejected(peer, id)
		}
	}
}

func (l *observeLab) Watch(rejected func(exchange.Peer, uint16) bool) (stop func()) {
	l.rejected = rejected
	return func() {}
}

func (p *push) Forget() {
	p.lab.lock()
	defer p.lab.unlock()
	p.over = true
}

func (p *push) Supersede(due func()) {
	p.lab.lock()
	defer p.lab.unlock()
	p.due = due
}

func (p *push) Replace(w *exchange.Response, seq uint32) error {
	p.lab.lock()
	defer p.lab.unlock()
	if p.over {
		return exchange.ErrClosed
	}
	if p.lab.busy {
		return exchange.ErrBusy
	}
	p.lab.dropIfError(p.to, w)
	p.due = nil
	p.version = p.lab.look(p.to, w, seq)
	return nil
}

// end ends a flight, if it is under way, and reports whether it was.
func (l *observeLab) end(p *push, err error) bool {
	l.lock()
	was := !p.over
	p.over = true
	if was && err != nil && p.version >= 0 && (p.con || errors.Is(err, exchange.ErrReset)) {
		l.drop(p.to)
	}
	l.unlock()
	if was && p.done != nil {
		p.done(err)
	}
	return was
}

// drop notes that somebody is off the list: what follows is another observation.
func (l *observeLab) drop(k observerKey) {
	delete(l.path, k)
	delete(l.seq, k)
	delete(l.told, k)
	for _, q := range l.flights {
		if q.to == k && !q.con {
			q.over = true // nobody is left to be removed
		}
	}
}

// dropIfError notes that who is told of an error is off the list.
func (l *observeLab) dropIfError(k observerKey, w *exchange.Response) {
	if !w.Code.IsSuccess() {
		l.drop(k)
	}
}

// ask sends a request with an Observe option.
func (l *observeLab) ask(k observerKey, n int, action uint64) {
	r := &exchange.Request{Code: message.GET}
	if action < 2 {
		r.Options.SetUint(message.OptionObserve, action)
	}
	r.Options.AddString(message.OptionURIPath, strconv.Itoa(n))
	r.Arrive(exchange.Arrival{
		Context: context.Background(), Peer: exchange.Peer{Addr: netip.AddrPortFrom(netip.IPv6Loopback(), k.port)},
		Token: message.Token{byte(k.token)}, Pusher: l,
	})
	l.lock()
	was, had := l.path[k]
	if action == 0 {
		if !had || was != n {
			delete(l.told, k) // versions are those of one resource
		}
		l.path[k] = n // or else it may be told before it is known here
	} else if action == 1 {
		l.drop(k)
	}
	l.unlock()
	w := new(exchange.Response)
	err := l.server.ServeCoAP(w, r)
	l.lock()
	defer l.unlock()
	seq, notified := w.Options.Uint(message.OptionObserve)
	switch {
	case notified && (err != nil || action != 0):
		l.Fatalf("%v is registered: %v", k, err)
	case notified:
		if !w.Code.IsSuccess() {
			l.Errorf("%v is told %v with a sequence number", k, w.Code)
		}
		l.look(k, w, uint32(seq))
	case action == 0 && err != nil:
		l.drop(k)
	case action == 0 && had:
		l.Fatalf("%v, who was registered for %d, is not any more", k, was)
	case action == 0:
		l.drop(k) // there is no room
	}
}

// check compares the list with what should be on it.
func (l *observeLab) check(what string) {
	synctest.Wait()
	l.lock()
	defer l.unlock()
	perPeer, perPath := map[uint16]int{}, [3]int{}
	for k, n := range l.path {
		perPeer[k.port]++
		perPath[n]++
	}
	st, many := l.server.Stats(), 0
	for n, want := range perPath {
		if got := l.server.Observers("/" + strconv.Itoa(n)); got != want {
			l.Fatalf("after %s resource %d has %d observers, want %d: %v", what, n, got, want, l.path)
		}
		many += want
	}
	if st.Observers != many || many > 6 || st.Peers > 4 {
		l.Fatalf("after %s: %+v, want %v", what, st, l.path)
	}
	for port, n := range perPeer {
		if n > 3 {
			l.Fatalf("after %s peer %d has %d observers", what, port, n)
		}
	}
	l.flights = slices.DeleteFunc(l.flights, func(p *push) bool { return p.over })
	if l.Failed() {
		l.Fatalf("after %s", what)
	}
}

// step does one thing.
func (l *observeLab) step(op, b byte) string {
	k := observerKey{uint16(b & 3), uint16(b >> 2 & 3)}
	switch op % 10 {
	case 0, 1:
		l.ask(k, int(b>>4)%3, 0)
		return "a registration"
	case 2:
		l.ask(k, int(b>>4)%3, 1+uint64(b>>7))
		return "another request"
	case 3, 4:
		l.lock()
		l.values[b%3]++
		l.unlock()
		l.server.Notify("/" + strconv.Itoa(int(b%3)))
		return "a change"
	case 5:
		if i, ok := pick(l.flights, b); ok {
			l.end(l.flights[i], nil)
		}
		return "an acknowledgement"
	case 6:
		if i, ok := pick(l.flights, b>>2); ok {
			l.end(l.flights[i], []error{exchange.ErrReset, exchange.ErrNotAcknowledged, exchange.ErrUnreachable, exchange.ErrReset}[b&3])
		}
		return "a failure"
	case 7:
		if i, ok := pick(l.flights, b); ok && l.flights[i].due != nil {
			l.flights[i].due()
		}
		return "a retransmission"
	case 8:
		<-time.After(time.Millisecond << (b % 18))
		return "some time"
	default:
		switch b & 7 {
		case 0, 1:
			l.busy = !l.busy
		case 2, 3, 4:
			l.failing[b%3] = !l.failing[b%3]
			l.server.Notify("/" + strconv.Itoa(int(b%3)))
		case 5:
			l.server.Forget("/" + strconv.Itoa(int(b>>4)%3))
			for k, n := range l.path {
				if n == int(b>>4)%3 {
					l.drop(k)
				}
			}
		}
		return "trouble"
	}
}

// converge acknowledges everything until there is no more, and wants that everybody knows the last value.
func (l *observeLab) converge() {
	l.busy, l.failing = false, [3]bool{}
	for n := range l.values {
		l.values[n]++
		l.server.Notify("/" + strconv.Itoa(n))
	}
	for range 200 {
		synctest.Wait()
		for _, p := range slices.Clone(l.flights) {
			if p.con {
				l.end(p, nil)
			}
		}
		l.check("the end")
		<-time.After(time.Second)
	}
	for k, n := range l.path {
		if l.told[k] != l.values[n] {
			l.Fatalf("%v was told version %d of %d, the last is %d", k, l.told[k], n, l.values[n])
		}
	}
}

// FuzzObserveServer has clients register, deregister, move to other resources, acknowledge, reject and
// ignore notifications, while the resources change and fail. The list has who it should have, limits hold, one
// confirmable notification is on its way to a client at a time, numbers and versions rise, and in the
// end everybody has the last value.
func FuzzObserveServer(f *testing.F) {
	f.Add(byte(0), []byte{0, 0, 3, 0, 5, 0, 3, 0, 3, 0, 7, 0, 5, 0, 2, 0})
	f.Add(byte(3), []byte{0, 0, 0, 4, 0, 1, 3, 0, 3, 0, 8, 14, 3, 0, 6, 0, 8, 16, 9, 0, 3, 0, 9, 0})
	f.Add(byte(0), []byte{0, 0, 0, 4, 0, 8, 0, 12, 0, 1, 0, 5, 0, 9, 0, 2, 3, 0}) // too many
	f.Add(byte(1), []byte{0, 0, 0, 0x10, 3, 0, 3, 1, 9, 2, 5, 0, 0, 0, 9, 3, 6, 1, 9, 5, 0, 4, 0, 8, 0, 12, 0, 1, 0, 2})
	f.Add(byte(22), []byte{0, 16, 3, 49, 0, 48}) // moves to another resource while a notification is on its way
	f.Fuzz(func(t *testing.T, every byte, script []byte) {
		if len(script) > 200 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			l := &observeLab{
				T: t, all: make(chan struct{}, 1), path: map[observerKey]int{}, told: map[observerKey]int{}, seq: map[observerKey]uint32{},
				at: map[observerKey]time.Time{},
			}
			l.server = observe.NewServer(exchange.HandlerFunc(l.serve), observe.ServerConfig{
				MaxObservers: 6, MaxPerPeer: 3, ConfirmEvery: int(every % 5), Workers: 1 + int(every>>4&1),
			})
			defer l.server.Close()
			for ; len(script) >= 2; script = script[2:] {
				l.check(l.step(script[0], script[1]))
				if script[0]&0x80 == 0 {
					<-time.After(time.Millisecond)
				}
			}
			l.converge()
			for k := range l.path {
				l.ask(k, 0, 1)
			}
			<-time.After(time.Minute)
			if st := l.server.Stats(); st.Observers != 0 || st.Peers != 0 || st.Resources != 0 {
				t.Fatalf("something is left: %+v", st)
			}
		})
	})
}
