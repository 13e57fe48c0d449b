package fuzz

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The build script for OSS-Fuzz names every target that can be built there, and README.md and doc.go name all.
func TestTargetsAreListed(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	target := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(f \*testing\.F\)`)
	var all, portable []string
	for _, name := range files {
		text := read(t, name)
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
			if !strings.HasPrefix(text, "//go:build !gofuzz\n") {
				portable = append(portable, m[1])
			}
		}
	}
	slices.Sort(all)
	slices.Sort(portable)
	for _, list := range []struct {
		file, entry string
		want        []string
	}{
		{"oss-fuzz/build.sh", `(?m)^target (\w+)$`, portable},
		{"README.md", "(?m)^\\| `(Fuzz\\w+)` ", all},
		{"doc.go", `(?m)^//\t(Fuzz\w+) `, all},
	} {
		var got []string
		for _, m := range regexp.MustCompile(list.entry).FindAllStringSubmatch(read(t, list.file), -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		if !slices.Equal(got, list.want) {
			t.Errorf("%s lists\n%v, want\n%v", list.file, got, list.want)
		}
	}
}

func read(t *testing.T, name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
