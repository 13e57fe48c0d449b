package main

import (
	"strings"

	"github.com/coapkit/coap/transport/dtls"
)

// A secureSubject is a server, and the credentials that the load needs for it.
type secureSubject struct {
	subject
	credentials *credentials // nil for plain UDP
	resume      bool
}

func (s secureSubject) load(l load, do secureLoad) load {
	if s.credentials != nil {
		do.credentials = *s.credentials
	}
	do.Resume = s.resume
	l.Secure = &do
	return l
}

// The names of the rows.
const (
	ccm8      = "PSK, AES_128_CCM_8"
	gcm       = "PSK, AES_128_GCM"
	ecdsaCCM8 = "ECDHE_ECDSA, AES_128_CCM_8"
	noCID     = ", no connection ID"
	resumed   = ", resumed"
	plainUDP  = "plain UDP"
)

func oursSecure(what string, c *credentials, t serveTask) secureSubject {
	t.Secure = c
	return secureSubject{subject: ours(nameOurs+", "+what, t), credentials: c}
}

func goCoAPSecure(what string, c *credentials) secureSubject {
	return secureSubject{credentials: c, subject: subject{nameGoCoAP + ", " + what, func(b *bench) (*process, error) {
		return b.startServer(serveTask{Who: "gocoap", Secure: c})
	}}}
}

// compareSecure is compare for those who need credentials.
func (b *bench) compareSecure(what string, rounds int, all []secureSubject, run func(secureSubject, *process) (figures, error)) *results {
	subjects, by := make([]subject, len(all)), map[string]secureSubject{}
	for i, s := range all {
		subjects[i], by[s.name] = s.subject, s
	}
	return b.compare("dtls, "+what, rounds, subjects, func(s subject, p *process) (figures, error) { return run(by[s.name], p) })
}

// alike returns the name of the row of ours that one of go-coap is compared with, and its own for all others.
func alike(name string) string { return strings.Replace(name, nameGoCoAP, nameOurs, 1) }

// dtls measures secure sessions, and what they cost.
func (b *bench) dtls() (*part, error) {
	psk := &credentials{Suite: dtls.PSKWithAES128CCM8}
	cert, err := withCertificate(dtls.ECDHEECDSAWithAES128CCM8)
	if err != nil {
		return nil, err
	}
	p := &part{}
	p.tables = append(p.tables, b.handshakes(psk, cert))
	for _, l := range []loadSize{{64, 1}, {1, 16}} {
		p.tables = append(p.tables, b.secureRequests(l, psk))
	}
	p.tables = append(p.tables, b.sessionMemory(psk), b.unfinished(psk))
	return p, nil
}

func (b *bench) handshakes(psk, cert *credentials) *table {
	again := oursSecure(ccm8+noCID+resumed, psk, serveTask{NoCID: true}) // sessions with connection IDs begin anew
	again.resume = true
	subjects := []secureSubject{
		oursSecure(ccm8, psk, serveTask{}), oursSecure(ccm8+noCID, psk, serveTask{NoCID: true}), again, goCoAPSecure(ccm8, psk),
		oursSecure(ecdsaCCM8, cert, serveTask{}), goCoAPSecure(ecdsaCCM8, cert),
	}
	r := b.compareSecure("handshakes", b.rounds, subjects, func(s secureSubject, p *process) (figures, error) {
		return b.putFigures(s.load(load{}, secureLoad{Do: "handshakes"}))(s.subject, p)
	})
	t := &table{
		title: "Handshakes",
		about: "Of ever new clients, 16 at a time, each with an address of its own. The other end computes as much as the server, so that handshakes per second are " +
			"also given for each second of the server's CPU time. “Resumed” closes a session and begins it again from what both have kept.",
		head: []string{"server", "CPU µs/handshake", "to coapkit", "per second of CPU", "handshakes/s", "p50 ms", "core busy"},
	}
	for _, s := range subjects {
		if r.of[s.name] == nil {
			t.add(s.name, "failed: "+short(r.failed[s.name]))
			continue
		}
		t.add(s.name, number(r.get(s.name, "cpu")), times(r.get(s.name, "cpu"), r.get(alike(s.name), "cpu")), number(r.get(s.name, "percore")),
			number(r.get(s.name, "rate")), number(r.get(s.name, "p50")/1000), number(r.get(s.name, "busy"))+" %")
	}
	return t
}

