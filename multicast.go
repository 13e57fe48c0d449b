package coap

import (
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
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
// loop. An error that is yielded is the last one, unless it is about one interface of several.
//
// With req.IfIndex 0 and no zone in the address the request goes out by every interface that can
// carry it; a server that is reached by several answers several times.
func (c *Client) Multicast(ctx context.Context, req *Request) iter.Seq2[*Response, error] {
	return func(yield func(*Response, error) bool) {
		ep, err := c.endpoint()
		var to netip.AddrPort
		if err == nil {
			to, err = groupOf(c, req)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		links := []int{req.IfIndex}
		if req.IfIndex == 0 && to.Addr().Zone() == "" {
			links = multicastLinks(to.Addr())
		}
		collecting, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		answers := make(chan answer)
		for _, link := range links {
			wg.Go(func() {
				send := func(a answer) bool {
					select {
					case answers <- a:
						return true
					case <-collecting.Done():
						return false
					}
				}
				send(answer{err: collectAnswers(collecting, ep, req, to, link, send), done: true})
			})
		}
		for left := len(links); left > 0; {
			var a answer
			select {
			case a = <-answers:
			case <-ctx.Done():
				a = answer{err: &OpError{Op: req.Code.String(), Peer: to, Err: ctx.Err()}}
				left = 0
			}
			if a.done {
				left--
			}
			if (a.resp != nil || a.err != nil) && !yield(a.resp, a.err) {
				return
			}
		}
	}
}

// answer is a response, or the end of collecting on one interface.
type answer struct {
	resp *Response
	err  error
	done bool
}

// groupOf returns the group that a request is for.
func groupOf(c *Client, req *Request) (netip.AddrPort, error) {
	r := *req
	if !r.To.IsValid() && r.Authority == (Authority{}) {
		r.Authority = c.Base
	}
	to, err := destination(&r)
	if err == nil && !to.Addr().IsMulticast() {
		err = exchange.RequestError("the destination is no multicast group; use Do, or an address such as 224.0.1.187 or ff02::fd")
	}
	if err != nil {
		return to, &OpError{Op: req.Code.String(), Peer: to, Err: err}
	}
	return to, nil
}

// collectAnswers sends req by one interface and hands on what comes back, until the window is over.
func collectAnswers(ctx context.Context, ep *Endpoint, req *Request, to netip.AddrPort, link int, send func(answer) bool) error {
	r := *req
	r.To, r.IfIndex, r.NonConfirmable = to, link, true
	if r.Window <= 0 {
		r.Window = DefaultWindow
	}
	responses, err := ep.Open(ctx, &r)
	if err != nil {
		return err
	}
	defer responses.Close()
	for {
		resp := new(Response)
		if err := responses.Next(ctx, resp); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if resp.Options.Has(message.OptionBlock2) {
			// The rest is fetched from who answered (RFC 7959 section 2.8).
			if err := ep.client.Complete(ctx, &r, resp); err != nil {
				send(answer{err: err})
				continue
			}
		}
		if !send(answer{resp: resp}) {
			return nil
		}
	}
}

// multicastLinks returns the interfaces that a request to a group can go out by, or 0, which lets
// routing choose, if they cannot be told.
func multicastLinks(group netip.Addr) []int {
	all, err := net.Interfaces()
	if err != nil {
		return []int{0}
	}
	var links []int
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 && i.Flags&(net.FlagMulticast|net.FlagLoopback) != 0 && hasFamily(&i, group) {
			links = append(links, i.Index)
		}
	}
	if len(links) == 0 {
		return []int{0}
	}
	return links
}

func hasFamily(i *net.Interface, group netip.Addr) bool {
	addrs, err := i.Addrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap().Is4() == group.Is4() {
			return true
		}
	}
	return false
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
