package coaptest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/coapkit/coap/message"
)

// line is a line as the package comment describes it.
type line struct {
	text             string
	msg              message.Message
	anyType, anyCode bool
	mid, tok, pay    bool                   // which of them are given
	options          []message.OptionNumber // those that are named
}

var messageTypes = map[string]message.Type{
	"CON": message.Confirmable, "NON": message.NonConfirmable, "ACK": message.Acknowledgement, "RST": message.Reset,
}

// parseLine reads a line. The error quotes it.
func parseLine(format string, args ...any) (*line, error) {
	l := &line{text: fmt.Sprintf(format, args...)}
	if err := l.parse(); err != nil {
		return nil, fmt.Errorf("coaptest: line %q: %w", l.text, err)
	}
	return l, nil
}

func (l *line) parse() error {
	words, err := split(l.text)
	if err != nil {
		return err
	}
	if len(words) < 2 {
		return errors.New("a line begins with type and code, such as CON GET or ACK 2.05")
	}
	var ok bool
	if l.msg.Type, ok = messageTypes[words[0]]; !ok && words[0] != "*" {
		return fmt.Errorf("type %q: want CON, NON, ACK, RST or *", words[0])
	}
	l.anyType = !ok
	if l.anyCode = words[1] == "*"; !l.anyCode {
		if l.msg.Code, err = message.ParseCode(words[1]); err != nil {
			return fmt.Errorf("code %q: want a method such as GET, a number such as 2.05, or *", words[1])
		}
	}
	for _, w := range words[2:] {
		if err := l.word(w); err != nil {
			return fmt.Errorf("word %s: %w", w, err)
		}
	}
	return nil
}

// split returns the words of a line: spaces within quotes are part of a word, a comment is none.
func split(text string) (words []string, err error) {
	const spaces = " \t\r\n"
	for {
		text = strings.TrimLeft(text, spaces)
		if text == "" || text[0] == '#' {
			return words, nil
		}
		end := 0
		for end < len(text) && !strings.ContainsRune(spaces, rune(text[end])) {
			if text[end] != '"' {
				end++
				continue
			}
			quoted, err := strconv.QuotedPrefix(text[end:])
			if err != nil {
				return nil, fmt.Errorf("the quote in %s does not end", text)
			}
			end += len(quoted)
		}
		words, text = append(words, text[:end]), text[end:]
	}
}

// word reads what follows type and code.
func (l *line) word(w string) error {
	i := strings.IndexAny(w, "=:")
	if i < 0 || w[i] == ':' {
		return l.option(w)
	}
	key, value := w[:i], w[i+1:]
	text, err := unquote(value)
	if err != nil {
		return err
	}
	switch key {
	case "mid":
		n, err := strconv.ParseUint(value, 0, 16)
		if err != nil {
			return errors.New("want a number from 0 to 65535")
		}
		l.msg.MessageID, l.mid = uint16(n), true
	case "tok":
		l.tok = true
		l.msg.Token, err = digits(value)
	case "path":
		l.name(message.OptionURIPath)
		if value == "/" {
			return nil
		}
		for _, segment := range strings.Split(strings.TrimPrefix(text, "/"), "/") {
			l.msg.Options.AddString(message.OptionURIPath, segment)
		}
	case "query":
		l.add(message.OptionURIQuery, []byte(text))
	case "opt":
		number, value, _ := strings.Cut(value, ":")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return errors.New("want opt=NUMBER:DIGITS, a number from 0 to 65535 and hexadecimal digits")
		}
		b, err := digits(value)
		if err != nil {
			return err
		}
		l.add(message.OptionNumber(n), b)
	case "pay":
		l.msg.Payload, l.pay = []byte(text), true
	default:
		return fmt.Errorf("there is no word %q: want mid, tok, path, query, opt, pay, or an option as Name:value", key)
	}
	return err
}

// name notes that an option is named.
func (l *line) name(n message.OptionNumber) {
	if !slices.Contains(l.options, n) {
		l.options = append(l.options, n)
	}
}

func (l *line) add(n message.OptionNumber, value []byte) {
	l.name(n)
	l.msg.Options.Add(n, value)
}

