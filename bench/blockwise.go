package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// blockwise measures how long 1 MiB takes in blocks of 1024 bytes.
func (b *bench) blockwise() (*part, error) {
	const limit, oneByOne, window = "c-ping", nameOurs + ", one block at a time", nameOurs + ", 16 blocks at a time"
	const goToGo, libToLib, libToOurs = nameGoCoAP, nameLibcoap + " (starts a process)", nameLibcoap + " client, " + nameOurs + " server"
	n := 9
	if b.quick {
		n = 2
	}
	type way struct {
		subject
		run func(p *process) (figures, error)
	}
	client := func(who string, window int) func(p *process) (figures, error) {
		return func(p *process) (figures, error) {
			return b.transfer(p, clientTask{Who: who, Do: "blocks", To: p.addr, Times: n, Window: window})
		}
	}
	onLoadCore := func(s subject) subject { // the client has the other core
		return subject{s.name, func(b *bench) (*process, error) {
			swapped := *b
			swapped.serverCore = b.loadCore
			return s.start(&swapped)
		}}
	}
	var ways []way
	for _, s := range b.limits(1024, "one") {
		ways = append(ways, way{onLoadCore(subject{limit, s.start}), func(p *process) (figures, error) {
			return b.pingTransfers(p, n)
		}})
	}
	ways = append(ways, []way{
		{onLoadCore(ours(oneByOne, serveTask{})), client("ours", 0)},
		{onLoadCore(ours(window, serveTask{})), client("ours", 16)},
		{onLoadCore(subject{goToGo, goCoAP().start}), client("gocoap", 0)},
	}...)
	for _, s := range b.libcoap("/big", string(longBody)) {
		ways = append(ways,
			way{onLoadCore(subject{libToLib, s.start}), b.getByLibcoap},
			way{onLoadCore(ours(libToOurs, serveTask{})), b.getByLibcoap})
	}
	var subjects []subject
	run := map[string]func(*process) (figures, error){}
	for _, w := range ways {
		subjects = append(subjects, w.subject)
		run[w.name] = w.run
	}
	r := b.compare("blockwise", b.rounds, subjects, func(s subject, p *process) (figures, error) { return run[s.name](p) })
	t := &table{
		title: "GET of 1 MiB in blocks of 1024 bytes",
		about: "The limit is 1,024 round trips of C to C with 1 KiB each, one after the other, asleep in between. Each figure is " +
			"the median of the rounds, in which the fastest of some transfers counts.",
		head: []string{"client and server", "ms", "to the limit", "to coapkit", "CPU ms client", "CPU ms server", "mark"},
	}
	chart := &plot{file: "blockwise.svg", title: "GET of 1 MiB in blocks of 1024 bytes", yLabel: "milliseconds"}
	marks := map[string]mark{oneByOne: atMost(1.4, "x"), window: atMost(0.5, "x")}
	ping := r.get(limit, "ms")
	for _, s := range subjects {
		ms, judged := r.get(s.name, "ms"), ""
		if m, ok := marks[s.name]; ok {
			judged = m.judge(ms / ping)
		}
		chart.bars = append(chart.bars, bar{s.name, ms})
		if err := r.failed[s.name]; err != nil && r.of[s.name] == nil {
			t.add(s.name, "failed: "+short(err), "", "", "", "", judged)
			continue
		}
		t.add(s.name, number(ms), times(ms, ping), times(ms, r.get(oneByOne, "ms")), number(r.get(s.name, "cpu")), number(r.get(s.name, "server")), judged)
	}
	return &part{tables: []*table{t}, plots: []*plot{chart}}, nil
}

// transfer runs a client of this program.
func (b *bench) transfer(p *process, task clientTask) (figures, error) {
	before := cpuTime(p.pid())
	f, err := b.runClient(task)
	if err != nil {
		return nil, err
	}
	f["server"] = (cpuTime(p.pid()) - before).Seconds() * 1e3 / float64(task.Times)
	return f, nil
}

// getByLibcoap runs the client of libcoap, which is a process for each transfer.
func (b *bench) getByLibcoap(p *process) (figures, error) {
	best := figures{}
	for range 3 {
		f, err := b.getOnceByLibcoap(p)
		if err != nil {
			return nil, err
		}
		if best["ms"] == 0 || f["ms"] < best["ms"] {
			best = f
		}
	}
	return best, nil
}

func (b *bench) getOnceByLibcoap(p *process) (figures, error) {
	file := filepath.Join(b.dir, "got")
	cmd := exec.CommandContext(b.ctx, firstProgram("coap-client-notls", "coap-client"), "-b", "1024", "-o", file, "coap://"+p.addr.String()+"/big")
	before, from := cpuTime(p.pid()), time.Now()
	if err := onCores(b.serverCore, cmd.Run); err != nil {
		return nil, err
	}
	f := figures{
		"ms":     time.Since(from).Seconds() * 1e3,
		"cpu":    (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() * 1e3,
		"server": (cpuTime(p.pid()) - before).Seconds() * 1e3,
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != string(longBody) {
		return nil, fmt.Errorf("libcoap got %d bytes that are not those of the server", len(got))
	}
	return f, nil
}

// pingTransfers makes as many round trips of C to C as a transfer has blocks.
func (b *bench) pingTransfers(p *process, times int) (figures, error) {
	best := figures{}
	before := cpuTime(p.pid())
	for range times {
		f, err := b.ping(p, 1024, b.serverCore)
		if err != nil {
			return nil, err
		}
		if best["ms"] == 0 || f["ms"] < best["ms"] {
			best = figures{"ms": f["ms"], "cpu": f["cpu"] * 1.024}
		}
	}
	best["server"] = (cpuTime(p.pid()) - before).Seconds() * 1e3 / float64(times)
	return best, nil
}
