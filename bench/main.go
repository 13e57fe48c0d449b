// Bench measures this library, side by side with go-coap, libcoap where it is installed, and the limit of the
// machine: programs in C that answer without looking, where there is a C compiler.
//
//	go run ./bench                          # everything, some ten minutes; prints tables
//	go run ./bench -quick                   # the same in a minute or two, for a first look
//	go run ./bench -only server,codec
//	go run ./bench -write                   # puts the results into docs/performance.md
//	go run ./bench -only dtls -write        # only these; what else stands there stays
//
// Each server is a process of its own, this program started again in another role, fresh for each run and on
// a core of its own. Runs of those who are compared take turns, and each figure is the median of its rounds. The CPU
// time of the server for each request is what to look at: requests per second are at the mercy of the neighbours,
// and latency under full load says how long the queue is, not how fast the server. docs/performance.md says how
// to read the results.
//
// Servers want Linux; elsewhere codec and client are measured.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// settings are the flags.
type settings struct {
	only    string
	rounds  int
	seconds float64
	clients string
	page    string
	write   bool
	quick   bool
	list    bool
}

// bench is one run of the program.
type bench struct {
	settings
	ctx        context.Context
	began      time.Time
	dir        string // the compiled limit
	limit      error  // why there is none
	serverCore []int
	loadCore   []int
	cores      []int
	most       int // requests on the way at a time
	failed     []string
}

// section is one part of the results.
type section struct {
	name  string
	about string
	linux bool // needs it
	run   func(*bench) (*part, error)
}

// part is what a section has found out.
type part struct {
	tables []*table
	plots  []*plot
	text   string
}

var sections = []section{
	{"codec", "decode and encode four messages, in nanoseconds", false, (*bench).codec},
	{"server", "CPU time, throughput and latency of servers under load", true, (*bench).server},
	{"handlers", "handlers that wait, several sockets", true, (*bench).handlers},
	{"allocs", "allocations of a server and a client for each request", true, (*bench).allocs},
	{"client", "requests of a client, one after the other, many at a time, a hundred thousand at once", false, (*bench).asClient},
	{"memory", "memory for each client and each observer", true, (*bench).memory},
	{"fanout", "notifications to many observers", true, (*bench).fanout},
	{"blockwise", "1 MiB in blocks", true, (*bench).blockwise},
	{"features", "what tracing, duplicates and proofs of addresses cost", true, (*bench).features},
	{"dtls", "secure sessions: handshakes, requests, memory, handshakes that stay unfinished", true, (*bench).dtls},
}

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is main. This program starts itself again in the role of a server, a load or a client.
func run(args []string) error {
	if len(args) == 2 {
		switch args[0] {
		case "serve":
			return serve(args[1])
		case "client":
			return beClient(args[1])
		case "load":
			return beLoad(args[1])
		}
	}
	b, err := parse(args)
	if err != nil {
		return err
	}
	if b.list {
		for _, s := range sections {
			fmt.Printf("%-10s %s\n", s.name, s.about)
		}
		return nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b.ctx = ctx
	if b.dir, err = os.MkdirTemp("", "coap-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.prepare()
	return b.measure()
}

func parse(args []string) (*bench, error) {
	b := &bench{began: time.Now()}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&b.only, "only", "", "comma-separated `sections`; see -list")
	f.IntVar(&b.rounds, "rounds", 5, "how many `rounds`, of which the median is taken")
	f.Float64Var(&b.seconds, "secs", 1, "`seconds` that each load takes")
	f.StringVar(&b.clients, "clients", "1x1,1x64,64x16,1000x1,10000x1,100000x1", "`loads` of the section server: clients x requests of each on the way")
	f.StringVar(&b.page, "o", "docs/performance.md", "`page` to put the results into, with -write")
	f.BoolVar(&b.write, "write", false, "put the results into the page, and the plots beside it")
	f.BoolVar(&b.quick, "quick", false, "one short round of everything, smaller where it takes long")
	f.BoolVar(&b.list, "list", false, "list the sections")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q; -only chooses sections", f.Arg(0))
	}
	if b.quick {
		given := map[string]bool{}
		f.Visit(func(f *flag.Flag) { given[f.Name] = true })
		for name, v := range map[string]string{"rounds": "1", "secs": "0.3", "clients": "1x1,64x16,1000x1"} {
			if !given[name] {
				_ = f.Set(name, v)
			}
		}
	}
	if b.rounds < 1 || b.seconds <= 0 {
		return nil, errors.New("-rounds and -secs have to be more than 0")
	}
	for name := range strings.SplitSeq(b.only, ",") {
		known := name == ""
		for _, s := range sections {
			known = known || s.name == name
		}
		if !known {
			return nil, fmt.Errorf("there is no section %q; -list shows all", name)
		}
	}
	_, err := parseLoads(b.clients)
	return b, err
}

// loadSize is how many clients have how many requests on the way each.
type loadSize struct{ clients, window int }

