package fuzz

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/engine"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// receiver is an engine that only answers.
type receiver struct {
	*testing.T
	e   *engine.Engine
	now time.Time
}

func newReceiver(t *testing.T) *receiver {
	now := time.Unix(1e9, 0)
	return &receiver{t, engine.New(engine.Config{}, now), now}
}

// sent takes what is to be sent.
func (r *receiver) sent() (all [][]byte) {
	var d transport.Datagram
	for r.e.Transmit(&d) {
		all = append(all, bytes.Clone(d.Data))
		d.Data = nil
	}
	return all
}

// pass lets time pass and returns what is sent meanwhile.
func (r *receiver) pass(d time.Duration) (all [][]byte) {
	target := r.now.Add(d)
	for {
		at, ok := r.e.NextTimeout()
		if !ok || at.After(target) {
			r.now = target
			return all
		}
		if at.After(r.now) {
			r.now = at
		}
		r.e.Advance(r.now)
		all = append(all, r.sent()...)
		for {
			if _, more := nextEvent(r.e); !more {
				break
			}
		}
	}
}

// memory is what should be known of a message that was received.
type memory struct {
	until    time.Time
	incoming engine.Incoming
	pending  bool
	reply    []byte // that it was answered with at once
}

// FuzzDedup sends messages again after any time, before and after they are answered: each is processed once
// in its lifetime (RFC 7252 section 4.5), which is EXCHANGE_LIFETIME or NON_LIFETIME, and a copy of
// a confirmable one gets the reply of the first, byte by byte.
func FuzzDedup(f *testing.F) {
	f.Add([]byte{0, 0, 8, 0, 0, 0, 9, 17, 0, 0, 9, 18, 0, 0})
	f.Add([]byte{0, 0, 1, 1, 8, 0, 9, 17, 9, 16, 0, 0, 1, 1, 9, 16, 0, 0}) // between the two lifetimes, and after both
	f.Add([]byte{1, 1, 1, 1, 8, 0, 9, 10, 1, 1, 0, 0x11, 0, 0x11, 9, 17, 9, 12, 1, 1})
	f.Add([]byte{3, 0x23, 4, 0x23, 5, 0x23, 3, 0x23, 8, 2, 9, 16, 3, 0x23, 4, 0x23, 8, 1, 8, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 600 {
			return
		}
		r := newReceiver(t)
		params := exchange.Params{}.WithDefaults()
		known := map[string]*memory{}
		var open []*memory
		for ; len(script) >= 2; script = script[2:] {
			op, b := script[0], script[1]
			switch op % 10 {
			case 8:
				if i, ok := pick(open, b); ok {
					m := open[i]
					open = remove(open, i)
					m.pending = false
					if err := r.e.Respond(r.now, m.incoming, &message.Message{Code: message.Content, Payload: []byte{op}}); err != nil {
						t.Fatalf("respond: %v", err)
					}
					if out := r.sent(); len(out) == 1 && out[0][0]>>4&3 == byte(message.Acknowledgement) {
						m.reply = out[0]
					}
				}
				continue
			case 9:
				r.pass(time.Millisecond << (b % 19))
				continue
			}
			m := message.Message{Type: message.Type(op & 1), Code: message.GET + message.Code(op>>1&1), MessageID: uint16(b & 3), Payload: []byte{b >> 2 & 3}}
			data, _ := codec.AppendUDP(nil, &m)
			from := netip.AddrPortFrom(netip.IPv6Loopback(), uint16(1+b>>4&3))
			key := from.String() + string(data)
			lifetime := params.ExchangeLifetime()
			if m.Type == message.NonConfirmable {
				lifetime = params.NonLifetime()
			}
			r.e.Receive(r.now, &transport.Datagram{Data: data, Remote: from})
			ev, isNew := nextEvent(r.e)
			old := known[key]
			if want := old == nil || !old.until.After(r.now); isNew != want {
				t.Fatalf("%v of %v is new: %v, want %v", &m, from, isNew, want)
			}
			out := r.sent()
			if isNew {
				known[key] = &memory{until: r.now.Add(lifetime), incoming: ev.Incoming, pending: true}
				open = append(open, known[key])
				continue
			}
			emptyAck := []byte{0x60, 0, data[2], data[3]}
			switch {
			case len(out) > 1 || m.Type == message.NonConfirmable && len(out) > 0:
				t.Fatalf("a copy of %v gets %x", &m, out)
			case m.Type == message.Confirmable && !old.pending && len(out) == 0:
				t.Fatalf("a copy of %v gets nothing", &m)
			case len(out) == 1 && !bytes.Equal(out[0], emptyAck) && (old.reply == nil || !bytes.Equal(out[0], old.reply)):
				t.Fatalf("a copy of %v gets %x, the first one got %x", &m, out, old.reply)
			case len(out) == 1 && old.reply != nil && !bytes.Equal(out[0], old.reply):
				t.Fatalf("a copy of %v gets %x, the first one got %x", &m, out, old.reply)
			}
		}
		for _, m := range open {
			r.e.Drop(r.now, m.incoming, exchange.DropBusy)
		}
		r.sent()
		r.pass(time.Hour)
		requireQuietEngine(t, r.e)
	})
}

