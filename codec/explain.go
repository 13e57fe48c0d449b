package codec

import (
	"github.com/coapkit/coap/internal/wire"
	"github.com/coapkit/coap/message"
)

// Explain appends an explanation of the datagram b, for people, to dst and returns the
// extended slice: each field with its offset, its bytes in hexadecimal and its meaning.
//
//	0000  44                       version, type, token length
//	                               01.. .... version 1
//	                               ..00 .... type 0: CON, Confirmable
//	                               .... 0100 token length 4
//	0001  01                       code 0.01: GET, a request
//
// A malformed datagram is explained up to the error; then come the rule that is broken and
// what a receiver does about it. Long fields and long lists are shortened, so that the
// explanation has less than 100,000 bytes, however long b is. It holds nothing but
// printable characters and line feeds, whatever b holds, and may be shown on a terminal.
func Explain(dst, b []byte) []byte {
	var m message.Message
	err := DecodeUDP(b, &m)
	// The decoder judges; the explainer walks the same way until it cannot go on.
	e := explainer{table: table{out: dst, b: b}, code: m.Code}
	if e.header() && m.Code != message.Empty && e.token() && e.options() {
		e.payload()
	}
	if fault, ok := err.(message.FormatError); ok {
		if e.at < len(b) {
			e.field(len(b) - e.at).text("not read").end()
		}
		e.fault(fault, m.Type)
	} else {
		e.remark(m.Type)
	}
	return e.out
}

// maxShownOptions is the number of options that are shown; more are counted.
const maxShownOptions = 64

// explainer walks over a datagram. Its methods report false where the walk ends early.
type explainer struct {
	table
	code   message.Code
	number int // of the option before
}

func (e *explainer) header() bool {
	if len(e.b) == 0 {
		return false
	}
	first := e.b[0]
	e.field(1).text("version, type, token length").end()
	e.bits(first, 0xC0).text("version ").num(int(first >> 6)).end()
	if first>>6 != version || len(e.b) < HeaderSize {
		return false
	}
	t := message.Type(first >> 4 & 3)
	e.bits(first, 0x30).text("type ").num(int(t)).text(": ").text(t.String()).text(", ").text(typeNames[t]).end()
	e.bits(first, 0x0F).nibble("token length ", first&15).end()

	e.field(1).text("code ").text(e.code.Dotted()).text(": ")
	if name := e.code.Name(); name != "" {
		e.text(name).text(", ")
	}
	e.text(codeKind(e.code)).end()
	e.field(2).text("message ID ").num(int(e.b[2])<<8 | int(e.b[3])).end()
	return true
}

var typeNames = [4]string{"Confirmable", "Non-confirmable", "Acknowledgement", "Reset"}

func codeKind(c message.Code) string {
	switch {
	case c == message.Empty:
		return "neither request nor response"
	case c.IsRequest():
		return "a request"
	case c.IsSignal():
		return "a signal of reliable transports"
	}
	switch c.Class() {
	case 2:
		return "a response, success"
	case 4:
		return "a response, client error"
	case 5:
		return "a response, server error"
	}
	return "of a reserved class"
}

func (e *explainer) token() bool {
	n, ok := e.extension("token length ", e.b[0]&15)
	if !ok || n > len(e.b)-e.at {
		return false
	}
	if n > 0 {
		e.field(n).text("token, ").count(n, "byte").end()
	}
	return true
}

// options explains all options. The message may have thousands of them; those after
// the first ones are explained as well, but only the last one is left standing if
// it is malformed.
func (e *explainer) options() bool {
	var from, mark int // in the datagram and in the explanation: the end of what is shown
	for i := 0; ; i++ {
		if i == maxShownOptions {
			from, mark = e.at, len(e.out)
		}
		if hidden := i - maxShownOptions; hidden > 0 {
			e.out = e.out[:mark]
			e.plain().text("... ").count(hidden, "more option").text(" in ").count(e.at-from, "byte").
				text(", the last number is ").num(e.number).end()
		}
		if e.at == len(e.b) || e.b[e.at] == payloadMarker {
			return true
		}
		if !e.option(i == 0) {
			return false
		}
	}
}

