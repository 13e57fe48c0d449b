package engine

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The codec and the engine do no I/O, have no clock, start nothing and lock nothing: time and
// randomness are arguments.
func TestPurity(t *testing.T) {
	forbidden := map[string]bool{
		"sync": true, "sync/atomic": true, "os": true, "net": true, "io": true, "log": true, "log/slog": true,
		"math/rand": true, "crypto/rand": true, "context": true, "runtime": true, "unsafe": true, "fmt": true,
	}
	// What depends on the clock, or on something that is not a seed of ours.
	clock := map[string]map[string]bool{
		"time": {"Now": true, "Since": true, "Until": true, "After": true, "AfterFunc": true, "Tick": true, "NewTimer": true, "NewTicker": true, "Sleep": true},
		"rand": {"Int": true, "IntN": true, "Uint32": true, "Uint64": true, "Float64": true, "Int64N": true, "N": true, "Shuffle": true},
	}
	for _, dir := range []string{".", "../../codec"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			require.NoError(t, err)
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
			require.NoError(t, err)
			for _, spec := range file.Imports {
				path := strings.Trim(spec.Path.Value, `"`)
				if path == "fmt" && dir != "." {
					continue
				}
				if forbidden[path] {
					t.Errorf("%s: imports %q", set.Position(spec.Pos()), path)
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s: a go statement", set.Position(n.Pos()))
				case *ast.ChanType, *ast.SendStmt, *ast.SelectStmt:
					t.Errorf("%s: a channel", set.Position(n.Pos()))
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && clock[x.Name][n.Sel.Name] {
						t.Errorf("%s: %s.%s", set.Position(n.Pos()), x.Name, n.Sel.Name)
					}
				}
				return true
			})
		}
	}
}
