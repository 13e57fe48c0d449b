package coaptest

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// Peer is a scripted endpoint: it sends the messages it is told to, and says what has come. It does
// nothing by itself, neither acknowledges nor retransmits. It works in tests of [Run] only, and is for
// the goroutine of the test. A message that is not as expected ends the test.
type Peer struct {
	// Addr is its address, URL says the same as a URI without path, for the client under test.
	Addr netip.AddrPort
	URL  string
	// To is where Send sends. If it is not valid, that is who has sent the last message taken.
	To netip.AddrPort
	// Conn is the transport, for Join and Rebind.
	Conn *mem.Conn

	t    testing.TB
	n    *Network
	mid  uint16 // the last that was chosen
	sent transport.Datagram
	// The last messages taken: any, a request, a Confirmable or Non-confirmable one.
	last, request, toConfirm *Received

	mu sync.Mutex
	in []*Received // have come and were not taken
}

// Received is a message that has come to a peer. It belongs to the caller.
type Received struct {
	message.Message
	// Bytes is the datagram.
	Bytes []byte
	// From is who has sent it.
	From netip.AddrPort
	// At is when it came.
	At time.Time
}

// String returns the message as a line.
func (r *Received) String() string { return formatLine(&r.Message) }

// NewPeer makes a peer on a network, at an address such as 192.0.2.9:5683. The zero AddrPort stands
// for port 5683 of the next free address from 192.0.2.1 on.
func NewPeer(t testing.TB, n *Network, at netip.AddrPort) *Peer {
	t.Helper()
	p := &Peer{t: t, n: n, mid: 0x4000}
	if at.IsValid() {
		var err error
		if p.Conn, err = n.Listen(at); err != nil {
			t.Fatal(err)
		}
	} else {
		p.Conn = n.listen(t, 5683)
	}
	p.Addr = p.Conn.LocalAddr()
	p.URL = urlOf(p.Addr)
	t.Cleanup(func() { p.Conn.Close() })
	go p.read()
	return p
}

// NewPeer makes a scripted client of the server, at the next free address.
func (s *Server) NewPeer(t testing.TB) *Peer {
	t.Helper()
	p := NewPeer(t, s.Network, netip.AddrPort{})
	p.To = s.Addr
	return p
}

// read takes in what comes until the Conn is closed.
func (p *Peer) read() {
	ds := []transport.Datagram{{}}
	for {
		ds[0].Data = make([]byte, 1<<16)
		if _, err := p.Conn.ReadBatch(ds); err != nil {
			return
		}
		if ds[0].Err != nil {
			continue // what we have sent was not delivered: the chart says it
		}
		r := &Received{Bytes: append([]byte(nil), ds[0].Data...), From: ds[0].Remote, At: time.Now()}
		if err := codec.DecodeUDP(r.Bytes, &r.Message); err != nil {
			p.t.Errorf("%v has got %x from %v: %v", p.Addr, r.Bytes, r.From, err)
			continue
		}
		p.mu.Lock()
		p.in = append(p.in, r)
		p.mu.Unlock()
	}
}

