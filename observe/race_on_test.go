//go:build race

package observe

// raceEnabled tells tests that everything is ten times as slow and that allocations cannot be
// counted.
const raceEnabled = true
