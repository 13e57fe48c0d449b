package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/observe"
)

var streamed = blockwise.Mode{Stream: true}

// op is something that a client has asked for and waits for.
type op struct {
	*item
	began    time.Duration
	deadline time.Duration // when it must have ended, whatever happens; 0: some time
	done     bool
	probe    bool // the faults have ceased: it must succeed
}

// act begins an action.
func (h *host) act(x *item) {
	switch x.kind {
	case doChange:
		h.change(x.n)
	case doObserve:
		h.observe(x)
	case doStop:
		h.stop()
	default:
		h.ask(x, false)
	}
}

// ask begins what has an end.
func (h *host) ask(x *item, probe bool) *op {
	w := h.w
	o := &op{item: x, began: w.now(), probe: probe}
	w.mu.Lock()
	outstanding := 1
	for _, other := range w.ops {
		if other.who == x.who && !other.done {
			outstanding++
		}
	}
	if x.kind == doGet || x.kind == doPost || x.kind == doPing {
		// MAX_TRANSMIT_WAIT, then EXCHANGE_LIFETIME for a separate response, and the same for
		// those who are before it.
		o.deadline = o.began + time.Duration(outstanding)*345*time.Second
	}
	w.ops = append(w.ops, o)
	w.mu.Unlock()
	w.work.Go(func() {
		ctx, cancel := w.ctx, context.CancelFunc(func() {})
		if x.limit > 0 {
			ctx, cancel = context.WithTimeout(ctx, x.limit)
		}
		defer cancel()
		var result string
		switch x.kind {
		case doPing:
			result = h.judgePing(o, h.endpoint().Ping(ctx, w.hosts[x.other].addr))
		case doAsk:
			result = h.askAll(ctx, o)
		default:
			result = h.roundTrip(ctx, o)
		}
		w.log.note(w.now(), "%s: %s id=%d ends: %s", h.name, kindNames[x.kind], x.id, result)
		w.mu.Lock()
		o.done = true
		w.mu.Unlock()
	})
	return o
}

// request makes the request of an action.
func (h *host) request(x *item) *coap.Request {
	code, uri := coap.GET, fmt.Sprintf("/echo?id=%d", x.id)
	var payload []byte
	switch x.kind {
	case doGet:
		if x.late > 0 {
			uri += fmt.Sprintf("&late=%d", x.late)
		}
	case doPost:
		code, uri, payload = coap.POST, "/count", seal("count %d %d", x.id, x.late)
	case doUpload:
		payload = body("upload", x.n, x.id, x.n)
		switch {
		case x.non:
			code, uri = coap.POST, "/box"
		case x.id%2 == 0:
			code, uri = coap.PUT, "/box"
		default:
			code, uri = coap.PUT, "/pipe"
		}
	case doDownload:
		uri = fmt.Sprintf("/large?id=%d&n=%d", x.id, x.n)
	case doObserve:
		uri = "/value/" + strconv.Itoa(x.n)
	case doAsk:
		uri = fmt.Sprintf("/who?id=%d", x.id)
	}
	req, err := coap.NewRequest(code, uri)
	if err != nil {
		h.w.fail("set-up", nil, 0, "request: %v", err)
		return nil
	}
	if req.To = groupAddr; x.kind != doAsk {
		req.To = h.w.hosts[x.other].addr
	}
	req.Payload, req.NonConfirmable = payload, x.non && (x.kind == doGet || x.kind == doPost)
	req.IfIndex = 1
	return req
}

func (h *host) roundTrip(ctx context.Context, o *op) string {
	var resp coap.Response
	err := h.client.Do(ctx, h.request(o.item), &resp)
	return h.judge(o, &resp, err)
}

