package echo

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/entropy"
	"github.com/coapkit/coap/message"
)

// Mode says which requests of peers that have not proven their address are answered by a
// challenge: 4.01 with an Echo option.
type Mode uint8

// The modes.
const (
	// Large: those whose answer would be more than three times as long, and those that register an
	// observer. It is the default.
	Large Mode = iota
	// Off: none. It is for networks where addresses cannot be forged, and for clients that do not
	// know the option.
	Off
	// Always: all but those to groups, before a handler sees them.
	Always
)

// String returns one word.
func (m Mode) String() string {
	switch m {
	case Large:
		return "large"
	case Off:
		return "off"
	case Always:
		return "always"
	}
	return "unknown"
}

// ServerConfig configures a [Server]. The zero value works. It is not modified after use.
type ServerConfig struct {
	Mode Mode
	// Lifetime is how old the value of an Echo option may be, 0 means 5 minutes. How long a proof
	// holds is for the endpoint to decide: as long as it remembers the peer.
	Lifetime time.Duration
	// AckDelay is how long the endpoint waits for a response before it acknowledges a request
	// without; 0 means half a second.
	AckDelay time.Duration
}

// Server is an [exchange.Handler], the outermost one, that keeps what goes to unverified peers within three
// times what has come from them (RFC 9175 section 2.4): for each request by itself, so that nothing
// has to be remembered of addresses that may be forged. Both are counted with the headers of UDP and
// IP, and with the acknowledgement of a request that waits for a separate response; that
// the endpoint does not retransmit more is its affair. Its methods may be called concurrently.
type Server struct {
	next   exchange.Handler
	cfg    ServerConfig
	key    [sha256.Size]byte
	hashes sync.Pool // of *keyedHash
	epoch  time.Time
	stats  struct{ challenges, proofs, stale, cut atomic.Uint64 }
}

// Stats are the counters of a [Server].
type Stats struct {
	Challenges uint64 // requests answered by a challenge
	Proofs     uint64 // requests that proved the address of their sender
	Refused    uint64 // requests with a value that is too old, or of nobody here for that address
	Shortened  uint64 // requests answered in blocks that are shorter than they could be
}

// NewServer returns a Server around next.
func NewServer(next exchange.Handler, cfg ServerConfig) *Server {
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = 5 * time.Minute
	}
	if cfg.AckDelay == 0 {
		cfg.AckDelay = 500 * time.Millisecond
	}
	s := &Server{next: next, cfg: cfg, epoch: time.Now()}
	entropy.Read(s.key[:])
	s.hashes.New = func() any { return &keyedHash{Hash: hmac.New(sha256.New, s.key[:])} }
	return s
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	return Stats{
		Challenges: s.stats.challenges.Load(), Proofs: s.stats.proofs.Load(),
		Refused: s.stats.stale.Load(), Shortened: s.stats.cut.Load(),
	}
}

// ServeCoAP answers r by the handler that s is around, or by a challenge.
func (s *Server) ServeCoAP(w *exchange.Response, r *exchange.Request) error {
	if s.cfg.Mode == Off {
		return s.next.ServeCoAP(w, r)
	}
	if value, ok := r.Options.First(message.OptionEcho); ok && s.prove(r, value) {
		r.Options.Remove(message.OptionEcho)
	}
	switch {
	case r.Peer().Verified || r.Peer().Secure:
		return s.next.ServeCoAP(w, r)
	case s.cfg.Mode == Always && !r.IsMulticast():
		return s.challenge(w, r)
	}
	if registers(r) {
		return s.challenge(w, r)
	}
	return s.limited(w, r)
}

// registers reports whether r asks for notifications (RFC 7641 section 2).
func registers(r *exchange.Request) bool {
	v, ok := r.Options.First(message.OptionObserve)
	n, _ := r.Options.Uint(message.OptionObserve)
	return ok && len(v) <= 3 && n == 0 && isSafe(r.Code)
}

// isSafe reports whether a method only reads (RFC 7252 section 5.1, RFC 8132 section 2).
func isSafe(c message.Code) bool { return c == message.GET || c == message.FETCH }

// limited answers r within the allowance of its sender.
func (s *Server) limited(w *exchange.Response, r *exchange.Request) error {
	if !isSafe(r.Code) {
		return s.short(w, r) // what was done cannot be undone
	}
	again := r
	if r.IsMulticast() {
		again = r.Clone() // handlers may change r
	}
	if err := s.next.ServeCoAP(w, r); err != nil {
		coded, ok := errors.AsType[*exchange.Error](err)
		if ok && !r.IsMulticast() && !s.affords(r, size(w, r)+1+len(coded.Diagnostic)) {
			return s.challenge(w, r)
		}
		return err
	}
	switch {
	case s.affords(r, size(w, r)):
		return nil
	case r.IsMulticast():
		// A group is not to be asked twice: the rest is asked of the member.
		w.Reset()
		return s.short(w, again)
	}
	return s.challenge(w, r)
}

