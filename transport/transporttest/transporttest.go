// Package transporttest checks that an implementation of [transport.Conn] keeps the contract. The
// UDP sockets and the simulated network of this module pass it; run it on a transport of your
// own:
//
//	func TestConn(t *testing.T) {
//		transporttest.TestConn(t, func(t *testing.T) (a, b transport.Conn) {
//			… two that can reach each other …
//		}, transporttest.Options{})
//	}
//
// It uses nothing but the interface. It needs a path that keeps order and loses nothing while a few dozen
// datagrams are under way, as loopback does, and it never waits for time to pass: a time-out
// only ends a test that has failed. What a transport cannot do is said in [Options], so
// that it is skipped visibly.
//
// What it does not check: multicast, which is no part of the interface, and sessions.
package transporttest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/coapkit/coap/transport"
)

// Options describes the transport under test. The zero value expects all that the contract
// offers, as far as two endpoints suffice to see it.
type Options struct {
	// Run, when not nil, runs the body of each test; synctest.Test fits.
	// Nil runs it as it is.
	Run func(t *testing.T, body func(t *testing.T))

	// Timeout is how long a datagram may take before the test counts as failed. 0 or less means
	// 10 seconds.
	Timeout time.Duration

	// MaxSize is the size of the largest datagram in bytes that the transport carries. 0
	// means 65507, as for UDP over IPv4; it must be at least 1152 (RFC 7252 section 4.6).
	MaxSize int

	// TooLarge is a size that is refused with transport.ErrTooLarge. 0 means
	// 70000; less than 0 means that the transport never refuses.
	TooLarge int

	// Dead is a destination that nobody listens to. The zero value means
	// that of a third Conn, got from open and closed.
	Dead netip.AddrPort

	// NoErrors says that the transport does not report datagrams to Dead as undelivered.
	NoErrors bool

	// NoTruncation says that datagrams longer than the room offered are dropped.
	NoTruncation bool

	// OpenMultihomed, when not nil, opens a Conn that can be reached at each of addrs
	// (two or more), and a peer for it, to see that Local is told and heeded.
	OpenMultihomed func(t *testing.T) (c, peer transport.Conn, addrs []netip.AddrPort)
}

// TestConn runs the suite, each test as a subtest of t. The function open returns two new Conns
// that can reach each other at their LocalAddr, which therefore must not be a wildcard. They are
// closed by the suite.
func TestConn(t *testing.T, open func(t *testing.T) (a, b transport.Conn), opts Options) {
	if opts.Run == nil {
		opts.Run = func(t *testing.T, body func(*testing.T)) { body(t) }
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 10 * time.Second
	}
	if opts.MaxSize == 0 {
		opts.MaxSize = 65507
	}
	if opts.TooLarge == 0 {
		opts.TooLarge = 70000
	}
	s := suite{open: open, opts: opts}
	for _, test := range []struct {
		name string
		run  func(suite, *testing.T)
	}{
		{"Addresses", suite.testAddresses},
		{"Boundaries", suite.testBoundaries},
		{"Sizes", suite.testSizes},
		{"EveryFieldIsOverwritten", suite.testOverwrite},
		{"BytesAreNotRetained", suite.testRetention},
		{"Truncation", suite.testTruncation},
		{"TooLarge", suite.testTooLarge},
		{"ConcurrentWriters", suite.testConcurrentWriters},
		{"ConcurrentReaders", suite.testConcurrentReaders},
		{"LocalAddress", suite.testLocalAddress},
		{"Undelivered", suite.testUndelivered},
		{"CloseEndsReads", suite.testCloseEndsReads},
		{"CloseTwice", suite.testCloseTwice},
		{"UseAfterClose", suite.testUseAfterClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			opts.Run(t, func(t *testing.T) { test.run(s, t) })
		})
	}
}

// suite is what the tests share; they do not change it.
type suite struct {
	open func(t *testing.T) (a, b transport.Conn)
	opts Options
}
