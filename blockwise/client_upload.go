package blockwise

import (
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// upload sends the request's body until there is a response to the whole of it. If the server
// has lost it on the way, it starts again, a bounded number of times.
func (t *transfer) upload() error {
	if t.answered { // with 4.13, to a request in one message
		t.answered = false
		if !t.smaller(true, len(t.plain)) {
			t.answered = true
			return nil
		}
		t.inBlocks = true
	}
	for {
		lost, err := t.send()
		if err != nil {
			return err
		}
		if !lost {
			t.answered = true
			return nil
		}
		switch {
		case !t.src.restarts():
			return t.fail(ErrNoRestart, t.resp.Err())
		case t.restarts >= t.c.cfg.MaxRestarts:
			return t.fail(ErrIncomplete, t.resp.Err())
		}
		t.restart()
	}
}

// restart makes the next request the first one again. Its tag is a new one: blocks that were sent
// before may still arrive.
func (t *transfer) restart() {
	t.restarts++
	t.c.restarts.Add(1)
	t.off, t.resumed = 0, false
	t.series = exchange.Series{}
	if t.inBlocks {
		t.tag = t.c.tags.fresh()
	}
}

// send sends blocks from t.off on. It reports whether the server has lost those before.
func (t *transfer) send() (lost bool, err error) {
	for {
		p, more, err := cut(t.src, t.off, t.szx)
		if err != nil {
			return false, t.bodyError(err)
		}
		if !more && t.off == 0 && !t.inBlocks {
			return t.sendPlain(p)
		}
		if !t.inBlocks {
			t.inBlocks = true
			t.c.uploads.Add(1)
		}
		t.hold()
		b := blockAt(t.off, t.szx, more)
		t.blockRequest(b, p)
		if err := t.c.next.RoundTrip(t.ctx, &t.out, t.resp); err != nil {
			return false, t.interrupted(err)
		}
		t.again = true
		next, err := t.judge(b, len(p))
		if err != nil {
			return false, err
		}
		switch next {
		case nextDone:
			return false, nil
		case nextAgain:
			return true, nil
		}
		if err := t.sendAhead(); err != nil {
			return false, err
		}
	}
}

// bodyError says why there is no next block.
func (t *transfer) bodyError(err error) error {
	switch err {
	case errOutOfOrder:
		return t.fail(ErrNoRestart, nil)
	case errOutside:
		// A body that ends where it was to be resumed was sent completely.
		return t.fail(ErrBody, err)
	}
	if e, ok := err.(*Error); ok {
		return t.fail(e.Reason, e.Err)
	}
	return t.fail(ErrBody, err)
}

// sendPlain sends a body that fits one message, in one, without Block1.
func (t *transfer) sendPlain(p []byte) (lost bool, err error) {
	t.plain = p
	if t.tag == nil && t.c.tags.clashes(time.Now(), t.req) {
		t.tag = t.c.tags.fresh()
	}
	t.options(t.again)
	if t.early || t.again && t.ask < maxSZX {
		t.out.Options.SetUint(message.OptionBlock2, Block{SZX: t.ask}.Value())
	}
	t.askSize()
	t.out.Payload = p
	if err := t.c.next.RoundTrip(t.ctx, &t.out, t.resp); err != nil {
		return false, err
	}
	t.again = true
	if t.resp.Code == message.RequestEntityTooLarge && t.smaller(true, len(p)) {
		t.inBlocks = true
		t.c.uploads.Add(1)
		return t.send()
	}
	t.off = int64(len(p))
	t.progress()
	return false, nil
}

// askSize asks for the length of the response if somebody wants to know it, or if no block
// behind its end should be asked for ahead (RFC 7959 section 4).
func (t *transfer) askSize() {
	if x := t.req.Transfer; x != nil && x.Progress != nil || t.parallel() > 1 {
		t.out.Options.SetUint(message.OptionSize2, 0)
	}
}

// blockRequest makes the request with a block.
func (t *transfer) blockRequest(b Block, payload []byte) {
	first := b.Num == 0
	t.options(!first || t.again)
	if first {
		t.firstOnly()
		if n := t.src.length(); n > int64(manyBlocks*b.Size()) && n < 1<<32 {
			t.out.Options.SetSize1(uint32(n))
		}
	}
	t.out.Options.SetUint(message.OptionBlock1, b.Value())
	if !b.More {
		// How the response is to be cut is said in the request that it is the response to
		// (RFC 7959 section 3.3).
		if t.early {
			t.out.Options.SetUint(message.OptionBlock2, Block{SZX: t.ask}.Value())
		}
		t.askSize()
	}
	t.out.Payload, t.out.Series = payload, &t.series
}

// firstOnly adds a precondition that the first block has to have, even when it is sent again.
func (t *transfer) firstOnly() {
	if t.req.Options.IfNoneMatch() {
		t.out.Options.SetIfNoneMatch()
	}
}

// next says how an upload goes on.
type next uint8

const (
	nextBlock next = iota
	nextDone       // t.resp is the response to the whole
	nextAgain      // start again
)

// judge looks at the response to a block.
func (t *transfer) judge(b Block, n int) (next, error) {
	r := t.resp
	ack, has := ParseBlock(&r.Options, message.OptionBlock1)
	switch {
	case r.Code == message.RequestEntityIncomplete && b.Num > 0:
		if (t.resumed || !b.More) && !t.req.Code.IsIdempotent() {
			return nextDone, nil // the last block may have arrived before, and have been acted on
		}
		return nextAgain, nil
	case r.Code == message.RequestEntityTooLarge && t.smaller(false, n):
		if b.Num > 0 {
			return nextAgain, nil
		}
		return nextBlock, nil
	case !r.Code.IsSuccess():
		return nextDone, nil
	case has && ack.SZX > maxSZX:
		return 0, t.bad("Block1 of the response has the reserved size exponent 7")
	case has && b.More && ack.Num != b.Num && ack.Offset() < b.Offset():
		// The answer to an earlier block, which has come twice: the server did not know the copy
		// of a request for one, since the address of the client has changed on the way, say.
		return nextAgain, nil
	case has && ack.Num != b.Num && ack.Offset() != b.Offset():
		return 0, t.bad("block %v was acknowledged as %v", b, ack)
	case !b.More && r.Code == message.Continue:
		return 0, t.bad("the last block was answered with 2.31")
	case b.More && !has && r.Code != message.Continue:
		return 0, t.bad("block %v was answered with %v and no Block1: the rest would be lost", b, r.Code)
	}
	t.off += int64(n)
	t.resumed = false
	t.c.sent.Add(uint64(n))
	if has {
		t.szx = min(t.szx, ack.SZX) // (RFC 7959 section 2.5)
	}
	t.progress()
	if !b.More {
		return nextDone, nil
	}
	return nextBlock, nil
}

// smaller takes up the hint of a 4.13 response that smaller blocks might be accepted
// (RFC 7959 section 2.9.3). whole says that there was no Block1 in the request, n how long its
// payload was.
func (t *transfer) smaller(whole bool, n int) bool {
	ack, has := ParseBlock(&t.resp.Options, message.OptionBlock1)
	limit, isLimit := t.resp.Options.Size1()
	switch {
	case has && ack.SZX < t.szx && 16<<ack.SZX < n:
		t.szx = ack.SZX
		return true
	case whole && !has && n > 16 && (!isLimit || int64(limit) >= int64(n)):
		t.szx = min(t.szx, exponent(n-1))
		return true
	}
	return false
}
