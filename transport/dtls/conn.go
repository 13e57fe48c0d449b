package dtls

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/udp"
)

// Conn is a transport that carries datagrams in secure sessions. It is client and server at once: it answers
// handshakes if it has a way to know clients, and begins them when it is asked to by Dial. All methods may be called concurrently.
type Conn struct {
	inner transport.Conn
	cfg   *Config
	log   *slog.Logger
	epoch time.Time
	work  chan struct{} // has room for those that compute for a handshake at the same time
	store *store        // for resumption

	ctx    context.Context // of handshakes; ends with Close
	cancel context.CancelFunc
	done   sync.WaitGroup // the reader and the handshakes

	mu       sync.Mutex
	closed   bool
	sessions map[*transport.Session]*session
	byCID    map[string]*session
	byAddr   map[netip.AddrPort]*session // the newest of each address
	order    struct{ oldest, newest *session }
	shaking  map[party]*handshake
	unproven queueOfHandshakes // of peers whose address may be forged; some of the others are still there
	proven   queueOfHandshakes
	hints    map[netip.AddrPort]string // of servers, for the next handshake
	sweeper  *time.Timer
	stats    Stats

	in inbox
}

// party is the other end of a handshake. There may be two at one address, in either direction.
type party struct {
	addr   netip.AddrPort
	client bool // we are the client
}

const (
	batchSize     = 32
	readSize      = maxPlaintext + 512 // fits the largest record
	maxIncoming   = 1024               // datagrams that wait to be read
	sealedTypical = 1500
)

// Listen opens a UDP socket on addr, such as ":5684", and returns a Conn on it.
func Listen(addr string, cfg *Config) (*Conn, error) {
	inner, err := udp.Listen(addr, nil)
	if err != nil {
		return nil, err
	}
	c, err := New(inner, cfg)
	if err != nil {
		inner.Close()
	}
	return c, err
}

// Dialer returns what coap.Config.Secure wants: it opens a Conn on a random port.
func Dialer(cfg *Config) func() (transport.Conn, error) {
	return func() (transport.Conn, error) {
		c, err := Listen(":0", cfg)
		if err != nil {
			return nil, err // and no Conn that is nil in an interface that is not
		}
		return c, nil
	}
}

// New returns a Conn around inner, which it closes in the end. The error is about cfg.
func New(inner transport.Conn, cfg *Config) (*Conn, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Conn{
		inner: inner, cfg: cfg, log: cfg.Logger, epoch: time.Now(),
		work:     make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
		store:    newStore(cfg.IdleTimeout),
		sessions: make(map[*transport.Session]*session), byCID: make(map[string]*session),
		byAddr: make(map[netip.AddrPort]*session), shaking: make(map[party]*handshake), hints: make(map[netip.AddrPort]string),
	}
	c.in.init()
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.sweeper = time.AfterFunc(time.Hour, c.sweep)
	c.sweeper.Stop()
	c.done.Add(1)
	go c.read()
	return c, nil
}

// LocalAddr returns the address of the transport below.
func (c *Conn) LocalAddr() netip.AddrPort { return c.inner.LocalAddr() }

// ReadBatch waits for datagrams that came in sessions, and for reports about sessions: a Datagram whose Err matches
// transport.ErrSessionEnded says that Session has ended, and why ([Ending]). See [transport.Conn].
func (c *Conn) ReadBatch(ds []transport.Datagram) (int, error) { return c.in.take(ds) }

// outgoing is the memory of a WriteBatch.
type outgoing struct {
	sessions []*session
	sealed   []transport.Datagram
}

var outgoings = sync.Pool{New: func() any { return new(outgoing) }}

// WriteBatch sends datagrams in their sessions, wherever these are now: Remote does not matter. A datagram without a session gives
// ErrNoSession; one whose session has ended an error that matches transport.ErrSessionEnded. See [transport.Conn].
func (c *Conn) WriteBatch(ds []transport.Datagram) (int, error) {
	o := outgoings.Get().(*outgoing)
	defer func() {
		clear(o.sessions)
		outgoings.Put(o)
	}()
	n, bad := c.address(o, ds)
	for i := range n {
		d := &o.sealed[i]
		if len(ds[i].Data) > maxPlaintext {
			n, bad = i, transport.ErrTooLarge
			break
		}
		var err error
		if d.Data, err = o.sessions[i].seal(d.Data[:0], typeData, ds[i].Data); err != nil {
			c.end(o.sessions[i], err, true)
			n, bad = i, err
			break
		}
	}
	if n == 0 {
		return 0, bad
	}
	if sent, err := c.inner.WriteBatch(o.sealed[:n]); err != nil {
		return sent, err
	}
	return n, bad
}

// address finds the sessions of ds, and where they are. It returns how many it has found, and what is wrong with the next.
func (c *Conn) address(o *outgoing, ds []transport.Datagram) (int, error) {
	o.sessions = o.sessions[:0]
	for len(o.sealed) < len(ds) {
		o.sealed = append(o.sealed, transport.Datagram{Data: make([]byte, 0, sealedTypical)})
	}
	now := int64(time.Since(c.epoch))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	for i := range ds {
		s := c.sessions[ds[i].Session]
		if s == nil {
			if ds[i].Session == nil {
				return i, ErrNoSession
			}
			return i, transport.ErrSessionEnded
		}
		s.used = now
		o.sessions = append(o.sessions, s)
		d := &o.sealed[i]
		*d = transport.Datagram{Data: d.Data, Remote: s.remote, Local: s.local, IfIndex: s.ifIndex}
	}
	return len(ds), nil
}

