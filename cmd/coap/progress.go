package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/coapkit/coap"
)

// bar shows on a terminal how far a transfer has come, in one line. It belongs to one goroutine.
type bar struct {
	w       io.Writer
	start   time.Time
	drawn   time.Time // when it was drawn last
	visible bool
	off     bool  // not to be drawn any more
	before  int64 // what an earlier try has brought
	upload  bool  // what was drawn last is an upload
}

// A transfer that is over soon needs no bar, and nobody reads more than a few in a second.
const (
	barDelay    = 300 * time.Millisecond
	barInterval = 100 * time.Millisecond
)

// newBar returns a bar for a transfer that starts now, and at byte before.
func newBar(w io.Writer, now time.Time, before int64) *bar {
	return &bar{w: w, start: now, drawn: now.Add(barDelay - barInterval), before: before}
}

// update draws the bar if it is time to.
func (b *bar) update(now time.Time, p coap.Progress) {
	s := stageOf(p)
	if s.upload != b.upload {
		if b.upload { // what comes now is the response
			b.start, b.before = now, 0
		}
		b.upload = s.upload
	}
	if b.off || now.Sub(b.drawn) < barInterval {
		return
	}
	b.drawn, b.visible = now, true
	s.fresh, s.elapsed = s.done-b.before, now.Sub(b.start)
	if s.upload {
		s.fresh = s.done
	}
	fmt.Fprint(b.w, "\r"+s.String()+"\x1b[K") // and clear what was behind it
}

// stop clears the line, for good.
func (b *bar) stop() {
	if b == nil {
		return
	}
	b.off = true
	if b.visible {
		b.visible = false
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

// stage is how far one body has come.
type stage struct {
	upload      bool
	done, total int64 // total is 0 if unknown
	fresh       int64 // what has come since the start
	elapsed     time.Duration
}

// stageOf says which body is under way: first that of the request, then that of the response.
func stageOf(p coap.Progress) stage {
	if p.Received == 0 && p.Sent > 0 {
		return stage{upload: true, done: p.Sent, total: p.SendTotal}
	}
	return stage{done: p.Received, total: p.ReceiveTotal}
}

// barWidth is the number of characters between the brackets.
const barWidth = 24

// String draws the bar: direction, bytes, how much of all that is, and how many in a second.
func (s stage) String() string {
	verb := "received "
	if s.upload {
		verb = "sent "
	}
	text := verb + size64(s.done)
	if s.total > 0 {
		share := min(float64(s.done)/float64(s.total), 1)
		full := int(share * barWidth)
		text = fmt.Sprintf("%s of %s [%s%s] %3d%%", text, size64(s.total), strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), int(share*100))
	}
	if seconds := s.elapsed.Seconds(); seconds > 0 && s.fresh > 0 {
		text += "  " + size64(int64(float64(s.fresh)/seconds)) + "/s"
	}
	return text
}

// size64 writes a number of bytes with three digits and more.
func size64(n int64) string {
	units := [...]string{"KiB", "MiB", "GiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 999.95 && unit < len(units)-1 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}
