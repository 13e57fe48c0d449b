//go:build !gofuzz

package fuzz

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// stranger plays what the bytes of a fuzzer say, from two sockets.
type stranger struct {
	forge
	a       *arena
	conns   [2]*mem.Conn
	addrs   [2]netip.AddrPort // as others see them
	rebinds int
	steps   int
	passed  time.Duration
	sent    [][]byte

	mu   sync.Mutex
	come [][]byte // what has come and was not looked at
	raw  [][]byte
}

func newStranger(a *arena, script []byte) *stranger {
	s := &stranger{a: a, addrs: arenaStranger}
	s.b = script
	for i, at := range s.addrs {
		conn, err := a.net.Listen(at)
		if err != nil {
			a.Fatal(err)
		}
		s.conns[i] = conn
		a.work.Go(func() { s.listen(conn) })
	}
	return s
}

func (s *stranger) listen(conn *mem.Conn) {
	for {
		ds := make([]transport.Datagram, 8)
		for i := range ds {
			ds[i].Data = make([]byte, 1500)
		}
		n, err := conn.ReadBatch(ds)
		if err != nil {
			return
		}
		s.mu.Lock()
		for _, d := range ds[:n] {
			if d.Err == nil && len(s.come) < 200 {
				s.come = append(s.come, bytes.Clone(d.Data))
			}
		}
		s.mu.Unlock()
	}
}

// look learns from what has come.
func (s *stranger) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.come {
		s.seen(b)
		s.raw = append(s.raw[max(0, len(s.raw)-31):], b)
	}
	s.come = nil
}

func (s *stranger) more() bool { return len(s.b) > 0 && s.steps < 80 }

func (s *stranger) send(from byte, to netip.AddrPort, b []byte) {
	if len(b) > 0 && len(s.sent) < 64 {
		s.sent = append(s.sent, bytes.Clone(b))
		s.seen(b)
	}
	s.conns[from&1].WriteBatch([]transport.Datagram{{Data: b, Remote: to}})
}

var arenaPaths = [...]string{
	"small", "slow", "large", "box", "pipe", "value/0", "value/1", ".well-known/core", "panic", "file", "live", "nowhere", "box/", "",
}

// step does one thing and says what. The highest bit of its first byte lets it settle.
func (s *stranger) step() string {
	s.steps++
	s.look()
	op := s.next()
	what := s.do(op & 0x7F)
	if op&0x80 != 0 {
		s.a.pass(50 * time.Millisecond)
	} else {
		s.a.pass(0)
	}
	return what
}

func (s *stranger) do(op byte) string {
	from, to := op>>5&1, arenaServer
	switch op % 16 {
	case 0, 1, 2:
		s.send(from, to, s.request())
		return "a request"
	case 3:
		s.send(from, arenaGroup, s.request())
		return "a request to the group"
	case 4, 5:
		s.respond()
		return "a response"
	case 6:
		b := []byte{oneOf(&s.forge, byte(0x60), 0x70, 0x40, 0x50), 0, 0, 0}
		mid := s.mid()
		b[2], b[3] = byte(mid>>8), byte(mid)
		s.send(from, to, b)
		return "an Empty message"
	case 7:
		if i, ok := pick(s.sent, s.next()); ok {
			s.send(from, to, s.sent[i])
		}
		return "a duplicate"
	case 8:
		return s.mirror(from)
	case 9:
		n := int(s.next() % 40)
		s.send(from, to, s.bytes(n))
		return "raw bytes"
	case 10, 11:
		d := time.Millisecond << (s.next() % 19)
		if s.passed += d; s.passed < time.Hour {
			s.a.pass(d)
		}
		return "some time"
	case 12:
		return s.trouble(s.next())
	case 13:
		s.a.ask(s.next())
		return "a request of the endpoint's own"
	case 14:
		s.a.change(int(op >> 4 & 1))
		return "a change"
	default:
		s.a.befriend(s.next())
		return "a request of the friend"
	}
}

