package engine

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// The tests read as charts of messages. A line is written like
//
//	CON GET mid=7 tok=0102 opt=11:61 pay=hello from=B local=L2 group trunc
//
// type and code first, then what else matters. What comes in without a sender comes from A; what
// goes out without a destination goes to A. Names of addresses are in addresses, those of
// sessions in sessions.

var addresses = map[string]netip.AddrPort{
	"A":  netip.MustParseAddrPort("192.0.2.1:5683"),
	"A2": netip.MustParseAddrPort("192.0.2.1:61616"), // another endpoint at the same host
	"B":  netip.MustParseAddrPort("[2001:db8::b]:5683"),
	"C":  netip.MustParseAddrPort("[fe80::c%eth0]:5683"),
	"L1": netip.MustParseAddrPort("198.51.100.1:5683"),
	"L3": netip.MustParseAddrPort("198.51.100.1:61616"), // another port at the same address
	"L2": netip.MustParseAddrPort("198.51.100.2:5683"),
}

var sessions = map[string]*transport.Session{
	"S": {Secure: true, Identity: "device-1"},
	"T": {Secure: true, Identity: "device-2"},
}

var group = netip.MustParseAddr("224.0.1.187")

// line is one line of a chart.
type line struct {
	message.Message
	given   map[string]bool
	addr    netip.AddrPort // sender or destination
	local   netip.AddrPort
	session *transport.Session
	group   bool
	trunc   bool
}

var types = map[string]message.Type{
	"CON": message.Confirmable, "NON": message.NonConfirmable, "ACK": message.Acknowledgement, "RST": message.Reset,
}

func parseLine(t testing.TB, format string, args ...any) line {
	t.Helper()
	l := line{given: map[string]bool{}, addr: addresses["A"]}
	words := strings.Fields(fmt.Sprintf(format, args...))
	require.GreaterOrEqual(t, len(words), 2, "a line has at least type and code: %s", format)
	typ, ok := types[words[0]]
	require.True(t, ok, "type in %q", words)
	code, err := message.ParseCode(words[1])
	require.NoError(t, err, "code in %q", words)
	l.Type, l.Code = typ, code
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		l.given[key] = true
		switch key {
		case "mid":
			n, err := strconv.ParseUint(value, 0, 16)
			require.NoError(t, err)
			l.MessageID = uint16(n)
		case "tok":
			l.Token, err = hex.DecodeString(value)
			require.NoError(t, err)
		case "opt":
			number, v, _ := strings.Cut(value, ":")
			n, err := strconv.ParseUint(number, 10, 16)
			require.NoError(t, err)
			b, err := hex.DecodeString(v)
			require.NoError(t, err)
			l.Options.Add(message.OptionNumber(n), b)
		case "pay":
			l.Payload = []byte(value)
		case "from", "to":
			require.Contains(t, addresses, value)
			l.addr = addresses[value]
		case "local":
			require.Contains(t, addresses, value)
			l.local = addresses[value]
		case "session":
			require.Contains(t, sessions, value)
			l.session = sessions[value]
		case "group":
			l.group = true
		case "trunc":
			l.trunc = true
		default:
			t.Fatalf("unknown word %q", w)
		}
	}
	return l
}

// rig is an engine, the time, and what came out of the engine so far.
type rig struct {
	testing.TB
	e      *Engine
	start  time.Time
	now    time.Time
	out    []sent
	events []Event
}

// sent is a datagram that the engine has sent.
type sent struct {
	message.Message
	raw     []byte
	to      netip.AddrPort
	local   netip.AddrPort
	ifIndex int
	session *transport.Session
	at      time.Duration // since the start of the test
}

func newRig(t testing.TB, cfg Config) *rig {
	start := time.Date(2014, 6, 1, 0, 0, 0, 0, time.UTC)
	return &rig{TB: t, e: New(cfg, start), start: start, now: start}
}

func (r *rig) elapsed() time.Duration { return r.now.Sub(r.start) }

// collect takes what the engine has to say. Messages of events are copied, so that the
// datagram may be scribbled over.
func (r *rig) collect() {
	r.Helper()
	for {
		ev, ok := nextEvent(r.e)
		if !ok {
			break
		}
		ev.Message = ev.Message.Clone()
		r.events = append(r.events, ev)
	}
	for {
		var d transport.Datagram
		if !r.e.Transmit(&d) {
			break
		}
		s := sent{raw: d.Data, to: d.Remote, local: d.Local, ifIndex: d.IfIndex, session: d.Session, at: r.elapsed()}
		require.NoError(r, codec.DecodeUDP(d.Data, &s.Message), "sent %x", d.Data)
		r.out = append(r.out, s)
	}
}

