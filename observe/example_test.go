package observe_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
)

// link is an endpoint that hands requests to a handler and notifications to who has asked: what
// package coap does with the network in between.
type link struct {
	handler exchange.Handler
	in      chan *exchange.Response
	token   message.Token
}

func (l *link) Open(ctx context.Context, req *exchange.Request) (exchange.Responses, error) {
	return l, l.Renew(ctx, req)
}

func (l *link) Renew(ctx context.Context, req *exchange.Request) error {
	r := req.Clone()
	r.Arrive(exchange.Arrival{Context: ctx, Token: l.token, Pusher: l, Peer: exchange.Peer{Addr: netip.MustParseAddrPort("192.0.2.1:5683")}})
	w := new(exchange.Response)
	if err := l.handler.ServeCoAP(w, r); err != nil {
		coded, _ := errors.AsType[*exchange.Error](err)
		w.Code = coded.Code
	}
	return l.send(w)
}

func (l *link) Push(w *exchange.Response, to []exchange.Notice, ready func()) {
	for i := range to {
		to[i].Pushed = l
	}
	ready()
	for i := range to {
		n := *w
		n.Options = w.Options.Clone()
		if n.Code.IsSuccess() {
			n.Options.SetUint(message.OptionObserve, uint64(to[i].Seq))
		}
		l.send(&n)
		go to[i].Done(nil) // the acknowledgement
	}
}

// What is confirmable can be rejected by its acknowledgement alone.
func (l *link) Watch(func(exchange.Peer, uint16) bool) (stop func()) { return func() {} }

func (l *link) send(w *exchange.Response) error {
	resp := new(exchange.Response)
	err := resp.Receive(&message.Message{Code: w.Code, Options: w.Options, Payload: w.Payload}, exchange.Peer{})
	l.in <- resp
	return err
}

func (l *link) Next(ctx context.Context, resp *exchange.Response) error {
	select {
	case r := <-l.in:
		*resp = *r
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *link) Close() error { return nil }

// What is acknowledged at once is never superseded.
func (l *link) Forget()                                  {}
func (l *link) Supersede(func())                         {}
func (l *link) Replace(*exchange.Response, uint32) error { return exchange.ErrClosed }

// A lamp that can be observed: the handler renders requests and notifications alike, and whoever
// changes the lamp says so.
func Example() {
	var mu sync.Mutex
	state := "off"
	lamp := exchange.HandlerFunc(func(w *exchange.Response, _ *exchange.Request) error {
		mu.Lock()
		defer mu.Unlock()
		if state == "" {
			return &exchange.Error{Code: message.NotFound, Diagnostic: "the lamp was taken away"}
		}
		w.SetMaxAge(time.Hour)
		return w.Text(state)
	})
	server := observe.NewServer(lamp, observe.ServerConfig{
		OnEnd: func(_ exchange.Peer, path string, why observe.End) { fmt.Println(path, "has an observer less:", why) },
	})
	defer server.Close()
	set := func(s string) {
		mu.Lock()
		state = s
		mu.Unlock()
		server.Notify("/lamp")
	}

	client := observe.NewClient(&link{handler: server, in: make(chan *exchange.Response, 10)}, observe.ClientConfig{})
	req, _ := exchange.NewRequest(message.GET, "/lamp")
	o, err := client.Observe(context.Background(), req)
	if err != nil {
		panic(err)
	}
	states := []string{"on", ""}
	for n, err := range o.All() {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Printf("%v: %s\n", n.State, n.Response.Payload)
		set(states[0])
		states = states[1:]
	}
	// Output:
	// live: off
	// live: on
	// /lamp has an observer less: error response
	// coap: 4.04 Not Found: the lamp was taken away
}

// Numbers are compared on a circle of 2^24, as long as the clock does not say that they are
// too far apart.
func ExampleFresher() {
	now := time.Now()
	fmt.Println(observe.Fresher(5, now, 6, now))
	fmt.Println(observe.Fresher(6, now, 5, now))
	fmt.Println(observe.Fresher(0xFFFFFF, now, 0, now))
	fmt.Println(observe.Fresher(6, now, 5, now.Add(129*time.Second)))
	// Output:
	// true
	// false
	// true
	// true
}
