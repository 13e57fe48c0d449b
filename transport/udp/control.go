package udp

import (
	"encoding/binary"
	"net/netip"
)

// Control messages are parsed and built by hand, byte by byte in native order: the
// functions of package syscall allocate a slice and a copy for every datagram, and casting to
// structs would demand an alignment that a buffer on the stack does not promise on
// 32-bit systems. The layout is the same everywhere, a length, a level, a type, data and padding;
// cmsgLenSize, cmsgHeader and cmsgSpace know the sizes.

// packetInfo is what control messages say about a received datagram. Zero means unknown.
type packetInfo struct {
	dst     netip.Addr // the destination in the packet's header
	reply   netip.Addr // the unicast address that the system would answer from
	ifIndex int        // the interface that the packet came by
}

var native = binary.NativeEndian

// parseControl fills pi from control messages. What it does not know, and whatever follows a message
// that makes no sense, is ignored.
func parseControl(b []byte, pi *packetInfo) {
	for {
		level, typ, data, rest, ok := nextControl(b)
		if !ok {
			return
		}
		parsePacketInfo(level, typ, data, pi)
		b = rest
	}
}

// nextControl splits the first message off. Its data is a view into b.
func nextControl(b []byte) (level, typ int, data, rest []byte, ok bool) {
	header := cmsgHeader()
	if len(b) < header {
		return 0, 0, nil, nil, false
	}
	size := uint64(native.Uint32(b))
	if cmsgLenSize == 8 {
		size = native.Uint64(b)
	}
	if size < uint64(header) || size > uint64(len(b)) {
		return 0, 0, nil, nil, false
	}
	level = int(int32(native.Uint32(b[cmsgLenSize:])))
	typ = int(int32(native.Uint32(b[cmsgLenSize+4:])))
	data = b[header:size]
	// The padding after the last message may be missing.
	rest = b[min(cmsgSpace(len(data)), len(b)):]
	return level, typ, data, rest, true
}

// appendControl appends one message with n bytes of zeros for data, and returns these to be
// filled in.
func appendControl(b []byte, level, typ, n int) (all, data []byte) {
	start, header := len(b), cmsgHeader()
	b = append(b, zeros[:cmsgSpace(n)]...)
	h := b[start:]
	if cmsgLenSize == 8 {
		native.PutUint64(h, uint64(header+n))
	} else {
		native.PutUint32(h, uint32(header+n))
	}
	native.PutUint32(h[cmsgLenSize:], uint32(level))
	native.PutUint32(h[cmsgLenSize+4:], uint32(typ))
	return b, h[header : header+n]
}

// zeros is never written to.
var zeros [controlRoom]byte

// struct in6_pktinfo is the same on every system (RFC 3542 section 6.1): the
// address, then the index of the interface.
const sizeofPacketInfo6 = 20

func parsePacketInfo6(data []byte, pi *packetInfo) {
	if len(data) < sizeofPacketInfo6 {
		return
	}
	pi.dst = netip.AddrFrom16([16]byte(data[:16]))
	pi.ifIndex = int(native.Uint32(data[16:]))
}

func putPacketInfo6(data []byte, from netip.Addr, ifIndex int) {
	if from.IsValid() {
		a := from.As16()
		copy(data, a[:])
	}
	native.PutUint32(data[16:], uint32(ifIndex))
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

func putAddr4(b []byte, a netip.Addr) {
	if a.IsValid() {
		v := a.As4()
		copy(b, v[:])
	}
}