// datagram delivers d, and scribbles over its bytes once its events are copied.
func (r *rig) datagram(d transport.Datagram) {
	r.Helper()
	d.Data = bytes.Clone(d.Data)
	r.e.Receive(r.now, &d)
	r.collect()
	for i := range d.Data {
		d.Data[i] = 0xEE
	}
}

// bytes delivers a datagram of these bytes from A.
func (r *rig) bytes(why, digits string) {
	r.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(r, err, why)
	r.datagram(transport.Datagram{Data: b, Remote: addresses["A"], Local: addresses["L1"]})
}

// receive delivers a message.
func (r *rig) receive(why, format string, args ...any) {
	r.Helper()
	l := parseLine(r, format, args...)
	b, err := codec.AppendUDP(nil, &l.Message)
	require.NoError(r, err, why)
	d := transport.Datagram{Data: b, Remote: l.addr, Local: l.local, Session: l.session, Truncated: l.trunc, IfIndex: 3}
	if !l.given["local"] {
		d.Local = addresses["L1"]
	}
	if l.group {
		d.Group = group
	}
	r.datagram(d)
}

// want expects that the next datagram sent is this.
func (r *rig) want(why, format string, args ...any) sent {
	r.Helper()
	l := parseLine(r, format, args...)
	require.NotEmpty(r, r.out, "%s: want %s, nothing was sent", why, fmt.Sprintf(format, args...))
	s := r.out[0]
	r.out = r.out[1:]
	got := fmt.Sprintf("%s to %s", s.Message.String(), s.to)
	require.Equal(r, l.Type, s.Type, "%s: type of %s", why, got)
	require.Equal(r, l.Code, s.Code, "%s: code of %s", why, got)
	if l.session != nil {
		require.Same(r, l.session, s.session, "%s: session of %s", why, got)
	} else {
		require.Equal(r, l.addr, s.to, "%s: destination of %s", why, got)
	}
	if l.given["mid"] {
		require.Equal(r, l.MessageID, s.MessageID, "%s: message ID of %s", why, got)
	}
	if l.given["tok"] {
		require.Equal(r, hex.EncodeToString(l.Token), hex.EncodeToString(s.Token), "%s: token of %s", why, got)
	}
	if l.given["pay"] {
		require.Equal(r, string(l.Payload), string(s.Payload), "%s: payload of %s", why, got)
	}
	if l.given["opt"] {
		require.True(r, l.Options.Equal(&s.Options), "%s: options of %s", why, got)
	}
	if l.given["local"] {
		require.Equal(r, l.local, s.local, "%s: local address of %s", why, got)
	}
	if s.Code == message.Empty {
		require.Len(r, s.raw, codec.HeaderSize, "%s: an Empty message", why)
	}
	return s
}

// idle expects that nothing more was sent and nothing more happened.
func (r *rig) idle(why string) {
	r.Helper()
	if len(r.out) > 0 {
		r.Fatalf("%s: want nothing sent, got %s", why, r.out[0].Message.String())
	}
	if len(r.events) > 0 {
		r.Fatalf("%s: want no event, got %+v", why, r.events[0])
	}
}

func (r *rig) event(why string, kind EventKind) Event {
	r.Helper()
	require.NotEmpty(r, r.events, "%s: want an event", why)
	ev := r.events[0]
	r.events = r.events[1:]
	require.Equal(r, kind, ev.Kind, "%s: kind of event %+v", why, ev)
	return ev
}

// handle expects that a request with this code reaches the layer above.
func (r *rig) handle(why, code string) Event {
	r.Helper()
	ev := r.event(why, EventRequest)
	require.Equal(r, code, ev.Message.Code.Name(), why)
	return ev
}

// response expects that the exchange of user ends with a response.
func (r *rig) response(why string, user any, code string) Event {
	r.Helper()
	ev := r.event(why, EventResponse)
	require.Equal(r, user, ev.User, "%s: exchange", why)
	require.Equal(r, code, ev.Message.Code.Dotted(), why)
	return ev
}

