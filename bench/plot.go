package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// plot is a line chart, or a bar chart of one value for each of labels.
type plot struct {
	file           string // below the folder of the plots
	title          string
	xLabel, yLabel string
	logX, logY     bool
	lines          []line
	bars           []bar // instead of lines
}

type line struct {
	name   string
	x, y   []float64
	dashed bool
}

type bar struct {
	name  string
	value float64
}

const (
	plotWidth, plotHeight = 720, 420
	plotLeft, plotTop     = 76, 48
	plotRight, plotBottom = 170, 56
)

// Colours that people with any sight can tell apart, dark enough on white. Dashed lines, and the bars of
// others than this library, are grey.
var colours = []string{"#0057b8", "#c44601", "#00745a", "#8a2b8f", "#a06a00"}

const grey = "#767676"

// svg returns the chart as a document of its own, on white, so that it can be read in dark themes as well.
func (p *plot) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" role="img">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(p.title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", plotWidth, plotHeight)
	text(&b, plotLeft, 26, "start", 16, p.title)
	if len(p.bars) > 0 {
		p.drawBars(&b)
	} else {
		p.drawLines(&b)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func text(b *strings.Builder, x, y float64, anchor string, size int, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="#222222" stroke="#ffffff" stroke-width="3" paint-order="stroke">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(s))
}

func (p *plot) drawLines(b *strings.Builder) {
	var xs, ys []float64
	for _, l := range p.lines {
		for i := range l.x {
			if usable(l.x[i], p.logX) && usable(l.y[i], p.logY) {
				xs, ys = append(xs, l.x[i]), append(ys, l.y[i])
			}
		}
	}
	if len(xs) == 0 {
		text(b, plotLeft, plotHeight/2, "start", 13, "not measured")
		return
	}
	x := newAxis(slices.Min(xs), slices.Max(xs), p.logX, plotLeft, plotWidth-plotRight)
	y := newAxis(slices.Min(ys), slices.Max(ys), p.logY, plotHeight-plotBottom, plotTop)
	p.frame(b, &x, &y)
	drawn := 0
	for i, l := range p.lines {
		colour, dash := colours[drawn%len(colours)], ""
		if l.dashed {
			colour, dash = grey, ` stroke-dasharray="6 4"`
		} else {
			drawn++
		}
		var path []string
		for j := range l.x {
			if !usable(l.x[j], p.logX) || !usable(l.y[j], p.logY) {
				continue
			}
			px, py := x.at(l.x[j]), y.at(l.y[j])
			path = append(path, fmt.Sprintf("%.1f,%.1f", px, py))
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", px, py, colour)
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.Join(path, " "), colour, dash)
		ly := float64(plotTop + 8 + i*22)
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-width="2"%s/>`+"\n", plotWidth-plotRight+14, ly, plotWidth-plotRight+38, ly, colour, dash)
		text(b, plotWidth-plotRight+44, ly+4, "start", 13, l.name)
	}
}

// usable reports whether a value can be drawn.
func usable(v float64, logarithmic bool) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!logarithmic || v > 0)
}

func (p *plot) frame(b *strings.Builder, x, y *axis) {
	for _, v := range y.ticks {
		py := y.at(v)
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#dddddd"/>`+"\n", plotLeft, py, plotWidth-plotRight, py)
		text(b, plotLeft-8, py+4, "end", 12, tickLabel(v))
	}
	for _, v := range x.ticks {
		px := x.at(v)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#888888"/>`+"\n", px, plotHeight-plotBottom, px, plotHeight-plotBottom+5)
		text(b, px, plotHeight-plotBottom+20, "middle", 12, tickLabel(v))
	}
	fmt.Fprintf(b, `<path d="M%d %d V%d H%d" fill="none" stroke="#888888"/>`+"\n", plotLeft, plotTop, plotHeight-plotBottom, plotWidth-plotRight)
	text(b, float64(plotLeft+plotWidth-plotRight)/2, plotHeight-12, "middle", 13, p.xLabel)
	my := float64(plotTop+plotHeight-plotBottom) / 2
	fmt.Fprintf(b, `<text x="20" y="%.1f" text-anchor="middle" font-size="13" fill="#222222" transform="rotate(-90 20 %.1f)">%s</text>`+"\n", my, my, html.EscapeString(p.yLabel))
}

