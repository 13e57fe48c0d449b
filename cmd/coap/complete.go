package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// completeURI proposes how a URI starts; the rest nobody can know.
func completeURI(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []cobra.Completion{"coap://", "coaps://"}, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

// completeDiscover proposes the groups of all CoAP nodes, too.
func completeDiscover(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	uris, directive := completeURI(cmd, args, typed)
	if len(uris) == 0 {
		return uris, directive
	}
	for _, group := range coap.AllNodes() {
		uri := coap.Authority{Scheme: "coap", Host: group.String()}.String()
		uris = append(uris, cobra.CompletionWithDesc(uri, "all CoAP nodes"))
	}
	return uris, directive
}

// completeInterface proposes the interfaces that are up, with their addresses.
func completeInterface(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	all, _ := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, _ := i.Addrs()
		texts := make([]string, len(addrs))
		for k, a := range addrs {
			texts[k] = a.String()
		}
		names = append(names, cobra.CompletionWithDesc(i.Name, strings.Join(texts, " ")))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFilter proposes the attributes to search for, and the values that have names.
func completeFilter(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	directive := cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	if strings.HasPrefix(typed, "ct=") {
		var formats []cobra.Completion
		for f := range message.ContentFormats() {
			formats = append(formats, cobra.CompletionWithDesc(fmt.Sprintf("ct=%d", uint16(f)), f.String()))
		}
		return formats, directive
	}
	return []cobra.Completion{
		cobra.CompletionWithDesc("rt=", "resource type"),
		cobra.CompletionWithDesc("if=", "interface description"),
		cobra.CompletionWithDesc("ct=", "content format, by number"),
		cobra.CompletionWithDesc("href=", "target"),
		cobra.CompletionWithDesc("title=", "title"),
	}, directive
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
