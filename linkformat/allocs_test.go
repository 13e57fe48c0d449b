package linkformat

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The allocation budget of the package.
func TestAllocs(t *testing.T) {
	text := []byte(examples[4].text + `,</x>;title="a \"b\"";foo="bar";obs,` + "\n" + `</y>;ct="0 40"`)
	malformed := append(append([]byte(nil), text...), `,</z>;x="`...)
	links, err := Parse(text)
	require.NoError(t, err)
	wrong := []Link{link("/a", bare("sz", "x"))}
	args := [][]byte{[]byte("rt=light*"), []byte("if=sensor"), []byte("title=a *"), []byte("href=/s*"), []byte("FOO=bar")}
	buf := make([]byte, 0, 4096)
	filters := make([]Filter, len(args))
	n := 0

	for _, c := range []struct {
		name string
		want float64
		f    func()
	}{
		{"cursor", 0, func() {
			c := NewCursor(text)
			for c.Next() {
				v := c.Link()
				n += len(v.Target())
				params := v.Params()
				for params.Next() {
					n += len(params.Param().AppendValue(buf))
				}
				if p, ok := v.Param("rt"); ok {
					n += len(p.Raw)
				}
			}
			if c.Err() != nil {
				t.Error("cursor")
			}
		}},
		{"malformed", 0, func() {
			c := NewCursor(malformed)
			for c.Next() {
			}
			if c.Err() == nil {
				t.Error("malformed")
			}
		}},
		{"filter", 0, func() {
			for i, arg := range args {
				filters[i], _ = ParseFilter(arg)
				c := NewCursor(text)
				for c.Next() {
					if filters[i].Match(c.Link()) {
						n++
					}
				}
			}
		}},
		{"Select", 0, func() {
			b, err := Select(buf, text, filters[:2]...)
			if len(b) == 0 || err != nil {
				t.Error("Select")
			}
		}},
		{"Append", 0, func() {
			b, err := Append(buf, links)
			if len(b) == 0 || err != nil {
				t.Error("Append")
			}
		}},
		{"Append of what is wrong, but for the error", 1, func() {
			if _, err := Append(buf, wrong); err == nil {
				t.Error("Append")
			}
		}},
		{"AppendExtValue", 0, func() { n += len(AppendExtValue(buf, "Größe", "de")) }},
		{"Get and Size", 0, func() {
			v, _ := links[2].Get("rt")
			size, _ := links[2].Size()
			n += len(v) + int(size)
		}},
		{"Parse: text, links, parameters, a value with a backslash", 4, func() {
			if l, err := Parse(text); len(l) != 7 || err != nil {
				t.Error("Parse")
			}
		}},
	} {
		require.Equal(t, c.want, testing.AllocsPerRun(100, c.f), c.name)
	}
	require.NotZero(t, n)
}

// The package cannot dereference a URI, since it imports nothing that could.
//
// Proves 6690-3-01.
func TestImports(t *testing.T) {
	allowed := []string{"bytes", "math", "net/url", "slices", "strconv", "strings", "unicode/utf8"}
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range f.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			require.NoError(t, err)
			require.Contains(t, allowed, path, e.Name())
		}
	}
}
