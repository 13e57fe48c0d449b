package main

import (
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// A clientSubject is a client that is compared with others.
type clientSubject struct {
	name string
	task clientTask
}

// compareClients is compare for clients, each with fresh devices to talk to.
func (b *bench) compareClients(what string, rounds int, subjects []clientSubject) *results {
	var all []subject
	tasks := map[string]clientTask{}
	for _, s := range subjects {
		tasks[s.name] = s.task
		devices := serveTask{Who: "devices"}
		if s.task.Do == "flight" {
			devices.Hold = s.task.Devices
		}
		all = append(all, subject{s.name, func(b *bench) (*process, error) {
			return b.listening(startSelf(b.ctx, b.loadCore, "serve", devices))
		}})
	}
	return b.compare(what, rounds, all, func(s subject, p *process) (figures, error) {
		task := tasks[s.name]
		task.To, task.Time = p.addr, b.time()
		return b.runClient(task)
	})
}

// runClient runs a client on the core of the servers.
func (b *bench) runClient(task clientTask) (figures, error) {
	var out clientOutcome
	if err := runSelf(b.ctx, b.serverCore, "client", task, &out); err != nil {
		return nil, err
	}
	if out.Error != "" {
		return nil, fmt.Errorf("client: %s", out.Error)
	}
	f := figures{}
	if len(out.Transfers) > 0 {
		f["ms"] = slices.Min(out.Transfers) * 1e3
		f["cpu"] = out.CPU.Seconds() * 1e3
		return f, nil
	}
	n := float64(out.Requests)
	f["rate"], f["allocs"] = n/out.Seconds, float64(out.Mallocs)/n
	if out.CPU > 0 {
		f["cpu"] = us(out.CPU) / n
	}
	f["goroutines"], f["heap"] = float64(out.Goroutines), out.Heap
	return f, nil
}

// asClient measures clients that ask devices which answer at once.
func (b *bench) asClient() (*part, error) {
	manyDevices, flight := 1000, 100_000
	if b.quick {
		flight = 10_000
	}
	const one, many = ", one goroutine", ", 1,000 goroutines"
	subjects := []clientSubject{
		{nameOurs + one, clientTask{Who: "ours", Do: "get", Goroutines: 1, Devices: 64}},
		{nameGoCoAP + one, clientTask{Who: "gocoap", Do: "get", Goroutines: 1, Devices: 64}},
		{nameOurs + many, clientTask{Who: "ours", Do: "get", Goroutines: 1000, Devices: manyDevices}},
		{nameGoCoAP + many, clientTask{Who: "gocoap", Do: "get", Goroutines: 1000, Devices: 100}},
	}
	r := b.compareClients("client", b.rounds, subjects)
	t := &table{
		title: "Requests of a client",
		about: "To devices that answer at once: 64 with one goroutine, 1,000 with as many, where go-coap has 100 connections with 10 requests " +
			"each. The limit sends a request and sleeps until the answer is there, again and again.",
		head: []string{"client", "CPU µs/request", "to coapkit", "requests/s", "allocations/request"},
	}
	ping, why := b.pings(20, 20_000)
	if why != "" {
		t.add("c-ping, one at a time", why)
	} else {
		t.add("c-ping, one at a time", number(ping.get("cpu")), times(ping.get("cpu"), r.get(nameOurs+one, "cpu")), number(ping.get("rate")))
	}
	for i, s := range subjects {
		mine := r.get(subjects[i/2*2].name, "cpu")
		if err := r.failed[s.name]; err != nil && r.of[s.name] == nil {
			t.add(s.name, "failed: "+short(err))
			continue
		}
		t.add(s.name, number(r.get(s.name, "cpu")), times(r.get(s.name, "cpu"), mine), number(r.get(s.name, "rate")), number(r.get(s.name, "allocs")))
	}
	out := &part{tables: []*table{t}}
	if len(b.cores) > 0 { // devices have addresses of their own on Linux only
		out.tables = append(out.tables, b.inFlight(flight))
	}
	return out, nil
}

// inFlight has many requests under way at once.
func (b *bench) inFlight(n int) *table {
	r := b.compareClients("client, in flight", 1, []clientSubject{{nameOurs, clientTask{Who: "ours", Do: "flight", Devices: n}}})
	t := &table{
		title: trim(float64(n)) + " requests on the way at once",
		about: "One goroutine opens a request to each of as many devices, which answer when all of them have been asked.",
		head:  []string{"client", "goroutines", "heap bytes/request", "CPU µs/request"},
	}
	if err := r.failed[nameOurs]; err != nil {
		t.add(nameOurs, "failed: "+short(err))
		return t
	}
	t.add(nameOurs, number(r.get(nameOurs, "goroutines")), number(r.get(nameOurs, "heap")/float64(n)), number(r.get(nameOurs, "cpu")))
	return t
}

// pings measures round trips of C to C with answers of some bytes: their rate, CPU time and the milliseconds of
// all. It says why, if it cannot.
func (b *bench) pings(length, count int) (f figures, why string) {
	if b.limit != nil {
		return nil, "not measured: " + b.limit.Error()
	}
	if b.quick {
		count = min(count, 2000)
	}
	r := b.compare(fmt.Sprintf("limit of round trips, %d bytes", length), b.rounds, b.limits(length, "one"), func(_ subject, p *process) (figures, error) {
		return b.ping(p, count, b.loadCore)
	})
	if err := r.failed[nameOne]; err != nil {
		return nil, "failed: " + short(err)
	}
	return r.of[nameOne], ""
}

func (b *bench) ping(p *process, count int, cores []int) (figures, error) {
	var out []byte
	err := onCores(cores, func() (err error) {
		out, err = exec.CommandContext(b.ctx, filepath.Join(b.dir, "ping"), strconv.Itoa(int(p.addr.Port())), strconv.Itoa(count)).Output()
		return err
	})
	if err != nil {
		return nil, err
	}
	seconds, cpu := math.NaN(), math.NaN()
	if _, err := fmt.Sscan(string(out), &seconds, &cpu); err != nil {
		return nil, err
	}
	n := float64(count)
	return figures{"rate": n / seconds, "cpu": cpu / n * 1e6, "ms": seconds * 1e3}, nil
}
