package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// answer is a response with what is known about how it came.
type answer struct {
	uri     string
	resp    *coap.Response
	elapsed time.Duration
	// number counts the answers of a group from 1; 0 is the answer of one server.
	number int
	// file has the body, if there is one, which has so many bytes then.
	file string
	size int64
}

// ofGroup reports whether it is one answer of perhaps several.
func (a *answer) ofGroup() bool { return a.number > 0 }

// heading returns the code, and who has answered if that is not clear.
func (a *answer) heading() string {
	if a.resp.Code == message.Empty {
		return "no response, as asked"
	}
	if !a.ofGroup() {
		return a.resp.Code.String()
	}
	return strings.TrimSuffix(fmt.Sprintf("%v from %v by %s", a.resp.Code, a.resp.Peer(), linkOf(a.resp)), " by ")
}

// writeResponse writes a response: the code and the options to standard error, the body or
// the JSON object to standard output. The error carries the exit status of the code, unless
// others have answered, too.
func writeResponse(s *streams, a *answer, asJSON bool) error {
	if a.number > 1 {
		fmt.Fprintln(s.err)
	}
	fmt.Fprintln(s.err, a.heading())
	for n, v := range a.resp.Options.All() {
		name, value := describeOption(n, v)
		fmt.Fprintln(s.err, strings.TrimSuffix(name+": "+value, ": "))
	}
	var err error
	if asJSON {
		err = writeJSON(s.out, newResponseJSON(a))
	} else {
		err = writeBody(s, a.resp.Payload)
	}
	if err != nil {
		return err
	}
	if a.ofGroup() || a.resp.Err() == nil {
		return nil
	}
	return &failure{status: int(a.resp.Code.Class())}
}

// writeBody writes the body as it is. On a terminal, a line break follows on standard
// error if the body does not end with one.
func writeBody(s *streams, body []byte) error {
	if _, err := s.out.Write(body); err != nil {
		return usagef("cannot write the body: %v", err)
	}
	if len(body) > 0 && !bytes.HasSuffix(body, []byte("\n")) && isTerminal(s.out) && isTerminal(s.err) {
		fmt.Fprintln(s.err)
	}
	return nil
}

// writeJSON writes v as one line.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return usagef("cannot write the result: %v", err)
	}
	return nil
}

// optionJSON is an option in JSON. Name is empty for an option that is not registered.
type optionJSON struct {
	Number uint16 `json:"number"`
	Name   string `json:"name"`
	Value  string `json:"value"` // hexadecimal
	// Decoded is the number or the text; coap decode leaves it out.
	Decoded any `json:"decoded,omitempty"`
}

func newOptionJSON(n message.OptionNumber, value []byte) optionJSON {
	d, _ := registry.Lookup(n)
	return optionJSON{Number: uint16(n), Name: d.Name, Value: hex.EncodeToString(value)}
}

// responseJSON is a response in JSON. Its fields keep their names and meanings.
type responseJSON struct {
	URI     string       `json:"uri"`
	Peer    string       `json:"peer"`
	Link    string       `json:"interface,omitempty"` // of the answers of a group
	Elapsed float64      `json:"elapsed"`             // seconds
	Code    string       `json:"code"`
	Name    string       `json:"name"`
	Options []optionJSON `json:"options"`
	Payload string       `json:"payload"` // hexadecimal
	Text    *string      `json:"text,omitempty"`
	File    string       `json:"file,omitempty"` // which has the payload
	Size    *int64       `json:"size,omitempty"` // of File
}

func newResponseJSON(a *answer) *responseJSON {
	r := &responseJSON{
		URI: a.uri, Peer: a.resp.Peer().String(), Elapsed: a.elapsed.Seconds(),
		Code: a.resp.Code.Dotted(), Name: a.resp.Code.Name(),
		Options: []optionJSON{}, Payload: hex.EncodeToString(a.resp.Payload),
	}
	if a.ofGroup() {
		r.Link = linkOf(a.resp)
	}
	for n, v := range a.resp.Options.All() {
		o := newOptionJSON(n, v)
		o.Decoded = decoded(n, v)
		r.Options = append(r.Options, o)
	}
	if a.file != "" {
		r.File, r.Size = a.file, &a.size
	} else if utf8.Valid(a.resp.Payload) {
		text := string(a.resp.Payload)
		r.Text = &text
	}
	return r
}

// decoded returns the value of an option as a number or a text, nil for bytes.
func decoded(n message.OptionNumber, value []byte) any {
	d, _ := registry.Lookup(n)
	switch {
	case d.Format == message.FormatUint:
		var o message.Options
		o.Add(n, value)
		if v, ok := o.Uint(n); ok {
			return v
		}
	case d.Format == message.FormatString && utf8.Valid(value):
		return string(value)
	}
	return nil
}
