package observe

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/netip"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// Observation of one resource of all members of a group at the same time
// (draft-ietf-core-groupcomm-bis section 3.7).

// GroupNotification is a notification of one member of a group.
type GroupNotification struct {
	Notification
	// Peer is the member.
	Peer exchange.Peer
}

const (
	// maxMembers is how many members of a group are kept track of.
	maxMembers = 10_000
	// maxSilent is how often a member may leave the group's being asked unanswered.
	maxSilent = 3
)

// ObserveGroup sends req, a GET or FETCH to a multicast address, with Observe=0, and ranges over what the
// members answer and notify of, until ctx ends, which is yielded as its error, or the loop is
// left. The members are asked to forget the observation then.
//
// A member is Live with its first notification, Stale when Max-Age of its last one has passed, and Ended
// when it answers with an error, twice without accepting the registration, or no more; the first
// time, when it may have had a reason, it is Registering. The group is asked again, under the same token,
// while a member is not live and while there is no member at all; what members send then is
// what they would send to any new registration. Members that exceed 10000 are ignored. Unlike
// [Client.Observe] each call registers anew.
func (c *Client) ObserveGroup(ctx context.Context, req *exchange.Request) iter.Seq2[GroupNotification, error] {
	return func(yield func(GroupNotification, error) bool) {
		if req.Code != message.GET && req.Code != message.FETCH {
			yield(GroupNotification{}, exchange.RequestError("only GET and FETCH requests can observe, this one is "+req.Code.String()))
			return
		}
		g := &groupObservation{client: c, req: req.Clone(), members: make(map[netip.AddrPort]*member)}
		g.req.Options.SetUint(message.OptionObserve, register)
		g.req.NonConfirmable, g.req.Window = true, 0
		var err error
		if g.responses, err = c.opener.Open(ctx, g.req); err != nil {
			yield(GroupNotification{}, err)
			return
		}
		defer g.leave(context.WithoutCancel(ctx))
		if err := g.run(ctx, func(n GroupNotification) bool { return yield(n, nil) }); err != nil {
			yield(GroupNotification{}, err)
		}
	}
}

// groupObservation belongs to the goroutine that ranges over it.
type groupObservation struct {
	client    *Client
	req       *exchange.Request
	responses exchange.Responses
	members   map[netip.AddrPort]*member
	stale     int       // how many of them are
	wake      time.Time // no Max-Age passes before
	ask       time.Time // when to ask the group again; zero: no need to
	attempts  int       // to do so since all was well
}

// member is a member of a group that has accepted the observation.
type member struct {
	peer    exchange.Peer
	seq     uint32
	seqAt   time.Time
	expires time.Time
	stale   bool
	silent  int // how often it was asked since
}

