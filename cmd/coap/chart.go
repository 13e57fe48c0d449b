package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport"
)

// chart draws messages as the figures of RFC 7252 do, time downwards:
//
//	seconds  client                            192.0.2.1:5683
//	         |                                 |
//	  0.000  |------- CON [0x7d34] GET ------->|  /temperature  (Token 0x71)
//	  0.021  |<------ ACK [0x7d34] 2.05 -------|  Content  (Token 0x71)
//	         |                                 |  6 bytes "22.3 C"
//
// The client is on the left. Arrows that end in an X were lost on purpose. All methods may be
// called concurrently.
type chart struct {
	w io.Writer
	// left and right are the names of the two sides; the peer's address stands for an
	// empty one, which is where the peer is.
	left, right string

	mu    sync.Mutex
	start time.Time
	peer  string // whose columns were headed last
	again []byte // the message that is about to be repeated
	// waiting are sent messages whose fate a bad network below the endpoint will tell;
	// lossy says that there is one.
	lossy   bool
	waiting []row
}

// row is one message in a chart.
type row struct {
	at     time.Time
	peer   string
	toPeer bool
	lost   bool
	data   []byte
	marks  []string
}

// newChart returns a chart that is drawn on w.
func newChart(w io.Writer, left, right string) *chart { return &chart{w: w, left: left, right: right} }

// trace draws an event; it is a Config.Trace.
func (c *chart) trace(e coap.TraceEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := row{at: e.Time, peer: e.Peer.String(), data: e.Datagram}
	switch e.Kind {
	case exchange.TraceSent:
		c.sent(r)
	case exchange.TraceReceived:
		c.draw(r)
	case exchange.TraceRetransmitted:
		c.again = e.Datagram
	case exchange.TraceDuplicate:
		c.note(r, "^ duplicate, not processed again")
	case exchange.TraceDropped:
		c.note(r, "^ dropped: "+reason(e))
	case exchange.TraceQueued:
		c.note(r, about(e.Datagram)+" waits for its turn")
	case exchange.TraceEnded:
		if e.Err == coap.ErrClosed && e.Peer.Addr.Addr().IsMulticast() {
			return // the answers were collected; a group never says that it is done
		}
		c.note(r, about(e.Datagram)+" ended: "+plain(e.Err))
	case exchange.TraceUndelivered:
		c.note(r, about(e.Datagram)+" was not delivered: "+plain(e.Err))
	}
}

// reason says why something was dropped.
func reason(e coap.TraceEvent) string {
	if e.Err != nil {
		return e.Reason.String() + ", " + plain(e.Err)
	}
	return e.Reason.String()
}

// sent draws a message to the peer, now or when its fate is known.
func (c *chart) sent(r row) {
	r.toPeer = true
	if c.again != nil && bytes.Equal(c.again, r.data) {
		r.marks, c.again = append(r.marks, "retransmission"), nil
	}
	if c.lossy {
		c.waiting = append(c.waiting, r)
		return
	}
	c.draw(r)
}

// fate learns from a bad network what became of a datagram.
func (c *chart) fate(d *transport.Datagram, incoming, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if incoming {
		if lost { // else the endpoint tells
			c.draw(row{at: time.Now(), peer: d.Remote.String(), lost: true, data: d.Data, marks: []string{"lost on purpose"}})
		}
		return
	}
	i := slices.IndexFunc(c.waiting, func(r row) bool { return r.peer == d.Remote.String() && bytes.Equal(r.data, d.Data) })
	if i < 0 {
		return
	}
	r := c.waiting[i]
	c.waiting = slices.Delete(c.waiting, i, i+1)
	if r.lost = lost; lost {
		r.marks = append(r.marks, "lost on purpose")
	}
	c.draw(r)
}

// The columns of a chart.
const (
	timeWidth  = 7
	arrowWidth = 33
)

