package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// generator puts load on a server: one thread, one socket, which is never idle, so that no wake-ups of the
// generator are charged to the server. Each client is an address of its own. No message ID is ever used twice by
// one address, so that a server that finds duplicates never answers from memory, unless that is what is measured.
type generator struct {
	load
	p       *packets
	to      unix.RawSockaddrInet4
	options []byte
	slots   []slot   // the requests on the way; those after `main` are beside
	main    int      // how many slots are not
	clients []client // and one more for what is beside, one more for PUT
	turn    int      // which client comes next, where they take turns
	asked   int      // clients that have asked, with once
	done    int      // slots that have no more to do, with once
	began   time.Time
	now     time.Duration // since began
	sending [batchLen]int // the slots whose requests wait to be sent, -1 for none
	times   histogram
	out     outcome
	round   uint64 // notifications of the round under way
}

// slot is a place for one request.
type slot struct {
	client     int
	sent       time.Duration
	generation uint16 // of the token, which is unique in this way
	mid        uint16
	waiting    bool
	repeats    int
}

// client is one address, and then another: one that has used its message IDs comes back as somebody else.
type client struct{ mids, epoch uint16 }

const (
	midsOfAddress = 60_000
	slotBits      = 18 // of the token
	patience      = time.Second
	onceLimit     = 5 * time.Minute
)

// generate carries out l. It takes a thread, and all of its core.
func generate(l load) (outcome, error) {
	g, err := newGenerator(l)
	if err != nil {
		return outcome{}, err
	}
	defer g.p.close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g.began = time.Now()
	switch {
	case l.Observe:
		err = g.observe()
	case l.Once:
		err = g.once()
	default:
		err = g.forTime()
	}
	g.out.P50, g.out.P99 = g.times.quantile(0.5), g.times.quantile(0.99)
	return g.out, err
}

func newGenerator(l load) (*generator, error) {
	p, err := openPackets()
	if err != nil {
		return nil, err
	}
	g := &generator{load: l, p: p, to: *sockaddr(l.To), options: pathOptions(l.Path, l.Observe)}
	g.main = l.Clients * max(l.Window, 1)
	if l.Most > 0 {
		g.main = min(g.main, l.Most)
	}
	g.main = min(g.main, 1<<slotBits-1-l.Beside)
	g.slots = make([]slot, g.main+l.Beside)
	g.clients = make([]client, l.Clients+2)
	return g, nil
}

// address returns what a client is known by, in 127.64.0.0/10.
func (g *generator) address(c int) uint32 {
	i := uint32(c) + uint32(g.clients[c].epoch)*uint32(len(g.clients))
	return 127<<24 | 64<<16 | i&(1<<22-1)
}

// mid returns a message ID that the client has not used at its address.
func (g *generator) mid(c int) uint16 {
	who := &g.clients[c]
	if who.mids == midsOfAddress {
		who.mids = 0
		who.epoch++
	}
	who.mids++
	return who.mids
}

// request sends a new request in a slot, by the client whose turn it is.
func (g *generator) request(s int, options, echo []byte) {
	q := &g.slots[s]
	if echo == nil && s < g.main {
		q.client = g.nextClient(s)
	}
	q.mid = g.mid(q.client)
	q.generation++
	q.waiting = true
	q.repeats = 0
	g.send(s, options, echo)
}

func (g *generator) nextClient(s int) int {
	if g.Clients*max(g.Window, 1) <= g.main {
		return s / max(g.Window, 1)
	}
	c := g.turn
	if g.turn++; g.turn == g.Clients {
		g.turn = 0
	}
	return c
}

func (g *generator) send(s int, options, echo []byte) {
	q := &g.slots[s]
	to := g.p.next(g.address(q.client), &g.to)
	b := append(to[:0], 0x44, 1, byte(q.mid>>8), byte(q.mid))
	b = binary.BigEndian.AppendUint32(b, uint32(s)<<(32-slotBits)|uint32(q.generation)&(1<<(32-slotBits)-1))
	b = append(b, options...)
	if echo != nil {
		b = appendEcho(b, echo)
	}
	g.queue(s, len(b))
}

func (g *generator) queue(s, length int) {
	g.sending[g.p.n] = s
	g.p.queue(length)
	if g.p.n == batchLen {
		g.flush()
	}
}

func (g *generator) flush() {
	if g.p.n == 0 {
		return
	}
	g.now = time.Since(g.began)
	for _, s := range g.sending[:g.p.n] {
		if s >= 0 {
			g.slots[s].sent = g.now
		}
	}
	if err := g.p.flush(); err != nil && g.out.Error == "" {
		g.out.Error = "sendmmsg: " + err.Error()
	}
}

// acknowledge sends an Empty message to a separate response or a notification.
func (g *generator) acknowledge(from uint32, b []byte) {
	to := g.p.next(from, &g.to)
	g.queue(-1, copy(to[:], []byte{0x60, 0, b[2], b[3]}))
}

// receive takes in what has come and calls finished for each slot whose request is answered.
func (g *generator) receive(finished func(s int)) error {
	n, err := g.p.receive()
	if err != nil {
		return err
	}
	g.now = time.Since(g.began)
	if n == 0 {
		runtime.Gosched()
	}
	for i := range n {
		g.answer(i, finished)
	}
	g.flush()
	if g.out.Error != "" {
		return errors.New(g.out.Error)
	}
	return nil
}

