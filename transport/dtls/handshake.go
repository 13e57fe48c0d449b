package dtls

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/coapkit/coap/transport"
)

// handshake is one that is not finished yet.
type handshake struct {
	*pipe
	party
	name   string   // of the server, if we are the client
	random [32]byte // of the ClientHello that began it, if we are the server
	cancel context.CancelCauseFunc
	over   chan struct{} // is closed in the end
	early  [][]byte      // what the library has decrypted besides the handshake

	// The rest is guarded by Conn.mu.
	waiters int // in Dial
	gone    bool
	session *session
	err     error
	queue   *queueOfHandshakes // Conn.unproven or Conn.proven
	before  *handshake
	next    *handshake

	// What is learned on the way.
	seen struct {
		sync.Mutex
		proven   bool // the peer has shown that it receives at its address
		answered bool
		keyed    bool // keys were exchanged, or are about to be
		ending   bool // we have sent ChangeCipherSpec: what both ends send from here on is protected
		full     bool // the client has sent more than the end of the handshake: it is no resumption
		refused  byte // the description of its alert
		alerted  bool
		hungUp   bool   // it has closed what was not open yet
		kept     []byte // what the session is kept by in Conn.store
		next     uint64 // the place of what can be sent next, see placeOf
		records  uint64 // plaintext records that were sent
		sealed   int    // datagrams of the client with protected records
		cause    Cause  // of a failure, if there is something to be told better
		caused   bool
		identity string      // that we have used, or the peer
		another  *ServerInfo // credentials for which are to be used instead
		err      error
	}
	finish finish // of the client
}

// stopped is why a handshake was canceled, besides the end of the Conn.
type stopped struct {
	cause Cause
	err   error
}

func (s *stopped) Error() string { return s.cause.String() }

// queueOfHandshakes are unfinished ones of others, the oldest first.
type queueOfHandshakes struct{ first, last *handshake }

func (q *queueOfHandshakes) push(h *handshake) {
	h.queue, h.before = q, q.last
	if q.last != nil {
		q.last.next = h
	} else {
		q.first = h
	}
	q.last = h
}

// dequeue takes h out of its queue, if it is in one.
func (h *handshake) dequeue() {
	q := h.queue
	if q == nil {
		return
	}
	if h.before != nil {
		h.before.next = h.next
	} else {
		q.first = h.next
	}
	if h.next != nil {
		h.next.before = h.before
	} else {
		q.last = h.before
	}
	h.queue, h.before, h.next = nil, nil, nil
}

// oldest returns the handshake that gives way to a new one: the oldest whose peer has not shown that it is where it says, or else the
// oldest of all, which would have been over long ago if all was well. It is nil if there are none of others. Conn.mu is held.
func (c *Conn) oldest() *handshake {
	for h := c.unproven.first; h != nil; h = c.unproven.first {
		if !h.hasProven() {
			return h
		}
		h.dequeue()
		c.proven.push(h)
	}
	return c.proven.first
}

// shake processes a record of epoch 0, which only handshakes have. It reports whether a handshake has got the datagram.
func (c *Conn) shake(d *transport.Datagram, r *record) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	random, hello := helloRandom(r)
	as := party{d.Remote, !hello && fromServer(r)}
	h := c.shaking[as]
	if h == nil && !hello {
		as.client = !as.client
		h = c.shaking[as]
	}
	switch {
	case h == nil && (!hello || !c.cfg.serves() || c.closed):
		// Perhaps plaintext for an established session, which is none of it.
		c.stats.Unknown++
		return true // there is nothing else in the datagram to look for, but protected records
	case h != nil && hello && !h.client && random != h.random && !h.hasProven():
		h.stop(Displaced, nil) // the peer has begun anew
		c.leave(h)
		h = nil
	}
	if h == nil {
		if h = c.accept(d, as, random); h == nil {
			c.stats.NotStarted++
			return true
		}
	}
	h.learn(r)
	if hasProtected(d.Data, c.cfg.ConnectionID) {
		h.sealedAgain()
	}
	h.hand(d.Data)
	return true
}

// shakeProtected gives a datagram with protected records to a handshake of its sender.
func (c *Conn) shakeProtected(d *transport.Datagram) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range [...]bool{false, true} {
		if h := c.shaking[party{d.Remote, client}]; h != nil {
			h.sealedAgain()
			h.hand(d.Data)
			return true
		}
	}
	return false
}

