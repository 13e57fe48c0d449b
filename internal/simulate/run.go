package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
)

// collectEvery is how many seeds there are for one garbage collection.
const collectEvery = 16

// runPlan runs a plan in a bubble of its own. It must not run while another one does.
func runPlan(t *testing.T, p *plan, detail, leaks bool) (out outcome) {
	defer func() {
		if r := recover(); r != nil {
			out.failed = &violation{rule: "panic", what: fmt.Sprintf("%v\n%s", r, debug.Stack())}
		}
	}()
	synctest.Test(t, func(*testing.T) { out = simulate(p, detail, leaks) })
	return out
}

// quietly runs f without garbage collection, which would preempt goroutines at times that no seed
// chooses, and without parallelism.
func quietly(f func()) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	f()
}

// ran is how many seeds this process has run.
var ran int

// runSeed runs a seed, and if it fails says how, in the shortest way.
func runSeed(t *testing.T, seed uint64) (out outcome, report string) {
	leaks := seed%collectEvery == 0
	p := newPlan(seed)
	out = runPlan(t, p, false, leaks)
	if ran++; ran%collectEvery == 0 { // not all processes have seeds with leaks
		runtime.GC()
	}
	if out.failed == nil {
		return out, ""
	}
	return out, explain(t, p, out.failed, leaks)
}

// explain finds the shortest plan that fails in the same way and writes down what happens.
func explain(t *testing.T, p *plan, v *violation, leaks bool) string {
	short := shrink(p, v.rule, 400, *patience, func(q *plan) outcome {
		defer runtime.GC()
		return runPlan(t, q, false, leaks)
	})
	out := runPlan(t, short, true, leaks)
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %s: %s\n", p.seed, v.rule, v.what)
	if out.failed == nil || out.failed.rule != v.rule {
		fmt.Fprintf(&b, "the shortest plan, of %d items, does not fail again\n%s", len(short.items), short)
		return b.String()
	}
	fmt.Fprintf(&b, "the shortest plan, %d items of %d: %s\n%s", len(short.items), len(p.items), out.failed.what, short)
	if out.log != nil {
		fmt.Fprintf(&b, "messages\n%s", out.log.chart(out.failed))
	}
	return b.String()
}
