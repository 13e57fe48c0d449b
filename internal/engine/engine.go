// Package engine is the message layer and the request/response layer of RFC 7252 sections 4
// and 5 as a state machine: datagrams, requests and responses go in, datagrams and
// events come out. It does no I/O and has no goroutine, lock or clock; the driver
// in package coap supplies them. The same seed and the same calls give the same bytes.
//
// Each part of the RFC has its file:
//
//	4.2, 4.8   retransmit.go  Confirmable messages, back-off, give up
//	4.4        mids.go        message IDs
//	4.4, 5.3   match.go       acknowledgements, resets and responses to what they belong to
//	4.5        dedup.go       duplicates; replies.go, what they are answered with
//	4.7        request.go     NSTART and PROBING_RATE; requests and pings of our own
//	4.2, 4.3   receive.go     what to do with a received message, rejection
//	5.2        separate.go    piggybacked and separate responses
//	8          multicast.go   what is different for groups
//	RFC 7967   noresponse.go  responses that are not wanted
//	RFC 7641   observe.go     requests with several responses, notifications
//	           supersede.go   outdated notifications
//	9          session.go     what ends with a secure session
//
// peers.go is the table of peers, timer.go the heap of deadlines. slots.go, hashed.go and fifo.go are
// the memory for what there may be a million of, slab.go that for the rest.
//
// Every step costs O(1) in the number of peers, exchanges and remembered messages, or
// O(log n) where a deadline is set; there is no sweep, and what there may be a million of is never copied. An
// Engine is used by one goroutine at a time.
package engine