// end expects that the exchange of user ends without one.
func (r *rig) end(why string, user any, err exchange.EndError) Event {
	r.Helper()
	ev := r.event(why, EventEnd)
	require.Equal(r, user, ev.User, "%s: exchange", why)
	require.Equal(r, err, ev.Err, why)
	return ev
}

// request starts a request to the destination that the line names; user tells it apart.
func (r *rig) request(user any, format string, args ...any) Exchange {
	r.Helper()
	x, err := r.try(RequestOptions{User: user}, format, args...)
	require.NoError(r, err, format)
	return x
}

func (r *rig) try(o RequestOptions, format string, args ...any) (Exchange, error) {
	r.Helper()
	l := parseLine(r, format, args...)
	x, err := r.e.Request(r.now, Target{Remote: l.addr, Local: l.local, Session: l.session}, &l.Message, o)
	r.collect()
	return x, err
}

// respond answers a request; only code, options and payload of the line count.
func (r *rig) respond(ev Event, format string, args ...any) {
	r.Helper()
	require.NoError(r, r.tryRespond(ev, format, args...))
}

func (r *rig) tryRespond(ev Event, format string, args ...any) error {
	r.Helper()
	l := parseLine(r, "ACK "+format, args...)
	err := r.e.Respond(r.now, ev.Incoming, &l.Message)
	r.collect()
	return err
}

func (r *rig) cancel(x Exchange) {
	r.Helper()
	r.e.Cancel(r.now, x)
	r.collect()
}

// advance lets time pass. The engine is called whenever it wants to be, to the nanosecond.
func (r *rig) advance(d time.Duration) {
	r.Helper()
	end := r.now.Add(d)
	for range 1_000_000 {
		at, ok := r.e.NextTimeout()
		if !ok || at.After(end) {
			r.now = end
			return
		}
		if at.After(r.now) {
			r.now = at
		}
		r.e.Advance(r.now)
		r.collect()
	}
	r.Fatalf("the engine wants to be called again and again at %v", r.elapsed())
}

// sleep lets time pass without a call, then makes one.
func (r *rig) sleep(d time.Duration) {
	r.now = r.now.Add(d)
	r.e.Advance(r.now)
	r.collect()
}

// dropped expects that n datagrams were dropped for this reason, and none for another.
func (r *rig) dropped(why string, reason exchange.DropReason, n int) {
	r.Helper()
	stats := r.e.Stats()
	for other, count := range stats.Drops() {
		if other == reason {
			require.Equal(r, uint64(n), count, "%s: dropped as %s", why, reason)
		} else {
			require.Zero(r, count, "%s: dropped as %s instead of %s", why, other, reason)
		}
	}
}

// quiet lets all lifetimes pass and expects that nothing at all is left.
func (r *rig) quiet() {
	r.Helper()
	r.advance(2000 * time.Second)
	r.out, r.events = nil, nil
	requireEmpty(r, r.e)
}

// requireEmpty expects that e is as it was when it was made.
func requireEmpty(t testing.TB, e *Engine) {
	t.Helper()
	checkEngine(t, e)
	s := e.Stats()
	require.Zero(t, [...]int{s.Peers, s.Exchanges, s.Queued, s.Handling, s.Remembered, s.RememberedBytes},
		"peers, exchanges, queued, handling, remembered, bytes")
	require.Zero(t, [...]int{e.tokens.len(), e.mids.len(), e.incoming.live, e.peers.live, e.keys.live, len(e.timers.h), e.out.len(), e.events.len()},
		"tokens, mids, requests, peers, keys, timers, outgoing, events")
	require.Zero(t, e.resting, "resting peers")
	require.Zero(t, e.dedup.queues, "remembered messages")
	for i := range e.dedup.replies.short {
		require.Zero(t, e.dedup.replies.short[i].live, "short replies")
	}
	require.Zero(t, e.dedup.replies.long.live, "long replies")
	for i := range e.buffers.classes {
		require.Zero(t, e.buffers.classes[i].live, "buffers of %d bytes in use", bufferSizes[i])
	}
	_, ok := e.NextTimeout()
	require.False(t, ok, "nothing is left to wait for")
}

// checkList walks a list in both directions and returns its elements.
func checkList[T any](t testing.TB, what string, l *list[T], of func(*T) *links[T]) []*T {
	t.Helper()
	var all []*T
	var prev *T
	for x := l.head; x != nil; prev, x = x, of(x).next {
		require.True(t, of(x).in, "%s: an element knows that it is in", what)
		require.Same(t, prev, of(x).prev, "%s: links back", what)
		all = append(all, x)
	}
	require.Same(t, prev, l.tail, "%s: tail", what)
	return all
}

