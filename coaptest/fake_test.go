package coaptest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// fakeTB is a test that notes what a test says, so that failures can be tested.
type fakeTB struct {
	testing.TB
	mu       sync.Mutex
	log      strings.Builder
	failed   bool
	cleanups []func()
}

// try runs f as a test to its end, cleaned up, and returns what it has logged and whether it has failed.
func try(f func(t testing.TB)) (log string, failed bool) {
	t := new(fakeTB)
	done := make(chan bool)
	go func() {
		defer close(done)
		f(t)
	}()
	<-done
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
	return t.log.String(), t.failed
}

func (t *fakeTB) Helper()                  {}
func (t *fakeTB) Cleanup(f func())         { t.cleanups = append(t.cleanups, f) }
func (t *fakeTB) Context() context.Context { return context.Background() }

func (t *fakeTB) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *fakeTB) Logf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(&t.log, format+"\n", args...)
}

func (t *fakeTB) Errorf(format string, args ...any) {
	t.Logf(format, args...)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = true
}

func (t *fakeTB) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

func (t *fakeTB) Fatal(args ...any) { t.Fatalf("%s", fmt.Sprint(args...)) }