// FuzzNoResponse asks with any value of the No-Response option, one server or a group, and gets every
// response that RFC 7967 section 2.1 and RFC 7252 section 8.2 do not withhold, and no other.
func FuzzNoResponse(f *testing.F) {
	for _, how := range []byte{0, 1, 2, 3, 6} {
		f.Add(how, byte(message.Content), []byte{26})
		f.Add(how, byte(message.NotFound), []byte{2})
		f.Add(how, byte(message.Continue), []byte{})
		f.Add(how, byte(message.InternalServerError), []byte{0, 26})
	}
	f.Fuzz(func(t *testing.T, how, responseCode byte, value []byte) {
		code := message.Code(responseCode)
		if !code.IsResponse() || code.Class() == 3 || len(value) > 300 {
			return
		}
		r := newReceiver(t)
		m := message.Message{Type: message.Type(how & 1), Code: message.POST, MessageID: 7, Token: message.Token{1}}
		asked, group := how&2 == 0, how&4 != 0
		if asked {
			m.Options.Add(message.OptionNoResponse, value)
		}
		if group {
			m.Type = message.NonConfirmable
		}
		data, err := codec.AppendUDP(nil, &m)
		if err != nil {
			t.Fatal(err)
		}
		d := transport.Datagram{Data: data, Remote: engineAddresses[0]}
		if group {
			d.Group = netip.MustParseAddr("224.0.1.187")
		}
		r.e.Receive(r.now, &d)
		ev, ok := nextEvent(r.e)
		if !ok {
			t.Fatalf("%v is not a request", &m)
		}
		late := how&8 != 0
		out := r.sent()
		if late {
			out = append(out, r.pass(time.Second)...)
		}
		if err := r.e.Respond(r.now, ev.Incoming, &message.Message{Code: code}); err != nil {
			t.Fatal(err)
		}
		out = append(out, r.sent()...)
		out = append(out, r.pass(10*time.Second)...)
		responses, acks := 0, 0
		for _, b := range out {
			if message.Code(b[1]) == code {
				responses = 1 // a separate one may be retransmitted
			}
			if message.Type(b[0]>>4&3) == message.Acknowledgement {
				acks++
			}
		}
		want := !group || !code.IsError()
		if asked && len(value) <= 1 {
			declined := 0
			if len(value) == 1 {
				declined = int(value[0])
			}
			want = code == message.Continue || declined>>(code.Class()-1)&1 == 0
		}
		if (responses == 1) != want {
			t.Fatalf("%v, to a group: %v, answered by %v: sent %x, want a response: %v", &m, group, code, out, want)
		}
		if wantAck := m.Type == message.Confirmable; (acks == 1) != wantAck {
			t.Fatalf("%v is acknowledged %d times: %x", &m, acks, out)
		}
		r.pass(time.Hour)
		requireQuietEngine(t, r.e)
	})
}
