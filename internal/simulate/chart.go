package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// line is a line of the chart: a datagram, or what else has happened.
type line struct {
	at       time.Duration
	from, to int
	data     []byte // nil: it is no datagram
	text     string
}

// log is all that has happened in a run.
type log struct {
	w      *world
	detail bool // what endpoints make of it, too
	mu     sync.Mutex
	lines  []line
}

func (l *log) datagram(at time.Duration, from, to int, data []byte, fate string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line{at, from, to, slices.Clone(data), fate})
}

func (l *log) note(at time.Duration, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line{at: at, from: group, to: group, text: fmt.Sprintf(format, args...)})
}

// trace notes what an endpoint says of itself that the datagrams do not show.
func (l *log) trace(who int, t coap.TraceEvent) {
	switch t.Kind {
	case coap.TraceSent, coap.TraceReceived, coap.TraceAcknowledged:
		return
	}
	s := fmt.Sprintf("  %s %v: %s", l.w.actors[who].name, t.Kind, summary(t.Datagram))
	if t.Reason != exchange.DropNone {
		s += ", " + t.Reason.String()
	}
	if t.Err != nil {
		s += ", " + t.Err.Error()
	}
	l.note(l.w.now(), "%s", s)
}

// sum returns a hash of all datagrams, when they were sent and what became of them.
func (l *log) sum() uint64 {
	h := fnv.New64a()
	var b [10]byte
	for _, x := range l.lines {
		if x.data == nil {
			continue
		}
		binary.BigEndian.PutUint64(b[:], uint64(x.at))
		b[8], b[9] = byte(x.from), byte(x.to)
		h.Write(b[:])
		h.Write(x.data)
		h.Write([]byte(x.text))
	}
	return h.Sum64()
}

// summary describes a message in one line.
func summary(data []byte) string {
	var m message.Message
	if err := codec.DecodeUDP(data, &m); err != nil {
		return fmt.Sprintf("malformed %x", data)
	}
	return m.String()
}

// chart returns the lines that are about a violation: those of the actors concerned, from when it
// began, and not too many.
func (l *log) chart(v *violation) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 120
	concerns := func(x *line) bool {
		if v == nil || len(v.who) == 0 {
			return true
		}
		if x.data == nil {
			return !slices.ContainsFunc(l.w.actors, func(a actor) bool { return strings.Contains(x.text, a.name) }) ||
				slices.ContainsFunc(v.who, func(i int) bool { return i >= 0 && strings.Contains(x.text, l.w.actors[i].name) })
		}
		inside := func(i int) bool { return i == group || slices.Contains(v.who, i) }
		if len(v.who) == 1 {
			return x.from == v.who[0] || x.to == v.who[0]
		}
		return inside(x.from) && inside(x.to)
	}
	var all []string
	for i := range l.lines {
		x := &l.lines[i]
		if v != nil && (x.at < v.since-100*time.Millisecond || x.at > v.at+time.Second) || !concerns(x) {
			continue
		}
		all = append(all, l.write(x))
	}
	if v != nil && len(all) > most {
		left := len(all) - most
		all = slices.Concat(all[:most/4], []string{fmt.Sprintf("      ... %d lines ...", left)}, all[len(all)-most*3/4:])
	}
	return strings.Join(all, "\n") + "\n"
}

// write puts a line into words.
func (l *log) write(x *line) string {
	s := fmt.Sprintf("%13.6fs ", x.at.Seconds())
	if x.data == nil {
		return s + "-- " + x.text
	}
	s += fmt.Sprintf("%-9s -> %-9s %s", l.name(x.from), l.name(x.to), summary(x.data))
	if x.text != "" {
		s += "   [" + strings.TrimSpace(x.text) + "]"
	}
	return s
}

// datagrams returns the lines about datagrams.
func (l *log) datagrams() (all []string) {
	for i := range l.lines {
		if x := &l.lines[i]; x.data != nil {
			all = append(all, l.write(x))
		}
	}
	return all
}

func (l *log) name(i int) string {
	if i == group {
		return "group"
	}
	return l.w.actors[i].name
}
