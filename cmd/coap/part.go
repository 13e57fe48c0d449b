package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// What is not complete yet is kept beside FILE under these names: the bytes, and how to go on.
const (
	partSuffix  = ".part"
	stateSuffix = ".part.json"
)

// partState says what FILE.part has. It is written when a download breaks off.
type partState struct {
	URI     string `json:"uri"`
	Options string `json:"options"` // those of the request, as a text
	Offset  int64  `json:"offset"`  // how many bytes are good
	ETag    string `json:"etag"`    // of the body that they are of, in hexadecimal
}

// part is an outlet that makes a file visible when it is complete. It belongs to one goroutine.
type part struct {
	name      string // of the complete file
	want      partState
	resumable bool // the request can be: it is a GET
	f         *os.File
	at        coap.Position // where to go on
	size      int64         // what is in f
	note      string        // how it came about
}

// openPart opens FILE.part for the body of the response to req. If a download of the
// same was broken off before, it goes on there.
func openPart(name, uri string, req *coap.Request) (*part, error) {
	p := &part{name: name, resumable: req.Code == coap.GET}
	p.want = partState{URI: uri, Options: describeOptions(&req.Options)}
	var err error
	if p.f, err = os.OpenFile(name+partSuffix, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, p.wrong(err)
	}
	if err := p.recall(); err != nil {
		p.f.Close()
		return nil, p.wrong(err)
	}
	return p, nil
}

// wrong says what is wrong with the file.
func (p *part) wrong(err error) error { return usagef("-O %s: %v", p.name, err) }

// recall makes what an earlier download left behind the beginning of this one, if it fits.
func (p *part) recall() error {
	have, err := readPartState(p.name + stateSuffix)
	etag, bad := hex.DecodeString(have.ETag)
	info, statErr := p.f.Stat()
	switch {
	case statErr != nil:
		return statErr
	case err != nil: // usually there is none
	case bad != nil || len(etag) == 0 || have.Offset <= 0 || have.Offset > info.Size():
		p.note = "from the beginning: what was kept of an earlier try is damaged"
	case !p.resumable || have.URI != p.want.URI || have.Options != p.want.Options:
		p.note = "from the beginning: what was kept is of another request"
	default:
		p.at = coap.Position{Offset: have.Offset, ETag: etag}
		p.note = fmt.Sprintf("the first %d from an earlier try", have.Offset)
	}
	return p.cut(p.at.Offset)
}

func readPartState(name string) (s partState, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return s, err
	}
	if json.Unmarshal(b, &s) != nil {
		s = partState{} // damaged
	}
	return s, nil
}

// cut leaves the first n bytes of the file, to be written behind.
func (p *part) cut(n int64) error {
	p.size = n
	if err := p.f.Truncate(n); err != nil {
		return err
	}
	_, err := p.f.Seek(n, io.SeekStart)
	return err
}

// Write adds to FILE.part.
func (p *part) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.size += int64(n)
	if err != nil {
		return n, p.wrong(err)
	}
	return n, nil
}

func (p *part) position() coap.Position { return p.at }

func (p *part) rewind(why string) bool {
	p.at, p.note = coap.Position{}, "from the beginning: "+why
	os.Remove(p.name + stateSuffix)
	return p.cut(0) == nil
}

// breakOff keeps what can be gone on with.
func (p *part) breakOff(at *coap.Position) string {
	switch {
	case at == nil:
		at = &p.at // nothing has come this time
	case at.Upload:
		at = &coap.Position{}
	}
	switch {
	case at.Offset == 0:
		p.discard()
		return ""
	case !p.resumable:
		p.discard()
		return "only the download by a GET can go on where it stopped"
	case len(at.ETag) == 0:
		p.discard()
		return "the server states no ETag, so what has come cannot be completed: start again"
	}
	s := p.want
	s.Offset, s.ETag = at.Offset, hex.EncodeToString(at.ETag)
	err := s.write(p.name + stateSuffix)
	if closing := p.f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Sprintf("what has come cannot be kept: %v", err)
	}
	return fmt.Sprintf("%s has %s, the same command goes on there", p.name+partSuffix, counted(int(at.Offset), "byte"))
}

func (s *partState) write(name string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o666)
}

// finish gives the complete file its name. What the server answers with an error leaves things as
// they were.
func (p *part) finish(resp *coap.Response) error {
	if !hasBody(resp) {
		if p.at.Offset > 0 && !resp.Code.IsSuccess() {
			p.f.Close()
		} else {
			p.discard()
		}
		return nil
	}
	if len(resp.Payload) > 0 { // a single block that was asked for by -o
		if _, err := p.Write(resp.Payload); err != nil {
			p.discard()
			return err
		}
		resp.Payload = nil
	}
	err := p.f.Sync()
	if closing := p.f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(p.name+partSuffix, p.name)
	}
	if err != nil {
		return p.wrong(err)
	}
	os.Remove(p.name + stateSuffix)
	return nil
}

// discard removes what was kept.
func (p *part) discard() {
	p.f.Close()
	os.Remove(p.name + partSuffix)
	os.Remove(p.name + stateSuffix)
}

func (p *part) remark() string {
	text := counted(int(p.size), "byte") + " in " + p.name
	if p.note != "" {
		text += ", " + p.note
	}
	return text
}

// isSpecial reports whether name is something that is there and no regular file, such as a
// device, which is written to as it is.
func isSpecial(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.Mode().IsRegular() && !info.IsDir()
}

// hasRestCause reports whether a response may be about the rest that was asked for, and not about
// the body as a whole: what there was has changed, or become shorter (RFC 7959 section 2.4).
func hasRestCause(resp *coap.Response) bool {
	switch resp.Code {
	case message.BadRequest, message.BadOption, message.NotFound, message.RequestEntityIncomplete, message.PreconditionFailed:
		return true
	}
	return false
}
