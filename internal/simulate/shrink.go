package main

import (
	"slices"
	"time"
)

// shrink leaves out of a plan what is not needed for it to fail by the same rule: halves, quarters and so
// on down to single items. It stops after so many runs or when time is up.
func shrink(p *plan, rule string, runs int, patience time.Duration, run func(*plan) outcome) *plan {
	until := time.Now().Add(patience)
	best := *p
	fails := func(items []item) bool {
		runs--
		q := best
		q.items = items
		out := run(&q)
		return out.failed != nil && out.failed.rule == rule
	}
	for size := len(best.items) / 2; size > 0; size /= 2 {
		for i := 0; i < len(best.items); {
			if runs <= 0 || time.Now().After(until) {
				return &best
			}
			less := slices.Delete(slices.Clone(best.items), i, min(i+size, len(best.items)))
			if fails(less) {
				best.items = less
			} else {
				i += size
			}
		}
	}
	return &best
}
