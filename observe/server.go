package observe

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// Values of the Observe option in a request (RFC 7641 section 2).
const (
	register   = 0
	deregister = 1
)

// ServerConfig configures a [Server]. The zero value works. It is not modified after use.
type ServerConfig struct {
	// Observable says which requests may register. nil means all GET and FETCH requests
	// that the handler answers with a success. Others are handed on as they are.
	Observable func(*exchange.Request) bool
	// PerPeer says that the answer to a request depends on who asks, so that it has to be
	// rendered for each observer. nil means that it does not, unless the peer has proven
	// an identity: what is shown to one of those is never shown to another.
	PerPeer func(*exchange.Request) bool
	// MaxObservers is how many observers there may be, 0 means 10000. Who comes later is
	// answered without being registered. Each takes some 200 bytes here, where requests are small and
	// many are equal.
	MaxObservers int
	// MaxPerPeer is how many of them one peer may have, 0 means 100.
	MaxPerPeer int
	// ConfirmEvery is how many notifications there are for one that is confirmable: 0 and 1
	// mean that all are, 5 that four that are not confirmable may be followed by one that is.
	// Whatever it says, the state that lasts is confirmed: see Settle.
	ConfirmEvery int
	// ConfirmFor, if not nil, returns what holds instead of ConfirmEvery for the observers that
	// register by a request, 0 for ConfirmEvery.
	ConfirmFor func(*exchange.Request) int
	// ConfirmWithin is the longest time without a confirmable notification, also where nothing
	// changes: it finds out which observers have gone. 0 means 24 hours, the
	// most that RFC 7641 section 4.5 allows.
	ConfirmWithin time.Duration
	// Settle is how long after a notification that was not confirmable, with none to
	// follow, the state is sent once more, confirmable, lest its loss leave the client
	// behind (RFC 7641 section 4.5). 0 means 10 seconds.
	Settle time.Duration
	// NonInterval is the least time between two notifications to one client of which the first
	// is not confirmable, 0 means 3 seconds (RFC 7641 section 4.5.1).
	NonInterval time.Duration
	// Outstanding is how many notifications may be on their way to one client, 0 means
	// NSTART, 1 (RFC 7641 section 4.5.1).
	Outstanding int
	// Leisure is the time over which notifications to observers that have registered by
	// a request to a group are spread, 0 means 5 seconds, DEFAULT_LEISURE; a negative one, none.
	// Such notifications leave one after the other, each at random within a leisure of its own
	// (RFC 7252 section 8.2, draft-ietf-core-groupcomm-bis section 3.7).
	Leisure time.Duration
	// Workers is how many goroutines render and send notifications, 0 means 4. They
	// run only while there is something to do.
	Workers int
	// OnEnd, if not nil, is called for each observer that was removed. It must not wait.
	OnEnd func(peer exchange.Peer, path string, why End)
	// Logger gets failures of handlers; nil is silent.
	Logger *slog.Logger
}

