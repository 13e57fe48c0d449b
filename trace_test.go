package coap_test

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
)

// recorder is a Config.Trace that keeps what it gets.
type recorder struct {
	mu     sync.Mutex
	events []coap.TraceEvent
}

func (r *recorder) trace(e coap.TraceEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// take returns the events since the last call, in a line each: kind, type and code, reason, error.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, e := range r.events {
		line := e.Kind.String()
		if len(e.Datagram) >= 2 {
			line += " " + hex.EncodeToString(e.Datagram[:2])
		}
		if e.Reason != exchange.DropNone {
			line += " " + e.Reason.String()
		}
		if e.Err != nil {
			line += " " + e.Err.Error()
		}
		lines = append(lines, line)
	}
	r.events = nil
	return lines
}

// A response that is not sent is in the trace, too, with its peer and the reason.
func TestTraceOfSilence(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		rec := new(recorder)
		r := newRig(t, newResources(), &coap.Config{Trace: rec.trace})
		for request, want := range map[string][]string{
			"CON GET mid=1 path=plain opt=258:1a": {"received 4001", "dropped " + exchange.DropSuppressed.String(), "sent 6000"},
			"NON GET mid=2 path=plain opt=2051:":  {"received 5001", "dropped " + exchange.DropBadOption.String()},
		} {
			r.peer.send("%s", request)
			pass(0)
			require.Equal(t, peerAddr, rec.events[1].Peer.Addr)
			require.Equal(t, want, rec.take())
		}
	})
}

// The trace tells what happened, in order, with the bytes.
func TestTrace(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		rec := new(recorder)
		r := newRig(t, newResources(), &coap.Config{Trace: rec.trace})
		r.peer.send("CON GET mid=1 path=plain")
		r.peer.want("", "ACK 2.05")
		require.Equal(t, time.Now(), rec.events[0].Time)
		require.Equal(t, peerAddr, rec.events[0].Peer.Addr)
		require.Equal(t, "40010001b5706c61696e", hex.EncodeToString(rec.events[0].Datagram), "all bytes")
		require.Equal(t, []string{"received 4001", "sent 6045"}, rec.take())
		r.peer.send("CON GET mid=1 path=plain")
		r.peer.want("", "ACK 2.05")
		require.Equal(t, []string{"received 4001", "duplicate 4001", "sent 6045"}, rec.take())
		r.peer.sendHex("40010001f0")
		r.peer.want("", "RST 0.00")
		require.Equal(t, []string{
			"received 4001", "dropped 4001 malformed malformed message: option delta 15 is reserved", "sent 7000",
		}, rec.take())
		r.peer.sendHex("400100")
		r.peer.sendHex("80010001")
		r.peer.wantNothing("")
		require.Equal(t, []string{
			"received 4001", "dropped 4001 too-short malformed message: shorter than the 4 bytes of the header",
			"received 8001", "dropped 8001 version malformed message: version is not 1",
		}, rec.take())

		r.peer.send("CON GET mid=2 tok=01 path=slow")
		pass(slowTime)
		r.peer.want("", "ACK 0.00")
		separate := r.peer.want("", "CON 2.05")
		r.peer.send("ACK 0.00 mid=%d", separate.MessageID)
		r.peer.wantNothing("")
		require.Equal(t, []string{"received 4101", "sent 6000", "sent 4145", "received 6000", "acknowledged 4145"}, rec.take())

		first := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/x"))
		second := async(t.Context(), r.ep, request(t, coap.GET, peerAddr, "/y"))
		asked := r.peer.next("")
		require.False(t, second.IsDone())
		pass(3 * time.Second)
		r.peer.next("")
		r.peer.send("ACK 2.05 mid=%d tok=%s", asked.MessageID, asked.Token)
		require.True(t, first.IsDone() != second.IsDone())
		require.Equal(t, []string{"sent 4801", "queued 4801", "retransmitted 4801", "sent 4801", "received 6845", "sent 4801"}, rec.take())
		pass(93 * time.Second)
		require.True(t, first.IsDone() && second.IsDone())
		require.Equal(t, strings.Split("retransmitted 4801|sent 4801|retransmitted 4801|sent 4801|retransmitted 4801|sent 4801|"+
			"retransmitted 4801|sent 4801|ended 4801 "+coap.ErrNotAcknowledged.Error(), "|"), rec.take())

		got := async(t.Context(), r.ep, request(t, coap.GET, peerAddr2, "/z"))
		require.True(t, got.IsDone())
		require.Equal(t, []string{
			"sent 4801", "undelivered 4801 " + "connection refused", "ended 4801 " + coap.ErrUnreachable.Error(),
		}, rec.take())
	})
}

// Without a Trace nothing is recorded; with a logger at level debug, events are logged.
func TestTraceToLogger(t *testing.T) {
	for level, lines := range map[slog.Level]int{slog.LevelInfo: 0, slog.LevelDebug: 2} {
		bubble(t, level.String(), func(t *testing.T) {
			var log syncBuffer
			r := newRig(t, newResources(), &coap.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level}))})
			r.peer.send("CON GET mid=1 path=plain")
			r.peer.want("", "ACK 2.05")
			require.Equal(t, lines, strings.Count(log.String(), "\n"), "log:\n%s", log.String())
		})
	}
}

// The counters by name, and the reasons, which have a label each.
func TestStats(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, newResources(), nil)
		r.peer.send("CON GET mid=1 path=plain")
		r.peer.want("", "ACK 2.05")
		r.peer.send("CON GET mid=1 path=plain")
		r.peer.want("", "ACK 2.05")
		r.peer.sendHex("40000002")
		r.peer.want("", "RST 0.00")
		r.peer.sendHex("50000002")
		r.peer.wantNothing("")
		s := r.ep.Stats()
		require.Equal(t, [...]uint64{4, 3, 1, 1, 1, 1}, [...]uint64{s.Received, s.Sent, s.Duplicates, s.Pings, s.Resets, s.Requests})
		require.Equal(t, [...]int{1, 0, 0, 0, 1}, [...]int{s.Peers, s.Exchanges, s.Queued, s.Handling, s.Remembered})
		require.Positive(t, s.RememberedBytes)
		names := make(map[string]bool)
		for reason, n := range s.Drops() {
			require.NotContains(t, reason.String(), "reason-")
			require.False(t, names[reason.String()])
			names[reason.String()] = true
			require.Equal(t, map[bool]uint64{true: 1}[reason == exchange.DropEmptyNon], n, fmt.Sprint(reason))
		}
		require.Len(t, names, len(s.Dropped)-1)
	})
}
