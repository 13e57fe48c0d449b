package observe

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
)

// Nobody misses a change while others leave, whose places are taken by those that have not been looked at, or while there is
// one more change, though only some observers are looked at in one go.
//
// Proves 7641-4.3.1-01.
func TestSweep(t *testing.T) {
	const observers = 5 * sweepBatch
	for name, meanwhile := range map[string]func(l *lab){
		"others leave": func(l *lab) {
			for port := range uint16(50) {
				l.ask(port, "t", deregister)
			}
		},
		"it changes again": func(l *lab) {
			l.mu.Lock()
			l.value = "3"
			l.mu.Unlock()
			l.Notify("/a")
		},
	} {
		bubble(t, name, func(t *testing.T) {
			l := newLab(t, ServerConfig{ConfirmEvery: 1 << 30, Settle: 20 * time.Hour, OnEnd: func(exchange.Peer, string, End) {}})
			for port := range uint16(observers) {
				l.register(port, "t")
			}
			l.answer = func(w *exchange.Response, r *exchange.Request) error {
				l.answer = nil
				l.mu.Unlock()
				meanwhile(l)
				l.mu.Lock()
				return w.Text("2")
			}
			l.set("2")
			pass(time.Minute)
			told := map[uint16]string{}
			for _, n := range l.sent {
				told[n.to.Addr.Port()] = string(n.resp.Payload)
			}
			for _, g := range l.groups {
				for _, o := range g.observers {
					require.Equal(t, l.value, told[o.from.remote.Port()], "client %d", o.from.remote.Port())
				}
			}
			require.Greater(t, l.Observers("/a"), observers-100)
		})
	}
}
