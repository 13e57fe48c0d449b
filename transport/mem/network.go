package mem

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Config says how good a network is. The zero value is a perfect one. Probabilities are from 0
// (never) to 1 (always), and each datagram has its own luck; of a datagram to a group, each
// copy.
type Config struct {
	// Seed chooses the random faults. It counts only in NewNetwork.
	Seed uint64

	// Loss is the probability that a datagram vanishes.
	Loss float64
	// Duplicate is the probability that it arrives twice.
	Duplicate float64
	// Corrupt is the probability that one bit of it is flipped. UDP has a checksum, so this
	// is rare in life; a parser should stand it all the same.
	Corrupt float64
	// Reorder is the probability that it is held back for ReorderBy in addition to its delay,
	// so that later ones overtake it.
	Reorder float64
	// ReorderBy is how long. 0 or less means 10 milliseconds.
	ReorderBy time.Duration

	// Delay is how long a datagram is under way; 0 or less means that it arrives at once.
	Delay time.Duration
	// Jitter is the most that is randomly added to Delay; datagrams may overtake each
	// other then. 0 or less means none.
	Jitter time.Duration

	// MTU is the size of the largest datagram in bytes. Writing a larger one fails with
	// transport.ErrTooLarge. 0 or less means 65507, as for UDP over IPv4.
	MTU int

	// Queue is how many datagrams and reports wait for a Conn to be read. What comes when the queue
	// is full is dropped and counted (Stats.Overflow). 0 or less means 1024.
	Queue int

	// NoUnreachable makes the network silent about datagrams to an address that nobody
	// listens to. Otherwise their sender gets them back, as a Datagram with Err
	// syscall.ECONNREFUSED and all their bytes, when twice the Delay has passed.
	NoUnreachable bool

	// Filter, when not nil, decides about each datagram before the random faults do. Calls do not
	// overlap, so that it may count without a lock. It may change the network's
	// configuration, but must not block, nor send on the same network.
	Filter func(*Packet) Verdict
}

// Packet is a datagram as a Filter sees it. It is valid during the call only.
type Packet struct {
	// Src and Dst are the addresses on the wire: behind a NAT, Src is the public
	// one. They have no zones.
	Src, Dst netip.AddrPort
	// Data may be changed in place, or replaced; it is copied.
	Data []byte
}

// Verdict is what a Filter decides. The zero value lets the datagram go on to the random
// faults.
type Verdict struct {
	// Drop lets the datagram vanish.
	Drop bool
	// Err lets it vanish and reports it to its sender as undelivered with this error, as an
	// ICMP message would (syscall.EHOSTUNREACH, say).
	Err error
	// Delay is added to the time that the datagram is under way.
	Delay time.Duration
	// Copies is how many more of it arrive.
	Copies int
	// Corrupt flips a random bit.
	Corrupt bool
}

// Stats counts datagrams since the network was made. Each datagram to one address
// ends as one of Delivered, Lost, Filtered, Refused and Overflow, or is still
// under way, and so does each duplicate. Of a datagram to a group that holds for each copy.
type Stats struct {
	Sent       uint64 // accepted by WriteBatch; one for a datagram to a group
	Delivered  uint64 // put into a receiver's queue
	Lost       uint64 // vanished at random or because of Cut
	Duplicated uint64 // copies made in addition
	Reordered  uint64 // held back
	Corrupted  uint64 // had a bit flipped
	Filtered   uint64 // dropped by a Filter
	TooBig     uint64 // refused by WriteBatch: larger than the MTU
	Refused    uint64 // arrived where nobody listens
	Overflow   uint64 // arrived at a full queue
}

