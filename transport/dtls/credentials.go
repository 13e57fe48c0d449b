package dtls

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
)

// Who we are and whom we trust, in the terms of the library that does the handshakes.

const (
	defaultMTU              = 1200
	defaultCIDLength        = 6
	maxCIDLength            = 16
	defaultHandshakeTimeout = 10 * time.Second
	defaultMaxHandshakes    = 1000
	defaultMaxSessions      = 100_000
	// A quiet observation is heard of once in 24 hours (RFC 7641 section 4.5): the session has to be there then.
	defaultIdleTimeout = 25 * time.Hour
	maxResumable       = 24 * time.Hour // (RFC 5246 section F.1.4)
)

// withDefaults returns a complete copy.
func (c *Config) withDefaults() (*Config, error) {
	if c == nil {
		return nil, Error("dtls: a Config is needed: it says who we are, or whom to trust")
	}
	d := *c
	switch {
	case d.ConnectionID > maxCIDLength:
		return nil, fmt.Errorf("dtls: Config.ConnectionID is %d, more than %d bytes", d.ConnectionID, maxCIDLength)
	case d.MaxHandshakes < 0 || d.MaxSessions < 0:
		return nil, Error("dtls: Config.MaxHandshakes and Config.MaxSessions are at least 1; 0 means the default")
	case d.MTU != 0 && d.MTU < 256:
		return nil, fmt.Errorf("dtls: Config.MTU is %d; a handshake wants at least 256 bytes", d.MTU)
	}
	for _, id := range d.CipherSuites {
		if suiteOf(id) == nil {
			return nil, fmt.Errorf("dtls: Config.CipherSuites has %v, which is none of CipherSuites()", id)
		}
	}
	for i, cert := range d.Certificates {
		if len(cert.Certificate) == 0 || cert.PrivateKey == nil {
			return nil, fmt.Errorf("dtls: Config.Certificates[%d] lacks its chain or its private key; tls.X509KeyPair makes both", i)
		}
	}
	setInt(&d.MTU, defaultMTU)
	setInt(&d.ConnectionID, defaultCIDLength)
	setInt(&d.MaxHandshakes, defaultMaxHandshakes)
	setInt(&d.MaxSessions, defaultMaxSessions)
	d.ConnectionID = max(d.ConnectionID, 0)
	if d.HandshakeTimeout <= 0 {
		d.HandshakeTimeout = defaultHandshakeTimeout
	}
	if d.IdleTimeout == 0 {
		d.IdleTimeout = defaultIdleTimeout
	}
	if d.CipherSuites == nil {
		d.CipherSuites = CipherSuites()
	}
	if d.KeyLog != nil {
		d.KeyLog = &lockedWriter{w: d.KeyLog}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return &d, nil
}

func setInt(v *int, to int) {
	if *v == 0 {
		*v = to
	}
}

// lockedWriter writes one line at a time.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(b)
}

// serves reports whether we answer handshakes: only somebody who has a secret can.
func (c *Config) serves() bool { return c.PSK != nil || len(c.Certificates) > 0 }

// suites returns the cipher suites for these sorts of credentials.
func (c *Config) suites(psk, certificates bool) (ids []dtls.CipherSuiteID) {
	for _, id := range c.CipherSuites {
		if s := suiteOf(id); s.psk && psk || !s.psk && certificates {
			ids = append(ids, dtls.CipherSuiteID(id))
		}
	}
	return ids
}

// can returns which of these credentials there are cipher suites for.
func (c *Config) can(psk, certificates bool) (bool, bool) {
	return psk && len(c.suites(true, false)) > 0, certificates && len(c.suites(false, true)) > 0
}

// options returns those that both roles have.
func (h *handshake) options(suites []dtls.CipherSuiteID) []dtls.Option {
	c := h.conn
	opts := []dtls.Option{
		dtls.WithCipherSuites(suites...), dtls.WithMTU(c.cfg.MTU), dtls.WithSessionStore(memory{h}), dtls.WithLoggerFactory(silent{}),
		dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret),
	}
	if len(c.cfg.Certificates) > 0 {
		opts = append(opts, dtls.WithCertificates(c.cfg.Certificates...))
	}
	return opts
}

func (c *Conn) serverOptions(h *handshake) (opts []dtls.ServerOption) {
	psk, certificates := c.cfg.can(c.cfg.PSK != nil, len(c.cfg.Certificates) > 0)
	for _, o := range h.options(c.cfg.suites(psk, certificates)) {
		opts = append(opts, o)
	}
	if psk {
		opts = append(opts, dtls.WithPSK(func(identity []byte) ([]byte, error) { return h.lookUp(string(identity)) }))
		if c.cfg.Hint != "" {
			opts = append(opts, dtls.WithPSKIdentityHint([]byte(c.cfg.Hint)))
		}
	}
	if c.cfg.ConnectionID > 0 {
		opts = append(opts, dtls.WithConnectionIDGenerator(c.newCID))
	}
	if c.cfg.KeyLog != nil {
		opts = append(opts, dtls.WithKeyLogWriter(c.cfg.KeyLog))
	}
	if c.cfg.ClientCAs != nil || len(c.cfg.Pins) > 0 {
		// Whom to trust is found out below.
		opts = append(opts, dtls.WithClientAuth(dtls.RequireAnyClientCert),
			dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
				return h.verify(raw, c.cfg.ClientCAs, "", x509.ExtKeyUsageClientAuth)
			}))
	}
	return opts
}

