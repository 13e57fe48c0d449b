package main

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/coapkit/coap/message"
)

// replaceAt puts name in the place of each @ in a help text.
func replaceAt(text, name string) string { return strings.ReplaceAll(text, "@", name) }

// describeOption returns the name of an option and its value for people, with nothing
// that a terminal would take for a command. An option without value has the value "".
func describeOption(n message.OptionNumber, v []byte) (name, value string) {
	name = n.String()
	value = strings.TrimPrefix(message.Option{Number: n, Value: v}.String(), name)
	value = strings.TrimPrefix(value, ":")
	if n == message.OptionContentFormat || n == message.OptionAccept {
		if f, err := message.ParseContentFormat(value); err == nil && f.MediaType() != "" {
			value += " (" + f.String() + ")"
		}
	}
	return name, value
}

// describeOptions lists the options besides those that describeTarget shows.
func describeOptions(o *message.Options) string {
	var all []string
	for n, v := range o.All() {
		if n == message.OptionURIPath || n == message.OptionURIQuery {
			continue
		}
		name, value := describeOption(n, v)
		all = append(all, strings.TrimSuffix(name+": "+value, ": "))
	}
	return strings.Join(all, ", ")
}

// Payloads are shown up to these lengths.
const (
	shownText  = 48
	shownBytes = 16
)

// describePayload returns the size of a payload and how it begins.
func describePayload(p []byte) string {
	size := strconv.Itoa(len(p)) + " bytes "
	if len(p) == 1 {
		size = "1 byte "
	}
	if !isText(p) {
		return size + "0x" + hex.EncodeToString(p[:min(len(p), shownBytes)]) + more(len(p) > shownBytes)
	}
	end := len(p)
	if end > shownText {
		for end = shownText; !utf8.RuneStart(p[end]); end-- {
		}
	}
	return size + strconv.Quote(string(p[:end])) + more(end < len(p))
}

func more(cut bool) string {
	if cut {
		return "…"
	}
	return ""
}

// isText reports whether people can read b.
func isText(b []byte) bool {
	for _, r := range string(b) {
		if r == utf8.RuneError || !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return false
		}
	}
	return true
}