// request is a request of any kind.
func (s *stranger) request() []byte {
	how := s.next()
	m := message.Message{Type: message.Type(how & 1), Code: oneOf(&s.forge, forgedMethods...), MessageID: s.mid(), Token: s.token()}
	if how&6 == 6 {
		m.Type = message.Type(how >> 3 & 3)
	}
	if m.Options.SetPath("/"+oneOf(&s.forge, arenaPaths[:]...)) != nil {
		s.a.Fatal("a path cannot be set")
	}
	s.options(&m.Options)
	m.Payload = s.filler([]int{0, 0, 64, 64, 1, 16, 100, 300}[how>>5])
	return s.encode(&m)
}

// respond answers one of the messages that came, most often as it has to be answered.
func (s *stranger) respond() {
	how := s.next()
	m := message.Message{Type: message.Type(how & 3), Code: oneOf(&s.forge, forgedResponses...)}
	from := how >> 2 & 1
	i, ok := pick(s.raw, s.next())
	var q message.Message
	if ok && codec.DecodeUDP(s.raw[i], &q) == nil {
		m.MessageID, m.Token = q.MessageID, q.Token
		if v, has := q.Options.First(message.OptionBlock1); has && how&8 != 0 {
			m.Options.Set(message.OptionBlock1, v)
		}
		if v, has := q.Options.First(message.OptionBlock2); has && how&16 != 0 {
			m.Options.Set(message.OptionBlock2, v)
		}
		if q.Options.Has(message.OptionObserve) && how&32 != 0 {
			m.Options.SetUint(message.OptionObserve, uint64(s.steps))
		}
	} else {
		m.MessageID, m.Token = s.mid(), s.token()
	}
	if how&0xC0 == 0xC0 {
		m.Token = s.token()
	}
	s.options(&m.Options)
	m.Payload = s.filler(oneOf(&s.forge, 0, 64, 64, 10, 200))
	s.send(from, arenaServer, s.encode(&m))
}

// mirror sends back what came, changed or not.
func (s *stranger) mirror(from byte) string {
	if i, ok := pick(s.raw, s.next()); ok {
		b := bytes.Clone(s.raw[i])
		if how := s.next(); how&1 != 0 {
			b = s.damage(b)
		} else if len(b) > 0 {
			b[0] ^= how >> 1 & 0x30
		}
		s.send(from, arenaServer, b)
	}
	return "a mirrored message"
}

// trouble is what the network and the world around can do.
func (s *stranger) trouble(b byte) string {
	i := b >> 3 & 1
	switch b & 7 {
	case 0, 1:
		if s.rebinds < maxRebinds {
			s.rebinds++
			if public, err := s.conns[i].Rebind(netip.AddrPort{}); err == nil {
				s.addrs[i] = public
			}
		}
		return "a new address"
	case 2, 3: // the network says that the stranger cannot be reached
		cfg := s.a.net.Config()
		cfg.Filter = nil
		if b&0x10 != 0 {
			away := arenaStranger[i].Addr()
			cfg.Filter = func(p *mem.Packet) (v mem.Verdict) {
				if p.Dst.Addr() == away {
					v.Err = syscall.EHOSTUNREACH
				}
				return v
			}
		}
		s.a.net.SetConfig(cfg)
		return "a report of the network"
	case 4, 5: // or says nothing
		s.a.net.Heal()
		if b&0x10 != 0 {
			s.a.net.Cut(arenaServer.Addr(), arenaStranger[i].Addr())
		}
		return "a cut"
	case 6:
		s.a.ep.Forget("/value/" + string('0'+i))
		return "forgotten observers"
	}
	s.a.mu.Lock()
	ours := s.a.ours
	s.a.mu.Unlock()
	if k, ok := pick(ours, b>>4); ok {
		o := ours[k]
		if i == 0 {
			o.Close()
		} else {
			s.a.async(func(ctx context.Context) { o.Cancel(ctx) })
		}
	}
	return "the end of an observation"
}

