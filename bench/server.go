package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// server compares servers that answer a short GET, under several loads.
func (b *bench) server() (*part, error) {
	loads, err := parseLoads(b.clients)
	if err != nil {
		return nil, err
	}
	out := &part{}
	chart := &plot{
		file: "cpu.svg", title: "CPU time for a request, by number of clients", logX: true, logY: true,
		xLabel: "clients", yLabel: "microseconds of the server's CPU",
	}
	var names []string
	lines := map[string]*line{}
	for _, l := range loads {
		subjects := slices.Concat(b.limits(20, "batch", "one"), []subject{ours(nameOurs, serveTask{}), goCoAP()})
		if l.clients <= 10_000 {
			subjects = append(subjects, b.libcoap("/t", string(shortText))...)
		}
		r := b.compare("server "+l.String(), b.rounds, subjects, b.putFigures(load{Path: "/t", Clients: l.clients, Window: l.window}))
		out.tables = append(out.tables, serverTable(l, subjects, r))
		for _, s := range subjects {
			if s.name == nameOne || l.clients == 1 && l.window == 1 {
				continue
			}
			if lines[s.name] == nil {
				lines[s.name] = &line{name: s.name, dashed: s.name == nameBatch}
				names = append(names, s.name)
			}
			lines[s.name].x = append(lines[s.name].x, float64(l.clients))
			lines[s.name].y = append(lines[s.name].y, r.get(s.name, "cpu"))
		}
	}
	for _, n := range names {
		chart.lines = append(chart.lines, *lines[n])
	}
	out.plots = append(out.plots, chart)
	return out, nil
}

func serverTable(l loadSize, subjects []subject, r *results) *table {
	t := &table{
		title: plural(l.clients, "client") + ", " + plural(l.window, "request") + " of each on the way",
		head:  []string{"server", "CPU µs/request", "to c-mmsg64", "to coapkit", "requests/s", "p50 µs", "p99 µs", "core busy", "lost", "mark"},
	}
	for _, s := range subjects {
		if err := r.failed[s.name]; err != nil && r.of[s.name] == nil {
			t.add(s.name, "failed: "+short(err))
			continue
		}
		f, judged := r.of[s.name], ""
		if s.name == nameOurs {
			judged = serverMark(l, r)
		}
		t.add(s.name, number(f.get("cpu")), times(f.get("cpu"), r.get(nameBatch, "cpu")), times(f.get("cpu"), r.get(nameOurs, "cpu")),
			number(f.get("rate")), number(f.get("p50")), number(f.get("p99")), fmt.Sprintf("%.0f %%", f.get("busy")), number(f.get("lost")), judged)
	}
	return t
}

// serverMark judges the library under one load.
func serverMark(l loadSize, r *results) string {
	cpu := r.get(nameOurs, "cpu") / r.get(nameBatch, "cpu")
	switch {
	case l.clients == 1 && l.window == 1:
		trip := r.get(nameOurs, "p50") / r.get(nameOne, "p50")
		return fmt.Sprintf("p50 %s of c-one, %s", times(trip, 1), atMost(1.3, "x").judge(trip))
	case l.clients == 64:
		return "CPU " + atMost(1.15, "x").judge(cpu)
	}
	return "CPU " + atMost(1.25, "x").judge(cpu)
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return trim(float64(n)) + " " + what
}

// short returns the beginning of an error, for a table.
func short(err error) string {
	s := []rune(err.Error())
	if len(s) > 60 {
		s = append(s[:60], '…')
	}
	return string(s)
}

