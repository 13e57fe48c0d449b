package hostile

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// quick makes everything that is sent again be sent at once.
var quick = coap.Params{AckTimeout: 10 * time.Millisecond, EmptyAckDelay: 5 * time.Millisecond, DefaultLeisure: -1}

// request is something that an address may ask that is not its own.
type request struct {
	name string
	message.Message
}

func requests() []request {
	large := get(message.Confirmable, 1, "t", "large")
	non := get(message.NonConfirmable, 1, "t", "large")
	slow := get(message.Confirmable, 1, "t", "slow")
	observed := get(message.Confirmable, 1, "t", "large")
	observed.Options = observed.Options.Clone()
	observed.Options.SetUint(message.OptionObserve, 0)
	observedNon := observed
	observedNon.Type = message.NonConfirmable
	links := get(message.Confirmable, 1, "t", ".well-known")
	links.Options.AddString(message.OptionURIPath, "core")
	post := get(message.Confirmable, 1, "t", "large")
	post.Code = message.POST
	blocks := get(message.Confirmable, 1, "t", "large")
	blocks.Options.AddUint(message.OptionBlock2, 6)
	return []request{
		{"GET of 1 KiB", large}, {"the same, Non-confirmable", non}, {"the same, answered late", slow},
		{"the same in blocks", blocks}, {"POST answered with 1 KiB", post},
		{"observe", observed}, {"observe, Non-confirmable", observedNon}, {"/.well-known/core", links},
		{"nothing there", get(message.Confirmable, 1, "", "x")}, {"ping", message.Message{MessageID: 1}},
		{"malformed", message.Message{Type: message.Confirmable, Code: message.Content, MessageID: 1}},
	}
}

// What goes to an address that may be forged is at most three times what has come from it, headers and
// repetitions included, and it observes nothing. Who asks for more has to prove that he is there.
//
// Proves 9175-2.4-03, 9175-2.6-01, 7252-11.3-01.
func TestAmplification(t *testing.T) {
	worst := 0.0
	for _, r := range requests() {
		t.Run(r.name, func(t *testing.T) {
			s := serve(t, "127.0.0.1:0", &coap.Config{Params: quick})
			p := s.peer("127.0.0.9:0")
			sent := encode(t, r.Message)
			p.sendBytes(sent)
			worst = max(worst, s.received(p, sent))
		})
	}
	for name, path := range map[string]string{"group": "large", "group, discovery": ".well-known"} {
		t.Run(name, func(t *testing.T) {
			s, group, lo := serveGroup(t)
			p := s.peer("0.0.0.0:0") // the system chooses an address that groups can be asked from
			m := get(message.NonConfirmable, 1, "t", path)
			if path == ".well-known" {
				m.Options.AddString(message.OptionURIPath, "core")
			}
			sent := encode(t, m)
			_, err := p.conn.WriteBatch([]transport.Datagram{{Data: sent, Remote: group, IfIndex: lo}})
			require.NoError(t, err)
			early := p.fence()
			if st := s.rest(); st.Dropped[exchange.DropUndelivered]+st.Dropped[exchange.DropWrite] > 0 {
				t.Skip("the system has no address to answer a group from but the loopback one")
			}
			worst = max(worst, s.received(p, sent, early...))
		})
	}
	figure(t, "at most %.2f times as many bytes go to an unproven address as have come from it", worst)
}

// serveGroup starts a site that belongs to a group on the loopback interface.
func serveGroup(t *testing.T) (s *site, group netip.AddrPort, lo int) {
	s = serve(t, "0.0.0.0:0", &coap.Config{Params: quick})
	ifi, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	group = netip.AddrPortFrom(netip.MustParseAddr("224.0.1.187"), s.to.Port())
	if err := s.conn.Join(group.Addr(), ifi.Index); err != nil {
		t.Skipf("no groups on the loopback interface: %v", err)
	}
	return s, group, ifi.Index
}

// received waits for all that p gets for what it has sent, and returns how many times as much that is.
func (s *site) received(p *peer, sent []byte, early ...[]byte) float64 {
	s.Helper()
	answers := append(early, p.fence()...) // the request was received
	s.until("all is sent", func(st coap.Stats) bool { return st.Handling+st.Exchanges == 0 })
	answers = append(answers, p.fence()...)
	require.NotEmpty(s, answers)
	require.Zero(s, s.ObserveStats().Observers, "nobody observes without a proof")
	bytes := 0
	for _, a := range answers {
		bytes += exchange.PacketSize(p.addr.Addr(), len(a))
		var m message.Message
		require.NoError(s, codec.DecodeUDP(a, &m))
		require.Equal(s, m.Code == message.Unauthorized, m.Options.Has(message.OptionEcho))
	}
	ratio := float64(bytes) / float64(exchange.PacketSize(p.addr.Addr(), len(sent)))
	require.LessOrEqual(s, ratio, float64(exchange.Amplification))
	figure(s, "%d answers, %.2f times as many bytes", len(answers), ratio)
	return ratio
}

// With the proof there are the whole answer and the observation.
//
// Proves 9175-2.3-02.
func TestProven(t *testing.T) {
	s := serve(t, "127.0.0.1:0", nil)
	for _, r := range requests() {
		if r.name != "GET of 1 KiB" && r.name != "observe" {
			continue
		}
		p := s.peer("127.0.0.9:0")
		got := p.prove(r.Message)
		require.Equal(t, message.Content, got.Code)
		require.Len(t, got.Payload, 1024)
		require.Equal(t, r.name == "observe", got.Options.Has(message.OptionObserve))
	}
	require.Equal(t, 1, s.ObserveStats().Observers)
}