// hand gives a datagram of the peer to the library, but for what is the session's: while a handshake ends, the library drops that
// without a word. Conn.mu is held.
func (h *handshake) hand(b []byte) {
	var own, later []byte
	for len(b) > 0 {
		r, rest, ok := nextRecord(b, h.conn.cfg.ConnectionID)
		switch {
		case !ok:
			own, rest = append(own, b...), nil
		case h.isForSession(&r):
			later = append(later, r.whole...)
		case r.typ == typeData:
			h.conn.stats.Unknown++ // there are no keys for it yet
		default:
			own = append(own, r.whole...)
		}
		b = rest
	}
	if len(own) > 0 && !h.deliver(own) {
		h.conn.stats.Lost++
	}
	if len(later) > 0 && !h.deliverLater(later) {
		h.conn.stats.Lost++
	}
}

// isForSession reports whether the session that comes of h is to have this record of the peer: data; and what a client sends after
// the end of a full handshake, which a session can answer if it is that end once more.
func (h *handshake) isForSession(r *record) bool {
	h.seen.Lock()
	defer h.seen.Unlock()
	return r.epoch != 0 && h.seen.ending && (r.typ == typeData || !h.client && h.seen.full)
}

func (c *Conn) isShaking(remote netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shaking[party{remote, false}] != nil || c.shaking[party{remote, true}] != nil
}

// accept begins a handshake that a peer has asked for, or returns nil. Conn.mu is held.
func (c *Conn) accept(d *transport.Datagram, as party, random [32]byte) *handshake {
	if len(c.shaking) >= c.cfg.MaxHandshakes {
		old := c.oldest()
		if old == nil {
			return nil
		}
		old.stop(Displaced, nil)
		c.leave(old)
	}
	h := c.begin(d, as)
	h.random = random
	c.unproven.push(h)
	opts := c.serverOptions(h)
	c.done.Add(1)
	go func() {
		defer c.done.Done()
		h.run(func() (*dtls.Conn, error) {
			return dtls.ServerWithOptions(h, net.UDPAddrFromAddrPort(h.addr), opts...)
		})
	}()
	return h
}

// begin makes the row of a handshake. Conn.mu is held.
func (c *Conn) begin(d *transport.Datagram, as party) *handshake {
	h := &handshake{pipe: newPipe(c, d), party: as, over: make(chan struct{})}
	h.onWrite = h.leaving
	c.shaking[as] = h
	c.stats.Started++
	return h
}

// leave takes h out of the table. Conn.mu is held.
func (c *Conn) leave(h *handshake) {
	h.gone = true
	h.dequeue()
	if c.shaking[h.party] == h {
		delete(c.shaking, h.party)
	}
}

func (h *handshake) hasProven() bool {
	h.seen.Lock()
	defer h.seen.Unlock()
	return h.seen.proven
}

// stop ends a handshake for this reason.
func (h *handshake) stop(cause Cause, err error) {
	if h.cancel != nil {
		h.cancel(&stopped{cause, err})
	}
	_ = h.pipe.Close()
}

// WriteTo notes what could not be sent.
func (h *handshake) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := h.pipe.WriteTo(b, to)
	if err != nil {
		_ = h.because(NotSent, err)
	}
	return n, err
}

// learn looks at a plaintext record of the peer.
func (h *handshake) learn(r *record) {
	h.seen.Lock()
	defer h.seen.Unlock()
	h.seen.answered = true
	if h.client && isHandshake(r, serverHello) {
		h.finish.hello(r.body)
	}
	h.seen.full = h.seen.full || !h.client && (isHandshake(r, certificate) || isHandshake(r, clientKeyExchange))
	level, description, ok := plainAlert(r)
	switch {
	case ok && level == alertFatal:
		h.seen.alerted, h.seen.refused = true, description
	case ok && description == closeNotify:
		h.seen.hungUp = true
	}
}

// unwrapAlert takes the connection ID out of an alert that is not encrypted: the library puts it there, though only encrypted records have
// one (RFC 9146 section 4).
func unwrapAlert(b []byte) []byte {
	n := len(b)
	if n < headerSize+3 || b[0] != byte(typeCID) || b[3] != 0 || b[4] != 0 || b[n-1] != byte(typeAlert) {
		return b
	}
	plain := append([]byte{byte(typeAlert)}, b[1:11]...)
	return append(plain, 0, 2, b[n-3], b[n-2])
}