// fallSilent makes the stranger deaf as well, or closes his sockets, so that the network reports it.
func (s *stranger) fallSilent() {
	s.a.net.Heal()
	for _, c := range s.conns {
		c.Close()
	}
}

// async counts what has to end by itself.
func (a *arena) async(f func(context.Context)) {
	a.mu.Lock()
	a.open++
	a.mu.Unlock()
	a.work.Go(func() {
		f(a.ctx)
		a.mu.Lock()
		a.open--
		a.mu.Unlock()
	})
}

// ask has the endpoint ask the stranger for something.
func (a *arena) ask(b byte) {
	to := a.stranger.addrs[b>>3&1]
	a.mu.Lock()
	many := a.open > 8
	a.mu.Unlock()
	if many {
		return
	}
	req := a.request(coap.GET, to, "/theirs?n="+string('a'+b>>4))
	req.NonConfirmable = b&0x80 != 0
	do := func(ctx context.Context) { a.client.Do(ctx, req, new(coap.Response)) }
	switch b & 7 {
	case 0:
		if b&0x40 != 0 {
			req.Transfer = &coap.Transfer{Sink: io.Discard}
		}
	case 1:
		req.Code, req.Payload = coap.PUT, bytes.Repeat([]byte("up"), 150)
	case 2:
		req.Code, req.Body, req.Payload = coap.POST, bytes.NewReader(make([]byte, 500)), nil
		if b&0x40 != 0 {
			req.Body = io.LimitReader(req.Body, 400) // cannot be read again
		}
	case 3:
		req.NonConfirmable = false
		if o, err := a.client.ObserveRequest(a.ctx, req); err == nil {
			a.mu.Lock()
			a.ours = append(a.ours, o)
			a.mu.Unlock()
			do = func(context.Context) {
				for range o.All() {
				}
			}
		}
	case 4:
		do = func(ctx context.Context) { a.ep.Ping(ctx, to) }
	case 5:
		req.To, req.Window, req.NonConfirmable = arenaGroup, 10*time.Second, true
		do = func(ctx context.Context) {
			for range a.client.Multicast(ctx, req) {
			}
		}
		if b&0x40 != 0 {
			req.Window = 0
			do = func(context.Context) {
				for range a.client.ObserveGroup(a.playing, req) {
				}
			}
		}
	case 6:
		do = func(ctx context.Context) { a.client.Send(ctx, req) }
	case 7:
		do = func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			a.client.Do(ctx, req, new(coap.Response))
		}
	}
	a.async(do)
}

// What follows writes scripts for the fuzzer to begin with, step by step; 0x80 lets a step settle.

const (
	aGET, aPUT, aFETCH                        = 0, 2, 4 // in forgedMethods
	aContent, aContinue, anUnauthorized       = 0, 3, 8 // in forgedResponses
	anObserve, aBlock1, aBlock2, anEchoOption = 0, 1, 2, 4
	aPiggyback, aSeparate                     = 2, 0
)

// asks is a request; options are pairs of bytes, the place in forgedOptions and what option makes a value of.
func asks(method, path, mid byte, options ...byte) []byte {
	payload := byte(0)
	if method != aGET {
		payload = 2 << 5 // 64 bytes
	}
	b := append([]byte{0x80, payload, method, 0, 0, mid, 4, path, byte(len(options) / 2)}, options...)
	return append(b, 0, 0)
}

// answers answers the message that came as number which, with the block and Observe options of that.
func answers(how, code, which byte, options ...byte) []byte {
	b := append([]byte{0x84, how | 8 | 16 | 32, code, which, byte(len(options) / 2)}, options...)
	return append(b, 1, 0, 0)
}

// acknowledges acknowledges (0) or rejects (1) the message ID that was seen as number which.
func acknowledges(how, which byte) []byte { return []byte{0x86, how, which<<2 | 1} }

func waits(exponent byte) []byte { return []byte{0x8A, exponent} }