func (p *Peer) parse(format string, args ...any) *line {
	p.t.Helper()
	l, err := parseLine(format, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return l
}

// Send sends a message. Its message ID is one that Send has not chosen before if the line does not say, but
// ACK and RST must say it: see [Peer.Answer].
func (p *Peer) Send(format string, args ...any) {
	p.t.Helper()
	l := p.parse(format, args...)
	if isReply(l) && !l.mid {
		p.t.Fatalf("coaptest: line %q: ACK and RST need mid=; Answer takes it from the message to be answered", l.text)
	}
	p.sendLine(p.destination(), l)
}

// Answer sends a message in answer to one that was taken by Expect or Next: an ACK or RST to the last CON or
// NON, with its message ID, and every response to the last request, with its token. What the line says
// of both takes precedence.
func (p *Peer) Answer(format string, args ...any) {
	p.t.Helper()
	l := p.parse(format, args...)
	response := l.msg.Code.IsResponse()
	var asked *Received
	switch {
	case isReply(l):
		asked = p.toConfirm
	case response:
		asked = p.request
	default:
		p.t.Fatalf("coaptest: line %q: this is no answer; use Send", l.text)
	}
	if asked == nil {
		p.t.Fatalf("coaptest: line %q: no message to be answered was taken; call Expect before", l.text)
	}
	if isReply(l) && !l.mid {
		l.msg.MessageID, l.mid = asked.MessageID, true
	}
	if response && !l.tok && p.request != nil {
		l.msg.Token = p.request.Token
	}
	p.sendLine(asked.From, l)
}

// isReply reports whether a line is of a type that takes its message ID from another message.
func isReply(l *line) bool {
	return l.msg.Type == message.Acknowledgement || l.msg.Type == message.Reset
}

func (p *Peer) sendLine(to netip.AddrPort, l *line) {
	p.t.Helper()
	if l.anyType || l.anyCode {
		p.t.Fatalf("coaptest: line %q: what is sent has a type and a code, not *", l.text)
	}
	if !l.mid {
		p.mid++
		l.msg.MessageID = p.mid
	}
	b, err := codec.AppendUDP(nil, &l.msg)
	if err != nil {
		p.t.Fatalf("coaptest: line %q: %v", l.text, err)
	}
	p.write(to, b)
}

// SendBytes sends a datagram of these bytes, be they a message or not.
func (p *Peer) SendBytes(b []byte) {
	p.t.Helper()
	p.write(p.destination(), b)
}

// Repeat sends once more what was sent last, as a retransmission.
func (p *Peer) Repeat() {
	p.t.Helper()
	if !p.sent.Remote.IsValid() {
		p.t.Fatalf("coaptest: %v has nothing to repeat: it has sent nothing", p.Addr)
	}
	p.write(p.sent.Remote, p.sent.Data)
}

func (p *Peer) destination() netip.AddrPort {
	p.t.Helper()
	if p.To.IsValid() {
		return p.To
	}
	if p.last == nil {
		p.t.Fatalf("coaptest: %v does not know where to send: set To", p.Addr)
	}
	return p.last.From
}

func (p *Peer) write(to netip.AddrPort, b []byte) {
	p.t.Helper()
	p.sent = transport.Datagram{Data: b, Remote: to}
	if _, err := p.Conn.WriteBatch([]transport.Datagram{p.sent}); err != nil {
		p.t.Fatal(err)
	}
}

// Pending returns how many messages have come that were not taken, once all goroutines
// of the test wait for something.
func (p *Peer) Pending() int {
	p.t.Helper()
	settle(p.t)
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.in)
}

// Next takes the next message that has come, whatever it is.
func (p *Peer) Next() *Received {
	p.t.Helper()
	r := p.take()
	if r == nil {
		p.t.Fatalf("coaptest: %v expects a message, nothing has come", p.Addr)
	}
	return r
}

// take takes the next message, nil if none has come.
func (p *Peer) take() *Received {
	p.t.Helper()
	if p.Pending() == 0 {
		return nil
	}
	p.mu.Lock()
	r := p.in[0]
	p.in = p.in[1:]
	p.mu.Unlock()
	p.last = r
	if r.Code.IsRequest() {
		p.request = r
	}
	if r.Type == message.Confirmable || r.Type == message.NonConfirmable {
		p.toConfirm = r
	}
	return r
}

// Expect takes the next message, which has to have come by now and to be as the line says. It lets no
// time pass: for what comes later, call [Pass] before.
func (p *Peer) Expect(format string, args ...any) *Received {
	p.t.Helper()
	l := p.parse(format, args...)
	r := p.take()
	if r == nil {
		p.t.Fatalf("coaptest: %v expects %s\nnothing has come", p.Addr, l.text)
		return nil
	}
	if err := l.match(&r.Message); err != nil {
		p.t.Fatalf("coaptest: %v expects %s\ngot %v\n%v", p.Addr, l.text, r, err)
	}
	return r
}

// ExpectNothing lets a time pass and expects that then no message is there that was not taken.
func (p *Peer) ExpectNothing(d time.Duration) {
	p.t.Helper()
	settle(p.t)
	if d > 0 {
		Pass(d)
	}
	if n := p.Pending(); n > 0 {
		p.t.Fatalf("coaptest: %v expects nothing\ngot %v (%d in all)", p.Addr, p.Next(), n)
	}
}

// Drop lets the next n messages that others send to the peer vanish on the way.
func (p *Peer) Drop(n int) {
	for range n {
		p.n.drop(func(packet *mem.Packet) bool {
			return packet.Dst == netip.AddrPortFrom(p.Addr.Addr().WithZone(""), p.Addr.Port())
		})
	}
}
