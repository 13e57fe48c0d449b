package coap

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/engine"
	"github.com/coapkit/coap/transport"
)

// Secure sessions (RFC 7252 section 9). They are the transport's; here is which message belongs to which one, and what
// becomes of it when that ends.

// opConnect is the Op of an [OpError] that there is no session.
const opConnect = "connect"

// speaks returns nil if the endpoint can send requests for URIs of this scheme.
func (ep *Endpoint) speaks(scheme string) error {
	switch {
	case scheme == "coaps" && ep.dialer == nil:
		return exchange.RequestError("coaps needs DTLS, which this endpoint does not have: make one of a secure transport, such as that of package transport/dtls, or use coap")
	case scheme == "coap" && ep.dialer != nil:
		return exchange.RequestError("coap is without DTLS, and this endpoint has only secure sessions: use coaps, or an endpoint on UDP")
	}
	return nil
}

// nameOf returns the name that a server has to prove to be, "" if it has none but its address.
func nameOf(server Authority) string {
	if _, err := netip.ParseAddr(server.Host); err == nil {
		return ""
	}
	return server.Host
}

// target returns where a request goes, or a ping if it is nil, and over which session. It waits for one if there is none yet.
func (ep *Endpoint) target(ctx context.Context, to netip.AddrPort, name string, req *Request) (t engine.Target, err error) {
	t.Remote = to
	op := "ping"
	if req != nil {
		op, t.IfIndex = req.Code.String(), req.IfIndex
		if req.Session != nil {
			var ok bool
			if t.Session, ok = req.Session.(*transport.Session); !ok {
				err = &OpError{Op: op, Peer: to, Err: exchange.RequestError("Request.Session is no session: set it to Peer.Session of what was received")}
			}
			return t, err
		}
	}
	if ep.dialer == nil {
		return t, nil
	}
	if to.Addr().IsMulticast() {
		return t, &OpError{Op: op, Peer: to, Err: errSecureGroup}
	}
	ep.loop.give()
	t.Session, err = ep.dialer.Dial(ctx, to, name)
	if errors.Is(err, net.ErrClosed) {
		err = ErrClosed
	}
	if err != nil {
		return t, &OpError{Op: opConnect, Peer: to, Err: err}
	}
	return t, nil
}

const errSecureGroup = exchange.RequestError("a multicast group has no secure session: use an endpoint on UDP, and coap in place of coaps")

// unconnected reports whether err says that there is no session: another address of the server may do better.
func unconnected(err error) bool {
	op, ok := errors.AsType[*OpError](err)
	return ok && op.Op == opConnect
}

// doubt tells the transport that nothing sent over s since then was acknowledged.
func (ep *Endpoint) doubt(s *transport.Session, since time.Time) {
	if ep.dialer != nil && s != nil {
		ep.dialer.Doubt(s, time.Since(since))
	}
}

// repeats reports whether a request whose session has ended is to be sent over another one: nobody has received it, or
// it does no harm to do it twice. With a session of the caller's choice that fails again.
func (ep *Endpoint) repeats(req *Request, unsent bool) bool {
	return ep.dialer != nil && (req == nil || unsent || req.Code.IsIdempotent())
}

// sessionEnded reports whether d says that its session is over.
func sessionEnded(d *transport.Datagram) bool {
	return d.Err != nil && d.Session != nil && errors.Is(d.Err, transport.ErrSessionEnded)
}

// leave makes those forget a session who have something to send over it, if d says that it is over. The lock is not held.
func (ep *Endpoint) leave(d *transport.Datagram) {
	if sessionEnded(d) {
		p := Peer{Session: d.Session}
		ep.handler.Leave(p)
		ep.blocks.Leave(p)
	}
}

// openSecure opens the transport for coaps.
func (c *Config) openSecure() (transport.Conn, error) {
	if c.Secure == nil {
		return nil, &OpError{Op: "dial", Err: exchange.RequestError("coaps needs DTLS: set Config.Secure to what opens a secure transport, such as that of package transport/dtls, or use coap")}
	}
	conn, err := c.Secure()
	if err != nil {
		return nil, &OpError{Op: "dial", Err: err}
	}
	if _, ok := conn.(transport.Dialer); !ok {
		conn.Close()
		return nil, &OpError{Op: "dial", Err: exchange.RequestError("Config.Secure has opened a transport without secure sessions: it has to be a transport.Dialer")}
	}
	return conn, nil
}