// run hands notifications to yield until that returns false, and then returns nil.
func (g *groupObservation) run(ctx context.Context, yield func(GroupNotification) bool) error {
	g.again(time.Now())
	for {
		resp := new(exchange.Response)
		err := g.next(ctx, resp)
		switch {
		case err == nil:
			if n, ok := g.take(ctx, resp, time.Now()); ok && !yield(n) {
				return nil
			}
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, context.DeadlineExceeded):
			for _, n := range g.overdue(time.Now()) {
				if !yield(n) {
					return nil
				}
			}
			if err := g.renew(ctx, time.Now()); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// next waits for a response, or until something is due.
func (g *groupObservation) next(ctx context.Context, resp *exchange.Response) error {
	due := g.ask
	if due.IsZero() || !g.wake.IsZero() && g.wake.Before(due) {
		due = g.wake
	}
	ctx, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	return g.responses.Next(ctx, resp)
}

// take deals with a response.
func (g *groupObservation) take(ctx context.Context, resp *exchange.Response, now time.Time) (n GroupNotification, ok bool) {
	n.Peer = resp.Peer()
	v, notified := resp.Options.Uint(message.OptionObserve)
	n.Seq = uint32(v & seqMask)
	m := g.members[n.Peer.Addr]
	switch {
	case !resp.Code.IsSuccess():
		n.State, n.Cause = Ended, resp.Err()
		g.forget(m)
	case m == nil && len(g.members) >= maxMembers:
		g.client.cfg.Logger.Warn("observe: too many members of a group", "peer", n.Peer)
		return n, false
	case m == nil && !notified:
		// It may have wanted a proof of our address first (RFC 9175 section 2.4).
		n.State = Registering
		g.members[n.Peer.Addr] = &member{peer: n.Peer, stale: true}
		g.stale++
	case !notified:
		n.State, n.Cause = Ended, ErrNotObservable
		g.forget(m)
	case m != nil && !m.stale && !Fresher(m.seq, m.seqAt, n.Seq, now):
		return n, false // of a stale member anything is newer: it may have been restarted with another clock
	default:
		n.State = Live
		g.forget(m)
		m = &member{peer: n.Peer, seq: n.Seq, seqAt: now, expires: now.Add(resp.Options.MaxAge())}
		g.members[n.Peer.Addr] = m
		if g.wake.IsZero() || m.expires.Before(g.wake) {
			g.wake = m.expires
		}
	}
	g.again(now)
	if complete := g.client.cfg.Complete; complete != nil {
		err := complete(ctx, g.req, resp)
		if err == nil && n.State != Ended {
			err = resp.Err() // one of the blocks may have been refused
		}
		if err != nil {
			if n.Cause = err; n.State == Live {
				n.State = Stale // until the next notification
			}
			return n, true
		}
	}
	n.Response = resp
	return n, true
}

// forget removes m, if that is a member.
func (g *groupObservation) forget(m *member) {
	if m == nil {
		return
	}
	delete(g.members, m.peer.Addr)
	if m.stale {
		g.stale--
	}
}

// again plans when to ask the group again, if a member is stale or there is none.
func (g *groupObservation) again(now time.Time) {
	switch {
	case g.stale == 0 && len(g.members) > 0:
		g.ask, g.attempts = time.Time{}, 0
	case g.ask.IsZero():
		g.ask = now.Add(g.client.cfg.jitter())
	}
}

// overdue returns which members have become stale.
func (g *groupObservation) overdue(now time.Time) (all []GroupNotification) {
	g.wake = time.Time{}
	for _, m := range g.members {
		switch {
		case m.stale:
		case !m.expires.After(now):
			m.stale = true
			g.stale++
			all = append(all, GroupNotification{Notification: Notification{State: Stale}, Peer: m.peer})
		case g.wake.IsZero() || m.expires.Before(g.wake):
			g.wake = m.expires
		}
	}
	if g.ask.IsZero() || g.ask.After(now) {
		g.again(now)
		return all
	}
	for _, m := range g.members {
		if !m.stale {
			continue
		}
		if m.silent++; m.silent > maxSilent {
			g.forget(m)
			all = append(all, GroupNotification{Notification: Notification{State: Ended, Cause: exchange.ErrTimeout}, Peer: m.peer})
		}
	}
	return all
}

// renew asks the group again, if it is time to.
func (g *groupObservation) renew(ctx context.Context, now time.Time) error {
	if g.ask.IsZero() || g.ask.After(now) {
		return nil
	}
	if err := g.responses.Renew(ctx, g.req); err != nil && !errors.Is(err, exchange.ErrBusy) {
		return err
	}
	g.attempts++
	g.ask = now.Add(g.client.cfg.backoff(g.attempts))
	return nil
}

// leave asks the members to forget the observation, without an answer. Who does not hear it learns
// it when the next notification is rejected.
func (g *groupObservation) leave(ctx context.Context) {
	defer g.responses.Close()
	if len(g.members) == 0 {
		return
	}
	req := g.req.Clone()
	req.Options.SetUint(message.OptionObserve, deregister)
	const noResponse = 2 | 8 | 16 // (RFC 7967 section 2.1)
	req.Options.SetUint(message.OptionNoResponse, noResponse)
	if err := g.responses.Renew(ctx, req); err != nil && err != io.EOF {
		g.client.cfg.Logger.Warn("observe: the members of a group are not told that an observation has ended", "error", err)
	}
}
