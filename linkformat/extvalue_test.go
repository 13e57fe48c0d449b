package linkformat

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExtValue(t *testing.T) {
	for _, c := range []struct{ name, value, text, language string }{
		{"RFC 5987 section 3.2.2, pound", "iso-8859-1'en'%A3%20rates", "£ rates", "en"},
		{"RFC 5987 section 3.2.2, pound and euro", "UTF-8''%c2%a3%20and%20%e2%82%ac%20rates", "£ and € rates", ""},
		{"nothing", "UTF-8''", "", ""},
		{"small letters", "utf-8'de-CH'a", "a", "de-CH"},
		{"what needs no encoding", "UTF-8''!#$&+-.^_`|~aZ9", "!#$&+-.^_`|~aZ9", ""},
	} {
		text, language, ok := ParseExtValue(c.value)
		require.True(t, ok, c.name)
		require.Equal(t, c.text, text, c.name)
		require.Equal(t, c.language, language, c.name)
		again, language, ok := ParseExtValue(string(AppendExtValue(nil, text, language)))
		require.True(t, ok, c.name)
		require.Equal(t, c.text, again, c.name)
		require.Equal(t, c.language, language, c.name)
	}
	for _, s := range []string{
		"", "x", "UTF-8", "UTF-8'", "UTF-8'en", "''x", "UTF-8''%", "UTF-8''%4", "UTF-8''%gg", "UTF-8''%80",
		"UTF-8'ü'x", "UTF-8''ü", "UTF-8''a'b", "UTF-8''a b", "UTF-8''a*b", "KOI8-R''x", "UTF 8''x",
	} {
		_, _, ok := ParseExtValue(s)
		require.False(t, ok, s)
	}
	require.Equal(t, "=UTF-8'de'%C3%A4%20%22%2A%22%00", string(AppendExtValue([]byte("="), "ä \"*\"\x00", "de")))
	require.Equal(t, "UTF-8''a%EF%BF%BD", string(AppendExtValue(nil, "a\xff", "")))
}