// lookUp returns the key of a client.
func (h *handshake) lookUp(identity string) ([]byte, error) {
	h.seen.Lock()
	h.seen.identity, h.seen.keyed = identity, true
	h.seen.Unlock()
	key, err := h.conn.cfg.PSK(identity)
	switch {
	case err != nil:
		return nil, h.because(Failed, err)
	case key == nil:
		return nil, h.because(UnknownIdentity, fmt.Errorf("%q", identity))
	}
	return key, nil
}

func (c *Conn) clientOptions(h *handshake, hint string) (opts []dtls.ClientOption, err error) {
	server := ServerInfo{Addr: h.addr, Name: h.name, Hint: hint}
	var identity string
	psk := c.cfg.Credentials != nil
	if psk {
		if identity, _, err = c.cfg.Credentials(server); err != nil {
			return nil, h.because(NoCredentials, err)
		}
		psk = identity != ""
	}
	certificates := !psk || len(c.cfg.Certificates) > 0 || c.cfg.RootCAs != nil || len(c.cfg.Pins) > 0
	psk, certificates = c.cfg.can(psk, certificates)
	for _, o := range h.options(c.cfg.suites(psk, certificates)) {
		opts = append(opts, o)
	}
	if psk {
		h.seen.Lock()
		h.seen.identity = identity
		h.seen.Unlock()
		opts = append(opts, dtls.WithPSKIdentityHint([]byte(identity)),
			dtls.WithPSK(func(hint []byte) ([]byte, error) { return h.keyFor(server, identity, string(hint)) }))
	}
	name := c.cfg.ServerName
	if name == "" {
		name = h.name
	}
	if name != "" {
		opts = append(opts, dtls.WithServerName(name)) // (RFC 6066 section 3)
	} else {
		name = h.addr.Addr().WithZone("").String()
	}
	opts = append(opts, dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()),
		dtls.WithKeyLogWriter(secretsSink{h, c.cfg.KeyLog}),
		dtls.WithInsecureSkipVerify(true), // since it knows no pins, and not what to check an address by: verify does it
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			return h.verify(raw, c.cfg.RootCAs, name, x509.ExtKeyUsageServerAuth)
		}))
	return opts, nil
}

// keyFor returns our key for a server with this hint. If the hint asks for another identity than the one that was
// chosen without it, the handshake has to begin anew with that.
func (h *handshake) keyFor(server ServerInfo, chosen, hint string) ([]byte, error) {
	server.Hint = hint
	identity, key, err := h.conn.cfg.Credentials(server)
	if err != nil {
		return nil, h.because(NoCredentials, err)
	}
	if identity != chosen {
		h.seen.Lock()
		h.seen.another = &server
		h.seen.Unlock()
		return nil, h.because(Displaced, errors.New("the hint of the server asks for another identity"))
	}
	return key, nil
}

// verify checks the certificates of the other end. name is "" for clients. It may be called before for those of a session that could be
// resumed, whose refusal is not the end.
func (h *handshake) verify(raw [][]byte, roots *x509.CertPool, name string, usage x509.ExtKeyUsage) error {
	h.seen.Lock()
	h.seen.caused = false
	h.seen.Unlock()
	return h.check(raw, roots, name, usage)
}

func (h *handshake) check(raw [][]byte, roots *x509.CertPool, name string, usage x509.ExtKeyUsage) error {
	chain, err := parseChain(raw)
	if err != nil || len(chain) == 0 {
		return h.because(CertificateUntrusted, err)
	}
	if cause, err := h.conn.cfg.distrusts(chain, roots, name, usage); err != nil {
		return h.because(cause, err)
	}
	return nil
}

// distrusts returns what is wrong with the certificates of the other end, nil if nothing is.
func (c *Config) distrusts(chain []*x509.Certificate, roots *x509.CertPool, name string, usage x509.ExtKeyUsage) (Cause, error) {
	if slices.Contains(c.Pins, Pin(chain[0])) {
		return 0, nil
	}
	if len(c.Pins) > 0 && roots == nil {
		return CertificateUntrusted, errors.New("its key is not one of those that are pinned")
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(opts)
	if err == nil {
		if name == "" || isNamed(chain[0], name) {
			return 0, nil
		}
		return CertificateName, x509.HostnameError{Certificate: chain[0], Host: name}
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return CertificateExpired, err
	}
	return CertificateUntrusted, err
}

// isNamed reports whether a certificate is for this host: by a URI of CoAP among its alternative names, or its common name if it has no
// other (RFC 7252 section 9.1.3.3), or by a DNS name or an address (RFC 7925 section 4.4.1).
func isNamed(c *x509.Certificate, host string) bool {
	for _, u := range c.URIs {
		if (u.Scheme == "coaps" || u.Scheme == "coap") && strings.EqualFold(u.Hostname(), host) {
			return true
		}
	}
	if len(c.URIs)+len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses) == 0 {
		return strings.EqualFold(c.Subject.CommonName, host) && !strings.Contains(host, "*")
	}
	return c.VerifyHostname(host) == nil
}

