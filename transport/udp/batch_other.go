//go:build !linux || !(amd64 || arm64) || portable

package udp

import "github.com/coapkit/coap/transport"

// batch has no meaning where a system call moves one datagram.
type batch struct{}

func (c *Conn) startBatches() {}

// readSome waits for a datagram. It returns 0 if that was a stray.
func (c *Conn) readSome(ds []transport.Datagram) (int, error) { return c.readOne(&ds[0]) }

// writeSome sends datagrams in order and returns how many have gone. The error is about the next one.
func (c *Conn) writeSome(ds []transport.Datagram) (int, error) { return c.writeEach(ds) }
