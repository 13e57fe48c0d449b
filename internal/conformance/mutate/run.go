package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// runner builds and runs tests. Its methods may be called concurrently.
type runner struct {
	root    string
	tmp     string
	timeout time.Duration // of one run of tests
	build   int           // go's -p
}

// grace is how much longer than its own time-out a test may take until it is killed.
const grace = 15 * time.Second

// compile builds the test of a package into tmp/name.test. With an overlay, it replaces files.
func (r *runner) compile(ctx context.Context, pkg, name, overlay string) (binary string, err error) {
	binary = filepath.Join(r.tmp, name+".test")
	args := []string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-p", strconv.Itoa(r.build), "-o", binary}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+pkg)...)
	cmd.Dir = r.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("does not compile: %w\n%s", err, out)
	}
	return binary, nil
}

// run runs tests of a package. passed is false as well if they have hung.
func (r *runner) run(ctx context.Context, binary, pkg, pattern string) (passed bool, output string, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout+grace)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.short", "-test.failfast", "-test.count=1", "-test.run="+pattern, "-test.timeout="+r.timeout.String())
	cmd.Dir = filepath.Join(r.root, filepath.FromSlash(pkg))
	cmd.WaitDelay = time.Second
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if _, failed := err.(*exec.ExitError); failed || ctx.Err() != nil {
		return false, out.String(), nil
	}
	return err == nil, out.String(), err
}

// tail keeps the end of what is written to it.
type tail struct{ b bytes.Buffer }

const tailSize = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	if t.b.Len() > 2*tailSize {
		t.b.Next(t.b.Len() - tailSize)
	}
	return t.b.Write(p)
}

func (t *tail) String() string { return t.b.String() }

type verdict int

const (
	caught verdict = iota
	hung           // caught, too: the test did not end
	survived
	failed // it does not apply or does not compile, or its test is no proof
)

func (v verdict) String() string { return [...]string{"caught", "hung", "SURVIVED", "FAILED"}[v] }

type outcome struct {
	mutation
	verdict
	took   time.Duration
	detail string
}

// try breaks the code and runs the test.
func (r *runner) try(ctx context.Context, m mutation) outcome {
	start := time.Now()
	o := outcome{mutation: m, verdict: failed}
	passed, out, err := r.test(ctx, m)
	o.took = time.Since(start)
	switch {
	case err != nil:
		o.detail = err.Error()
	case passed:
		o.verdict, o.detail = survived, "./"+m.pkg+" "+m.pattern+" passes nevertheless; breaks "+m.breaks
	case strings.Contains(out, "panic: test timed out") || !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "panic:"):
		o.verdict, o.detail = hung, out
	default:
		o.verdict, o.detail = caught, out
	}
	return o
}

func (r *runner) test(ctx context.Context, m mutation) (passed bool, out string, err error) {
	src, err := m.mutated(r.root)
	if err != nil {
		return false, "", err
	}
	file := filepath.Join(r.tmp, m.name+".go")
	overlay, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(r.root, filepath.FromSlash(m.file)): file},
	})
	if err != nil {
		return false, "", err
	}
	list := filepath.Join(r.tmp, m.name+".json")
	if err = os.WriteFile(file, src, 0o600); err == nil {
		err = os.WriteFile(list, overlay, 0o600)
	}
	if err != nil {
		return false, "", err
	}
	binary, err := r.compile(ctx, m.pkg, m.name, list)
	if err != nil {
		return false, "", err
	}
	defer os.Remove(binary)
	return r.run(ctx, binary, m.pkg, m.anchored())
}

// baseline runs the tests of the mutations on the code as it is. It returns what is wrong with them, by
// package and pattern.
func (r *runner) baseline(ctx context.Context, all []mutation, parallel int) map[string]string {
	byPackage := make(map[string][]mutation)
	seen := make(map[string]bool)
	var packages []string
	for _, m := range all {
		if byPackage[m.pkg] == nil {
			packages = append(packages, m.pkg)
		}
		if !seen[m.testKey()] {
			seen[m.testKey()] = true
			byPackage[m.pkg] = append(byPackage[m.pkg], m)
		}
	}
	var mu sync.Mutex
	wrong := make(map[string]string)
	each(parallel, packages, func(pkg string) {
		start := time.Now()
		binary, err := r.compile(ctx, pkg, "baseline-"+strings.ReplaceAll(pkg, "/", "-"), "")
		for _, m := range byPackage[pkg] {
			reason := ""
			if err != nil {
				reason = err.Error()
			} else {
				reason = r.proof(ctx, binary, m)
			}
			if reason != "" {
				mu.Lock()
				wrong[m.testKey()] = reason
				mu.Unlock()
			}
		}
		fmt.Printf("%-28s %3d tests %5.1fs\n", "./"+pkg, len(byPackage[pkg]), time.Since(start).Seconds())
	})
	return wrong
}

func (m *mutation) testKey() string { return m.pkg + " " + m.pattern }

// proof says why the test of m, without the mutation, proves nothing.
func (r *runner) proof(ctx context.Context, binary string, m mutation) string {
	passed, out, err := r.run(ctx, binary, m.pkg, m.anchored())
	switch {
	case err != nil:
		return err.Error()
	case !passed:
		return "the test fails without the mutation:\n" + out
	case !strings.Contains(out, "--- PASS: "):
		return "no test was run, or all were skipped:\n" + out
	}
	return ""
}

// each calls f for all of work, so many at a time.
func each[T any](parallel int, work []T, f func(T)) {
	next := make(chan T)
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for w := range next {
				f(w)
			}
		})
	}
	for _, w := range work {
		next <- w
	}
	close(next)
	wg.Wait()
}
