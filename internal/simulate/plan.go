package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// role is what an actor does.
type role uint8

const (
	server   role = iota
	getter        // GET, Confirmable and not, answered at once or late
	poster        // POST, which must not be done twice
	observer      // observes resources that change
	mover         // uploads and downloads in blocks
	asker         // asks all servers at once by their group
	numRoles
)

var roleNames = [numRoles]string{"server", "getter", "poster", "observer", "mover", "asker"}

// actor is a host with one endpoint.
type actor struct {
	role role
	name string
	addr netip.AddrPort
}

// kind is what an item of a plan is.
type kind uint8

// The actions, then the faults.
const (
	doGet kind = iota
	doPost
	doPing
	doObserve
	doStop // observing
	doChange
	doUpload
	doDownload
	doAsk

	faultLoss
	faultDuplicate
	faultReorder
	faultCorrupt
	faultStray // a copy comes from the address of somebody else
	faultPartition
	faultRebind
	faultRestart
	faultSuspend // the host does nothing for a time, then everything
	faultSleep   // the same, and what comes or goes meanwhile is lost
	numKinds
)

var kindNames = [numKinds]string{
	"get", "post", "ping", "observe", "stop", "change", "upload", "download", "ask",
	"loss", "duplication", "reordering", "corruption", "stray copies", "partition", "rebinding", "restart", "suspension", "sleep",
}

func (k kind) fault() bool { return k >= faultLoss }

// item is an action or a fault.
type item struct {
	at    time.Duration
	lasts time.Duration // of a fault
	kind  kind
	who   int     // actor: of a fault of the network, whose datagrams it is about
	other int     // actor that an action is for, or that is cut off
	p     float64 // probability, of a fault of the network
	id    int     // of a request
	n     int     // resource, or size
	non   bool    // Non-confirmable; of an upload: POST, not PUT
	late  time.Duration
	limit time.Duration // the caller waits no longer; 0: as long as it takes
}

// knobs are the configuration of a plan.
type knobs struct {
	tight         bool // small tables
	nstart        int
	probing       float64
	ackDelay      time.Duration
	confirmEvery  int
	maxAge        time.Duration
	noUnreachable bool
}

// plan is what a seed means.
type plan struct {
	seed   uint64
	knobs  knobs
	actors []actor
	items  []item // in order of time
}

const (
	acting    = 100 * time.Second // actions begin until then
	suffering = 120 * time.Second // and faults
	resources = 2                 // observable ones of each server
)

// newPlan makes the plan of a seed.
func newPlan(seed uint64) *plan {
	r := rand.New(rand.NewPCG(seed, 0x70c0a9))
	p := &plan{seed: seed}
	p.knobs = knobs{
		tight: r.IntN(4) == 0, nstart: 1 + r.IntN(3), confirmEvery: 1 + 3*r.IntN(2),
		maxAge: time.Duration(20+r.IntN(40)) * time.Second, noUnreachable: r.IntN(2) == 0,
	}
	if r.IntN(2) == 0 {
		p.knobs.probing = -1
	}
	if r.IntN(4) == 0 {
		p.knobs.ackDelay = -1
	}
	for i, n := range [numRoles]int{2 + r.IntN(2), 2, 1 + r.IntN(2), 2, 1, 1} {
		for k := range n {
			addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(len(p.actors) + 1)})
			p.actors = append(p.actors, actor{
				role: role(i), name: fmt.Sprintf("%s%d", roleNames[i], k), addr: netip.AddrPortFrom(addr, 5683),
			})
		}
	}
	p.planActions(r)
	p.planFaults(r)
	slices.SortStableFunc(p.items, func(a, b item) int { return cmp.Compare(a.at, b.at) })
	return p
}

