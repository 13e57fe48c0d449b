package coap

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Resolver looks up the addresses of a host name. *net.Resolver is one. network is "ip".
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// names remembers what was looked up, guarded by Client.mu.
type names map[string]name

type name struct {
	addrs []netip.Addr // the one that worked last comes first
	until time.Time
	// silent has not answered. It is tried last next time, or a caller with little time would
	// never get to the others.
	silent netip.Addr
}

const (
	nameLifetime = time.Minute // the resolver does not tell how long an answer holds
	maxNames     = 1024
)

// resolve returns the addresses of a server that has a name, at least one.
func (c *Client) resolve(ctx context.Context, server Authority) ([]netip.Addr, error) {
	c.mu.Lock()
	n, ok := c.resolved[server.Host]
	c.mu.Unlock()
	if ok && time.Now().Before(n.until) {
		return n.addrs, nil
	}
	var r Resolver = net.DefaultResolver
	if c.Resolver != nil {
		r = c.Resolver
	}
	addrs, err := r.LookupNetIP(ctx, "ip", server.Host)
	if err != nil {
		return nil, &OpError{Op: "look up " + server.Host, Err: err}
	}
	if len(addrs) == 0 {
		return nil, &OpError{Op: "look up " + server.Host, Err: &net.DNSError{Err: "no address", Name: server.Host, IsNotFound: true}}
	}
	unmapped := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		unmapped[i] = a.Unmap()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(unmapped, c.resolved[server.Host].silent); i >= 0 {
		unmapped = append(slices.Delete(unmapped, i, i+1), addrs[i].Unmap())
	}
	if c.resolved == nil {
		c.resolved = make(names)
	}
	for host := range c.resolved {
		if len(c.resolved) < maxNames {
			break
		}
		delete(c.resolved, host)
	}
	c.resolved[server.Host] = name{addrs: unmapped, until: time.Now().Add(nameLifetime)}
	return unmapped, nil
}

// prefer moves the address that has worked to the front.
func (c *Client) prefer(host string, works netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.resolved[host]
	i := slices.Index(n.addrs, works)
	if i <= 0 {
		return // it is the first, or others have looked up the name again meanwhile
	}
	addrs := slices.Clone(n.addrs) // others may be reading it
	copy(addrs[1:i+1], addrs[:i])
	addrs[0] = works
	n.addrs = addrs
	c.resolved[host] = n
}

// forget makes a name be looked up again, after nobody has answered, silent least of all.
func (c *Client) forget(host string, silent netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.resolved[host]; ok {
		c.resolved[host] = name{silent: silent}
	}
}