// draw writes a row. The lock is held.
func (c *chart) draw(r row) {
	c.head(r)
	l := label(r.data)
	toRight := r.toPeer == (c.right == "")
	text := append(l.text, r.marks...)
	fmt.Fprintf(c.w, "%*.3f  |%s|  %s\n", timeWidth, r.at.Sub(c.start).Seconds(), arrow(l.arrow, toRight, r.lost), strings.Join(text, "  "))
	for _, line := range l.more {
		c.line(line)
	}
}

// head writes the names of the columns when the peer is another one than before.
func (c *chart) head(r row) {
	if c.start.IsZero() {
		c.start = r.at
	}
	if r.peer == c.peer {
		return
	}
	if c.peer != "" {
		fmt.Fprintln(c.w)
	}
	c.peer = r.peer
	left, right := c.left, c.right
	if left == "" {
		left = r.peer
	}
	if right == "" {
		right = r.peer
	}
	fmt.Fprintf(c.w, "%*s  %-*s %s\n", timeWidth, "seconds", arrowWidth+1, left, right)
	c.line("")
}

// note writes what became of a message. The lock is held.
func (c *chart) note(r row, text string) {
	c.head(r)
	c.line(text)
}

// line writes something besides the two columns.
func (c *chart) line(text string) {
	line := fmt.Sprintf("%*s  |%*s|  %s", timeWidth, "", arrowWidth, "", text)
	fmt.Fprintln(c.w, strings.TrimRight(line, " "))
}

// arrow draws an arrow with a text in its middle.
func arrow(text string, toRight, lost bool) string {
	width := arrowWidth
	if lost {
		width -= 8 // it ends short of the other side
	}
	dashes := max(width-len(text)-3, 2)
	before := strings.Repeat("-", dashes/2)
	after := strings.Repeat("-", dashes-dashes/2)
	gap := strings.Repeat(" ", arrowWidth-width)
	switch {
	case toRight && lost:
		return before + " " + text + " " + after + "X" + gap
	case toRight:
		return before + " " + text + " " + after + ">"
	case lost:
		return gap + "X" + after + " " + text + " " + before
	}
	return "<" + after + " " + text + " " + before
}

// texts are what a chart says about a message.
type texts struct {
	arrow string   // in the arrow
	text  []string // beside it
	more  []string // below that
}

// label describes a message.
func label(datagram []byte) texts {
	var m message.Message
	if err := codec.DecodeUDP(datagram, &m); err != nil {
		return texts{arrow: fmt.Sprintf("%d bytes", len(datagram)), text: []string{plain(err)}}
	}
	l := texts{arrow: fmt.Sprintf("%v [0x%04x]", m.Type, m.MessageID)}
	switch {
	case m.Code == message.Empty && m.Type == message.Confirmable:
		l.text = append(l.text, "ping")
	case m.Code == message.Empty:
		l.text = append(l.text, "empty")
	case m.Code.IsRequest():
		l.arrow += " " + methodName(m.Code)
		l.text = append(l.text, m.Options.Target())
	default:
		l.arrow += " " + m.Code.Dotted()
		l.text = append(l.text, m.Code.Name())
	}
	if len(m.Token) > 0 {
		l.text = append(l.text, "(Token 0x"+shortened(m.Token.String())+")")
	}
	if options := describeOptions(&m.Options); options != "" {
		l.more = append(l.more, options)
	}
	if len(m.Payload) > 0 {
		l.more = append(l.more, describePayload(m.Payload))
	}
	return l
}

// about names a message in a note. One that has not been sent has no message ID yet.
func about(datagram []byte) string {
	if len(datagram) == 0 {
		return "a message" // the system does not tell which
	}
	return strings.Replace(label(datagram).arrow, " [0x0000]", "", 1)
}

// methodName is the name of a method, or its number if it has none.
func methodName(c message.Code) string {
	if name := c.Name(); name != "" {
		return name
	}
	return c.Dotted()
}

// shortened cuts a token, which may have thousands of bytes, to what fits into a line.
func shortened(hex string) string {
	if len(hex) <= 32 {
		return hex
	}
	return hex[:32] + "…"
}
