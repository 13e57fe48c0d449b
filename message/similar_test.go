package message

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSimilar(t *testing.T) {
	r, err := NewRegistry(Definition{Number: 65001, Name: "Colour", Format: FormatString, MaxLen: 8})
	require.NoError(t, err)
	require.Equal(t, []string{"Uri-Path", "Uri-Port"}, r.Similar("uri-pth"))
	require.Equal(t, []string{"Max-Age"}, r.Similar("maxage"))
	require.Equal(t, []string{"Colour"}, r.Similar("color"))
	require.Empty(t, r.Similar("x"))
	require.Empty(t, r.Similar(strings.Repeat("Uri-Path", 100)))
}

func TestContentFormats(t *testing.T) {
	last := -1
	for f := range ContentFormats() {
		require.Greater(t, int(f), last)
		require.NotEmpty(t, f.MediaType())
		last = int(f)
	}
	require.Greater(t, last, 30000-1)
}
