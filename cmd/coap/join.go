package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap"
)

// membership is in which groups a server is, and by which interfaces.
type membership struct {
	wanted bool
	links  []string
}

// groupSocket is a socket that can join groups, on one interface or, with index 0, on all.
type groupSocket interface {
	Join(group netip.Addr, ifIndex int) error
}

func (m *membership) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&m.wanted, "group", false, "join the groups of all CoAP nodes, to be found by discovery")
	f.StringArrayVar(&m.links, "interface", nil, "with --group, join on the interface with this `name` only; repeatable")
	must(cmd.RegisterFlagCompletionFunc("interface", completeInterface))
}

// check compares the flags with each other and with the address to listen on.
func (m *membership) check(listen string) error {
	if !m.wanted {
		if len(m.links) > 0 {
			return usagef("--interface says where to join groups: add --group")
		}
		return nil
	}
	for _, name := range m.links {
		if _, err := interfaceNamed(name); err != nil {
			return err
		}
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil // listening says it better
	}
	if addr, err := netip.ParseAddr(host); host != "" && (err != nil || !addr.IsUnspecified()) {
		return usagef("a socket at %s hears no groups: with --group, --listen :%s", listen, port)
	}
	return nil
}

// join joins each group where it can, and returns those that it could join somewhere. One is
// enough: there are machines without IPv6.
func (m *membership) join(socket groupSocket) (joined []netip.Addr, err error) {
	if !m.wanted {
		return nil, nil
	}
	var first error
	for _, group := range coap.AllNodes() {
		if err := m.joinOne(socket, group); err == nil {
			joined = append(joined, group)
		} else if first == nil {
			first = err
		}
	}
	if len(joined) == 0 {
		return nil, noAnswerf("--group: no group can be joined: %s; --interface asks for one of %s", strings.TrimPrefix(first.Error(), "udp: "), interfaces())
	}
	return joined, nil
}

// joinOne joins a group on all interfaces, or on at least one of those that are named.
func (m *membership) joinOne(socket groupSocket, group netip.Addr) (err error) {
	if len(m.links) == 0 {
		return socket.Join(group, 0)
	}
	joined := false
	for _, name := range m.links {
		i, e := net.InterfaceByName(name)
		if e == nil {
			e = socket.Join(group, i.Index)
		}
		if e == nil {
			joined = true
		} else if err == nil {
			err = e
		}
	}
	if joined {
		return nil
	}
	return err
}

// announce says how to find a server at this port.
func (m *membership) announce(w io.Writer, joined []netip.Addr, port uint16) {
	if len(joined) == 0 {
		return
	}
	where := "all interfaces"
	if len(m.links) > 0 {
		where = strings.Join(m.links, ", ")
	}
	groups := make([]string, len(joined))
	for i, g := range joined {
		groups[i] = g.String()
	}
	fmt.Fprintf(w, "member of %s on %s\n", strings.Join(groups, ", "), where)
	fmt.Fprintf(w, "to be found by: coap discover %v\n", coap.Authority{Scheme: "coap", Host: groups[0], Port: port})
}
