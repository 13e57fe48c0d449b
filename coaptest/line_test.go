package coaptest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/message"
)

func TestParseLine(t *testing.T) {
	l, err := parseLine(`CON POST mid=0x7001 tok=0a1b path=a/b query="x=1 2" Accept:json Max-Age:60 Uri-Host:"h h" ETag:0x01ff If-None-Match opt=2050:00ff pay="hello\n#\"" # the request`)
	require.NoError(t, err)
	m := &l.msg
	require.Equal(t, message.Confirmable, m.Type)
	require.Equal(t, message.POST, m.Code)
	require.EqualValues(t, 0x7001, m.MessageID)
	require.Equal(t, message.Token{0x0a, 0x1b}, m.Token)
	require.Equal(t, "/a/b", m.Options.Path())
	query, _ := m.Options.QueryValue("x")
	require.Equal(t, "1 2", query)
	accept, _ := m.Options.Accept()
	require.Equal(t, message.JSON, accept)
	require.Equal(t, 9, m.Options.Len())
	etag, _ := m.Options.ETag()
	require.Equal(t, []byte{1, 0xff}, etag)
	require.True(t, m.Options.IfNoneMatch())
	custom, _ := m.Options.First(2050)
	require.Equal(t, []byte{0, 0xff}, custom)
	require.Equal(t, "hello\n#\"", string(m.Payload))

	for text, target := range map[string]string{"path=/": "/", "path=/a": "/a", "path=a//b": "/a//b", "path=": "/", `path="a b"`: "/a%20b"} {
		l, err := parseLine("NON 0.01 %s", text)
		require.NoError(t, err)
		require.Equal(t, target, l.msg.Options.Path(), text)
	}
	l, err = parseLine(`ACK 2.05 pay={"t":21}`)
	require.NoError(t, err)
	require.Equal(t, `{"t":21}`, string(l.msg.Payload))
}

// An error quotes the line and says which word is wrong, and what would be right.
func TestParseLineErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                             `line "": a line begins with type and code`,
		"CON":                          `line "CON": a line begins with type and code`,
		"# nothing":                    "begins with type and code",
		"CNO GET":                      `type "CNO": want CON, NON, ACK, RST or *`,
		"CON GTE":                      `code "GTE": want a method such as GET, a number such as 2.05, or *`,
		"CON GET mid=70000":            "word mid=70000: want a number from 0 to 65535",
		"CON GET tok=abc":              "word tok=abc: want an even number of hexadecimal digits",
		"CON GET opt=x:00":             "word opt=x:00: want opt=NUMBER:DIGITS",
		"CON GET opt=65:0":             "word opt=65:0: want an even number",
		"CON GET foo=1":                `word foo=1: there is no word "foo": want mid, tok,`,
		"CON GET Max-Aeg:1":            "similar are Max-Age",
		"CON GET Xyzzyxyzzy":           `no option "Xyzzyxyzzy"; write`,
		"CON GET Max-Age:long":         "the value of Max-Age is a number",
		"CON GET Accept:no/such":       "the value of Accept is a number",
		"CON GET ETag:12":              "the value of ETag is bytes: write 0x",
		"CON GET ETag:0x1":             "an even number",
		"CON GET If-None-Match:1":      "If-None-Match has no value",
		`CON GET pay="hello`:           `the quote in pay="hello does not end`,
		`CON GET pay="hello"more`:      "a space behind the closing quote",
		`CON GET Uri-Host:"hello"more`: "a space behind the closing quote",
	} {
		_, err := parseLine("%s", text)
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, "coaptest: line ", text)
	}
}

// A message is written as a line that stands for the same message.
func TestFormatLine(t *testing.T) {
	for _, text := range []string{
		"CON 0.00 mid=0x0001",
		"CON GET mid=0xffff tok=0a path=a/b query=c=d",
		"ACK 2.05 mid=0x0001 Observe:7 Content-Format:0 Block2:14 pay=hello",
		`NON POST mid=0x0001 path="a b" If-None-Match query="x=\"y\"" opt=2050: opt=2052:00ff pay="a # b"`,
		`NON 0.31 mid=0x0001 ETag:0x01ff Uri-Path:"a/b" Uri-Path:"c" pay="\"\x00\xff"`,
		`CON GET mid=0x0001 Uri-Path:"" Uri-Path:"c"`,
		`CON GET mid=0x0001 path="a\"b"`,
		"CON GET mid=0x0001 Content-Format:0x01ffff", // longer than the option may be
	} {
		l, err := parseLine("%s", text)
		require.NoError(t, err)
		require.Equal(t, text, formatLine(&l.msg))
	}
}

func TestMatch(t *testing.T) {
	const text = "CON PUT mid=0x0007 tok=0102 path=a/b Content-Format:0 If-Match:0x01 If-Match:0x02 pay=hello"
	got, err := parseLine("%s", text)
	require.NoError(t, err)
	for _, same := range []string{
		text, "* *", "CON *", "* PUT", "CON PUT mid=7", "CON PUT tok=0102", "CON PUT path=/a/b", "CON PUT pay=hello # why",
		"CON PUT If-Match:0x01 If-Match:0x02", "CON PUT opt=12:",
	} {
		l, err := parseLine("%s", same)
		require.NoError(t, err)
		require.NoError(t, l.match(&got.msg), same)
	}
	for different, want := range map[string]string{
		"NON PUT":                  "the type is CON, want NON",
		"CON GET":                  "the code is PUT, want GET",
		"* 2.05":                   "the code is PUT, want 2.05 Content",
		"CON PUT mid=8":            "the message ID is 0x0007, want 0x0008",
		"CON PUT tok=":             "the token is 0x0102, want 0x",
		"CON PUT pay=":             `the payload is "hello", want ""`,
		"CON PUT path=a":           `the option Uri-Path is Uri-Path:"a" Uri-Path:"b", want Uri-Path:"a"`,
		"CON PUT path=/":           "want not there",
		"CON PUT Max-Age:1":        "the option Max-Age is not there, want Max-Age:1",
		"CON PUT If-Match:0x02":    "the option If-Match is If-Match:0x01 If-Match:0x02, want If-Match:0x02",
		"CON PUT opt=2050:00":      "the option Option 2050 is not there, want opt=2050:00",
		"CON PUT Content-Format:1": "the option Content-Format is Content-Format:0, want Content-Format:1",
	} {
		l, err := parseLine("%s", different)
		require.NoError(t, err)
		require.ErrorContains(t, l.match(&got.msg), want, different)
	}
}