// checkFifo walks a queue in both directions and returns the numbers of its records.
func checkFifo[T any](t testing.TB, what string, s *slots[T], q fifo, of func(*T) *near) []uint32 {
	t.Helper()
	var all []uint32
	prev := uint32(0)
	for i := q.head; i != 0; prev, i = i, of(s.at(i)).next {
		require.Equal(t, prev, of(s.at(i)).prev, "%s: links back", what)
		all = append(all, i)
	}
	require.Equal(t, prev, q.tail, "%s: tail", what)
	return all
}

// tally is what a row should say about its peer.
type tally struct{ refs, handling, pinned, bytes int }

// checkEngine expects that everything in e that says the same thing twice says the same.
func checkEngine(t testing.TB, e *Engine) {
	t.Helper()
	for i, x := range e.timers.h {
		require.Equal(t, i+1, x.pos, "position of a timer")
		require.LessOrEqual(t, e.timers.h[max(i-1, 0)/2].at, x.at, "order of the heap")
	}
	rows, bufs := map[uint32]*tally{}, map[*buffer]int{}
	e.rows.each(func(i uint32) { rows[i] = &tally{} })
	checkHashed(t, &e.rows)
	checkHashed(t, &e.dedup.records)
	checkRecords(t, e, rows, bufs)
	checkPeers(t, e, rows, bufs)
	keys, pinned := 0, 0
	for i, want := range rows {
		r := e.rows.at(i)
		require.Equal(t, *want, tally{int(r.refs), int(r.handling), int(r.pinned), int(r.bytes)}, "references, requests in handlers, pinned messages and memory of a peer")
		k := e.keyOfRow(r)
		if k.session != nil {
			k.addr = netip.AddrPort{} // which it is not found by
		}
		require.Equal(t, i, e.findRow(k), "a row is found")
		if r.bits == keyed {
			keys++
		}
		if r.pinned > 0 {
			pinned++
		}
	}
	require.Equal(t, keys, e.keys.live, "keys")
	require.Equal(t, pinned, e.pinned, "peers that may not be forgotten")
	for _, o := range e.out.q[e.out.head:] {
		bufs[o.buf]++
	}
	for b, n := range bufs {
		require.Equal(t, n, b.refs, "references to a buffer")
	}
	live := 0
	for i := range e.buffers.classes {
		live += e.buffers.classes[i].live
	}
	for b := range bufs {
		if b.class < 0 {
			live++
		}
	}
	require.Equal(t, len(bufs), live, "buffers in use")
}