func (g *generator) answer(i int, finished func(s int)) {
	b, at := g.p.received(i)
	if len(b) < 8 || b[1] == 0 || b[0]&15 != 4 {
		return // an Empty acknowledgement, before a separate response
	}
	if b[0]>>4&3 == 0 {
		g.acknowledge(at, b)
	}
	token := binary.BigEndian.Uint32(b[4:])
	s := int(token >> (32 - slotBits))
	if s >= len(g.slots) || uint16(token&(1<<(32-slotBits)-1)) != g.slots[s].generation&(1<<(32-slotBits)-1) || !g.slots[s].waiting {
		if g.Observe && b[0]>>4&3 != 2 && b[1] == 0x45 {
			g.out.Notes++
			g.round++
		}
		return
	}
	q := &g.slots[s]
	if echo := echoOption(b); b[1] == 0x81 && echo != nil && s < g.main {
		g.request(s, g.options, echo)
		return
	}
	switch {
	case s >= g.main:
		q.waiting = false
		return
	case b[1] != 0x45:
		g.out.Bad++
	case q.repeats > 0:
		g.out.Repeated++
	default:
		g.out.Answered++
		g.times.add(g.now - q.sent)
	}
	if q.repeats < g.Repeat {
		q.repeats++
		g.send(s, g.options, nil)
		return
	}
	q.waiting = false
	finished(s)
}

// renew makes requests anew that are unanswered for a second.
func (g *generator) renew(again func(s int)) {
	for s := range g.main {
		if q := &g.slots[s]; q.waiting && g.now-q.sent > patience {
			g.out.Lost++
			again(s)
		}
	}
	g.flush()
}

// forTime keeps all slots busy.
func (g *generator) forTime() error {
	again := func(s int) { g.request(s, g.options, nil) }
	for s := range g.main {
		again(s)
	}
	beside := pathOptions(g.BesidePath, false)
	for s := g.main; s < len(g.slots); s++ {
		g.slots[s].client = g.Clients
		g.request(s, beside, nil)
	}
	g.flush()
	if err := g.until(g.Warm, again); err != nil {
		return err
	}
	g.out, g.times = outcome{}, histogram{}
	cpu, from := cpuTime(g.PID), g.now
	err := g.until(g.Warm+g.Time, again)
	g.out.CPU, g.out.Seconds = cpuTime(g.PID)-cpu, (g.now - from).Seconds()
	return err
}

// until keeps on until the time has come, and something was answered, which a busy machine may delay.
func (g *generator) until(end time.Duration, again func(s int)) error {
	for scanned := g.now; g.now < end || g.out.Answered == 0 && g.now < end+5*time.Second; {
		if err := g.receive(again); err != nil {
			return err
		}
		if g.now-scanned > 50*time.Millisecond {
			scanned = g.now
			g.renew(again)
		}
	}
	return nil
}

// once lets each client ask once.
func (g *generator) once() error {
	cpu := cpuTime(g.PID)
	next := func(s int) {
		if g.asked < g.Clients {
			g.asked++
			g.request(s, g.options, nil)
		} else {
			g.done++
		}
	}
	for s := range g.main {
		next(s)
	}
	g.flush()
	for scanned := g.now; g.done < g.main; {
		if err := g.receive(next); err != nil {
			return err
		}
		if g.now-scanned > 50*time.Millisecond {
			scanned = g.now
			g.renew(func(s int) { g.request(s, g.options, nil) })
		}
		if g.now > onceLimit {
			return fmt.Errorf("%d of %d clients were answered within %v", g.out.Answered, g.Clients, onceLimit)
		}
	}
	g.out.CPU, g.out.Seconds = cpuTime(g.PID)-cpu, g.now.Seconds()
	return nil
}

// observe lets each client register, then asks for notifications, one round after the other.
func (g *generator) observe() error {
	if err := g.once(); err != nil {
		return err
	}
	registered := g.out.Answered
	put := pathOptions(g.Path, false)
	g.out, g.times, g.round = outcome{Bad: g.out.Bad, Lost: g.out.Lost}, histogram{}, registered
	cpu, from := cpuTime(g.PID), g.now
	var asked, last time.Duration // when the round was asked for, and when all was in
	for g.now-from < g.Time || g.round < registered && g.now-asked < 2*time.Second {
		if g.now-from < g.Time && (g.round >= registered || g.now-asked > 2*time.Second) {
			asked, g.round = g.now, 0
			g.out.Rounds++
			to := g.p.next(g.address(g.Clients+1), &g.to)
			m := g.mid(g.Clients + 1)
			b := append(to[:0], 0x44, 3, byte(m>>8), byte(m), 0xFF, 0xFF, 0xFF, 0xFF)
			b = append(append(b, put...), 0xFF, 'x')
			g.queue(-1, len(b))
			g.flush()
		}
		had := g.out.Notes
		if err := g.receive(func(int) {}); err != nil {
			return err
		}
		if g.out.Notes > had {
			last = g.now
		}
	}
	g.out.CPU, g.out.Seconds = cpuTime(g.PID)-cpu, (last - from).Seconds()
	return nil
}