// Network is a network. All its methods, and those of its hosts and Conns, may be called
// concurrently.
type Network struct {
	// filterMu makes sending with a Filter, or while somebody watches, one at a time. It is the
	// one lock held during a callback, which its documentation allows for, and is taken before mu.
	filterMu sync.Mutex

	// mu guards everything below, and all that belongs to the network's hosts and Conns
	// unless they say otherwise. Nothing blocks, and nobody is called, while it is held.
	mu      sync.Mutex
	cfg     Config
	rand    *rand.Rand
	closed  bool
	stats   Stats
	conns   []*Conn                // in the order they were opened
	addrs   map[address]*iface     // who has an address
	groups  map[netip.Addr][]place // members in the order they joined
	cuts    map[[2]netip.Addr]bool
	nat     map[netip.AddrPort]*Conn // public addresses
	dead    map[netip.AddrPort]bool  // public addresses that a NAT has forgotten
	natPort uint16                   // the last public port that was given out
	air     air
	free    []*flight
	watch   []func(*Packet, Verdict)
	seen    []sight // what they are about to be told
}

// sight is one call of a watch function.
type sight struct {
	Packet
	Verdict
}

// address is an address on the network: link-local ones exist once per link. It has no zone.
type address struct {
	ip   netip.Addr
	link string
}

func addressOf(ip netip.Addr, link string) address {
	if !ip.IsLinkLocalUnicast() {
		link = ""
	}
	return address{ip.WithZone(""), link}
}

// NewNetwork makes a network without hosts.
func NewNetwork(cfg Config) *Network {
	n := &Network{
		cfg:     cfg,
		rand:    rand.New(rand.NewPCG(cfg.Seed, 0x636f6170)),
		addrs:   make(map[address]*iface),
		groups:  make(map[netip.Addr][]place),
		cuts:    make(map[[2]netip.Addr]bool),
		nat:     make(map[netip.AddrPort]*Conn),
		dead:    make(map[netip.AddrPort]bool),
		natPort: firstPort - 1,
	}
	n.air.tick = n.tick
	return n
}

// Config returns the present configuration.
func (n *Network) Config() Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cfg
}

// SetConfig replaces the configuration for datagrams sent from now on. To change
// one thing, change what Config returned. The Seed is ignored.
func (n *Network) SetConfig(cfg Config) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cfg = cfg
}

// Stats returns the counters.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// Watch has f told of each datagram that is sent from now on, in order, and what becomes of it by
// the Filter, by chance and by Cut together: Drop if it vanishes, Err if it comes back, else Delay, Copies and
// Corrupt. The packet has the bytes that arrive; they may be kept but not changed. Of a datagram
// to a group, f is told of each copy, with the member as Dst, or once of a drop if there is no member. Calls
// do not overlap each other or those of the Filter; f must not block, nor send on the same network.
func (n *Network) Watch(f func(*Packet, Verdict)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watch = append(n.watch[:len(n.watch):len(n.watch)], f) // senders read the old one
}

// Cut lets every datagram between two addresses vanish, in both directions, from now on
// until Heal. What is under way arrives. The addresses are those on the wire, zones are ignored.
func (n *Network) Cut(a, b netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[cutKey(a, b)] = true
}

// Heal ends all cuts.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
}

func cutKey(a, b netip.Addr) [2]netip.Addr {
	a, b = a.Unmap().WithZone(""), b.Unmap().WithZone("")
	if b.Less(a) {
		a, b = b, a
	}
	return [2]netip.Addr{a, b}
}

// Close closes all Conns and forgets what is under way. Closing again is harmless and returns nil.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for len(n.conns) > 0 {
		n.conns[len(n.conns)-1].closeLocked()
	}
	n.air.stop()
	n.free = nil
	return nil
}

// mtu is the size of the largest datagram.
func (n *Network) mtu() int {
	if n.cfg.MTU > 0 {
		return n.cfg.MTU
	}
	return 65507
}

// opError is an error about a Conn as package net makes them.
func opError(op string, local, remote netip.AddrPort, err error) error {
	e := &net.OpError{Op: op, Net: "mem", Err: err}
	if local.IsValid() {
		e.Source = net.UDPAddrFromAddrPort(local)
	}
	if remote.IsValid() {
		e.Addr = net.UDPAddrFromAddrPort(remote)
	}
	return e
}
