//go:build race

package hostile

// raceEnabled tells tests that everything is several times as slow.
const raceEnabled = true
