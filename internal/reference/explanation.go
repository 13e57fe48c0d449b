package reference

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxExplanation is what the documentation of codec.Explain promises.
const maxExplanation = 100_000

// CheckExplanation checks what codec.Explain promises for any datagram b and returns what is
// wrong with text, or "".
func CheckExplanation(b, text []byte) string {
	if len(text) >= maxExplanation {
		return fmt.Sprintf("has %d bytes, want less than %d", len(text), maxExplanation)
	}
	if !utf8.Valid(text) {
		return "is not UTF-8"
	}
	for _, r := range string(text) {
		if r != '\n' && !strconv.IsPrint(r) {
			return fmt.Sprintf("has the unprintable character %U", r)
		}
	}
	_, err := Decode(b)
	if said := bytes.Contains(text, []byte("\nmalformed message: ")) || bytes.HasPrefix(text, []byte("malformed message: ")); said != (err != nil) {
		return fmt.Sprintf("says malformed: %v, but the error is %v", said, err)
	}
	if err != nil && !bytes.Contains(text, []byte(err.Error()+"\n  rule      RFC ")) {
		return "does not name the error and its rule: " + err.Error()
	}
	return checkShownBytes(b, string(text))
}

// checkShownBytes checks that the bytes column shows each byte of b at its offset, up to
// where something is left out.
func checkShownBytes(b []byte, text string) string {
	at := 0
	for row := range strings.Lines(text) {
		if strings.Contains(row, "      ... ") {
			return "" // the start of a long field or list
		}
		offset, err := strconv.ParseUint(strings.TrimRight(row[:min(5, len(row))], " \n"), 16, 32)
		if err != nil || len(row) < 8 {
			continue // a row without bytes
		}
		column := strings.TrimSpace(row[5:min(len(row), 5+24)])
		shown, err := hex.DecodeString(strings.ReplaceAll(column, " ", ""))
		if err != nil {
			return fmt.Sprintf("row %q: %v", row, err)
		}
		if int(offset) != at || at+len(shown) > len(b) || !bytes.Equal(shown, b[at:at+len(shown)]) {
			return fmt.Sprintf("row %q does not show the bytes from %d on", row, at)
		}
		at += len(shown)
	}
	if at != len(b) {
		return fmt.Sprintf("shows %d of %d bytes", at, len(b))
	}
	return ""
}
