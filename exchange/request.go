package exchange

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/coapkit/coap/message"
)

// Request is a request, to be sent by a client or received by a server. Tokens, message IDs
// and types are the library's business; the sender only chooses between reliable
// and not.
type Request struct {
	// Code is the method.
	Code message.Code
	// Options of the request. Those that make up the URI are set by NewRequest.
	Options message.Options
	// Payload of the request. In a handler it is valid until the handler returns.
	Payload []byte
	// Body, if not nil, is the payload as a stream, in place of Payload.
	//
	// That of a client is read by RoundTrip, in the goroutine that called it, and never after
	// it has returned. The context governs the transfer, but cannot interrupt a Read that
	// waits. An io.ReadSeeker is read from its start, wherever it stands, and once more if
	// the transfer has to start again; other readers cannot. The caller closes it.
	//
	// In a handler it gives the blocks as they arrive, on routes whose bodies are streamed; it
	// is nil on others, see [Request.BodyReader]. It may be read until the handler returns.
	// When the transfer is given up, Context ends and Read fails. There is nothing to close.
	Body io.Reader
	// NonConfirmable says that the request was sent, or is to be sent, without
	// retransmission (RFC 7252 section 4.3).
	NonConfirmable bool

	// For clients.

	// Authority is who shall answer: scheme, host and port of the request URI. The zero
	// value means the server that the client is bound to.
	Authority Authority
	// To is the address to send the request to, if it is valid, whatever Authority says. Over a secure transport the
	// server has to prove to be Authority.Host all the same, if that is a name.
	To netip.AddrPort
	// Session is the session to send the request over: Peer.Session of something that was received, so that a server can ask
	// a client that has connected to it; To is Peer.Addr then. Nil means that of To.
	Session any
	// Params are the transmission parameters of this request; nil means those
	// of the destination.
	Params *Params
	// Understands are the critical options that the caller understands in the response. A
	// response with any other is rejected, and the exchange ends with ErrBadOption
	// (RFC 7252 section 5.4.1).
	Understands []message.OptionNumber
	// Window is how long responses to a request to a group are collected. 0 means
	// NON_LIFETIME, 145 s by default; some 10 s are enough where servers use the default
	// leisure. It is also how long a response is waited for after a request that declines
	// some classes of responses by No-Response, there 0 means 10 s (RFC 7967 section 2.1).
	Window time.Duration
	// IfIndex is the interface to send the request by, which matters for link-local and
	// multicast destinations without a zone; 0 lets routing choose.
	IfIndex int
	// NoWait makes a request that would have to wait for NSTART or a message ID fail
	// at once with ErrBusy.
	NoWait bool
	// Series, if not nil, makes requests that follow one another use one token. Servers need
	// not look at that, but some tell the blocks of one upload from others by it.
	Series *Series
	// Transfer has wishes about bodies that take several messages. It may be nil.
	Transfer *Transfer

	arrival  Arrival
	gathered func(whole *Request)
	pattern  string
	names    []string
}

// Series is what the requests of a series share: each is sent when the one before has ended. The
// zero value is a new one.
type Series struct {
	// Token is chosen by the endpoint with the first request; 0 until then.
	Token uint64
}

// Authority is the part of a URI that says where a resource lives. It is comparable.
type Authority struct {
	// Scheme is "coap" or "coaps".
	Scheme string
	// Host is a name in lower case or an IP address without brackets, with its zone.
	Host string
	// Port is the UDP port.
	Port uint16
}

// String returns the authority as the start of a URI, such as coap://[fe80::1%25eth0]:61616.
func (a Authority) String() string {
	u := message.URI{Scheme: a.Scheme, Host: a.Host, Port: a.Port}
	return strings.TrimSuffix(u.String(), "/")
}

// NewRequest returns a request with this method for an absolute URI such as
// "coap://[2001:db8::1]/sensors/temp?unit=C" or, for a client that is bound to a server, for
// a path with an optional query such as "/sensors/temp". The error is a
// *message.URIError that says what is wrong.
func NewRequest(method message.Code, uri string) (*Request, error) {
	r := &Request{Code: method}
	if strings.HasPrefix(uri, "/") {
		if err := r.Options.SetTarget(uri); err != nil {
			return nil, err
		}
		return r, nil
	}
	u, err := message.ParseURI(uri)
	if err != nil {
		return nil, err
	}
	r.Authority = Authority{Scheme: u.Scheme, Host: u.Host, Port: u.Port}
	// The request goes to where the URI points, so neither a literal address nor
	// the port need be said again (RFC 7252 section 6.4).
	addr, _ := u.Addr()
	if err := u.SetOptions(&r.Options, netip.AddrPortFrom(addr, u.Port)); err != nil {
		return nil, err
	}
	return r, nil
}

// Arrival is what an endpoint knows of a request that it received, besides its content.
type Arrival struct {
	// Context ends when the endpoint is closed.
	Context context.Context
	// Time is when the request was received, the zero Time if that is not known.
	Time time.Time
	// Peer sent the request.
	Peer Peer
	// Group is the multicast or broadcast address that the request was sent to, the zero
	// Addr for a unicast request.
	Group netip.Addr
	// Size is the length of the request on the wire, in bytes.
	Size int
	// Token of the request, a view that is valid as long as the request.
	Token message.Token
	// Pusher sends such responses; nil where that is not possible.
	Pusher Pusher
	// Registry knows the options that the endpoint knows; nil stands for the registered
	// ones.
	Registry *message.Registry
	// Verify tells the endpoint that Peer has shown that it receives what is sent to it; nil where
	// nobody wants to know.
	Verify func(Peer)
}

