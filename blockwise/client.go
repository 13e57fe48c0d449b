package blockwise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// ClientConfig configures a [Client]. The zero value is ready to use. It must not be changed
// once it is in use.
type ClientConfig struct {
	// BlockSize is the largest block to send and to ask for, in bytes: a power of two from 16
	// to 1024, others are rounded down. 0 means 1024.
	BlockSize int
	// Early proposes BlockSize in every request (RFC 7959 section 2.4). Without it, a server
	// that answers with larger blocks is asked for smaller ones from the second on; a
	// server that does not implement RFC 7959 rejects requests with a proposal.
	Early bool
	// MaxBody is the longest response body to gather, in bytes. 0 means 16 MiB. A request can
	// set another limit.
	MaxBody int64
	// MaxRestarts is how often a transfer is started again because a body has changed or the
	// server has lost it. 0 means 3, a negative number never.
	MaxRestarts int
	// AllowMissingETag accepts servers that state the entity-tag of a body with its first
	// block only. Then nothing tells when the body changes on the way.
	AllowMissingETag bool
	// Window is the largest number of blocks of a response's body to ask for at a time, after the
	// first, in answers to GET and FETCH. 0 and 1 mean one after the other, as most servers
	// expect it: a body that is a stream, for one, has to be asked for in order.
	//
	// No more are under way than NSTART allows (RFC 7252 section 4.7), which is 1 unless the
	// transmission parameters say otherwise. They begin with 2 and become more with each answer;
	// half of them is left when a request had to be sent again. A server that answers a
	// block which it was asked for ahead by an error, or not as was asked, is asked for the rest of the
	// body block by block. Up to 2*Window blocks wait in memory for an earlier one, and
	// Window goroutines for their answers.
	Window int
	// UploadWindow is the largest number of blocks of a request's body to have under way at a time, between the first
	// and the last, which goes when all others are acknowledged. 0 and 1 mean one after the
	// other. It is for servers that take blocks before their turn, as a [Server] does that
	// has ServerConfig.Ahead: there is no way to ask one. A server that does not is sent the rest block by block,
	// and if it forgets the body, that from the beginning. Bodies that cannot be read again go block by block always.
	// All else is as with Window.
	UploadWindow int
	// NStart, if not nil, returns NSTART for a request; with a window only. It may be called
	// concurrently.
	NStart func(*exchange.Request) int
	// Lifetime is for how long a message that was not answered may still arrive. 0 means
	// 247 s, the default of EXCHANGE_LIFETIME.
	Lifetime time.Duration
}

// ClientStats are the counters of a [Client].
type ClientStats struct {
	Uploads     uint64 // request bodies sent in blocks
	Downloads   uint64 // response bodies received in blocks
	Restarts    uint64 // times that a transfer was started again
	Interrupted uint64 // transfers in which the exchange of a block ended without response
	Sent        uint64 // bytes of request bodies sent in blocks and acknowledged
	Received    uint64 // bytes of response bodies received in blocks
}

// Client is an [exchange.RoundTripper] that sends request bodies of any length and gets whole
// response bodies, over another one that carries single messages. All methods may be called
// concurrently, for different requests to the same resource, too.
type Client struct {
	next exchange.RoundTripper
	cfg  ClientConfig
	szx  uint8
	tags tags

	uploads, downloads, restarts, interrupted, sent, received atomic.Uint64
}

// NewClient returns a Client over next, which has to accept responses with the critical options
// Block1 and Block2, whether Request.Understands lists them or not.
func NewClient(next exchange.RoundTripper, cfg ClientConfig) *Client {
	fill(&cfg.MaxBody, 16<<20)
	fill(&cfg.MaxRestarts, 3)
	fill(&cfg.Lifetime, exchange.Params{}.WithDefaults().ExchangeLifetime())
	return &Client{next: next, cfg: cfg, szx: exponent(cfg.BlockSize)}
}

// Stats returns the counters.
func (c *Client) Stats() ClientStats {
	return ClientStats{
		Uploads: c.uploads.Load(), Downloads: c.downloads.Load(), Restarts: c.restarts.Load(),
		Interrupted: c.interrupted.Load(), Sent: c.sent.Load(), Received: c.received.Load(),
	}
}