import (
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// Config configures an Engine.
type Config struct {
	// Params and Limits have their defaults put in place by New.
	Params exchange.Params
	Limits exchange.Limits
	// Seed of the generator that tokens, message IDs and time-outs come from. For real
	// use it is taken from a cryptographic source: tokens must not be guessed
	// (RFC 7252 section 11.4).
	Seed [32]byte
	// LimitUnverified bounds the retransmissions of separate responses to peers that may have
	// forged their address.
	LimitUnverified bool
	// Trace makes the engine record trace events, to be fetched with Traces.
	Trace bool
}

// Engine is the state of one endpoint.
type Engine struct {
	params exchange.Params
	limits exchange.Limits
	rand   *rand.Rand
	hash   maphash.Seed

	epoch time.Time
	now   int64 // nanoseconds since epoch, as of the call in progress

	rows      hashed[row]
	keys      slots[longKey] // of rows with a session or a zone
	peers     slots[peer]
	resting   fifo // peers whose row nothing refers to, the longest idle first
	tokens    table[uint64, *exchangeState]
	mids      table[midKey, *exchangeState]
	dedup     dedup
	lifetimes [lifetimes]int64 // of what is remembered, from params
	incoming  slots[incoming]
	answering map[uint32]*exchangeState // separate responses that wait for an acknowledgement, by record
	timers    timerHeap

	exchangePool pool[exchangeState]
	buffers      buffers

	out     queue[outgoing]
	events  queue[Event]
	trace   []exchange.TraceEvent
	tracing bool

	limitUnverified bool
	watcher         any // see WatchResets

	groupMIDs midAllocator
	gen       uint32 // of the next incoming
	pinned    int    // peers with a message that may not be forgotten early
	handling  int
	responses int // separate responses under way
	delayed   int // responses to groups that wait for their leisure
	queued    int
	draining  bool
	closed    bool
	stats     exchange.Stats
	view      message.Message // the message in hand, kept here so that it does not escape
	refusal   message.Message // the same for refuse
	token     [tokenLength]byte
}

// New returns an engine whose time starts at now. Config must be valid.
func New(cfg Config, now time.Time) *Engine {
	e := &Engine{
		params:  cfg.Params.WithDefaults(),
		limits:  cfg.Limits.WithDefaults(),
		rand:    rand.New(rand.NewChaCha8(cfg.Seed)),
		hash:    maphash.MakeSeed(),
		epoch:   now,
		tracing: cfg.Trace, limitUnverified: cfg.LimitUnverified,
		answering: make(map[uint32]*exchangeState),
		keys:      newSlots[longKey](4, 1), peers: newSlots[peer](6, 1), incoming: newSlots[incoming](4, 1),
	}
	e.lifetimes[lifetimeCon] = int64(e.params.ExchangeLifetime())
	e.lifetimes[lifetimeNon] = int64(e.params.NonLifetime())
	e.rows = newHashed[row]()
	e.dedup.records = newHashed[record]()
	e.dedup.replies = newReplies()
	e.incoming.keep = 16 // handlers run in bursts
	return e
}

// Exchanges returns how many exchanges that we have started are not over.
func (e *Engine) Exchanges() int { return e.exchangePool.live }

// EventKind says what an Event is about.
type EventKind uint8

// The kinds of events.
const (
	EventRequest  EventKind = iota + 1 // a request to be answered by Respond or Drop
	EventResponse                      // the response to a request of ours
	EventAcked                         // a notification of ours was acknowledged
	EventOutdated                      // Replace a notification of ours: it would be retransmitted, but for Supersede
	EventRejected                      // a Reset came, maybe of a notification by Notify, whose ID is that of Message
	EventDone                          // the window of a request of ours to a group is over
	EventPong                          // a ping of ours was answered
	EventEnd                           // an exchange of ours ended with Err
)

// Event is something that the layer above has to know.
type Event struct {
	Kind EventKind
	// User is what was passed to Request or Ping.
	User any
	// Incoming identifies a received request.
	Incoming Incoming
	// Peer is the other end.
	Peer exchange.Peer
	// Group is the address of the group that a request was sent to.
	Group netip.Addr
	// Datagram is the bytes that were passed to Receive, and Message the request or
	// response, a view into them.
	Datagram []byte
	Message  message.Message
	// More says that other responses may follow this one.
	More bool
	// Retransmissions is how often the request was sent again until the response came.
	Retransmissions int
	// Err says why an exchange ended, Cause adds the error of the system, if any.
	Err   exchange.EndError
	Cause error
	// Unsent says that the exchange ended before its message was sent.
	Unsent bool
}

// Event stores the next event in ev and reports whether there was one. Messages of events are valid as long
// as the datagram that they came with.
func (e *Engine) Event(ev *Event) bool { return e.events.popTo(ev) }

// outgoing is a datagram on its way to the transport.
type outgoing struct {
	buf     *buffer
	peer    netip.AddrPort
	local   netip.AddrPort
	ifIndex int
	session *transport.Session
}

// Transmit fills d with the next datagram to be sent, if any, appending its bytes to
// d.Data[:0].
func (e *Engine) Transmit(d *transport.Datagram) bool {
	o, ok := e.out.pop()
	if !ok {
		return false
	}
	*d = transport.Datagram{
		Data: append(d.Data[:0], o.buf.b...), Remote: o.peer, Local: o.local, IfIndex: o.ifIndex, Session: o.session,
	}
	e.buffers.unref(o.buf)
	e.stats.Sent++
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceSent, Peer: peerOf(d, false), Datagram: clone(d.Data)})
	}
	return true
}

// send queues buf for sending to the place that r names. It takes a reference of its own.
func (e *Engine) send(buf *buffer, r route) {
	if e.out.len() >= e.limits.SendQueue {
		e.stats.Dropped[exchange.DropQueueFull]++
		return
	}
	buf.refs++
	e.out.push(outgoing{buf: buf, peer: r.remote, local: r.local, ifIndex: r.ifIndex, session: r.session})
}

// sendStateless queues a message that answers d and that nothing is kept of.
func (e *Engine) sendStateless(buf *buffer, d *transport.Datagram) {
	if e.out.len() >= e.limits.SendQueue {
		e.stats.Dropped[exchange.DropQueueFull]++
		e.buffers.unref(buf)
		return
	}
	e.out.push(outgoing{buf: buf, peer: d.Remote, local: d.Local, ifIndex: backBy(d.Remote, d.IfIndex), session: d.Session})
}

// backBy returns the interface by which to answer what came from an address by ifIndex: that one if
// the address means something on that link only, else the one that routing chooses, for the way
// back may be another one.
func backBy(to netip.AddrPort, ifIndex int) int {
	if to.Addr().IsLinkLocalUnicast() {
		return ifIndex
	}
	return 0
}

// route is where messages of an exchange go: the remote and the local end.
type route struct {
	remote  netip.AddrPort
	session *transport.Session
	local   netip.AddrPort
	ifIndex int
}

