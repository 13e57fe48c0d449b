package dtls

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"github.com/coapkit/coap/transport"
)

// session is an established session. It costs memory and nothing else while it is idle.
type session struct {
	handle *transport.Session // what the layers above know it by
	client bool               // we are its client
	keys   *keyBlock

	// crypt guards what records change. It is taken after Conn.mu, if both are.
	crypt   sync.Mutex
	write   protection
	read    protection
	nextSeq uint64
	window  window
	// flight is our last flight of the handshake, for a peer that asks for it again; nil once it has shown that it
	// has it (RFC 6347 section 4.2.4).
	flight    [][]byte
	flightAt  time.Time
	fragments [4][quoted]byte // of what was sent last, to judge reports of what was not delivered
	sent      uint8

	// The rest is guarded by Conn.mu. Once the session has ended, its places do not change, and are read without.
	named   bool   // it can be used for requests to name: always if we are its client
	name    string // of the other end as a server
	remote  netip.AddrPort
	local   netip.AddrPort
	ifIndex int
	ended   error
	used    int64 // when there was a record, in ns since Conn.epoch
	heard   int64 // when the last one came
	queued  int64 // what used was when it was put into the list
	newer   *session
	older   *session
}

// quoted is how much of the ciphertext of a record has to come back to believe a report about it.
const quoted = 8

func (s *session) identity() *Identity { return s.handle.Identity.(*Identity) }

const epochOne = 1 << 48

// seal appends the record that carries data to dst.
func (s *session) seal(dst []byte, typ contentType, data []byte) ([]byte, error) {
	s.crypt.Lock()
	seq := s.nextSeq
	if seq > maxSequence {
		s.crypt.Unlock()
		return dst, Exhausted
	}
	s.nextSeq++
	start := len(dst)
	// The ciphers keep no state, so that sealing needs no lock.
	s.crypt.Unlock()
	dst = s.write.seal(dst, typ, epochOne|seq, data)
	if from := start + headerSize + len(s.write.cid) + explicitNonce; s.client && len(dst) >= from+quoted {
		s.crypt.Lock()
		copy(s.fragments[s.sent%4][:], dst[from:])
		s.sent++
		s.crypt.Unlock()
	}
	return dst, nil
}

// sentThis reports whether b is the beginning of one of the last records that were sent.
func (s *session) sentThis(b []byte) bool {
	from := headerSize + len(s.write.cid) + explicitNonce
	if len(b) < from+quoted {
		return false
	}
	s.crypt.Lock()
	defer s.crypt.Unlock()
	for _, f := range s.fragments[:min(s.sent, 4)] {
		if string(f[:]) == string(b[from:from+quoted]) {
			return true
		}
	}
	return false
}

// openRecord decrypts r in place. newest says that no later record has come before. ok is false unless it is authentic and comes for
// the first time.
func (s *session) openRecord(r *record) (typ contentType, data []byte, newest, ok bool) {
	s.crypt.Lock()
	defer s.crypt.Unlock()
	fresh := s.window.fresh(r.sequence)
	if r.epoch != 1 || !fresh && s.flight == nil {
		return 0, nil, false, false
	}
	if typ, data, ok = s.read.open(r); ok && !fresh {
		// Some repeat the end of their handshake under the same sequence number.
		return typ, nil, false, typ == typeHandshake
	}
	if ok {
		newest = s.window.take(r.sequence)
		if typ == typeData {
			s.flight = nil // it has read our part of the end of the handshake
		}
	}
	return typ, data, newest, ok
}

// lastFlight returns the flight to be sent again, if it is time.
func (s *session) lastFlight(now time.Time) [][]byte {
	s.crypt.Lock()
	defer s.crypt.Unlock()
	if s.flight == nil || now.Sub(s.flightAt) < 200*time.Millisecond {
		return nil
	}
	s.flightAt = now
	return s.flight
}

// Alerts (RFC 5246 section 7.2).
const (
	alertWarning = 1
	alertFatal   = 2

	closeNotify          = 0
	badRecordMAC         = 20
	handshakeFailure     = 40
	noCertificate        = 41
	badCertificate       = 42
	unsupportedCert      = 43
	certificateRevoked   = 44
	certificateExpired   = 45
	certificateUnknown   = 46
	unknownCA            = 48
	decryptError         = 51
	insufficientSecurity = 71
	internalError        = 80
	unknownPSKIdentity   = 115 // RFC 4279 section 6
)

// plainAlert returns the alert that a record of epoch 0 carries.
func plainAlert(r *record) (level, description byte, ok bool) {
	if r.typ != typeAlert || r.epoch != 0 || len(r.body) != 2 {
		return 0, 0, false
	}
	return r.body[0], r.body[1], true
}

// helloRandom returns the random bytes of the ClientHello that a record begins with, if it is the first
// message of a handshake (RFC 6347 section 4.2.2).
func helloRandom(r *record) (random [32]byte, ok bool) {
	const header = 12
	if !isHandshake(r, clientHello) || len(r.body) < header+2+32 || binary.BigEndian.Uint16(r.body[4:]) != 0 {
		return random, false
	}
	copy(random[:], r.body[header+2:])
	return random, true
}

const (
	clientHello       = 1
	serverHello       = 2
	certificate       = 11
	serverHelloDone   = 14
	clientKeyExchange = 16
)

// fromServer reports whether a record begins with a message of a handshake that only servers send.
func fromServer(r *record) bool {
	if r.typ != typeHandshake || len(r.body) == 0 {
		return false
	}
	switch r.body[0] {
	case serverHello, 3, 4, 12, 13, serverHelloDone: // HelloVerifyRequest, NewSessionTicket, ServerKeyExchange, CertificateRequest
		return true
	}
	return false
}

// isHandshake reports whether a record of epoch 0 begins with this message of a handshake.
func isHandshake(r *record, message byte) bool {
	return r.typ == typeHandshake && r.epoch == 0 && len(r.body) > 0 && r.body[0] == message
}

// placeOf returns where the fragment of a handshake stands that a record begins with: its message_seq and
// fragment_offset (RFC 6347 section 4.2.2).
func placeOf(r *record) (uint64, bool) {
	if r.typ != typeHandshake || r.epoch != 0 || len(r.body) < 12 {
		return 0, false
	}
	return binary.BigEndian.Uint64(r.body[4:]) >> 24, true
}

// hasProtected reports whether there is a protected record in a datagram.
func hasProtected(b []byte, cidLen int) bool {
	for len(b) > 0 {
		r, rest, ok := nextRecord(b, cidLen)
		if !ok {
			return false
		}
		if r.epoch != 0 {
			return true
		}
		b = rest
	}
	return false
}
