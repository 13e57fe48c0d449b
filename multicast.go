package coap

import (
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport"
)

// Requests to groups and membership in them (RFC 7252 section 8).

// AllNodes returns the groups of all CoAP nodes (RFC 7252 section 12.8): 224.0.1.187, and for IPv6
// ff02::fd on the link and ff05::fd on the site.
func AllNodes() []netip.Addr {
	return []netip.Addr{
		netip.AddrFrom4([4]byte{224, 0, 1, 187}), netip.MustParseAddr("ff02::fd"), netip.MustParseAddr("ff05::fd"),
	}
}

// DefaultWindow is how long [Client.Multicast] collects responses if the request does not say:
// the default leisure of servers (RFC 7252 section 8.2) and some time for the way.
const DefaultWindow = 7 * time.Second

// Multicast sends req, which is made Non-confirmable, to the group that it names, and ranges over
// the responses as they come, until req.Window is over, ctx ends, or the loop is left.
// [Response.Peer] says who sent each and over which interface. Each response belongs to the
// loop. An error that is yielded is the last one, unless it is about one interface of several or
// about the rest of one response.
//
// With req.IfIndex 0 and no zone in the address the request goes out by every interface that can
// carry it, that of the host itself included; a server that is reached by several answers several
// times.
func (c *Client) Multicast(ctx context.Context, req *Request) iter.Seq2[*Response, error] {
	return eachLink(ctx, c, req, func(ctx context.Context, ep *Endpoint, r *Request, yield func(*Response, error) bool) {
		if r.Window <= 0 {
			r.Window = DefaultWindow
		}
		ep.collectGroup(ctx, r, yield)
	})
}

// GroupNotification is a notification of one member of a group that is observed.
type GroupNotification = observe.GroupNotification

// ObserveGroup observes what req, a GET or FETCH, asks the members of a group for, and ranges over their
// notifications until ctx ends or the loop is left; see [observe.Client.ObserveGroup]. Interfaces are
// chosen as by Multicast.
func (c *Client) ObserveGroup(ctx context.Context, req *Request) iter.Seq2[GroupNotification, error] {
	return eachLink(ctx, c, req, func(ctx context.Context, ep *Endpoint, r *Request, yield func(GroupNotification, error) bool) {
		c.observing().ObserveGroup(ctx, r)(yield)
	})
}

// collectGroup sends r to a group and yields what comes back, until the window is over.
func (ep *Endpoint) collectGroup(ctx context.Context, r *Request, yield func(*Response, error) bool) {
	responses, err := ep.Open(ctx, r)
	if err != nil {
		yield(nil, err)
		return
	}
	defer responses.Close()
	for {
		resp := new(Response)
		if err := responses.Next(ctx, resp); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			yield(nil, err)
			return
		}
		if resp.Options.Has(message.OptionBlock2) {
			// The rest is fetched from who answered (RFC 7959 section 2.8).
			if err := ep.client.Complete(ctx, r, resp); err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
		}
		if !yield(resp, nil) {
			return
		}
	}
}

// eachLink ranges over what ask yields, which runs for each interface that the group that req
// names is to be asked by. It gets a copy of the request.
func eachLink[T any](ctx context.Context, c *Client, req *Request, ask func(context.Context, *Endpoint, *Request, func(T, error) bool)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		ep, err := c.endpoint(c.scheme(req))
		var to netip.AddrPort
		if err == nil {
			to, err = groupOf(c, ep, req)
		}
		if err != nil {
			yield(none, err)
			return
		}
		links := []int{req.IfIndex}
		if l, ok := ep.conn.(linker); ok && req.IfIndex == 0 && to.Addr().Zone() == "" {
			links = l.MulticastInterfaces(to.Addr())
		}
		type item struct {
			value T
			err   error
		}
		ctx, stop := context.WithCancelCause(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop(nil)
		items := make(chan item)
		for _, link := range links {
			wg.Go(func() {
				r := *req
				r.To, r.IfIndex, r.NonConfirmable = to, link, true
				ask(ctx, ep, &r, func(v T, err error) bool {
					if err != nil && len(links) > 1 && ctx.Err() == nil {
						err = linkError{link, err}
					}
					select {
					case items <- item{v, err}:
						return true
					case <-ctx.Done():
						return false
					}
				})
			})
		}
		go func() { wg.Wait(); close(items) }()
		for {
			select {
			case i, ok := <-items:
				if !ok || !yield(i.value, i.err) {
					return
				}
			case <-ctx.Done():
				yield(none, &OpError{Op: req.Code.String(), Peer: to, Err: context.Cause(ctx)})
				return
			}
		}
	}
}

// linker is a transport that knows by which interfaces a group can be reached; that of package
// udp is one.
type linker interface {
	MulticastInterfaces(group netip.Addr) []int
}

// linkError is an error about one interface of several.
type linkError struct {
	index int
	err   error
}

func (e linkError) Error() string {
	name := strconv.Itoa(e.index)
	if i, err := net.InterfaceByIndex(e.index); err == nil {
		name = i.Name
	}
	return "interface " + name + ": " + e.err.Error()
}

func (e linkError) Unwrap() error { return e.err }

// groupOf returns the group that a request is for, which ep can reach.
func groupOf(c *Client, ep *Endpoint, req *Request) (netip.AddrPort, error) {
	r := *req
	if !r.To.IsValid() && r.Authority == (Authority{}) {
		r.Authority = c.Base
	}
	to, err := destination(&r)
	if err == nil && !to.Addr().IsMulticast() {
		err = exchange.RequestError("the destination is no multicast group; use Do, or an address such as 224.0.1.187 or ff02::fd")
	}
	if err == nil && ep.dialer != nil {
		err = errSecureGroup
	}
	if err != nil {
		return to, &OpError{Op: req.Code.String(), Peer: to, Err: err}
	}
	return to, nil
}

// rejoin is how often a server looks for interfaces that are new.
const rejoin = 10 * time.Second

// joiner is a transport that can join groups; that of package udp is one.
type joiner interface {
	Join(group netip.Addr, ifIndex int) error
}

// joinGroups joins groups, and goes on doing so on interfaces that appear, until stop is called. The
// error is about the first attempt: none of the interfaces took a group.
func joinGroups(conn transport.Conn, groups []netip.Addr, links []string) (stop func(), err error) {
	if len(groups) == 0 {
		return func() {}, nil
	}
	j, ok := conn.(joiner)
	if !ok {
		return nil, errors.New("coap: there are groups to join, but the transport cannot join any")
	}
	if err := joinOnce(j, groups, links); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(rejoin)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				_ = joinOnce(j, groups, links) // what was joined stays joined
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }, nil
}

// joinOnce joins each group on the named interfaces, or on all. One success is enough for a
// group, since there are hosts without IPv6, and groups without interface.
func joinOnce(conn joiner, groups []netip.Addr, links []string) error {
	var errs []error
	joined := 0
	for _, g := range groups {
		if len(links) == 0 {
			if err := conn.Join(g, 0); err != nil {
				errs = append(errs, err)
			} else {
				joined++
			}
		}
		for _, name := range links {
			i, err := net.InterfaceByName(name)
			if err == nil {
				err = conn.Join(g, i.Index)
			}
			if err != nil {
				errs = append(errs, err)
			} else {
				joined++
			}
		}
	}
	if joined == 0 {
		return errors.Join(errs...)
	}
	return nil
}