// Close tells all peers, ends all sessions and handshakes, and closes the transport below.
func (c *Conn) Close() error {
	c.shut(true)
	return nil
}

// shut closes c and returns the sessions that there were.
func (c *Conn) shut(tell bool) []*session {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		c.done.Wait()
		return nil
	}
	c.closed = true
	all := make([]*session, 0, len(c.sessions))
	for s := c.order.oldest; s != nil; s = s.newer {
		s.ended = ClosedHere
		all = append(all, s)
	}
	clear(c.sessions)
	clear(c.byCID)
	clear(c.byAddr)
	c.sweeper.Stop()
	c.mu.Unlock()
	if tell {
		for _, s := range all {
			c.alert(s, alertWarning, closeNotify)
		}
	}
	c.cancel()
	c.inner.Close()
	c.in.close(net.ErrClosed)
	c.done.Wait()
	for _, s := range all {
		c.tell(SessionEvent{Kind: SessionEnds, Addr: s.remote, Identity: *s.identity(), Client: s.client, Err: ClosedHere})
	}
	return all
}

// Forget ends a session, and tells its peer: one that does not answer any more may have lost its memory of it, and Dial
// brings a new one then. It returns transport.ErrSessionEnded if it has ended already.
func (c *Conn) Forget(s *transport.Session) error {
	c.mu.Lock()
	known := c.sessions[s]
	c.mu.Unlock()
	if known == nil {
		return transport.ErrSessionEnded
	}
	c.end(known, ClosedHere, true)
	return nil
}

// Doubt ends a session over which nothing has come for this long; see [transport.Dialer].
func (c *Conn) Doubt(s *transport.Session, silence time.Duration) {
	c.mu.Lock()
	known := c.sessions[s]
	silent := known != nil && int64(time.Since(c.epoch)-silence) >= known.heard
	c.mu.Unlock()
	if silent {
		c.end(known, Silent, true)
	}
}

// alert sends an alert in a session.
func (c *Conn) alert(s *session, level, description byte) {
	data, err := s.seal(nil, typeAlert, []byte{level, description})
	if err != nil {
		return
	}
	// Nobody waits for an alert, and it may get lost on its way as well.
	_, _ = c.inner.WriteBatch([]transport.Datagram{{Data: data, Remote: s.remote, Local: s.local, IfIndex: s.ifIndex}})
}

func (c *Conn) tell(ev SessionEvent) {
	if c.cfg.OnSession != nil {
		c.cfg.OnSession(ev)
	}
}

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Sessions, s.Handshakes = len(c.sessions), len(c.shaking)
	return s
}

var _ transport.Dialer = (*Conn)(nil)

// inbox is what was received and waits to be read.
type inbox struct {
	mu    sync.Mutex
	ready sync.Cond            // something to take, or the end
	room  sync.Cond            // or the end
	queue []transport.Datagram // a ring
	first int
	n     int
	// reports are about sessions that have ended; there are never more than sessions.
	reports []transport.Datagram
	failed  error
}

func (b *inbox) init() {
	b.ready.L, b.room.L = &b.mu, &b.mu
	b.queue = make([]transport.Datagram, maxIncoming)
}

// put hands on a datagram, whose bytes are copied. It waits for room: the system drops what comes too fast.
func (b *inbox) put(d *transport.Datagram) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.n == len(b.queue) && b.failed == nil {
		b.room.Wait()
	}
	if b.failed != nil {
		return
	}
	slot := &b.queue[(b.first+b.n)%len(b.queue)]
	data := append(slot.Data[:0], d.Data...)
	*slot = *d
	slot.Data = data
	b.n++
	if b.n == 1 {
		b.ready.Signal()
	}
}

// report hands on that a session has ended, or that something was not delivered. It does not wait.
func (b *inbox) report(d transport.Datagram) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed == nil {
		b.reports = append(b.reports, d)
		b.ready.Signal()
	}
}

func (b *inbox) take(ds []transport.Datagram) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.n == 0 && len(b.reports) == 0 && b.failed == nil {
		b.ready.Wait()
	}
	if b.failed != nil {
		return 0, b.failed
	}
	for n < len(ds) && b.n > 0 {
		from, to := &b.queue[b.first], &ds[n]
		room := to.Data
		*to = *from
		to.Data = room[:copy(room, from.Data)]
		to.Truncated = len(to.Data) < len(from.Data)
		from.Session = nil
		b.first = (b.first + 1) % len(b.queue)
		b.n--
		n++
	}
	for n < len(ds) && len(b.reports) > 0 { // after what the session has brought
		ds[n] = b.reports[0]
		b.reports = b.reports[1:]
		n++
	}
	if b.n > 0 || len(b.reports) > 0 {
		b.ready.Signal() // for another reader
	}
	b.room.Broadcast()
	return n, nil
}

func (b *inbox) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed == nil {
		b.failed = err
	}
	b.ready.Broadcast()
	b.room.Broadcast()
}
