package engine

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// Target is where a request of ours goes.
type Target struct {
	Remote  netip.AddrPort
	Local   netip.AddrPort // zero: routing chooses
	IfIndex int
	Session *transport.Session
}

// RequestOptions are what a request of ours needs besides its message.
type RequestOptions struct {
	// Params are the transmission parameters; nil means those of the engine.
	Params *exchange.Params
	// User comes back with the event that ends the exchange.
	User any
	// NoWait makes Request fail with ErrBusy instead of queueing.
	NoWait bool
	// Understood are the critical options that may be in the response.
	Understood []message.OptionNumber
	// Token, if not nil, is where the token of the exchange is kept for the next one of a series,
	// which uses it again unless it is in use; 0 for the first.
	Token *uint64
	// Open keeps the exchange after a response that may be followed by others: one that
	// establishes an observation, or any from a member of a group. A request to a group
	// has to be open.
	Open bool
	// Window is how long responses to a request to a group are waited for, 0 for until it is
	// canceled; and those to a request that declines some by No-Response, 0 for 10 seconds.
	Window time.Duration
}

// Exchange identifies an exchange of ours. It may be kept after the exchange has ended.
type Exchange struct {
	x   *exchangeState
	gen uint32
}

type exchangeKind uint8

const (
	kindRequest  exchangeKind = iota
	kindPing                  // an Empty CON that elicits a Reset (section 4.3)
	kindResponse              // a separate response of ours (section 5.2.2)
	kindPush                  // a notification of ours, see observe.go
)

// isResponse reports whether we answer, so that the limits for clients do not apply.
func (k exchangeKind) isResponse() bool { return k == kindResponse || k == kindPush }

type exchangeStatus uint8

const (
	stateQueued exchangeStatus = iota // waits for NSTART, PROBING_RATE or a message ID
	stateSent                         // a CON waits for its acknowledgement, a NON for its response
	stateAcked                        // the CON was acknowledged, the response is to come
	stateOpen                         // answered, and other responses may follow
	stateLinger                       // the window of a request to a group is over
)

// exchangeState is an exchange that we have started with a CON or NON.
type exchangeState struct {
	gen   uint32
	kind  exchangeKind
	state exchangeStatus
	con   bool
	// counted says that it is outstanding in the sense of NSTART (section 4.7).
	counted bool
	open    bool // RequestOptions.Open
	renewed bool // is being sent again under the same token
	// registers says that what is being sent again registers; early, that a response has come
	// which may be that of the renewal, though its acknowledgement has not.
	registers, early bool
	group            bool // goes to a group
	// outdated says that something newer is to be sent in its place; superseded are the message
	// IDs of what has been so far, the oldest first, and heard that one of these was acknowledged
	// (see supersede.go).
	outdated   bool
	heard      bool
	unsent     bool // see Event.Unsent
	superseded []uint16
	declined   uint8  // classes of responses, see interest.unless
	answers    uint32 // the record of the request that a separate response answers, see keepReply
	window     time.Duration
	peer       *peer
	route
	token      uint64
	mid        uint16
	buf        *buffer // the encoded message
	params     exchange.Params
	user       any
	understood []message.OptionNumber
	retransmission
	probe int64 // a NON counts for NSTART until then (PROBING_RATE)
	end   int64 // when waiting for a response ends
	timer timer
	of    links[exchangeState] // in peer.exchanges
}

func ofPeer(x *exchangeState) *links[exchangeState] { return &x.of }

// Request starts the exchange that m, a request, begins. Type, code, options and payload of m
// are sent; message ID and token are chosen here. m is not kept. The error is
// ErrTooLarge, ErrBusy or ErrClosed, or a FormatError of the codec.
func (e *Engine) Request(now time.Time, to Target, m *message.Message, o RequestOptions) (Exchange, error) {
	e.setNow(now)
	x, err := e.newExchange(kindRequest, m.Type == message.Confirmable, to, o)
	if err != nil {
		return Exchange{}, err
	}
	x.token = e.chooseToken(o.Token)
	binary.BigEndian.PutUint64(e.token[:], x.token)
	e.view = *m
	e.view.Token = e.token[:]
	x.buf, err = e.encode(&e.view)
	e.view = message.Message{}
	if err != nil {
		e.discard(x)
		return Exchange{}, err
	}
	e.tokens.set(x.token, x)
	x.open = o.Open
	if !x.open {
		x.decline(m, o.Window)
	}
	if x.group = to.Remote.Addr().IsMulticast(); x.group && x.oneWay() && e.sendToGroup(x) {
		e.cease(x)
		return Exchange{x, x.gen}, nil
	} else if x.group {
		return e.launchToGroup(x, o.Window)
	}
	return e.launch(x, o.NoWait)
}

