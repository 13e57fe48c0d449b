package blockwise

import (
	"log/slog"
	"sync"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// ServerConfig configures a [Server]. The zero value is ready to use. It must not be changed
// once it is in use.
type ServerConfig struct {
	// BlockSize is the largest block to send and to ask for, in bytes: a power of two from 16
	// to 1024, others are rounded down. 0 means 1024.
	BlockSize int
	// MaxBody is the longest request body to gather, in bytes; more is answered with 4.13. 0
	// means 1 MiB. A Mode can set another limit.
	MaxBody int64
	// Bytes is the memory for unfinished request bodies and for response bodies of which
	// blocks may still be asked for. When it is used up, what has been idle longest
	// goes. 0 means 64 MiB.
	Bytes int
	// BytesPerPeer is the share of one peer in Bytes. 0 means an eighth.
	BytesPerPeer int
	// Streams is the number of streamed uploads, each of which has a handler running; as many
	// handlers again may still be about to notice that theirs was given up. When it is
	// reached, one that has been idle for an eighth of Lifetime goes; if there is
	// none, the new one is answered with 5.03. 0 means 64.
	Streams int
	// StreamsPerPeer is the share of one peer in Streams. 0 means a quarter.
	StreamsPerPeer int
	// Lifetime is how long a transfer is kept after its last block. 0 means 247 s, the
	// default of EXCHANGE_LIFETIME (RFC 7959 sections 2.4 and 2.5).
	Lifetime time.Duration
	// Ahead is how many blocks of a gathered request body may come before their turn, from clients that
	// have several under way; they wait in memory. 0 means none: such a block is answered with
	// 4.08 (RFC 7959 section 2.5 leaves it to the server).
	Ahead int
	// Mode, if not nil, says how the request's body is to be dealt with. It is called with each
	// request that has a body, before anything is stored, with the options that
	// the handler will see. An error is the answer: so a body that the handler would
	// refuse, because of its path or options, need not be sent first. It may be called
	// concurrently.
	Mode func(r *exchange.Request) (Mode, error)
	// Logger gets failures of streamed handlers that cannot be answered any more. Nil is
	// silent.
	Logger *slog.Logger
}

// Mode says how the bodies of requests to a resource are dealt with. The zero value gathers the
// whole body and then runs the handler, atomically (RFC 7959 section 2.5).
type Mode struct {
	// Stream runs the handler with the first block. It reads the body from Request.Body while
	// blocks arrive. A block is acknowledged when at most one other waits to be read. What
	// the handler answers goes to the last block; an error goes to the next. If it
	// returns without having read everything, the rest is discarded.
	Stream bool
	// Limit is the longest body, in bytes. 0 means ServerConfig.MaxBody, or no limit
	// for a stream.
	Limit int64
}

// Stats are the counters of a [Server], since it was made, and what it holds at this moment.
type Stats struct {
	Completed uint64 // block-wise request bodies handed to the handler, or read by it to the end
	Evicted   uint64 // transfers given up for want of memory, or of a stream
	Expired   uint64 // transfers given up since nothing came for Lifetime
	Replaced  uint64 // uploads that the client has started again
	Gaps      uint64 // blocks answered with 4.08
	TooLarge  uint64 // bodies answered with 4.13
	Busy      uint64 // blocks answered with 5.03

	Uploads   int // unfinished request bodies, streams included
	Streams   int // streamed uploads
	Downloads int // response bodies of which a peer may ask for more
	Snapshots int // copies of response bodies, shared by those
	Peers     int // with any of them
	Bytes     int // memory for all of them
}

// Server is a [exchange.Handler] that gives whole request bodies to another one and cuts what
// that answers. All methods may be called concurrently.
//
// It deals with the options Block1, Block2, Size1 and Size2: those of the request are not seen by
// the inner handler, but for Size1, and critical ones that are malformed are reported as
// *message.OptionError. It runs no goroutine but one for each streamed upload.
type Server struct {
	next exchange.Handler
	cfg  ServerConfig
	szx  uint8

	mu      sync.Mutex
	t       *table
	timer   *time.Timer
	armed   bool
	closing bool
	running int           // handlers of streams
	idle    chan struct{} // closed when closing and none is running
}

// NewServer returns a Server around next. The endpoint must let requests with the critical options
// Block1 and Block2 through to it. The contexts of requests have to last beyond them, since
// streamed handlers inherit that of the first block.
func NewServer(next exchange.Handler, cfg ServerConfig) *Server {
	fill(&cfg.MaxBody, 1<<20)
	fill(&cfg.Bytes, 64<<20)
	fill(&cfg.BytesPerPeer, max(cfg.Bytes/8, 1))
	fill(&cfg.Streams, 64)
	fill(&cfg.StreamsPerPeer, max(cfg.Streams/4, 1))
	fill(&cfg.Lifetime, exchange.Params{}.WithDefaults().ExchangeLifetime())
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		next: next, cfg: cfg, szx: exponent(cfg.BlockSize),
		t:    newTable(cfg.Lifetime, cfg.Bytes, cfg.BytesPerPeer),
		idle: make(chan struct{}),
	}
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.t.stats
	st.Uploads, st.Streams, st.Downloads = len(s.t.uploads), s.t.streams, len(s.t.downloads)
	st.Peers, st.Bytes = len(s.t.peers), s.t.bytes
	return st
}

