package arch

import (
	"bytes"
	"flag"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/api.txt anew")

// public are the packages that programs import.
var public = []string{".", "message", "linkformat", "codec", "exchange", "blockwise", "observe", "echo", "transport", "transport/udp", "transport/mem", "transport/dtls", "transport/transporttest", "coaptest"}

// The exported names are written down, so that a change to them is made on purpose and
// shows in a review.
func TestAPI(t *testing.T) {
	var b bytes.Buffer
	for _, dir := range public {
		writeAPI(t, &b, dir)
	}
	file := filepath.Join("..", "..", "docs", "api.txt")
	if *update {
		require.NoError(t, os.WriteFile(file, b.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("the exported API differs from docs/api.txt; if that is meant, run\n\tgo test ./internal/arch -update\n%s", d)
	}
}

func writeAPI(t *testing.T, b *bytes.Buffer, dir string) {
	t.Helper()
	fset := token.NewFileSet()
	//lint:ignore SA1019 all systems are meant, whatever they build
	pkgs, err := parser.ParseDir(fset, filepath.Join("..", "..", dir), func(f fs.FileInfo) bool {
		return !strings.HasSuffix(f.Name(), "_test.go")
	}, 0)
	require.NoError(t, err)
	for _, pkg := range pkgs {
		if pkg.Name == "main" {
			continue
		}
		//lint:ignore SA1019 the syntax is enough
		ast.PackageExports(pkg)
		p := doc.New(pkg, module+"/"+dir, 0)
		b.WriteString("package " + p.Name + " // " + dir + "\n\n")
		for _, v := range append(p.Consts, p.Vars...) {
			writeNode(t, b, fset, v.Decl)
		}
		for _, f := range p.Funcs {
			writeNode(t, b, fset, f.Decl)
		}
		for _, typ := range p.Types {
			writeNode(t, b, fset, typ.Decl)
			for _, v := range append(typ.Consts, typ.Vars...) {
				writeNode(t, b, fset, v.Decl)
			}
			for _, f := range append(typ.Funcs, typ.Methods...) {
				writeNode(t, b, fset, f.Decl)
			}
		}
		b.WriteString("\n")
	}
}

func writeNode(t *testing.T, b *bytes.Buffer, fset *token.FileSet, n ast.Node) {
	t.Helper()
	if f, ok := n.(*ast.FuncDecl); ok {
		f.Body, f.Doc = nil, nil
	}
	require.NoError(t, printer.Fprint(b, fset, n))
	b.WriteString("\n")
}
