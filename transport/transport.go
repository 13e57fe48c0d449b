// Package transport is the contract between the message layer and whatever carries
// datagrams: UDP sockets (package udp), a simulated network (package mem), a DTLS stack,
// or something of your own. It holds no logic.
//
// A transport moves whole datagrams in batches and says of each where it came from, which
// local address it was sent to, and over which interface it came. It knows nothing of
// CoAP. Package transporttest checks that an implementation keeps this contract.
package transport

import (
	"context"
	"net/netip"
	"time"
)

// Datagram is one datagram that was received, is to be sent, or came back undelivered.
//
// The bytes of Data belong to the caller of ReadBatch and WriteBatch. A [Conn] must not
// keep them after the call returns.
type Datagram struct {
	// Data is the payload of the datagram.
	//
	// Before ReadBatch its length is the room that the caller offers; ReadBatch
	// shortens it to what arrived. An empty datagram is a datagram of length 0.
	Data []byte

	// Remote is the other end: the source of a received datagram, the destination
	// of a sent one. IPv4 addresses are never in IPv4-mapped form, link-local IPv6
	// addresses carry their zone.
	Remote netip.AddrPort

	// Local is the unicast address and port that a received datagram was sent to, and the
	// address that a sent datagram shall leave from. The zero value, or a zero port, means
	// "unknown" on reading and "whatever routing chooses" on writing. Replying from
	// the address that was asked means to copy it from the request to the reply.
	//
	// For a datagram sent to a group it is the unicast address to reply from
	// where the system tells, else the zero address with the port. A link-local address
	// carries its zone.
	Local netip.AddrPort

	// Group is the multicast or broadcast address that a received datagram was sent to,
	// without zone; the zero Addr for a unicast datagram. Ignored on writing: the destination of a
	// datagram to a group is Remote.
	Group netip.Addr

	// IfIndex is the index of the network interface that a datagram came in by, or shall
	// leave by; 0 means "unknown" and "whatever routing chooses".
	IfIndex int

	// Session is the secure session or the connection that the datagram belongs
	// to; nil for plain datagrams. It knows where its other end is: on writing, Remote may be an address that
	// this had before.
	Session *Session

	// Truncated says that the datagram was longer than the room offered, so that
	// Data holds only its beginning.
	Truncated bool

	// Err, when not nil, says that this is no received datagram but the report that one
	// which was sent could not be delivered (an ICMP error). Remote is the
	// destination it had. Data holds the beginning of the bytes that were sent, as
	// far as the report quotes them. It is nil, not just empty, on systems that never
	// quote. Err matches a syscall.Errno by errors.Is where the system gives one.
	//
	// An Err that matches [ErrSessionEnded] says instead that Session is over; Remote is the address that
	// its other end had at last, and Data is nil.
	Err error
}

// Session is a secure session or a connection. All datagrams of one session carry
// the same pointer; messages of different sessions never match each other. What a new handshake leads to is another
// Session, also where DTLS would call it another epoch. It is immutable once it was handed out.
//
// When a session ends, whoever has ended it, ReadBatch reports that once by a Datagram with Session and an Err that
// matches [ErrSessionEnded]. Nothing is received over it afterwards, and to send over it is an error that matches
// ErrSessionEnded, too. It never comes back: later datagrams of the same peer belong to another Session.
type Session struct {
	// Secure says that datagrams of the session are authenticated and encrypted.
	Secure bool
	// Reliable says that the transport itself retransmits and keeps order.
	Reliable bool
	// Identity is who the other end has proven to be: a PSK identity as a string, a
	// certificate chain, or nil. Its type is documented by the transport.
	Identity any
}

// Conn sends and receives datagrams. All methods may be called concurrently: one
// goroutine may sit in ReadBatch while others call WriteBatch or Close.
type Conn interface {
	// ReadBatch waits until at least one datagram is there, stores as many as are
	// at hand, at most len(ds), in the first elements of ds, and returns
	// their number. It overwrites every field of those elements, and Data
	// as [Datagram] says. len(ds) must be at least 1.
	//
	// A transient condition (an ICMP error, a network that went away) is not an
	// error: it is reported by a Datagram with Err set, or skipped. An
	// error means that the Conn is of no more use; after Close it matches
	// net.ErrClosed. n is 0 when err is not nil.
	ReadBatch(ds []Datagram) (n int, err error)

	// WriteBatch sends the datagrams in order and returns how many it took care of.
	// n is less than len(ds) only together with an error, which is about ds[n];
	// the caller may go on with ds[n+1:]. Sending to one unreachable destination
	// does not disturb the others. After Close the error matches net.ErrClosed.
	//
	// A datagram larger than the transport can carry gives an error that
	// matches [ErrTooLarge].
	WriteBatch(ds []Datagram) (n int, err error)

	// LocalAddr is the address that the Conn is bound to. Its address part is
	// unspecified for a wildcard socket; the port never is 0.
	LocalAddr() netip.AddrPort

	// Close releases the Conn and ends blocked calls. Closing twice is harmless: the
	// second call returns nil.
	Close() error
}

// Dialer is a Conn with secure sessions that can begin them by itself, in the role of their client. What is sent to
// others than those that have begun a session with us needs Dial first.
type Dialer interface {
	Conn

	// Dial returns the session with the server at remote that is called name: the one that there is, or else a new
	// one, for which it waits until it stands. name is the host of the URI, which the server has to
	// prove to be; "" if that was an IP address, which takes its place. Servers with different names at one address have
	// sessions of their own. A session that the other end has begun, as our client, is one with that server only if it has proven
	// the same.
	//
	// Concurrent calls for the same remote and name share one attempt. The error is that of ctx when it ends first, which does
	// not end the attempt of others; one that matches net.ErrClosed after Close; else it says why there is no
	// session: nobody has answered, or one of both does not trust the other. Another call tries again.
	// The session that is returned may end at any time.
	Dial(ctx context.Context, remote netip.AddrPort, name string) (*Session, error)

	// Doubt says that the peer has not answered for this long what it should have. If nothing else has come over s meanwhile, s
	// ends: a server that has restarted may not know it any more, and cannot say so; Dial brings another one.
	Doubt(s *Session, silence time.Duration)
}

// Error is a sort of failure that every transport reports alike.
type Error string

// Error returns the message.
func (e Error) Error() string { return string(e) }

// ErrTooLarge says that a datagram exceeds what the transport can carry.
const ErrTooLarge Error = "transport: datagram too large"

// ErrSessionEnded says that a [Session] is over; see there.
const ErrSessionEnded Error = "transport: secure session ended"