// asked is what the Block options of a request ask for.
type asked struct {
	block1, block2 Block
	has1, has2     bool
	size2          bool // the length of the response's body, too
	inner          *inner
}

// ServeCoAP answers r: with what the inner handler answers, cut into blocks, or by itself if r is
// but a part of a transfer.
func (s *Server) ServeCoAP(w *exchange.Response, r *exchange.Request) error {
	var a asked
	var err error
	if a.block1, a.has1, err = optionBlock(&r.Options, message.OptionBlock1); err != nil {
		return err
	}
	if a.block2, a.has2, err = optionBlock(&r.Options, message.OptionBlock2); err != nil {
		return err
	}
	a.size2 = r.Options.Has(message.OptionSize2)
	if !a.has1 && !a.has2 {
		return s.serveWhole(w, r, a)
	}
	if r.IsMulticast() && (a.has1 || a.block2.Num > 0) {
		return refuse(w, message.BadRequest, "only the first block can be asked of a group") // (RFC 7959 section 2.8)
	}
	if a.has1 && a.block1.SZX > maxSZX || a.has2 && a.block2.SZX > maxSZX {
		return refuse(w, message.BadRequest, "block size exponent 7 is reserved")
	}
	switch {
	case a.has1 && takesPayload(r.Code):
		return s.serveInner(w, r, a, (*Server).serveBlock1)
	case a.has1 && (a.block1.More || a.block1.Num > 0):
		return refuse(w, message.BadRequest, "Block1 is about a payload, the method has none")
	case a.has2 && a.block2.Num > 0:
		return s.serveBlock2(w, r, a)
	}
	a.has1 = false // for a method without payload
	return s.serveInner(w, r, a, (*Server).serveWhole)
}

// inner is what one call of a handler needs, and is used again after that.
type inner struct {
	request exchange.Request // without Block options
	options message.Options  // of it
	random  random           // the body that it is answered with, if that is not kept
}

var inners = sync.Pool{New: func() any { return new(inner) }}

// serveInner calls serve with r without its Block options.
func (s *Server) serveInner(w *exchange.Response, r *exchange.Request, a asked, serve func(*Server, *exchange.Response, *exchange.Request, asked) error) error {
	in := inners.Get().(*inner)
	in.options.Reset()
	it := r.Options.Iter()
	for it.Next() {
		if n := it.Number(); n != message.OptionBlock1 && n != message.OptionBlock2 {
			in.options.Add(n, it.Value())
		}
	}
	in.request = *r
	in.request.Options, a.inner = in.options, in
	err := serve(s, w, &in.request, a)
	in.request, in.random = exchange.Request{}, random{}
	inners.Put(in)
	return err
}

// serveWhole answers a request whose body, if any, is in this message.
func (s *Server) serveWhole(w *exchange.Response, r *exchange.Request, a asked) error {
	if len(r.Payload) > 0 || a.has1 {
		mode, err := s.mode(r)
		if err != nil {
			return err
		}
		if int64(len(r.Payload)) > mode.Limit {
			return s.tooLarge(w, a, mode.Limit)
		}
		if mode.Stream && r.Body == nil {
			inner := *r
			inner.Body, inner.Payload = r.BodyReader(), nil
			return s.deliver(w, r, a, s.next.ServeCoAP(w, &inner))
		}
	}
	return s.deliver(w, r, a, s.next.ServeCoAP(w, r))
}