// Ping starts an exchange that is answered by the Reset that an Empty Confirmable message
// elicits (RFC 7252 section 4.3). It ends with EventPong or EventEnd.
func (e *Engine) Ping(now time.Time, to Target, o RequestOptions) (Exchange, error) {
	e.setNow(now)
	x, err := e.newExchange(kindPing, true, to, o)
	if err != nil {
		return Exchange{}, err
	}
	x.buf = e.buffers.get(codec.HeaderSize)
	x.buf.b = codec.AppendHeader(x.buf.b, message.Confirmable, message.Empty, 0)
	return e.launch(x, o.NoWait)
}

func (e *Engine) newExchange(kind exchangeKind, con bool, to Target, o RequestOptions) (*exchangeState, error) {
	if e.closed {
		return nil, exchange.ErrClosed
	}
	limit := e.limits.Exchanges
	if kind.isResponse() {
		limit *= 2 // what others ask for does not wait for what we ask, but ends as well
	}
	if e.exchangePool.live >= limit {
		return nil, exchange.ErrBusy
	}
	key := peerKey{addr: to.Remote}
	if to.Session != nil {
		key = peerKey{session: to.Session}
	}
	row := e.row(key, to.Remote)
	if row == 0 {
		return nil, exchange.ErrBusy
	}
	if e.over(row) {
		e.release(row)
		return nil, exchange.ErrSessionEnded
	}
	p := e.peer(row)
	if kind == kindResponse {
		e.responses++
	}
	x := e.exchangePool.get()
	*x = exchangeState{
		gen: x.gen, kind: kind, con: con, user: o.User, understood: o.Understood, params: e.params,
		peer: p, route: e.routeTo(row, to.Local, to.IfIndex),
	}
	if o.Params != nil {
		x.params = o.Params.WithDefaults()
	}
	x.timer.owner = x
	p.exchanges.pushBack(x, ofPeer)
	return x, nil
}

// encode encodes m into a new buffer, if it keeps to the size limit (section 4.6).
func (e *Engine) encode(m *message.Message) (*buffer, error) {
	size := codec.SizeUDP(m)
	if size > e.limits.MessageSize {
		return nil, exchange.ErrTooLarge
	}
	buf := e.buffers.get(size)
	b, err := codec.AppendUDP(buf.b, m)
	if err != nil {
		e.buffers.unref(buf)
		return nil, err
	}
	buf.b = b
	return buf, nil
}

// launch sends x, or queues it until NSTART, PROBING_RATE and the message IDs allow it.
func (e *Engine) launch(x *exchangeState, noWait bool) (Exchange, error) {
	p := x.peer
	id := Exchange{x, x.gen}
	// Responses overtake requests, which wait for more.
	place := len(p.waiting())
	if x.kind.isResponse() {
		place = p.waitingResponses()
	}
	if (place == 0 || x.oneWay()) && e.mayStart(x) {
		e.start(x)
		return id, nil
	}
	if noWait || len(p.waiting()) >= e.limits.QueuePerPeer {
		e.discard(x)
		return Exchange{}, exchange.ErrBusy
	}
	x.state = stateQueued
	h := p.hold()
	h.waiting = slices.Insert(h.waiting, place, x)
	e.queued++
	if e.tracing {
		e.record(exchange.TraceEvent{Kind: exchange.TraceQueued, Peer: e.info(x), Datagram: clone(x.buf.b)})
	}
	e.pump(p)
	return id, nil
}

