package coaptest

import (
	"testing"
	"testing/synctest"
	"time"
)

// Run runs a test in virtual time: inside of f, and of the goroutines that it starts, package time
// has a clock of its own, which stands still while any of them works and jumps to the next timer when all
// wait. It is testing/synctest.Test, with its rules: what takes part is made inside of f, all
// goroutines have to end, and t.Run cannot be used in f, but Run can be used in t.Run.
// Networks of this package fit in; sockets do not.
func Run(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// Pass lets a time pass in a test that [Run] runs, then waits until everything that is due by then
// has happened and all goroutines wait for something later. Pass(0) does the latter.
func Pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
	synctest.Wait()
}

// settle is Pass(0) with a failure of the test outside of Run.
func settle(t testing.TB) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Helper()
			t.Fatalf("coaptest: this works in virtual time only: put the test into coaptest.Run (%v)", r)
		}
	}()
	synctest.Wait()
}

// Call is a function that runs in the background, so that a script can play the other side
// meanwhile.
type Call[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// Go calls f in a goroutine of its own.
func Go[T any](f func() (T, error)) *Call[T] {
	c := &Call[T]{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.value, c.err = f()
	}()
	return c
}

// Done reports whether the function has returned, once all goroutines of the test wait for
// something. It is for tests that [Run] runs.
func (c *Call[T]) Done() bool {
	synctest.Wait()
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Wait waits until the function returns, and returns what it has returned. In a test that
// [Run] runs, virtual time passes meanwhile.
func (c *Call[T]) Wait() (T, error) {
	<-c.done
	return c.value, c.err
}
