package main

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"
	"weak"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/internal/entropy"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport/mem"
)

var groupAddr = netip.MustParseAddrPort("224.0.1.187:5683")

// world is one run of a plan.
type world struct {
	*plan
	start  time.Time
	faults []item // those of the network
	net    *mem.Network
	hosts  []*host
	log    log
	ctx    context.Context // of all that clients do
	cancel context.CancelFunc
	work   sync.WaitGroup
	old    []weak.Pointer[coap.Endpoint]

	mu      sync.Mutex // guards the rest, and the hosts' state
	made    [numKinds]int
	copies  map[string]int
	damaged map[[2]int]int // datagrams with a flipped bit that arrived, by their ends
	runs    map[run]int
	ops     []*op
	failed  *violation
	quiet   bool // the faults have ceased for so long that nothing of them is felt
}

// violation is a promise that was not kept.
type violation struct {
	rule  string // by which violations are told to be of the same kind
	what  string
	who   []int         // those concerned; nil: all
	since time.Duration // when it began
	at    time.Duration
}

// host is an actor with what it has.
type host struct {
	actor
	w      *world
	i      int
	conn   atomic.Pointer[conn]
	public atomicAddr
	client *coap.Client
	limits coap.Limits

	// Guarded by world.mu:
	epoch   int            // of a server: how often it was started
	values  [resources]int // versions
	watches []*watch       // of an observer
	paused  time.Duration  // how long it was suspended in all
	down    bool           // it is being restarted
	away    time.Duration  // since when it is suspended
}

type atomicAddr struct {
	p atomic.Pointer[netip.AddrPort]
}

func (a *atomicAddr) Store(v netip.AddrPort) { a.p.Store(&v) }
func (a *atomicAddr) Load() netip.AddrPort   { return *a.p.Load() }

// outcome is what a run has come to.
type outcome struct {
	failed *violation
	made   [numKinds]int
	hash   uint64
	log    *log
}

// simulate runs a plan. It has to be called in a bubble of testing/synctest, with nothing else going
// on in the process.
func simulate(p *plan, detail, leaks bool) outcome {
	defer entropy.Fix(p.seed)()
	synctest.Wait()
	before := runtime.NumGoroutine()
	w := &world{
		plan: p, start: time.Now(), copies: make(map[string]int), damaged: make(map[[2]int]int), runs: make(map[run]int),
	}
	w.log.w, w.log.detail = w, detail
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for _, x := range p.items {
		if x.kind >= faultLoss && x.kind <= faultPartition {
			w.faults = append(w.faults, x)
		}
	}
	w.net = mem.NewNetwork(mem.Config{Delay: latency, Filter: w.filter, NoUnreachable: p.knobs.noUnreachable})
	for i, a := range p.actors {
		w.hosts = append(w.hosts, &host{actor: a, w: w, i: i, limits: p.limits()})
	}
	for _, h := range w.hosts {
		h.listen()
	}
	w.drive()
	w.close(before, leaks)
	w.mu.Lock()
	defer w.mu.Unlock()
	return outcome{failed: w.failed, made: w.made, hash: w.log.sum(), log: &w.log}
}

// limits are those of all endpoints.
func (p *plan) limits() coap.Limits {
	l := coap.Limits{ReceiveSize: 1500, MessageSize: 256}
	if p.knobs.tight {
		l.Peers, l.Exchanges, l.QueuePerPeer, l.Handlers, l.HandlersPerPeer = 8, 12, 3, 3, 2
		l.RememberedBytes, l.RememberedBytesPerPeer = 1200, 640 // 6 requests that are not idempotent, 2 of one peer
	}
	return l.WithDefaults()
}

// listen opens the endpoint of a host, for the first time or again.
func (h *host) listen() {
	w := h.w
	inner, err := w.net.Listen(h.addr)
	if err != nil {
		w.fail("set-up", nil, 0, "%s cannot listen: %v", h.name, err)
		return
	}
	c := &conn{Conn: inner, w: w, who: h.i}
	h.public.Store(h.addr)
	k := w.knobs
	cfg := &coap.Config{
		Params:       coap.Params{NStart: k.nstart, ProbingRate: k.probing, EmptyAckDelay: k.ackDelay},
		Limits:       h.limits,
		ServeBlocks:  blockwise.ServerConfig{BlockSize: 64, Ahead: 8},
		SendBlocks:   blockwise.ClientConfig{BlockSize: 64, Window: 4, UploadWindow: 4}, // as far as NSTART allows
		ServeObserve: observe.ServerConfig{ConfirmEvery: k.confirmEvery, MaxObservers: maxObservers(k), MaxPerPeer: maxPerPeer(k)},
		SendObserve:  observe.ClientConfig{Jitter: 2 * time.Second, MaxBackoff: 20 * time.Second},
	}
	if w.log.detail {
		cfg.Trace = func(t coap.TraceEvent) { w.log.trace(h.i, t) }
	}
	var handler coap.Handler
	if h.role == server {
		w.mu.Lock()
		h.epoch++
		handler = h.site(h.epoch)
		w.mu.Unlock()
		if err := c.Join(groupAddr.Addr(), 0); err != nil {
			w.fail("set-up", nil, 0, "%s cannot join: %v", h.name, err)
		}
	}
	ep, err := coap.NewEndpoint(c, handler, cfg)
	if err != nil {
		w.fail("set-up", nil, 0, "%s cannot start: %v", h.name, err)
		return
	}
	c.ep.Store(ep)
	h.conn.Store(c)
	h.client = &coap.Client{Endpoint: ep}
	w.old = append(w.old, weak.Make(ep))
}

