package blockwise

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/entropy"
	"github.com/coapkit/coap/message"
)

// serveBlock2 answers a request for a later block of a response body: from what is kept of the
// one before or, if the method is safe, by running the handler again.
func (s *Server) serveBlock2(w *exchange.Response, r *exchange.Request, a asked) error {
	var tmp [usualOperation]byte
	selection := appendSelection(tmp[:0], r)
	s.mu.Lock()
	e := s.t.download(keyOf(r.Peer()), selection)
	switch {
	case e == nil || !e.down.expects(a.block2) && isSafe(r.Code):
		s.unlock()
		// A FETCH without payload selects nothing: it goes on with a transfer, or nowhere.
		if r.Code == message.GET || r.Code == message.FETCH && len(r.Payload) > 0 {
			return s.serveInner(w, r, a, (*Server).serveWhole)
		}
		return s.incomplete(w, a, "the block belongs to no transfer; send the whole request again")
	case e.down.snap != nil:
		s.serveSnapshot(w, r, a, e) // unlocks
		return nil
	case e.busy && e.down.next != a.block2.Offset():
		s.unlock()
		return s.incomplete(w, a, errOutOfOrder.Error())
	case e.busy:
		s.unlock()
		return s.busy(w, time.Second)
	}
	e.busy, e.down.next = true, a.block2.Offset()
	s.unlock()
	return s.serveLive(w, a, e)
}

// serveSnapshot answers with a block of a snapshot. The lock is held, and released.
func (s *Server) serveSnapshot(w *exchange.Response, r *exchange.Request, a asked, e *entry) {
	snap, d, off, szx := e.down.snap, e.down, a.block2.Offset(), min(a.block2.SZX, s.szx)
	p, more, err := memory(snap.body).block(off, 16<<szx)
	now := time.Now()
	if err == nil {
		if s.t.touch(now, e); d.asked(off, len(p), more) && isSafe(r.Code) {
			s.t.end(e, 0) // the next request starts again
		}
	}
	s.unlock()
	if err != nil {
		refuse(w, message.BadRequest, err.Error())
		return
	}
	part{
		code: snap.code, options: &snap.options, payload: p, block: blockAt(off, szx, more),
		total: int64(len(snap.body)), age: now.Sub(snap.made),
	}.write(w, a)
}

// serveLive answers with a block of a body that is a reader. The caller has set busy.
func (s *Server) serveLive(w *exchange.Response, a asked, e *entry) error {
	d, off, szx := e.down, a.block2.Offset(), min(a.block2.SZX, s.szx)
	p, more, err := cut(d.live, off, szx)
	p = bytes.Clone(p) // the next request may come before this one has been sent
	s.mu.Lock()
	e.busy = false
	gone := !e.listed() // replaced, say, while it was read
	failed := err != nil && !errors.Is(err, errOutOfOrder) && !errors.Is(err, errOutside)
	if failed || err == nil && !more {
		s.t.end(e, 0)
	}
	s.t.touch(time.Now(), e)
	s.unlock()
	if gone {
		closeBody(d.body)
	}
	switch {
	case errors.Is(err, errOutside):
		return refuse(w, message.BadRequest, err.Error())
	case errors.Is(err, errOutOfOrder):
		return s.incomplete(w, a, errOutOfOrder.Error())
	case failed:
		return err
	}
	part{code: d.code, options: &d.options, payload: p, block: blockAt(off, szx, more), total: d.live.length()}.write(w, a)
	return nil
}

// cut returns a block of a body, or says that it cannot be numbered.
func cut(src source, off int64, szx uint8) (p []byte, more bool, err error) {
	if off >= longest(szx) || src.length() > longest(szx) {
		return nil, false, &Error{Reason: ErrTooLong}
	}
	return src.block(off, 16<<szx)
}

// part is one block of a response.
type part struct {
	code    message.Code
	options *message.Options // of the first block
	payload []byte
	block   Block
	total   int64 // -1 if unknown
	age     time.Duration
}

// manyBlocks is from when on a size is stated without being asked for: when the body is
// "considerably" longer than a block (RFC 7959 section 4).
const manyBlocks = 8

// write makes p the response, with the options of the first block.
func (p part) write(w *exchange.Response, a asked) {
	w.Reset()
	w.Code, w.Payload = p.code, p.payload
	it, done := p.options.Iter(), false
	for it.Next() {
		if it.Number() > message.OptionBlock2 && !done {
			w.Options.AddUint(message.OptionBlock2, p.block.Value())
			done = true
		}
		w.Options.Add(it.Number(), it.Value())
	}
	if !done {
		w.Options.AddUint(message.OptionBlock2, p.block.Value())
	}
	if p.total >= 0 && a.size2 {
		w.Options.SetSize2(uint32(p.total))
	}
	if p.age >= time.Second {
		w.Options.SetMaxAge(p.options.MaxAge() - p.age) // it is that much older
	}
}

