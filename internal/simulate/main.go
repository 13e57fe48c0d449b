package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"
)

// A shard is a process of its own, since package entropy is fixed for a whole process and only one
// goroutine runs at a time. It writes what it has done as lines of JSON.

// progress is such a line: what was done since the one before.
type progress struct {
	Seeds  int
	Made   [numKinds]int
	At     uint64 // the seed that comes next
	Report string // of a seed that has failed
}

var (
	first    = flag.Uint64("first", 1, "the first seed")
	seeds    = flag.Int("seeds", 1000, "how many `seeds` to run")
	only     = flag.Uint64("seed", 0, "run this `seed` only, and print its plan and messages")
	jobs     = flag.Int("jobs", runtime.NumCPU(), "how many processes")
	faulty   = flag.Int("failures", 5, "stop after so many failures")
	patience = flag.Duration("patience", 30*time.Second, "how long to look for the shortest plan that fails")
	shard    = flag.Int("shard", -1, "for processes of its own: which part of the seeds")
)

func main() {
	testing.Init() // a bubble needs a test
	flag.Parse()
	switch {
	case *only > 0:
		inTest(showSeed)
	case *shard >= 0:
		inTest(runShard)
	default:
		os.Exit(runAll())
	}
}

// inTest calls f with a test, which a bubble needs, and ends the process.
func inTest(f func(t *testing.T)) {
	match := func(pat, name string) (bool, error) { return true, nil }
	testing.Main(match, []testing.InternalTest{{Name: "simulate", F: func(t *testing.T) {
		quietly(func() { f(t) })
	}}}, nil, nil)
}

// showSeed runs one seed and prints everything.
func showSeed(t *testing.T) {
	p := newPlan(*only)
	fmt.Print(p)
	out := runPlan(t, p, true, true)
	fmt.Print(out.log.chart(nil))
	fmt.Println(faultsMade(out.made))
	if out.failed == nil {
		fmt.Printf("seed %d passes\n", *only)
		return
	}
	t.Fail()
	fmt.Print(explain(t, p, out.failed, true))
}

// runShard runs the seeds that are not those of another shard.
func runShard(t *testing.T) {
	out := json.NewEncoder(os.Stdout)
	var p progress
	last := time.Now()
	report := func() {
		_ = out.Encode(&p)
		p, last = progress{}, time.Now()
	}
	for seed := *first + uint64(*shard); seed < *first+uint64(*seeds); seed += uint64(*jobs) {
		stuck := time.AfterFunc(10*time.Minute, func() {
			fmt.Fprintf(os.Stderr, "seed %d does not end\n", seed)
			os.Exit(1)
		})
		var result outcome
		result, p.Report = runSeed(t, seed)
		stuck.Stop()
		p.Seeds++
		for k, n := range result.made {
			p.Made[k] += n
		}
		if p.At = seed + uint64(*jobs); p.Report != "" || time.Since(last) > time.Second {
			report()
		}
	}
	report()
}

// runAll starts the shards and adds up what they say. It returns the exit code.
func runAll() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	lines, began := make(chan progress), time.Now()
	var wg sync.WaitGroup
	var children []*exec.Cmd
	for i := range *jobs {
		cmd := exec.Command(self, "-first", fmt.Sprint(*first), "-seeds", fmt.Sprint(*seeds), "-jobs", fmt.Sprint(*jobs), "-patience", fmt.Sprint(*patience), "-shard", fmt.Sprint(i))
		cmd.Stderr = os.Stderr
		pipe, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		children = append(children, cmd)
		wg.Go(func() { follow(cmd, bufio.NewReader(pipe), *first+uint64(i), lines) })
	}
	go func() { wg.Wait(); close(lines) }()
	var all progress
	failures := 0
	last := began
	for p := range lines {
		all.Seeds += p.Seeds
		for k, n := range p.Made {
			all.Made[k] += n
		}
		if p.Report != "" {
			fmt.Println(p.Report)
			if failures++; failures == *faulty {
				for _, c := range children {
					_ = c.Process.Kill()
				}
			}
		}
		if time.Since(last) > 5*time.Second {
			last = time.Now()
			rate := float64(all.Seeds) / time.Since(began).Seconds()
			left := time.Duration(float64(*seeds-all.Seeds) / rate * float64(time.Second))
			fmt.Printf("%d of %d seeds, %.0f per second, %v left, %d failures;%s\n", all.Seeds, *seeds, rate, left.Round(time.Second), failures, faultsMade(all.Made))
		}
	}
	took := time.Since(began)
	fmt.Printf("%d seeds from %d in %v, %.0f per second, %d failures;%s\n", all.Seeds, *first, took.Round(time.Millisecond), float64(all.Seeds)/took.Seconds(), failures, faultsMade(all.Made))
	if failures > 0 {
		return 1
	}
	return 0
}

// follow hands on what a shard says. One that dies has failed at the seed after the last that it has
// spoken of, or soon after that.
func follow(cmd *exec.Cmd, from *bufio.Reader, next uint64, to chan<- progress) {
	for in := json.NewDecoder(from); ; {
		var p progress
		if in.Decode(&p) != nil {
			break
		}
		if p.At > 0 {
			next = p.At
		}
		to <- p
	}
	if err := cmd.Wait(); err != nil {
		to <- progress{Report: fmt.Sprintf("the process for the seeds from %d in steps of %d has died: %v", next, *jobs, err)}
	}
}

// faultsMade lists how many of each fault there were: of those of the network, the datagrams that
// it befell.
func faultsMade(made [numKinds]int) string {
	s := ""
	for k := faultLoss; k < numKinds; k++ {
		s += fmt.Sprintf(" %s %d", kindNames[k], made[k])
	}
	return s
}
