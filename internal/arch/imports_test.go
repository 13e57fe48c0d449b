package arch

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/coapkit/coap"

// floors is the table of allowed imports: what a package may import of this module and of
// others, besides the standard library. "*" allows everything.
var floors = map[string][]string{
	// floor 0
	"internal/wire":     {},
	"message":           {"internal/wire"},
	"transport":         {},
	"internal/registry": {},
	"internal/entropy":  {},
	"linkformat":        {},
	// floor 1
	"codec":    {"message", "internal/wire"},
	"exchange": {"message"},
	// floor 2
	"internal/engine": {"message", "codec", "exchange", "transport"},
	"transport/udp":   {"transport"},
	"blockwise":       {"message", "exchange", "internal/entropy"},
	"observe":         {"message", "exchange", "internal/entropy"},
	"echo":            {"message", "exchange", "internal/entropy"},
	"transport/mem":   {"transport"},
	// floor 3
	".": {"message", "codec", "exchange", "internal/engine", "internal/entropy", "blockwise", "observe", "echo", "linkformat", "transport", "transport/udp"},
	// floor 4
	"coaptest": {".", "message", "codec", "exchange", "echo", "transport", "transport/mem"},
	// for tests, of ours and of users
	"transport/transporttest":     {"transport"},
	"internal/reference":          {"message"},
	"internal/arch":               {},
	"internal/conformance":        {},
	"internal/conformance/mutate": {},
	"internal/simulate":           {"*"},
	"internal/hostile":            {"*"},
	"internal/scenarios":          {"*"},
	"fuzz":                        {"*"},
	"interop":                     {"*"},
}

type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// list returns what go list says of packages.
func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := d.Decode(&p)
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

func TestImports(t *testing.T) {
	seen := 0
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if name == "" {
			name = "."
		}
		allowed, known := floors[name]
		if !known {
			t.Errorf("package %s is not in the table of floors: say what it may import", name)
			continue
		}
		seen++
		for _, i := range p.Imports {
			if !mayImport(allowed, i) {
				t.Errorf("package %s imports %s; allowed are the standard library and %v", name, i, allowed)
			}
		}
	}
	require.GreaterOrEqual(t, seen, 10, "the list of packages is incomplete")
}

func mayImport(allowed []string, path string) bool {
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return true // standard library
	}
	if own, ok := strings.CutPrefix(path, module+"/"); ok {
		path = own
	} else if path == module {
		path = "."
	}
	return slices.ContainsFunc(allowed, func(a string) bool {
		return a == "*" || a == path || strings.Contains(a, ".") && a != "." && strings.HasPrefix(path, a+"/")
	})
}

// The lowest floors stay small enough for constrained programs: no fmt, no reflection
// beyond what they need to print themselves.
func TestLowFloorsImportLittle(t *testing.T) {
	for pkg, forbidden := range map[string][]string{
		"internal/wire": {"fmt", "net", "time", "sync", "os", "reflect"},
		"codec":         {"fmt", "net", "net/netip", "time", "sync", "os", "reflect"},
		"transport":     {"fmt", "net", "sync", "os", "reflect"},
		"message":       {"net", "net/url", "net/http", "sync", "os", "reflect"},
	} {
		p := list(t, "./"+pkg)
		require.Len(t, p, 1)
		for _, i := range p[0].Imports {
			require.NotContains(t, forbidden, i, "package %s", pkg)
		}
	}
}

// The root module needs nothing at run time, and testify and go-cmp in tests, so that importing
// it stays cheap.
func TestModuleRequiresLittle(t *testing.T) {
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []any
	}
	require.NoError(t, json.Unmarshal(out, &mod))
	require.Empty(t, mod.Replace)
	for _, r := range mod.Require {
		if !r.Indirect {
			require.Contains(t, []string{"github.com/stretchr/testify", "github.com/google/go-cmp"}, r.Path)
		}
	}
}
