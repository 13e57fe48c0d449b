package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap"
)

// reach are the flags of the commands that can ask a group.
type reach struct {
	window time.Duration
	link   string
}

// longestWindow is how long to wait for answers at most. Servers spread them over seconds.
const longestWindow = 10 * time.Minute

func (r *reach) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.DurationVar(&r.window, "window", coap.DefaultWindow, "collect the answers of a group for this long, which take\nsome 5s where nothing else is configured")
	f.StringVar(&r.link, "interface", "", "ask by the interface with this `name`: for a group, which is asked by all\notherwise, and a link-local address without %25NAME")
	must(cmd.RegisterFlagCompletionFunc("window", noCompletion))
	must(cmd.RegisterFlagCompletionFunc("interface", completeInterface))
}

// check compares the flags with the target. -B of someone who is used to it is the window
// of a group.
func (r *reach) check(cmd *cobra.Command, t target, wait time.Duration) error {
	given := cmd.Flags().Changed("window")
	switch {
	case given && !t.isGroup():
		return usagef("--window is how long to collect the answers of a group, and %v is one server: leave it out, or give up sooner with -B", t)
	case r.window <= 0 || r.window > longestWindow:
		return usagef("--window %v: want more than 0 and at most %v", r.window, longestWindow)
	case given && wait > 0:
		return usagef("--window and -B both say how long to wait for a group: give one of them")
	case wait > longestWindow && t.isGroup():
		return usagef("-B %v: want at most %v for a group", wait.Seconds(), longestWindow.Seconds())
	case wait > 0:
		r.window = wait
	}
	return nil
}

// askGroup sends req to a group and hands each answer to take, until the time is over or take
// returns an error. It fails if nobody answers.
func (r *reach) askGroup(ctx context.Context, session *session, t target, req *coap.Request, take func(*answer) error) error {
	defer session.close()
	req.Window, req.IfIndex = r.window, t.link
	answers, peers := 0, make(map[string]bool)
	var failed error // the request went nowhere, at least by one interface
	began := time.Now()
	for resp, err := range session.client.Multicast(ctx, req) {
		if err != nil {
			if !isAboutGroup(err) {
				fmt.Fprintln(session.err, "coap:", plain(err))
			} else if failed == nil {
				failed = err
			}
			continue
		}
		answers++
		peers[resp.Peer().String()] = true
		if err := take(&answer{resp: resp, elapsed: time.Since(began), number: answers}); err != nil {
			return err
		}
	}
	switch stop := interrupted(ctx); {
	case stop != nil:
		return stop
	case answers == 0:
		return r.whyNobody(failed, t, req, session.ep.Stats())
	}
	from := ""
	if answers > len(peers) { // who was asked by two interfaces answers twice
		from = " from " + counted(len(peers), "address")
	}
	fmt.Fprintf(session.err, "\n%s%s within %v\n", counted(answers, "answer"), from, r.window)
	return nil
}

// whyNobody says why there is no answer from a group.
func (r *reach) whyNobody(err error, t target, req *coap.Request, stats coap.Stats) error {
	if err != nil && stats.Sent == 0 {
		return whyNoAnswer(err, t.String(), 0, stats)
	}
	text := fmt.Sprintf("nobody at %v answered within %v", t, r.window)
	if !isSafe(req.Code) {
		return noAnswerf("%s: members may have done it all the same, they need not answer a group", text)
	}
	hint := "--window waits longer"
	if t.link == 0 && t.addr.Zone() == "" {
		hint += ", --interface asks by one of " + interfaces() + " only"
	}
	return noAnswerf("%s: who has nothing to say to a group stays silent; %s, -v shows what was sent", text, hint)
}

// isAboutGroup reports whether an error is about asking a group, and not about one that answered.
func isAboutGroup(err error) bool {
	var op *coap.OpError
	return errors.As(err, &op) && op.Peer.Addr().IsMulticast()
}

// isSafe reports whether a method only reads (RFC 7252 section 5.1, RFC 8132 section 2).
func isSafe(method coap.Code) bool { return method == coap.GET || method == coap.FETCH }

// counted puts a number in front of a word.
func counted(n int, word string) string {
	switch {
	case n == 1:
		return "1 " + word
	case strings.HasSuffix(word, "s"):
		word += "e"
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// linkOf returns the name of the interface that a response has come by, empty if it is unknown.
func linkOf(resp *coap.Response) string {
	i, err := net.InterfaceByIndex(resp.Peer().IfIndex)
	if err != nil {
		return ""
	}
	return i.Name
}
