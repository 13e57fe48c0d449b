package main

import (
	_ "embed"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed mutations.txt
var mutationsText string

// mutation is one breakage of the code.
type mutation struct {
	line     int // of mutations.txt
	name     string
	file     string // of the module, with slashes
	pkg      string // to be tested
	pattern  string // of the tests that have to fail
	breaks   string
	old, new string
}

var (
	validName   = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	validBreaks = regexp.MustCompile(`^(\d{4}-[0-9A-Z]+(\.\d+)*-s?\d{2}(, )?)+$|^\(.+\)$`)
	testFunc    = regexp.MustCompile(`(?m)^func (Test\w*)\(`)
)

// parse reads blocks of mutations, parted by empty lines. Lines that start with # are comments.
func parse(text string) ([]mutation, error) {
	var all []mutation
	names := make(map[string]bool)
	for i, block := range blocks(text) {
		m, err := parseBlock(block)
		if err == nil && names[m.name] {
			err = errors.New("the name occurs twice")
		}
		if err != nil {
			return nil, fmt.Errorf("block %d, line %d, %q: %w", i+1, m.line, m.name, err)
		}
		names[m.name] = true
		all = append(all, m)
	}
	return all, nil
}

type numbered struct {
	n    int
	text string
}

func blocks(text string) (all [][]numbered) {
	var block []numbered
	n := 0
	for line := range strings.SplitSeq(text+"\n", "\n") {
		n++
		switch {
		case strings.HasPrefix(line, "#"):
		case line != "":
			block = append(block, numbered{n, line})
		case block != nil:
			all = append(all, block)
			block = nil
		}
	}
	return all
}

func parseBlock(block []numbered) (m mutation, err error) {
	m.line = block[0].n
	var old, new []string
	for _, l := range block {
		if l.text == "-" || l.text == "+" {
			l.text += " "
		}
		key, value, ok := strings.Cut(l.text, " ")
		switch {
		case key == "name:":
			m.name = value
		case key == "file:":
			m.file = value
		case key == "test:":
			m.pkg, m.pattern, _ = strings.Cut(value, " ")
		case key == "breaks:":
			m.breaks = value
		case key == "-" && new == nil:
			old = append(old, value)
		case key == "+":
			new = append(new, value)
		default:
			ok = false
		}
		if !ok {
			return m, fmt.Errorf("cannot read %q", l.text)
		}
	}
	m.old, m.new = strings.Join(old, "\n"), strings.Join(new, "\n")
	return m, m.check()
}

func (m *mutation) check() error {
	switch {
	case !validName.MatchString(m.name):
		return errors.New("want a name of small letters, digits and -")
	case m.file == "" || strings.HasSuffix(m.file, "_test.go"):
		return errors.New("want the file to break, which is no test")
	case m.pkg == "" || m.pattern == "":
		return errors.New("want a package and a pattern of its tests")
	case !validBreaks.MatchString(m.breaks):
		return errors.New("want what it breaks: ids of requirements, or a rule in parentheses")
	case strings.TrimSpace(m.old) == "" || m.old == m.new:
		return errors.New("want an old text and another new one")
	}
	return nil
}

// mutated returns the file with the breakage.
func (m *mutation) mutated(root string) ([]byte, error) {
	src, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(src), m.old); n != 1 {
		return nil, fmt.Errorf("the old text occurs %d times in %s, want once", n, m.file)
	}
	return []byte(strings.Replace(string(src), m.old, m.new, 1)), nil
}

// applies says what keeps the mutation from being applied, as far as that shows without the compiler.
// tests are the names of the tests of its package.
func (m *mutation) applies(root string, tests []string) error {
	src, err := m.mutated(root)
	if err != nil {
		return err
	}
	if _, err = parser.ParseFile(token.NewFileSet(), m.file, src, parser.SkipObjectResolution); err != nil {
		return fmt.Errorf("the new text is no Go: %w", err)
	}
	first, _, _ := strings.Cut(m.anchored(), "/")
	re, err := regexp.Compile(first)
	if err == nil && !slices.ContainsFunc(tests, re.MatchString) {
		err = fmt.Errorf("no test of ./%s matches %s", m.pkg, m.pattern)
	}
	return err
}

// testsOf returns the names of the tests of a package.
func testsOf(root, pkg string) (names []string, err error) {
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pkg), "*_test.go"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for _, test := range testFunc.FindAllSubmatch(text, -1) {
			names = append(names, string(test[1]))
		}
	}
	return names, nil
}

// anchored returns the pattern as for -run, each element matching whole names.
func (m *mutation) anchored() string {
	elements := strings.Split(m.pattern, "/")
	for i, e := range elements {
		elements[i] = "^(" + e + ")$"
	}
	return strings.Join(elements, "/")
}

// broken is the package that the mutation breaks, in which it is counted.
func (m *mutation) broken() string { return path.Dir(m.file) }

const module = "module github.com/coapkit/coap\n"

// findRoot returns the directory of the module, which is that of the working directory or above it.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if mod, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(mod), module) {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", errors.New("not within the module: change to its directory")
		}
		dir = above
	}
}
