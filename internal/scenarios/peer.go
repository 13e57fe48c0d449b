package scenarios

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// peer is a coaptest.Peer that says why it wants what. Its messages are what the endpoint sends and receives, whatever the
// transport makes of them.
type peer struct {
	testing.TB
	*coaptest.Peer
	to     netip.AddrPort
	bridge *bridge // nil without sessions
}

// packet is a message that has come to a peer.
type packet struct {
	message.Message
	raw []byte
	at  time.Time
}

func (r *rig) newPeer(at netip.AddrPort) *peer {
	r.Helper()
	p := &peer{TB: r.TB, to: serverAddr}
	if r.net.over.Over == nil {
		if r.net.watched == nil {
			r.net.watched = coaptest.Watch(r.TB, r.net.Network)
		}
		p.Peer = coaptest.NewPeer(r.TB, r.net.watched, at)
		return p
	}
	p.bridge = newBridge(r.TB, r.net.listen(r.TB, at))
	p.Peer = coaptest.NewPeer(r.TB, p.bridge.near, at)
	if r.serves {
		r.net.connect(p.bridge.conn, serverAddr)
	} else {
		r.net.connect(r.conn, at)
	}
	return p
}

// leave makes the peer vanish.
func (p *peer) leave() {
	if p.bridge != nil {
		p.bridge.conn.Close()
	}
	p.Conn.Close()
}

// sendHex sends a datagram of these bytes.
func (p *peer) sendHex(digits string) {
	p.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(p, err)
	p.address()
	p.SendBytes(b)
}

// send sends the message that the line describes.
func (p *peer) send(format string, args ...any) {
	p.Helper()
	p.address()
	p.Send(format, args...)
}

func (p *peer) address() {
	p.To = p.to
	if p.bridge != nil {
		p.bridge.end(p.to)
	}
}

// want expects that the next message that has come is as the line says.
func (p *peer) want(why, format string, args ...any) packet {
	p.Helper()
	return toPacket(p.Expect(format+" # %s", append(slices.Clip(args), why)...))
}

// next takes the next message that has come.
func (p *peer) next(why string) packet {
	p.Helper()
	require.NotZero(p, p.Pending(), "%s: nothing has come", why)
	return toPacket(p.Next())
}

func toPacket(r *coaptest.Received) packet { return packet{r.Message, r.Bytes, r.At} }

// wantNothing expects that nothing (more) has come.
func (p *peer) wantNothing(why string) {
	p.Helper()
	if p.Pending() > 0 {
		p.Fatalf("%s: want nothing, got %v", why, p.Next())
	}
}

// await lets time pass until a message has come, at most some seconds.
func (p *peer) await(seconds int) {
	for range seconds {
		if p.Pending() > 0 {
			return
		}
		pass(time.Second)
	}
}

// bridge connects a scripted peer, which knows plain messages only and has a network of its own, with those that it
// talks to over sessions: it has its address in their network, and theirs in its own.
type bridge struct {
	near *coaptest.Network
	peer netip.AddrPort
	conn transport.Dialer
	t    testing.TB

	mu   sync.Mutex
	ends map[netip.AddrPort]*end
}

// end is somebody whom the peer talks to.
type end struct {
	conn    *mem.Conn
	session *transport.Session // the last that something has come in, if any
}

func newBridge(t testing.TB, conn transport.Conn) *bridge {
	t.Helper()
	b := &bridge{
		near: coaptest.NewNetwork(t, mem.Config{}), peer: conn.LocalAddr(), conn: conn.(transport.Dialer), t: t,
		ends: make(map[netip.AddrPort]*end),
	}
	go b.inward()
	return b
}

// inward hands on what comes to the peer.
func (b *bridge) inward() {
	ds := []transport.Datagram{{}}
	for {
		ds[0] = transport.Datagram{Data: make([]byte, 1<<16)}
		if _, err := b.conn.ReadBatch(ds); err != nil {
			return
		}
		if ds[0].Err != nil {
			continue
		}
		e := b.end(ds[0].Remote)
		if e == nil {
			return
		}
		b.mu.Lock()
		e.session = ds[0].Session
		b.mu.Unlock()
		_, _ = e.conn.WriteBatch([]transport.Datagram{{Data: ds[0].Data, Remote: b.peer}})
	}
}

// outward hands on what the peer sends to remote. What cannot be sent is lost, as on a network.
func (b *bridge) outward(e *end, remote netip.AddrPort) {
	ds := []transport.Datagram{{}}
	for {
		ds[0] = transport.Datagram{Data: make([]byte, 1<<16)}
		if _, err := e.conn.ReadBatch(ds); err != nil {
			return
		}
		if ds[0].Err != nil {
			continue
		}
		b.mu.Lock()
		s := e.session
		b.mu.Unlock()
		if s == nil {
			var err error
			if s, err = b.conn.Dial(context.Background(), remote, ""); err != nil {
				continue
			}
		}
		_, _ = b.conn.WriteBatch([]transport.Datagram{{Data: ds[0].Data, Remote: remote, Session: s}})
	}
}

// end returns the one who has an address, nil if the scenario is over.
func (b *bridge) end(remote netip.AddrPort) *end {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.ends[remote]
	if e == nil {
		conn, err := b.near.Listen(remote)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			b.t.Errorf("the peer cannot talk to %v: %v", remote, err)
			return nil
		}
		e = &end{conn: conn}
		b.ends[remote] = e
		go b.outward(e, remote)
	}
	return e
}