func (c ServerConfig) withDefaults() ServerConfig {
	c.MaxObservers = orDefault(c.MaxObservers, 10_000)
	c.MaxPerPeer = orDefault(c.MaxPerPeer, 100)
	c.ConfirmEvery = orDefault(c.ConfirmEvery, 1)
	c.ConfirmWithin = min(orDefault(c.ConfirmWithin, 24*time.Hour), 24*time.Hour)
	c.Settle = orDefault(c.Settle, 10*time.Second)
	c.NonInterval = orDefault(c.NonInterval, 3*time.Second)
	c.Outstanding = orDefault(c.Outstanding, 1)
	if c.Leisure == 0 {
		c.Leisure = 5 * time.Second
	}
	c.Workers = orDefault(c.Workers, 4)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// orDefault returns v, or d in place of zero and negative values.
func orDefault[T int | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// Server is a [exchange.Handler] that makes the resources of another one observable. All its
// methods may be called concurrently; no callback is called, and nothing is sent or rendered,
// while mu is held.
type Server struct {
	next exchange.Handler
	cfg  ServerConfig
	time clock
	work sync.WaitGroup // of the workers, which Close waits for

	watching sync.Mutex // guards those that are watched
	watched  map[exchange.Pusher]watched
	pushers  uint32 // counts them

	mu         sync.Mutex // guards the rest
	clients    clients
	longTokens map[*observer]message.Token
	routes     map[routeKey]*route
	groups     map[string]*group
	resources  map[string]*resource
	leisures   map[netip.Addr]int64 // when the last leisure for a group ends
	count      int                  // observers
	last       int64                // see begun

	queue      struct{ head, tail *group } // those with observers that may be notified
	running    int                         // workers
	idle       []*worker                   // that rest
	landing    list                        // see place
	settling   list
	confirming list
	timers     heap
	timer      *time.Timer
	timerAt    int64    // 0: not set
	after      []func() // to be called when mu is released
	stats      Stats
	closed     bool
}

// NewServer returns a Server around next.
func NewServer(next exchange.Handler, cfg ServerConfig) *Server {
	s := &Server{
		next: next, cfg: cfg.withDefaults(), time: newClock(time.Now()),
		clients: newClients(), longTokens: make(map[*observer]message.Token), routes: make(map[routeKey]*route),
		groups: make(map[string]*group), resources: make(map[string]*resource), leisures: make(map[netip.Addr]int64),
	}
	s.timer = time.AfterFunc(time.Hour, s.tick)
	s.timer.Stop()
	return s
}

// Handler returns s as the handler for an endpoint: it is an [exchange.OptionChecker] if the handler
// that s is around is one.
func (s *Server) Handler() exchange.Handler {
	if _, ok := s.next.(exchange.OptionChecker); ok {
		return checker{s}
	}
	return s
}

type checker struct{ *Server }

func (checker) ChecksOptions() {}

// Close removes all observers without a word to them, and waits until no notification is being
// rendered or sent; so a handler must not call it. Requests are still answered, but not registered.
// Closing again does no harm. It always returns nil.
func (s *Server) Close() error {
	s.Stop()
	s.work.Wait()
	return nil
}

// Leave removes all observers whose requests came over the session of p without a word to them, since it has ended
// (RFC 7641 section 7). Without a session it does nothing.
func (s *Server) Leave(p exchange.Peer) {
	if p.Session == nil {
		return
	}
	s.mu.Lock()
	defer s.unlock()
	c := s.clients.get(keyOf(p, false))
	if c == nil {
		return
	}
	if c.crowd != nil {
		for _, o := range c.crowd.byToken {
			s.remove(o, EndSession)
		}
	}
	s.remove(&c.first, EndSession)
}

// Stop is Close without waiting: a notification that is being rendered is not sent. A handler
// may call it.
func (s *Server) Stop() {
	s.mu.Lock()
	s.closed = true
	for _, res := range s.resources {
		for _, g := range slices.Clone(res.inTurn) {
			for len(g.observers) > 0 {
				s.remove(g.observers[len(g.observers)-1], EndClosed)
			}
		}
	}
	s.timer.Stop()
	s.unlock()
	s.unwatchAll()
}

// now is the time in nanoseconds since the start.
func (s *Server) now() int64 { return int64(time.Since(s.time.start)) }

// begun is now, and differs from call to call: when a representation was begun to be made.
func (s *Server) begun() int64 {
	s.last = max(s.last+1, s.now())
	return s.last
}

// unlock releases mu, then does what must not be done under it.
func (s *Server) unlock() {
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// ServeCoAP answers r by the handler that s is around, and registers or removes its sender.
func (s *Server) ServeCoAP(w *exchange.Response, r *exchange.Request) error {
	action, ok := r.Options.Uint(message.OptionObserve)
	if isLastBlock(r) && (s.cfg.Observable == nil || s.cfg.Observable(r)) {
		return s.serveGathered(w, r)
	}
	if !ok || r.Code != message.GET && r.Code != message.FETCH || s.cfg.Observable != nil && !s.cfg.Observable(r) {
		return s.next.ServeCoAP(w, r)
	}
	if b, _ := r.Options.Uint(message.OptionBlock1); b&8 == 0 { // else the last block says to gather it all
		r.Options.Remove(message.OptionObserve)
	}
	var a attempt
	switch {
	case action == deregister:
		s.deregister(r)
	case action == register && observable(r):
		a.begin(s, r)
	}
	return a.serve(s, w, r)
}

// observable reports whether there is something to register: whom to notify, and a whole
// resource. The blocks of a body that follow the first are no registrations
// (RFC 7959 section 2.6); for those of a request see serveGathered.
func observable(r *exchange.Request) bool {
	for _, n := range [...]message.OptionNumber{message.OptionBlock1, message.OptionBlock2} {
		if v, ok := r.Options.Uint(n); ok && (v>>4 > 0 || n == message.OptionBlock1 && v&8 != 0) {
			return false
		}
	}
	return r.Pusher() != nil
}

// settle makes a response of what the handler has left, by the rules that an endpoint applies to
// responses that were asked for.
func settle(w *exchange.Response, r *exchange.Request, err error) {
	if err != nil {
		fail(w, err)
	}
	switch {
	case w.Code == message.Empty:
		w.Code = message.Content
	case w.Code.IsResponse():
	default:
		fail(w, errors.New("no response code"))
	}
	if !acceptable(w, r) {
		fail(w, &exchange.Error{Code: message.NotAcceptable})
	}
	if !w.Code.IsSuccess() {
		w.Options.Remove(message.OptionObserve) // (RFC 7641 section 4.2)
	}
}

func fail(w *exchange.Response, err error) {
	coded, ok := errors.AsType[*exchange.Error](err)
	if !ok {
		coded = &exchange.Error{Code: message.InternalServerError}
		if _, bad := errors.AsType[*message.OptionError](err); bad {
			coded.Code = message.BadOption
		}
	}
	w.Code, w.Payload = coded.Code, []byte(coded.Diagnostic)
	for _, n := range [...]message.OptionNumber{message.OptionContentFormat, message.OptionETag, message.OptionBlock2} {
		w.Options.Remove(n)
	}
}

// acceptable reports whether w is in the format that r accepts (RFC 7252 section 5.10.4).
func acceptable(w *exchange.Response, r *exchange.Request) bool {
	want, asked := r.Options.Accept()
	have, told := w.Options.ContentFormat()
	return !asked || !told || want == have || w.Code != message.Content
}

// validate turns a representation that the client has stored into 2.03
// (RFC 7641 section 4.3.2).
func validate(w *exchange.Response, r *exchange.Request) {
	tag, ok := w.Options.ETag()
	if !ok || w.Code != message.Content {
		return
	}
	for t := range r.Options.ETags() {
		if string(t) == string(tag) {
			w.Code, w.Payload = message.Valid, nil
			w.Options.Remove(message.OptionContentFormat)
			w.Options.Remove(message.OptionBlock2)
			w.Options.Remove(message.OptionSize2)
			return
		}
	}
}
