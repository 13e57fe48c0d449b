// Conformance joins the list of what the RFCs demand with the tests that say they prove it, and
// writes docs/conformance.md. Run it from the root of the module:
//
//	go run ./internal/conformance          # write the page
//	go run ./internal/conformance -check   # fail on a gap, or when the page is stale
//
// requirements.tsv is the list: a row for each rule, with an id of the RFC, the section and the number
// of the sentence among those of the section that oblige somebody (7252-4.2-03), or, with an s, among
// all of them (7252-3-s07). A test claims a row by naming its id in a comment above it or within it, or
// in the name of a subtest. exceptions.tsv holds the rows that no test proves, with the reason.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

const (
	listFile       = "internal/conformance/requirements.tsv"
	exceptionsFile = "internal/conformance/exceptions.tsv"
	mutationFile   = "internal/conformance/mutate/result.txt"
	pageFile       = "docs/conformance.md"
)

func main() {
	check := flag.Bool("check", false, "write nothing; fail on a gap or a stale page")
	flag.Parse()
	if err := run(".", *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run checks the module at root, and writes its page unless it is only to be checked.
func run(root string, check bool) error {
	list, err := readList(filepath.Join(root, listFile))
	if err != nil {
		return err
	}
	exceptions, err := readExceptions(filepath.Join(root, exceptionsFile))
	if err != nil {
		return err
	}
	tests, err := collect(root)
	if err != nil {
		return err
	}
	table, errs := join(list, exceptions, tests)
	mutation, err := os.ReadFile(filepath.Join(root, mutationFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	page := writePage(table, string(bytes.TrimSpace(mutation)))
	file := filepath.Join(root, pageFile)
	if !check {
		errs = append(errs, os.WriteFile(file, page, 0o644))
	} else if old, err := os.ReadFile(file); err != nil || !bytes.Equal(old, page) {
		errs = append(errs, fmt.Errorf("%s is stale: run go run ./internal/conformance", pageFile))
	}
	return errors.Join(errs...)
}
