package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
)

// judge looks at how a request has ended, and says it in a few words.
func (h *host) judge(o *op, resp *coap.Response, err error) string {
	w, who := h.w, []int{h.i, o.other}
	to := w.hosts[o.other]
	if end := w.now(); o.deadline > 0 && end > o.deadline+h.pauses() {
		w.fail("late", who, o.began, "%s id=%d of %s has ended after %v, want %v at most", kindNames[o.kind], o.id, h.name, end-o.began, o.deadline-o.began)
	}
	if err != nil {
		return h.explain(o, err)
	}
	if from := resp.Peer().Addr; from != to.addr {
		w.fail("answer", who, o.began, "%s has asked %v, and %v answers", h.name, to.addr, from)
	}
	if !resp.Code.IsSuccess() {
		return h.excuse(o, resp)
	}
	word, want := "echo", coap.Content
	switch o.kind {
	case doPost:
		word, want = "counted", coap.Changed
	case doUpload:
		word, want = "uploaded", coap.Changed
	case doDownload:
		word = "large"
	}
	v, ok := unsealInts(resp.Payload, word, 2)
	switch {
	case !ok && w.hurt(o.other, h.i):
		return "a damaged answer"
	case !ok || v[0] != o.id || v[1] != o.other || resp.Code != want,
		o.kind == doDownload && string(resp.Payload) != string(body("large", o.n, o.id, o.other)):
		w.fail("answer", who, o.began, "%s id=%d of %s to %s is answered by %v %q", kindNames[o.kind], o.id, h.name, to.name, resp.Code, resp.Payload)
	}
	return resp.Code.String()
}

// pauses returns for how long the host has been suspended so far.
func (h *host) pauses() time.Duration {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.paused
}

// excuse looks whether there is a reason for an error response.
func (h *host) excuse(o *op, resp *coap.Response) string {
	w := h.w
	excused := false
	switch resp.Code {
	case coap.ServiceUnavailable:
		excused = w.knobs.tight
	case coap.BadRequest:
		excused = w.hurt(h.i, o.other)
	case message.RequestEntityIncomplete:
		// The last block of a POST is not sent in another attempt, for it may have been acted on.
		excused = o.kind == doUpload && (w.knobs.tight || w.hurt(h.i, o.other) || w.forgetful(o.other))
	}
	if !excused || o.probe {
		w.fail("answer", []int{h.i, o.other}, o.began, "%s id=%d of %s to %s is answered by %v", kindNames[o.kind], o.id, h.name, w.hosts[o.other].name, resp.Err())
	}
	return resp.Code.String()
}

// explain looks whether there is a reason for an error, and whether it has the type that it should.
func (h *host) explain(o *op, err error) string {
	w := h.w
	excused := false
	operation, isOp := errors.AsType[*coap.OpError](err)
	end, isEnd := errors.AsType[coap.EndError](err)
	transfer, isTransfer := errors.AsType[*blockwise.Error](err)
	switch {
	case isTransfer && transfer.Reason != blockwise.ErrInterrupted:
		switch transfer.Reason {
		case blockwise.ErrIncomplete: // the server was restarted, say, three times
			excused = o.kind == doUpload
		case blockwise.ErrBodyChanged, blockwise.ErrBadResponse:
			// The blocks of an upload share a token, so that a second answer to one is taken for that
			// to another: a late copy whose message ID the client has had to forget, or one that a
			// server gives to a retransmission that it cannot know to be one.
			excused = w.hurt(o.other, h.i) || w.hurt(h.i, o.other) || o.kind == doUpload && (w.knobs.tight || w.forgetful(o.other))
		}
	case isOp && errors.Is(operation.Err, context.DeadlineExceeded):
		excused = o.limit > 0
	case isOp && isEnd:
		switch end {
		case coap.ErrNotAcknowledged, coap.ErrNoSeparateResponse, coap.ErrNotAnswered:
			excused = true
		case coap.ErrBusy:
			excused = w.knobs.tight
		case coap.ErrUnreachable:
			excused = !w.knobs.noUnreachable && w.hosts[o.other].restarted()
		case coap.ErrReset:
			excused = w.hurt(h.i, o.other)
		}
	}
	if !excused || o.probe {
		w.fail("error", []int{h.i, o.other}, o.began, "%s id=%d of %s to %s: %v", kindNames[o.kind], o.id, h.name, w.hosts[o.other].name, err)
	}
	return err.Error()
}

func (h *host) judgePing(o *op, err error) string {
	if err != nil {
		return h.explain(o, err)
	}
	return "pong"
}

// forgetful reports whether a server may not have known a message again: there was a NAT rebinding, or it
// was restarted.
func (w *world) forgetful(server int) bool {
	again := w.hosts[server].restarted()
	w.mu.Lock()
	defer w.mu.Unlock()
	return again || w.made[faultRebind] > 0
}

// restarted reports whether a server has been away at some time.
func (h *host) restarted() bool {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.down || h.epoch > 1
}

// watchEnds looks how an observation has ended.
func (h *host) watchEnds(v *watch, err error) {
	w := h.w
	w.log.note(w.now(), "%s: observation id=%d ends: %v", h.name, v.item.id, err)
	w.mu.Lock()
	v.ended = true
	closed := v.closed
	w.mu.Unlock()
	refused, isRefused := errors.AsType[*coap.Error](err)
	switch {
	case closed && err == io.EOF:
	case errors.Is(err, observe.ErrNotObservable) && w.knobs.tight:
	case isRefused && refused.Code == coap.BadRequest && w.hurt(h.i, v.item.other):
	default:
		w.fail("observation", []int{h.i, v.item.other}, v.item.at, "an observation of %s has ended: %v", h.name, err)
	}
}