// option reads an option that is written by name.
func (l *line) option(w string) error {
	name, value, has := strings.Cut(w, ":")
	var registered *message.Registry
	d, ok := registered.ByName(name)
	if !ok {
		if similar := registered.Similar(name); len(similar) > 0 {
			return fmt.Errorf("there is no option %q, similar are %s; write others as opt=NUMBER:DIGITS", name, strings.Join(similar, ", "))
		}
		return fmt.Errorf("there is no option %q; write those without a registered name as opt=NUMBER:DIGITS", name)
	}
	if hexadecimal, ok := strings.CutPrefix(value, "0x"); ok {
		b, err := digits(hexadecimal)
		l.add(d.Number, b)
		return err
	}
	switch {
	case d.Format == message.FormatUint:
		n, err := strconv.ParseUint(value, 10, 64)
		if d.Number == message.OptionContentFormat || d.Number == message.OptionAccept {
			var f message.ContentFormat
			f, err = message.ParseContentFormat(value)
			n = uint64(f)
		}
		if err != nil {
			return fmt.Errorf("the value of %s is a number, or 0x and hexadecimal digits", d.Name)
		}
		l.name(d.Number)
		l.msg.Options.AddUint(d.Number, n)
	case d.Format == message.FormatString:
		text, err := unquote(value)
		l.add(d.Number, []byte(text))
		return err
	case d.Format == message.FormatEmpty && !has:
		l.add(d.Number, nil)
	case d.Format == message.FormatEmpty:
		return fmt.Errorf("%s has no value: write the name alone", d.Name)
	default:
		return fmt.Errorf("the value of %s is bytes: write 0x and hexadecimal digits", d.Name)
	}
	return nil
}

// digits reads bytes in hexadecimal digits.
func digits(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, errors.New("want an even number of hexadecimal digits")
	}
	return b, nil
}

func unquote(s string) (string, error) {
	if !strings.HasPrefix(s, `"`) {
		return s, nil
	}
	text, err := strconv.Unquote(s)
	if err != nil {
		return "", errors.New("want a space behind the closing quote")
	}
	return text, nil
}

// match says what is different in a message, nil if it is as the line says.
func (l *line) match(m *message.Message) error {
	differs := func(what string, got, want any) error { return fmt.Errorf("the %s is %v, want %v", what, got, want) }
	switch {
	case !l.anyType && m.Type != l.msg.Type:
		return differs("type", m.Type, l.msg.Type)
	case !l.anyCode && m.Code != l.msg.Code:
		return differs("code", m.Code, l.msg.Code)
	case l.mid && m.MessageID != l.msg.MessageID:
		return fmt.Errorf("the message ID is 0x%04x, want 0x%04x", m.MessageID, l.msg.MessageID)
	case l.tok && !bytes.Equal(m.Token, l.msg.Token):
		return differs("token", "0x"+m.Token.String(), "0x"+l.msg.Token.String())
	case l.pay && !bytes.Equal(m.Payload, l.msg.Payload):
		return fmt.Errorf("the payload is %q, want %q", m.Payload, l.msg.Payload)
	}
	for _, n := range l.options {
		got, want := occurrences(m, n), occurrences(&l.msg, n)
		if !slices.Equal(got, want) {
			return differs("option "+n.String(), orNone(got), orNone(want))
		}
	}
	return nil
}

// occurrences are the options of a message with one number, as words.
func occurrences(m *message.Message, n message.OptionNumber) (words []string) {
	for v := range m.Options.Values(n) {
		words = append(words, optionWord(n, v))
	}
	return words
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "not there"
	}
	return strings.Join(words, " ")
}

// formatLine writes a message as a line.
func formatLine(m *message.Message) string {
	code := m.Code.Dotted()
	if name := m.Code.Name(); m.Code.IsRequest() && name != "" {
		code = name
	}
	words := []string{m.Type.String(), code, fmt.Sprintf("mid=0x%04x", m.MessageID)}
	if len(m.Token) > 0 {
		words = append(words, "tok="+m.Token.String())
	}
	path, plain := "", true
	for v := range m.Options.Values(message.OptionURIPath) {
		path += "/" + string(v)
		plain = plain && len(v) > 0 && !strings.Contains(string(v), "/")
	}
	plain = plain && path != ""
	if plain {
		words = append(words, "path="+quote(path[1:]))
	}
	for n, v := range m.Options.All() {
		switch {
		case n == message.OptionURIQuery:
			words = append(words, "query="+quote(string(v)))
		case n != message.OptionURIPath || !plain:
			words = append(words, optionWord(n, v))
		}
	}
	if len(m.Payload) > 0 {
		words = append(words, "pay="+quote(string(m.Payload)))
	}
	return strings.Join(words, " ")
}

func optionWord(n message.OptionNumber, value []byte) string {
	d, ok := (*message.Registry)(nil).Lookup(n)
	switch {
	case !ok:
		return fmt.Sprintf("opt=%d:%x", n, value)
	case len(value) > d.MaxLen: // a number, perhaps, that a line cannot have
		return fmt.Sprintf("%s:0x%x", d.Name, value)
	}
	return message.Option{Number: n, Value: value}.String()
}

// quote quotes a text if a line asks for that.
func quote(s string) string {
	if q := strconv.Quote(s); len(q) > len(s)+2 || strings.ContainsAny(s, " #") {
		return q
	}
	return s
}
