package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/engine"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// enginePair is two engines that ask each other, with a network between them that does what the
// bytes of a fuzzer say.
type enginePair struct {
	*testing.T
	now    time.Time
	script []byte
	config engine.Config
	seeds  byte
	ends   [2]*engine.Engine
	lives  [2]int // how often each end was started
	net    []enginePacket
	nonce  uint64
	asked  []*engineExchange
	work   []engineWork
	runs   map[engineRun]int
	spoilt map[uint64]bool // nonces of packets that were changed on the way
	spoil  bool            // any packet was
}

// enginePacket is a datagram in flight.
type enginePacket struct {
	from int
	data []byte
	sent time.Time
}

// engineExchange is a request or ping.
type engineExchange struct {
	id      engine.Exchange
	nonce   uint64
	side    int
	ping    bool
	settled bool
}

// engineWork is a request in a handler.
type engineWork struct {
	id    engine.Incoming
	side  int
	code  message.Code
	nonce []byte
}

// engineRun is one request that must not be performed twice. A restart forgets.
type engineRun struct {
	side, life int
	nonce      uint64
}

var engineAddresses = [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5683"), netip.MustParseAddrPort("[fe80::2%eth0]:5683")}

// byte returns the next byte of the script, 0 at its end.
func (p *enginePair) byte() byte {
	if len(p.script) == 0 {
		return 0
	}
	b := p.script[0]
	p.script = p.script[1:]
	return b
}

func newEnginePair(t *testing.T, script []byte) *enginePair {
	p := &enginePair{T: t, now: time.Unix(1e9, 0), script: script, runs: map[engineRun]int{}, spoilt: map[uint64]bool{}}
	b := p.byte()
	params, limits := &p.config.Params, &p.config.Limits
	params.NStart = 1 + int(b&3)
	params.ProbingRate = [...]float64{1, 50, -1, 0.01}[b>>2&3]
	params.EmptyAckDelay = [...]time.Duration{0, -1, 2 * time.Second, 10 * time.Second}[b>>4&3]
	params.MaxRetransmit = [...]int{4, 1, -1, 6}[b>>6&3]
	if b = p.byte(); b&1 != 0 {
		*limits = exchange.Limits{
			MessageSize: 64 + int(b>>1&3)*40, Exchanges: 4, QueuePerPeer: 2, Handlers: 4, HandlersPerPeer: 3,
			RememberedBytes: 1000 << (b >> 3 & 3), SendQueue: 3, TokenLength: 8,
		}
	}
	p.config.Trace = b&0x80 != 0
	for side := range p.ends {
		p.boot(side)
	}
	return p
}

func (p *enginePair) boot(side int) {
	p.seeds++
	p.config.Seed[0] = p.seeds
	p.lives[side]++
	p.ends[side] = engine.New(p.config, p.now)
}

// engineNonce makes the payload of a request: a number and its check.
func engineNonce(n uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	return binary.BigEndian.AppendUint64(b, ^n*0x9E3779B97F4A7C15)
}

func parseEngineNonce(b []byte) (n uint64, ok bool) {
	if len(b) != 16 {
		return 0, false
	}
	n = binary.BigEndian.Uint64(b)
	return n, bytes.Equal(b, engineNonce(n))
}

// settle takes what both ends have to say and checks it.
func (p *enginePair) settle() {
	for side, e := range p.ends {
		for {
			ev, ok := nextEvent(e)
			if !ok {
				break
			}
			p.event(side, ev)
		}
		for {
			var d transport.Datagram
			if !e.Transmit(&d) {
				break
			}
			if d.Remote != engineAddresses[1-side] {
				p.Fatalf("a datagram to %v", d.Remote)
			}
			var m message.Message
			if err := codec.DecodeUDP(d.Data, &m); err != nil {
				p.Fatalf("sent %x: %v", d.Data, err)
			}
			if m.Type == message.NonConfirmable && m.Code == message.Empty {
				p.Fatalf("sent an Empty Non-confirmable message")
			}
			p.net = append(p.net, enginePacket{side, d.Data, p.now})
		}
		e.Traces(nil)
		p.limits(side)
	}
}

// limits checks that the engine keeps to its limits.
func (p *enginePair) limits(side int) {
	s, l := p.ends[side].Stats(), p.config.Limits.WithDefaults()
	for _, x := range []struct {
		name      string
		got, most int
	}{
		{"peers", s.Peers, 1}, {"exchanges", s.Exchanges, 2 * l.Exchanges}, {"queued", s.Queued, l.QueuePerPeer},
		{"handling", s.Handling, min(l.Handlers, l.HandlersPerPeer)}, {"remembered bytes", s.RememberedBytes, l.RememberedBytes},
	} {
		if x.got < 0 || x.got > x.most {
			p.Fatalf("%d %s, want at most %d", x.got, x.name, x.most)
		}
	}
}

func (p *enginePair) event(side int, ev engine.Event) {
	if ev.Kind == engine.EventRequest {
		p.request(side, ev)
		return
	}
	x := ev.User.(*engineExchange)
	if x.settled || x.side != side {
		p.Fatalf("exchange %d of %d settles again, or at the wrong end: %+v", x.nonce, x.side, ev)
	}
	x.settled = true
	if ev.Kind != engine.EventResponse {
		if (ev.Kind == engine.EventPong) && !x.ping {
			p.Fatalf("a pong to request %d", x.nonce)
		}
		return
	}
	if x.ping {
		p.Fatalf("a response to a ping")
	}
	n, ok := parseEngineNonce(ev.Message.Payload)
	refused := ev.Message.Code == message.ServiceUnavailable && len(ev.Message.Payload) == 0
	if !p.spoil && !(ok && n == x.nonce) && !refused || ok && n != x.nonce && !p.spoilt[n] {
		p.Fatalf("request %d is answered by %s %x", x.nonce, &ev.Message, ev.Message.Payload)
	}
}

func (p *enginePair) request(side int, ev engine.Event) {
	m := &ev.Message
	n, ok := parseEngineNonce(m.Payload)
	if !ok && !p.spoil {
		p.Fatalf("a request that nobody has sent: %s", m)
	}
	if ok && !m.Code.IsIdempotent() && !p.spoilt[n] {
		run := engineRun{side, p.lives[side], n}
		if p.runs[run]++; p.runs[run] > 1 {
			p.Fatalf("request %d was performed twice", n)
		}
	}
	w := engineWork{ev.Incoming, side, m.Code, bytes.Clone(m.Payload)}
	if n%3 == 0 && p.answer(w) {
		return
	}
	p.work = append(p.work, w)
}

// answer responds to a request and reports whether that went well.
func (p *enginePair) answer(w engineWork) bool {
	r := message.Message{Code: message.Changed, Payload: w.nonce}
	if w.code == message.GET {
		r.Code = message.Content
	}
	err := p.ends[w.side].Respond(p.now, w.id, &r)
	if err != nil && err != exchange.ErrBusy && !(p.spoil && err == exchange.ErrTooLarge) {
		p.Fatalf("respond: %v", err)
	}
	return err == nil
}

// ask starts a request; the bits of b choose which.
func (p *enginePair) ask(b byte) {
	side := int(b & 1)
	p.nonce++
	x := &engineExchange{nonce: p.nonce, side: side}
	to := engine.Target{Remote: engineAddresses[1-side]}
	if b&0x40 != 0 {
		to.Local = engineAddresses[side]
	}
	o := engine.RequestOptions{User: x, NoWait: b&0x20 != 0}
	m := message.Message{Code: message.POST, Payload: engineNonce(p.nonce)}
	if b&2 != 0 {
		m.Type = message.NonConfirmable
	}
	if b&4 != 0 {
		m.Code = message.GET
	}
	if b&8 != 0 {
		o.Params = &exchange.Params{AckTimeout: 300 * time.Millisecond, MaxRetransmit: 2, NStart: 2}
	}
	var err error
	if x.ping = b&0x90 == 0x90; x.ping {
		x.id, err = p.ends[side].Ping(p.now, to, o)
	} else {
		x.id, err = p.ends[side].Request(p.now, to, &m, o)
	}
	switch {
	case err == nil:
		p.asked = append(p.asked, x)
	case err != exchange.ErrBusy:
		p.Fatalf("request: %v", err)
	}
}

// deliver hands a packet to its receiver, unless it has been on its way for MAX_LATENCY.
func (p *enginePair) deliver(k enginePacket, group bool) {
	if p.now.Sub(k.sent) > p.config.Params.WithDefaults().MaxLatency {
		return
	}
	d := transport.Datagram{Data: bytes.Clone(k.data), Remote: engineAddresses[k.from], Local: engineAddresses[1-k.from]}
	if group {
		d.Group = netip.MustParseAddr("ff02::fd")
	}
	p.ends[1-k.from].Receive(p.now, &d)
	p.settle() // events point into d.Data
	for i := range d.Data {
		d.Data[i] = 0xEE
	}
}

// spoilPacket changes a byte of a packet.
func (p *enginePair) spoilPacket(k *enginePacket, where, how byte) {
	p.spoil = true
	var m message.Message
	if codec.DecodeUDP(k.data, &m) == nil {
		if n, ok := parseEngineNonce(m.Payload); ok {
			p.spoilt[n] = true
		}
	}
	k.data = bytes.Clone(k.data)
	k.data[int(where)%len(k.data)] ^= how
}

// sleep lets time pass. The ends are called when they want to be, or too late.
func (p *enginePair) sleep(d time.Duration, late bool) {
	target := p.now.Add(d)
	for range 100_000 {
		side, next := -1, target
		for i, e := range p.ends {
			if at, ok := e.NextTimeout(); ok && !at.After(next) {
				side, next = i, at
			}
		}
		if side < 0 {
			p.now = target
			return
		}
		if late {
			next = target
		}
		if next.After(p.now) {
			p.now = next
		}
		p.ends[side].Advance(p.now)
		p.settle()
	}
	p.Fatal("an engine wants to be called for ever")
}

// restart closes an end and starts it anew.
func (p *enginePair) restart(side int) {
	p.ends[side].Close()
	p.settle()
	for _, x := range p.asked {
		if x.side == side && !x.settled {
			p.Fatalf("exchange %d is not settled by Close", x.nonce)
		}
	}
	work := p.work[:0]
	for _, w := range p.work {
		if w.side != side {
			work = append(work, w)
		}
	}
	p.work = work
	p.boot(side)
}

func pick[T any](s []T, b byte) (int, bool) {
	if len(s) == 0 {
		return 0, false
	}
	return int(b) % len(s), true
}

func remove[T any](s []T, i int) []T { return append(s[:i:i], s[i+1:]...) }

// step does one thing.
func (p *enginePair) step() {
	op, b := p.byte(), p.byte()
	k, some := pick(p.net, b)
	switch op % 16 {
	case 0, 1:
		p.ask(b)
	case 2, 3:
		if some {
			x := p.net[k]
			p.net = remove(p.net, k)
			p.deliver(x, false)
		}
	case 4:
		if some { // twice
			p.deliver(p.net[k], false)
		}
	case 5:
		if some { // lost
			p.net = remove(p.net, k)
		}
	case 6:
		if some && p.config.Limits.MessageSize&8 == 0 {
			p.spoilPacket(&p.net[k], p.byte(), p.byte())
		}
	case 7:
		for _, x := range p.take() {
			p.deliver(x, false)
		}
	case 8:
		if i, ok := pick(p.work, b); ok && p.answer(p.work[i]) {
			p.work = remove(p.work, i)
		}
	case 9:
		if i, ok := pick(p.work, b); ok {
			p.ends[p.work[i].side].Drop(p.now, p.work[i].id, exchange.DropBadOption)
			p.work = remove(p.work, i)
		}
	case 10:
		if i, ok := pick(p.asked, b); ok {
			x := p.asked[i]
			p.ends[x.side].Cancel(p.now, x.id) // once more is harmless
			x.settled = true
		}
	case 11, 12:
		p.sleep(time.Millisecond<<(b%18), b&0x80 != 0)
	case 13:
		if b < 32 {
			p.restart(int(b & 1))
		}
	case 14:
		if some { // reported as undelivered
			x := p.net[k]
			n := int(p.byte()) % (len(x.data) + 1)
			p.ends[x.from].Receive(p.now, &transport.Datagram{Data: bytes.Clone(x.data[:n]), Remote: engineAddresses[1-x.from], Err: errEngine})
		}
	case 15:
		if some {
			p.deliver(p.net[k], true)
		}
	}
	p.settle()
}

var errEngine = errors.New("connection refused")

// take empties the network.
func (p *enginePair) take() []enginePacket {
	all := p.net
	p.net = nil
	return all
}

// finish lets everything end by itself, and checks that it did.
func (p *enginePair) finish() {
	for _, w := range p.work {
		if !p.answer(w) {
			p.ends[w.side].Drop(p.now, w.id, exchange.DropBusy)
		}
	}
	p.settle()
	p.sleep(10*365*24*time.Hour, false)
	for _, x := range p.asked {
		if !x.settled {
			p.Fatalf("exchange %d of %d never settles", x.nonce, x.side)
		}
	}
	for _, e := range p.ends {
		requireQuietEngine(p.T, e)
	}
}

func requireQuietEngine(t *testing.T, e *engine.Engine) {
	s := e.Stats()
	if n := s.Peers + s.Exchanges + s.Queued + s.Handling + s.Remembered + s.RememberedBytes; n != 0 {
		t.Fatalf("not all is forgotten: %+v", s)
	}
	if at, ok := e.NextTimeout(); ok {
		t.Fatalf("something is to be done at %v", at)
	}
}

// FuzzEngines: whatever the network and the layers above do, every exchange settles once, a
// request that is not idempotent is performed once, an answer reaches its request, limits hold,
// and in the end nothing is left.
func FuzzEngines(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 0, 2, 0})                                               // request, piggybacked response
	f.Add([]byte{0, 0, 0, 0, 2, 0, 11, 10, 8, 0, 7, 0, 7, 0, 7, 0})                     // slow handler, separate response
	f.Add([]byte{0, 0, 0, 0, 5, 0, 11, 12, 4, 0, 4, 0, 8, 0, 7, 0, 5, 0, 11, 13})       // loss and duplicates
	f.Add([]byte{3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 2, 7, 0, 8, 0, 8, 0, 7, 0})     // small limits
	f.Add([]byte{0, 0, 0, 2, 0, 6, 0, 2, 7, 0, 8, 0, 7, 0, 11, 17, 0, 2, 11, 0x91})     // NONs, late
	f.Add([]byte{0x13, 0, 0, 0, 0, 1, 7, 0, 8, 0, 13, 0, 0, 1, 7, 0, 7, 0, 8, 0})       // both ask, one restarts
	f.Add([]byte{0, 0, 0, 0, 6, 0, 3, 1, 7, 0, 0, 0, 6, 0, 0, 0x40, 7, 0, 11, 14})      // corruption
	f.Add([]byte{0, 0x80, 0, 0, 14, 0, 20, 0, 1, 14, 0, 0, 0, 0, 10, 2, 0, 0x90})       // undelivered, cancel, ping
	f.Add([]byte{0x20, 0, 0, 2, 0, 6, 15, 0, 15, 1, 8, 0, 11, 12, 15, 0, 11, 16})       // to a group
	f.Add(bytes.Repeat([]byte{0, 0, 0, 3, 7, 0, 8, 1, 4, 0, 11, 13, 0, 9, 7, 0}, 20))   // much of it
	f.Add(bytes.Repeat([]byte{0x53, 9, 0, 0x29, 2, 0, 8, 1, 4, 3, 12, 0x8e, 9, 0}, 20)) // with small limits
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1000 {
			return
		}
		p := newEnginePair(t, script)
		for len(p.script) > 0 {
			p.step()
		}
		p.finish()
	})
}

