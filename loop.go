package coap

import (
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/coapkit/coap/transport"
)

// The receive loop runs handlers itself while they are quick: that saves a change of goroutine for each
// request, and the answers to a batch of datagrams leave in one. Nobody waits for a slow one: a
// route that proves slow moves to workers (placement.go), and a handler that does not return is robbed of
// the loop. The watchdog goes on with the rest of the batch then, and when the handler returns
// at last, it answers by itself.

// batchSize is how many datagrams are read and written at once.
const batchSize = 64

// watchPeriod is how often the watchdog looks. The loop is taken from a handler that it meets twice.
const watchPeriod = time.Millisecond

// loop is what the receive loop works with. But for the atomic fields it belongs to the goroutine that
// holds the loop, which is the one in run.
type loop struct {
	ep *Endpoint
	// word is odd while an inline handler runs. Its holder makes it odd, and even again. Whoever else changes an
	// odd word holds the loop from then on.
	word atomic.Uint64
	// busy says that there may be something to do, watched that the timer of the watchdog is set.
	busy, watched atomic.Bool
	watchdog      *time.Timer
	seen          uint64 // the last word that the watchdog has seen; belongs to it

	seq     uint64 // word, while that is even
	batch   []transport.Datagram
	rooms   [][]byte // what the batch is read into
	next, n int      // which datagrams of the batch are still to be received
	now     time.Time
	call    *call  // the request in hand, and room for the next
	hand    []byte // its datagram
	pace    *pace  // of its route
	moved   bool   // a request of this batch went to a worker
	sampled sampler
	done    results
}

func newLoop(ep *Endpoint) *loop {
	l := &loop{ep: ep, batch: make([]transport.Datagram, batchSize), rooms: make([][]byte, batchSize), call: newCall(ep)}
	for i := range l.rooms {
		l.rooms[i] = l.room()
	}
	l.watchdog = time.AfterFunc(time.Hour, l.watch)
	l.watchdog.Stop()
	return l
}

// room returns memory for a datagram. What it has too much keeps the beginnings of the rooms, which is
// what is mostly used of them, from competing for the same few lines of a cache.
func (l *loop) room() []byte {
	size := l.ep.limits.ReceiveSize
	return make([]byte, size, size+64)
}

// run feeds the engine with what the transport receives and answers requests, until the transport is
// closed or the loop is taken away.
func (l *loop) run() {
	for {
		for l.next < l.n {
			d := &l.batch[l.next]
			l.next++
			if l.receive(d) && !l.serve() {
				return
			}
		}
		l.ep.mu.Lock()
		l.ep.flush()
		if l.moved {
			// Workers that only start something and wait for it get to that before the next batch is read.
			l.moved = false
			runtime.Gosched()
		}
		l.busy.Store(false)
		if err := l.read(); err != nil {
			l.ep.readFailed(err)
			close(l.ep.read)
			return
		}
	}
}

// read waits for a batch.
func (l *loop) read() error {
	for i := range l.batch {
		l.batch[i] = transport.Datagram{Data: l.rooms[i]}
	}
	n, err := l.ep.conn.ReadBatch(l.batch)
	if err != nil {
		return err
	}
	l.busy.Store(true)
	l.next, l.n, l.now = 0, n, time.Now()
	return nil
}

// receive has the engine process a datagram and deals with what comes of that. It reports whether there
// is a request to be answered.
func (l *loop) receive(d *transport.Datagram) bool {
	ep := l.ep
	ep.mu.Lock()
	ep.eng.Receive(l.now, d)
	request := ep.collect(&l.done, l.call)
	ep.mu.Unlock()
	if len(l.done.settled) > 0 {
		ep.dispatch(&l.done)
	}
	ep.leave(d)
	return request
}

// serve has the request in hand answered: by a worker, or here. It returns false if the loop was taken
// away meanwhile.
func (l *loop) serve() bool {
	c := l.call
	where, timed := c.place(&l.sampled)
	if where == OnWorker {
		l.call, l.moved = newCall(l.ep), true
		c.keep()
		go c.work()
		return true
	}
	if !l.watched.Load() && l.watched.CompareAndSwap(false, true) {
		l.watchdog.Reset(watchPeriod)
	}
	var began time.Time
	if timed {
		began = time.Now()
	}
	inside := l.seq + 1
	c.inside, l.hand, l.pace = inside, c.data, c.pace
	l.word.Store(inside)
	drop := c.run()
	if !l.word.CompareAndSwap(inside, inside+1) {
		c.finish(drop)
		return false
	}
	l.seq = inside + 1
	if timed {
		c.pace.sample(time.Since(began))
	}
	l.ep.mu.Lock()
	c.respond(l.now, drop)
	l.ep.mu.Unlock()
	c.reset()
	return true
}

// rob takes the loop from the handler that has made word odd, and reports whether that was still so.
func (l *loop) rob(word uint64) bool {
	if word&1 == 0 || !l.word.CompareAndSwap(word, word+3) {
		return false
	}
	// The handler keeps its call, and the memory that its datagram is in.
	l.seq = word + 3
	for i, room := range l.rooms {
		if unsafe.SliceData(room) == unsafe.SliceData(l.hand) {
			l.rooms[i] = l.room()
		}
	}
	l.call, l.now = newCall(l.ep), time.Now()
	return true
}

// watch is called by the timer. It takes the loop from a handler that runs for too long.
func (l *loop) watch() {
	w := l.word.Load()
	if w == l.seen && l.rob(w) {
		l.pace.stalled()
		l.watchdog.Reset(watchPeriod)
		l.run()
		return
	}
	l.seen = w
	if !l.busy.Load() {
		l.watched.Store(false)
		// A batch that came meanwhile relies on the watchdog, if it has found it to be set.
		if !l.busy.Load() || !l.watched.CompareAndSwap(false, true) {
			return
		}
	}
	l.watchdog.Reset(watchPeriod)
}

// give lets another goroutine go on with the loop if a handler has it. It is called by who is going to wait
// for something that arrives here: he may be that handler.
func (l *loop) give() {
	if l.rob(l.word.Load()) {
		go l.run()
	}
}
