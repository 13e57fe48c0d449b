// Package udp carries CoAP over plain UDP sockets (RFC 7252 section 3), to single
// endpoints and to groups (RFC 7252 section 8). It implements the contract of package
// transport.
//
// What it does beyond a net.UDPConn:
//
//   - It says which of the host's addresses a datagram was sent to, whether that was a group,
//     and over which interface it came (RFC 7252 section 8.1: a server should be aware that
//     a request arrived via multicast). A reply leaves from the address that was asked, so that
//     a socket bound to the wildcard address works on a host with several addresses.
//   - One wildcard socket serves IPv4 and IPv6. IPv4 addresses never appear in IPv4-mapped
//     form, and link-local addresses carry their zone.
//   - ICMP errors come back as datagrams with Err set that quote what was sent, so
//     that the caller can check them as RFC 7252 section 4.2 asks. A pending socket error
//     neither ends the socket nor disturbs a send to someone else.
//   - Reading and writing allocate nothing in the steady state (Linux).
//
// # Systems
//
// What is told about a received datagram, and can be asked for a sent one:
//
//	             Local, Group, IfIndex   source address   source interface   ICMP errors
//	Linux        yes                     yes              yes                yes, with quotes
//	macOS        yes                     yes              yes                no
//	FreeBSD      yes                     yes              IPv6 only          no
//	Windows      yes                     yes              yes                no
//	others       bound address only      no               no                 no
//
// Only Linux is tested continuously. On the others a source address that the system
// refuses is left out and the datagram is sent from the address that routing chooses; a
// subnet broadcast is not recognised as one; and an IPv4 group may need a socket of its own,
// bound to an IPv4 address, because not every system lets a dual-stack socket join it. Windows
// drops datagrams that are longer than the room offered, instead of handing over their
// beginning.
//
// # Limits
//
// ReadBatch returns one received datagram per call. Path MTU discovery is left to the system:
// RFC 7252 section 4.6 has messages fit into 1280-byte packets instead.
//
// # Extending
//
// A system is one file udp_GOOS.go: a handful of constants, the socket options to set
// before binding, and how its packet info is laid out. Socket options that [Config] does not
// know are set by its Control hook.
package udp
