package main

import (
	"slices"
	"testing"
	"time"
)

// Hundreds of plans, each with some ten actors and twenty faults, keep what doc.go promises.
func TestSeeds(t *testing.T) {
	total := 400
	switch {
	case raceEnabled:
		total, *patience = 20, 5*time.Second
	case testing.Short():
		total, *patience = 100, 5*time.Second
	}
	quietly(func() {
		var made [numKinds]int
		began := time.Now()
		for seed := range uint64(total) {
			out, report := runSeed(t, seed+1)
			for k, n := range out.made {
				made[k] += n
			}
			if report != "" {
				t.Fatal(report)
			}
		}
		t.Logf("%d seeds, %.0f per second;%s", total, float64(total)/time.Since(began).Seconds(), faultsMade(made))
		for k := faultLoss; k < numKinds; k++ {
			if made[k] == 0 {
				t.Errorf("there was no %s", kindNames[k])
			}
		}
	})
}

// Of a plan that fails by two items out of many, those two are left.
func TestShrink(t *testing.T) {
	p := newPlan(1)
	has := func(q *plan, id int) bool {
		return slices.ContainsFunc(q.items, func(x item) bool { return x.id == id })
	}
	run := func(q *plan) (out outcome) {
		if has(q, 7) && has(q, 23) {
			out.failed = &violation{rule: "twice"}
		} else {
			out.failed = &violation{rule: "another"}
		}
		return out
	}
	short := shrink(p, "twice", 1000, time.Minute, run)
	if len(short.items) != 2 || !has(short, 7) || !has(short, 23) {
		t.Errorf("not the shortest plan:\n%s", short)
	}
	if long := shrink(p, "twice", 3, time.Minute, run); len(long.items) < 10 || !has(long, 7) || !has(long, 23) {
		t.Errorf("not the shortest plan after 3 runs:\n%s", long)
	}
}

// The same seed gives the same datagrams at the same times with the same fates, but for the rare case that
// the scheduler takes a goroutine from the processor while another one is ready at the same instant.
func TestDeterminism(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes the scheduler choose at random")
	}
	total, most := uint64(100), 3
	if testing.Short() {
		total, most = 20, 1
	}
	quietly(func() {
		seen := make(map[uint64]uint64)
		differing := 0
		for seed := uint64(1); seed <= total; seed++ {
			a, b := runPlan(t, newPlan(seed), false, false), runPlan(t, newPlan(seed), false, false)
			if a.hash != b.hash {
				differing++
				t.Logf("seed %d: two runs differ, from here on\n%s", seed, difference(a.log, b.log))
			}
			if other, ok := seen[a.hash]; ok {
				t.Errorf("seeds %d and %d are the same", other, seed)
			}
			seen[a.hash] = seed
		}
		if differing > most {
			t.Errorf("%d of %d seeds cannot be repeated", differing, total)
		}
	})
}

// difference returns the first lines about datagrams in which two runs differ.
func difference(a, b *log) string {
	x, y := a.datagrams(), b.datagrams()
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] + "\n" + y[i]
		}
	}
	return "one goes on"
}
