//go:build race

package coap_test

// raceEnabled tells tests that everything is ten times as slow and that allocations cannot be
// counted.
const raceEnabled = true