// handlers measures what handlers that wait do to others, and several sockets.
func (b *bench) handlers() (*part, error) {
	t := &table{
		title: "Handlers that wait",
		about: "The first two rows: 64 clients with 4 requests on the way each, beside 30 requests of one more client to a handler that " +
			"sleeps 5 seconds. The next: 10,000 clients at a handler that waits 200 µs by a timer (coapkit with `Limits.Handlers` 16,384).",
		head: []string{"server", "load", "requests/s", "p99 µs", "CPU µs/request", "lost", "other answers", "mark"},
	}
	row := func(name, what string, f figures, mark string) {
		if f == nil {
			t.add(name, what, "failed")
			return
		}
		t.add(name, what, number(f.get("rate")), number(f.get("p99")), number(f.get("cpu")), number(f.get("lost")), number(f.get("bad")), mark)
	}
	const alone, beside = "alone", "beside 30 sleepers"
	fast := load{Path: "/t", Clients: 64, Window: 4}
	r := b.compare("handlers, sleepers", b.rounds, []subject{ours(alone, serveTask{}), ours(beside, serveTask{})},
		func(s subject, p *process) (figures, error) {
			l := fast
			if s.name == beside {
				l.Beside, l.BesidePath = 30, "/sleep"
			}
			return b.putFigures(l)(s, p)
		})
	row(nameOurs, alone, r.of[alone], "")
	row(nameOurs, beside, r.of[beside], "p99 "+atMost(1.5, "x").judge(r.get(beside, "p99")/r.get(alone, "p99")))
	r = b.compare("handlers, 200 µs", b.rounds, []subject{ours(nameOurs, serveTask{Handlers: 1 << 14}), goCoAP()},
		b.putFigures(load{Path: "/wait", Clients: 10_000, Window: 1}))
	row(nameOurs, "waits 200 µs", r.of[nameOurs], atLeast(50_000, "/s").judge(r.get(nameOurs, "rate")))
	row(nameGoCoAP, "waits 200 µs", r.of[nameGoCoAP], "")
	return &part{tables: []*table{t, b.sockets()}}, nil
}

// sockets compares four sockets on four cores with one on one.
func (b *bench) sockets() *table {
	t := &table{title: "Several sockets", head: []string{"sockets", "cores", "requests/s", "to one", "mark"}}
	m := atLeast(3.2, "x")
	if len(b.cores) < 8 {
		t.add("4", "4", "–", "–", fmt.Sprintf("%s (it wants 8 cores, here are %d)", m.judge(math.NaN()), len(b.cores)))
		return t
	}
	const one, four = "1", "4"
	cores := b.cores
	start := func(n int) func(*bench) (*process, error) {
		return func(b *bench) (*process, error) {
			return b.listening(startSelf(b.ctx, cores[:n], "serve", serveTask{Who: "ours", Sockets: n}))
		}
	}
	r := b.compare("handlers, sockets", b.rounds, []subject{{one, start(1)}, {four, start(4)}}, func(s subject, p *process) (figures, error) {
		n := 1
		if s.name == four {
			n = 4
		}
		return b.manyLoads(p, cores[4:4+n])
	})
	if err := r.failed[four]; err != nil {
		t.add(four, four, "–", "–", short(err))
	}
	for _, name := range []string{one, four} {
		judged := ""
		if name == four {
			judged = m.judge(r.get(four, "rate") / r.get(one, "rate"))
		}
		t.add(name, name, number(r.get(name, "rate")), times(r.get(name, "rate"), r.get(one, "rate")), judged)
	}
	return t
}

// manyLoads puts one load from each of some cores on a server, and adds them up.
func (b *bench) manyLoads(p *process, cores []int) (figures, error) {
	var all sync.WaitGroup
	outs, errs := make([]outcome, len(cores)), make([]error, len(cores))
	for i, c := range cores {
		all.Go(func() {
			l := load{To: p.addr, Path: "/t", Clients: 64, Window: 16, Most: b.most, Time: b.time(), Warm: 300 * time.Millisecond}
			errs[i] = runSelf(b.ctx, []int{c}, "load", l, &outs[i])
		})
	}
	all.Wait()
	f := figures{}
	for i := range outs {
		f["rate"] += outs[i].figures().get("rate")
	}
	return f, errors.Join(errs...)
}

