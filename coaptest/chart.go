package coaptest

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
)

// chart keeps the last messages of a network.
type chart struct {
	start time.Time

	mu   sync.Mutex
	rows []row // a ring once it is full
	all  int   // how many there were
}

// row is one datagram.
type row struct {
	at       time.Time
	src, dst netip.AddrPort
	data     []byte
	fate     mem.Verdict
}

// maxRows is more than anybody reads.
const maxRows = 500

// watch notes a datagram; it is called by the network.
func (c *chart) watch(p *mem.Packet, v mem.Verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := row{time.Now(), p.Src, p.Dst, p.Data, v}
	if len(c.rows) < maxRows {
		c.rows = append(c.rows, r)
	} else {
		c.rows[c.all%maxRows] = r
	}
	c.all++
}

// String draws the chart.
func (c *chart) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == 0 {
		return "no messages\n"
	}
	var b strings.Builder
	first := c.all - len(c.rows)
	if first > 0 {
		fmt.Fprintf(&b, "%d earlier messages, then\n", first)
	}
	// Who has sent first is on the left, for each pair.
	left := make(map[[2]netip.AddrPort]bool)
	width := [2]int{}
	for i := range c.rows {
		r := &c.rows[(first+i)%len(c.rows)]
		if !left[[2]netip.AddrPort{r.dst, r.src}] {
			left[[2]netip.AddrPort{r.src, r.dst}] = true
		}
		for side, a := range r.sides(left) {
			width[side] = max(width[side], len(a.String()))
		}
	}
	fmt.Fprintf(&b, "%8s\n", "seconds")
	for i := range c.rows {
		r := &c.rows[(first+i)%len(c.rows)]
		sides := r.sides(left)
		fmt.Fprintf(&b, "%8.3f  %-*s %s %-*s  %s%s\n", r.at.Sub(c.start).Seconds(),
			width[0], sides[0], r.arrow(sides[0] == r.src), width[1], sides[1], describe(r.data), r.marks())
	}
	return b.String()
}

// sides are the two ends of a row from left to right.
func (r *row) sides(left map[[2]netip.AddrPort]bool) [2]netip.AddrPort {
	if pair := [2]netip.AddrPort{r.src, r.dst}; left[pair] {
		return pair
	}
	return [2]netip.AddrPort{r.dst, r.src}
}

func (r *row) arrow(toRight bool) string {
	lost := r.fate.Drop || r.fate.Err != nil
	switch {
	case toRight && lost:
		return "-----X "
	case toRight:
		return "------>"
	case lost:
		return " X-----"
	}
	return "<------"
}

// marks say what has happened on the way.
func (r *row) marks() string {
	var marks []string
	switch {
	case r.fate.Err != nil:
		marks = append(marks, "not delivered: "+r.fate.Err.Error())
	case r.fate.Drop:
		marks = append(marks, "lost")
	}
	if r.fate.Delay > 0 {
		marks = append(marks, "arrives after "+r.fate.Delay.Round(time.Microsecond).String())
	}
	if r.fate.Copies > 0 {
		marks = append(marks, fmt.Sprintf("arrives %d times", r.fate.Copies+1))
	}
	if r.fate.Corrupt {
		marks = append(marks, "corrupted")
	}
	if len(marks) == 0 {
		return ""
	}
	return "  (" + strings.Join(marks, ", ") + ")"
}

// describe writes a datagram as a line, shortened to what can be read.
func describe(data []byte) string {
	var m message.Message
	if err := codec.DecodeUDP(data, &m); err != nil {
		return fmt.Sprintf("%d bytes %.64x: %v", len(data), data, err)
	}
	rest := ""
	if n := len(m.Payload); n > 64 {
		m.Payload = m.Payload[:48]
		rest = fmt.Sprintf("... (%d bytes)", n)
	}
	return formatLine(&m) + rest
}