func parseChain(raw [][]byte) (chain []*x509.Certificate, err error) {
	for _, der := range raw {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// Pin returns the pin of the key in a certificate, see [Config.Pins].
func Pin(c *x509.Certificate) [32]byte { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// identityOf returns who the other end is.
func (h *handshake) identityOf(left *secrets) (*Identity, error) {
	chain, err := parseChain(left.PeerCertificates)
	if err != nil {
		return nil, err
	}
	id := &Identity{Certificates: chain}
	switch {
	case !suiteOf(CipherSuite(left.CipherSuiteID)).psk:
	case h.client:
		h.seen.Lock()
		id.PSK = h.seen.identity
		h.seen.Unlock()
	default:
		id.PSK = string(left.IdentityHint)
	}
	return id, nil
}

// isFor reports whether a session with remote, which was not begun for name, can be used for it: its other end has shown to have that
// name, too. If we are not its client, that has to be what we would have asked of a server: who may be a client of ours is not
// yet whom our requests are for. It may wait.
func (c *Config) isFor(s *session, remote netip.AddrPort, name string) bool {
	id := s.identity()
	if len(id.Certificates) > 0 {
		host := name
		switch {
		case c.ServerName != "":
			host = c.ServerName
		case host == "":
			host = remote.Addr().WithZone("").String()
		}
		if s.client {
			return isNamed(id.Certificates[0], host)
		}
		_, err := c.distrusts(id.Certificates, c.RootCAs, host, x509.ExtKeyUsageServerAuth)
		return err == nil
	}
	if c.Credentials == nil || id.PSK == "" {
		return false
	}
	ours, key, err := c.Credentials(ServerInfo{Addr: remote, Name: name})
	switch {
	case err != nil || ours != id.PSK:
		return false
	case s.client:
		return true
	case c.PSK == nil:
		return false
	}
	theirs, err := c.PSK(id.PSK)
	return err == nil && len(key) > 0 && bytes.Equal(key, theirs)
}

// causeOf finds the cause in an error of the library, whose errors have no names; tests keep watch over their texts.
func causeOf(err error) Cause {
	switch text := err.Error(); {
	case strings.Contains(text, "cipher suite"):
		return NoCommonSuite
	case strings.Contains(text, "required client verification"):
		return CertificateMissing
	}
	return Failed
}

// silent is a logger of the library that says nothing: what matters is counted, and told by errors.
type silent struct{}

func (silent) NewLogger(string) logging.LeveledLogger { return silent{} }
func (silent) Trace(string)                           {}
func (silent) Tracef(string, ...any)                  {}
func (silent) Debug(string)                           {}
func (silent) Debugf(string, ...any)                  {}
func (silent) Info(string)                            {}
func (silent) Infof(string, ...any)                   {}
func (silent) Warn(string)                            {}
func (silent) Warnf(string, ...any)                   {}
func (silent) Error(string)                           {}
func (silent) Errorf(string, ...any)                  {}

var _ logging.LeveledLogger = silent{}

// store keeps what it takes to resume sessions (RFC 5246 section 7.3), the newest maxStored.
type store struct {
	mu    sync.Mutex
	until time.Duration
	kept  map[string]stored
	order []string
}

type stored struct {
	session dtls.Session
	at      time.Time
}

const maxStored = 10_000

func newStore(lifetime time.Duration) *store {
	if lifetime <= 0 || lifetime > maxResumable {
		lifetime = maxResumable
	}
	return &store{until: lifetime, kept: make(map[string]stored)}
}

// Set keeps a session.
func (s *store) Set(key []byte, session dtls.Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := string(key)
	if _, known := s.kept[k]; !known {
		s.order = append(s.order, k)
	}
	s.kept[k] = stored{session, time.Now()}
	for len(s.order) > 0 && (len(s.order) > 2*maxStored || len(s.kept) > maxStored) {
		delete(s.kept, s.order[0])
		s.order = s.order[1:]
	}
	return nil
}

// Get returns a session, or an empty one.
func (s *store) Get(key []byte) (dtls.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.kept[string(key)]
	if !ok || time.Since(k.at) > s.until {
		return dtls.Session{}, nil
	}
	return k.session, nil
}

// Del forgets a session.
func (s *store) Del(key []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, string(key))
	return nil
}

// memory is the store as a handshake sees it, which remembers what the session is kept by.
type memory struct{ *handshake }

func (m memory) Set(key []byte, session dtls.Session) error {
	m.seen.Lock()
	m.seen.kept = bytes.Clone(key)
	m.seen.Unlock()
	return m.conn.store.Set(key, session)
}

func (m memory) Get(key []byte) (dtls.Session, error) { return m.conn.store.Get(key) }
func (m memory) Del(key []byte) error                 { return m.conn.store.Del(key) }

var _ dtls.SessionStore = memory{}
