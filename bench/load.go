package main

import (
	"net/netip"
	"time"
)

// load says what the load generator does to a server.
type load struct {
	To      netip.AddrPort
	Path    string
	Clients int // how many addresses ask
	Window  int // how many requests each of them has on the way
	// Most bounds the requests on the way in all. Where it holds, clients take turns.
	Most int
	// Once lets each client ask once, instead of for a time.
	Once bool
	// Observe lets each client register an observation, then has the server notify all by PUT,
	// again and again.
	Observe    bool
	Warm, Time time.Duration
	// Beside is how many requests one more client sends to BesidePath, once.
	Beside     int
	BesidePath string
	// Repeat is how often each request is sent again, with the same message ID, when it is answered.
	Repeat int
	PID    int // of the server, for its CPU time
	// Secure is a load of secure sessions, or of the same sort without them; nil for none.
	Secure *secureLoad `json:",omitempty"`
}

// secureLoad says what is done to a secure server.
type secureLoad struct {
	credentials
	// Do is requests, handshakes (for a time), sessions (as many as there are clients, with a request each), or flood: handshakes
	// that stay unfinished, then a good client.
	Do     string
	Resume bool // handshakes: resume sessions
	Proven bool // flood: after they have shown that their address is theirs
}

// outcome is what came of a load.
type outcome struct {
	Seconds  float64 // that were measured
	Answered uint64
	Bad      uint64 // answered with something else than 2.05
	Lost     uint64 // not answered within a second
	Repeated uint64 // answers to repeated requests
	Notes    uint64 // notifications
	Rounds   uint64 // of notifications
	P50, P99 time.Duration
	CPU      time.Duration // of the server
	Error    string        `json:",omitempty"`
}

// figures returns the outcome as such. CPU is microseconds for each answer, of requests or by notification.
func (o *outcome) figures() figures {
	f := figures{"bad": float64(o.Bad), "lost": float64(o.Lost), "p50": us(o.P50), "p99": us(o.P99)}
	n := float64(o.Answered + o.Repeated + o.Notes)
	if o.Seconds > 0 {
		f["rate"] = n / o.Seconds
		f["busy"] = o.CPU.Seconds() / o.Seconds * 100
	}
	if n > 0 && o.CPU > 0 {
		f["cpu"] = us(o.CPU) / n
		f["percore"] = n / o.CPU.Seconds() // what a core would do that nobody else uses
	}
	return f
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

// pathOptions returns the options of a request for a path, after an Observe option if there is one.
func pathOptions(path string, observe bool) []byte {
	var b []byte
	last := byte(0)
	if observe {
		b, last = append(b, 6<<4), 6 // register
	}
	for start := 1; start <= len(path); {
		end := start
		for end < len(path) && path[end] != '/' {
			end++
		}
		b = append(b, (11-last)<<4|byte(end-start)) // Uri-Path, at most 12 bytes long
		b = append(b, path[start:end]...)
		last, start = 11, end+1
	}
	return b
}

// echoOption returns the value of the Echo option (252) of a response, if it has one.
func echoOption(b []byte) []byte {
	if len(b) < 4 {
		return nil
	}
	number := 0
	for i := 4 + int(b[0]&15); i < len(b) && b[i] != 0xFF; {
		delta, length := int(b[i]>>4), int(b[i]&15)
		i++
		for _, v := range []*int{&delta, &length} {
			switch {
			case *v == 13 && i < len(b):
				*v += int(b[i])
				i++
			case *v == 14 && i+1 < len(b):
				*v = 269 + int(b[i])<<8 + int(b[i+1])
				i += 2
			}
		}
		number += delta
		if i+length > len(b) {
			return nil
		}
		if number == 252 {
			return b[i : i+length]
		}
		i += length
	}
	return nil
}

// appendEcho appends an Echo option, at most 12 bytes or at most 268 bytes long, after a Uri-Path.
func appendEcho(b, value []byte) []byte {
	if len(value) < 13 {
		b = append(b, 13<<4|byte(len(value)), 252-11-13)
	} else {
		b = append(b, 13<<4|13, 252-11-13, byte(len(value)-13))
	}
	return append(b, value...)
}
