package engine

import "github.com/coapkit/coap/message"

// The No-Response option (RFC 7967): a client says which classes of responses it does not want.

// interest is what the sender of a request wants to hear.
type interest struct {
	stated bool
	unless uint8 // a bit for each class that is not wanted: 1<<(class-1)
}

// interestOf reads the option, which is elective: one of wrong length is ignored.
func interestOf(m *message.Message) interest {
	v, ok := m.Options.First(message.OptionNoResponse)
	switch {
	case !ok || len(v) > 1:
		return interest{}
	case len(v) == 0:
		return interest{stated: true}
	}
	return interest{stated: true, unless: v[0]}
}

// unwanted reports whether a response is not to be sent. To a group, errors are sent only on
// request (RFC 7252 section 8.2, RFC 7967 section 2.1). A 2.31 always is: the sender of a body in
// blocks waits for it.
func (x *entry) unwanted(c message.Code) bool {
	if !x.wants.stated {
		return x.group && c.IsError()
	}
	return c != message.Continue && x.wants.unless&(1<<(c.Class()-1)) != 0
}
