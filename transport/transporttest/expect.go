package transporttest

import (
	"errors"
	"fmt"
	"testing"
)

// The expectations of the suite, so that who tests a transport with it needs no other module. What
// is what the value means in words, as for fmt.Sprintf.

func expect(t *testing.T, ok bool, what string, args ...any) {
	t.Helper()
	if !ok {
		t.Fatalf(what, args...)
	}
}

func expectEqual[T comparable](t *testing.T, want, got T, what string, args ...any) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", fmt.Sprintf(what, args...), got, want)
	}
}

func expectNoError(t *testing.T, err error, what string, args ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(what, args...), err)
	}
}

func expectErrorIs(t *testing.T, err, target error, what string, args ...any) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%s: got error %v, want one that matches %q", fmt.Sprintf(what, args...), err, target)
	}
}