// short answers r in blocks that are short enough, unless it has chosen a size, or goes on with a body.
func (s *Server) short(w *exchange.Response, r *exchange.Request) error {
	if r.Options.Has(message.OptionBlock2) {
		return s.next.ServeCoAP(w, r)
	}
	room := s.allowance(r, s.cfg.AckDelay) - exchange.PacketSize(r.Peer().Addr.Addr(), headerSize+reserved)
	szx := uint64(6)
	for szx > 0 && 16<<szx > room {
		szx--
	}
	r.Options.SetUint(message.OptionBlock2, szx)
	if err := s.next.ServeCoAP(w, r); err != nil {
		return err
	}
	const more, number = 8, 4
	switch v, ok := w.Options.Uint(message.OptionBlock2); {
	case !ok:
	case v>>number == 0 && v&more == 0:
		w.Options.Remove(message.OptionBlock2) // all is in it, and nobody has asked for blocks
	default:
		s.stats.cut.Add(1)
	}
	return nil
}

// affords reports whether a message of n bytes may answer r now.
func (s *Server) affords(r *exchange.Request, n int) bool {
	n = exchange.PacketSize(r.Peer().Addr.Addr(), n)
	if n <= s.allowance(r, s.cfg.AckDelay) {
		return true // in any case
	}
	var waited time.Duration
	if at := r.Received(); !at.IsZero() {
		waited = time.Since(at)
	}
	return n <= s.allowance(r, waited)
}

// allowance returns how many bytes with their headers may answer r, of which the acknowledgement has
// gone already if r has waited long enough for one.
func (s *Server) allowance(r *exchange.Request, waited time.Duration) int {
	from := r.Peer().Addr.Addr()
	n := exchange.Amplification * exchange.PacketSize(from, r.WireSize())
	if !r.NonConfirmable && waited >= s.cfg.AckDelay/2 {
		n -= exchange.PacketSize(from, headerSize)
	}
	return n
}

const headerSize = 4 // (RFC 7252 section 3)

// size returns how many bytes w will have in answer to r.
func size(w *exchange.Response, r *exchange.Request) int {
	n := headerSize + len(r.Token()) + len(w.Payload)
	if encoded, err := w.Options.Encoded(); err == nil {
		n += len(encoded)
	}
	if len(w.Payload) > 0 {
		n++ // the payload marker
	}
	return n
}

// reserved is how much of a message in blocks is kept for token, marker and options of usual length.
const reserved = 40

// diagnostic is for the users of clients that do not know the option. With it, a challenge is short enough for any
// request.
var diagnostic = []byte("repeat with this Echo, RFC 9175")

// challenge asks the sender of r to repeat it with an Echo option. That it is neither retransmitted nor
// suppressed is for the endpoint to see to.
func (s *Server) challenge(w *exchange.Response, r *exchange.Request) error {
	w.Reset()
	w.Code = message.Unauthorized
	w.Payload = diagnostic
	value := s.value(r.Peer().Addr, s.clock())
	w.Options.Set(message.OptionEcho, value[:])
	s.stats.challenges.Add(1)
	return nil
}

// prove reports whether value is one of ours. If it is, and the address of the peer and not too old,
// the peer is verified.
func (s *Server) prove(r *exchange.Request, value []byte) bool {
	if len(value) != valueSize {
		return false // of the application, or of nobody
	}
	made := binary.BigEndian.Uint32(value)
	want := s.value(r.Peer().Addr, made)
	if !hmac.Equal(want[:], value) || time.Duration(s.clock()-made)*time.Second > s.cfg.Lifetime {
		s.stats.stale.Add(1)
		return false
	}
	s.stats.proofs.Add(1)
	r.Verify()
	return true
}

// clock counts seconds.
func (s *Server) clock() uint32 { return uint32(time.Since(s.epoch) / time.Second) }

// A value has the time, and as much of a hash of it and the address as nobody guesses
// (RFC 9175 appendix A).
const valueSize = 4 + 8

func (s *Server) value(peer netip.AddrPort, made uint32) (v [valueSize]byte) {
	h := s.hashes.Get().(*keyedHash)
	defer s.hashes.Put(h)
	binary.BigEndian.PutUint32(v[:], made)
	addr := peer.Addr().As16()
	h.in = append(append(h.in[:0], v[:4]...), addr[:]...)
	h.in = binary.BigEndian.AppendUint16(h.in, peer.Port())
	h.Reset()
	h.Write(h.in)
	h.out = h.Sum(h.out[:0])
	copy(v[4:], h.out)
	return v
}

// keyedHash is kept for the next value: forged requests should make as little work as possible.
type keyedHash struct {
	hash.Hash
	in, out []byte
}
