//go:build race

package dtls

// raceEnabled tells tests that everything is ten times as slow and that allocations cannot be
// counted.
const raceEnabled = true
