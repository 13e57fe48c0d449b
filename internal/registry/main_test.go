package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/coapkit/coap/message"
	"github.com/stretchr/testify/require"
)

func TestGeneratedFileIsUpToDate(t *testing.T) {
	want, err := generate(registries)
	require.NoError(t, err)
	got, err := os.ReadFile("../../message/" + fileName)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), `run "go generate ./message"`)
}

// Proves 7252-5.4.6-s05, 7252-5.4.6-s06, 7252-5.4.6-s07.
func TestOptionClassesFollowFromNumbers(t *testing.T) {
	rows, err := parse(registries)
	require.NoError(t, err)
	options := 0
	for _, r := range rows {
		if r.registry != "option" {
			continue
		}
		options++
		number, err := strconv.ParseUint(r.key, 10, 16)
		require.NoError(t, err)
		n := message.OptionNumber(number)
		require.Equal(t, r.critical == "yes", n.Critical(), "%s critical", r.name)
		require.Equal(t, r.unsafe == "yes", n.Unsafe(), "%s unsafe", r.name)
		if r.nocachekey != "-" { // has a meaning for safe options only
			require.Equal(t, r.nocachekey == "yes", n.NoCacheKey(), "%s nocachekey", r.name)
		} else {
			require.True(t, n.Unsafe(), r.name)
			require.False(t, n.NoCacheKey(), r.name)
		}
	}
	require.Greater(t, options, 20)
}

func TestTableIsInTheLibrary(t *testing.T) {
	rows, err := parse(registries)
	require.NoError(t, err)
	for _, r := range rows {
		number, _ := strconv.ParseUint(r.key, 10, 16)
		switch r.registry {
		case "option":
			d, ok := (*message.Registry)(nil).Lookup(message.OptionNumber(number))
			require.True(t, ok, r.name)
			require.Equal(t, r.name, d.Name)
			if r.format == "" {
				require.Equal(t, message.FormatUnknown, d.Format, r.name)
				continue
			}
			require.Equal(t, r.format, d.Format.String(), r.name)
			require.Equal(t, r.minLen, strconv.Itoa(d.MinLen), r.name)
			require.Equal(t, r.maxLen, strconv.Itoa(d.MaxLen), r.name)
			require.Equal(t, r.repeatable == "yes", d.Repeatable, r.name)
		case "content-format":
			f := message.ContentFormat(number)
			require.Equal(t, r.name, f.MediaType())
			require.Equal(t, r.coding, f.Coding())
		default:
			c, err := message.ParseCode(r.key)
			require.NoError(t, err)
			require.Equal(t, r.name, c.Name())
		}
	}
}

func TestGenerateRefusesBadTables(t *testing.T) {
	const head = "registry\tkey\tname\tcritical\tunsafe\tnocachekey\trepeatable\tformat\tmin_len\tmax_len\tcoding\treference\n"
	for name, table := range map[string]struct{ rows, want string }{
		"columns":   {"option\t1\tIf-Match\n", "line 2 has 3 columns"},
		"code":      {"method\t8.01\tX\t\t\t\t\t\t\t\t\tRFC\n", `code "8.01"`},
		"number":    {"option\t65536\tX\t\t\t\t\tuint\t0\t1\t\tRFC\n", `option "65536"`},
		"format":    {"option\t1\tX\t\t\t\tno\tfloat\t0\t1\t\tRFC\n", `option 1 has format "float"`},
		"order":     {"option\t2\tX\t\t\t\tno\tuint\t0\t1\t\tRFC\noption\t1\tY\t\t\t\tno\tuint\t0\t1\t\tRFC\n", "option 1 stands behind 2"},
		"same type": {"content-format\t50\ta/b\t\t\t\t\t\t\t\t\tRFC\ncontent-format\t50\ta/b\t\t\t\t\t\t\t\t\tRFC\n", "content-format 50 stands behind 50"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := generate(head + table.rows)
			require.ErrorContains(t, err, table.want)
		})
	}
}

func TestGoName(t *testing.T) {
	for name, want := range map[string]string{
		"Uri-Path": "URIPath", "ETag": "ETag", "iPATCH": "IPATCH", "Bad Request": "BadRequest", "Q-Block1": "QBlock1",
	} {
		require.Equal(t, want, goName(name))
	}
	require.False(t, strings.Contains(goName("a b-c"), " "))
}
