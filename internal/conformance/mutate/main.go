package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// wanted is the least share of caught mutations, in percent.
const wanted = 95

const resultFile = "internal/conformance/mutate/result.txt"

type options struct {
	names              *regexp.Regexp
	list, apply, write bool
	verbose            bool
	parallel           int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o options
	r := &runner{}
	names := flag.String("run", "", "only mutations whose `name` matches")
	flag.BoolVar(&o.list, "list", false, "list the mutations")
	flag.BoolVar(&o.apply, "apply", false, "only check that all apply")
	flag.BoolVar(&o.write, "write", false, "write the share to "+resultFile)
	flag.BoolVar(&o.verbose, "v", false, "show what the tests say")
	flag.IntVar(&o.parallel, "n", runtime.NumCPU(), "mutations at a `time`")
	flag.IntVar(&r.build, "p", 1, "programs that each build runs at a `time`")
	flag.DurationVar(&r.timeout, "timeout", time.Minute, "of each test; one that hangs has caught the mutation")
	flag.Parse()
	err := error(nil)
	if o.names, err = regexp.Compile(*names); err == nil && o.write && *names != "" {
		err = fmt.Errorf("-write wants all mutations, without -run")
	}
	if err == nil {
		err = run(ctx, o, r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, r *runner) error {
	all, err := parse(mutationsText)
	if err != nil {
		return fmt.Errorf("mutations.txt: %w", err)
	}
	all = slices.DeleteFunc(all, func(m mutation) bool { return !o.names.MatchString(m.name) })
	if len(all) == 0 {
		return fmt.Errorf("no mutation has such a name")
	}
	if o.list {
		for _, m := range all {
			fmt.Printf("%-34s %-36s %s %s: %s\n", m.name, m.file, m.pkg, m.pattern, m.breaks)
		}
		return nil
	}
	if r.root, err = findRoot(); err != nil {
		return err
	}
	if err := checkAll(all, r.root); err != nil || o.apply {
		return err
	}
	if r.tmp, err = os.MkdirTemp("", "mutate"); err != nil {
		return err
	}
	defer os.RemoveAll(r.tmp)
	return prove(ctx, o, r, all)
}

// checkAll says which mutations do not apply.
func checkAll(all []mutation, root string) error {
	var wrong []string
	tests := make(map[string][]string) // by package
	for _, m := range all {
		if tests[m.pkg] == nil {
			names, err := testsOf(root, m.pkg)
			if err != nil {
				return err
			}
			tests[m.pkg] = names
		}
		if err := m.applies(root, tests[m.pkg]); err != nil {
			wrong = append(wrong, fmt.Sprintf("mutations.txt:%d: %s: %v", m.line, m.name, err))
		}
	}
	if wrong != nil {
		return fmt.Errorf("%d of %d mutations do not apply:\n%s", len(wrong), len(all), strings.Join(wrong, "\n"))
	}
	return nil
}

// prove runs the mutations, reports, and writes the result if that is asked for.
func prove(ctx context.Context, o options, r *runner, all []mutation) error {
	start := time.Now()
	fmt.Printf("%d mutations; first their tests without them\n", len(all))
	unproven := r.baseline(ctx, all, o.parallel)
	fmt.Printf("%d tests do not prove anything, %.0fs\n", len(unproven), time.Since(start).Seconds())
	outcomes := make([]outcome, 0, len(all))
	var mu sync.Mutex
	each(o.parallel, all, func(m mutation) {
		if ctx.Err() != nil {
			return
		}
		done := outcome{mutation: m, verdict: failed, detail: unproven[m.testKey()]}
		if done.detail == "" {
			done = r.try(ctx, m)
		}
		mu.Lock()
		defer mu.Unlock()
		outcomes = append(outcomes, done)
		fmt.Printf("[%3d/%d] %-8s %-36s %5.1fs\n", len(outcomes), len(all), done.verdict, m.name, done.took.Seconds())
		if done.detail != "" && (o.verbose || done.verdict > hung) {
			fmt.Println(indent(done.detail))
		}
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	share, err := report(outcomes)
	fmt.Printf("%s, %.0fs\n", share, time.Since(start).Seconds())
	if err == nil && o.write {
		return os.WriteFile(filepath.Join(r.root, filepath.FromSlash(resultFile)), []byte(share+"\n"), 0o644)
	}
	return err
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ")
}

// report prints what is caught of each package, and returns the share of all.
func report(outcomes []outcome) (share string, err error) {
	type count struct{ caught, all int }
	packages := make(map[string]count)
	total := count{all: len(outcomes)}
	failures := 0
	for _, o := range outcomes {
		c := packages[o.broken()]
		c.all++
		switch o.verdict {
		case caught, hung:
			c.caught++
			total.caught++
		case failed:
			failures++
		}
		packages[o.broken()] = c
	}
	var names []string
	for name := range packages {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c := packages[name]
		fmt.Printf("%-20s %3d of %3d\n", name, c.caught, c.all)
	}
	percent := 100 * float64(total.caught) / float64(total.all)
	share = fmt.Sprintf("%d of %d mutations caught (%.1f%%)", total.caught, total.all, percent)
	switch {
	case failures > 0:
		err = fmt.Errorf("%d mutations could not be tried", failures)
	case percent < wanted:
		err = fmt.Errorf("want %d%% caught", wanted)
	}
	return share, err
}
