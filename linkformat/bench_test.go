package linkformat

import (
	"fmt"
	"testing"
)

// benchText is what a server with n resources has at /.well-known/core.
func benchText(n int) []byte {
	var b []byte
	for i := range n {
		b = fmt.Appendf(b, `</sensors/%d>;rt="temperature-c core.s";if="sensor";ct=40;title="Sensor %d";obs,`, i, i)
	}
	return b[:len(b)-1]
}

var sink []byte // keeps results alive

func BenchmarkCursor(b *testing.B) {
	text := benchText(100)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		c := NewCursor(text)
		for c.Next() {
			params := c.Link().Params()
			for params.Next() {
				sink = params.Param().Raw
			}
		}
		if c.Err() != nil {
			b.Fatal(c.Err())
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text := benchText(100)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	text := benchText(100)
	links, err := Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, len(text))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		sink, _ = Append(buf, links)
	}
}

func BenchmarkSelect(b *testing.B) {
	text := benchText(100)
	buf := make([]byte, 0, len(text))
	for _, arg := range []string{"rt=core.s", "href=/sensors/42", "title=Sensor 1*"} {
		b.Run(arg, func(b *testing.B) {
			f, err := ParseFilter([]byte(arg))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				sink, _ = Select(buf, text, f)
			}
		})
	}
}
