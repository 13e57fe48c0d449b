package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/examples/tradfri/ipso"
)

// checkEvery is how long the gateway may be silent until it is asked whether that is because nothing has changed.
const checkEvery = 5 * time.Minute

// watch writes a line for each change of a bulb, until ctx ends.
func (p *program) watch(ctx context.Context, f *flag.FlagSet, args []string) error {
	args, err := p.parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	t, err := parseTarget(args)
	if err != nil {
		return p.wrong("%v", err)
	}
	w := &watcher{program: p, path: t.path()}
	for tries := 0; ; tries++ {
		g, err := p.open()
		if err != nil {
			return err
		}
		err = w.watch(ctx, g)
		g.close()
		switch {
		case ctx.Err() != nil:
			return nil
		case !w.begun || !errors.Is(err, errLost): // it will not get better by itself
			return err
		}
		fmt.Fprintln(p.errs, "tradfri:", err)
	}
}

// errLost says that the gateway has forgotten us, or cannot be reached at the moment.
var errLost = errors.New("connecting again")

func lost(err error) error { return fmt.Errorf("%w: %w", errLost, err) }

// watcher watches one bulb over several connections.
type watcher struct {
	*program
	path  string
	begun bool   // there was a state
	last  string // line, without its time
}

// watch watches by one connection.
func (w *watcher) watch(ctx context.Context, g *gatewayClient) error {
	// The observation tries for ever; whether the bulb exists, and we may ask, is to be known at once.
	if err := w.check(ctx, g); err != nil {
		if w.begun {
			pause(ctx, time.Minute)
			return lost(err)
		}
		return err
	}
	req, err := coap.NewRequest(coap.GET, w.path)
	if err != nil {
		return err
	}
	o, err := g.client.ObserveRequest(ctx, req)
	if err != nil {
		return g.explain(err)
	}
	defer o.Close()
	for {
		waiting, cancel := context.WithTimeout(ctx, checkEvery)
		n, err := o.Next(waiting)
		silent := waiting.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && n.Response == nil: // the state has not changed, but what is known of it
		case err == nil:
			err = w.show(g, n.Response)
		case silent:
			before := w.last
			if err = w.check(ctx, g); err != nil {
				err = lost(err)
			} else if w.last != before {
				err = lost(errors.New("the gateway has not told us of a change"))
			}
		default:
			err = g.explain(err)
		}
		if err != nil {
			return err
		}
	}
}

// check asks for the state.
func (w *watcher) check(ctx context.Context, g *gatewayClient) error {
	ctx, cancel := context.WithTimeout(ctx, w.wait)
	defer cancel()
	resp, err := g.client.Get(ctx, w.path)
	if err != nil {
		return g.explain(err)
	}
	return w.show(g, resp)
}

// show writes a state that differs from the last one.
func (w *watcher) show(g *gatewayClient, resp *coap.Response) error {
	if err := resp.Err(); err != nil {
		return g.explain(err)
	}
	var d ipso.Device
	if err := json.Unmarshal(resp.Payload, &d); err != nil {
		return fmt.Errorf("the gateway has sent something unexpected: %w", err)
	}
	w.begun = true
	line := fmt.Sprintf("%s: %s", printable(d.Name), describe(&d))
	if line != w.last {
		w.last = line
		fmt.Fprintf(w.out, "%s  %s\n", time.Now().Format(time.TimeOnly), line)
	}
	return nil
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
