package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap/message"
)

// completeURI proposes how a URI starts; the rest nobody can know.
func completeURI(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []cobra.Completion{"coap://"}, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

// completeOption proposes the names of options, ready for their value.
func completeOption(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	directive := cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	name, _, hasValue := strings.Cut(typed, "=")
	if d, ok := registry.ByName(name); ok && hasValue {
		return completeOptionValue(d), directive
	}
	var names []cobra.Completion
	for _, d := range registry.Definitions() {
		text := d.Name + "="
		if d.Format == message.FormatEmpty {
			text = d.Name
		}
		if strings.HasPrefix(strings.ToLower(text), strings.ToLower(typed)) {
			names = append(names, cobra.CompletionWithDesc(text, fmt.Sprintf("%d, %v", d.Number, d.Format)))
		}
	}
	return names, directive
}

// completeOptionValue proposes values where there are only certain ones.
func completeOptionValue(d message.Definition) []cobra.Completion {
	if d.Number != message.OptionContentFormat && d.Number != message.OptionAccept {
		return nil
	}
	formats := formatCompletions()
	for i, f := range formats {
		formats[i] = d.Name + "=" + f
	}
	return formats
}

// completeFormat proposes content formats.
func completeFormat(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return formatCompletions(), cobra.ShellCompDirectiveNoFileComp
}

// formatCompletions returns the registered content formats by their shortest name, those
// without an unambiguous one by number.
func formatCompletions() []cobra.Completion {
	var names []cobra.Completion
	for f := range message.ContentFormats() {
		names = append(names, cobra.CompletionWithDesc(shortName(f), f.String()))
	}
	return names
}

func shortName(f message.ContentFormat) string {
	if f == message.TextPlain {
		return "text"
	}
	whole, _, _ := strings.Cut(f.MediaType(), ";")
	_, short, _ := strings.Cut(whole, "/")
	for _, name := range [...]string{short, whole} {
		if g, err := message.ParseContentFormat(name); err == nil && g == f {
			return name
		}
	}
	return fmt.Sprint(uint16(f))
}

// noCompletion keeps the shell from proposing files where they make no sense.
func noCompletion(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}
