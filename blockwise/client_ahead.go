package blockwise

import "github.com/coapkit/coap/message"

// sendAhead sends blocks several at a time, as long as that goes well: from the one whose turn it is, until the last.
// What was not acknowledged in order is left to be sent block by block (RFC 7959 section 2.5).
func (t *transfer) sendAhead() error {
	p := t.openUpload()
	if p == nil {
		return nil
	}
	defer p.close()
	for p.take() != nil {
		t.off += 16 << p.szx
		t.c.sent.Add(16 << p.szx)
		t.progress()
		p.taken()
	}
	p.close()
	if s := p.slot(p.w.base); s.come && s.err != nil && !s.unread && !p.alive(s) {
		return t.interrupted(s.err)
	}
	return nil
}

// openUpload returns a pipe that begins where the upload is, nil if blocks are to be sent one at a time: so is the first, until
// it is acknowledged. It does so once for a transfer.
func (t *transfer) openUpload() *pipe {
	most := t.c.cfg.UploadWindow
	if most < 2 || t.off == 0 || t.inTurn || !t.src.restarts() || t.off&(16<<t.szx-1) != 0 {
		return nil
	}
	t.inTurn = true
	if f := t.c.cfg.NStart; f != nil {
		most = min(most, f(&t.out))
	}
	base, last := t.off>>(t.szx+4), (t.src.length()-1)>>(t.szx+4)
	if most = int(min(int64(most), last-base)); most < 2 {
		return nil
	}
	t.blockRequest(blockAt(t.off, t.szx, true), nil)
	t.out.Series = nil // whose requests come one after the other
	p := newPipe(t, t.szx, newWindow(base, last, most))
	p.fill, p.fits = p.send, p.acknowledged
	p.start()
	return p
}

// send makes the request with block n of the request's body. The lock is held, so that one at a time reads the source.
func (p *pipe) send(n int64, s *slot) error {
	b := Block{Num: uint32(n), More: true, SZX: p.szx}
	data, more, err := cut(p.t.src, b.Offset(), b.SZX)
	if s.unread = err != nil || !more; s.unread {
		return errOutside // to be found again when it is its turn
	}
	s.buf = append(s.buf[:0], data...)
	s.out.Options.SetUint(message.OptionBlock1, b.Value())
	s.out.Payload = s.buf
	return nil
}

// acknowledged reports whether the server has taken block n, and wants the next in the same size.
func (p *pipe) acknowledged(n int64, s *slot) (more, ok bool) {
	if s.err != nil || s.resp.Code != message.Continue {
		return false, false
	}
	b, has := ParseBlock(&s.resp.Options, message.OptionBlock1)
	return true, has && b.SZX == p.szx && int64(b.Num) == n
}