// leaving looks at what the library sends, and says whether it does so again. The lock of the pipe is held.
func (h *handshake) leaving(b []byte) (_ []byte, again bool) {
	b = unwrapAlert(b)
	r, _, ok := nextRecord(b, 0)
	if !ok {
		return b, false
	}
	h.seen.Lock()
	defer h.seen.Unlock()
	for rest, one := b, r; ok; one, rest, ok = nextRecord(rest, 0) {
		if one.epoch == 0 {
			h.seen.records = max(h.seen.records, one.sequence+1)
		}
		h.seen.ending = h.seen.ending || one.typ == typeChangeCipherSpec
	}
	switch {
	case isHandshake(&r, serverHello):
		h.seen.proven = true // the cookie has come back
	case h.client && (isHandshake(&r, certificate) || isHandshake(&r, clientKeyExchange)):
		h.seen.keyed, h.seen.full = true, true
	}
	if _, description, ok := plainAlert(&r); ok && description == internalError && h.seen.caused && h.seen.cause == UnknownIdentity {
		// The library has no word for it (RFC 4279 section 2).
		b = bytes.Clone(b)
		b[headerSize+1] = unknownPSKIdentity
	}
	if at, ok := placeOf(&r); ok {
		again = at < h.seen.next
		h.seen.next = max(h.seen.next, at+1)
	}
	if h.client {
		b = h.finish.mend(b)
	}
	return b, again
}

// sealedAgain notes that the client has sent the end of its handshake. If it repeats that, the library cannot read it: the keys differ, and to say so
// spares the client from waiting until it gives up (RFC 6347 section 4.1.2.7 allows both).
func (h *handshake) sealedAgain() {
	h.seen.Lock()
	defer h.seen.Unlock()
	if h.seen.sealed++; h.seen.sealed == 2 && !h.client {
		time.AfterFunc(unreadable, h.refuseKey)
	}
}

// unreadable is for how long what was repeated may have been a copy that the network has made.
const unreadable = 500 * time.Millisecond

// refuseKey ends a handshake whose end cannot be read.
func (h *handshake) refuseKey() {
	select {
	case <-h.over:
		return
	default:
	}
	h.seen.Lock()
	n, keyed := h.seen.records, h.seen.keyed
	h.seen.Unlock()
	if !keyed {
		return
	}
	alert := []byte{byte(typeAlert), version12 >> 8, version12 & 0xFF, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 2, alertFatal, decryptError}
	_, _ = h.WriteTo(alert, nil)
	h.stop(WrongKey, nil)
}

// because notes why the handshake is about to fail.
func (h *handshake) because(cause Cause, err error) error {
	h.seen.Lock()
	defer h.seen.Unlock()
	if !h.seen.caused {
		h.seen.cause, h.seen.caused, h.seen.err = cause, true, err
	}
	if err == nil {
		err = errors.New(cause.String())
	}
	return err
}

// run does the handshake and makes the session.
func (h *handshake) run(connect func() (*dtls.Conn, error)) {
	c := h.conn
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.HandshakeTimeout)
	defer cancel()
	ctx, cause := context.WithCancelCause(ctx)
	defer cause(nil)
	c.mu.Lock()
	h.cancel = cause
	gone := h.gone
	c.mu.Unlock()
	var s *session
	err := error(&stopped{cause: Displaced})
	if !gone {
		s, err = h.shakeHands(ctx, connect)
	}
	h.rest()
	h.conclude(ctx, s, err)
}

// shakeHands returns the session, which is in no table yet.
func (h *handshake) shakeHands(ctx context.Context, connect func() (*dtls.Conn, error)) (*session, error) {
	pc, err := connect()
	if err != nil {
		return nil, err
	}
	defer pc.Close() // of which nothing leaves the pipe
	if err := pc.HandshakeContext(ctx); err != nil {
		h.mu.Lock()
		h.cut = true
		h.mu.Unlock()
		return nil, err
	}
	early := make(chan [][]byte, 1)
	go func() { early <- readAll(pc) }()
	flight := h.detach()
	left, err := secretsOf(pc)
	_ = h.pipe.Close() // which lets the library end reading when all that it has decrypted is read
	data := <-early
	if err != nil {
		return nil, err
	}
	s, err := h.newSession(left, flight)
	if err != nil {
		return nil, err
	}
	h.early = data
	return s, nil
}

// plaintexts has room for what a record carries; on the stack, that would have to grow for it.
var plaintexts = sync.Pool{New: func() any { return new([maxPlaintext]byte) }}

// readAll returns what c has decrypted until its connection ends.
func readAll(c *dtls.Conn) (all [][]byte) {
	room := plaintexts.Get().(*[maxPlaintext]byte)
	defer plaintexts.Put(room)
	b := room[:]
	for {
		n, err := c.Read(b)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err == nil { // else it is about an alert
			all = append(all, bytes.Clone(b[:n]))
		}
	}
}