// waitingResponses counts the responses in the queue, which are in front of the requests.
func (p *peer) waitingResponses() int {
	n, waiting := 0, p.waiting()
	for n < len(waiting) && waiting[n].kind.isResponse() {
		n++
	}
	return n
}

// mayStart reports whether x may be sent now: there is a message ID for it, and NSTART
// and PROBING_RATE allow it (section 4.7). Responses are not limited by these: the client
// that asked for them is.
func (e *Engine) mayStart(x *exchangeState) bool {
	p := x.peer
	if e.over(p.row) {
		return false
	}
	p.mids.expire(e.now)
	if p.mids.live >= midsForPeers {
		return false
	}
	return x.kind.isResponse() || x.oneWay() || int(p.outstanding) < x.params.NStart && (x.con || p.probeFree() <= e.now)
}

// start sends x for the first time; mayStart has allowed it.
func (e *Engine) start(x *exchangeState) {
	lifetime := x.params.NonLifetime()
	if x.con {
		lifetime = x.params.ExchangeLifetime()
	}
	mid, _ := e.takeMID(x.peer, int64(lifetime))
	x.state, x.mid = stateSent, mid
	binary.BigEndian.PutUint16(x.buf.b[2:], mid)
	if !x.kind.isResponse() && !x.oneWay() && (x.con || x.params.ProbingRate > 0) {
		x.counted = true
		x.peer.outstanding++
	}
	e.send(x.buf, x.route)
	if x.con {
		e.mids.set(midKey{x.peer, mid}, x)
		e.startRetransmission(x)
		return
	}
	switch {
	case x.kind == kindResponse:
		e.finish(x)
		return
	case x.oneWay():
		e.cease(x)
		return
	}
	// A Reset may answer a Non-confirmable request as well (section 4.3).
	e.mids.set(midKey{x.peer, mid}, x)
	if x.end = e.now + int64(lifetime); x.declined != 0 {
		x.end = e.now + int64(min(lifetime, x.window))
	}
	x.probe = e.now + int64(lifetime)
	if x.counted {
		x.probe = e.probed(x)
	}
	e.timers.set(&x.timer, min(x.end, x.probe))
}

// probed returns until when x, a Non-confirmable request, counts for NSTART if nothing answers.
// With an NSTART above 1 several may be on their way at once; they are paid for one after
// the other, so that the average of all keeps to PROBING_RATE.
func (e *Engine) probed(x *exchangeState) int64 {
	const never = float64(1e18) // ns: some 30 years
	cost := int64(min(float64(len(x.buf.b))/x.params.ProbingRate*float64(time.Second), never))
	h := x.peer.hold()
	h.probeEnd = min(max(h.probeEnd, e.now)+cost, e.now+int64(never))
	return h.probeEnd
}

// answers notes that p answers: PROBING_RATE is for peers that do not.
func (p *peer) answers() {
	if p.held != nil {
		p.held.probeFree, p.held.probeEnd = 0, 0
	}
}

// pump starts what waits for p, in order, as far as it may.
func (e *Engine) pump(p *peer) {
	for len(p.waiting()) > 0 && !e.closed && e.mayStart(p.waiting()[0]) {
		x := p.waiting()[0]
		e.unqueue(x)
		e.start(x)
	}
	if len(p.waiting()) == 0 {
		return
	}
	// Something waits. If it is not for another exchange to end, then for time to pass.
	wake := int64(0)
	if x := p.waiting()[0]; !x.kind.isResponse() && !x.con {
		wake = p.probeFree()
	}
	if p.mids.live >= midsForPeers {
		wake = max(wake, p.mids.nextFree())
	}
	if wake > e.now {
		e.timers.set(&p.timer, wake)
	}
}

// Cancel gives up an exchange of ours without an event. An answer that still comes is
// unexpected and rejected.
func (e *Engine) Cancel(now time.Time, id Exchange) {
	e.setNow(now)
	if id.x == nil || id.x.gen != id.gen {
		return
	}
	if id.x.state == stateLinger {
		return
	}
	e.stats.Canceled++
	if id.x.group {
		e.linger(id.x)
		return
	}
	e.finish(id.x)
}

