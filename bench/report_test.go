package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	require.Equal(t, 2.0, median([]float64{9, 1, 2}))
	require.Equal(t, 1.5, median([]float64{2, 1}))
	require.True(t, math.IsNaN(median(nil)))
	m := medians([]figures{{"a": 1, "b": 7}, {"a": 3}, {"a": 2}})
	require.Equal(t, figures{"a": 2, "b": 7}, m)
	require.True(t, math.IsNaN(m.get("c")))
}

func TestHistogram(t *testing.T) {
	var h histogram
	require.Zero(t, h.quantile(0.5))
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	for _, c := range []struct {
		share float64
		want  time.Duration
	}{{0, time.Microsecond}, {0.5, 500 * time.Microsecond}, {0.99, 990 * time.Microsecond}} {
		require.InEpsilon(t, c.want, h.quantile(c.share), 0.04)
	}
	h.add(0)
	h.add(math.MaxInt64)
	require.Greater(t, h.quantile(1-1e-9), 200*365*24*time.Hour)
}

func TestTable(t *testing.T) {
	tab := table{title: "Servers", about: "Of all sorts.", head: []string{"who", "µs"}}
	tab.add("coapkit", number(5.25))
	tab.add("other")
	var w strings.Builder
	tab.write(&w)
	require.Equal(t, `### Servers

Of all sorts.

| who     | µs   |
|---------|------|
| coapkit | 5.25 |
| other   |      |

`, w.String())
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.126: "0.13", 12.34: "12.3", 123.4: "123", 9999: "9999", 12345: "12.3k", 234_567: "235k", math.Inf(1): "–",
	} {
		require.Equal(t, want, number(v))
	}
	require.Equal(t, "–", number(math.NaN()))
	require.Equal(t, "2.00 x", times(4, 2))
	require.Equal(t, "–", times(4, 0))
	require.Equal(t, "1.15", trim(1.15))
	require.Equal(t, "50,000", trim(50_000))
	require.Equal(t, "1,000,000", trim(1_000_000))
}

func TestMarks(t *testing.T) {
	require.Equal(t, "<= 1.3 x: reached", atMost(1.3, "x").judge(1.304))
	require.Equal(t, "<= 1.3 x: not reached", atMost(1.3, "x").judge(1.31))
	require.Equal(t, ">= 0.85 x: reached", atLeast(0.85, "x").judge(0.9))
	require.Equal(t, ">= 50,000 /s: not reached", atLeast(50_000, "/s").judge(49_000))
	require.Equal(t, "<= 0: not measured", atMost(0, "").judge(math.NaN()))
}

// What was written by hand stays.
func TestInsert(t *testing.T) {
	page := "before\n" + opening("codec") + "\nold\n" + closing("codec") + "\nbetween\n" + opening("server") + closing("server") + "after\n"
	got, err := insert(page, "codec", "new\n\n")
	require.NoError(t, err)
	require.Equal(t, "before\n"+opening("codec")+"\n\nnew\n\n"+closing("codec")+"\nbetween\n"+opening("server")+closing("server")+"after\n", got)
	again, err := insert(got, "codec", "new")
	require.NoError(t, err)
	require.Equal(t, got, again)
	_, err = insert(page, "memory", "")
	require.ErrorContains(t, err, opening("memory"))
	_, err = insert(opening("memory"), "memory", "")
	require.ErrorContains(t, err, closing("memory"))
}

// texts parses a chart, which has to be well-formed, and returns its texts and how many of each
// element there are.
func texts(t *testing.T, p *plot) (all []string, count map[string]int) {
	t.Helper()
	count = map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(p.svg())); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all, count
		}
		require.NoError(t, err)
		switch tok := tok.(type) {
		case xml.StartElement:
			count[tok.Name.Local]++
		case xml.CharData:
			if s := strings.TrimSpace(string(tok)); s != "" {
				all = append(all, s)
			}
		}
	}
}

func TestLineChart(t *testing.T) {
	p := &plot{title: "CPU & <time>", xLabel: "clients", yLabel: "µs", logX: true, lines: []line{
		{name: "coapkit", x: []float64{1, 1000, 100_000}, y: []float64{5, 6, math.NaN()}},
		{name: "limit", x: []float64{1, 10}, y: []float64{0, 5}, dashed: true},
	}}
	all, count := texts(t, p)
	for _, want := range []string{"CPU & <time>", "clients", "µs", "coapkit", "limit", "1", "10", "100", "1k", "0", "2", "6"} {
		require.Contains(t, all, want)
	}
	require.NotContains(t, all, "NaN")
	require.Equal(t, 4, count["circle"], "one for each value that was measured")
	require.Equal(t, 2, count["polyline"])
	all, _ = texts(t, &plot{title: "nothing"})
	require.Contains(t, all, "not measured")
}

func TestBarChart(t *testing.T) {
	all, count := texts(t, &plot{title: "ms", bars: []bar{{"coapkit", 101}, {"not there", math.NaN()}, {"other", 210}}})
	for _, want := range []string{"coapkit", "101", "other", "210", "not there", "not measured", "0", "50", "250"} {
		require.Contains(t, all, want)
	}
	require.Equal(t, 3, count["rect"], "the ground and two bars")
}

func TestAxis(t *testing.T) {
	a := newAxis(0, 950, false, 0, 100)
	require.Equal(t, []float64{0, 200, 400, 600, 800, 1000}, a.ticks)
	require.Equal(t, 50.0, a.at(500))
	a = newAxis(3, 140, true, 0, 100)
	require.Equal(t, []float64{2, 5, 10, 20, 50, 100, 200}, a.ticks)
	require.InDelta(t, 50, a.at(20), 1e-9)
	a = newAxis(1, 1e5, true, 0, 100)
	require.Equal(t, []float64{1, 10, 100, 1000, 10_000, 100_000}, a.ticks, "not too many")
	a = newAxis(10, 10, true, 0, 100)
	require.Equal(t, []float64{10, 20}, a.ticks)
}

func TestParse(t *testing.T) {
	b, err := parse([]string{"-quick", "-rounds", "3", "-only", "codec,server"})
	require.NoError(t, err)
	require.Equal(t, 3, b.rounds, "what is said counts")
	require.Equal(t, 0.3, b.seconds)
	for _, bad := range [][]string{
		{"-only", "coddec"}, {"-clients", "64"}, {"-clients", "0x1"}, {"-rounds", "0"}, {"-secs", "-1"}, {"codec"},
	} {
		_, err := parse(bad)
		require.Error(t, err, bad)
	}
}
