//go:build !linux

package main

import (
	"errors"
	"net"
	"net/netip"
)

// devicePorts is how many devices there are: each is a socket.
const devicePorts = 64

// deviceAddr returns the address of device i: elsewhere than on Linux, a port.
func deviceAddr(port uint16, i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port+uint16(i%devicePorts))
}

// serveDevices answers every request with 2.05 and a text until its parent ends.
func serveDevices(serveTask) error {
	for range 10 {
		if first, ok := openDevices(); ok {
			announce(first)
			untilParentEnds()
			return nil
		}
	}
	return errors.New("found no 64 free ports in a row")
}

func openDevices() (first netip.AddrPort, ok bool) {
	port, err := freePort()
	if err != nil || port > 65535-devicePorts {
		return first, false
	}
	var all []*net.UDPConn
	for i := range devicePorts {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(deviceAddr(port, i)))
		if err != nil {
			for _, c := range all {
				c.Close()
			}
			return first, false
		}
		all = append(all, c)
	}
	for _, c := range all {
		go answerAll(c)
	}
	return deviceAddr(port, 0), true
}

func answerAll(c *net.UDPConn) {
	b := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		token := int(b[0] & 15)
		if n < 4+token || b[1] == 0 {
			continue
		}
		b[0], b[1] = 0x60|b[0]&15, 0x45
		_, _ = c.WriteToUDPAddrPort(append(append(b[:4+token:len(b)], 0xC0, 0xFF), shortText...), from)
	}
}
