package dtls

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/coapkit/coap/transport"
)

// Cause is why a handshake has failed.
type Cause uint8

// Causes.
const (
	// NoAnswer says that nothing came back in time.
	NoAnswer Cause = iota
	// Unfinished says that the other end stopped answering in the middle.
	Unfinished
	// WrongKey says that the pre-shared keys seem to differ: whoever cannot read the end of a handshake is silent about
	// it, or says so.
	WrongKey
	// UnknownIdentity says that the server has no key for the identity.
	UnknownIdentity
	// NoCredentials says that we have neither a key nor a certificate to use.
	NoCredentials
	// NoCommonSuite says that the two ends have no cipher suite in common.
	NoCommonSuite
	// CertificateExpired says that a certificate of the other end is not valid now.
	CertificateExpired
	// CertificateName says that the certificate of the server is for another name.
	CertificateName
	// CertificateUntrusted says that nobody whom we trust has signed the certificate of the other end.
	CertificateUntrusted
	// CertificateMissing says that the other end has no certificate, and should have one.
	CertificateMissing
	// CertificateRefused says that the other end wants a certificate of ours, or another one.
	CertificateRefused
	// Refused says that the other end has ended the handshake for another reason.
	Refused
	// NotSent says that a message could not be sent, or was not delivered.
	NotSent
	// Displaced says that a handshake gave way to others, or to a new one of the same peer.
	Displaced
	// Failed says that something else went wrong.
	Failed
	causes
)

var causeTexts = [causes]string{
	NoAnswer:             "no answer",
	Unfinished:           "the other end stopped answering in the middle of the handshake",
	WrongKey:             "the other end seems to have another pre-shared key for this identity, or none",
	UnknownIdentity:      "the server does not know this PSK identity",
	NoCredentials:        "there is neither a pre-shared key nor a certificate for this server",
	NoCommonSuite:        "no cipher suite in common: one end may want a pre-shared key, the other a certificate",
	CertificateExpired:   "a certificate of the other end is expired, or not valid yet",
	CertificateName:      "the certificate of the server is for another name",
	CertificateUntrusted: "the certificate of the other end is signed by nobody who is trusted here",
	CertificateMissing:   "the other end has no certificate",
	CertificateRefused:   "the other end does not accept our certificate, or wants one",
	Refused:              "the other end has refused",
	NotSent:              "a message could not be delivered",
	Displaced:            "given up in favour of another handshake",
	Failed:               "failed",
}

// String returns an explanation.
func (c Cause) String() string {
	if c >= causes {
		return fmt.Sprintf("cause %d", uint8(c))
	}
	return causeTexts[c]
}

// HandshakeError says that there is no session, and why.
type HandshakeError struct {
	Peer  netip.AddrPort
	Cause Cause
	Err   error // more about it; may be nil
}

// Error returns cause and details.
func (e *HandshakeError) Error() string {
	s := fmt.Sprintf("dtls: handshake with %v: %v", e.Peer, e.Cause)
	if e.Err != nil {
		s += fmt.Sprintf(" (%v)", e.Err)
	}
	return s
}

// Unwrap returns Err.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Timeout reports whether the other end did not answer.
func (e *HandshakeError) Timeout() bool { return e.Cause == NoAnswer || e.Cause == Unfinished }

// Is matches context.DeadlineExceeded if the other end did not answer.
func (e *HandshakeError) Is(target error) bool {
	return target == context.DeadlineExceeded && e.Timeout()
}

// Ending is why a session has ended. It matches transport.ErrSessionEnded.
type Ending uint8

// Endings.
const (
	// ClosedByPeer says that the peer has said so (close_notify).
	ClosedByPeer Ending = iota
	// FailedAtPeer says that the peer has sent a fatal alert.
	FailedAtPeer
	// Replaced says that the peer has begun another session from the same address.
	Replaced
	// Idle says that nothing has happened for Config.IdleTimeout.
	Idle
	// Evicted says that it gave way to others, see Config.MaxSessions.
	Evicted
	// Exhausted says that its sequence numbers are used up.
	Exhausted
	// Silent says that the peer has not answered for so long that it may have forgotten the session.
	Silent
	// ClosedHere says that we have closed it.
	ClosedHere
	endings
)

var endingTexts = [endings]string{
	ClosedByPeer: "closed by the peer", FailedAtPeer: "the peer has reported a failure", Replaced: "the peer has begun another one",
	Idle: "idle for too long", Evicted: "gave way to others", Exhausted: "out of sequence numbers", Silent: "the peer does not answer", ClosedHere: "closed",
}

// Error returns the reason.
func (e Ending) Error() string {
	if e >= endings {
		return "dtls: session ended"
	}
	return "dtls: session ended: " + endingTexts[e]
}

// Is matches transport.ErrSessionEnded.
func (e Ending) Is(target error) bool { return target == transport.ErrSessionEnded }

// Error is a mistake in using this package.
type Error string

// Error returns the message.
func (e Error) Error() string { return string(e) }

const (
	// ErrNoSession says that a datagram was to be sent without a session: see [Conn.Dial].
	ErrNoSession Error = "dtls: a datagram needs a session; Dial gives one"
	// ErrOtherName says that there is a session with this address for another name of it, which an address
	// cannot have at the same time.
	ErrOtherName Error = "dtls: the session with this address is for another name; use another Conn or Client for this one"
)
