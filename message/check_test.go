package message

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func optionList(opts ...Option) *Options {
	var o Options
	for _, opt := range opts {
		o.Add(opt.Number, opt.Value)
	}
	return &o
}

func customRegistry(t *testing.T) *Registry {
	t.Helper()
	r, err := NewRegistry(
		Definition{Number: 65001, Name: "Mine", Format: FormatUint, MinLen: 1, MaxLen: 2},
		Definition{Number: 65002, Name: "Mild", Format: FormatString, MinLen: 2, MaxLen: 4},
		Definition{Number: 65003, Name: "Many", Format: FormatOpaque, MaxLen: 8, Repeatable: true},
	)
	require.NoError(t, err)
	return r
}

// The engine turns the result into 4.02 or a rejection; here is what makes an option
// unrecognized, and what the diagnostic payload says.
//
// Proves 7252-5.4.1-01, 7252-5.4.3-01, 7252-5.4.5-01, 7252-5.4.5-03, 7252-5.10.1-01,
// 7252-5.10.7-03.
func TestCheck(t *testing.T) {
	custom := customRegistry(t)
	all := func(OptionNumber) bool { return true }
	only := func(numbers ...OptionNumber) func(OptionNumber) bool {
		return func(n OptionNumber) bool {
			for _, m := range numbers {
				if n == m {
					return true
				}
			}
			return false
		}
	}
	long := []byte(strings.Repeat("x", 256))
	for _, c := range []struct {
		name       string
		r          *Registry
		understood func(OptionNumber) bool
		options    *Options
		number     OptionNumber
		want       string // empty: nothing to complain about
	}{
		{"nothing", nil, nil, optionList(), 0, ""},
		{"known", nil, nil, optionList(Option{3, []byte("h")}, Option{7, []byte{1}}, Option{11, nil}, Option{11, nil}, Option{17, nil}), 0, ""},
		{"unknown critical", nil, nil, optionList(Option{11, nil}, Option{65, nil}), 65, "Option 65 is critical and not understood"},
		{"unknown elective", nil, nil, optionList(Option{64, nil}, Option{64, nil}), 0, ""},
		{"known but not understood", nil, only(OptionURIPath), optionList(Option{1, nil}, Option{11, nil}), 1, "If-Match is critical and not understood"},
		{"all understood", nil, only(OptionURIPath, OptionIfMatch), optionList(Option{1, nil}, Option{11, nil}), 0, ""},
		{"understood, not in the registry", nil, all, optionList(Option{65, long}, Option{65, nil}), 0, ""},
		{"too long", nil, all, optionList(Option{7, []byte{1, 2, 3}}), 7, "Uri-Port: 3 bytes, want 0 to 2"},
		{"too short", nil, all, optionList(Option{3, nil}), 3, "Uri-Host: 0 bytes, want 1 to 255"},
		{"not empty", nil, all, optionList(Option{5, []byte{1}}), 5, "If-None-Match: 1 byte, want 0"},
		{"longest", nil, all, optionList(Option{11, long[:255]}), 0, ""},
		{"longer", nil, all, optionList(Option{11, long}), 11, "Uri-Path: 256 bytes, want 0 to 255"},
		{"twice", nil, all, optionList(Option{17, nil}, Option{17, []byte{50}}), 17, "Accept occurs twice"},
		{"the first of two is wrong", nil, all, optionList(Option{17, []byte{1, 2, 3}}, Option{17, nil}), 17, "Accept: 3 bytes, want 0 to 2"},
		{"first fault first", nil, nil, optionList(Option{65, nil}, Option{7, []byte{1, 2, 3}}), 7, "Uri-Port: 3 bytes, want 0 to 2"},
		{"elective with wrong length", nil, all, optionList(Option{4, nil}, Option{12, []byte{1, 2, 3}}, Option{12, nil}), 0, ""},
		{"dots", nil, all, optionList(Option{11, []byte("..")}), 11, `Uri-Path is ".."`},
		{"dot", nil, all, optionList(Option{11, []byte("a")}, Option{11, []byte(".")}), 11, `Uri-Path is "."`},
		{"three dots", nil, all, optionList(Option{11, []byte("...")}), 0, ""},
		{"reserved Location with path", nil, nil, optionList(Option{8, []byte("a")}, Option{128, nil}), 128, "Option 128 is reserved for Location-* and not understood"},
		{"reserved Location with query", nil, nil, optionList(Option{20, []byte("a")}, Option{140, nil}), 140, "Option 140 is reserved for Location-* and not understood"},
		{"reserved Location understood", nil, only(132), optionList(Option{8, []byte("a")}, Option{132, nil}), 0, ""},
		{"reserved Location alone", nil, nil, optionList(Option{136, nil}), 0, ""},
		{"custom", custom, nil, optionList(Option{65001, []byte{1}}, Option{65003, nil}, Option{65003, nil}), 0, ""},
		{"custom length", custom, nil, optionList(Option{65001, nil}), 65001, "Mine: 0 bytes, want 1 to 2"},
		{"custom twice", custom, nil, optionList(Option{65001, []byte{1}}, Option{65001, []byte{1}}), 65001, "Mine occurs twice"},
		{"custom not understood", custom, only(), optionList(Option{65001, []byte{1}}), 65001, "Mine is critical and not understood"},
		{"custom to others", nil, nil, optionList(Option{65001, []byte{1}}), 65001, "Option 65001 is critical and not understood"},
		{"registered without lengths", nil, nil, optionList(Option{2055, long}, Option{2055, nil}), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := c.r.Check(c.options, c.understood)
			if c.want == "" {
				require.Nil(t, bad)
				return
			}
			require.Equal(t, &OptionError{Number: c.number, Reason: c.want}, bad)
			require.EqualError(t, bad, "message: "+c.want)
		})
	}
}