// matches reports whether d came to the local end of the route. What is not known of
// either, the address or the port, matches everything.
func (r *route) matches(d *transport.Datagram) bool {
	known := func(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() }
	a, b := r.local, d.Local
	return (!known(a.Addr()) || !known(b.Addr()) || a.Addr() == b.Addr()) &&
		(a.Port() == 0 || b.Port() == 0 || a.Port() == b.Port())
}

// setNow takes over the time of a call. Time never runs backwards.
func (e *Engine) setNow(now time.Time) { e.now = max(e.now, int64(now.Sub(e.epoch))) }

// NextTimeout returns when Advance wants to be called next, if at all.
func (e *Engine) NextTimeout() (time.Time, bool) {
	if e.closed {
		return time.Time{}, false
	}
	at, ok := e.timers.next()
	if forget, any := e.dedup.next(); any && (!ok || forget < at) {
		at, ok = forget, true
	}
	return e.epoch.Add(time.Duration(at)), ok
}

// advanceBatch bounds how many deadlines one call of Advance deals with, so that
// a long sleep is not followed by a long lock.
const advanceBatch = 1024

// Advance does what is due at now. NextTimeout may be in the past afterwards, when more
// is due than one call should do.
func (e *Engine) Advance(now time.Time) {
	e.setNow(now)
	if e.closed {
		return
	}
	for range advanceBatch {
		t := e.timers.due(e.now)
		if t == nil {
			break
		}
		t.owner.expired(e)
	}
	e.expireRecords(advanceBatch)
}

// Stats returns the counters and the present sizes.
func (e *Engine) Stats() exchange.Stats {
	s := e.stats
	s.Peers = e.rows.live
	s.Exchanges = e.exchangePool.live
	s.Queued = e.queued
	s.Handling = e.handling
	s.Remembered = e.dedup.records.live
	s.RememberedBytes = e.dedup.bytes
	return s
}

// NotSent counts a datagram of ours that the transport could not send and that is left to
// retransmission.
func (e *Engine) NotSent(d *transport.Datagram) { e.drop(d, exchange.DropWrite, d.Err) }

// Superseded counts a response that was dropped in favour of a newer one.
func (e *Engine) Superseded() { e.stats.Superseded++ }

// Drain makes the engine refuse new requests from peers with 5.03. Idle tells when
// what is under way has ended.
func (e *Engine) Drain() { e.draining = true }

// Draining reports whether Drain was called.
func (e *Engine) Draining() bool { return e.draining }

// Idle reports whether no handler works on a request and all responses have gone and, as far
// as they are Confirmable, been acknowledged.
func (e *Engine) Idle() bool {
	return e.handling == 0 && e.responses == 0 && e.delayed == 0 && e.out.len() == 0
}

// Close ends all exchanges of ours with ErrClosed. Nothing is processed afterwards.
func (e *Engine) Close() {
	e.closed = true
	e.peers.each(func(i uint32) {
		for p := e.peers.at(i); p.exchanges.head != nil; {
			e.end(p.exchanges.head, exchange.ErrClosed, nil)
		}
	})
}

// drop counts a datagram that is not processed.
func (e *Engine) drop(d *transport.Datagram, r exchange.DropReason, err error) {
	e.stats.Dropped[r]++
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceDropped, Peer: peerOf(d, false), Datagram: clone(d.Data), Reason: r, Err: err})
	}
}

func (e *Engine) record(t exchange.TraceEvent) {
	t.Time = e.epoch.Add(time.Duration(e.now))
	e.trace = append(e.trace, t)
}

// Traces appends the trace events since the last call to dst.
func (e *Engine) Traces(dst []exchange.TraceEvent) []exchange.TraceEvent {
	dst = append(dst, e.trace...)
	clear(e.trace)
	e.trace = e.trace[:0]
	return dst
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

// peerOf describes the other end of d.
func peerOf(d *transport.Datagram, verified bool) exchange.Peer {
	peer := exchange.Peer{Addr: d.Remote, Local: d.Local, IfIndex: d.IfIndex, Verified: verified}
	if s := d.Session; s != nil {
		peer.Session, peer.Identity = s, s.Identity
		peer.Secure, peer.Reliable = s.Secure, s.Reliable
		peer.Verified = true
	}
	return peer
}