func (h *host) endpoint() *coap.Endpoint { return h.conn.Load().ep.Load() }

func maxObservers(k knobs) int {
	if k.tight {
		return 3
	}
	return 100
}

func maxPerPeer(k knobs) int {
	if k.tight {
		return 2
	}
	return 50
}

func (w *world) now() time.Duration { return time.Since(w.start) }

func (w *world) count(k kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made[k]++
}

// fail notes a violation. Only the first counts: others may follow from it.
func (w *world) fail(rule string, who []int, since time.Duration, format string, args ...any) {
	v := &violation{rule: rule, what: fmt.Sprintf(format, args...), who: who, since: since, at: w.now()}
	w.log.note(v.at, "VIOLATION (%s): %s", rule, v.what)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed == nil {
		w.failed = v
	}
}

// sound reports whether no promise was broken so far.
func (w *world) sound() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed == nil
}

// event is something that the driver does.
type event struct {
	at   time.Duration
	what func()
}

// drive acts out the plan, lets the faults cease, and looks whether all is well.
func (w *world) drive() {
	var todo []event
	for i := range w.items {
		x := &w.items[i]
		todo = append(todo, event{x.at, func() { w.begin(x) }})
		if x.kind > faultPartition {
			todo = append(todo, event{x.at + x.lasts, func() { w.cease(x) }})
		}
	}
	slices.SortStableFunc(todo, func(a, b event) int { return int(a.at - b.at) })
	for _, e := range todo {
		w.sleep(e.at - w.now())
		if !w.sound() {
			return
		}
		e.what()
		synctest.Wait()
	}
	calm := w.now()
	for _, x := range w.faults {
		calm = max(calm, x.at+x.lasts)
	}
	w.sleep(calm - w.now())
	w.log.note(w.now(), "the faults have ceased")
	w.settle()
}

// sleep lets time pass until everything has come to rest.
func (w *world) sleep(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
	synctest.Wait()
}

// begin does an action or makes a fault that is not one of the network.
func (w *world) begin(x *item) {
	h := w.hosts[x.who]
	w.log.note(w.now(), "%s", w.describe(x))
	switch x.kind {
	case faultLoss, faultDuplicate, faultReorder, faultCorrupt, faultStray, faultPartition:
	case faultRebind:
		w.rebind(h, netip.AddrPort{})
	case faultRestart:
		w.restart(h)
	case faultSuspend, faultSleep:
		w.suspend(h, x.kind)
	default:
		if h.conn.Load().suspended() || h.isDown() {
			return // nobody there who could
		}
		h.act(x)
	}
}

// cease ends a fault.
func (w *world) cease(x *item) {
	h := w.hosts[x.who]
	switch x.kind {
	case faultRebind:
		if h.role == server {
			w.log.note(w.now(), "%s has its address back", h.name)
			w.rebind(h, h.addr)
		}
	case faultRestart:
		w.mu.Lock()
		down := h.down
		h.down = false
		w.mu.Unlock()
		if down {
			w.log.note(w.now(), "%s is up again", h.name)
			h.listen()
		}
	case faultSuspend, faultSleep:
		w.resume(h)
	}
}

func (w *world) rebind(h *host, to netip.AddrPort) {
	public, err := h.conn.Load().Rebind(to)
	if err != nil {
		return // it is closed for the moment, or somebody else's already
	}
	h.public.Store(public)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made[faultRebind]++
}

func (w *world) restart(h *host) {
	w.mu.Lock()
	again := h.down
	h.down = true
	w.mu.Unlock()
	if again {
		return
	}
	w.resume(h)
	h.endpoint().Close()
	w.count(faultRestart)
}

func (h *host) isDown() bool {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.down
}

func (w *world) suspend(h *host, k kind) {
	c := h.conn.Load()
	if c.suspended() || h.isDown() {
		return
	}
	c.suspend(k == faultSleep)
	w.mu.Lock()
	defer w.mu.Unlock()
	h.away = w.now()
	w.made[k]++
}

func (w *world) resume(h *host) {
	c := h.conn.Load()
	if !c.suspended() {
		return
	}
	w.log.note(w.now(), "%s goes on", h.name)
	w.mu.Lock()
	h.paused += w.now() - h.away
	w.mu.Unlock()
	c.resume()
}