// Proves 7252-5.4.1-01, 7252-5.4.3-01, 7252-5.4.5-03.
func TestDropInvalid(t *testing.T) {
	custom := customRegistry(t)
	for _, c := range []struct {
		name          string
		r             *Registry
		options, want *Options
	}{
		{"nothing", nil, optionList(), nil},
		{"valid", nil, optionList(Option{4, []byte{1}}, Option{4, []byte{2}}, Option{12, nil}), nil},
		{"critical stay", nil, optionList(Option{7, []byte{1, 2, 3}}, Option{17, nil}, Option{17, nil}), nil},
		{"unknown stay", nil, optionList(Option{64, nil}, Option{64, nil}), nil},
		{"too short", nil, optionList(Option{4, nil}, Option{4, []byte{2}}, Option{11, []byte("a")}),
			optionList(Option{4, []byte{2}}, Option{11, []byte("a")})},
		{"too long", nil, optionList(Option{11, []byte("a")}, Option{12, []byte{1, 2, 3}}), optionList(Option{11, []byte("a")})},
		{"again", nil, optionList(Option{14, []byte{1}}, Option{14, []byte{2}}, Option{14, []byte{3}}, Option{15, nil}),
			optionList(Option{14, []byte{1}}, Option{15, nil})},
		{"the second is again, whatever the first", nil, optionList(Option{14, make([]byte, 5)}, Option{14, []byte{2}}), optionList()},
		{"custom", custom, optionList(Option{65002, []byte{1}}, Option{65003, nil}), optionList(Option{65003, nil})},
		{"custom to others", nil, optionList(Option{65002, []byte{1}}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.options.Clone()
			o := before.Borrow()
			require.Equal(t, c.want != nil, c.r.DropInvalid(&o))
			if c.want == nil {
				c.want = &before
			}
			require.Equal(t, list(c.want), list(&o))
			require.Equal(t, list(c.options), list(&before), "borrowed options are not written to")
			require.False(t, c.r.DropInvalid(&o), "twice does no more")
			o.AddString(65535, "still a list")
			require.Equal(t, c.want.Len()+1, o.Len())
		})
	}
}

