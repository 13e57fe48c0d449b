//go:build !gofuzz

package fuzz

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// echoGiven is a value that a peer was given.
type echoGiven struct {
	peer  netip.AddrPort
	value []byte
	at    time.Time
}

// echoWorld is a server with peers that try to get at its answers.
type echoWorld struct {
	*testing.T
	server   exchange.Handler
	mode     echo.Mode
	life     time.Duration
	verified map[netip.AddrPort]bool
	given    []echoGiven
	body     int
	ran      bool
}

func (x *echoWorld) handle(w *exchange.Response, _ *exchange.Request) error {
	x.ran = true
	return w.Bytes(message.OctetStream, make([]byte, x.body))
}

// ask sends one request and checks what becomes of it.
func (x *echoWorld) ask(from netip.AddrPort, code message.Code, value []byte, observe bool, size int) {
	r := &exchange.Request{Code: code}
	if value != nil {
		r.Options.Set(message.OptionEcho, value)
	}
	if observe {
		r.Options.SetUint(message.OptionObserve, 0)
	}
	proven := x.verified[from]
	for _, g := range x.given {
		// The clock of a server counts seconds.
		young := time.Since(g.at) < x.life-time.Second
		proven = proven || g.peer == from && bytes.Equal(g.value, value) && young
	}
	before := x.verified[from]
	r.Arrive(exchange.Arrival{
		Context: context.Background(), Peer: exchange.Peer{Addr: from, Verified: before}, Size: size, Token: message.Token("tokn"),
		Verify: func(p exchange.Peer) { x.verified[p.Addr] = true },
	})
	x.ran = false
	w := new(exchange.Response)
	if err := x.server.ServeCoAP(w, r); err != nil {
		x.Fatalf("%v with %d bytes: %v", code, size, err)
	}
	challenge, challenged := w.Options.First(message.OptionEcho)
	switch {
	case proven && challenged || proven && !x.verified[from]:
		x.Fatalf("%v has proven its address by %x and is challenged", from, value)
	case !before && x.verified[from]:
		if !x.old(from, value) {
			x.Fatalf("%v is taken for proven by %x", from, value)
		}
	case !x.verified[from] && x.mode == echo.Always && (x.ran || !challenged):
		x.Fatalf("a request of %v was served", from)
	}
	if encoded, err := w.Options.Encoded(); !x.verified[from] {
		n := 4 + 4 + len(encoded) + len(w.Payload) + min(len(w.Payload), 1)
		if sent, come := exchange.PacketSize(from.Addr(), n), exchange.PacketSize(from.Addr(), size); err != nil || sent > 3*come {
			x.Fatalf("%d bytes of %v, which has proven nothing, are answered by %d, %v", come, from, sent, err)
		}
	}
	if challenged {
		if w.Code != message.Unauthorized || len(challenge) == 0 || len(challenge) > 40 {
			x.Fatalf("a challenge is %v %x", w.Code, challenge)
		}
		x.given = append(x.given[max(0, len(x.given)-20):], echoGiven{from, bytes.Clone(challenge), time.Now()})
	}
}

// old reports whether a value was ever given to a peer, and not too long ago.
func (x *echoWorld) old(from netip.AddrPort, value []byte) bool {
	for _, g := range x.given {
		if g.peer == from && bytes.Equal(g.value, value) && time.Since(g.at) <= x.life+time.Second {
			return true
		}
	}
	return false
}

// FuzzEchoServer has peers ask, with values of the Echo option that they were given, that others were
// given, that are too old, or that nobody was given. Only the first make an address proven; to others goes
// at most three times of what has come, and where all have to be proven, no handler runs for them.
func FuzzEchoServer(f *testing.F) {
	f.Add(byte(0), []byte{0, 0, 0, 200, 0, 1, 0, 200, 0, 0, 0, 200})
	f.Add(byte(2), []byte{1, 0, 4, 20, 1, 1, 4, 20, 2, 1, 4, 20, 0x80, 20, 0, 0, 1, 1, 4, 20})
	f.Add(byte(0), []byte{0, 0, 0, 120, 0, 0, 0, 80, 0, 0, 0x0C, 120})            // about three times
	f.Add(byte(2), []byte{1, 0, 0, 20, 0x80, 20, 0, 0, 1, 1, 0, 20, 1, 1, 0, 20}) // too old
	f.Add(byte(1), []byte{3, 0, 8, 255, 3, 3, 8, 255, 7, 2, 9, 9})
	f.Fuzz(func(t *testing.T, how byte, script []byte) {
		if len(script) > 400 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			x := &echoWorld{T: t, verified: map[netip.AddrPort]bool{}, life: 5 * time.Minute}
			cfg := echo.ServerConfig{Mode: []echo.Mode{echo.Large, echo.Large, echo.Always}[how%3]}
			if x.mode = cfg.Mode; how&0x80 != 0 {
				cfg.Lifetime, x.life = 10*time.Second, 10*time.Second
			}
			blocks := blockwise.NewServer(exchange.HandlerFunc(x.handle), blockwise.ServerConfig{})
			defer blocks.Shutdown(context.Background())
			x.server = echo.NewServer(blocks, cfg)
			for ; len(script) >= 4; script = script[4:] {
				op, which, kind, n := script[0], script[1], script[2], script[3]
				from := echoPeers[op&3]
				if op&0x80 != 0 {
					<-time.After(time.Millisecond << (which % 21))
					if op&0x40 != 0 { // it is forgotten
						delete(x.verified, from)
					}
					continue
				}
				var value []byte
				switch i, some := pick(x.given, n); {
				case which&3 == 1 && some:
					value = x.given[len(x.given)-1].value
				case which&3 == 2 && some:
					value = x.given[i].value
				case which&3 == 3:
					value = bytes.Repeat([]byte{n}, int(which>>2)%48)
				}
				if which&0x80 != 0 && len(value) > 0 { // nearly
					value = bytes.Clone(value)
					value[int(n)%len(value)] ^= 1 << (kind & 7)
				}
				code := []message.Code{message.GET, message.GET, message.FETCH, message.POST}[kind>>2&3]
				x.body = int(n) * int(1+kind&3)
				x.ask(from, code, value, kind&0x40 != 0, 12+len(value)+int(kind>>4&3)*20)
			}
		})
	})
}
