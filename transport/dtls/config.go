package dtls

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/coapkit/coap/exchange"
)

// Config says who we are and whom we trust, and bounds what is kept. It must not be changed once it is in use.
type Config struct {
	// PSK returns the pre-shared key of a client that calls itself identity (RFC 4279), in the role of the server. A nil key says that
	// nobody has that name. It may be called concurrently and may wait. Nil means that clients
	// cannot use pre-shared keys. [Keys.Lookup] is one.
	PSK func(identity string) (key []byte, err error)
	// Hint is told to clients before they choose an identity, if it is not empty.
	Hint string
	// Credentials returns our identity and key for a server, in the role of the client. It is called for each
	// handshake, possibly twice, concurrently, and may wait. Nil means that we do not use pre-shared keys as a client. [PSK] makes one.
	Credentials func(server ServerInfo) (identity string, key []byte, err error)

	// Certificates are ours, in both roles, with their private keys. A server with certificates lets clients use
	// X.509; a client does if it has certificates, RootCAs or Pins, or no pre-shared key for the server.
	Certificates []tls.Certificate
	// RootCAs vouch for servers. Nil means those of the system.
	RootCAs *x509.CertPool
	// ClientCAs vouch for clients, which have to present a certificate if ClientCAs is not nil.
	ClientCAs *x509.CertPool
	// Pins are SHA-256 hashes of public keys (DER, SubjectPublicKeyInfo) that are trusted whoever has signed their certificate
	// and whatever name or date stands in it, in both roles; see [Pin]. With pins and without CAs nobody else is trusted, and
	// clients that use no pre-shared key have to present a certificate.
	Pins [][32]byte
	// ServerName is the name that the certificate of a server must bear. "" means the host of the URI.
	ServerName string

	// CipherSuites are those to be offered and accepted, the best first. Nil means all of [CipherSuites] that fit the credentials.
	CipherSuites []CipherSuite
	// MTU is the size of the largest datagram of a handshake, in bytes; 0 means 1200.
	MTU int
	// ConnectionID is the length of the connection IDs (RFC 9146) that clients that can do so address us by, 0 to 16
	// bytes; 0 means 6, a negative number none. A client keeps its session when its address changes, for as many bytes
	// in each of its messages. Sessions with one are not resumed, but begun anew. As a client we always offer to send those of a server.
	ConnectionID int
	// HandshakeTimeout is how long a handshake may take; 0 means 10 s.
	HandshakeTimeout time.Duration
	// MaxHandshakes is how many handshakes of others may be unfinished; 0 means 1000. Beyond it, the oldest that has not shown that its
	// address is its own gives way to a new one, or else the oldest of all; see docs/security.md.
	MaxHandshakes int
	// MaxSessions is how many sessions are kept; 0 means 100,000. Beyond it, the one that has been idle for the longest time is closed.
	MaxSessions int
	// IdleTimeout is how long a session may be idle before it is closed; 0 means 25 hours, a little more than the time between
	// two notifications where nothing changes (observe.ServerConfig.ConfirmWithin), a negative number for ever.
	IdleTimeout time.Duration

	// KeyLog, if not nil, gets the secrets of all sessions in the format that Wireshark reads. Who has it can read
	// everything.
	KeyLog io.Writer
	// OnSession, if not nil, is told when sessions begin and end, in the order in which it happens. It must not wait.
	OnSession func(SessionEvent)
	// Logger gets failed handshakes at level debug. Nil is silent.
	Logger *slog.Logger
}

// ServerInfo is what is known about a server when credentials for it are wanted.
type ServerInfo struct {
	Addr netip.AddrPort
	Name string // the host of the URI, "" if it was an address
	Hint string // of the server, "" as long as it has given none
}

// Keys are pre-shared keys by identity.
type Keys map[string][]byte

// Lookup is for [Config.PSK].
func (k Keys) Lookup(identity string) ([]byte, error) { return k[identity], nil }

// PSK returns a [Config.Credentials] that uses one identity and key for all servers.
func PSK(identity string, key []byte) func(ServerInfo) (string, []byte, error) {
	return func(ServerInfo) (string, []byte, error) { return identity, key, nil }
}

// Identity is who the other end of a session has proven to be.
type Identity struct {
	// PSK is the identity that goes with its pre-shared key; "" if it has used a certificate. To a client it is its own.
	PSK string
	// Certificates is its chain, its own first; nil if it has none.
	Certificates []*x509.Certificate
}

// IdentityOf returns who has sent a request or response over DTLS. ok is false if p has no session of
// this package. A client that has neither key nor certificate has an empty Identity.
func IdentityOf(p exchange.Peer) (id Identity, ok bool) {
	i, ok := p.Identity.(*Identity)
	if !ok {
		return Identity{}, false
	}
	return *i, true
}

// SessionEvent tells of a session.
type SessionEvent struct {
	Kind     SessionEventKind
	Addr     netip.AddrPort
	Identity Identity
	Client   bool  // we are its client
	Err      error // why it has ended, or could not begin
}

// SessionEventKind is what has happened.
type SessionEventKind uint8

// What happens to sessions.
const (
	SessionBegins SessionEventKind = iota
	SessionMoves                   // the peer has another address, by its connection ID
	SessionEnds
	SessionFails // there was no session: a handshake has failed
)
