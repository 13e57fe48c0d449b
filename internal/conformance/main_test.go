package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every row of the list has a test or a reason, and the page says so.
func TestConformance(t *testing.T) {
	require.NoError(t, run("../..", true))
}

// module writes a module of one test file, one list and one file of exceptions.
func module(t *testing.T, list, exceptions, tests string) (root string) {
	t.Helper()
	root = t.TempDir()
	for file, text := range map[string]string{
		listFile:       "id\trfc\tsection\tlevel\trole\ttestable\trequirement\n" + list,
		exceptionsFile: "id\treason\n" + exceptions,
		pageFile:       "",
		"x/x_test.go":  "package x\n" + tests,
	} {
		file = filepath.Join(root, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	return root
}

func id(number string) string { return "7252-3-" + number }

func listed(number, level, testable string) string {
	return id(number) + "\t7252\t3\t" + level + "\tcodec\t" + testable + "\tsay it\n"
}

func TestGaps(t *testing.T) {
	must := listed("01", "MUST", "yes")
	proof := "// Proves " + id("01") + ".\nfunc TestX() {}\n"
	for _, test := range []struct {
		name, list, exceptions, tests string
		want                          string // "" if nothing is wrong
	}{
		{"covered", must, "", proof, ""},
		{"excepted", must, id("01") + "\tnot applicable: no such thing\n", "", ""},
		{"nothing to show", listed("01", "MUST", "no"), "", "", ""},
		{"uncovered", must, "", "", "has no test and no exception"},
		{"uncovered SHOULD", listed("01", "SHOULD", "yes"), "", "", "has no test and no exception"},
		{"uncovered rule without a keyword", listed("s01", "indicative", "yes"), "", "", "has no test and no exception"},
		{"uncovered choice of the operator", listed("01", "MUST", "operator"), "", "", "has no test and no exception"},
		{"excepted and covered", must, id("01") + "\tnot applicable: x\n", proof, "but a test as well: x.TestX"},
		{"test of an unknown row", "", "", proof, "x.TestX names"},
		{"exception of an unknown row", "", id("01") + "\tnot applicable: x\n", "", "has " + id("01")},
		{"reason of no kind", must, id("01") + "\ttoo hard\n", "", "does not begin with one of"},
		{"reason without words", must, id("01") + "\tnot applicable: \n", "", "does not begin with one of"},
		{"row twice", must + must, "", proof, "out of order, or there twice"},
		{"rows out of order", listed("10", "MUST", "no") + listed("09", "MUST", "no"), "", "", "out of order"},
		{"unknown level", listed("01", "OUGHT", "no"), "", "", `unknown level "OUGHT"`},
		{"id outside a test", must, "", proof + "// " + id("01") + "\n", "belongs to no test"},
		{"helper that no test uses", must, "", "// " + id("01") + "\nfunc help() {}\n", "no test uses [help]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := run(module(t, test.list, test.exceptions, test.tests), false)
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}

func TestStalePage(t *testing.T) {
	root := module(t, listed("01", "MUST", "no"), "", "")
	require.ErrorContains(t, run(root, true), "is stale")
	require.NoError(t, run(root, false))
	require.NoError(t, run(root, true))
	require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(mutationFile)), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, mutationFile), []byte("9 of 10 mutants died\n"), 0o644))
	require.ErrorContains(t, run(root, true), "is stale")
	require.NoError(t, run(root, false))
	page, err := os.ReadFile(filepath.Join(root, pageFile))
	require.NoError(t, err)
	require.Contains(t, string(page), "\n9 of 10 mutants died\n")
}

// An id belongs to the test around it, or to all tests that reach the table or the helper which names it.
func TestWhoseID(t *testing.T) {
	root := module(t, "", "", `
// Proves `+id("01")+`.
func FuzzA() {}

func TestB() {
	run("`+id("02")+` as a name", nil)
	// Proves `+id("03")+`.
	helper()
}

func helper() { use(table) }

var table = []string{
	"x", // `+id("04")+`
}

func ExampleC() { use(table) }
func Testament() { use(table) }
`)
	tests, err := collect(root)
	require.NoError(t, err)
	require.Equal(t, map[string][]string{
		id("01"): {"x.FuzzA"},
		id("02"): {"x.TestB"},
		id("03"): {"x.TestB"},
		id("04"): {"x.ExampleC", "x.TestB"},
	}, tests)
}

func TestOrder(t *testing.T) {
	numbers := []string{"3-01", "3-02", "3-s01", "3.1-01", "3.2-01", "3.10-01", "10-01", "A.1-01"}
	for i, a := range numbers {
		for j, b := range numbers {
			require.Equal(t, i < j, compareIDs("7252-"+a, "7252-"+b) < 0, "%s and %s", a, b)
		}
	}
}
