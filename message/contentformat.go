package message

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// ContentFormat is the number of a media type, with its parameters, and a content coding
// (RFC 7252 section 12.3).
type ContentFormat uint16

// Common content formats. The registry has more, which [ParseContentFormat] knows by name.
const (
	TextPlain      ContentFormat = 0     // text/plain; charset=utf-8
	LinkFormat     ContentFormat = 40    // application/link-format, RFC 6690
	XML            ContentFormat = 41    // application/xml
	OctetStream    ContentFormat = 42    // application/octet-stream
	EXI            ContentFormat = 47    // application/exi
	JSON           ContentFormat = 50    // application/json
	JSONPatch      ContentFormat = 51    // application/json-patch+json, RFC 6902
	MergePatchJSON ContentFormat = 52    // application/merge-patch+json, RFC 7396
	CBOR           ContentFormat = 60    // application/cbor
	CWT            ContentFormat = 61    // application/cwt
	MultipartCore  ContentFormat = 62    // application/multipart-core, RFC 8710
	CBORSequence   ContentFormat = 63    // application/cbor-seq
	SenMLJSON      ContentFormat = 110   // application/senml+json, RFC 8428
	SenMLCBOR      ContentFormat = 112   // application/senml+cbor, RFC 8428
	ProblemDetails ContentFormat = 257   // application/concise-problem-details+cbor, RFC 9290
	SenMLXML       ContentFormat = 310   // application/senml+xml, RFC 8428
	SenMLPatchJSON ContentFormat = 320   // application/senml-etch+json, RFC 8790
	SenMLPatchCBOR ContentFormat = 322   // application/senml-etch+cbor, RFC 8790
	OCFCBOR        ContentFormat = 10000 // application/vnd.ocf+cbor
	LwM2MTLV       ContentFormat = 11542 // application/vnd.oma.lwm2m+tlv
	LwM2MJSON      ContentFormat = 11543 // application/vnd.oma.lwm2m+json
	LwM2MCBOR      ContentFormat = 11544 // application/vnd.oma.lwm2m+cbor
)

// contentFormat is a row of the registry.
type contentFormat struct {
	number    ContentFormat
	mediaType string
	coding    string // content coding, empty for identity
}

func (f ContentFormat) lookup() (row contentFormat, ok bool) {
	i, ok := slices.BinarySearchFunc(contentFormats[:], f, func(c contentFormat, f ContentFormat) int {
		return cmp.Compare(c.number, f)
	})
	if !ok {
		return contentFormat{}, false
	}
	return contentFormats[i], true
}

// MediaType returns the media type with its parameters, such as
// "text/plain; charset=utf-8", or "" if f is not registered.
func (f ContentFormat) MediaType() string {
	row, _ := f.lookup()
	return row.mediaType
}

// Coding returns the content coding, such as "deflate", or "" if there is none or f is not
// registered.
func (f ContentFormat) Coding() string {
	row, _ := f.lookup()
	return row.coding
}

// String returns the format as RFC 9193 section 2 writes it: the media type, with "@" and the
// content coding if there is one ("application/json@deflate"), or the number if f is not
// registered ("65000").
func (f ContentFormat) String() string {
	row, ok := f.lookup()
	if !ok {
		return strconv.Itoa(int(f))
	}
	return row.String()
}

func (c contentFormat) String() string {
	if c.coding == "" {
		return c.mediaType
	}
	return c.mediaType + "@" + c.coding
}

// ParseContentFormat reads a content format: its number from 0 to 65535, registered or
// not; the form of [ContentFormat.String]; a media type, whose parameters may be
// left out where that is unambiguous; or the part behind the slash ("json", "senml+cbor"), or
// "text" or "bytes". Case, spaces, quotes, and a charset of UTF-8 do not matter. The
// error names formats that look similar.
func ParseContentFormat(s string) (ContentFormat, error) {
	name := normalFormat(s)
	if n, err := strconv.ParseUint(name, 10, 16); err == nil {
		return ContentFormat(n), nil
	}
	switch name {
	case "text":
		return TextPlain, nil
	case "bytes":
		return OctetStream, nil
	}
	for _, c := range contentFormats {
		if normalFormat(c.String()) == name {
			return c.number, nil
		}
	}
	// Without parameters, by media type or by what follows its slash.
	var matches []contentFormat
	for _, c := range contentFormats {
		if whole, short := formatNames(c); c.coding == "" && (whole == name || short == name) {
			matches = append(matches, c)
		}
	}
	i := slices.IndexFunc(matches, func(c contentFormat) bool { return !strings.Contains(normalFormat(c.mediaType), ";") })
	switch {
	case i >= 0:
		return matches[i].number, nil
	case len(matches) == 1:
		return matches[0].number, nil
	case len(matches) > 1:
		return 0, fmt.Errorf("message: content format %q is ambiguous, write one of %s", s, listFormats(matches))
	}
	if matches = similarFormats(name); len(matches) > 0 {
		return 0, fmt.Errorf("message: unknown content format %q, did you mean %s?", s, listFormats(matches))
	}
	return 0, fmt.Errorf("message: unknown content format %q, want a number from 0 to 65535 or a name like application/json or json", s)
}

// normalFormat removes from a name what does not matter.
func normalFormat(s string) string {
	s = strings.NewReplacer(" ", "", "\t", "", `"`, "").Replace(lower(s))
	return strings.Replace(s, ";charset=utf-8", "", 1)
}

// formatNames returns the names of a format without its parameters.
func formatNames(c contentFormat) (whole, short string) {
	whole, _, _ = strings.Cut(normalFormat(c.mediaType), ";")
	_, short, _ = strings.Cut(whole, "/")
	return whole, short
}

// similarFormats returns the formats whose name has name in it or is two edits away.
func similarFormats(name string) (similar []contentFormat) {
	if name == "" || len(name) > 64 {
		return nil
	}
	_, short, found := strings.Cut(name, "/")
	if !found {
		short = name
	}
	for _, c := range contentFormats {
		if c.coding != "" {
			continue
		}
		whole, subtype := formatNames(c)
		if strings.Contains(whole, name) || distance(short, subtype) <= min(2, len(short)/2) {
			similar = append(similar, c)
		}
	}
	return similar
}

const maxFormatsInError = 6

func listFormats(formats []contentFormat) string {
	var b strings.Builder
	for i, c := range formats[:min(len(formats), maxFormatsInError)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%v (%d)", c, c.number)
	}
	if len(formats) > maxFormatsInError {
		b.WriteString(", …")
	}
	return b.String()
}

// ContentFormats ranges over the registered content formats in order of their numbers.
func ContentFormats() iter.Seq[ContentFormat] {
	return func(yield func(ContentFormat) bool) {
		for _, c := range contentFormats {
			if !yield(c.number) {
				return
			}
		}
	}
}