// deliver sends what the handler has answered to r, which has no Block options: as it is, or the
// block that is asked for. For a body that came in blocks, r carries the whole one.
func (s *Server) deliver(w *exchange.Response, r *exchange.Request, a asked, err error) error {
	body, isRandom := w.TakeBody()
	if err != nil {
		closeBody(body)
		return shorten(err, s.szx)
	}
	if a.has1 {
		acknowledge(w, a, a.block1.SZX, false)
	}
	if body != nil {
		return s.deliverReader(w, r, a, body, isRandom)
	}
	szx, off := s.wanted(a)
	if off == 0 && len(w.Payload) <= 16<<szx {
		if a.has2 && len(w.Payload) > 0 && w.Code.IsSuccess() {
			w.Options.SetUint(message.OptionBlock2, blockAt(0, szx, false).Value())
		}
		return nil
	}
	if w.Code == message.Empty {
		w.Code = message.Content
	}
	if _, ok := w.Options.ETag(); !ok && w.Code.IsSuccess() {
		w.Options.SetETag(tagOf(w.Payload)) // (RFC 7959 section 2.4, RFC 9175 section 3.8)
	}
	if off == 0 && validates(w, r) {
		return nil
	}
	return s.deliverBytes(w, r, a)
}

// wanted returns the block size for a response and where it starts.
func (s *Server) wanted(a asked) (szx uint8, off int64) {
	if !a.has2 {
		return s.szx, 0
	}
	return min(s.szx, a.block2.SZX), a.block2.Offset()
}

// validates turns the response into 2.03 if the client has the representation
// (RFC 7252 section 5.10.6.2). For others the endpoint does that; a block must not reach it.
func validates(w *exchange.Response, r *exchange.Request) bool {
	tag, _ := w.Options.ETag()
	if w.Code != message.Content || !isSafe(r.Code) || tag == nil {
		return false
	}
	for t := range r.Options.ETags() {
		if bytes.Equal(t, tag) {
			w.Code, w.Payload = message.Valid, nil
			w.Options.Remove(message.OptionContentFormat)
			return true
		}
	}
	return false
}

// deliverBytes cuts a block out of w.Payload and keeps a copy for the next ones.
func (s *Server) deliverBytes(w *exchange.Response, r *exchange.Request, a asked) error {
	szx, off := s.wanted(a)
	body := w.Payload
	p, more, err := cut(memory(body), off, szx)
	if err != nil {
		return s.cannotCut(w, err, int64(len(body)), szx)
	}
	if (more || !isSafe(r.Code)) && !s.keep(w, r, body, off+int64(len(p))) && !isSafe(r.Code) {
		return fmt.Errorf("coap: response of %d bytes: %w: raise ServerConfig.BytesPerPeer, or use Response.Content",
			len(body), ErrTooLarge)
	}
	w.Payload = p
	describe(w, a, blockAt(off, szx, more), int64(len(body)))
	return nil
}

// describe adds the options of a block that is cut out of what the handler has just answered.
func describe(w *exchange.Response, a asked, b Block, total int64) {
	w.Options.SetUint(message.OptionBlock2, b.Value())
	if total >= 0 && (a.size2 || b.Num == 0 && total > int64(manyBlocks*b.Size())) {
		w.Options.SetSize2(uint32(total))
	}
}

// cannotCut answers a request for a block that does not exist.
func (s *Server) cannotCut(w *exchange.Response, err error, total int64, szx uint8) error {
	switch {
	case errors.Is(err, errOutside):
		return refuse(w, message.BadRequest, err.Error())
	case errors.Is(err, ErrTooLong) && total <= longest(s.szx):
		// Not with blocks as small as the client wants them.
		return refuse(w, message.BadRequest, fmt.Sprintf("blocks of %d bytes cannot be counted to %d bytes, ask for larger ones", 16<<szx, total))
	}
	return err
}

