package main

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// latency is the least time that a datagram is under way.
const latency = 3000217 * time.Nanosecond

// group is what the servers have joined, in the places of actors.
const group = -1

// index returns who has an address, group if nobody has.
func (w *world) index(p mem.Packet, to bool) int {
	a := p.Src.Addr()
	if to {
		a = p.Dst.Addr()
	}
	if a.IsMulticast() || !a.Is4() {
		return group
	}
	return int(a.As4()[3]) - 1
}

// luck returns the randomness of one datagram: it depends on nothing else that happens.
func (w *world) luck(from, to int, data []byte) *rand.Rand {
	h := fnv.New64a()
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(w.now()))
	b[8], b[9] = byte(from), byte(to)
	h.Write(b[:])
	h.Write(data)
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// filter decides what becomes of a datagram that is sent.
func (w *world) filter(p *mem.Packet) mem.Verdict {
	from, to := w.index(*p, false), w.index(*p, true)
	r := w.luck(from, to, p.Data)
	v := mem.Verdict{Delay: within(r, 0, 40*time.Millisecond)}
	fate := ""
	if w.isCopy(p) {
		fate = "a copy"
	} else {
		fate = w.misfortune(r, p, from, to, &v)
	}
	w.log.datagram(w.now(), from, to, p.Data, fate)
	return v
}

// misfortune applies the faults that befall a datagram, and says which.
func (w *world) misfortune(r *rand.Rand, p *mem.Packet, from, to int, v *mem.Verdict) (fate string) {
	now := w.now()
	for i := range w.faults {
		x := &w.faults[i]
		if now < x.at || now >= x.at+x.lasts || v.Drop {
			continue
		}
		if x.kind == faultPartition {
			if x.who == from && x.other == to || x.who == to && x.other == from {
				w.count(x.kind)
				v.Drop, fate = true, fate+" cut"
			}
			continue
		}
		if x.p == 0 || x.who != from && x.who != to || r.Float64() >= x.p {
			continue
		}
		w.count(x.kind)
		switch x.kind {
		case faultLoss:
			v.Drop, fate = true, fate+" lost"
		case faultReorder:
			v.Delay += within(r, 0, 8*time.Second)
			fate += " late"
		case faultDuplicate:
			if fate += " doubled"; r.IntN(2) == 0 {
				v.Copies++
			} else {
				w.copyLater(p, from, from, within(r, time.Millisecond, 30*time.Second))
			}
		case faultStray:
			// Whoever answers a group is welcome, so that of that nothing is to be seen.
			if from >= 0 && to >= 0 && x.other != from && w.actors[from].role != asker && w.actors[to].role != asker {
				w.copyLater(p, from, x.other, within(r, time.Millisecond, 20*time.Millisecond))
				fate += " and from " + w.actors[x.other].name
			}
		case faultCorrupt:
			fate += w.corrupt(r, p, from, to, v)
		}
	}
	return fate
}

// corrupt flips a bit. UDP has a checksum that finds each single one, so that most such datagrams are
// dropped, and must be: a flipped bit can make another valid request, which nobody could tell from
// a true one. Those that arrive are malformed, which a message parser has to stand, or damaged in
// the payload, which has a checksum of its own in this simulation. What observers are sent is not
// damaged there: they believe it as long as its entity-tag is confirmed.
func (w *world) corrupt(r *rand.Rand, p *mem.Packet, from, to int, v *mem.Verdict) string {
	bit := r.IntN(8 * len(p.Data))
	p.Data[bit/8] ^= 1 << (bit % 8)
	var m message.Message
	malformed := codec.DecodeUDP(p.Data, &m) != nil
	payload := !malformed && bit/8 >= len(p.Data)-len(m.Payload) && (to < 0 || w.actors[to].role != observer)
	if !malformed && !payload || r.IntN(2) == 0 {
		v.Drop = true
		return " corrupted and lost"
	}
	w.mu.Lock()
	w.damaged[[2]int{from, to}]++
	w.mu.Unlock()
	return " corrupted"
}