// mode asks for the mode of a request and puts in the defaults.
func (s *Server) mode(r *exchange.Request) (m Mode, err error) {
	if s.cfg.Mode != nil {
		if m, err = s.cfg.Mode(r); err != nil {
			return m, err
		}
	}
	if m.Limit == 0 {
		m.Limit = s.cfg.MaxBody
		if m.Stream {
			m.Limit = longest(maxSZX)
		}
	}
	return m, nil
}

// refuse answers with an error code. It does not return an *exchange.Error, since some refusals
// need options.
func refuse(w *exchange.Response, code message.Code, diagnostic string) error {
	w.Reset()
	w.Code, w.Payload = code, []byte(diagnostic)
	return nil
}

// incomplete answers 4.08 (RFC 7959 section 2.9.2).
func (s *Server) incomplete(w *exchange.Response, a asked, diagnostic string) error {
	s.count(&s.t.stats.Gaps)
	refuse(w, message.RequestEntityIncomplete, diagnostic)
	acknowledge(w, a, a.block1.SZX, a.block1.More)
	return nil
}

// tooLarge answers 4.13 and says how much would be taken (RFC 7959 sections 2.9.3 and 4). The
// block size is that of the request: a smaller one would be read as a hint to try it.
func (s *Server) tooLarge(w *exchange.Response, a asked, limit int64) error {
	s.count(&s.t.stats.TooLarge)
	refuse(w, message.RequestEntityTooLarge, "")
	acknowledge(w, a, a.block1.SZX, a.block1.More)
	w.Options.SetSize1(uint32(min(limit, 1<<32-1)))
	return nil
}

// busy answers 5.03 and says for how long (RFC 9175 section 3.3).
func (s *Server) busy(w *exchange.Response, after time.Duration) error {
	s.count(&s.t.stats.Busy)
	refuse(w, message.ServiceUnavailable, "too many transfers")
	w.Options.SetMaxAge(max(after, time.Second))
	return nil
}

// acknowledge states which block of the request this is the response to, and how large the
// next should be (RFC 7959 section 2.3).
func acknowledge(w *exchange.Response, a asked, szx uint8, more bool) {
	if a.has1 {
		w.Options.SetUint(message.OptionBlock1, Block{Num: a.block1.Num, More: more, SZX: szx}.Value())
	}
}

// count adds 1 to a counter.
func (s *Server) count(c *uint64) {
	s.mu.Lock()
	*c++
	s.mu.Unlock()
}

// unlock releases the lock, sees to it that what is left expires, and tells those that have
// gone; none of that under the lock.
func (s *Server) unlock() {
	ended := s.t.ended
	s.t.ended = nil
	s.arm()
	s.mu.Unlock()
	for _, x := range ended {
		switch {
		case x.e.down != nil && x.busy: // by somebody who will see it and close it
		case x.e.down != nil:
			closeBody(x.e.down.body)
		case x.e.up.feed != nil && x.reason != 0:
			x.e.up.feed.abort(x.reason)
			x.e.up.feed.discard()
		}
	}
}

// arm sets the timer if it is not and something is to expire. The lock is held.
func (s *Server) arm() {
	oldest := s.t.first()
	if s.armed || s.closing || oldest == nil {
		return
	}
	s.armed = true
	after := time.Until(oldest.used.Add(s.cfg.Lifetime))
	if s.timer == nil {
		s.timer = time.AfterFunc(after, s.expire)
		return
	}
	s.timer.Reset(after)
}

// Leave forgets all transfers that are under way over the session of p, since it has ended: the body of a streamed upload fails
// with [ErrExpired]. Without a session it does nothing.
func (s *Server) Leave(p exchange.Peer) {
	if p.Session == nil {
		return
	}
	s.mu.Lock()
	defer s.unlock()
	if of := s.t.peers[keyOf(p)]; of != nil {
		for e := of.entries.oldest(nil); e != nil; e = of.entries.oldest(nil) {
			s.t.end(e, ErrExpired)
		}
	}
}

// expire is called by the timer.
func (s *Server) expire() {
	s.mu.Lock()
	s.armed = false
	s.t.expire(time.Now())
	s.unlock()
}

var _ exchange.Handler = (*Server)(nil)
