//go:build !race

package blockwise_test

const rounds = 10

const raceEnabled = false
