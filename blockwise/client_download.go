package blockwise

import (
	"bytes"
	"io"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// resume asks for the block in which a resumed download begins, or with which, if the download was
// interrupted between blocks.
func (t *transfer) resume() error {
	t.answered, t.ask = true, min(t.ask, t.down)
	if t.start%16 == 0 {
		t.ask = aligned(t.start, t.ask)
	}
	return t.request(t.resp)
}

// request asks for the block that t.got is in.
func (t *transfer) request(resp *exchange.Response) error {
	t.options(true)
	t.ask = min(t.ask, t.down)
	b := blockAt(t.got, t.ask, false)
	t.asked = b.Offset()
	t.out.Options.SetUint(message.OptionBlock2, b.Value())
	t.selectBy()
	if err := t.c.next.RoundTrip(t.ctx, &t.out, resp); err != nil {
		return t.interrupted(err)
	}
	return nil
}

// selectBy gives a request for a later block the payload that it has to have, if any
// (RFC 7959 section 3.3).
func (t *transfer) selectBy() {
	t.out.Payload, t.out.Series = nil, nil
	if t.req.Code == message.FETCH && !t.inBlocks {
		// It is part of what is asked for. A server can do without state then.
		t.out.Payload = t.plain
	}
}

// download gets the rest of the response of which t.resp is the first block. It reports whether
// the body has changed on the way.
func (t *transfer) download() (changed bool, err error) {
	if !t.resp.Options.Has(message.OptionBlock2) || t.resp.Code == message.Valid {
		if t.start > 0 && t.resp.Code.IsSuccess() {
			return true, nil // what was to be resumed fits one message now
		}
		return false, t.whole()
	}
	if t.start > 0 && !t.resp.Code.IsSuccess() {
		return false, t.whole()
	}
	more, changed, err := t.take(t.resp)
	if more && err == nil && !changed {
		t.c.downloads.Add(1)
		t.holdResponse()
		if p := t.openPipe(); p != nil {
			if more, changed, err = t.downloadAhead(p); p.refused {
				return false, nil
			}
		}
	}
	for more && !changed && err == nil {
		if err = t.request(&t.part); err != nil {
			break
		}
		switch code := t.part.Code; {
		case code == message.RequestEntityIncomplete && isSafe(t.req.Code):
			return true, nil // the server has forgotten it
		case !code.IsSuccess() && code != t.resp.Code:
			*t.resp, t.part = t.part, *t.resp
			t.strip()
			return false, nil
		case code == message.Valid || code == message.Continue:
			return false, t.bad("a request for block %d was answered with %v", t.asked>>(t.ask+4), code)
		}
		more, changed, err = t.take(&t.part)
	}
	if err == nil && !changed {
		t.finish()
	}
	return changed, err
}

// holdResponse makes other requests, which could be mixed up with those for the rest of the
// response, have a tag.
func (t *transfer) holdResponse() {
	if t.settled || t.tag != nil || isSafe(t.req.Code) {
		return
	}
	t.settled = true
	var tag []byte
	t.hash, tag = t.c.tags.acquire(time.Now(), t.req)
	t.held = tag == nil // else it is too late for one
}

// whole takes a response that needs no more requests.
func (t *transfer) whole() error {
	if t.sink != nil && t.resp.Code.IsSuccess() && len(t.resp.Payload) > 0 {
		if int64(len(t.resp.Payload)) > t.limit {
			return t.fail(ErrTooLarge, nil)
		}
		if _, err := t.sink.Write(t.resp.Payload); err != nil {
			return t.fail(ErrBody, err)
		}
		t.got += int64(len(t.resp.Payload))
		t.resp.Payload = nil
		t.progress()
	}
	t.strip()
	return nil
}

// finish hands the body over.
func (t *transfer) finish() {
	t.resp.Payload = t.body
	t.strip()
}

// strip takes away the options that are about messages, not about the whole.
func (t *transfer) strip() {
	t.resp.Options.Remove(message.OptionBlock1)
	t.resp.Options.Remove(message.OptionBlock2)
}

// take adds a block to the body. changed says that it belongs to another body.
func (t *transfer) take(r *exchange.Response) (more, changed bool, err error) {
	b, ok := ParseBlock(&r.Options, message.OptionBlock2)
	if !ok {
		if r.Options.Has(message.OptionBlock2) {
			return false, false, t.bad("Block2 of the response has an invalid length")
		}
		return false, true, nil // the whole of a body: one that is shorter than the one before
	}
	switch {
	case b.SZX > t.ask:
		return false, false, t.bad("block %v is larger than was asked for, %d bytes", b, 16<<t.ask)
	case b.Offset() != t.asked:
		return false, false, t.bad("block %v is at byte %d, %d was asked for", b, b.Offset(), t.asked)
	case b.More && len(r.Payload) != b.Size():
		return false, false, t.bad("block %v has %d bytes", b, len(r.Payload))
	case !t.same(r):
		return false, true, nil
	}
	if size, ok := r.Options.Size2(); ok {
		t.total = int64(size)
	}
	data := r.Payload[min(t.got-t.asked, int64(len(r.Payload))):]
	if err := t.store(data, r.Code); err != nil {
		return false, false, err
	}
	t.ask = b.SZX // (RFC 7959 section 2.4)
	t.progress()
	return b.More, false, nil
}

// same compares what has to be the same for all blocks of a body (RFC 7959 sections 2.3 and 2.4).
func (t *transfer) same(r *exchange.Response) bool {
	tag, _ := r.Options.ETag()
	format, isFormat := r.Options.ContentFormat()
	if t.known && !bytes.Equal(tag, t.etag) && !(tag == nil && t.c.cfg.AllowMissingETag) {
		return false
	}
	if t.got == t.start {
		if !t.known {
			t.etag = bytes.Clone(tag)
		}
		t.known, t.format, t.isFormat = true, format, isFormat
		return true
	}
	return !isFormat || t.isFormat && format == t.format // some state it once
}

// Room for the body before any of it has come: what the server claims, but no more than this.
const maxAhead = 64 << 10

// store keeps a part of the body, or gives it to the sink.
func (t *transfer) store(data []byte, code message.Code) error {
	if max(t.got+int64(len(data)), t.total) > t.limit {
		return t.fail(ErrTooLarge, nil)
	}
	if t.sink != nil && code.IsSuccess() {
		n, err := t.sink.Write(data)
		if err == nil && n < len(data) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return t.fail(ErrBody, err)
		}
	} else {
		if t.body == nil {
			t.body = make([]byte, 0, min(max(t.total-t.start, int64(len(data))), maxAhead))
		}
		t.body = append(t.body, data...)
	}
	t.got += int64(len(data))
	t.c.received.Add(uint64(len(data)))
	return nil
}

// restartDownload prepares for the whole of the new body, if it can be had.
func (t *transfer) restartDownload() error {
	resumed := t.start > 0
	switch {
	case !isSafe(t.req.Code), // it would be performed twice
		resumed,                         // the caller has the beginning
		t.sink != nil && t.got > 0,      // so has the sink
		!t.src.restarts() && t.inBlocks, // the request cannot be sent again
		t.restarts >= t.c.cfg.MaxRestarts:
		return t.fail(ErrBodyChanged, nil)
	}
	t.body, t.got, t.asked, t.total = nil, 0, 0, 0
	t.etag, t.known = nil, false
	t.answered, t.early = false, t.early || t.ask < maxSZX
	t.restart()
	return nil
}