// FuzzEngineInput: an engine with a request of its own and one of a peer under way is sent
// arbitrary datagrams. It never answers an ACK or RST, answers others with at most one datagram
// that is hardly longer, and both exchanges go well afterwards.
func FuzzEngineInput(f *testing.F) {
	for _, s := range append(captured(), [][]byte{
		{0x40, 1, 0, 1}, {0x40, 0, 0, 1}, {0x50, 0, 0, 1}, {0x60, 0, 0, 1}, {0x70, 0, 0, 1}, {0x40, 0x45, 0, 1}, {0x50, 0x45, 0, 1},
		{0x40, 1, 0, 1, 0xFF}, {0x4F, 1, 0, 1}, {0x40, 0x21, 0, 1}, {0, 1, 0, 1}, {0x40, 1, 0}, {0x41, 0, 0, 1, 0xAA},
		{0x49, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {0x4D, 60, 1, 0, 1}, {0x40, 2, 0, 7, 0xFF, 1}, {},
	}...) {
		for _, from := range []byte{0, 1, 2, 0x10, 0x20, 0x40, 0x51} {
			f.Add(append([]byte{from, byte(len(s))}, s...))
		}
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		// P is asked by us, Q asks us, R is somebody else.
		addrs := [...]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5683"), netip.MustParseAddrPort("192.0.2.2:5683"), netip.MustParseAddrPort("192.0.2.3:5683")}
		now := time.Unix(1e9, 0)
		e := engine.New(engine.Config{}, now)
		var out transport.Datagram
		if _, err := e.Request(now, engine.Target{Remote: addrs[0]}, &message.Message{Code: message.GET}, engine.RequestOptions{}); err != nil {
			t.Fatal(err)
		}
		e.Transmit(&out)
		request := bytes.Clone(out.Data)
		question := []byte{0x42, byte(message.POST), 0x77, 0x77, 0xAB, 0xCD}
		e.Receive(now, &transport.Datagram{Data: question, Remote: addrs[1]})
		incoming, ok := nextEvent(e)
		if !ok {
			t.Fatal("no request")
		}
		for len(script) >= 2 {
			how, n := script[0], min(int(script[1]), len(script)-2)
			data := bytes.Clone(script[2 : 2+n])
			script = script[2+n:]
			d := transport.Datagram{Data: data, Remote: addrs[how%3], Truncated: how&0x10 != 0}
			if how&0x20 != 0 {
				d.Group = netip.MustParseAddr("224.0.1.187")
			}
			if how&0x40 != 0 {
				d.Err = errEngine
			}
			if d.Remote == addrs[0] && genuine(&d, request) {
				continue
			}
			e.Receive(now, &d)
			replies := 0
			for e.Transmit(&out) {
				replies++
				if d.Err != nil || d.Group.IsValid() || len(data) < codec.HeaderSize || data[0]>>6 != 1 || data[0]&0x20 != 0 {
					t.Fatalf("%x is answered by %x", data, out.Data)
				}
				if len(out.Data) > len(data)+6 || out.Remote != d.Remote {
					t.Fatalf("%x is answered by %x to %v", data, out.Data, out.Remote)
				}
			}
			if replies > 1 {
				t.Fatalf("%x is answered %d times", data, replies)
			}
			for {
				ev, ok := nextEvent(e)
				if !ok {
					break
				}
				if ev.Kind != engine.EventRequest || replies > 0 {
					t.Fatalf("%x causes %+v", data, ev)
				}
				e.Drop(now, ev.Incoming, exchange.DropBadOption)
			}
			for e.Transmit(&out) { // the acknowledgement of what was dropped
			}
			clear(data)
		}
		reply := append([]byte{0x68, byte(message.Content)}, request[2:12]...)
		e.Receive(now, &transport.Datagram{Data: reply, Remote: addrs[0]})
		if ev, ok := nextEvent(e); !ok || ev.Kind != engine.EventResponse {
			t.Fatalf("our request does not succeed any more: %+v", ev)
		}
		if err := e.Respond(now, incoming.Incoming, &message.Message{Code: message.Changed}); err != nil {
			t.Fatalf("the request of the peer cannot be answered any more: %v", err)
		}
		var m message.Message
		if !e.Transmit(&out) || codec.DecodeUDP(out.Data, &m) != nil || m.Code != message.Changed || m.Token.String() != "abcd" || out.Remote != addrs[1] {
			t.Fatalf("the request of the peer is answered by %x", out.Data)
		}
		for {
			at, ok := e.NextTimeout()
			if !ok {
				break
			}
			e.Advance(at)
			for e.Transmit(&out) {
			}
		}
		requireQuietEngine(t, e)
	})
}

// genuine reports whether d, from the peer that was asked, may rightly settle the request.
func genuine(d *transport.Datagram, request []byte) bool {
	if d.Err != nil {
		return len(d.Data) == 0 || bytes.HasPrefix(request, d.Data)
	}
	return len(d.Data) >= 4 && d.Data[0]&0x20 != 0 && bytes.Equal(d.Data[2:4], request[2:4]) || bytes.Contains(d.Data, request[4:12])
}

func nextEvent(e *engine.Engine) (ev engine.Event, ok bool) {
	ok = e.Event(&ev)
	return ev, ok
}
