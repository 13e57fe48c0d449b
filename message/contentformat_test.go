package message

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestContentFormatString(t *testing.T) {
	for f, want := range map[ContentFormat]string{
		TextPlain: "text/plain; charset=utf-8", LinkFormat: "application/link-format", XML: "application/xml",
		OctetStream: "application/octet-stream", EXI: "application/exi", JSON: "application/json",
		JSONPatch: "application/json-patch+json", MergePatchJSON: "application/merge-patch+json",
		CBOR: "application/cbor", CWT: "application/cwt", MultipartCore: "application/multipart-core",
		CBORSequence: "application/cbor-seq", SenMLJSON: "application/senml+json", SenMLCBOR: "application/senml+cbor",
		SenMLXML: "application/senml+xml", SenMLPatchJSON: "application/senml-etch+json",
		SenMLPatchCBOR: "application/senml-etch+cbor", ProblemDetails: "application/concise-problem-details+cbor",
		OCFCBOR: "application/vnd.ocf+cbor", LwM2MTLV: "application/vnd.oma.lwm2m+tlv",
		LwM2MJSON: "application/vnd.oma.lwm2m+json", LwM2MCBOR: "application/vnd.oma.lwm2m+cbor",
		11050: "application/json@deflate", 65000: "65000", 65535: "65535", 1: "1",
	} {
		require.Equal(t, want, f.String())
	}
	require.Equal(t, "application/json", ContentFormat(11050).MediaType())
	require.Equal(t, "deflate", ContentFormat(11050).Coding())
	require.Empty(t, JSON.Coding())
	require.Empty(t, ContentFormat(65000).MediaType())
}

func TestParseContentFormat(t *testing.T) {
	for s, want := range map[string]ContentFormat{
		"0": 0, "50": JSON, "65535": 65535, " 65000 ": 65000,
		"json": JSON, "JSON": JSON, "cbor": CBOR, "xml": XML, "exi": EXI, "text": TextPlain, "plain": TextPlain,
		"bytes": OctetStream, "octet-stream": OctetStream, "link-format": LinkFormat, "senml+json": SenMLJSON,
		"cose-key": 101, "vnd.oma.lwm2m+tlv": LwM2MTLV,
		"application/json": JSON, "Application/JSON": JSON, "application/json; charset=utf-8": JSON,
		"text/plain": TextPlain, "text/plain;charset=UTF-8": TextPlain, `text/plain; charset="utf-8"`: TextPlain,
		"application/json@deflate": 11050, "text/plain@zstd": 12000,
		`application/cose; cose-type="cose-sign1"`: 18, "application/cose;cose-type=cose-sign1": 18,
		"application/yang-data+cbor": 340, "application/yang-data+cbor;id=sid": 140,
		"application/pkcs7-mime;smime-type=certs-only": 281,
	} {
		got, err := ParseContentFormat(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, c := range contentFormats {
		for _, s := range []string{c.number.String(), c.String()} {
			got, err := ParseContentFormat(s)
			require.NoError(t, err)
			require.Equal(t, c.number, got, s)
		}
	}
	for s, want := range map[string]string{
		"jsn":                           `message: unknown content format "jsn", did you mean application/json (50)?`,
		"application/jsom":              `message: unknown content format "application/jsom", did you mean application/json (50)?`,
		"application/cose":              `message: content format "application/cose" is ambiguous, write one of application/cose; cose-type="cose-encrypt0" (16), application/cose; cose-type="cose-mac0" (17), application/cose; cose-type="cose-sign1" (18), application/cose; cose-type="cose-encrypt" (96), application/cose; cose-type="cose-mac" (97), application/cose; cose-type="cose-sign" (98)`,
		"":                              `message: unknown content format "", want a number from 0 to 65535 or a name like application/json or json`,
		"65536":                         `message: unknown content format "65536", want a number from 0 to 65535 or a name like application/json or json`,
		"-1":                            `message: unknown content format "-1", want a number from 0 to 65535 or a name like application/json or json`,
		"text/plain;charset=iso-8859-1": `message: unknown content format "text/plain;charset=iso-8859-1", want a number from 0 to 65535 or a name like application/json or json`,
	} {
		_, err := ParseContentFormat(s)
		require.EqualError(t, err, want)
	}
	_, err := ParseContentFormat("senml")
	require.ErrorContains(t, err, "application/senml+json (110)")
	_, err = ParseContentFormat("application/")
	require.ErrorContains(t, err, ", …?")
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"json", "jsn", 1}, {"kitten", "sitting", 3}, {"abc", "abc", 0}} {
		require.Equal(t, c.want, distance(c.a, c.b), "%s %s", c.a, c.b)
	}
}
