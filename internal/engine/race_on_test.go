//go:build race

package engine

// raceEnabled tells tests that allocations cannot be counted, and that steps cost ten times
// as much.
const raceEnabled = true
