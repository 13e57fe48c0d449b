package main

import (
	"bytes"
	"io"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// outlet is where the body of a successful response goes as it arrives: standard output, a device
// or a file. Its Write returns a *failure.
type outlet interface {
	io.Writer
	// position is where the download is to be resumed, the zero Position for the beginning.
	position() coap.Position
	// rewind forgets what was written. It reports whether that is possible.
	rewind(why string) bool
	// breakOff ends a download that came as far as at, or was not begun if at is nil. It
	// returns what to do now, if there is anything to say.
	breakOff(at *coap.Position) (hint string)
	// finish ends a download: resp is the response, with what has not been written.
	finish(resp *coap.Response) error
	// remark returns what else to say of a download that has ended well.
	remark() string
}

// heldBack is how much of a body waits for its end before it goes to standard output. So
// the code of most responses stands before the body on a terminal, and a body that changes
// on the way can be had again.
const heldBack = 64 << 10

// pipe is an outlet that cannot take back what was written.
type pipe struct {
	w     io.Writer
	hold  int    // how much to hold back
	begin func() // called before the first byte is written
	held  bytes.Buffer
	begun bool
}

// Write holds p back or writes it.
func (o *pipe) Write(p []byte) (int, error) {
	if !o.begun && o.held.Len()+len(p) <= o.hold {
		return o.held.Write(p)
	}
	if err := o.flush(); err != nil {
		return 0, err
	}
	n, err := o.w.Write(p)
	return n, whyNotWritten(err)
}

// flush writes what was held back.
func (o *pipe) flush() error {
	if !o.begun && o.begin != nil {
		o.begin()
	}
	o.begun = true
	if o.held.Len() == 0 {
		return nil
	}
	_, err := o.held.WriteTo(o.w)
	return whyNotWritten(err)
}

func whyNotWritten(err error) error {
	if err == nil {
		return nil
	}
	return usagef("cannot write the body: %v", err)
}

func (o *pipe) position() coap.Position { return coap.Position{} }

func (o *pipe) remark() string { return "" }

func (o *pipe) rewind(string) bool {
	o.held.Reset()
	return !o.begun
}

func (o *pipe) breakOff(at *coap.Position) string {
	if at == nil || at.Upload || at.Offset == 0 {
		return ""
	}
	return "-O FILE keeps what comes, to go on there"
}

// finish hands what was held back to resp, to be written behind the code.
func (o *pipe) finish(resp *coap.Response) error {
	if !o.begun && resp.Code.IsSuccess() && o.held.Len() > 0 {
		resp.Payload = o.held.Bytes()
	}
	return nil
}

// hasBody reports whether a successful response replaces a body: one to a conditional request
// may say that what the client has is valid (RFC 7252 section 5.9.1.3).
func hasBody(resp *coap.Response) bool {
	return resp.Code.IsSuccess() && resp.Code != message.Valid
}

var _, _ outlet = (*pipe)(nil), (*part)(nil)
