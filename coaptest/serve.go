package coaptest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// Serve asks a handler and returns its answer as a client gets it: h runs behind a server of its
// own, on a network that nobody else sees, and so all rules hold that hold for any server. A code that
// was not set is 2.05, errors and panics become codes, ETag gives 2.03, Accept 4.06, options
// that the route does not understand 4.02; bodies in blocks are put together, in both directions. The response has
// Code 0 if the server keeps silent, as to some requests that are Non-confirmable, say No-Response, or
// went to a group.
//
// The request may be one to a path or an absolute URI; where it says to send it does not matter. What
// the handler sees of the sender can be set before, each field if it is wanted:
//
//	req.Arrive(exchange.Arrival{
//		Peer:  exchange.Peer{Addr: from, Local: to, IfIndex: 3, Secure: true, Identity: "device-7"},
//		Group: netip.MustParseAddr("224.0.1.187"),
//	})
//
// Serve waits for the handler, however long it takes. It panics if the request cannot be sent, such
// as a GET with a payload, or no client would accept the response.
func Serve(h coap.Handler, req *coap.Request) *coap.Response {
	p, err := newPrivate(h, req)
	if err != nil {
		panic(fmt.Sprintf("coaptest.Serve: %v", err))
	}
	defer p.close()
	resp, err := p.ask(req)
	if errors.Is(err, context.Canceled) {
		return new(coap.Response)
	}
	if err != nil {
		panic(fmt.Sprintf("coaptest.Serve: %v", err))
	}
	return resp
}

// private is a network for one question.
type private struct {
	network        *mem.Network
	server, client *coap.Endpoint
	to             netip.AddrPort
	ctx            context.Context // ends when it is clear that there is no answer
	cancel         context.CancelFunc
}

// longer than any handler takes. It is also what the round trip waits at most.
const forever = 1000 * time.Hour

func newPrivate(h coap.Handler, req *coap.Request) (*private, error) {
	p := &private{network: mem.NewNetwork(mem.Config{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	from, at := req.Peer(), req.Local()
	if !at.IsValid() {
		at = netip.AddrPortFrom(addressLike(1, req.Group(), from.Addr.Addr()), coap.DefaultPort)
	}
	if !from.Addr.IsValid() {
		from.Addr = netip.AddrPortFrom(addressLike(2, at.Addr()), 0)
	}
	host, err := p.network.Host(mem.Interface{Index: from.IfIndex, Name: from.Addr.Addr().Zone(), Addrs: []netip.Addr{at.Addr()}})
	if err != nil {
		return nil, err
	}
	conn, err := host.Listen(at)
	if err != nil {
		return nil, err
	}
	p.to = at
	if g := req.Group(); g.IsValid() {
		p.to = netip.AddrPortFrom(g, at.Port())
		if err := conn.Join(g, 0); err != nil {
			return nil, err
		}
	}
	cfg := &coap.Config{
		Params: coap.Params{DefaultLeisure: -1, MaxLatency: forever, ResponseTimeout: forever},
		Trace: func(e coap.TraceEvent) {
			if e.Kind == coap.TraceDropped && (e.Reason == exchange.DropSuppressed || e.Reason == exchange.DropBadOption) {
				p.cancel()
			}
		},
	}
	cfg.SendBlocks.MaxBody = 1 << 30
	cfg.ServeEcho.Mode = echo.Off // or the handler runs twice
	if p.server, err = coap.NewEndpoint(sessionConn{conn, session(from)}, h, cfg); err != nil {
		return nil, err
	}
	if conn, err = p.network.Listen(from.Addr); err != nil {
		return nil, err
	}
	ours := *cfg
	ours.Trace = nil
	p.client, err = coap.NewEndpoint(conn, nil, &ours)
	return p, err
}

// addressLike is an address of the family of the first of others that is one.
func addressLike(host byte, others ...netip.Addr) netip.Addr {
	for _, a := range others {
		if a.Is6() {
			return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: host})
		}
		if a.Is4() {
			break
		}
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, host})
}

func (p *private) ask(req *coap.Request) (*coap.Response, error) {
	r := *req
	r.To, r.Params = p.to, nil
	if !req.IsMulticast() {
		resp := new(coap.Response)
		return resp, p.client.RoundTrip(p.ctx, &r, resp)
	}
	r.IfIndex, r.Window = 1, forever
	client := coap.Client{Endpoint: p.client}
	for resp, err := range client.Multicast(p.ctx, &r) {
		return resp, err
	}
	return nil, p.ctx.Err()
}

func (p *private) close() {
	p.cancel()
	p.client.Close()
	p.server.Close()
	p.network.Close()
}

// session is the secure session of a peer, nil if it has none.
func session(p exchange.Peer) *transport.Session {
	if !p.Secure && p.Identity == nil {
		return nil
	}
	return &transport.Session{Secure: p.Secure, Identity: p.Identity}
}

// sessionConn receives all datagrams in one session.
type sessionConn struct {
	*mem.Conn
	session *transport.Session
}

func (c sessionConn) ReadBatch(ds []transport.Datagram) (int, error) {
	n, err := c.Conn.ReadBatch(ds)
	for i := range ds[:n] {
		ds[i].Session = c.session
	}
	return n, err
}
