package main

import (
	"bytes"
	"encoding/hex"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap/codec"
	"github.com/coapkit/coap/message"
)

const decodeHelp = `Explain the bytes of a CoAP message over UDP, field by field.

HEX is hexadecimal digits; spaces, colons, line breaks and 0x in front are left out,
and several arguments are joined. - reads standard input.

With --json, standard output gets one object in one line: version, type, code,
messageID, token, options (number, name, value), payload. Token, values and payload
are hexadecimal; the name of an option that is not registered is empty.

Bytes that are not a message are explained as far as they go; then the exit status is
1 and standard error has the reason.`

func newDecodeCommand(s *streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "decode HEX...",
		Short:   "Explain the bytes of a message",
		Long:    decodeHelp,
		Example: "  coap decode 44017d340f1e2d3cbb74656d7065726174757265\n  coap decode --json 40:00:00:01\n  xxd -p packet.bin | coap decode -",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("the message is missing, write: coap decode HEX, or coap decode - to read standard input")
			}
			return nil
		},
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, args []string) error {
			text := strings.Join(args, " ")
			if text == "-" {
				b, err := readAll(cmd.Context(), s.in)
				if interrupted := interrupted(cmd.Context()); interrupted != nil {
					return interrupted
				}
				if err != nil {
					return usagef("cannot read standard input: %v", err)
				}
				text = string(b)
			}
			return decode(s, text, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object instead of the explanation")
	return cmd
}

func decode(s *streams, text string, asJSON bool) error {
	datagram, err := parseHex(text)
	if err != nil {
		return err
	}
	var m message.Message
	bad := codec.DecodeUDP(datagram, &m)
	switch {
	case !asJSON:
		_, err = s.out.Write(codec.Explain(nil, datagram))
	case bad == nil:
		err = writeJSON(s.out, newMessageJSON(&m))
	}
	switch {
	case err != nil:
		return usagef("cannot write the result: %v", err)
	case bad != nil:
		return usagef("not a CoAP message: %s", strings.TrimPrefix(bad.Error(), "malformed message: "))
	}
	return nil
}

// parseHex reads hexadecimal digits as people write and programs print them.
func parseHex(text string) ([]byte, error) {
	var digits []byte
	for _, word := range strings.FieldsFunc(text, isSeparator) {
		word = strings.TrimPrefix(strings.TrimPrefix(word, "0x"), "0X")
		digits = append(digits, word...)
	}
	if i := bytes.IndexFunc(digits, func(r rune) bool { return !unicode.Is(unicode.ASCII_Hex_Digit, r) }); i >= 0 {
		return nil, usagef("%q is no hexadecimal digit", []rune(string(digits[i:]))[0])
	}
	if len(digits)%2 != 0 {
		return nil, usagef("%d hexadecimal digits are half a byte too many or too few", len(digits))
	}
	b := make([]byte, hex.DecodedLen(len(digits)))
	hex.Decode(b, digits) // checked above
	return b, nil
}

func isSeparator(r rune) bool { return unicode.IsSpace(r) || r == ':' || r == ',' }

// messageJSON is a message in JSON. Its fields keep their names and meanings.
type messageJSON struct {
	Version   int          `json:"version"`
	Type      string       `json:"type"`
	Code      string       `json:"code"`
	MessageID uint16       `json:"messageID"`
	Token     string       `json:"token"`
	Options   []optionJSON `json:"options"`
	Payload   string       `json:"payload"`
}

func newMessageJSON(m *message.Message) *messageJSON {
	j := &messageJSON{
		Version: 1, Type: m.Type.String(), Code: m.Code.Dotted(), MessageID: m.MessageID,
		Token: m.Token.String(), Options: []optionJSON{}, Payload: hex.EncodeToString(m.Payload),
	}
	for n, v := range m.Options.All() {
		j.Options = append(j.Options, newOptionJSON(n, v))
	}
	return j
}
