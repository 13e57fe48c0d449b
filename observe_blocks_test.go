package coap_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
)

// A FETCH whose body comes in blocks can observe: the notifications have the token of the last block,
// whose response has said that there will be some, and are what the whole body selects.
func TestObserveFetchInBlocks(t *testing.T) {
	for name, observed := range map[string][2]string{
		"said by the first block": {"opt=6:", ""},
		"said by all blocks":      {"opt=6:", "opt=6:"},
	} {
		bubble(t, name, func(t *testing.T) {
			d := newThermometer(t, observe.ServerConfig{})
			mux := coap.NewMux()
			mux.Handle("FETCH /temperature", d, coap.Route{Observable: true})
			r := newRig(t, mux, nil)
			p := r.peer
			p.send("CON FETCH mid=1 tok=a1 path=temperature %s opt=27:08 pay=0123456789abcdef", observed[0])
			first := p.want("more", "ACK 2.31 mid=1 tok=a1 opt=27:08")
			require.False(t, first.Options.Has(message.OptionObserve))
			p.send("CON FETCH mid=2 tok=a2 path=temperature %s opt=27:10 pay=ghi", observed[1])
			got := p.want("registered", "ACK 2.05 mid=2 tok=a2 opt=27:10 pay=18.50123456789abcdefghi")
			require.True(t, got.Options.Has(message.OptionObserve))
			d.set("19.2")
			r.ep.Notify("/temperature")
			n := p.want("a notification", "CON 2.05 tok=a2 pay=19.20123456789abcdefghi")
			require.True(t, n.Options.Has(message.OptionObserve))
			p.send("ACK 0.00 mid=%d", n.MessageID)
			p.send("CON FETCH mid=3 tok=a2 path=temperature opt=6:01 opt=27:08 pay=0123456789abcdef")
			p.next("deregisters")
			require.Zero(t, r.ep.Observers("/temperature"))
			pass(time.Minute)
			p.wantNothing("over")
		})
	}
}
