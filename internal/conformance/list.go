package main

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	idPattern = regexp.MustCompile(`\b[0-9]{4}-[0-9A-Z]+(\.[0-9]+)*-s?[0-9]{2}\b`)
	idParts   = regexp.MustCompile(`^([0-9]{4})-([0-9A-Z]+(?:\.[0-9]+)*)-(s?[0-9]{2})$`)
)

// A requirement is a row of the list.
type requirement struct {
	id, rfc, section string
	level            string // a key of weights
	role             string // who has to do it: one of roles
	testable         string // yes; operator, who decides; or no
	text             string
}

// weights maps the levels to the columns in which they are counted.
var weights = map[string]string{
	"MUST": "MUST", "MUST NOT": "MUST", "SHALL": "MUST", "SHALL NOT": "MUST", "REQUIRED": "MUST",
	"SHOULD": "SHOULD", "SHOULD NOT": "SHOULD", "RECOMMENDED": "SHOULD", "NOT RECOMMENDED": "SHOULD",
	"MAY": "MAY", "OPTIONAL": "MAY",
	"indicative": "indicative", // a rule stated without a keyword
}

// roles in the order of the page.
var roles = []string{"codec", "endpoint", "client", "server", "proxy", "multicast", "security", "doc"}

// kinds are what the reason of an exception begins with.
var kinds = []string{
	"not applicable",   // and why
	"not implemented",  // and what is missing
	"superseded",       // and by which RFC
	"cannot be forced", // and what is in the way of a test
	"decision",         // and where it is written down
	"operator",         // and the knob, or the paragraph of the documentation
}

// readTable returns the lines of a tab-separated file behind its header, which has to be want.
func readTable(file, want string) ([][]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if header := strings.ReplaceAll(lines[0], "\t", " "); header != want {
		return nil, fmt.Errorf("%s: the header is %q, not %q", file, header, want)
	}
	var rows [][]string
	for i, line := range lines[1:] {
		row := strings.Split(line, "\t")
		if len(row) != len(strings.Fields(want)) || slices.Contains(row, "") {
			return nil, fmt.Errorf("%s:%d: not the columns %s, all of them filled", file, i+2, want)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func readList(file string) ([]requirement, error) {
	rows, err := readTable(file, "id rfc section level role testable requirement")
	if err != nil {
		return nil, err
	}
	var list []requirement
	for i, f := range rows {
		r := requirement{f[0], f[1], f[2], f[3], f[4], f[5], f[6]}
		at := fmt.Sprintf("%s:%d: %s: ", file, i+2, r.id)
		parts := idParts.FindStringSubmatch(r.id)
		switch {
		case parts == nil || parts[1] != r.rfc || parts[2] != r.section:
			return nil, fmt.Errorf("%sthe id is not the RFC, the section and a number", at)
		case weights[r.level] == "":
			return nil, fmt.Errorf("%sunknown level %q", at, r.level)
		case !slices.Contains(roles, r.role):
			return nil, fmt.Errorf("%sunknown role %q", at, r.role)
		case !slices.Contains([]string{"yes", "operator", "no"}, r.testable):
			return nil, fmt.Errorf("%stestable is %q, not yes, operator or no", at, r.testable)
		case i > 0 && compareIDs(list[i-1].id, r.id) >= 0:
			return nil, fmt.Errorf("%sis out of order, or there twice", at)
		}
		list = append(list, r)
	}
	return list, nil
}

// readExceptions returns the reasons by id.
func readExceptions(file string) (map[string]string, error) {
	rows, err := readTable(file, "id reason")
	if err != nil {
		return nil, err
	}
	reasons := map[string]string{}
	for i, f := range rows {
		id, reason := f[0], f[1]
		kind, why, _ := strings.Cut(reason, ": ")
		if !slices.Contains(kinds, kind) || why == "" {
			return nil, fmt.Errorf("%s:%d: %s: the reason does not begin with one of %q and a colon", file, i+2, id, kinds)
		}
		if reasons[id] != "" {
			return nil, fmt.Errorf("%s:%d: %s is there twice", file, i+2, id)
		}
		reasons[id] = reason
	}
	return reasons, nil
}

// compareIDs orders by RFC, section and number, numbers by their value.
func compareIDs(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "-"), strings.Split(b, "-"), func(x, y string) int {
		return slices.CompareFunc(strings.Split(x, "."), strings.Split(y, "."), compareParts)
	})
}

func compareParts(x, y string) int {
	m, errX := strconv.Atoi(x)
	n, errY := strconv.Atoi(y)
	if errX == nil && errY == nil {
		return cmp.Compare(m, n)
	}
	return strings.Compare(x, y)
}
