package exchange

import "net/netip"

// Peer is the other end of an exchange: an endpoint in the sense of RFC 7252 section 4.1. It
// is a small value that can be copied and kept.
type Peer struct {
	// Addr is the address and port of the peer, with the zone of a link-local address.
	Addr netip.AddrPort
	// Local is the local address that the exchange uses. Its address is
	// unspecified or the zero Addr where routing chooses.
	Local netip.AddrPort
	// IfIndex is the interface that the exchange uses, 0 if unknown.
	IfIndex int
	// Verified says that the peer has shown that it receives what is sent to Addr: it
	// has returned a token of ours, or there is a secure session. An unverified
	// address may be forged.
	Verified bool
	// Secure says that the exchange goes over a secure session.
	Secure bool
	// Reliable says that the transport retransmits by itself.
	Reliable bool
	// Identity is who the peer has proven to be to a secure session, else nil. The
	// transport documents its type.
	Identity any
	// Session tells the secure session or connection apart from others; nil for plain
	// datagrams. It is comparable and otherwise opaque.
	Session any
}

// String returns the address.
func (p Peer) String() string { return p.Addr.String() }

// Amplification is how many times as many bytes as have come from an address may go to it before its
// owner has shown that they arrive (RFC 9175 section 2.4).
const Amplification = 3

// PacketSize returns the length of the IP packet that carries n bytes to or from an address over UDP.
func PacketSize(addr netip.Addr, n int) int {
	const udp, ip4, ip6 = 8, 20, 40
	if addr.Unmap().Is4() {
		return n + udp + ip4
	}
	return n + udp + ip6
}