func (l loadSize) String() string { return fmt.Sprintf("%d x %d", l.clients, l.window) }

func parseLoads(list string) ([]loadSize, error) {
	var all []loadSize
	for s := range strings.SplitSeq(list, ",") {
		c, w, _ := strings.Cut(s, "x")
		clients, err1 := strconv.Atoi(c)
		window, err2 := strconv.Atoi(w)
		if err1 != nil || err2 != nil || clients < 1 || window < 1 || clients > 1<<20 || window > 1<<12 {
			return nil, fmt.Errorf("%q is no load: write clients x window, such as 64x16", s)
		}
		all = append(all, loadSize{clients, window})
	}
	return all, nil
}

// prepare finds out what this machine allows.
func (b *bench) prepare() {
	if b.limit = compileLimit(b.dir); b.limit != nil {
		b.say("the limit is missing: %v", b.limit)
	}
	if b.cores = usableCores(); len(b.cores) > 1 {
		b.serverCore, b.loadCore = b.cores[:1], b.cores[len(b.cores)-1:]
	} else if runtime.GOOS == "linux" {
		b.say("there is one core only, which servers and load share: the figures are worth little")
	}
	// A datagram on loopback takes some 800 bytes of the receive buffer.
	b.most = min(10_000, max(probeBuffer()/1024, 100))
	if b.most < 10_000 && runtime.GOOS == "linux" {
		b.say("the receive buffer allows %d requests on the way only: raise net.core.rmem_max, or run it as root", b.most)
	}
}

// say shows progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%4.0f s] %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// time returns how long each load takes.
func (b *bench) time() time.Duration { return time.Duration(b.seconds * float64(time.Second)) }

// measure runs the sections and shows what they have found.
func (b *bench) measure() error {
	if err := b.findPlaces(); err != nil {
		return err
	}
	machine := b.describe()
	fmt.Printf("%s %s\n\n", machine, caution)
	done := map[string]string{}
	if b.only == "" {
		done["machine"] = machine + " " + caution
	}
	var plots []*plot
	for _, s := range sections {
		if !b.chosen(s.name) {
			continue
		}
		if s.linux && runtime.GOOS != "linux" {
			b.say("%s: not measured, it wants Linux", s.name)
			continue
		}
		p, err := s.run(b)
		if b.ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		text := p.markdown(b.pictures())
		fmt.Print(text)
		if b.only != "" {
			text = "In a run of its own. " + machine + "\n\n" + text // the page says for the others what they were measured on
		}
		done[s.name] = text
		plots = append(plots, p.plots...)
	}
	if b.write {
		if err := b.publish(done, plots); err != nil {
			return err
		}
	}
	if len(b.failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(b.failed, "; "))
	}
	return nil
}

func (b *bench) chosen(section string) bool {
	return b.only == "" || strings.Contains(","+b.only+",", ","+section+",")
}

// findPlaces reports whether the page has a place for what is to be put into it, before it takes minutes to find out.
func (b *bench) findPlaces() error {
	if !b.write {
		return nil
	}
	page, err := b.read()
	for _, s := range sections {
		if err == nil && b.chosen(s.name) {
			_, err = insert(page, s.name, "")
		}
	}
	return err
}

func (b *bench) read() (string, error) {
	page, err := os.ReadFile(b.page)
	if err != nil {
		return "", fmt.Errorf("run it from the root of the repository, or name a page with -o: %w", err)
	}
	return string(page), nil
}

// pictures returns the folder for plots, as the page refers to it.
func (b *bench) pictures() string {
	return strings.TrimSuffix(filepath.Base(b.page), filepath.Ext(b.page))
}

func (p *part) markdown(pictures string) string {
	var w strings.Builder
	if p.text != "" {
		fmt.Fprintf(&w, "%s\n\n", p.text)
	}
	for _, c := range p.plots {
		fmt.Fprintf(&w, "![%s](%s/%s)\n\n", c.title, pictures, c.file)
	}
	for _, t := range p.tables {
		t.write(&w)
	}
	return w.String()
}

// publish puts the results into the page.
func (b *bench) publish(done map[string]string, plots []*plot) error {
	text, err := b.read()
	if err != nil {
		return err
	}
	for name, body := range done {
		if text, err = insert(text, name, body); err != nil {
			return err
		}
	}
	dir := filepath.Join(filepath.Dir(b.page), b.pictures())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range plots {
		if err := os.WriteFile(filepath.Join(dir, p.file), []byte(p.svg()), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(b.page, []byte(text), 0o644)
}

// beLoad is the process of the load generator.
func beLoad(arg string) error {
	var l load
	if err := json.Unmarshal([]byte(arg), &l); err != nil {
		return err
	}
	do := generate
	if l.Secure != nil {
		do = generateSecure
	}
	out, err := do(l)
	if err != nil {
		out.Error = err.Error()
	}
	reply(out)
	return nil
}