// keep remembers the body that r was answered with, for the peer to ask for what comes from next
// on. It reports false if there is no room.
func (s *Server) keep(w *exchange.Response, r *exchange.Request, body []byte, next int64) bool {
	options := w.Options.Borrow()
	for _, n := range [...]message.OptionNumber{message.OptionObserve, message.OptionBlock1, message.OptionBlock2, message.OptionSize2} {
		options.Remove(n)
	}
	tag, _ := options.ETag()
	e := s.newDownload(r, &download{next: next, left: int64(len(body)) - next})
	now := time.Now()
	s.mu.Lock()
	defer s.unlock()
	if s.closing || !s.t.add(now, e) {
		return false
	}
	e.down.snap = s.t.share(now, e, snapshotKey{e.key.op, string(tag)}, w.Code, &options, body)
	if e.down.snap == nil {
		s.t.end(e, ErrEvicted)
		return false
	}
	s.alias(e)
	return true
}

// newDownload returns the entry for the answer to r.
func (s *Server) newDownload(r *exchange.Request, d *download) *entry {
	k := key{peer: keyOf(r.Peer()), op: string(appendSelection(nil, r))}
	if op := operation(r); k.op != op {
		d.alias = key{k.peer, op}
	}
	return &entry{key: k, down: d}
}

// alias makes the answer to a FETCH be found by requests for later blocks that have no payload any
// more, as RFC 7959 section 3.3 has it. The lock is held.
func (s *Server) alias(e *entry) {
	if e.down.alias.op != "" {
		s.t.aliases[e.down.alias] = e
	}
}

// deliverReader answers with a block of a reader. A reader at random access is kept only if the
// handler cannot be asked for it again.
func (s *Server) deliverReader(w *exchange.Response, r *exchange.Request, a asked, body io.Reader, isRandom bool) error {
	szx, off := s.wanted(a)
	kept := false
	defer func() {
		if !kept {
			closeBody(body)
		}
	}()
	keeps := !isRandom || r.Code != message.GET // or else the handler runs again
	var at *random
	if a.inner != nil && !keeps {
		at = &a.inner.random
	} else {
		at = new(random)
	}
	src, err := s.open(w, body, isRandom, at)
	if err != nil {
		return err
	}
	if !keeps {
		at.buf = w.Room(16 << szx)
	}
	if off == 0 && validates(w, r) {
		return nil
	}
	p, more, err := cut(src, off, szx)
	if errors.Is(err, errOutOfOrder) {
		return s.incomplete(w, a, "the body is a stream, start with block 0")
	}
	if err != nil {
		return s.cannotCut(w, err, src.length(), szx)
	}
	if w.Payload = p; keeps {
		w.Payload = bytes.Clone(p) // the next request may come before this one has been sent
	}
	if !more && off == 0 && !a.has2 {
		return nil
	}
	if more && keeps {
		if kept = s.keepReader(w, r, src, body); !kept {
			return s.busy(w, s.cfg.Lifetime/8)
		}
	}
	describe(w, a, blockAt(off, szx, more), src.length())
	return nil
}

// open makes a source of a reader; for one at random access, of what at points to. A stream that has no
// entity-tag gets one of its own, so that its blocks are not taken for those of another.
func (s *Server) open(w *exchange.Response, body io.Reader, isRandom bool, at *random) (src source, err error) {
	if isRandom {
		*at, err = newRandom(body.(io.ReadSeeker))
		return at, err
	}
	if _, ok := w.Options.ETag(); !ok {
		var tag [message.MaxETagLength]byte
		binary.BigEndian.PutUint64(tag[:], entropy.Uint64())
		w.Options.SetETag(tag[:])
	}
	return newStream(body, 0, -1), nil
}

// keepReader remembers the reader that r was answered with. It reports false if there is no room.
func (s *Server) keepReader(w *exchange.Response, r *exchange.Request, src source, body io.Reader) bool {
	d := &download{live: src, body: body, code: w.Code, options: w.Options.Clone()}
	d.options.Remove(message.OptionBlock1)
	d.options.Remove(message.OptionObserve)
	e := s.newDownload(r, d)
	now := time.Now()
	s.mu.Lock()
	defer s.unlock()
	if s.closing || !s.t.add(now, e) {
		return false
	}
	const buffer = 1024 + 1
	if !s.t.charge(e, buffer, buffer) {
		d.body = nil // the caller closes it
		s.t.end(e, ErrEvicted)
		return false
	}
	s.alias(e)
	return true
}

// shorten cuts the diagnostic of an error down to what fits a block.
func shorten(err error, szx uint8) error {
	coded, ok := errors.AsType[*exchange.Error](err)
	if !ok || len(coded.Diagnostic) <= 16<<szx {
		return err
	}
	d := coded.Diagnostic[:16<<szx]
	for len(d) > 0 && !utf8.RuneStart(coded.Diagnostic[len(d)]) {
		d = d[:len(d)-1]
	}
	return &exchange.Error{Code: coded.Code, Diagnostic: d}
}
