package mem

import (
	"bytes"
	"container/heap"
	"net/netip"
	"syscall"
	"time"
)

// flight is a datagram or a report under way, or waiting in a queue. It belongs to
// whoever holds it, and goes back to Network.free in the end.
type flight struct {
	data []byte

	src, dst netip.AddrPort // on the wire: public addresses, no zones
	from     *Conn          // the sender
	local    netip.AddrPort // the sender's own idea of src, with its zone
	via      *iface         // the interface that it left by

	// Of a copy of a datagram to a group, and of a report, the receiver is fixed when it is
	// sent; for one to a single address it is looked up when it arrives.
	to  *Conn
	in  *iface // the interface that it arrives by
	err error  // what is reported

	dueAt time.Time
	seq   uint64 // of those due at the same time, the first sent is the first
}

// newFlight returns an empty flight, an old one if there is one.
func (n *Network) newFlight() *flight {
	if i := len(n.free) - 1; i >= 0 {
		f := n.free[i]
		n.free = n.free[:i]
		return f
	}
	return new(flight)
}

func (n *Network) clone(f *flight) *flight {
	g := n.newFlight()
	data := append(g.data[:0], f.data...)
	*g = *f
	g.data = data
	return g
}

// release makes a flight available again. Of large ones, and more than a network usually has under
// way, the memory goes back.
func (n *Network) release(f *flight) {
	if cap(f.data) > 4096 || len(n.free) >= 1024 || n.closed {
		return
	}
	*f = flight{data: f.data[:0]}
	n.free = append(n.free, f)
}

// filter asks the Filter, without holding mu. filterMu is held.
func (n *Network) filter(f *flight, filter func(*Packet) Verdict) Verdict {
	p := Packet{Src: f.src, Dst: f.dst, Data: f.data}
	v := filter(&p)
	f.data = append(f.data[:0], p.Data...)
	return v
}

// launch sends a datagram on its way, to all members if it is to a group.
func (n *Network) launch(f *flight, v Verdict) {
	dst := f.dst.Addr()
	if !dst.IsMulticast() && dst != broadcast {
		n.fly(f, v)
		return
	}
	if dst == broadcast {
		for _, c := range n.conns {
			for _, i := range c.host.ifs {
				if c.hears(i) {
					n.launchTo(place{c, i}, f, v)
				}
			}
		}
	}
	for _, m := range n.groups[dst] {
		n.launchTo(m, f, v)
	}
	if len(n.seen) == 0 {
		n.see(f, Verdict{Drop: true}) // nobody is in the group
	}
	n.release(f)
}

// see notes what becomes of a datagram for who watches.
func (n *Network) see(f *flight, v Verdict) {
	if len(n.watch) == 0 {
		return
	}
	dst := f.dst
	if f.to != nil {
		dst = netip.AddrPortFrom(n.destination(f).WithZone(""), dst.Port())
	}
	n.seen = append(n.seen, sight{Packet{Src: f.src, Dst: dst, Data: bytes.Clone(f.data)}, v})
}

func (n *Network) launchTo(p place, f *flight, v Verdict) {
	if p.iface.Link != f.via.Link || p.conn.local.Port() != f.dst.Port() {
		return
	}
	g := n.clone(f)
	g.to, g.in = p.conn, p.iface
	n.fly(g, v)
}

// luck is the randomness of one datagram: always the same amount, used or not.
type luck struct {
	lose, duplicate, corrupt, reorder, jitter float64
	bit                                       uint64
}

func (n *Network) draw() luck {
	r := n.rand
	return luck{r.Float64(), r.Float64(), r.Float64(), r.Float64(), r.Float64(), r.Uint64()}
}

// fly makes the faults of one datagram with one destination.
func (n *Network) fly(f *flight, v Verdict) {
	l := n.draw()
	switch {
	case v.Err != nil:
		n.stats.Filtered++
		n.see(f, Verdict{Err: v.Err})
		n.report(f, v.Err)
		return
	case v.Drop:
		n.stats.Filtered++
		n.see(f, Verdict{Drop: true})
		n.release(f)
		return
	case n.cuts[cutKey(f.src.Addr(), n.destination(f))] || l.lose < n.cfg.Loss:
		n.stats.Lost++
		n.see(f, Verdict{Drop: true})
		n.release(f)
		return
	}
	corrupt := (v.Corrupt || l.corrupt < n.cfg.Corrupt) && len(f.data) > 0
	if corrupt {
		n.stats.Corrupted++
		bit := l.bit % uint64(8*len(f.data))
		f.data[bit/8] ^= 1 << (bit % 8)
	}
	delay := max(n.cfg.Delay, 0) + max(v.Delay, 0)
	if n.cfg.Jitter > 0 {
		delay += time.Duration(l.jitter * float64(n.cfg.Jitter))
	}
	if l.reorder < n.cfg.Reorder {
		n.stats.Reordered++
		if n.cfg.ReorderBy > 0 {
			delay += n.cfg.ReorderBy
		} else {
			delay += 10 * time.Millisecond
		}
	}
	copies := max(v.Copies, 0)
	if l.duplicate < n.cfg.Duplicate {
		copies++
	}
	n.stats.Duplicated += uint64(copies)
	n.see(f, Verdict{Delay: delay, Copies: copies, Corrupt: corrupt})
	for range copies {
		n.schedule(n.clone(f), delay)
	}
	n.schedule(f, delay)
}