func (e *explainer) option(first bool) bool {
	head := e.b[e.at]
	e.field(1).text("option").end()
	e.bits(head, 0xF0).nibble("delta ", head>>4).end()
	e.bits(head, 0x0F).nibble("length ", head&15).end()
	delta, ok := e.extension("delta ", head>>4)
	if !ok {
		return false
	}
	length, ok := e.extension("length ", head&15)
	if !ok {
		return false
	}
	repeated := !first && delta == 0
	e.plain().text("number ").num(e.number).text(" + ").num(delta).text(" = ").num(e.number + delta)
	e.number += delta
	if e.number > 0xFFFF {
		e.end()
		return false
	}
	d, known := (*message.Registry)(nil).Lookup(message.OptionNumber(e.number))
	e.optionName(d, known)
	if length > len(e.b)-e.at {
		return false
	}
	e.optionValue(d, e.b[e.at:e.at+length])
	if known {
		e.optionRules(d, length, repeated)
	}
	return true
}

// optionName ends the row with the number: name and how to treat the option
// (RFC 7252 section 5.4.6).
func (e *explainer) optionName(d message.Definition, known bool) {
	name, class, forward := "not a registered option", "elective", "safe to forward"
	if known {
		name = d.Name
	}
	if d.Number.Critical() {
		class = "critical"
	}
	switch {
	case d.Number.Unsafe():
		forward = "unsafe to forward"
	case d.Number.NoCacheKey():
		forward = "safe to forward, not in the cache key"
	}
	e.text(": ").text(name).text(", ").text(class).text(", ").text(forward).end()
}

// optionRules says when a receiver has to take the option for one that it does not know.
func (e *explainer) optionRules(d message.Definition, length int, repeated bool) {
	if length < d.MinLen || length > d.MaxLen {
		e.plain().text("length is not ").num(d.MinLen).text(" to ").num(d.MaxLen).
			text(": treated like an unrecognized option, RFC 7252 section 5.4.3").end()
	}
	if repeated && !d.Repeatable {
		e.plain().text("must not be repeated: treated like an unrecognized option, RFC 7252 section 5.4.5").end()
	}
}

func (e *explainer) optionValue(d message.Definition, v []byte) {
	if len(v) == 0 {
		e.plain().text("value empty")
	} else {
		e.field(len(v)).text("value ")
	}
	u, isUint := wire.Uint(v)
	switch {
	case d.Format == message.FormatUint && isUint:
		if len(v) == 0 {
			e.text(": ")
		}
		e.uint(u)
		if len(v) <= d.MaxLen {
			e.uintMeaning(d.Number, int(u))
		}
	case len(v) == 0:
	case d.Format == message.FormatString:
		e.quote(v)
	default:
		e.count(len(v), "byte")
	}
	e.end()
}

// uintMeaning adds what an integer stands for, where that is not plain to see.
func (e *explainer) uintMeaning(n message.OptionNumber, v int) {
	switch n {
	case message.OptionObserve:
		switch {
		case !e.code.IsRequest():
			e.text(", the sequence number of a notification")
		case v == 0:
			e.text(", register")
		case v == 1:
			e.text(", deregister")
		}
	case message.OptionBlock1, message.OptionBlock2, message.OptionQBlock1, message.OptionQBlock2:
		e.block(v)
	case message.OptionMaxAge:
		e.text(" seconds")
	case message.OptionContentFormat, message.OptionAccept:
		if f := message.ContentFormat(v); f.MediaType() != "" {
			e.text(": ").text(f.MediaType())
			if f.Coding() != "" {
				e.text(", coding ").text(f.Coding())
			}
		}
	}
}

// block explains the value of a block option (RFC 7959 section 2.2).
func (e *explainer) block(v int) {
	e.text(": block ").num(v >> 4)
	if v&8 != 0 {
		e.text(", more blocks follow")
	} else {
		e.text(", no more blocks")
	}
	if szx := v & 7; szx == 7 {
		e.text(", size exponent 7 is reserved")
	} else {
		e.text(", size ").num(16 << szx)
	}
}

func (e *explainer) payload() {
	if e.at == len(e.b) {
		return
	}
	e.field(1).text("payload marker").end()
	if n := len(e.b) - e.at; n > 0 {
		v := e.b[e.at:]
		e.field(n).text("payload, ").count(n, "byte")
		if isText(v) {
			e.text(", text ").quote(v)
		}
		e.end()
	}
}

