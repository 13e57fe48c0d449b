package main

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// figures are the results of one run of one subject, by name. A name that is missing was not measured.
type figures map[string]float64

// median returns the middle of the values, the mean of the two middle ones of an even number, NaN of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// medians returns the median of each figure over several runs.
func medians(runs []figures) figures {
	all := map[string][]float64{}
	for _, r := range runs {
		for name, v := range r {
			all[name] = append(all[name], v)
		}
	}
	out := figures{}
	for name, v := range all {
		out[name] = median(v)
	}
	return out
}

// get returns a figure, NaN if it was not measured.
func (f figures) get(name string) float64 {
	if v, ok := f[name]; ok {
		return v
	}
	return math.NaN()
}

// histogram counts durations in buckets that are 3 % wide, so that it never allocates.
type histogram struct {
	buckets [64 * perOctave]uint64
	n       uint64
}

const perOctave = 32

func (h *histogram) add(d time.Duration) {
	h.buckets[bucketOf(uint64(max(d, perOctave)))]++
	h.n++
}

func bucketOf(v uint64) int {
	exp := bits.Len64(v) - 1
	return exp*perOctave + int(v>>(exp-5))&(perOctave-1)
}

// quantile returns the lower end of the bucket that has the value below which a share p of all lies.
func (h *histogram) quantile(p float64) time.Duration {
	rank := uint64(p * float64(h.n))
	var seen uint64
	for i, c := range h.buckets {
		if seen += c; seen > rank {
			exp := i / perOctave
			return time.Duration(1<<exp + uint64(i%perOctave)<<(exp-5)) // none is below perOctave, 1<<5
		}
	}
	return 0
}