func (p *plot) drawBars(b *strings.Builder) {
	const left = 240
	top := 0.0
	for _, r := range p.bars {
		if usable(r.value, false) {
			top = max(top, r.value)
		}
	}
	x := newAxis(0, top, false, left, plotWidth-70)
	step := float64(plotHeight-plotBottom-plotTop) / float64(len(p.bars))
	for _, v := range x.ticks {
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#dddddd"/>`+"\n", x.at(v), plotTop, x.at(v), plotHeight-plotBottom)
		text(b, x.at(v), plotHeight-plotBottom+20, "middle", 12, tickLabel(v))
	}
	for i, r := range p.bars {
		y := plotTop + float64(i)*step
		text(b, left-10, y+step/2+4, "end", 13, r.name)
		if !usable(r.value, false) {
			text(b, left+6, y+step/2+4, "start", 12, "not measured")
			continue
		}
		thick, colour := min(step*0.7, 34), grey
		if strings.HasPrefix(r.name, nameOurs) {
			colour = colours[0]
		}
		fmt.Fprintf(b, `<rect x="%d" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", left, y+(step-thick)/2, max(x.at(r.value)-left, 1), thick, colour)
		text(b, x.at(r.value)+6, y+step/2+4, "start", 12, number(r.value))
	}
	text(b, float64(left+plotWidth-70)/2, plotHeight-12, "middle", 13, p.yLabel)
}

// axis maps values to positions.
type axis struct {
	low, high   float64
	from, to    float64
	logarithmic bool
	ticks       []float64
}

// newAxis returns an axis with round ends and ticks for values between low and high.
func newAxis(low, high float64, logarithmic bool, from, to float64) axis {
	a := axis{from: from, to: to, logarithmic: logarithmic}
	if logarithmic {
		a.setLogarithmic(low, high)
		return a
	}
	a.low = min(low, 0)
	if high <= a.low {
		high = a.low + 1
	}
	step := roundStep((high - a.low) / 5)
	a.high = math.Ceil(high/step-1e-9) * step
	for i := 0; float64(i)*step <= (a.high-a.low)*1.001; i++ {
		a.ticks = append(a.ticks, a.low+float64(i)*step)
	}
	return a
}

// setLogarithmic ends the axis at 1, 2 or 5 times a power of ten, and has a tick at each of these, or at powers only
// where those would be many.
func (a *axis) setLogarithmic(low, high float64) {
	power := math.Pow(10, math.Floor(math.Log10(low)))
	var all, powers []float64
	for ; ; power *= 10 {
		for _, m := range []float64{1, 2, 5} {
			v := m * power
			if v <= low { // the last of these is where the axis begins
				all, powers = nil, nil
			}
			all = append(all, v)
			if m == 1 {
				powers = append(powers, v)
			}
			if v >= high*0.999 && len(all) > 1 {
				a.low, a.high, a.ticks = all[0], v, all
				if len(all) > 8 {
					a.ticks = powers
				}
				return
			}
		}
	}
}

// roundStep returns the least of 1, 2 and 5 times a power of ten that is not less than v.
func roundStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*p >= v*0.999 {
			return m * p
		}
	}
	return 10 * p
}

func (a *axis) at(v float64) float64 {
	share := (v - a.low) / (a.high - a.low)
	if a.logarithmic {
		share = math.Log(v/a.low) / math.Log(a.high/a.low)
	}
	return a.from + share*(a.to-a.from)
}

func tickLabel(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