// nibble explains 4 bits that hold a token length, an option delta or an option length.
func (t *table) nibble(what string, v byte) *table {
	t.text(what).num(int(v))
	switch v {
	case wire.Ext8:
		t.text(": one more byte")
	case wire.Ext16:
		t.text(": two more bytes")
	case wire.Reserved:
		t.text(": reserved")
	}
	return t
}

// extension explains the bytes that complete a nibble, if there are any, and returns
// the value of both.
func (e *explainer) extension(what string, nibble byte) (v int, ok bool) {
	if nibble == wire.Reserved {
		return 0, false
	}
	v, n := wire.ConsumeExt(nibble, e.b[e.at:])
	if n < 0 {
		return 0, false
	}
	if n > 0 {
		base := 13
		if n == 2 {
			base = 269
		}
		e.field(n).text(what).num(base).text(" + ").num(v - base).text(" = ").num(v).end()
	}
	return v, true
}

// rules has the rule that each format error breaks.
var rules = [...]string{
	message.ErrHeaderTooShort:        "RFC 7252 section 3: a message starts with a header of 4 bytes",
	message.ErrVersion:               "RFC 7252 section 3: the version is 1",
	message.ErrTokenLengthReserved:   "RFC 8974 section 2.1: token length 15 is reserved",
	message.ErrTokenTruncated:        "RFC 8974 section 2.1: a token of the given length follows the header",
	message.ErrEmptyNotEmpty:         "RFC 7252 section 4.1: nothing follows the header of an Empty message, and its token length is 0",
	message.ErrOptionDeltaReserved:   "RFC 7252 section 3.1: option delta 15 is reserved for the payload marker 0xff",
	message.ErrOptionLengthReserved:  "RFC 7252 section 3.1: option length 15 is reserved",
	message.ErrOptionHeaderTruncated: "RFC 7252 section 3.1: one or two bytes follow a delta or length of 13 or 14",
	message.ErrOptionValueTruncated:  "RFC 7252 section 3.1: a value of the given length follows the option header",
	message.ErrOptionNumberOverflow:  "RFC 7252 section 12.2: an option number is at most 65535",
	message.ErrPayloadMissing:        "RFC 7252 section 3: at least one byte follows the payload marker",
}

// fault explains a format error. t is the type that the header says, if there is one.
func (e *explainer) fault(err message.FormatError, t message.Type) {
	e.text(err.Error()).end()
	e.text("  rule      ").text(rules[err]).end()
	e.text("  receiver  ").text(rejection(err, t)).end()
}

func rejection(err message.FormatError, t message.Type) string {
	switch {
	case err == message.ErrHeaderTooShort:
		return "ignores it silently: there is no message ID to reject"
	case err == message.ErrVersion:
		return "ignores it silently, RFC 7252 section 3"
	case t == message.Confirmable:
		return "rejects the CON with a RST that echoes the message ID, RFC 7252 section 4.2"
	case t == message.NonConfirmable:
		return "ignores the NON silently, RFC 7252 section 4.3"
	default:
		return "ignores an ACK or RST silently, RFC 7252 section 4.2"
	}
}

// remark says what a receiver does with a well-formed message that asks for nothing.
func (e *explainer) remark(t message.Type) {
	c := e.code
	switch {
	case t == message.Confirmable && c == message.Empty:
		e.text("a ping: the receiver answers with a RST, RFC 7252 section 4.3").end()
	case t == message.Confirmable && c.IsReserved():
		e.text("the receiver rejects a CON of this code class with a RST, RFC 7252 section 4.2").end()
	case t == message.NonConfirmable && (c == message.Empty || c.IsReserved()):
		e.text("the receiver ignores a NON with this code silently, RFC 7252 section 4.3").end()
	case t == message.Acknowledgement && (c.IsRequest() || c.IsReserved()):
		e.text("the receiver ignores an ACK with this code silently, RFC 7252 section 4.2").end()
	case t == message.Reset && c != message.Empty:
		e.text("the receiver ignores a RST that is not Empty silently, RFC 7252 section 4.2").end()
	}
}
