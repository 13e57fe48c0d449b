package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whoever changes a line that a mutation breaks finds out here.
func TestAllApply(t *testing.T) {
	all, err := parse(mutationsText)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), 130)
	root, err := findRoot()
	require.NoError(t, err)
	require.NoError(t, checkAll(all, root))
}

// The ids are those of the requirements that the project is tested against.
func TestIDs(t *testing.T) {
	text, err := os.ReadFile("../requirements.tsv")
	require.NoError(t, err)
	known := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		id, _, _ := strings.Cut(line, "\t")
		known[id] = true
	}
	all, err := parse(mutationsText)
	require.NoError(t, err)
	for _, m := range all {
		if strings.HasPrefix(m.breaks, "(") {
			continue
		}
		for id := range strings.SplitSeq(m.breaks, ", ") {
			require.True(t, known[id], "%s: there is no requirement %s", m.name, id)
		}
	}
}

const block = `name: a-name
file: a/b.go
test: a TestB|TestC/d
breaks: 7252-4.2-s01, 7959-2.2-02
- old
- 	line
+ new
`

func TestParse(t *testing.T) {
	all, err := parse("# comment\n\n" + block + "\n\n# comment\n" + strings.Replace(block, "a-name", "other", 1))
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, mutation{
		line: 3, name: "a-name", file: "a/b.go", pkg: "a", pattern: "TestB|TestC/d",
		breaks: "7252-4.2-s01, 7959-2.2-02", old: "old\n\tline", new: "new",
	}, all[0])
	require.Equal(t, "^(TestB|TestC)$/^(d)$", (&mutation{pattern: "TestB|TestC/d"}).anchored())
	require.Equal(t, "a", all[0].broken())
}

func TestParseErrors(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(block, old, new, 1) }
	for name, test := range map[string]struct{ text, want string }{
		"twice":                {block + "\n" + block, "twice"},
		"name":                 {replace("a-name", "A name"), "want a name"},
		"no file":              {replace("file: a/b.go\n", ""), "want the file"},
		"a test":               {replace("b.go", "b_test.go"), "want the file"},
		"no pattern":           {replace(" TestB|TestC/d", ""), "want a package"},
		"no id":                {replace("7959-2.2-02", "RFC 7959"), "want what it breaks"},
		"no old text":          {replace("- old\n- 	line\n", ""), "want an old text"},
		"no change":            {replace("+ new", "+ old\n+ 	line"), "want an old text"},
		"old after new":        {block + "- more", "cannot read"},
		"something unheard of": {block + "why: so", "cannot read"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(test.text)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestApplies(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	write("a/b.go", "package a\n\nconst once = 1\nconst twice = 2\nvar v = twice\n")
	write("a/b_test.go", "package a\n\nfunc TestB(t *testing.T) {}\n")
	for name, test := range map[string]struct{ old, new, pattern, want string }{
		"applies":      {"once = 1", "once = 2", "TestB/sub", ""},
		"twice":        {"twice", "other", "TestB", "occurs 2 times"},
		"never":        {"never", "other", "TestB", "occurs 0 times"},
		"no Go":        {"once = 1", "once = =", "TestB", "no Go"},
		"no such test": {"once = 1", "once = 2", "Test", "no test"},
	} {
		t.Run(name, func(t *testing.T) {
			m := mutation{file: "a/b.go", pkg: "a", pattern: test.pattern, old: test.old, new: test.new}
			tests, err := testsOf(root, "a")
			require.NoError(t, err)
			err = m.applies(root, tests)
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	outcomes := func(caughtOnes, survivors, failures int) (all []outcome) {
		for v, n := range map[verdict]int{caught: caughtOnes - 1, hung: 1, survived: survivors, failed: failures} {
			for range n {
				all = append(all, outcome{verdict: v})
			}
		}
		return all
	}
	share, err := report(outcomes(95, 5, 0))
	require.NoError(t, err)
	require.Equal(t, "95 of 100 mutations caught (95.0%)", share)
	_, err = report(outcomes(94, 6, 0))
	require.ErrorContains(t, err, "want 95%")
	_, err = report(outcomes(199, 0, 1))
	require.ErrorContains(t, err, "could not be tried")
}
