package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/coapkit/coap"
)

// TestStage draws the line at many moments.
func TestStage(t *testing.T) {
	var b strings.Builder
	for _, s := range []stage{
		{},
		{done: 16, total: 16, fresh: 16},
		{done: 16, total: 1 << 10, fresh: 16, elapsed: time.Second},
		{done: 512 << 10, total: 1 << 20, fresh: 256 << 10, elapsed: 4 * time.Second},
		{done: 1<<20 - 1, total: 1 << 20, fresh: 1<<20 - 1, elapsed: time.Hour},
		{done: 1 << 20, total: 1 << 20, fresh: 1 << 20, elapsed: time.Second},
		{done: 2048, total: 1024, elapsed: time.Second},
		{done: 3 << 30, fresh: 3 << 30, elapsed: time.Minute},
		{upload: true, done: 1000 << 10, total: 5000 << 10, fresh: 1000 << 10, elapsed: 10 * time.Second},
		{upload: true, done: 1024, fresh: 1024, elapsed: 300 * time.Millisecond},
	} {
		fmt.Fprintln(&b, s)
	}
	golden(t, "progress", b.String())
}

func TestBar(t *testing.T) {
	now := time.Unix(0, 0)
	var w bytes.Buffer
	b := newBar(&w, now, 100)
	at := func(d time.Duration, p coap.Progress) string {
		w.Reset()
		b.update(now.Add(d), p)
		return w.String()
	}
	assert.Empty(t, at(barDelay-1, coap.Progress{Received: 116}), "it may be over soon")
	assert.Equal(t, "\rreceived 1.1 KiB  1.0 KiB/s\x1b[K", at(time.Second, coap.Progress{Received: 1124}), "without what was there before")
	assert.Empty(t, at(time.Second+barInterval-1, coap.Progress{Received: 2000}), "too soon")
	assert.NotEmpty(t, at(time.Second+barInterval, coap.Progress{Received: 2000}))
	w.Reset()
	b.stop()
	assert.Equal(t, "\r\x1b[K", w.String(), "cleaned")
	assert.Empty(t, at(time.Minute, coap.Progress{Received: 3000}), "over")
	w.Reset()
	b.stop()
	assert.Empty(t, w.String())

	b = newBar(&w, now, 0)
	assert.Contains(t, at(time.Second, coap.Progress{Sent: 1024, SendTotal: 2048}), "sent 1.0 KiB of 2.0 KiB [============            ]  50%  1.0 KiB/s")
	assert.Contains(t, at(2*time.Second, coap.Progress{Sent: 2048, SendTotal: 2048, Received: 1024}), "received 1.0 KiB\x1b", "a new start")
	(*bar)(nil).stop()
}
