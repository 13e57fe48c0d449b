package observe

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/entropy"
	"github.com/coapkit/coap/message"
)

// registration is one entry in the list of observers of a server, or the attempt to get one, for
// all observations of a resource. Its goroutine is the only one to use the exchange; it ends, and
// is waited for, when the last observation does.
type registration struct {
	client   *Client
	key      resourceKey
	req      *exchange.Request // with Observe=0
	needed   context.Context   // ends when nobody observes any more
	stop     context.CancelFunc
	ctx      context.Context // ends when deregistering is not waited for either
	cancel   context.CancelFunc
	finished chan struct{} // closed when run has returned
	canceled error         // how deregistering has ended

	// These belong to run.
	responses exchange.Responses // nil: there is no exchange
	last      *exchange.Response // the freshest value
	offered   *exchange.Response // the value whose entity-tag is in the registration
	seq       uint32
	seqAt     time.Time // zero: no sequence number is known under this token
	expires   time.Time // when last is stale
	renewing  bool      // a registration is on its way
	late      bool      // Max-Age has passed; expires is when to renew
	accepted  bool      // the server has registered us, at some time
	failures  int

	// These are guarded by Client.mu.
	members []*Observation
	state   State
	value   Notification // the last value, for those who join
}

func newRegistration(c *Client, key resourceKey, req *exchange.Request) *registration {
	r := &registration{
		client: c, key: key, req: req.Clone(), finished: make(chan struct{}),
	}
	r.req.Options.SetUint(message.OptionObserve, register)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.needed, r.stop = context.WithCancel(r.ctx)
	return r
}

// join adds an observation. Client.mu is held.
func (r *registration) join(o *Observation) {
	r.members = append(r.members, o)
	if r.value.Response != nil {
		n := r.value
		n.State = r.state
		o.add(n, r.client.cfg.Backlog)
	}
}

// leave removes an observation and reports whether it was the last. Client.mu is held.
func (r *registration) leave(o *Observation) bool {
	i := slices.Index(r.members, o)
	if i < 0 {
		return false
	}
	r.members = slices.Delete(r.members, i, i+1)
	if len(r.members) > 0 {
		return false
	}
	delete(r.client.registrations, r.key) // who comes now registers anew
	return true
}

// tell hands n to all observations.
func (r *registration) tell(n Notification) {
	c := r.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.Response == nil && n.State == r.state && n.Cause == nil {
		return
	}
	r.state = n.State
	if n.Response != nil {
		r.value = n
	}
	for _, o := range r.members {
		o.add(n, c.cfg.Backlog)
	}
}

// end ends all observations.
func (r *registration) end(why error) {
	c := r.client
	c.mu.Lock()
	defer c.mu.Unlock()
	r.state = Ended
	for _, o := range r.members {
		o.finish(why)
	}
	r.members = nil
	if c.registrations[r.key] == r {
		delete(c.registrations, r.key)
	}
}

// errReopen says that the exchange is of no more use and another one has to be started at once.
var errReopen = errors.New("observe: register under a new token")

// run keeps the registration alive until nobody needs it, or the server does not want it.
func (r *registration) run() {
	defer close(r.finished)
	defer r.cancel()
	end := r.attempt()
	for end == nil {
		end = r.attempt()
	}
	if r.needed.Err() != nil && r.ctx.Err() == nil {
		r.canceled = r.sendDeregister()
	}
	if r.responses != nil {
		r.responses.Close()
	}
	r.end(end)
}

// attempt registers and receives notifications for as long as that goes well. It returns an
// error if the observation is over.
func (r *registration) attempt() error {
	err := r.open()
	for err == nil {
		err = r.receive()
	}
	if r.needed.Err() != nil {
		return io.EOF
	}
	if final, ok := errors.AsType[finalError](err); ok {
		return final.error
	}
	if r.req.Session != nil && errors.Is(err, exchange.ErrSessionEnded) {
		return err // no other will do
	}
	if r.responses != nil {
		r.responses.Close()
		r.responses = nil
	}
	if err == errReopen {
		return nil
	}
	return r.failed(err)
}

// finalError ends the observation.
type finalError struct{ error }

// failed reports the failure of an attempt and waits before the next.
func (r *registration) failed(err error) error {
	r.failures++
	if limit := r.client.cfg.MaxFailures; limit > 0 && r.failures >= limit {
		return err
	}
	r.client.cfg.Logger.Warn("observe: registering failed", "path", r.req.Path(), "attempt", r.failures, "error", err)
	r.tell(Notification{State: Stale, Cause: err})
	return r.pause(r.backoff(err))
}

