package main

import (
	"slices"
	"strings"
	"time"
)

// empty returns the memory that a program in Go occupies that does nothing.
func (b *bench) empty() (float64, error) {
	p, err := startSelf(b.ctx, b.serverCore, "serve", serveTask{Who: "nothing"})
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if _, err := p.line(); err != nil {
		return 0, err
	}
	time.Sleep(100 * time.Millisecond)
	return residentBytes(p.pid()), nil
}

// memory measures what a server occupies after one GET from each of many clients, and for observers.
func (b *bench) memory() (*part, error) {
	nothing, err := b.empty()
	if err != nil {
		return nil, err
	}
	t := &table{
		title: "Memory for a client",
		about: "Resident memory after one GET from each client, or one registration of each observer, less that of an empty Go program (" +
			number(nothing/(1<<20)) + " MiB), for libcoap less what it had at its start. “Remembered” are the requests whose duplicates would still be found and answered alike: " +
			"coapkit forgets the oldest idempotent ones when `Limits.RememberedBytes`, 256 MiB, is full.",
		head: []string{"server", "clients", "MiB", "bytes each", "to coapkit", "remembered", "mark"},
	}
	type row struct {
		subject subject
		clients int
		observe bool
		mark    *mark
	}
	at := func(v float64) *mark { m := atMost(v, "bytes"); return &m }
	rows := []row{
		{ours(nameOurs, serveTask{}), 100_000, false, at(300)},
		{ours(nameOurs, serveTask{}), 1_000_000, false, at(200)},
		{ours(nameOurs+", observers", serveTask{}), 100_000, true, at(500)},
		{goCoAP(), 20_000, false, nil},
	}
	if b.quick {
		rows = slices.DeleteFunc(rows, func(r row) bool { return r.clients > 100_000 })
		for i := range rows {
			rows[i].clients = 10_000
		}
	}
	for _, s := range b.libcoap("/t", string(shortText)) {
		rows = append(rows, row{s, 5000, false, nil})
	}
	chart := &plot{file: "memory.svg", title: "Memory for a client", yLabel: "bytes for each client"}
	mine := 0.0
	for _, w := range rows {
		rounds := min(b.rounds, 3)
		if w.clients > 500_000 {
			rounds = 1
		}
		name := w.subject.name
		r := b.compare("memory, "+plural(w.clients, "client"), rounds, []subject{w.subject}, func(_ subject, p *process) (figures, error) {
			l := load{Path: "/t", Clients: w.clients, Window: 1, Most: 256, Once: true}
			if w.observe {
				l.Path, l.Once, l.Observe = "/o", false, true
			}
			before := residentBytes(p.pid())
			if _, err := b.put(p, l); err != nil {
				return nil, err
			}
			f := figures{"bytes": residentBytes(p.pid()), "before": before}
			if strings.HasPrefix(name, nameOurs) {
				var own sizes
				if err := p.ask("sizes", &own); err != nil {
					return nil, err
				}
				f["remembered"] = float64(own.Remembered)
			}
			return f, nil
		})
		if err := r.failed[name]; err != nil {
			t.add(name, trim(float64(w.clients)), "failed: "+short(err))
			continue
		}
		base := nothing
		if name == nameLibcoap {
			base = r.get(name, "before")
		}
		each := (r.get(name, "bytes") - base) / float64(w.clients)
		if mine == 0 {
			mine = each
		}
		judged := ""
		if w.mark != nil {
			judged = w.mark.judge(each)
			if b.quick {
				judged += " (few clients)"
			}
		}
		t.add(name, trim(float64(w.clients)), number(r.get(name, "bytes")/(1<<20)), number(each), times(each, mine), number(r.get(name, "remembered")), judged)
		chart.bars = append(chart.bars, bar{name + ", " + trim(float64(w.clients)), each})
	}
	return &part{tables: []*table{t}, plots: []*plot{chart}}, nil
}

// fanout measures notifications to all observers of a resource, one round after the other.
func (b *bench) fanout() (*part, error) {
	counts := []int{100, 1000, 10_000}
	if b.quick {
		counts = []int{1000}
	}
	const unpaced, paced = nameOurs + ", pacing off", nameOurs + ", confirmed"
	chart := &plot{
		file: "fanout.svg", title: "Notifications to all observers of a resource", logX: true,
		xLabel: "observers", yLabel: "notifications per second of CPU time",
	}
	t := &table{
		title: "Notifications",
		about: "“Pacing off” lifts the pauses of RFC 7641 section 4.5.1 (`NonInterval`, `Outstanding`, `ConfirmEvery`), to see what the " +
			"library can do; “confirmed” is the default, where each observer has to acknowledge before the next. All others send Non-confirmable ones. " +
			"Notifications per second are also given for each second of CPU time, which does not depend on who else uses the core; the mark is about these.",
		head: []string{"server", "observers", "notifications/s", "CPU µs each", "to coapkit", "per second of CPU", "to c-fan", "mark"},
	}
	for _, n := range counts {
		subjects := append(b.limits(20, "fan"), ours(unpaced, serveTask{}), ours(paced, serveTask{Paced: true}), goCoAP())
		r := b.compare("fanout, "+trim(float64(n))+" observers", b.rounds, subjects, b.putFigures(load{
			Path: "/o", Clients: n, Window: 1, Most: 256, Observe: true, Time: b.time(),
		}))
		for i, s := range subjects {
			if len(chart.lines) <= i {
				chart.lines = append(chart.lines, line{name: strings.TrimPrefix(s.name, nameOurs+", "), dashed: s.name == nameFan})
			}
			chart.lines[i].x = append(chart.lines[i].x, float64(n))
			chart.lines[i].y = append(chart.lines[i].y, r.get(s.name, "percore"))
			if err := r.failed[s.name]; err != nil && r.of[s.name] == nil {
				t.add(s.name, trim(float64(n)), "failed: "+short(err))
				continue
			}
			judged, share := "", r.get(s.name, "percore")/r.get(nameFan, "percore")
			if s.name == unpaced && (n == 10_000 || b.quick) {
				judged = atLeast(0.85, "x").judge(share)
			}
			t.add(s.name, trim(float64(n)), number(r.get(s.name, "rate")), number(r.get(s.name, "cpu")),
				times(r.get(s.name, "cpu"), r.get(unpaced, "cpu")), number(r.get(s.name, "percore")), times(share, 1), judged)
		}
	}
	for i := range chart.lines {
		switch chart.lines[i].name {
		case "pacing off", "confirmed":
			chart.lines[i].name = nameOurs + " (" + chart.lines[i].name + ")"
		}
	}
	return &part{tables: []*table{t}, plots: []*plot{chart}}, nil
}