// Arrive marks r as received. It is for endpoints and for tests of handlers.
func (r *Request) Arrive(a Arrival) { r.arrival = a }

// Arrival returns what Arrive was called with.
func (r *Request) Arrival() Arrival { return r.arrival }

// Received returns when the request was received, or the zero Time.
func (r *Request) Received() time.Time { return r.arrival.Time }

// OnGathered makes f be called with the whole request before the handler is, if r has the last block of
// a body that a layer below gathers. It is for layers around that one: f may change the options of
// whole, and must clone it to keep it.
func (r *Request) OnGathered(f func(whole *Request)) { r.gathered = f }

// Gathered calls what OnGathered has set, if anything. It is for layers that gather bodies.
func (r *Request) Gathered() {
	if f := r.gathered; f != nil {
		r.gathered = nil
		f(r)
	}
}

// Context of a request in a handler ends when the server is closed. It is never nil.
func (r *Request) Context() context.Context {
	if r.arrival.Context == nil {
		return context.Background()
	}
	return r.arrival.Context
}

// Peer returns who sent the request.
func (r *Request) Peer() Peer { return r.arrival.Peer }

// Local returns the local address that the request was sent to.
func (r *Request) Local() netip.AddrPort { return r.arrival.Peer.Local }

// IsMulticast reports whether the request was sent to a group (RFC 7252 section 8).
func (r *Request) IsMulticast() bool { return r.arrival.Group.IsValid() }

// Group returns the group address that the request was sent to, or the zero Addr.
func (r *Request) Group() netip.Addr { return r.arrival.Group }

// WireSize returns the length of the received request on the wire, in bytes. An
// unverified peer should not get much more than that in return (RFC 7252 section 11.3).
func (r *Request) WireSize() int { return r.arrival.Size }

// Verify notes that the sender of the request has shown, by something in it, that it receives what is
// sent to its address: from now on its Peer is Verified. It is for layers that ask for such a proof
// (RFC 9175 section 2.4).
func (r *Request) Verify() {
	r.arrival.Peer.Verified = true
	if f := r.arrival.Verify; f != nil {
		f(r.arrival.Peer)
	}
}

// Token returns the token of a received request, which is valid as long as r. It is for layers that send
// further responses by Pusher.
func (r *Request) Token() message.Token { return r.arrival.Token }

// Pusher returns what sends further responses to the sender of r, or nil.
func (r *Request) Pusher() Pusher { return r.arrival.Pusher }

// Registry returns the definitions of the options that the endpoint knows.
func (r *Request) Registry() *message.Registry { return r.arrival.Registry }

// Path returns the path of the request URI, percent-encoded, "/" if there is none. Each
// Uri-Path option is one segment, whatever it contains.
func (r *Request) Path() string { return r.Options.Path() }

// Query returns the value of the first query argument "key=value" or "key", not
// percent-encoded, and whether there is one (RFC 7252 section 5.10.1).
func (r *Request) Query(key string) (value string, ok bool) { return r.Options.QueryValue(key) }

// Precondition returns an *[Error] with code 4.12 unless If-Match and If-None-Match allow the
// request, given whether the resource exists and its entity-tag, nil if it has none
// (RFC 7252 section 5.10.8). The handler calls it before it changes anything, under the lock
// that protects the resource. The route has to declare that it does, else such
// requests are answered with 4.02.
func (r *Request) Precondition(etag []byte, exists bool) error {
	if r.Options.Precondition(etag, exists) {
		return nil
	}
	return &Error{Code: message.PreconditionFailed}
}

// Pattern returns the pattern that the request matched in a Mux, or "".
func (r *Request) Pattern() string { return r.pattern }

// SetPattern says which pattern matched. names[i] is the name of the wildcard that stands for
// segment i of the path, or ""; a last name ending in "..." stands for all segments from
// there on. It is for routers; names is kept.
func (r *Request) SetPattern(pattern string, names []string) { r.pattern, r.names = pattern, names }

// PathValue returns the part of the path that the wildcard name of the matched pattern
// stands for, or "" if there is no such wildcard. The value of a wildcard {name} is the
// segment as it is, whatever bytes it has. The value of {name...} is the
// rest of the path joined by "/" with its segments percent-encoded, so that a slash within
// a segment cannot be mistaken for a border.
func (r *Request) PathValue(name string) string {
	if name == "" {
		return "" // the end of a pattern like "/files/" has no name
	}
	for i, n := range r.names {
		if rest, ok := strings.CutSuffix(n, "..."); ok && rest == name {
			return r.pathFrom(i)
		}
		if n == name {
			for v := range r.Options.Values(message.OptionURIPath) {
				if i == 0 {
					return string(v)
				}
				i--
			}
		}
	}
	return ""
}

func (r *Request) pathFrom(segment int) string {
	var rest message.Options
	i := 0
	for v := range r.Options.Values(message.OptionURIPath) {
		if i >= segment {
			rest.Add(message.OptionURIPath, v)
		}
		i++
	}
	if rest.Empty() {
		return ""
	}
	return rest.Path()[1:]
}

// Clone returns a copy of the request that may be kept after the handler has returned.
func (r *Request) Clone() *Request {
	c := *r
	c.Options = r.Options.Clone()
	c.Payload = bytes.Clone(r.Payload)
	c.arrival.Token = bytes.Clone(r.arrival.Token)
	return &c
}
