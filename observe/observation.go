package observe

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/coapkit/coap/exchange"
)

// ErrNotObservable ends the observation of a resource that the server has answered for, but does
// not notify of, or not any more of it.
var ErrNotObservable = errors.New("observe: the server does not notify of changes of this resource")

// State is how much the last value of an observation is worth.
type State uint8

// The states of an observation.
const (
	// Registering: the request to register is on its way, for the first time or again. A value
	// from before may be outdated.
	Registering State = iota
	// Live: the last value is as current as the server promises.
	Live
	// Stale: Max-Age has passed since the last value, or the attempt to register has failed.
	// Another attempt will follow.
	Stale
	// Ended: nothing will follow.
	Ended
)

var stateNames = [...]string{"registering", "live", "stale", "ended"}

// String returns one word.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// Notification is a new value, or says what has become of the last one.
type Notification struct {
	// State is the state from now on.
	State State
	// Response is the new value, nil if only the state has changed. It is complete, and shared
	// with other observations of the same resource: it must not be changed.
	Response *exchange.Response
	// Seq is the sequence number of the value, if the server has given one.
	Seq uint32
	// Skipped is how many values and states before this one were not taken in time.
	Skipped int
	// Cause says why the state is Stale, if it is not for Max-Age.
	Cause error
}

// Observation is what a caller sees of an observed resource. One goroutine at a time may take
// from it; the other methods may be called by any.
type Observation struct {
	client *Client
	r      *registration
	ready  chan struct{} // has a value when there may be something to take
	stop   func() bool   // stops waiting for the context it was started with

	// The rest is guarded by Client.mu.
	pending []Notification
	skipped int
	err     error // how it ended
}

// Next waits for the next value or change of state. When ctx ends it returns the error of ctx,
// which changes nothing. All other errors are the end of the observation: io.EOF after Close
// and Cancel, ErrNotObservable, an [*exchange.Error] that the server has sent, the error of the
// context it was started with, or why no attempt to register will succeed.
func (o *Observation) Next(ctx context.Context) (Notification, error) {
	for {
		n, ok, err := o.take()
		if ok || err != nil {
			return n, err
		}
		select {
		case <-o.ready:
		case <-ctx.Done():
			return Notification{}, ctx.Err()
		}
	}
}

func (o *Observation) take() (n Notification, ok bool, err error) {
	o.client.mu.Lock()
	defer o.client.mu.Unlock()
	if len(o.pending) == 0 {
		return n, false, o.err
	}
	n = o.pending[0]
	o.pending = append(o.pending[:0], o.pending[1:]...)
	n.Skipped, o.skipped = o.skipped, 0
	return n, true, nil
}

// All returns the values and changes of state until the end, which comes as an error, unless it was
// asked for: io.EOF ends the loop without one. Leaving the loop early closes the observation.
func (o *Observation) All() iter.Seq2[Notification, error] {
	return func(yield func(Notification, error) bool) {
		defer o.Close()
		for {
			n, err := o.Next(context.Background())
			if err == io.EOF {
				return
			}
			if !yield(n, err) || err != nil {
				return
			}
		}
	}
}

// State returns the present state.
func (o *Observation) State() State {
	o.client.mu.Lock()
	defer o.client.mu.Unlock()
	if o.err != nil {
		return Ended
	}
	return o.r.state
}

// Close ends the observation without telling the server: it learns that when its next notification is
// rejected (RFC 7641 section 3.6). Closing again does nothing. It always returns nil.
func (o *Observation) Close() error {
	o.end(io.EOF)
	return nil
}

// Cancel ends the observation and asks the server to forget it, by a request with Observe=1
// (RFC 7641 section 3.6). It waits for the answer; the error says that there was none, so that
// the server learns it as after Close. If others observe the same resource, the server is not asked.
func (o *Observation) Cancel(ctx context.Context) error {
	r := o.detach(io.EOF)
	if r == nil {
		return nil
	}
	defer r.cancel()
	r.stop()
	select {
	case <-r.finished:
		return r.canceled
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end ends the observation, and the registration if no other is left, which it waits for.
func (o *Observation) end(why error) {
	if r := o.detach(why); r != nil {
		r.cancel()
		<-r.finished
	}
}

// detach takes o off its registration, and returns that if nobody else needs it.
func (o *Observation) detach(why error) *registration {
	c := o.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.err != nil {
		return nil
	}
	o.finish(why)
	if !o.r.leave(o) {
		return nil
	}
	return o.r
}

// finish makes err what comes after the values. Client.mu is held.
func (o *Observation) finish(err error) {
	if o.err == nil {
		o.err = err
		o.stop()
	}
	o.notify()
}

// add hands n to the caller. Client.mu is held.
func (o *Observation) add(n Notification, backlog int) {
	if len(o.pending) >= backlog {
		o.pending = append(o.pending[:0], o.pending[1:]...)
		o.skipped++
	}
	o.pending = append(o.pending, n)
	o.notify()
}

func (o *Observation) notify() {
	select {
	case o.ready <- struct{}{}:
	default: // it is awake already
	}
}