// RoundTrip sends req, in blocks if its body does not fit one message, and gets the whole body of
// the response. The options of the response are those of its first block, without the
// Block options. A request that has a Block1 option, or Block2 with a number greater than 0, is
// sent as it is.
//
// An error of a transfer in blocks is an *[Error] that says where it can be resumed;
// resp.Payload has what was gathered of the response then. The context governs the whole
// transfer.
func (c *Client) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	if req.Options.Has(message.OptionBlock1) {
		return c.next.RoundTrip(ctx, req, resp)
	}
	if b, ok := ParseBlock(&req.Options, message.OptionBlock2); ok && b.Num > 0 {
		return c.next.RoundTrip(ctx, req, resp)
	}
	if req.Body == nil && req.Transfer == nil && !c.cfg.Early && len(req.Payload) <= 16<<c.szx &&
		!c.tags.clashes(time.Now(), req) {
		// Most requests, at no cost.
		err := c.next.RoundTrip(ctx, req, resp)
		if err != nil || resp.Code != message.RequestEntityTooLarge && !resp.Options.Has(message.OptionBlock2) {
			return err
		}
		t := c.transfer(ctx, req, resp)
		t.src, t.plain = memory(req.Payload), req.Payload
		t.answered, t.again = true, true
		return t.end(t.run())
	}
	t := c.transfer(ctx, req, resp)
	if err := t.open(); err != nil {
		return err
	}
	return t.end(t.run())
}

// Complete gets the rest of a response of which resp has the first block, as it came by other
// ways than RoundTrip: as a notification (RFC 7959 section 2.6), or as one of the responses to
// a multicast request (section 2.8). req is the request it answers; the rest is asked of the peer
// that sent resp, without Observe, in blocks of the size that it prefers. Otherwise
// it is as RoundTrip. If the body changes on the way, the whole of the new one is
// fetched.
func (c *Client) Complete(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	if !resp.Options.Has(message.OptionBlock2) && (req.Transfer == nil || req.Transfer.Sink == nil) {
		return nil
	}
	t := c.transfer(ctx, req, resp)
	t.src, t.plain = memory(req.Payload), req.Payload
	t.answered, t.again = true, true
	if from := resp.Peer(); from.Addr.IsValid() {
		t.out.To, t.out.Session = from.Addr, from.Session
	}
	return t.end(t.run())
}

// transfer is one call of RoundTrip that takes several messages, or may. It belongs to the
// goroutine of the caller.
type transfer struct {
	c    *Client
	ctx  context.Context
	req  *exchange.Request
	resp *exchange.Response // the latest of the upload, then the first of the download
	part exchange.Response  // the latest of the download
	out  exchange.Request   // the latest request

	szx      uint8 // for the request's body
	down     uint8 // largest for the response's
	early    bool  // propose it in the first request
	tag      []byte
	hash     uint64
	settled  bool            // hold has done its work
	series   exchange.Series // of the blocks of the request
	held     bool            // the tags know us as the operation without tag
	again    bool            // a request before had the options for first requests
	restarts int

	// The request's body.
	src      source
	off      int64 // of the next block
	resumed  bool  // off was given
	inBlocks bool  // it is, or has to be, sent in blocks
	inTurn   bool  // one block after the other from here on
	built    bool  // out.Options are those of a later block
	plain    []byte
	answered bool // resp has the response to the whole of it

	// The response's body.
	sink     io.Writer
	limit    int64
	body     []byte
	start    int64 // where a resumed download begins
	got      int64 // what has come of the whole
	asked    int64 // offset of the block asked for
	ask      uint8 // its SZX; maxSZX if none was asked for
	total    int64
	known    bool // tag and format are those of the body under way
	etag     []byte
	format   message.ContentFormat
	isFormat bool
}

func (c *Client) transfer(ctx context.Context, req *exchange.Request, resp *exchange.Response) *transfer {
	t := &transfer{c: c, ctx: ctx, req: req, resp: resp, szx: c.szx, early: c.cfg.Early, ask: maxSZX, limit: c.cfg.MaxBody}
	t.out = *req
	t.out.Body, t.out.Transfer = nil, nil
	if x := req.Transfer; x != nil {
		if x.BlockSize != 0 {
			t.szx, t.early = exponent(x.BlockSize), true
		}
		if t.sink = x.Sink; t.sink != nil {
			t.limit = longest(maxSZX)
		}
		if x.Limit != 0 {
			t.limit = x.Limit
		}
	}
	t.down = t.szx
	if b, ok := ParseBlock(&req.Options, message.OptionBlock2); ok { // the caller proposes
		t.down, t.early = min(t.down, b.SZX), true
	}
	if t.early {
		t.ask = t.down
	}
	return t
}

