package main

import (
	"errors"
	"runtime"
	"time"

	"github.com/coapkit/coap"
)

// checkLimits compares the tables of an endpoint with its limits.
func (w *world) checkLimits(c *conn) {
	ep := c.ep.Load()
	if ep == nil {
		return
	}
	h := w.hosts[c.who]
	s, o, l := ep.Stats(), ep.ObserveStats(), h.limits
	for _, x := range [...]struct {
		what      string
		is, limit int
	}{
		{"Peers", s.Peers, l.Peers},
		// What others ask for has as many places again.
		{"Exchanges", s.Exchanges, 2 * l.Exchanges},
		{"Handling", s.Handling, 2 * l.Handlers},
		{"RememberedBytes", s.RememberedBytes, l.RememberedBytes},
		{"Observers", o.Observers, maxObservers(w.knobs)},
	} {
		if x.is > x.limit || x.is < 0 {
			w.fail("limit", []int{c.who}, w.now(), "%s of %s is %d, and the limit %d", x.what, h.name, x.is, x.limit)
		}
	}
}

// settle is what has to happen when the faults have ceased.
func (w *world) settle() {
	w.await("hang", 2*time.Hour, w.stuck)
	w.await("convergence", 20*time.Minute, w.behind)
	// Who was forgotten notices when Max-Age has passed.
	w.sleep(8 * time.Minute)
	// From now on registering never fails.
	w.mu.Lock()
	w.quiet = true
	w.mu.Unlock()
	w.sleep(6 * time.Minute)
	// Every value changes once more; what is not asked for any more is noticed, too.
	w.changeAll()
	promptly := time.Minute
	if w.knobs.tight {
		promptly = 5 * time.Minute // who is not taken as an observer asks when Max-Age has passed
	}
	w.await("convergence", promptly, w.behind)
	w.probe()
	w.await("hang", time.Minute, w.stuck)
	w.stopWatching()
	w.sleep(10 * time.Second)
	w.changeAll()
	w.await("left over", 30*time.Minute, w.leftOver)
}

// await lets time pass until what returns nil, or fails.
func (w *world) await(rule string, limit time.Duration, what func() *violation) {
	step := limit / 120
	for until := w.now() + limit; w.sound(); w.sleep(step) {
		v := what()
		if v == nil {
			return
		}
		if w.now() >= until {
			w.fail(rule, v.who, v.since, "%s", v.what)
		}
	}
}

// stuck returns a request that has not ended.
func (w *world) stuck() *violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.ops {
		if !o.done {
			return &violation{what: kindNames[o.kind] + " of " + w.actors[o.who].name + " does not end", who: []int{o.who, o.other}, since: o.began}
		}
	}
	return nil
}

// behind returns an observation that does not have the present value.
func (w *world) behind() *violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.hosts {
		for _, v := range h.watches {
			if !v.ended && !v.closed && v.last != w.hosts[v.item.other].values[v.item.n] {
				return &violation{what: "an observation of " + h.name + " has not got the last value", who: []int{h.i, v.item.other}, since: w.now() - 2*time.Minute}
			}
		}
	}
	return nil
}

// changeAll gives all resources a new value.
func (w *world) changeAll() {
	for _, h := range w.hosts {
		for n := range resources {
			if h.role == server && w.sound() {
				h.change(n)
				w.sleep(time.Duration(1000003+n) * time.Microsecond)
			}
		}
	}
}

// probe has every client ask something of every server, which must be answered: with luck that is not
// needed, an exchange that was not cleared away blocks the way.
func (w *world) probe() {
	kinds := [numRoles]kind{getter: doGet, poster: doPost, mover: doUpload, asker: doAsk}
	for _, h := range w.hosts {
		for to := range w.servers() {
			if h.role == server || h.role == observer || h.role == asker && to > 0 || !w.sound() {
				continue
			}
			x := &item{at: w.now(), kind: kinds[h.role], who: h.i, other: to, id: 1000*(h.i+1) + to, n: 150}
			h.ask(x, true)
			w.sleep(11*time.Second + 17*time.Nanosecond)
		}
	}
}

// stopWatching ends all observations, half of them without a word.
func (w *world) stopWatching() {
	for _, h := range w.hosts {
		for i, v := range h.watches {
			w.mu.Lock()
			over := v.closed || v.ended
			v.closed = true
			w.mu.Unlock()
			if over || !w.sound() {
				continue
			}
			if (h.i+i)%2 == 0 {
				v.Close()
			} else if err := v.Cancel(w.ctx); err != nil && !errors.Is(err, coap.ErrBusy) {
				// Busy it is while it registers anew.
				w.fail("liveness", []int{h.i, v.item.other}, w.now(), "%s cannot deregister on a perfect network: %v", h.name, err)
			}
			w.sleep(time.Second + 13*time.Nanosecond)
		}
	}
}

// leftOver returns what is still in a table.
func (w *world) leftOver() *violation {
	for _, h := range w.hosts {
		ep := h.endpoint()
		s, o := ep.Stats(), ep.ObserveStats()
		b, _ := ep.BlockwiseStats()
		for _, x := range [...]struct {
			what string
			n    int
		}{
			{"peers", s.Peers}, {"exchanges", s.Exchanges}, {"queued requests", s.Queued}, {"requests in handlers", s.Handling},
			{"remembered messages", s.Remembered}, {"remembered bytes", s.RememberedBytes},
			{"observers", o.Observers}, {"peers of observers", o.Peers}, {"observed resources", o.Resources},
			{"uploads", b.Uploads}, {"downloads", b.Downloads}, {"snapshots", b.Snapshots}, {"bytes of blocks", b.Bytes}, {"peers with blocks", b.Peers},
		} {
			if x.n != 0 {
				return &violation{what: "there are " + x.what + " at " + h.name, who: []int{h.i}, since: w.now() - 10*time.Minute}
			}
		}
	}
	return nil
}

// close closes everything and looks what is left.
func (w *world) close(goroutines int, leaks bool) {
	for _, h := range w.hosts {
		if c := h.conn.Load(); c != nil {
			c.resume()
			h.client.Close()
			h.endpoint().Close()
		}
	}
	w.cancel()
	w.net.Close()
	// Handlers that were asked to take their time, and workers that wait for more, end by themselves.
	w.sleep(time.Minute)
	if !w.sound() {
		return
	}
	for _, h := range w.hosts {
		s := h.endpoint().Stats()
		if s.Exchanges != 0 || s.Queued != 0 {
			w.fail("left over", []int{h.i}, w.now(), "%s is closed and has %d exchanges, %d queued", h.name, s.Exchanges, s.Queued)
		}
		h.conn.Load().ep.Store(nil)
		h.conn.Store(nil)
		h.client, h.watches = nil, nil
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		stacks := make([]byte, 1<<16)
		w.fail("goroutines", nil, w.now(), "%d more goroutines than before\n%s", n-goroutines, stacks[:runtime.Stack(stacks, true)])
	}
	if !leaks {
		return
	}
	for range 2 { // what a pool holds goes with the second collection
		runtime.GC()
	}
	for i, p := range w.old {
		if p.Value() != nil {
			w.fail("leak", nil, w.now(), "something, perhaps a timer, still refers to endpoint %d, which is closed", i)
		}
	}
}
