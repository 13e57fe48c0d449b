package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var testName = regexp.MustCompile(`^(Test|Fuzz|Example)([^a-z]|$)`)

// A declaration is a function, a variable or the like at the top level of a test file.
type declaration struct {
	names []string        // that it declares
	uses  map[string]bool // every identifier in it
	ids   []string        // in its comments and strings
}

func (d *declaration) isTest() bool { return len(d.names) == 1 && testName.MatchString(d.names[0]) }

// collect returns for each id in the test files below root the tests that name it, as package.Test.
// What is named outside a test, in a table or a helper, belongs to the tests of the package that use it.
func collect(root string) (map[string][]string, error) {
	packages := map[string][]*declaration{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if filepath.ToSlash(rel) == "internal/conformance" {
			return filepath.SkipDir // its tests speak of ids and claim none
		}
		if d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		decls, err := declarations(path)
		dir := filepath.ToSlash(filepath.Dir(rel))
		packages[dir] = append(packages[dir], decls...)
		return err
	})
	if err != nil {
		return nil, err
	}
	tests := map[string][]string{}
	for dir, decls := range packages {
		for _, d := range decls {
			if len(d.ids) == 0 {
				continue
			}
			names := users(decls, d)
			if len(names) == 0 {
				return nil, fmt.Errorf("%s: no test uses %v, which names %v", dir, d.names, d.ids)
			}
			for _, id := range d.ids {
				for _, name := range names {
					tests[id] = append(tests[id], strings.TrimPrefix(dir+".", "..")+name)
				}
			}
		}
	}
	for id := range tests {
		slices.Sort(tests[id])
		tests[id] = slices.Compact(tests[id])
	}
	return tests, nil
}

// declarations returns those of a file that have a part in tests.
func declarations(path string) ([]*declaration, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var decls []*declaration
	var from []token.Pos
	for _, node := range file.Decls {
		d := &declaration{uses: map[string]bool{}}
		start := node.Pos()
		switch node := node.(type) {
		case *ast.FuncDecl:
			d.names = []string{node.Name.Name}
			if node.Doc != nil {
				start = node.Doc.Pos()
			}
		case *ast.GenDecl:
			if node.Doc != nil {
				start = node.Doc.Pos()
			}
			for _, spec := range node.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						d.names = append(d.names, n.Name)
					}
				case *ast.TypeSpec:
					d.names = append(d.names, spec.Name.Name)
				}
			}
		}
		ast.Inspect(node, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				d.uses[n.Name] = true
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					d.ids = append(d.ids, idPattern.FindAllString(n.Value, -1)...)
				}
			}
			return true
		})
		decls, from = append(decls, d), append(from, start)
	}
	for _, group := range file.Comments {
		ids := idPattern.FindAllString(group.Text(), -1)
		if len(ids) == 0 {
			continue
		}
		i, found := slices.BinarySearch(from, group.Pos())
		if !found {
			i--
		}
		if i < 0 || group.Pos() > file.Decls[i].End() {
			return nil, fmt.Errorf("%s: this comment belongs to no test: %v", fset.Position(group.Pos()), ids)
		}
		decls[i].ids = append(decls[i].ids, ids...)
	}
	return decls, nil
}

// users returns the tests that are d, or that reach it from one declaration to the next.
func users(decls []*declaration, d *declaration) []string {
	if d.isTest() {
		return d.names
	}
	var names []string
	reached := map[*declaration]bool{d: true}
	for queue := []*declaration{d}; len(queue) > 0; queue = queue[1:] {
		for _, u := range decls {
			if reached[u] || !slices.ContainsFunc(queue[0].names, func(n string) bool { return u.uses[n] }) {
				continue
			}
			reached[u] = true
			if u.isTest() {
				names = append(names, u.names...)
			} else {
				queue = append(queue, u)
			}
		}
	}
	return names
}