// destination is the address that a datagram comes to: of a copy to a group, that of the member.
func (n *Network) destination(f *flight) netip.Addr {
	if f.to != nil {
		return f.to.address(f.in, f.src.Addr())
	}
	return f.dst.Addr()
}

// schedule lets a flight arrive after a delay, at once if there is none.
func (n *Network) schedule(f *flight, delay time.Duration) {
	if delay <= 0 {
		n.arrive(f)
		return
	}
	n.air.add(f, time.Now().Add(delay))
}

// tick is called by the timer when flights are due.
func (n *Network) tick() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for f := n.air.next(time.Now()); f != nil; f = n.air.next(time.Now()) {
		n.arrive(f)
	}
	n.air.wait()
}

// arrive puts a flight into the queue of its receiver, or reports that there is none.
func (n *Network) arrive(f *flight) {
	switch {
	case f.err != nil:
		if f.to.closed || !f.to.enqueue(f) {
			n.release(f)
		}
		return
	case f.to == nil:
		f.to, f.in = n.lookup(f.dst, f.via.Link)
	case f.to.closed || f.dst.Addr() != broadcast && !n.isMember(f.dst.Addr(), place{f.to, f.in}):
		f.to = nil
	}
	switch {
	case f.to == nil:
		n.stats.Refused++
		n.refuse(f)
	case f.to.enqueue(f):
		n.stats.Delivered++
	default:
		n.stats.Overflow++
		n.release(f)
	}
}

// refuse tells the sender that nobody listens, where a host would: hosts are silent about groups,
// and NATs about mappings that they have forgotten.
func (n *Network) refuse(f *flight) {
	dst := f.dst.Addr()
	if n.cfg.NoUnreachable || n.dead[f.dst] || dst.IsMulticast() || dst == broadcast {
		n.release(f)
		return
	}
	n.report(f, syscall.ECONNREFUSED)
}

// report sends a datagram back to its sender. Reports suffer no faults.
func (n *Network) report(f *flight, err error) {
	f.err, f.to, f.in = err, f.from, f.via
	n.schedule(f, max(n.cfg.Delay, 0))
}

// lookup finds the Conn that listens to an address, and the interface that has the address.
func (n *Network) lookup(dst netip.AddrPort, link string) (*Conn, *iface) {
	if c := n.nat[dst]; c != nil {
		return c, c.host.ifaceOf(c.private.Addr())
	}
	i := n.addrs[addressOf(dst.Addr(), link)]
	if i == nil {
		return nil, nil
	}
	return i.host.find(dst), i
}

// air holds what is under way with a delay. One timer for all, because the callbacks
// of several timers that are due at the same time run in any order. It belongs to its network.
type air struct {
	flights flights
	seq     uint64
	timer   *time.Timer
	tick    func()
}

func (a *air) add(f *flight, due time.Time) {
	a.seq++
	f.dueAt, f.seq = due, a.seq
	heap.Push(&a.flights, f)
	if a.flights[0] == f {
		a.wait()
	}
}

// next takes the first flight that is due; nil when none is.
func (a *air) next(now time.Time) *flight {
	if len(a.flights) == 0 || a.flights[0].dueAt.After(now) {
		return nil
	}
	return heap.Pop(&a.flights).(*flight)
}

// wait sets the timer to when the first flight is due.
func (a *air) wait() {
	if len(a.flights) == 0 {
		return
	}
	d := time.Until(a.flights[0].dueAt)
	if a.timer == nil {
		a.timer = time.AfterFunc(d, a.tick)
		return
	}
	a.timer.Reset(d)
}

func (a *air) stop() {
	a.flights = nil
	if a.timer != nil {
		a.timer.Stop()
	}
}

// flights is a heap, what is due first at its top.
type flights []*flight

func (h flights) Len() int { return len(h) }
func (h flights) Less(i, j int) bool {
	if !h[i].dueAt.Equal(h[j].dueAt) {
		return h[i].dueAt.Before(h[j].dueAt)
	}
	return h[i].seq < h[j].seq
}
func (h flights) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *flights) Push(x any)   { *h = append(*h, x.(*flight)) }
func (h *flights) Pop() any {
	old := *h
	i := len(old) - 1
	f := old[i]
	old[i] = nil
	*h = old[:i]
	return f
}
