package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A row is a requirement with what is known of it.
type row struct {
	requirement
	tests  []string
	reason string // why there are none
}

// join returns the rows of the list, and what is wrong with them.
func join(list []requirement, exceptions map[string]string, tests map[string][]string) ([]row, []error) {
	var table []row
	var errs []error
	known := map[string]bool{}
	for _, r := range list {
		known[r.id] = true
		table = append(table, row{r, tests[r.id], exceptions[r.id]})
		switch covered, excepted := len(tests[r.id]) > 0, exceptions[r.id] != ""; {
		case covered && excepted:
			errs = append(errs, fmt.Errorf("%s has an exception, but a test as well: %s", r.id, tests[r.id][0]))
		case !covered && !excepted && r.testable != "no":
			errs = append(errs, fmt.Errorf("%s (%s) has no test and no exception: %s", r.id, r.level, r.text))
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(tests), compareIDs) {
		if !known[id] {
			errs = append(errs, fmt.Errorf("%s names %s, which %s does not have", tests[id][0], id, listFile))
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(exceptions), compareIDs) {
		if !known[id] {
			errs = append(errs, fmt.Errorf("%s has %s, which %s does not have", exceptionsFile, id, listFile))
		}
	}
	return table, errs
}

// count is what the page says of a set of rows.
type count struct {
	rows, covered, excepted int
	byLevel                 map[string][2]int // covered, and rows
}

func countRows(rows []row) count {
	c := count{rows: len(rows), byLevel: map[string][2]int{}}
	for _, r := range rows {
		l := c.byLevel[weights[r.level]]
		l[1]++
		switch {
		case len(r.tests) > 0:
			c.covered++
			l[0]++
		case r.reason != "":
			c.excepted++
		}
		c.byLevel[weights[r.level]] = l
	}
	return c
}

func (c count) write(b *bytes.Buffer, rfc, role string) {
	fmt.Fprintf(b, "| %s | %s | %d | %d | %d |", rfc, role, c.rows, c.covered, c.excepted)
	for _, level := range []string{"MUST", "SHOULD", "MAY", "indicative"} {
		if l := c.byLevel[level]; l[1] > 0 {
			fmt.Fprintf(b, " %d of %d |", l[0], l[1])
		} else {
			b.WriteString(" |")
		}
	}
	b.WriteString("\n")
}

// groups calls f for the rows of each RFC and role, in the order of the page.
func groups(table []row, f func(rfc, role string, rows []row)) {
	slices.SortStableFunc(table, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.rfc, b.rfc), cmp.Compare(slices.Index(roles, a.role), slices.Index(roles, b.role)))
	})
	for i := 0; i < len(table); {
		n := i + 1
		for n < len(table) && table[n].rfc == table[i].rfc && table[n].role == table[i].role {
			n++
		}
		f(table[i].rfc, table[i].role, table[i:n])
		i = n
	}
}

// writePage returns docs/conformance.md.
func writePage(table []row, mutation string) []byte {
	var b bytes.Buffer
	b.WriteString(`# Conformance

What the RFCs demand, and the tests that prove it. Made by ` + "`go run ./internal/conformance`" + ` from
` + "`internal/conformance/requirements.tsv`, `internal/conformance/exceptions.tsv`" + ` and the tests, each of
which names the rows that it proves; do not edit it. ` + "`go test ./internal/conformance`" + ` fails when it is
stale, when a row has neither a test nor a reason for having none, and when it has both.

A row is *covered* when a test would fail if it were broken, and *excepted* when there is a reason for having
no test. The other rows are such that no test of a library could show them. A row that is named in a table of
tests counts for each test that uses the table. MUST stands for MUST NOT, SHALL, SHALL NOT and REQUIRED as
well, SHOULD for SHOULD NOT, RECOMMENDED and NOT RECOMMENDED. *indicative* rows are rules without a keyword. The
last four columns say how many rows of a level are covered. The wording is ours: the RFC decides.

`)
	if mutation != "" {
		b.WriteString(mutation + "\n\n")
	}
	b.WriteString("| RFC | role | rows | covered | excepted | MUST | SHOULD | MAY | indicative |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	groups(table, func(rfc, role string, rows []row) {
		countRows(rows).write(&b, rfc, role)
	})
	countRows(table).write(&b, "all", "")
	rfc := ""
	groups(table, func(nr, role string, rows []row) {
		if nr != rfc {
			rfc = nr
			fmt.Fprintf(&b, "\n## RFC %s\n", rfc)
		}
		fmt.Fprintf(&b, "\n### RFC %s, %s\n\n| id | level | requirement | tests, or why there are none |\n| --- | --- | --- | --- |\n", rfc, role)
		for _, r := range rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.id, r.level, strings.ReplaceAll(r.text, "|", `\|`), r.proof())
		}
	})
	return b.Bytes()
}

func (r row) proof() string {
	switch {
	case len(r.tests) > 0:
		return "`" + strings.Join(r.tests, "`, `") + "`"
	case r.reason != "":
		return r.reason
	default:
		return "-"
	}
}
