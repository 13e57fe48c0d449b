package main

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/coapkit/coap/message"
)

const optionHelp = "add an `option`, NAME=VALUE or NUMBER=VALUE; repeatable.\n" +
	`A value is written as its format asks: a decimal number,
text, or 0x… for bytes; an option without value stands
alone. With NUMBER, 0x… is sent whatever it is`

// registry knows the options by name.
var registry *message.Registry

// addOptions adds the options that -o asks for to those of the URI.
func addOptions(o *message.Options, args []string) error {
	given := make(map[message.OptionNumber]bool)
	for _, arg := range args {
		name, text, _ := strings.Cut(arg, "=")
		d, byNumber, err := findOption(name)
		if err != nil {
			return err
		}
		value, err := optionValue(d, byNumber, text)
		if err != nil {
			return err
		}
		switch {
		case byNumber || d.Repeatable:
			o.Add(d.Number, value)
		case given[d.Number]:
			return usagef("-o %s: %s must not be repeated; write -o %d=… to do it all the same", arg, d.Name, d.Number)
		default:
			o.Set(d.Number, value) // in place of what the URI or another flag says
		}
		given[d.Number] = true
	}
	return nil
}

// findOption finds an option by its name or number. A number need not be registered.
func findOption(name string) (d message.Definition, byNumber bool, err error) {
	if isNumber(name) {
		n, err := strconv.ParseUint(name, 10, 16)
		if err != nil {
			return d, true, usagef("-o %s: an option number is at most 65535", name)
		}
		d, _ = registry.Lookup(message.OptionNumber(n))
		return d, true, nil
	}
	if d, ok := registry.ByName(name); ok {
		return d, false, nil
	}
	if near := registry.Similar(name); len(near) > 0 {
		return d, false, usagef("unknown option %q, did you mean %s? An option without a name is written by number: -o 65=…", name, strings.Join(near, " or "))
	}
	return d, false, usagef("unknown option %q; known are %s; others are written by number: -o 65=…", name, strings.Join(optionNames(), ", "))
}

// optionValue encodes the text of a value in the format of the option.
func optionValue(d message.Definition, byNumber bool, text string) ([]byte, error) {
	value, err := encodeValue(d, text)
	if err != nil {
		return nil, err
	}
	if byNumber {
		return value, nil
	}
	if n := len(value); n < d.MinLen || n > d.MaxLen {
		return nil, usagef("-o %s=%s: the value has %d bytes, want %s; write -o %d=0x… to send it all the same", d.Name, text, n, lengths(d), d.Number)
	}
	return value, nil
}

func encodeValue(d message.Definition, text string) ([]byte, error) {
	if digits, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		value, err := hex.DecodeString(digits)
		if err != nil {
			return nil, usagef("-o %v=%s: after 0x, want an even number of hexadecimal digits", d.Number, text)
		}
		return value, nil
	}
	switch d.Format {
	case message.FormatUint:
		return encodeUint(d, text)
	case message.FormatEmpty:
		if text != "" {
			return nil, usagef("-o %s=%s: this option has no value, write -o %s", d.Name, text, d.Name)
		}
	case message.FormatOpaque:
		if text != "" {
			return nil, usagef("-o %s=%s: the value is bytes, write 0x and hexadecimal digits; the text would be 0x%x", d.Name, text, text)
		}
	}
	return []byte(text), nil
}

// encodeUint encodes a decimal number, or the name of a content format where one is meant.
func encodeUint(d message.Definition, text string) ([]byte, error) {
	var o message.Options
	if d.Number == message.OptionContentFormat || d.Number == message.OptionAccept {
		f, err := message.ParseContentFormat(text)
		if err != nil {
			return nil, usagef("-o %s=%s: %s", d.Name, text, plain(err))
		}
		o.AddUint(d.Number, uint64(f))
	} else {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, usagef("-o %s=%s: the value is a number, write it in decimal, or 0x… for bytes", d.Name, text)
		}
		o.AddUint(d.Number, n)
	}
	value, _ := o.First(d.Number)
	return value, nil
}

// lengths says how long a value of an option may be.
func lengths(d message.Definition) string {
	if d.MinLen == d.MaxLen {
		return strconv.Itoa(d.MinLen)
	}
	return strconv.Itoa(d.MinLen) + " to " + strconv.Itoa(d.MaxLen)
}

func optionNames() []string {
	var names []string
	for _, d := range registry.Definitions() {
		names = append(names, d.Name)
	}
	return names
}
