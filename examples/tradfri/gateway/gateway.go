// Package gateway emulates an IKEA Tradfri gateway, as far as its users have described it: clients get an identity and
// key of their own, list bulbs and groups, switch and dim them, and observe them. It lights nothing.
//
// What is like the real one, and surprises: an identity is given out once, and who has lost its key takes another
// name; it is forgotten after six weeks without use; the gateway takes commands for bulbs that have no power, and
// notices only some seconds later that they do not follow; a group reports what it was told last; switching a group
// is told to who observes its bulbs, not to who observes the group.
//
// What is not known of the real one, such as how it answers most mistakes, is up to this package. So is how
// many identities there may be.
package gateway

import (
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/coapkit/coap/examples/tradfri/ipso"
)

const (
	firmware = "1.21.31"
	// The first numbers of devices and groups.
	firstDevice = 65536
	firstGroup  = 131073
	// unusedFor is how long an identity is remembered that nobody uses.
	unusedFor = 6 * 7 * 24 * time.Hour
	// noticesAfter is how long the gateway waits for a bulb to follow a command.
	noticesAfter  = 6 * time.Second
	maxIdentities = 100
	maxName       = 64 // of identities, devices and groups, in bytes
)

// Gateway is an emulated gateway. All methods may be called concurrently.
type Gateway struct {
	code   string
	notify func(path string)

	mu         sync.Mutex // guards the rest; notify is called without it
	identities map[string]*client
	devices    []*device
	groups     []*ipso.Group
}

// client is somebody with an identity.
type client struct {
	key  []byte
	used time.Time
}

// device is a bulb.
type device struct {
	ipso.Device
	power bool // of which the gateway knows only what Device.Reachable says
}

// New returns a gateway with this security code, and without bulbs.
func New(code string) *Gateway {
	return &Gateway{code: code, notify: func(string) {}, identities: make(map[string]*client)}
}

// Key returns the key of an identity, nil if there is none. It is for the configuration of DTLS.
func (g *Gateway) Key(identity string) ([]byte, error) {
	if identity == ipso.PairingIdentity {
		return []byte(g.code), nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.client(identity); c != nil {
		return c.key, nil
	}
	return nil, nil
}

// client returns who has an identity, nil if nobody does. The lock is held.
func (g *Gateway) client(identity string) *client {
	c := g.identities[identity]
	if c != nil && time.Since(c.used) > unusedFor {
		delete(g.identities, identity)
		return nil
	}
	return c
}

// use notes that an identity is in use. It reports whether it exists.
func (g *Gateway) use(identity string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.client(identity)
	if c != nil {
		c.used = time.Now()
	}
	return c != nil
}

var errRefused = errors.New("refused")

// pair makes an identity and returns its key.
func (g *Gateway) pair(identity string) (key string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !isName(identity) || identity == ipso.PairingIdentity || g.client(identity) != nil {
		return "", errRefused
	}
	for name := range g.identities { // makes room
		g.client(name)
	}
	if len(g.identities) >= maxIdentities {
		return "", errRefused
	}
	key = rand.Text()[:16]
	g.identities[identity] = &client{key: []byte(key), used: time.Now()}
	return key, nil
}

func isName(s string) bool { return s != "" && len(s) <= maxName }

// AddBulb adds a bulb, which is off, and returns its number.
func (g *Gateway) AddBulb(name, model string) int {
	g.mu.Lock()
	now := time.Now().Unix()
	off, level := ipso.Bool(false), ipso.MaxLevel
	d := &device{power: true, Device: ipso.Device{
		ID: firstDevice + len(g.devices), Name: name, Type: ipso.TypeLight, Reachable: true, Created: now, LastSeen: now,
		Product: ipso.Product{Manufacturer: "IKEA of Sweden", Model: model, Firmware: "2.3.050", Power: 1},
		Lights:  []ipso.Light{{State: ipso.State{On: &off, Level: &level}}},
	}}
	g.devices = append(g.devices, d)
	g.mu.Unlock()
	g.notify(ipso.Devices)
	return d.ID
}

// AddGroup makes a group of devices and returns its number.
func (g *Gateway) AddGroup(name string, members ...int) int {
	g.mu.Lock()
	off, level := ipso.Bool(false), ipso.MaxLevel
	group := &ipso.Group{
		ID: firstGroup + len(g.groups), Name: name, Created: time.Now().Unix(),
		State: ipso.State{On: &off, Level: &level},
	}
	group.Members.Link.IDs = slices.Clone(members)
	g.groups = append(g.groups, group)
	g.mu.Unlock()
	g.notify(ipso.Groups)
	return group.ID
}

// SetPower gives a bulb power or takes it away, as the switch on the wall does. A bulb that gets power is on
// and says so; one that has lost it cannot.
func (g *Gateway) SetPower(id int, power bool) {
	g.mu.Lock()
	d := g.device(id)
	if d == nil {
		g.mu.Unlock()
		return
	}
	d.power = power
	if power {
		on := ipso.Bool(true)
		d.Reachable, d.LastSeen, d.Lights[0].On = true, time.Now().Unix(), &on
	}
	g.mu.Unlock()
	if power {
		g.notify(devicePath(id))
	}
}

// device returns the device with a number, nil if there is none. The lock is held.
func (g *Gateway) device(id int) *device {
	if i := id - firstDevice; i >= 0 && i < len(g.devices) {
		return g.devices[i]
	}
	return nil
}

// command has a bulb do something. It reports whether the bulb follows. The lock is held.
func (g *Gateway) command(d *device, c *ipso.Change) bool {
	if !d.power {
		time.AfterFunc(noticesAfter, func() { g.miss(d) })
		return false
	}
	d.Lights[0].State = apply(d.Lights[0].State, c)
	d.LastSeen = time.Now().Unix()
	return true
}

// miss notes that a bulb has not followed, unless it has got power meanwhile.
func (g *Gateway) miss(d *device) {
	g.mu.Lock()
	missed := !d.power && bool(d.Reachable)
	if missed {
		d.Reachable = false
	}
	g.mu.Unlock()
	if missed {
		g.notify(devicePath(d.ID))
	}
}

// apply returns what a light does after a change. A level above 0 switches it on, unless
// it is switched off at the same time, which the level does not survive.
func apply(s ipso.State, c *ipso.Change) ipso.State {
	on := s.On
	if c.Level != nil {
		lit := ipso.Bool(*c.Level > 0)
		on = &lit
	}
	if c.On != nil {
		on = c.On
	}
	if c.Level != nil && bool(*on) {
		s.Level = c.Level
	}
	s.On = on
	if c.Color != "" {
		s.Color = c.Color
	}
	return s
}

// isPossible reports whether a light can do what is asked.
func isPossible(c *ipso.Change) bool {
	const longest = 6000 // 10 minutes
	level, transition := c.Level, c.Transition
	return (level == nil || *level >= 0 && *level <= ipso.MaxLevel) &&
		(transition == nil || *transition >= 0 && *transition <= longest) &&
		(c.Color == "" || len(c.Color) == len("efd275")) &&
		c.State != (ipso.State{})
}
