package main

import (
	"fmt"
	"strings"
)

// The page has hand-written parts, and results between markers, one pair for each section.

func opening(name string) string { return "<!-- bench:" + name + " -->" }

func closing(name string) string { return "<!-- /bench:" + name + " -->" }

// insert returns page with what is between the markers of a section replaced.
func insert(page, name, body string) (string, error) {
	before, rest, ok := strings.Cut(page, opening(name))
	if !ok {
		return "", fmt.Errorf("the page has no line %q to put the results after", opening(name))
	}
	_, after, ok := strings.Cut(rest, closing(name))
	if !ok {
		return "", fmt.Errorf("the page has no line %q to put the results before", closing(name))
	}
	return before + opening(name) + "\n\n" + strings.TrimSpace(body) + "\n\n" + closing(name) + after, nil
}