func checkRecords(t testing.TB, e *Engine, rows map[uint32]*tally, bufs map[*buffer]int) {
	t.Helper()
	queued, short, long, total := 0, 0, 0, 0
	var evictable, fixed []uint32
	for class := range e.dedup.queues {
		for k, q := range e.dedup.queues[class] {
			for _, i := range checkFifo(t, "records by age", &e.dedup.records.slots, q, byAge) {
				r := e.dedup.records.at(i)
				queued++
				require.Equal(t, class, r.lifetime(), "queue of a record")
				require.Equal(t, k == 1, r.flags&flagEvictable != 0, "queue of a record")
				rows[r.row].refs++
				rows[r.row].bytes += e.charged(r)
				total += e.charged(r)
				if r.flags&flagPinned != 0 {
					rows[r.row].pinned++
					require.Zero(t, k, "what may not be forgotten is not evictable")
				}
				switch {
				case r.flags&flagOpen != 0:
					require.Equal(t, i, e.incoming.at(r.reply).record, "record of a request")
				case r.size > maxShort:
					long++
					bufs[*e.dedup.replies.long.at(r.reply)]++
				case r.size > 0:
					short++
				}
				switch {
				case k == 1:
					evictable = append(evictable, i)
				case e.fixed(r.row) != nil:
					fixed = append(fixed, i)
				}
			}
		}
	}
	require.Equal(t, queued, e.dedup.records.live, "records")
	require.Equal(t, total, e.dedup.bytes, "memory of all")
	require.Equal(t, long, e.dedup.replies.long.live, "long replies")
	for i := range e.dedup.replies.short {
		short -= e.dedup.replies.short[i].live
	}
	require.Zero(t, short, "short replies")
	var byRow []uint32
	for i := range rows {
		for _, n := range checkFifo(t, "evictable records of a peer", &e.dedup.records.slots, e.rows.at(i).evictable, byPeer) {
			require.Equal(t, i, e.dedup.records.at(n).row, "peer of a record")
			byRow = append(byRow, n)
		}
	}
	require.ElementsMatch(t, evictable, byRow, "evictable records of all peers")
	byRow = nil
	for i := range rows {
		if q := e.fixed(i); q != nil {
			for _, n := range checkFifo(t, "other records of a peer", &e.dedup.records.slots, *q, byPeer) {
				require.Equal(t, i, e.dedup.records.at(n).row, "peer of a record")
				byRow = append(byRow, n)
			}
		}
	}
	require.ElementsMatch(t, fixed, byRow, "records that may not be forgotten of all peers with a session")
	handling, delayed := 0, 0
	e.incoming.each(func(i uint32) {
		x := e.incoming.at(i)
		require.Equal(t, i, x.number, "number of a request")
		rows[x.row].refs++
		switch {
		case x.pending:
			handling++
			rows[x.row].handling++
			require.Nil(t, x.delayed)
		default:
			delayed++
			require.NotZero(t, x.timer.pos, "what is delayed has a deadline")
			require.NotZero(t, x.record, "what is delayed is remembered")
			bufs[x.delayed]++
		}
		if x.record == 0 {
			require.Zero(t, x.charged)
		}
	})
	require.Equal(t, handling, e.handling, "requests in handlers")
	require.Equal(t, delayed, e.delayed, "delayed responses")
}

func checkPeers(t testing.TB, e *Engine, rows map[uint32]*tally, bufs map[*buffer]int) {
	t.Helper()
	queued, exchanges := 0, 0
	e.peers.each(func(i uint32) {
		p := e.peers.at(i)
		require.Equal(t, i, e.rows.at(p.row).peer, "peer of a row")
		outstanding := 0
		for _, x := range checkList(t, "exchanges of a peer", &p.exchanges, ofPeer) {
			require.Same(t, p, x.peer, "peer of an exchange")
			rows[p.row].refs++
			bufs[x.buf]++
			exchanges++
			if x.counted {
				outstanding++
			}
			if x.state != stateQueued && x.state != stateOpen && (!x.group || x.end != 0) {
				require.NotZero(t, x.timer.pos, "an exchange that was sent has a deadline")
			}
		}
		require.EqualValues(t, outstanding, p.outstanding, "outstanding interactions of a peer")
		for _, x := range p.waiting() {
			require.Equal(t, stateQueued, x.state, "state of a waiting exchange")
		}
		queued += len(p.waiting())
		if p.exchanges.head == nil {
			require.NotZero(t, p.timer.pos, "a peer without exchanges is forgotten some time")
		}
		live := 0
		for _, b := range p.mids.parts() {
			live += b.n
		}
		require.EqualValues(t, live, p.mids.live, "message IDs in use")
	})
	unused := 0
	for i, want := range rows {
		if want.refs > 0 {
			continue
		}
		unused++
		require.NotZero(t, e.rows.at(i).peer, "a row that nothing needs")
	}
	require.Equal(t, queued, e.queued, "queued exchanges")
	require.Equal(t, exchanges, e.exchangePool.live, "exchanges")
	require.Len(t, checkFifo(t, "resting peers", &e.peers, e.resting, byRest), unused)
}

// parts returns the buckets of a, also if there is just one.
func (a *midAllocator) parts() []midBucket {
	if a.buckets == nil && a.live > 0 {
		return []midBucket{{first: a.first, free: a.last, n: int(a.live)}}
	} else if a.buckets == nil {
		return nil
	}
	return *a.buckets
}

// peerNamed returns what is kept about the peer with this name to send it something.
func (r *rig) peerNamed(name string) *peer {
	r.Helper()
	p := r.e.findPeer(&transport.Datagram{Remote: addresses[name]})
	require.NotNil(r, p)
	return p
}

// hexOf returns the token of a datagram as it is written in a line.
func hexOf(s sent) string { return hex.EncodeToString(s.Token) }

func nextEvent(e *Engine) (ev Event, ok bool) {
	ok = e.Event(&ev)
	return ev, ok
}
