package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDecodeJSON(t *testing.T) {
	const get = `{"version":1,"type":"CON","code":"0.01","messageID":1,"token":"","options":[%s],"payload":""}` + "\n"
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		// RFC 7252 figure 16: a GET with a piggybacked response.
		{"request", []string{"44017d340f1e2d3cbb74656d7065726174757265"},
			`{"version":1,"type":"CON","code":"0.01","messageID":32052,"token":"0f1e2d3c","options":[{"number":11,"name":"Uri-Path","value":"74656d7065726174757265"}],"payload":""}` + "\n"},
		{"response", []string{"60457d34ff32322e332043"},
			`{"version":1,"type":"ACK","code":"2.05","messageID":32052,"token":"","options":[],"payload":"32322e332043"}` + "\n"},
		{"ping", []string{"40000001"}, `{"version":1,"type":"CON","code":"0.00","messageID":1,"token":"","options":[],"payload":""}` + "\n"},
		{"empty NON", []string{"50000001"}, `{"version":1,"type":"NON","code":"0.00","messageID":1,"token":"","options":[],"payload":""}` + "\n"},
		{"request in RST", []string{"70010001"}, strings.Replace(fmt.Sprintf(get, ""), "CON", "RST", 1)},
		{"reserved class", []string{"40210001"}, strings.Replace(fmt.Sprintf(get, ""), "0.01", "1.01", 1)},
		{"token of 9 bytes", []string{"49010001010203040506070809"}, strings.Replace(fmt.Sprintf(get, ""), `"token":""`, `"token":"010203040506070809"`, 1)},
		{"Accept twice", []string{"40010001b16161000132"}, fmt.Sprintf(get,
			`{"number":11,"name":"Uri-Path","value":"61"},{"number":17,"name":"Accept","value":"00"},{"number":17,"name":"Accept","value":"32"}`)},
		{"unknown option", []string{"40010001e0fef2"}, fmt.Sprintf(get, `{"number":65535,"name":"","value":""}`)},
		{"digits in words", []string{"0x40", "01:00", " 01\n"}, fmt.Sprintf(get, "")},
		{"upper case", []string{"0X4001000", "1B1", "6A"}, fmt.Sprintf(get, `{"number":11,"name":"Uri-Path","value":"6a"}`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := runCLI(t, append([]string{"decode", "--json"}, test.args...)...)
			assert.Equal(t, result{exitSuccess, test.want, ""}, r)
		})
	}
}

// TestDecodeMalformed has what is no message: of each rule one example.
func TestDecodeMalformed(t *testing.T) {
	for _, test := range []struct{ hex, want string }{
		{"", "shorter than the 4 bytes"},
		{"400100", "shorter than the 4 bytes"},
		{"4d010001", "token"},
		{"4e01000100", "token"},
		{"4f010001", "token length 15"},
		{"48010001010203", "token"},
		{"40010001d0", "option"},
		{"40010001e001", "option"},
		{"400100010d", "option"},
		{"400100010e01", "option"},
		{"40010001f0", "option delta 15"},
		{"40010001bf", "option length 15"},
		{"40010001b56162", "option"},
		{"40010001beffff", "option"},
		{"40010001e0fef2c0", "option number"},
		{"40010001b161e0fee7c162", "option number"},
		{"40010001ff", "payload"},
		{"40010001b161ff", "payload"},
		{"41000001aa", "code 0.00 with more than a header"},
		{"40000001b161", "code 0.00 with more than a header"},
		{"40000001ff78", "code 0.00 with more than a header"},
		{"00010001", "version"},
		{"80010001", "version"},
		{"c0010001", "version"},
	} {
		t.Run(test.hex, func(t *testing.T) {
			r := runCLI(t, "decode", "--json", test.hex)
			assert.Equal(t, exitUsage, r.status)
			assert.Empty(t, r.out)
			assert.True(t, strings.HasPrefix(r.err, "coap: not a CoAP message: "), r.err)
			assert.Contains(t, strings.ToLower(r.err), test.want)

			text := runCLI(t, "decode", test.hex)
			assert.Equal(t, exitUsage, text.status)
			assert.Equal(t, r.err, text.err)
			assert.Contains(t, text.out, "malformed message")
		})
	}
}

func TestDecodeNoHex(t *testing.T) {
	for arg, want := range map[string]string{
		"hello": `coap: 'h' is no hexadecimal digit`,
		"40é":   `coap: 'é' is no hexadecimal digit`,
		"400":   `coap: 3 hexadecimal digits are half a byte too many or too few`,
	} {
		assert.Equal(t, result{exitUsage, "", want + "\n"}, runCLI(t, "decode", arg))
	}
}

func TestDecodeText(t *testing.T) {
	want := runCLI(t, "decode", "40010001b161")
	assert.Equal(t, exitSuccess, want.status)
	assert.Contains(t, want.out, "code 0.01: GET, a request")
	assert.Empty(t, want.err)
	assert.Equal(t, want, runWith(t.Context(), "4001\n0001 b161\n", "decode", "-"))
}