// newSession makes a session of what the handshake has left.
func (h *handshake) newSession(left *secrets, flight [][]byte) (*session, error) {
	switch {
	case h.client:
	case !h.isFull():
		// As a server, the library resumes sessions without connection IDs, whatever it has noted of those of the client.
		left.LocalConnectionID, left.RemoteConnectionID = nil, nil
	case len(left.LocalConnectionID) > 0:
		h.forget() // so that the client has one next time, too
	}
	keys, err := left.keyBlock()
	if err != nil {
		return nil, err
	}
	id, err := h.identityOf(left)
	if err != nil {
		return nil, err
	}
	s := &session{client: h.client, named: h.client, name: h.name, keys: keys, remote: h.remote, local: h.local, ifIndex: h.ifIndex, flight: flight}
	s.handle = &transport.Session{Secure: true, Identity: id}
	return s, s.start()
}

// forget makes that the session is not resumed.
func (h *handshake) forget() {
	h.seen.Lock()
	defer h.seen.Unlock()
	_ = h.conn.store.Del(h.seen.kept) // there is nothing that can fail
}

// start makes the ciphers and counters of a session of its keys.
func (s *session) start() (err error) {
	s.write, s.read, err = s.keys.protections()
	s.nextSeq, s.window.next, s.window.seen = s.keys.NextWrite, s.keys.NextRead, 1<<64-1
	return err
}

// conclude ends the handshake, with a session or without.
func (h *handshake) conclude(ctx context.Context, s *session, err error) {
	c := h.conn
	now := time.Now()
	if s == nil {
		err = h.explain(ctx, err)
	}
	c.mu.Lock()
	wasGone := h.gone
	c.leave(h)
	var gone []*session
	switch {
	case s == nil:
	case c.closed:
		s, err = nil, &HandshakeError{Peer: h.addr, Cause: Failed, Err: net.ErrClosed}
	case wasGone:
		s, err = nil, &HandshakeError{Peer: h.addr, Cause: Displaced}
	default:
		gone = c.add(s, now)
		if !h.isFull() {
			c.stats.Resumed++
		}
	}
	h.session, h.err = s, err
	if e, ok := errors.AsType[*HandshakeError](err); ok {
		c.stats.Failed[e.Cause]++
	}
	left := h.left()
	c.mu.Unlock()
	close(h.over)
	for _, old := range gone {
		c.bury(old, old.ended != error(Replaced))
	}
	if s == nil {
		c.log.Debug("dtls: handshake failed", "peer", h.addr, "error", err)
		c.tell(SessionEvent{Kind: SessionFails, Addr: h.addr, Client: h.client, Err: err})
		return
	}
	c.tell(SessionEvent{Kind: SessionBegins, Addr: h.addr, Identity: *s.identity(), Client: h.client})
	for _, b := range h.early {
		c.in.put(&transport.Datagram{Data: b, Remote: h.remote, Local: h.local, IfIndex: h.ifIndex, Session: s.handle})
	}
	for _, b := range left {
		c.receive(&transport.Datagram{Data: b, Remote: h.remote, Local: h.local, IfIndex: h.ifIndex}, now)
	}
}

func (h *handshake) isFull() bool {
	h.seen.Lock()
	defer h.seen.Unlock()
	return h.seen.full
}

// explain says why the handshake has failed, as well as it can be known.
func (h *handshake) explain(ctx context.Context, err error) error {
	h.seen.Lock()
	defer h.seen.Unlock()
	e := &HandshakeError{Peer: h.addr, Cause: Failed, Err: err}
	var why *stopped
	switch {
	case h.seen.caused:
		e.Cause, e.Err = h.seen.cause, h.seen.err
	case errors.As(context.Cause(ctx), &why):
		e.Cause, e.Err = why.cause, why.err
	case h.seen.alerted:
		e.Cause = causeOfAlert(h.seen.refused, h.usesPSK(), h.client && h.seen.keyed)
	case h.conn.ctx.Err() != nil:
		e.Err = net.ErrClosed
	case h.seen.hungUp && h.seen.keyed && h.usesPSK(): // as servers with GnuTLS do after a while
		e.Cause, e.Err = WrongKey, nil
	case h.seen.hungUp:
		e.Cause, e.Err = Refused, nil
	case !errors.Is(err, context.DeadlineExceeded):
		e.Cause = causeOf(err)
	case !h.seen.answered:
		e.Cause, e.Err = NoAnswer, nil
	case h.seen.keyed && h.usesPSK():
		e.Cause, e.Err = WrongKey, nil
	default:
		e.Cause, e.Err = Unfinished, nil
	}
	return e
}