// within returns a random time, down to the nanosecond.
func within(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// servers returns how many there are: the first actors.
func (p *plan) servers() int {
	return slices.IndexFunc(p.actors, func(a actor) bool { return a.role != server })
}

func (p *plan) planActions(r *rand.Rand) {
	servers := p.servers()
	for who, a := range p.actors {
		n := 6 + r.IntN(4)
		if a.role == server {
			n += 4 // values change often
		}
		for range n {
			p.items = append(p.items, p.action(r, who, a.role, r.IntN(servers)))
		}
	}
}

func (p *plan) action(r *rand.Rand, who int, role role, to int) item {
	x := item{at: within(r, 0, acting), who: who, other: to, id: len(p.items) + 1, non: r.IntN(4) == 0}
	if r.IntN(3) == 0 {
		x.late = within(r, time.Millisecond, 6*time.Second)
	}
	if r.IntN(6) == 0 {
		x.limit = within(r, 50*time.Millisecond, 20*time.Second)
	}
	switch role {
	case server:
		x.kind, x.n = doChange, r.IntN(resources)
	case getter:
		if x.kind = doGet; r.IntN(8) == 0 {
			x.kind = doPing
		}
	case poster:
		x.kind = doPost
	case observer:
		x.kind, x.n = doObserve, r.IntN(resources)
		if r.IntN(4) == 0 {
			x.kind = doStop
		} else {
			x.at /= 2
		}
	case mover:
		x.kind, x.n, x.limit = doUpload, 20+r.IntN(400), 0
		if r.IntN(2) == 0 {
			x.kind = doDownload
		}
	case asker:
		x.kind, x.limit = doAsk, 0
	}
	return x
}

func (p *plan) planFaults(r *rand.Rand) {
	for range 20 + r.IntN(6) {
		x := item{at: within(r, 0, suffering), who: r.IntN(len(p.actors)), kind: faultLoss}
		switch roll := r.IntN(100); {
		case roll < 18:
			x.lasts, x.p = within(r, time.Second, 30*time.Second), 0.1+0.6*r.Float64()
		case roll < 34:
			x.kind, x.lasts, x.p = faultDuplicate, within(r, time.Second, 30*time.Second), 0.1+0.6*r.Float64()
		case roll < 50:
			x.kind, x.lasts, x.p = faultReorder, within(r, time.Second, 30*time.Second), 0.1+0.6*r.Float64()
		case roll < 60:
			x.kind, x.lasts, x.p = faultCorrupt, within(r, time.Second, 30*time.Second), 0.1+0.4*r.Float64()
		case roll < 68:
			x.kind, x.lasts, x.p = faultStray, within(r, time.Second, 30*time.Second), 0.1+0.6*r.Float64()
			if x.other = r.IntN(len(p.actors)); r.IntN(3) > 0 {
				x.other = r.IntN(p.servers()) // whom clients know
			}
		case roll < 73:
			x.kind, x.other, x.lasts = faultPartition, r.IntN(len(p.actors)), within(r, time.Second, 60*time.Second)
		case roll < 81:
			// A client gets another public address for good; what a server sends comes from
			// another one for a while.
			x.kind, x.lasts = faultRebind, within(r, time.Second, 10*time.Second)
		case roll < 86:
			x.kind, x.who, x.lasts = faultRestart, r.IntN(p.servers()), within(r, time.Millisecond, 10*time.Second)
		case roll < 95:
			x.kind, x.lasts = faultSuspend, within(r, 100*time.Millisecond, 50*time.Second)
		default:
			x.kind, x.lasts = faultSleep, within(r, time.Second, 300*time.Second)
		}
		p.items = append(p.items, x)
	}
}

// String writes a line for each item.
func (p *plan) String() string {
	s := fmt.Sprintf("configuration %+v\n", p.knobs)
	for _, x := range p.items {
		s += p.describe(&x) + "\n"
	}
	return s
}

func (p *plan) describe(x *item) string {
	s := fmt.Sprintf("%11.6fs %s %s", x.at.Seconds(), p.actors[x.who].name, kindNames[x.kind])
	switch {
	case x.kind == doChange:
		return fmt.Sprintf("%s of resource %d", s, x.n)
	case x.kind == faultPartition || x.kind == faultStray:
		s += " from " + p.actors[x.other].name
	case !x.kind.fault():
		s += fmt.Sprintf(" id=%d", x.id)
		if x.kind != doAsk {
			s += " at " + p.actors[x.other].name
		}
		if x.non {
			s += " non"
		}
		if x.n > 0 {
			s += fmt.Sprintf(" n=%d", x.n)
		}
		if x.late > 0 {
			s += fmt.Sprintf(" answered-after=%v", x.late.Round(time.Millisecond))
		}
		if x.limit > 0 {
			s += fmt.Sprintf(" time-limit=%v", x.limit.Round(time.Millisecond))
		}
	}
	if x.p > 0 {
		s += fmt.Sprintf(" of %.0f%%", 100*x.p)
	}
	if x.lasts > 0 {
		s += fmt.Sprintf(" for %v", x.lasts.Round(time.Millisecond))
	}
	return s
}