// backoff is the pause after the failures so far.
func (r *registration) backoff(err error) time.Duration {
	cfg := &r.client.cfg
	d := cfg.backoff(r.failures)
	if wait, ok := errors.AsType[retryAfter](err); ok {
		d = max(d, min(wait.after, cfg.MaxBackoff)) // (RFC 7252 section 5.9.3.4)
	}
	return d
}

// backoff is the pause after n attempts that have failed.
func (c *ClientConfig) backoff(n int) time.Duration {
	d := min(2*c.Jitter, c.MaxBackoff)
	for ; n > 1 && d < c.MaxBackoff; n-- {
		d = min(2*d, c.MaxBackoff)
	}
	return d/2 + entropy.N(d/2+1)
}

// retryAfter is an error response that says when to try again.
type retryAfter struct {
	error
	after time.Duration
}

func (e retryAfter) Unwrap() error { return e.error }

// pause waits.
func (r *registration) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.needed.Done():
		return r.needed.Err()
	}
}

// open registers under a new token.
func (r *registration) open() error {
	r.tell(Notification{State: Registering})
	r.seqAt, r.renewing = time.Time{}, true
	rs, err := r.client.opener.Open(r.needed, r.offer())
	if err != nil {
		if _, ok := errors.AsType[exchange.RequestError](err); ok || errors.Is(err, exchange.ErrClosed) || errors.Is(err, exchange.ErrTooLarge) {
			return finalError{err} // trying again does not mend it
		}
		return err
	}
	r.responses = rs
	return nil
}

// renew registers again under the same token (RFC 7641 section 3.3.1).
func (r *registration) renew() error {
	r.tell(Notification{State: Registering})
	err := r.responses.Renew(r.needed, r.offer())
	switch {
	case errors.Is(err, exchange.ErrBusy):
		// There is no room, or an earlier renewal is still on its way.
		r.expires = time.Now().Add(r.client.cfg.jitter())
		return nil
	case err == io.EOF || errors.Is(err, exchange.ErrClosed):
		return errReopen // the exchange has just ended
	}
	r.renewing = true
	return err
}

// offer returns the registration with the entity-tag of the value that we have, if it has one
// (section 3.3.2). All other options stay the same (section 3.3.1). Entity-tags of the
// caller are his affair.
func (r *registration) offer() *exchange.Request {
	r.offered = nil
	if r.last == nil || r.req.Options.Has(message.OptionETag) {
		return r.req
	}
	tag, ok := r.last.Options.ETag()
	if !ok {
		return r.req
	}
	req := r.req.Clone()
	if req.Options.AddETag(tag) != nil {
		return r.req
	}
	r.offered = r.last
	return req
}

// receive waits for one response, or until it is time to register again.
func (r *registration) receive() error {
	ctx := r.needed
	if !r.renewing {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, r.expires)
		defer cancel()
	}
	resp := new(exchange.Response)
	err := r.responses.Next(ctx, resp)
	switch {
	case err == nil:
		return r.take(resp, time.Now())
	case r.needed.Err() != nil:
		return r.needed.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return r.overdue()
	case err == io.EOF:
		// The last response was no notification: ask again when it is outdated.
		return r.outlast()
	case errors.Is(err, exchange.ErrClosed):
		return finalError{err}
	}
	return err
}

// overdue is called when Max-Age has passed without a notification, and once more when the one that
// may have been on its way has not come either (section 3.3.1).
func (r *registration) overdue() error {
	if r.late {
		return r.renew()
	}
	r.tell(Notification{State: Stale})
	r.late, r.expires = true, time.Now().Add(r.client.cfg.jitter())
	return nil
}

// jitter is the random time after Max-Age that keeps clients from colliding.
func (c *ClientConfig) jitter() time.Duration { return c.Jitter + entropy.N(2*c.Jitter+1) }

// outlast waits until the last value is outdated and it is time to ask again.
func (r *registration) outlast() error {
	if err := r.pause(max(time.Until(r.expires), 0)); err != nil {
		return err
	}
	r.tell(Notification{State: Stale})
	if err := r.pause(r.client.cfg.jitter()); err != nil {
		return err
	}
	return errReopen
}

