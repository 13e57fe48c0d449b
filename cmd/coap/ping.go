package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

const pingHelp = `Ask whether a CoAP endpoint is alive, without asking for a resource: send an empty
confirmable message and wait for the Reset that it elicits (RFC 7252 section 4.3).

Standard output gets one line for each reply with the round-trip time; with --json
an object with uri and elapsed, in seconds. Exit status: 0 if there was a reply, 2
if there was none. A path in the URI has no meaning here and is ignored.`

type pingFlags struct {
	talk
	count    int
	interval float64
}

func newPingCommand(s *streams) *cobra.Command {
	var flags pingFlags
	cmd := &cobra.Command{
		Use:               "ping URI",
		Short:             "Ask whether an endpoint is alive",
		Long:              pingHelp,
		Example:           "  coap ping coap://localhost\n  coap ping -c 5 -B 2 coap://[2001:db8::1]:61616",
		Args:              oneURI,
		ValidArgsFunction: completeURI,
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd.Context(), s, args[0])
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().IntVarP(&flags.count, "count", "c", 1, "ping this many `times`")
	cmd.Flags().Float64VarP(&flags.interval, "interval", "i", 1, "wait this many `seconds` between pings")
	flags.register(cmd)
	must(cmd.RegisterFlagCompletionFunc("count", noCompletion))
	must(cmd.RegisterFlagCompletionFunc("interval", noCompletion))
	return cmd
}

func (f *pingFlags) check(t target) error {
	switch {
	case f.count < 1:
		return usagef("-c %d: want 1 or more", f.count)
	case !(f.interval >= 0 && f.interval <= maxWait):
		return usagef("-i %v: want a number of seconds", f.interval)
	}
	return f.talk.check(t)
}

// run pings as often as asked. If only some pings are answered, each of the others is
// reported, and the endpoint is alive.
func (f *pingFlags) run(ctx context.Context, s *streams, uri string) error {
	t, err := checkTarget(uri, "")
	if err != nil {
		return err
	}
	if t.isGroup() {
		return usagef("%v is a group, and ping asks one endpoint: find the members with: coap discover %v", t.addr, t)
	}
	server := t.String()
	if err := f.check(t); err != nil {
		return err
	}
	session, err := newSession(s, t, &f.secure, f.verbose, 1)
	if err != nil {
		return err
	}
	defer session.close()
	replies := 0
	for i := range f.count {
		if i > 0 {
			pause(ctx, time.Duration(f.interval*float64(time.Second)))
		}
		err := f.ping(ctx, s, session, server)
		if stop := interrupted(ctx); stop != nil {
			return stop
		}
		switch {
		case err == nil:
			replies++
		case f.count == 1:
			return err
		default:
			fmt.Fprintln(s.err, "coap:", err)
		}
	}
	if f.count > 1 {
		fmt.Fprintf(s.err, "%d of %d answered\n", replies, f.count)
	}
	if replies == 0 {
		return &failure{status: exitNoAnswer}
	}
	return nil
}

// ping pings once.
func (f *pingFlags) ping(ctx context.Context, s *streams, session *session, server string) error {
	ctx, cancel, wait := f.limit(ctx)
	defer cancel()
	began := time.Now()
	err := session.client.Ping(ctx, server)
	elapsed := time.Since(began)
	if err != nil {
		return whyNoAnswer(err, server, wait, session.ep.Stats())
	}
	if f.json {
		return writeJSON(s.out, struct {
			URI     string  `json:"uri"`
			Elapsed float64 `json:"elapsed"`
		}{server, elapsed.Seconds()})
	}
	fmt.Fprintf(s.out, "reply from %s in %.3f ms\n", server, float64(elapsed)/float64(time.Millisecond))
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