func TestRegistry(t *testing.T) {
	custom := customRegistry(t)
	d, ok := custom.Lookup(65002)
	require.True(t, ok)
	require.Equal(t, "Mild", d.Name)
	d, ok = custom.Lookup(OptionURIPath)
	require.True(t, ok)
	require.Equal(t, Definition{OptionURIPath, "Uri-Path", FormatString, 0, 255, true}, d)
	d, ok = custom.Lookup(63)
	require.False(t, ok)
	require.Equal(t, Definition{Number: 63, MaxLen: MaxOptionLength}, d)
	d, ok = custom.ByName("uri-path")
	require.True(t, ok)
	require.Equal(t, OptionURIPath, d.Number)
	d, ok = custom.ByName("MINE")
	require.True(t, ok)
	require.Equal(t, OptionNumber(65001), d.Number)
	_, ok = custom.ByName("")
	require.False(t, ok)

	over, err := NewRegistry(Definition{Number: OptionURIPath, Name: "Path", MaxLen: 3}, Definition{Number: 2, Name: "Two"})
	require.NoError(t, err)
	all := over.Definitions()
	require.Len(t, all, len((*Registry)(nil).Definitions())+1)
	for i, d := range all {
		require.True(t, i == 0 || all[i-1].Number < d.Number, "in order")
		got, ok := over.Lookup(d.Number)
		require.True(t, ok)
		require.Equal(t, d, got)
	}
	d, _ = over.Lookup(OptionURIPath)
	require.Equal(t, "Path", d.Name)
	all[0].Name = "changed"
	d, _ = over.Lookup(all[0].Number)
	require.NotEqual(t, "changed", d.Name)

	for want, defs := range map[string][]Definition{
		"custom option 7 has no name":                  {{Number: 7}},
		"has lengths 2 to 1, want a range":             {{Number: 7, Name: "X", MinLen: 2, MaxLen: 1}},
		"has lengths -1 to 1, want a range":            {{Number: 7, Name: "X", MinLen: -1, MaxLen: 1}},
		"has lengths 0 to 65805, want a range":         {{Number: 7, Name: "X", MaxLen: 65805}},
		"option number 7 is defined twice, as X and Y": {{Number: 7, Name: "X"}, {Number: 7, Name: "Y"}},
		"option name x is defined twice, for 7 and 9":  {{Number: 7, Name: "X"}, {Number: 9, Name: "x"}},
	} {
		_, err := NewRegistry(defs...)
		require.ErrorContains(t, err, want)
	}
}

func TestLookupOfEveryNumber(t *testing.T) {
	want := map[OptionNumber]Definition{}
	for _, d := range optionDefinitions {
		want[d.Number] = d
	}
	for i := range 1 << 16 {
		n := OptionNumber(i)
		got, ok := (*Registry)(nil).Lookup(n)
		d, known := want[n]
		require.Equal(t, known, ok)
		if known && got != d {
			t.Fatalf("option %d is %v, want %v", n, got, d)
		}
	}
}

func TestFormatString(t *testing.T) {
	require.Equal(t, "unknown", FormatUnknown.String())
	require.Equal(t, "string", FormatString.String())
	require.Equal(t, "Format(5)", Format(5).String())
}

// Numbers for experiments have no meaning here: programs give them one.
//
// Proves 7252-12.2-01, 7252-12.3-01.
func TestNumbersForExperiments(t *testing.T) {
	for n := 65000; n <= 65535; n++ {
		_, ok := (*Registry)(nil).Lookup(OptionNumber(n))
		require.False(t, ok, "option %d", n)
		require.Empty(t, ContentFormat(n).MediaType(), "content format %d", n)
	}
}