// open makes a source of the request's body, and goes to where the transfer is to be resumed.
func (t *transfer) open() error {
	var at exchange.Position
	var size int64 = -1
	if x := t.req.Transfer; x != nil {
		at = x.Resume
		if x.Size > 0 {
			size = x.Size
		}
	}
	t.tag = at.RequestTag
	if at.Upload {
		t.off, t.resumed, t.inBlocks, t.again = at.Offset, at.Offset > 0, at.Offset > 0, at.Offset > 0
	} else {
		t.start, t.got = at.Offset, at.Offset
		t.etag, t.known = at.ETag, at.ETag != nil
	}
	if t.off%16 != 0 || t.off < 0 || t.start < 0 {
		return &Error{Reason: ErrBody, Err: fmt.Errorf("cannot resume at byte %d", at.Offset)}
	}
	t.szx = aligned(t.off, t.szx)
	switch body := t.req.Body.(type) {
	case nil:
		t.src, t.plain = memory(t.req.Payload), t.req.Payload
	case io.ReadSeeker:
		src, err := newRandom(body)
		if err == nil {
			t.src = &src
			break
		}
		t.src = newStream(body, t.off, size) // a pipe, say
	default:
		t.src = newStream(body, t.off, size)
	}
	if t.src.length() > longest(t.szx) {
		return &Error{Reason: ErrTooLong}
	}
	return nil
}

// run does the transfer: request body, response body, and both again if the latter changes.
func (t *transfer) run() error {
	for {
		if t.got > 0 {
			if err := t.resume(); err != nil {
				return err
			}
		} else if !t.answered || t.resp.Code == message.RequestEntityTooLarge {
			if err := t.upload(); err != nil {
				return err
			}
		}
		changed, err := t.download()
		if err != nil || !changed {
			return err
		}
		if err := t.restartDownload(); err != nil {
			return err
		}
	}
}

// end gives back what the transfer holds.
func (t *transfer) end(err error) error {
	if errors.Is(err, ErrInterrupted) {
		t.c.interrupted.Add(1)
	}
	if t.held {
		// Copies of its blocks may be on their way, whose message IDs the server need not know any more.
		t.c.tags.release(t.hash, time.Now().Add(t.c.cfg.Lifetime))
	}
	return err
}

// hold makes sure that the server does not take the requests of this transfer for those of
// another that is under way.
func (t *transfer) hold() {
	if t.settled {
		return
	}
	t.settled = true
	if t.tag == nil && !t.resumed { // else it goes on with what it had
		t.hash, t.tag = t.c.tags.acquire(time.Now(), t.req)
		t.held = t.tag == nil
	}
}

// options begins the options of a request: those of the caller's. later leaves out what must not
// be, or need not be, repeated (RFC 7959 sections 2.10 and 3.4).
func (t *transfer) options(later bool) {
	o := &t.out.Options
	if !t.built {
		*o = message.Options{} // they were the caller's
		t.built = true
	}
	o.Reset()
	it := t.req.Options.Iter()
	for it.Next() {
		switch it.Number() {
		case message.OptionBlock1, message.OptionBlock2:
			continue
		case message.OptionNoResponse:
			if later || t.inBlocks {
				continue // what has to go on needs the responses
			}
		case message.OptionObserve, message.OptionETag, message.OptionIfNoneMatch, message.OptionSize1, message.OptionSize2:
			if later {
				continue
			}
		}
		o.Add(it.Number(), it.Value())
	}
	if t.tag != nil {
		o.Add(message.OptionRequestTag, t.tag)
	}
}

// progress reports to the caller.
func (t *transfer) progress() {
	if x := t.req.Transfer; x != nil && x.Progress != nil {
		p := exchange.Progress{Sent: t.off, Received: t.got, ReceiveTotal: t.total}
		if t.src != nil {
			p.SendTotal = max(t.src.length(), 0)
		}
		x.Progress(p)
	}
}

// fail makes an error of a transfer, with the position that it has reached.
func (t *transfer) fail(reason Reason, err error) error {
	e := &Error{Reason: reason, Err: err}
	e.Position.RequestTag = t.tag
	if t.answered || t.got > 0 {
		e.Position.Offset, e.Position.ETag = t.got, t.etag
		t.resp.Payload = t.body
	} else {
		e.Position.Upload, e.Position.Offset = true, t.off
	}
	switch reason {
	case ErrBodyChanged, ErrIncomplete, ErrNoRestart, ErrTooLong, ErrBadResponse:
		e.Position, t.resp.Payload = exchange.Position{}, nil
	}
	return e
}

func (t *transfer) bad(format string, args ...any) error {
	return t.fail(ErrBadResponse, fmt.Errorf(format, args...))
}

// interrupted makes an error of the end of an exchange.
func (t *transfer) interrupted(err error) error { return t.fail(ErrInterrupted, err) }

var _ exchange.RoundTripper = (*Client)(nil)
