package message

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Proves 7252-3-s22, 7252-3-s24, 7252-3-s25.
func TestCodeClasses(t *testing.T) {
	for i := range 256 {
		c := Code(i)
		class := i >> 5
		require.Equal(t, uint8(class), c.Class())
		require.Equal(t, uint8(i&31), c.Detail())
		require.Equal(t, c, MakeCode(c.Class(), c.Detail()))
		require.Equal(t, class == 0 && i != 0, c.IsRequest(), "%v", c)
		require.Equal(t, class >= 2 && class <= 5, c.IsResponse(), "%v", c)
		require.Equal(t, class == 2, c.IsSuccess(), "%v", c)
		require.Equal(t, class == 4 || class == 5, c.IsError(), "%v", c)
		require.Equal(t, class == 7, c.IsSignal(), "%v", c)
		require.Equal(t, class == 1 || class == 6 || class == 7, c.IsReserved(), "%v", c)
		back, err := ParseCode(c.Dotted())
		require.NoError(t, err)
		require.Equal(t, c, back)
	}
}

func TestCodeNames(t *testing.T) {
	for _, c := range []struct {
		code              Code
		dotted, name, str string
	}{
		{Empty, "0.00", "Empty", "0.00 Empty"},
		{GET, "0.01", "GET", "GET"},
		{IPATCH, "0.07", "iPATCH", "iPATCH"},
		{MakeCode(0, 31), "0.31", "", "0.31"},
		{Content, "2.05", "Content", "2.05 Content"},
		{NotFound, "4.04", "Not Found", "4.04 Not Found"},
		{UnsupportedContentFormat, "4.15", "Unsupported Content-Format", "4.15 Unsupported Content-Format"},
		{HopLimitReached, "5.08", "Hop Limit Reached", "5.08 Hop Limit Reached"},
		{CSM, "7.01", "CSM", "7.01 CSM"},
		{MakeCode(4, 31), "4.31", "", "4.31"},
	} {
		require.Equal(t, c.dotted, c.code.Dotted())
		require.Equal(t, c.name, c.code.Name())
		require.Equal(t, c.str, c.code.String())
	}
	for s, want := range map[string]Code{"GET": GET, "iPATCH": IPATCH, "2.05": Content, "0.00": Empty, "7.31": MakeCode(7, 31)} {
		got, err := ParseCode(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, s := range []string{"", "get", "2.5", "2.32", "8.00", "2,05", "2.+5", "2.-1", "Content", "2.050", "CSM", "Empty"} {
		_, err := ParseCode(s)
		require.ErrorContains(t, err, "is no code", s)
	}
}

// RFC 7252 section 5.2: an error code that is not known is the general one of its class.
func TestEquivalentCode(t *testing.T) {
	for c, want := range map[Code]Code{
		NotFound: NotFound, MakeCode(4, 30): BadRequest, MakeCode(5, 31): InternalServerError, MakeCode(2, 30): MakeCode(2, 30), GET: GET,
	} {
		require.Equal(t, want, c.Equivalent())
	}
}

func TestIsIdempotent(t *testing.T) {
	for c, want := range map[Code]bool{
		GET: true, PUT: true, DELETE: true, FETCH: true, IPATCH: true, POST: false, PATCH: false, MakeCode(0, 30): false, Empty: false,
	} {
		require.Equal(t, want, c.IsIdempotent(), "%v", c)
	}
}

// Proves 7252-3-s16.
func TestTypeString(t *testing.T) {
	for v, want := range map[uint8]string{0: "CON", 1: "NON", 2: "ACK", 3: "RST", 4: "Type(4)"} {
		require.Equal(t, want, Type(v).String())
	}
}

func TestFormatErrors(t *testing.T) {
	for e := ErrHeaderTooShort; e <= ErrType; e++ {
		require.NotContains(t, e.Error(), "error ", "error %d has a text", uint8(e))
	}
	require.Equal(t, "malformed message: error 0", FormatError(0).Error())
	require.Equal(t, "malformed message: error 255", FormatError(255).Error())
}

func TestToken(t *testing.T) {
	require.True(t, Token{}.Equal(nil))
	require.False(t, Token{0}.Equal(Token{}))
	require.True(t, Token{1, 2}.Equal(Token{1, 2}))
	require.Equal(t, "01ff", Token{1, 255}.String())
}