// arenaScripts are the scenes of a protocol that the fuzzer would need long to find.
var arenaScripts = func() (all [][]byte) {
	const small, slow, large, box, pipe, value0, value1, wellKnown, file, live = 0, 1, 2, 3, 4, 5, 6, 7, 9, 10
	change0, change1, again, friend, group := []byte{0x8E}, []byte{0x9E}, []byte{0x87, 0}, []byte{0x8F, 2}, byte(0x83)
	ours := func(b byte) []byte { return []byte{0x8D, b} }
	add := func(steps ...[]byte) { all = append(all, bytes.Join(steps, nil)) }
	add(asks(aGET, small, 1), again, waits(18), again, asks(aGET, wellKnown, 2))
	add(asks(aGET, slow, 1), again, waits(13), again, acknowledges(0, 1), friend)
	var flood [][]byte
	for i := range byte(20) {
		flood = append(flood, asks(aGET, slow, i))
	}
	add(append(flood, friend, waits(13), friend)...)
	add(asks(aPUT, box, 1, aBlock1, 8), asks(aPUT, box, 2, aBlock1, 0x18), friend, asks(aPUT, box, 3, aBlock1, 0x20), again)
	add(asks(aPUT, pipe, 1, aBlock1, 8), asks(aPUT, pipe, 2, aBlock1, 0x18), waits(18), asks(aPUT, pipe, 3, aBlock1, 8), friend)
	add(asks(aGET, large, 1), asks(aGET, large, 2, aBlock2, 0x10), asks(aGET, file, 3), asks(aGET, live, 4), asks(aGET, live, 5, aBlock2, 0x10))
	add(asks(aGET, value0, 1, anObserve, 0), change0, acknowledges(0, 1), change0, change0, waits(12), acknowledges(0, 2), change0, waits(17))
	add(asks(aGET, value1, 1, anObserve, 0), change1, acknowledges(1, 1), asks(aFETCH, value1, 2, anObserve, 0), []byte{0x8C, 0}, change1, waits(17))
	add(asks(aGET, value0, 1, anObserve, 0), asks(aGET, value0, 2, anObserve, 0, anEchoOption, 0), change0, asks(aGET, value0, 3, anObserve, 2))
	add(ours(0), answers(aPiggyback, aContent, 0), ours(0x10), answers(3, aContent, 1), ours(0x20), acknowledges(0, 1), waits(12), answers(aSeparate, aContent, 2))
	add(ours(1), answers(aPiggyback, aContinue, 0), answers(aPiggyback, aContinue, 1), answers(aPiggyback, aContent, 2, aBlock2, 8), answers(aPiggyback, aContent, 3, aBlock2, 0x10))
	add(ours(0x42), answers(aPiggyback, aContinue, 0), ours(0x40), answers(aPiggyback, aContent, 1, aBlock2, 8), ours(0x10), answers(aPiggyback, anUnauthorized, 2, anEchoOption, 1))
	add(ours(3), answers(aPiggyback, aContent, 0), answers(1, aContent, 0), answers(aSeparate, aContent, 0), waits(17), []byte{0x8C, 0x0F}, waits(16))
	add([]byte{group, 1}, asks(aGET, wellKnown, 1)[2:], ours(5), answers(1, aContent, 0), ours(0x45), answers(1, aContent, 1), waits(13), friend)
	add([]byte{0x8C, 0x12}, ours(0), ours(4), waits(10), []byte{0x8C, 2}, ours(6), ours(7), []byte{0x8C, 0x14}, ours(3), waits(17), []byte{0x8C, 4})
	for _, b := range captured() {
		if len(b) < 40 {
			add(slices.Concat([]byte{0x89, byte(len(b))}, b), again, change0, friend)
		}
	}
	add([]byte{0x88, 0, 0}, ours(2), []byte{0x88, 0, 0x20}, []byte{0x88, 0, 3, 5, 1}, friend)
	return all
}()