// take deals with a response that has arrived.
func (r *registration) take(resp *exchange.Response, now time.Time) error {
	if !resp.Code.IsSuccess() {
		return r.refused(resp)
	}
	v, notified := resp.Options.Uint(message.OptionObserve)
	seq := uint32(v & seqMask)
	if notified && !r.seqAt.IsZero() && !Fresher(r.seq, r.seqAt, seq, now) {
		if r.renewing {
			// Either a notification from before the renewal was late, or the server was
			// restarted with another clock. Under a new token there is no doubt.
			return errReopen
		}
		return nil
	}
	r.renewing, r.late = false, false
	if notified {
		r.seq, r.seqAt, r.accepted = seq, now, true
	}
	maxAge := resp.Options.MaxAge()
	resp, err := r.complete(resp)
	if err != nil {
		return r.incomplete(err)
	}
	r.failures = 0
	r.last, r.expires = resp, now.Add(maxAge)
	r.tell(Notification{State: Live, Response: resp, Seq: seq})
	if !notified && !r.accepted && !r.client.cfg.Poll {
		return finalError{ErrNotObservable}
	}
	return nil
}

// complete returns the whole representation that a notification stands for.
func (r *registration) complete(resp *exchange.Response) (*exchange.Response, error) {
	if resp.Code == message.Valid && r.offered != nil {
		have, _ := r.offered.Options.ETag()
		if tag, ok := resp.Options.ETag(); ok && string(tag) == string(have) {
			return revived(r.offered, resp)
		}
	}
	block, ok := resp.Options.Uint(message.OptionBlock2)
	num, more := block>>4, block&8 != 0
	switch complete := r.client.cfg.Complete; {
	case ok && num > 0:
		// Not the first block, so not what a notification has to be (RFC 7959 section 2.6).
		return resp, errNotFirst
	case ok && more && complete != nil:
		if err := complete(r.needed, r.req, resp); err != nil {
			return resp, err
		}
		return resp, resp.Err() // one of the blocks may have been refused
	}
	return resp, nil
}

var errNotFirst = errors.New("observe: the notification has a block that is not the first")

// incomplete is called when the rest of a notification could not be had. The next one may do
// better; if none comes, the state is asked for.
func (r *registration) incomplete(err error) error {
	if r.needed.Err() != nil {
		return r.needed.Err()
	}
	r.failures++
	if limit := r.client.cfg.MaxFailures; limit > 0 && r.failures >= limit {
		return finalError{err}
	}
	r.tell(Notification{State: Stale, Cause: err})
	r.late, r.expires = true, time.Now().Add(r.backoff(err))
	return nil
}

// revived is a stored value with what a 2.03 says of it (RFC 7252 section 5.9.1.3).
func revived(stored, valid *exchange.Response) (*exchange.Response, error) {
	fresh := new(exchange.Response)
	err := fresh.Receive(&message.Message{Code: stored.Code, Options: stored.Options, Payload: stored.Payload}, valid.Peer())
	fresh.Options.Remove(message.OptionMaxAge)
	fresh.Options.SetMaxAge(valid.Options.MaxAge())
	return fresh, err
}

// refused deals with an error response, after which we are on the list no more.
func (r *registration) refused(resp *exchange.Response) error {
	err := resp.Err()
	busy := resp.Code == message.ServiceUnavailable || resp.Code == message.TooManyRequests
	if resp.Code == message.Unauthorized && resp.Options.Has(message.OptionEcho) {
		// A challenge that was not met in a few attempts: the address may have changed in between
		// (RFC 9175 section 2.3).
		return err
	}
	if busy || r.accepted && resp.Code.Class() == 5 {
		return retryAfter{err, resp.Options.MaxAge()}
	}
	return finalError{err}
}

// sendDeregister tells the server that we are not interested any more, under the same token
// (RFC 7641 section 3.6).
func (r *registration) sendDeregister() error {
	if r.responses == nil {
		return nil // it has never heard of us
	}
	req := r.req.Clone()
	req.Options.SetUint(message.OptionObserve, deregister)
	if err := r.responses.Renew(r.ctx, req); err != nil {
		if err == io.EOF {
			return nil
		}
		return err
	}
	for {
		var resp exchange.Response
		err := r.responses.Next(r.ctx, &resp)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case !resp.Options.Has(message.OptionObserve):
			return nil
		}
	}
}