// end ends an exchange without a response and tells who started it.
func (e *Engine) end(x *exchangeState, why exchange.EndError, cause error) {
	if e.tracing && x.state != stateLinger {
		e.record(exchange.TraceEvent{Kind: exchange.TraceEnded, Peer: e.info(x), Datagram: clone(x.buf.b), Err: why})
	}
	if x.kind.isResponse() || x.state == stateLinger {
		if x.kind == kindPush {
			e.events.push(Event{Kind: EventEnd, User: x.user, Peer: e.info(x), Err: why, Cause: cause})
		}
		if x.kind.isResponse() {
			e.stats.LostResponses++
		}
		e.finish(x)
		return
	}
	if why == exchange.ErrReset || why == exchange.ErrBadOption || why == exchange.ErrResponseTooLarge {
		x.peer.answers()
		x.state = stateAcked
	}
	switch {
	case why.Timeout():
		e.stats.TimedOut++
	case why == exchange.ErrReset:
		e.stats.Rejected++
	case why == exchange.ErrUnreachable || why == exchange.ErrSessionEnded:
		e.stats.Unreachable++
	case why == exchange.ErrBadOption || why == exchange.ErrResponseTooLarge:
		e.stats.Unusable++
	}
	e.events.push(Event{Kind: EventEnd, User: x.user, Peer: e.info(x), Err: why, Cause: cause, Unsent: x.unsent})
	e.finish(x)
}

// finish removes all traces of x but its message ID, which stays in use.
func (e *Engine) finish(x *exchangeState) {
	p := x.peer
	if x.state == stateQueued {
		e.unqueue(x)
	}
	if !x.con && x.kind == kindRequest && x.state == stateSent && x.counted {
		// The peer has not answered: what was sent counts on.
		p.hold().probeFree = max(p.probeFree(), x.probe)
	}
	e.uncount(x)
	e.discard(x)
	// discard may have forgotten the peer; something that waits keeps it.
	if p.exchanges.head != nil {
		e.pump(p)
	}
}

func (e *Engine) unqueue(x *exchangeState) {
	h := x.peer.hold()
	if i := slices.Index(h.waiting, x); i >= 0 {
		h.waiting = slices.Delete(h.waiting, i, i+1)
		e.queued--
	}
}

// uncount makes x no longer outstanding for NSTART.
func (e *Engine) uncount(x *exchangeState) {
	if x.counted {
		x.counted = false
		x.peer.outstanding--
	}
}

// discard frees an exchange that is neither queued nor counted.
func (e *Engine) discard(x *exchangeState) {
	p := x.peer
	e.timers.stop(&x.timer)
	if x.kind == kindRequest && x.buf != nil {
		if y, ok := e.tokens.get(x.token); ok && y == x {
			e.tokens.del(x.token)
		}
	}
	e.forgetSuperseded(x, len(x.superseded))
	if y, ok := e.mids.get(midKey{p, x.mid}); ok && y == x {
		e.mids.del(midKey{p, x.mid})
	}
	if x.buf != nil {
		e.buffers.unref(x.buf)
	}
	if x.kind == kindResponse {
		e.responses--
		e.endAnswer(x)
	}
	p.exchanges.remove(x, ofPeer)
	*x = exchangeState{gen: x.gen + 1}
	e.exchangePool.put(x)
	row := p.row
	if p.exchanges.head == nil {
		e.rest(p)
	}
	e.release(row)
}

// routeTo returns the way to the peer of a row.
func (e *Engine) routeTo(row uint32, local netip.AddrPort, ifIndex int) route {
	k := e.keyOfRow(e.rows.at(row))
	return route{remote: k.addr, session: k.session, local: local, ifIndex: ifIndex}
}

// info describes the peer of x.
func (e *Engine) info(x *exchangeState) exchange.Peer {
	return e.peerAt(x.peer.row, &x.route)
}

// peerAt describes the peer of a row, as it is reached by r.
func (e *Engine) peerAt(row uint32, r *route) exchange.Peer {
	d := transport.Datagram{Remote: r.remote, Local: r.local, IfIndex: r.ifIndex, Session: r.session}
	return peerOf(&d, e.rows.at(row).verified)
}
