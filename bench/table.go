package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// table is one table of results.
type table struct {
	title string
	about string // a sentence or two below the title
	head  []string
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the table as Markdown, in columns of equal width, so that it can be read as it is, too.
func (t *table) write(w io.Writer) {
	fmt.Fprintf(w, "### %s\n\n", t.title)
	if t.about != "" {
		fmt.Fprintf(w, "%s\n\n", t.about)
	}
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, c := range row {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	line := func(row []string) {
		for i := range t.head {
			c := ""
			if i < len(row) {
				c = row[i]
			}
			fmt.Fprintf(w, "| %s%s ", c, strings.Repeat(" ", width[i]-len([]rune(c))))
		}
		fmt.Fprintln(w, "|")
	}
	line(t.head)
	for i := range t.head {
		fmt.Fprintf(w, "|%s", strings.Repeat("-", width[i]+2))
	}
	fmt.Fprintln(w, "|")
	for _, row := range t.rows {
		line(row)
	}
	fmt.Fprintln(w)
}

// number formats v with about three digits, "–" if it was not measured.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case a == 0:
		return "0"
	case a >= 100_000:
		return fmt.Sprintf("%.0fk", v/1000)
	case a >= 10_000:
		return fmt.Sprintf("%.1fk", v/1000)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// times formats the ratio of two figures.
func times(a, b float64) string {
	if r := a / b; !math.IsNaN(r) && !math.IsInf(r, 0) {
		return fmt.Sprintf("%.2f x", r)
	}
	return "–"
}

// A mark is what a figure should reach.
type mark struct {
	value   float64
	atLeast bool // else at most
	unit    string
}

func atMost(v float64, unit string) mark  { return mark{value: v, unit: unit} }
func atLeast(v float64, unit string) mark { return mark{value: v, unit: unit, atLeast: true} }

// judge says whether v reaches the mark. It rounds as the reader does, to two decimals.
func (m mark) judge(v float64) string {
	sign := "<="
	if m.atLeast {
		sign = ">="
	}
	what := strings.TrimSpace(fmt.Sprintf("%s %s %s", sign, trim(m.value), m.unit))
	v = math.Round(v*100) / 100
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return what + ": not measured"
	case m.atLeast && v >= m.value || !m.atLeast && v <= m.value:
		return what + ": reached"
	}
	return what + ": not reached"
}

// trim formats a round number with thousands separated.
func trim(v float64) string {
	s := strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
	if v < 10_000 {
		return s
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