// askAll asks the group and looks at what comes.
func (h *host) askAll(ctx context.Context, o *op) string {
	req := h.request(o.item)
	req.Window = 8 * time.Second
	type life struct{ server, epoch int }
	seen := make(map[life]bool)
	for resp, err := range h.client.Multicast(ctx, req) {
		if err != nil {
			return h.explain(o, err)
		}
		from := int(resp.Peer().Addr.Addr().As4()[3]) - 1
		v, ok := unsealInts(resp.Payload, "who", 3)
		switch {
		case !ok && h.w.hurt(from, h.i):
			continue
		case !ok || v[0] != o.id || v[1] != from || resp.Code != coap.Content:
			h.w.fail("answer", []int{h.i, from}, o.began, "%s has asked the group with id %d, and %v answers %v %q", h.name, o.id, resp.Peer(), resp.Code, resp.Payload)
		case seen[life{from, v[2]}] && !h.w.knobs.tight && !h.w.hurt(h.i, group) && !h.w.hurt(from, h.i):
			// A damaged request may have the id of another, but not here; it is another message, though. And
			// where memory is short a copy of a request may not be known any more.
			h.w.fail("answer", []int{h.i, from}, o.began, "%s has asked the group with id %d, and %v answers twice", h.name, o.id, resp.Peer())
		}
		seen[life{from, v[2]}] = true
	}
	// Without memory to wait with an answer, a member ignores the group.
	if all := h.w.servers(); o.probe && len(seen) != all && !h.w.knobs.tight {
		h.w.fail("liveness", nil, o.began, "%d of %d members have answered %s, on a perfect network", len(seen), all, h.name)
	}
	return fmt.Sprintf("%d answers", len(seen))
}

// watch is an observation.
type watch struct {
	*observe.Observation
	item *item
	// Guarded by world.mu:
	last   int  // version; -1: none yet
	closed bool // we have ended it
	ended  bool
}

// observe starts an observation.
func (h *host) observe(x *item) {
	w := h.w
	o, err := h.client.ObserveRequest(w.ctx, h.request(x))
	if err != nil {
		w.fail("observation", []int{h.i, x.other}, w.now(), "%s cannot observe: %v", h.name, err)
		return
	}
	v := &watch{Observation: o, item: x, last: -1}
	w.mu.Lock()
	h.watches = append(h.watches, v)
	w.mu.Unlock()
	w.work.Go(func() {
		for {
			n, err := o.Next(context.Background())
			if err != nil {
				h.watchEnds(v, err)
				return
			}
			h.told(v, &n)
		}
	})
}

// told looks at what an observer is told.
func (h *host) told(v *watch, n *observe.Notification) {
	w, x := h.w, v.item
	w.mu.Lock()
	last, current, quiet := v.last, w.hosts[x.other].values[x.n], w.quiet
	w.mu.Unlock()
	if quiet && n.Cause != nil {
		w.fail("liveness", []int{h.i, x.other}, w.now()-5*time.Minute, "an observation of %s is %v, on a perfect network: %v", h.name, n.State, n.Cause)
	}
	if n.Response == nil {
		w.log.note(w.now(), "%s: observation id=%d is %v", h.name, x.id, n.State)
		return
	}
	numbers, ok := unsealInts(n.Response.Payload, "value", 3)
	if !ok && w.hurt(x.other, h.i) {
		return // later blocks may have been damaged
	}
	who := []int{h.i, x.other}
	w.log.note(w.now(), "%s: observation id=%d is told %v", h.name, x.id, numbers)
	switch {
	case !ok || numbers[0] != x.other || numbers[1] != x.n || numbers[2] > current:
		w.fail("answer", who, v.item.at, "%s observes resource %d of %d and is told %q", h.name, x.n, x.other, n.Response.Payload)
	case numbers[2] < last && x.n == 0:
		// Of a resource that takes several blocks, one that changes meanwhile is fetched anew, and
		// may be newer than the notifications that wait to be looked at.
		w.fail("backwards", who, v.item.at, "%s is told version %d of resource %d after version %d", h.name, numbers[2], x.n, last)
	}
	if ok {
		w.mu.Lock()
		v.last = numbers[2]
		w.mu.Unlock()
	}
}

// stop ends the oldest observation, with or without a word to the server.
func (h *host) stop() {
	h.w.mu.Lock()
	var v *watch
	for _, o := range h.watches {
		if !o.closed {
			v = o
			break
		}
	}
	if v != nil {
		v.closed = true
	}
	h.w.mu.Unlock()
	if v == nil {
		return
	}
	if v.item.id%2 == 0 {
		v.Close()
		return
	}
	h.w.work.Go(func() { v.Cancel(h.w.ctx) })
}
