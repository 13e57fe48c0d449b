package main

import (
	"net"
	"net/netip"
	"strings"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// target is what a URI names: a server, or a group of them.
type target struct {
	authority coap.Authority
	// addr is the address in the URI, the zero Addr for a name.
	addr netip.Addr
	// link is the interface to ask by, 0 if the URI or routing says which.
	link int
}

// String returns the start of the URI.
func (t target) String() string { return t.authority.String() }

// isSecure reports whether it is asked over DTLS.
func (t target) isSecure() bool { return t.authority.Scheme == "coaps" }

// isGroup reports whether several servers may answer.
func (t target) isGroup() bool { return t.addr.IsMulticast() }

// checkTarget returns what uri names, or what is wrong with it. link is the name of the
// interface to ask by, empty if none is wanted. It finds what would otherwise show only as
// silence.
func checkTarget(uri, link string) (t target, err error) {
	u, err := message.ParseURI(uri)
	if err != nil {
		return t, whyBadURI(err)
	}
	t.authority = coap.Authority{Scheme: u.Scheme, Host: u.Host, Port: u.Port}
	t.addr, _ = u.Addr()
	if err := t.choose(link); err != nil {
		return t, err
	}
	return t, checkAddress(t.addr)
}

// choose has the target asked by the named interface.
func (t *target) choose(link string) error {
	if link == "" {
		return nil
	}
	i, err := interfaceNamed(link)
	if err != nil {
		return err
	}
	t.link = i.Index
	switch zone := t.addr.Zone(); {
	case zone != "" && zone != link:
		return usagef("the URI says interface %s and --interface says %s: leave one of them out", zone, link)
	case t.addr.Is6() && t.addr.IsLinkLocalUnicast():
		// What comes back has the zone, so what is sent needs it, too.
		t.addr = t.addr.WithZone(link)
		t.authority.Host = t.addr.String()
	}
	return nil
}

// interfaceNamed finds the interface that a flag names.
func interfaceNamed(name string) (*net.Interface, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, usagef("--interface %s: there is no such interface; there are %s", name, interfaces())
	}
	return i, nil
}

func checkAddress(addr netip.Addr) error {
	switch {
	case addr.IsUnspecified():
		return usagef("%v stands for no server: write 127.0.0.1 or [::1] for this machine", addr)
	case addr.Zone() != "" || addr.Is6() && addr.IsLinkLocalUnicast():
		return checkZone(addr)
	}
	return nil
}

// checkZone wants to know the interface of a link-local address.
func checkZone(addr netip.Addr) error {
	if addr.Zone() == "" {
		return usagef("%v is link-local, so say on which interface: [%v%%25NAME] or --interface NAME; there are %s", addr, addr, interfaces())
	}
	if _, err := net.InterfaceByName(addr.Zone()); err != nil && !isNumber(addr.Zone()) {
		return usagef("there is no interface %q for %v; there are %s", addr.Zone(), addr.WithZone(""), interfaces())
	}
	return nil
}

func interfaces() string {
	all, _ := net.Interfaces()
	names := make([]string, len(all))
	for i, in := range all {
		names[i] = in.Name
	}
	return strings.Join(names, ", ")
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
