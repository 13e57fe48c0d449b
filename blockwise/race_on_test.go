//go:build race

package blockwise_test

// The race detector makes everything some ten times slower; races do not need as many rounds as
// rare coincidences do.
const rounds = 1

const raceEnabled = true