// allocs counts the allocations of servers and clients.
func (b *bench) allocs() (*part, error) {
	t := &table{
		title: "Allocations for a request",
		about: "In the steady state: for coapkit, `Limits.RememberedBytes` is 4 MiB here, which is full at once. With the default of 256 MiB " +
			"what is remembered grows for the first minutes of a load. The runtime of Go allocates a little now and then by itself, so that the marks are " +
			"about the figures to one decimal.",
		head: []string{"what", "allocations", "mark"},
	}
	r := b.compare("allocs, server", min(b.rounds, 3), []subject{ours(nameOurs, serveTask{Remember: 4 << 20}), goCoAP()}, func(_ subject, p *process) (figures, error) {
		l := load{Path: "/t", Clients: 64, Window: 16}
		if _, err := b.put(p, l); err != nil { // reaches the steady state
			return nil, err
		}
		var before, after sizes
		if err := p.ask("sizes", &before); err != nil {
			return nil, err
		}
		l.Time = b.time()
		out, err := b.put(p, l)
		if err == nil {
			err = p.ask("sizes", &after)
		}
		if err != nil {
			return nil, err
		}
		return figures{"allocs": float64(after.Mallocs-before.Mallocs) / float64(out.Answered)}, nil
	})
	t.add(nameOurs+" server", number(r.get(nameOurs, "allocs")), atMost(0, "").judge(math.Round(10*r.get(nameOurs, "allocs"))/10))
	t.add(nameGoCoAP+" server", number(r.get(nameGoCoAP, "allocs")), "")
	r = b.compareClients("allocs, client", min(b.rounds, 3), []clientSubject{
		{nameOurs, clientTask{Who: "ours", Do: "get", Goroutines: 100, Devices: 100}},
		{nameGoCoAP, clientTask{Who: "gocoap", Do: "get", Goroutines: 100, Devices: 100}},
	})
	t.add(nameOurs+" client", number(r.get(nameOurs, "allocs")), atMost(1, "").judge(math.Round(10*r.get(nameOurs, "allocs"))/10))
	t.add(nameGoCoAP+" client", number(r.get(nameGoCoAP, "allocs")), "")
	return &part{tables: []*table{t}}, nil
}

// features measures what some features cost.
func (b *bench) features() (*part, error) {
	const traced, noEcho, repeated = "Config.Trace, counting events", "ServeEcho off", "9 of 10 requests are duplicates"
	fast := load{Path: "/t", Clients: 64, Window: 16}
	subjects := []subject{ours(nameOurs, serveTask{}), ours(traced, serveTask{Trace: true}), ours(noEcho, serveTask{Echo: echoOff}), ours(repeated, serveTask{})}
	r := b.compare("features", b.rounds, subjects, func(s subject, p *process) (figures, error) {
		l := fast
		if s.name == repeated {
			l.Repeat = 9
		}
		return b.putFigures(l)(s, p)
	})
	t := &table{
		title: "64 clients, 16 requests of each on the way",
		head:  []string{"what", "CPU µs/answer", "to the default", "answers/s"},
	}
	for _, s := range subjects {
		name := s.name
		if name == nameOurs {
			name = "the default"
		}
		t.add(name, number(r.get(s.name, "cpu")), times(r.get(s.name, "cpu"), r.get(nameOurs, "cpu")), number(r.get(s.name, "rate")))
	}
	const first, proven = "served at once (ServeEcho off)", "first challenged (echo.Always)"
	r = b.compare("features, strangers", min(b.rounds, 3), []subject{ours(first, serveTask{Echo: echoOff}), ours(proven, serveTask{Echo: echoAlways})},
		b.putFigures(load{Path: "/t", Clients: 20_000, Window: 1, Most: 512, Once: true}))
	u := &table{
		title: "One request of each of 20,000 unknown clients",
		head:  []string{"what", "CPU µs/client", "ratio"},
	}
	for _, name := range []string{first, proven} {
		u.add(name, number(r.get(name, "cpu")), times(r.get(name, "cpu"), r.get(first, "cpu")))
	}
	return &part{tables: []*table{t, u}}, nil
}
