package coap_test

import (
	"context"
	"encoding/hex"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
)

// forwarder is a small proxy that observes what it is asked for: a client on one side, observers on
// the other (RFC 7641 section 5).
type forwarder struct {
	client *coap.Client
	ep     *coap.Endpoint

	mu    sync.Mutex
	known map[string]*known // by Proxy-Uri
}

// known is a resource that the proxy observes.
type known struct {
	ready chan struct{} // closed when there is a first value
	resp  *coap.Response
	at    time.Time
}

// observe returns what is known of uri, after registering for it if need be.
func (f *forwarder) observe(uri string) *known {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.known[uri]
	if k == nil {
		k = &known{ready: make(chan struct{})}
		f.known[uri] = k
		go f.follow(uri, k)
	}
	return k
}

func (f *forwarder) follow(uri string, k *known) {
	for n, err := range f.client.Observe(context.Background(), uri) {
		if err != nil {
			return
		}
		if n.Response == nil {
			continue
		}
		f.mu.Lock()
		first := k.resp == nil
		k.resp, k.at = n.Response, time.Now()
		f.mu.Unlock()
		if first {
			close(k.ready)
		} else {
			f.ep.Notify("/") // the path of all requests to a proxy
		}
	}
}

// ServeCoAP answers from the cache, with the age that the value has there.
func (f *forwarder) ServeCoAP(w *coap.Response, r *coap.Request) error {
	uri, ok := r.Options.First(message.OptionProxyURI)
	if !ok {
		return &coap.Error{Code: message.NotFound}
	}
	k := f.observe(string(uri))
	<-k.ready
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Code, w.Payload, w.Options = k.resp.Code, k.resp.Payload, k.resp.Options.Clone()
	w.Options.Remove(message.OptionObserve)
	age := time.Since(k.at)
	w.Options.SetUint(message.OptionMaxAge, uint64((k.resp.Options.MaxAge()-age)/time.Second)) // also the default, as in the figures
	return nil
}

func (f *forwarder) ChecksOptions() {}

var originAddr = netip.MustParseAddrPort("198.51.100.1:5683")

// sensorExample resolves the name of the figures.
type sensorExample struct{}

func (sensorExample) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{originAddr.Addr()}, nil
}

// newForwarder returns a proxy at serverAddr, a client as the peer of the rig, and the server.
func newForwarder(t *testing.T, cfg coap.Config) (r *rig, f *forwarder, origin *peer) {
	f = &forwarder{known: make(map[string]*known)}
	cfg.ServeObserve = observe.ServerConfig{ConfirmEvery: 2, Observable: func(*coap.Request) bool { return true }}
	r = newRig(t, f, &cfg)
	f.ep = r.ep
	f.client = &coap.Client{Endpoint: r.ep, Resolver: sensorExample{}}
	t.Cleanup(func() { f.client.Close() })
	return r, f, r.newPeer(originAddr)
}

// wantHex expects a message that is as these digits say, but for message ID, token and the value of
// the Observe option, which are ours.
func (p *peer) wantHex(why, digits string) packet {
	p.Helper()
	got := p.next(why)
	strip := func(data []byte) string {
		var m message.Message
		require.NoError(p, codec.DecodeUDP(data, &m))
		m.MessageID = 0
		if m.Code.IsRequest() {
			m.Token = nil
		} else if m.Options.Has(message.OptionObserve) {
			m.Options.SetUint(message.OptionObserve, 0)
		}
		b, err := codec.AppendUDP(nil, &m)
		require.NoError(p, err)
		return hex.EncodeToString(b)
	}
	require.Equal(p, strip(unhex(p, digits)), strip(got.raw), why)
	return got
}

// wantExactly expects these bytes.
func (p *peer) wantExactly(why, digits string) {
	p.Helper()
	require.Equal(p, digits, hex.EncodeToString(p.next(why).raw), why)
}

// Parts of the messages, in hexadecimal.
const (
	status     = "636f61703a2f2f73656e736f722e6578616d706c652f737461747573" // coap://sensor.example/status
	proxyURI   = "dd160f" + status                                          // Proxy-Uri
	observeURI = "60" + "dd100f" + status                                   // Observe: 0, Proxy-Uri
	getStatus  = "3d01" + "73656e736f722e6578616d706c65" + "30" + "56" + "737461747573"
	//            Uri-Host: sensor.example              Observe: 0  Uri-Path: status
	ready = "ff" + "7265616479"
	busy  = "ff" + "62757379"
)

// Figure 7: a proxy observes a resource to keep its cache up to date. What it answers clients has their
// message IDs and tokens, so these messages are those of the figure to the byte. The proxy is the test's own.
func TestObserveFigure7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f, origin := newForwarder(t, coap.Config{})
		f.observe("coap://sensor.example/status")
		get := origin.wantHex("the proxy registers", "41015fb8"+"1a"+getStatus)
		origin.send("ACK 2.05 mid=%d tok=%s opt=6:2a opt=14:3c pay=ready", get.MessageID, get.Token)
		pass(7 * time.Second)
		r.peer.sendHex("41011633" + "9a" + proxyURI)
		r.peer.wantExactly("from the cache, 7 seconds old", "61451633"+"9a"+"d10135"+ready)
		origin.send("NON 2.05 mid=0x5fc0 tok=%s opt=6:87 opt=14:3c pay=busy", get.Token)
		pass(11 * time.Second)
		r.peer.sendHex("41011634" + "9b" + proxyURI)
		r.peer.wantExactly("from the cache, 11 seconds old", "61451634"+"9b"+"d10131"+busy)
		origin.wantNothing("one registration is all")
	})
}

// Figure 8: a client observes a resource through a proxy, which acknowledges at once and registers
// then. A second client makes no second registration.
func TestObserveFigure8(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, origin := newForwarder(t, coap.Config{Params: coap.Params{EmptyAckDelay: -1}})
		r.peer.sendHex("41011635" + "6a" + observeURI)
		r.peer.wantExactly("acknowledged", "60001635")
		get := origin.wantHex("the proxy registers", "4101af90"+"aa"+getStatus)
		origin.send("ACK 2.05 mid=%d tok=%s opt=6:43 opt=14:3c pay=ready", get.MessageID, get.Token)
		got := r.peer.wantHex("the response", "4145af94"+"6a"+"6243c2"+"813c"+ready)
		r.peer.send("ACK 0.00 mid=%d", got.MessageID)
		first, _ := got.Options.Uint(message.OptionObserve)

		second := r.newPeer(peerAddr2)
		second.sendHex("41010001" + "77" + observeURI)
		second.wantExactly("acknowledged", "60000001")
		second.send("ACK 0.00 mid=%d", second.wantHex("from the cache", "4145af95"+"77"+"6243c2"+"813c"+ready).MessageID)
		origin.wantNothing("it has registered already")

		origin.send("NON 2.05 mid=0x5a20 tok=%s opt=6:9d opt=14:3c pay=busy", get.Token)
		next := r.peer.wantHex("the notification", "5145af9b"+"6a"+"62441c"+"813c"+busy)
		then, _ := next.Options.Uint(message.OptionObserve)
		require.True(t, observe.Fresher(uint32(first), got.at, uint32(then), next.at), "a sequence of its own")
		second.wantHex("fanned out", "5145af9c"+"77"+"62441c"+"813c"+busy)
	})
}