// copyLater sends a copy of a datagram after some time, from where it came from or from somebody else.
func (w *world) copyLater(p *mem.Packet, from, by int, after time.Duration) {
	if from < 0 {
		return
	}
	h := w.hosts[by]
	src, dst, data := p.Src, p.Dst, slices.Clone(p.Data)
	if by != from {
		src = h.public.Load()
		to := w.index(*p, true)
		w.mu.Lock()
		w.damaged[[2]int{by, to}] += w.damaged[[2]int{from, to}] // it may be damaged already
		w.mu.Unlock()
	}
	time.AfterFunc(after, func() {
		c := h.conn.Load()
		if h.public.Load() != src || c == nil {
			return // who is at that address now would answer for another one
		}
		w.mu.Lock()
		w.copies[copyKey(src.String(), dst.String(), data)]++
		w.mu.Unlock()
		_, _ = c.Conn.WriteBatch([]transport.Datagram{{Data: data, Remote: dst, IfIndex: 1}})
	})
}

func copyKey(src, dst string, data []byte) string { return src + dst + string(data) }

// isCopy reports whether a datagram is what copyLater sends.
func (w *world) isCopy(p *mem.Packet) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.copies) == 0 {
		return false
	}
	k := copyKey(p.Src.String(), p.Dst.String(), p.Data)
	if w.copies[k] == 0 {
		return false
	}
	if w.copies[k]--; w.copies[k] == 0 {
		delete(w.copies, k)
	}
	return true
}

// conn is the network as an actor has it: one that can be suspended, with a look at the tables of its
// endpoint each time it is used.
type conn struct {
	*mem.Conn
	w    *world
	who  int
	ep   atomic.Pointer[coap.Endpoint]
	mu   sync.Mutex
	gate chan struct{} // closed when the host goes on; nil: it is not suspended
	deaf bool          // nothing reaches it, and what it sends is lost
	gone bool
}

// asleep reports whether what arrives now is lost.
func (c *conn) asleep() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deaf
}

// wait waits while the host is suspended, and reports whether it was asleep.
func (c *conn) wait() (lost bool) {
	c.mu.Lock()
	gate, deaf := c.gate, c.deaf
	c.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return deaf
}

// suspend makes the host stop.
func (c *conn) suspend(deaf bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gate == nil && !c.gone {
		c.gate, c.deaf = make(chan struct{}), deaf
	}
}

// resume makes it go on.
func (c *conn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gate != nil {
		close(c.gate)
		c.gate, c.deaf = nil, false
	}
}

func (c *conn) suspended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate != nil
}

func (c *conn) ReadBatch(ds []transport.Datagram) (int, error) {
	for {
		c.w.checkLimits(c)
		n, err := c.Conn.ReadBatch(ds)
		if err != nil {
			return n, err
		}
		lost := c.asleep() || c.wait()
		kept := 0
		for i := range ds[:n] {
			if !lost && !c.missed(&ds[i]) {
				ds[kept], ds[i] = ds[i], ds[kept]
				kept++
			}
		}
		if kept > 0 {
			return kept, nil
		}
		for i := range ds {
			ds[i] = transport.Datagram{Data: ds[i].Data[:cap(ds[i].Data)]}
		}
	}
}

// missed loses a datagram to the group for one member. The filter sees it but once.
func (c *conn) missed(d *transport.Datagram) bool {
	if !d.Group.IsValid() {
		return false
	}
	now, from := c.w.now(), int(d.Remote.Addr().As4()[3])-1
	r := c.w.luck(from, c.who, d.Data)
	for i := range c.w.faults {
		x := &c.w.faults[i]
		if now < x.at || now >= x.at+x.lasts {
			continue
		}
		if x.kind == faultLoss && x.who == c.who && r.Float64() < x.p ||
			x.kind == faultPartition && (x.who == c.who && x.other == from || x.other == c.who && x.who == from) {
			c.w.count(x.kind)
			c.w.log.note(now, "%s misses a request to the group", c.w.actors[c.who].name)
			return true
		}
	}
	return false
}

func (c *conn) WriteBatch(ds []transport.Datagram) (int, error) {
	c.w.checkLimits(c)
	if c.wait() {
		return len(ds), nil
	}
	return c.Conn.WriteBatch(ds)
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.resume()
	return err
}