// usesPSK reports whether a pre-shared key was asked for. The lock of seen is held.
func (h *handshake) usesPSK() bool { return h.seen.identity != "" }

// causeOfAlert says what an alert means to who uses a pre-shared key, or certificates, and knows the cipher suite of the handshake already.
func causeOfAlert(description byte, psk, chosen bool) Cause {
	switch description {
	case unknownPSKIdentity:
		return UnknownIdentity
	case decryptError, badRecordMAC:
		if psk {
			return WrongKey
		}
	case handshakeFailure, insufficientSecurity:
		switch {
		case !chosen:
			return NoCommonSuite
		case !psk:
			return CertificateRefused // OpenSSL says so to who has none
		}
	case noCertificate, badCertificate, unsupportedCert, certificateRevoked, certificateExpired, certificateUnknown, unknownCA:
		return CertificateRefused
	}
	return Refused
}

// Dial returns the session with the server at remote: the one there is, or a new one. name is the name that its certificate has to
// bear, "" for its address. A session that remote has begun will do if it has shown the certificate or the key that it would have to as a
// server; requests to clients as such have coap.Request.Session. It waits for the handshake, until ctx ends. The error is an *[HandshakeError], ErrOtherName, net.ErrClosed, or that of
// ctx.
func (c *Conn) Dial(ctx context.Context, remote netip.AddrPort, name string) (*transport.Session, error) {
	for attempt := 0; ; attempt++ {
		h, s, err := c.dial(remote, name)
		if err != nil || s != nil {
			return s, err
		}
		select {
		case <-h.over:
			c.mu.Lock()
			h.waiters--
			s, err := h.session, h.err
			c.mu.Unlock()
			if s != nil {
				return s.handle, nil
			}
			h.seen.Lock()
			another := h.seen.another
			h.seen.Unlock()
			if another != nil && attempt == 0 {
				c.hinted(remote, another)
				continue // as somebody else
			}
			return nil, err
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			if h.waiters--; h.waiters == 0 {
				h.stop(Failed, ctx.Err())
				c.leave(h) // the next Dial begins another one
			}
			return nil, ctx.Err()
		}
	}
}

// dial returns the handshake to wait for, or the session that there is.
func (c *Conn) dial(remote netip.AddrPort, name string) (*handshake, *transport.Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, net.ErrClosed
	}
	if s := c.byAddr[remote]; s != nil {
		if s.named && (s.name == name || c.cfg.ServerName != "") {
			return nil, s.handle, nil
		}
		c.mu.Unlock()
		fits := c.cfg.isFor(s, remote, name)
		c.mu.Lock()
		switch {
		case c.closed:
			return nil, nil, net.ErrClosed
		case fits:
			if !s.named {
				s.named, s.name = true, name
			}
			return nil, s.handle, nil
		case s.client:
			return nil, nil, ErrOtherName
		}
	}
	as := party{remote, true}
	h := c.shaking[as]
	if h == nil {
		var err error
		if h, err = c.connect(as, name); err != nil {
			return nil, nil, err
		}
	} else if h.name != name {
		return nil, nil, ErrOtherName
	}
	h.waiters++
	return h, nil, nil
}

// connect begins a handshake as the client. Conn.mu is held.
func (c *Conn) connect(as party, name string) (*handshake, error) {
	h := c.begin(&transport.Datagram{Remote: as.addr}, as)
	h.name = name
	hint := c.hints[as.addr]
	delete(c.hints, as.addr)
	c.done.Add(1)
	go func() {
		defer c.done.Done()
		h.run(func() (*dtls.Conn, error) {
			opts, err := c.clientOptions(h, hint)
			if err != nil {
				return nil, err
			}
			return dtls.ClientWithOptions(h, net.UDPAddrFromAddrPort(h.addr), opts...)
		})
	}()
	return h, nil
}

// hinted keeps the hint of a server for the next handshake with it.
func (c *Conn) hinted(remote netip.AddrPort, s *ServerInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hints[remote] = s.Hint
}

// newCID returns a connection ID that no session has.
func (c *Conn) newCID() []byte {
	cid := make([]byte, c.cfg.ConnectionID)
	for {
		_, _ = rand.Read(cid) // never fails
		c.mu.Lock()
		_, used := c.byCID[string(cid)]
		c.mu.Unlock()
		if !used {
			return cid
		}
	}
}
