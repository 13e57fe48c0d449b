package hostile

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
)

// page returns docs/security.md.
func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "security.md"))
	require.NoError(t, err)
	return string(b)
}

// parse returns the declarations of a file of the module.
func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", file), nil, parser.ParseComments)
	require.NoError(t, err)
	return f
}

// fields returns the fields of a struct type.
func fields(t *testing.T, file, name string) (all []*ast.Field) {
	t.Helper()
	ast.Inspect(parse(t, file), func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.Name == name {
			all = spec.Type.(*ast.StructType).Fields.List
		}
		return true
	})
	require.NotEmpty(t, all, "%s has %s", file, name)
	return all
}

// row returns the row of the table that begins with a cell.
func row(t *testing.T, page, cell string) string {
	t.Helper()
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "| `"+cell+"` |") {
			return line
		}
	}
	t.Errorf("docs/security.md has no row for %s", cell)
	return ""
}

// What a doc comment says of zero is the default.
var zeroMeans = regexp.MustCompile(`\b0\s+means\s+(?:that )?((?:[^,.;:(]|[,.]\d)+)`)

// The page has a row for every limit, with its default.
func TestPageHasLimits(t *testing.T) {
	page, defaults := page(t), 0
	for _, c := range []struct{ file, typ, field string }{
		{"exchange/limits.go", "Limits", "Limits"},
		{"blockwise/server.go", "ServerConfig", "ServeBlocks"}, {"blockwise/client.go", "ClientConfig", "SendBlocks"},
		{"observe/server.go", "ServerConfig", "ServeObserve"}, {"observe/client.go", "ClientConfig", "SendObserve"},
		{"echo/server.go", "ServerConfig", "ServeEcho"},
	} {
		for _, f := range fields(t, c.file, c.typ) {
			switch typ := fmt.Sprint(f.Type); typ {
			case "int", "int64", "Mode", "&{time Duration}":
			default:
				continue // a switch, a function, a logger
			}
			for _, name := range f.Names {
				r := row(t, page, c.field+"."+name.Name)
				doc := strings.Join(strings.Fields(f.Doc.Text()), " ")
				if m := zeroMeans.FindStringSubmatch(doc); m != nil {
					defaults++
					require.Contains(t, r, strings.TrimSpace(m[1]), "the default of %s.%s", c.field, name.Name)
				}
			}
		}
	}
	require.Greater(t, defaults, 25, "most comments tell the default")

	// The defaults of Limits are what the comments say.
	l := reflect.ValueOf(coap.Limits{}.WithDefaults())
	for i := range l.NumField() {
		r := strings.ReplaceAll(row(t, page, "Limits."+l.Type().Field(i).Name), ",", "")
		if n := l.Field(i).Int(); !strings.Contains(r, "quarter") && !strings.Contains(r, "eighth") && !strings.Contains(r, fmt.Sprintf("| %d MiB |", n>>20)) {
			require.Contains(t, r, fmt.Sprintf("| %d |", n))
		}
	}
}

// The page has a row for every reason to drop, with its label, and names every counter.
func TestPageHasCounters(t *testing.T) {
	page := page(t)
	var reasons []string
	ast.Inspect(parse(t, "exchange/stats.go"), func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Drop") {
			reasons = append(reasons, spec.Names[0].Name)
		}
		return true
	})
	require.Equal(t, "DropNone", reasons[0])
	for i, name := range reasons[1:] {
		require.Contains(t, row(t, page, name), "`"+exchange.DropReason(i+1).String()+"`", name)
	}
	for _, file := range []string{"exchange/stats.go", "blockwise/server.go", "observe/stats.go", "echo/server.go"} {
		for _, f := range fields(t, file, "Stats") {
			for _, name := range f.Names {
				require.Contains(t, page, "`"+name.Name+"`", "a field of Stats in %s", file)
			}
		}
	}
}
