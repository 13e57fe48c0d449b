package message

import (
	"fmt"
	"strconv"
)

// Code is the code of a message: a request method, a response code, a signaling code, or
// [Empty]. It is a class from 0 to 7 and a detail from 0 to 31, written "c.dd"
// (RFC 7252 section 3).
type Code uint8

// MakeCode returns the code class.detail. class must be 0 to 7, detail 0 to 31; higher
// bits are cut off.
func MakeCode(class, detail uint8) Code { return Code(class<<5 | detail&31) }

// Class returns the class: 0 request, 2 success, 4 client error, 5 server error, 7 signaling.
func (c Code) Class() uint8 { return uint8(c) >> 5 }

// Detail returns the detail within the class.
func (c Code) Detail() uint8 { return uint8(c) & 31 }

// IsRequest reports whether c is a method, known or not: 0.01 to 0.31.
func (c Code) IsRequest() bool { return c.Class() == 0 && c != Empty }

// IsResponse reports whether c is in the range of response codes, 2.00 to 5.31
// (RFC 7252 section 12.1).
func (c Code) IsResponse() bool { return c.Class() >= 2 && c.Class() <= 5 }

// IsSuccess reports whether c is 2.xx.
func (c Code) IsSuccess() bool { return c.Class() == 2 }

// IsError reports whether c is 4.xx or 5.xx.
func (c Code) IsError() bool { return c.Class() == 4 || c.Class() == 5 }

// IsSignal reports whether c is a signaling code, 7.xx (RFC 8323 section 5).
func (c Code) IsSignal() bool { return c.Class() == 7 }

// IsReserved reports whether c belongs to one of the classes 1, 6 and 7, which make a
// message over UDP be rejected (RFC 7252 section 4.2).
func (c Code) IsReserved() bool { return c.Class() == 1 || c.Class() >= 6 }

// IsIdempotent reports whether a request with this method may be performed twice with
// the effect of once (RFC 7252 section 5.1, RFC 8132 section 2 and 3). Unknown
// methods are taken for non-idempotent.
func (c Code) IsIdempotent() bool {
	switch c {
	case GET, PUT, DELETE, FETCH, IPATCH:
		return true
	}
	return false
}

// Equivalent returns c, or for an error code that is not registered the general code of
// its class: 4.00 or 5.00 (RFC 7252 section 5.2).
func (c Code) Equivalent() Code {
	if codeNames[c] == "" && c.IsError() {
		return MakeCode(c.Class(), 0)
	}
	return c
}

// Dotted returns the code as "c.dd".
func (c Code) Dotted() string {
	d := c.Detail()
	return string([]byte{'0' + c.Class(), '.', '0' + d/10, '0' + d%10})
}

// Name returns the registered name of the code, such as "GET" or "Not Found", or "".
func (c Code) Name() string { return codeNames[c] }

// String returns the code for people: "GET", "2.05 Content", "4.31".
func (c Code) String() string {
	name := codeNames[c]
	switch {
	case c.IsRequest() && name != "":
		return name
	case name != "":
		return c.Dotted() + " " + name
	}
	return c.Dotted()
}

// ParseCode reads a code written as "c.dd" or, for requests, as the name of the method.
func ParseCode(s string) (Code, error) {
	for i, name := range codeNames {
		if c := Code(i); c.IsRequest() && name != "" && name == s {
			return c, nil
		}
	}
	if len(s) == 4 && s[0] >= '0' && s[0] <= '7' && s[1] == '.' {
		if d, err := strconv.ParseUint(s[2:], 10, 8); err == nil && d < 32 {
			return MakeCode(s[0]-'0', uint8(d)), nil
		}
	}
	return 0, fmt.Errorf("message: %q is no code, want a method or c.dd with c from 0 to 7 and dd from 00 to 31", s)
}