func (b *bench) secureRequests(l loadSize, psk *credentials) *table {
	g := &credentials{Suite: dtls.PSKWithAES128GCMSHA256}
	subjects := []secureSubject{
		oursSecure(plainUDP, nil, serveTask{}), oursSecure(ccm8, psk, serveTask{}), oursSecure(ccm8+noCID, psk, serveTask{NoCID: true}),
		oursSecure(gcm, g, serveTask{}), goCoAPSecure(plainUDP, nil), goCoAPSecure(ccm8, psk), goCoAPSecure(gcm, g),
	}
	r := b.compareSecure("requests, "+l.String(), b.rounds, subjects, func(s secureSubject, p *process) (figures, error) {
		return b.putFigures(s.load(load{Path: "/t", Clients: l.clients, Window: l.window}, secureLoad{Do: "requests"}))(s.subject, p)
	})
	t := &table{
		title: "Requests: " + plural(l.clients, "session") + ", " + plural(l.window, "request") + " of each on the way",
		head:  []string{"server", "CPU µs/request", "to plain UDP", "to coapkit", "requests/s", "p50 µs", "core busy", "lost"},
	}
	for _, s := range subjects {
		if r.of[s.name] == nil {
			t.add(s.name, "failed: "+short(r.failed[s.name]))
			continue
		}
		who, _, _ := strings.Cut(s.name, ",")
		t.add(s.name, number(r.get(s.name, "cpu")), times(r.get(s.name, "cpu"), r.get(who+", "+plainUDP, "cpu")),
			times(r.get(s.name, "cpu"), r.get(alike(s.name), "cpu")), number(r.get(s.name, "rate")), number(r.get(s.name, "p50")),
			number(r.get(s.name, "busy"))+" %", number(r.get(s.name, "lost")))
	}
	return t
}

func (b *bench) sessionMemory(psk *credentials) *table {
	t := &table{
		title: "Memory for an idle session",
		about: "After a handshake and one GET in each session. Heap is what is in use after a garbage collection, resident is what the process " +
			"occupies before it, handshakes included; both less what they were at the start.",
		head: []string{"server", "sessions", "resident bytes each", "to coapkit", "heap bytes each", "to coapkit", "goroutines each", "sessions in a GiB of heap"},
	}
	counts := []int{1000, 5000}
	if b.quick {
		counts = []int{500}
	}
	for _, n := range counts {
		subjects := []secureSubject{oursSecure(ccm8, psk, serveTask{}), goCoAPSecure(ccm8, psk)}
		r := b.compareSecure("memory, "+plural(n, "session"), min(b.rounds, 3), subjects, func(s secureSubject, p *process) (figures, error) {
			return b.grown(p, s.load(load{Path: "/t", Clients: n, Window: 1, Once: true}, secureLoad{Do: "sessions"}))
		})
		for _, s := range subjects {
			if r.of[s.name] == nil {
				t.add(s.name, trim(float64(n)), "failed: "+short(r.failed[s.name]))
				continue
			}
			heap := r.get(s.name, "heap")
			t.add(s.name, trim(float64(n)), number(r.get(s.name, "resident")), times(r.get(s.name, "resident"), r.get(alike(s.name), "resident")),
				number(heap), times(heap, r.get(alike(s.name), "heap")), number(r.get(s.name, "goroutines")), number((1<<30)/heap))
		}
	}
	return t
}

// grown returns what each client of a load costs a server in memory.
func (b *bench) grown(p *process, l load) (figures, error) {
	var before, after sizes
	if err := p.ask("sizes", &before); err != nil {
		return nil, err
	}
	resident := residentBytes(p.pid())
	out, err := b.put(p, l)
	if err != nil {
		return nil, err
	}
	resident = residentBytes(p.pid()) - resident
	if err := p.ask("sizes", &after); err != nil {
		return nil, err
	}
	n := float64(l.Clients)
	f := out.figures()
	f["resident"], f["heap"] = resident/n, (float64(after.Heap)-float64(before.Heap))/n
	f["goroutines"] = float64(after.Goroutines-before.Goroutines) / n
	return f, nil
}

func (b *bench) unfinished(psk *credentials) *table {
	const n = 1000
	t := &table{
		title: "A good client after 1,000 unfinished handshakes",
		about: "Each of 1,000 other addresses has begun a handshake and says no more: after the first datagram, as somebody with a false address does, or after the " +
			"second, with the cookie, which takes an address of one's own. Half a second later one more client connects and asks. The default of `MaxHandshakes` " +
			"is 1,000; beyond it the oldest gives way. go-coap has no limit.",
		head: []string{"server", "the others stop after", "ms until it is answered", "CPU ms", "heap bytes each", "goroutines each"},
	}
	subjects := []secureSubject{oursSecure(ccm8, psk, serveTask{}), goCoAPSecure(ccm8, psk)}
	for i, what := range []string{"the first datagram", "the cookie"} {
		r := b.compareSecure("unfinished, "+what, min(b.rounds, 3), subjects, func(s secureSubject, p *process) (figures, error) {
			return b.grown(p, s.load(load{Path: "/t", Clients: n, Once: true}, secureLoad{Do: "flood", Proven: i == 1}))
		})
		for _, s := range subjects {
			if r.of[s.name] == nil {
				t.add(s.name, what, "failed: "+short(r.failed[s.name]))
				continue
			}
			t.add(s.name, what, number(r.get(s.name, "p50")/1000), number(r.get(s.name, "cpu")/1000), number(r.get(s.name, "heap")), number(r.get(s.name, "goroutines")))
		}
	}
	return t
}
