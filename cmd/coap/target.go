package main

import (
	"net"
	"net/netip"
	"strings"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// checkTarget returns the server that uri names, or what is wrong with it. It finds what
// would otherwise show only as silence.
func checkTarget(uri string) (server string, err error) {
	u, err := message.ParseURI(uri)
	if err != nil {
		return "", whyBadURI(err)
	}
	if u.Scheme == "coaps" {
		return "", usagef("coaps needs DTLS, which this program does not have yet: use coap://%s", strings.TrimPrefix(uri[len("coaps:"):], "//"))
	}
	if addr, ok := u.Addr(); ok {
		if err := checkAddress(addr); err != nil {
			return "", err
		}
	}
	a := coap.Authority{Scheme: u.Scheme, Host: u.Host, Port: u.Port}
	return a.String(), nil
}

func checkAddress(addr netip.Addr) error {
	switch {
	case addr.IsMulticast():
		return usagef("%v is a group, and this program asks one server: write the address of a member", addr)
	case addr.IsUnspecified():
		return usagef("%v stands for no server: write 127.0.0.1 or [::1] for this machine", addr)
	case addr.Is6() && addr.IsLinkLocalUnicast():
		return checkZone(addr)
	}
	return nil
}

// checkZone wants to know the interface of a link-local address.
func checkZone(addr netip.Addr) error {
	if addr.Zone() == "" {
		return usagef("%v is link-local, so say on which interface: [%v%%25NAME]; there are %s", addr, addr, interfaces())
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
