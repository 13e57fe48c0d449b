package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport/dtls"
)

const observeHelp = `Observe a resource (RFC 7641): write its value now and whenever the server says that
it has changed, one line each, until interrupted. A line has the time, the number of
the value, how current it is, and the value:

  live         it is as current as the server promises
  registering  the server is asked to tell of changes
  stale        the server should have said something by now; it will be asked again

A line without number is about the value before it. What could not be shown in time
is skipped: an observer gets the latest state, not each one.

With the address of a group all its members are observed, and each line says which one
it is about; ended is the state of a member that no longer takes part.

Exit status: 0 after -n values or after -d, 2 when the observation ended by itself or
brought no value, 130 when interrupted. With --json, each line is an object:

  time       when it came
  number     of the value, from 1; left out if only the state has changed
  state      as above
  sequence   the number that the server has given the value, if any
  skipped    how many values and states before it were
  cause      why it is stale or ended, if that is known
  member     the address of the member of a group
  and those of coap get: uri, peer, elapsed, code, name, options, payload, text`

const observeExamples = `  coap observe coap://localhost/time
  coap observe -n 2 coap://localhost/text           the value and the next one
  coap observe -d 1m --json coap://localhost/time
  coap observe coap://224.0.1.187/temperature       of all servers on the link`

// observeFlags are the flags of coap observe.
type observeFlags struct {
	count    int
	duration time.Duration
	accept   string
	options  []string
	verbose  bool
	json     bool
	secure   security
}

func newObserveCommand(s *streams) *cobra.Command {
	var flags observeFlags
	cmd := &cobra.Command{
		Use:               "observe URI",
		Short:             "Watch a resource change",
		Long:              observeHelp,
		Example:           observeExamples,
		Args:              oneURI,
		ValidArgsFunction: completeURI,
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd, s, args[0])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVarP(&flags.count, "count", "n", 0, "end after this many `values`")
	f.DurationVarP(&flags.duration, "duration", "d", 0, "end after this time, such as 30s")
	f.StringVarP(&flags.accept, "accept", "a", "", "content `format` wanted in the response")
	f.StringArrayVarP(&flags.options, "option", "o", nil, optionHelp)
	f.BoolVarP(&flags.verbose, "verbose", "v", false, "show a chart of all messages sent and received, after the rest; on a\nterminal while it happens")
	f.BoolVar(&flags.json, "json", false, "write one JSON object in one line for each value or state")
	flags.secure.register(cmd)
	must(cmd.RegisterFlagCompletionFunc("count", noCompletion))
	must(cmd.RegisterFlagCompletionFunc("duration", noCompletion))
	must(cmd.RegisterFlagCompletionFunc("accept", completeFormat))
	must(cmd.RegisterFlagCompletionFunc("option", completeOption))
	return cmd
}

// check looks at the flags that are given.
func (f *observeFlags) check(cmd *cobra.Command, t target) error {
	given := cmd.Flags().Changed
	switch {
	case given("count") && f.count < 1:
		return usagef("-n %d: want 1 or more", f.count)
	case given("duration") && f.duration <= 0:
		return usagef("-d %v: want more than 0", f.duration)
	}
	f.secure.wait = f.duration
	return f.secure.check(t)
}

// run observes until there is a reason to end.
func (f *observeFlags) run(cmd *cobra.Command, s *streams, uri string) error {
	t, err := checkTarget(uri, "")
	if err != nil {
		return err
	}
	if err := f.check(cmd, t); err != nil {
		return err
	}
	basis := requestFlags{accept: f.accept, options: f.options}
	req, err := basis.request(coap.GET, uri)
	if err != nil {
		return err
	}
	session, err := newSession(s, t, &f.secure, f.verbose, 1)
	if err != nil {
		return err
	}
	defer session.close()
	w := &watcher{s: s, t: t, uri: uri, json: f.json, began: time.Now()}
	if t.isGroup() {
		req.IfIndex = t.link
		return f.watchGroup(cmd.Context(), w, &session.client, req)
	}
	// It ends by Cancel, which tells the server.
	o, err := session.client.ObserveRequest(context.WithoutCancel(cmd.Context()), req)
	if err != nil {
		return usagef("%s", plain(err))
	}
	defer leave(o)
	return f.watch(cmd.Context(), w, o)
}

// goodbye is how long the server has to confirm that it forgets an observer.
const goodbye = time.Second

// leave ends an observation.
func leave(o *observe.Observation) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if o.Cancel(ctx) != nil {
		o.Close() // the server notices when it has something to tell
	}
}

// watch writes what comes until -n or -d says that it is enough.
func (f *observeFlags) watch(ctx context.Context, w *watcher, o *observe.Observation) error {
	enough, cancel := ctx, func() {}
	if f.duration > 0 {
		enough, cancel = context.WithTimeout(ctx, f.duration)
	}
	defer cancel()
	for f.count == 0 || w.values < f.count {
		n, err := o.Next(enough)
		switch stop := interrupted(ctx); {
		case stop != nil:
			return stop
		case err != nil && enough.Err() != nil:
			return w.enough(f.duration)
		case err != nil:
			return w.whyEnded(err)
		}
		if refused := w.refused(n); refused != nil {
			return refused
		}
		if err := w.write(time.Now(), n, ""); err != nil {
			return err
		}
	}
	return nil
}

// refused says why there will be no value however long one waits: there is no secure session, for another
// reason than silence. nil if that is not so.
func (w *watcher) refused(n coap.Notification) error {
	var handshake *dtls.HandshakeError
	if w.values > 0 || !errors.As(n.Cause, &handshake) || isUnconnected(n.Cause) {
		return nil
	}
	return whyNoSession(handshake, w.t.String())
}

// watchGroup is watch for all members of a group.
func (f *observeFlags) watchGroup(ctx context.Context, w *watcher, c *coap.Client, req *coap.Request) error {
	enough, cancel := ctx, func() {}
	if f.duration > 0 {
		enough, cancel = context.WithTimeout(ctx, f.duration)
	}
	defer cancel()
	for n, err := range c.ObserveGroup(enough, req) {
		switch stop := interrupted(ctx); {
		case stop != nil:
			return stop
		case err != nil && enough.Err() != nil:
			return w.enough(f.duration)
		case err != nil:
			w.cause = err // other interfaces may do better
			continue
		}
		if err := w.write(time.Now(), n.Notification, n.Peer.String()); err != nil {
			return err
		}
		if f.count > 0 && w.values >= f.count {
			return nil
		}
	}
	return w.whyEnded(w.cause)
}

// watcher writes notifications.
type watcher struct {
	s      *streams
	t      target
	uri    string
	json   bool
	began  time.Time
	values int
	cause  error // the last that is known
}

// write writes one line; member is who of a group it is about.
func (w *watcher) write(now time.Time, n coap.Notification, member string) (err error) {
	if n.Response != nil {
		w.values++
	}
	if n.Cause != nil {
		w.cause = n.Cause
	}
	if w.json {
		return writeJSON(w.s.out, w.object(now, n, member))
	}
	if _, err = io.WriteString(w.s.out, notificationLine(now, w.values, n, member, w.why(n))); err != nil {
		return usagef("cannot write the result: %v", err)
	}
	return nil
}

// why is the cause of a state in words.
func (w *watcher) why(n coap.Notification) string {
	if n.Cause == nil || n.Response != nil && n.Response.Err() != nil { // the response says it
		return ""
	}
	return printable(w.explain(n.Cause))
}

func (w *watcher) explain(err error) string {
	var handshake *dtls.HandshakeError
	if errors.As(err, &handshake) {
		return whyNoSession(handshake, w.t.String()).Error()
	}
	var end coap.EndError
	if errors.Is(err, coap.ErrSessionEnded) {
		return "the secure session has ended; there will be another"
	}
	if errors.As(err, &end) {
		return endText(end, err, w.t.String())
	}
	return plain(err)
}

// enough ends the observation after -d.
func (w *watcher) enough(d time.Duration) error {
	if w.values > 0 {
		return nil
	}
	if w.cause != nil {
		return noAnswerf("no value within %v: %s", d, w.explain(w.cause))
	}
	return noAnswerf("no value from %v within %v: is it running, is the address right? -v shows what was sent", w.t, d)
}

// whyEnded says why nothing more will come.
func (w *watcher) whyEnded(err error) error {
	var answer *coap.Error
	switch {
	case errors.Is(err, observe.ErrNotObservable):
		return noAnswerf("%v does not tell when this resource changes; coap get asks for it once", w.t)
	case errors.As(err, &answer):
		return noAnswerf("the observation ended: %s", strings.TrimSuffix(answer.Code.String()+": "+printable(answer.Diagnostic), ": "))
	}
	return noAnswerf("the observation ended: %s", w.explain(err))
}

// notificationLine writes a notification for people: number is that of the last value, member who
// of a group it is about, if one, why explains the state.
func notificationLine(now time.Time, number int, n coap.Notification, member, why string) string {
	var b strings.Builder
	shown := ""
	if n.Response != nil {
		shown = fmt.Sprint(number)
	}
	fmt.Fprintf(&b, "%s %4s  %-11v", now.Format("15:04:05.000"), shown, n.State)
	if member != "" {
		b.WriteString("  " + member)
	}
	if r := n.Response; r != nil {
		if r.Code != message.Content {
			fmt.Fprintf(&b, "  %v", r.Code)
		}
		b.WriteString("  " + describePayload(r.Payload))
	}
	if why != "" {
		b.WriteString("  " + why)
	}
	if n.Skipped > 0 {
		fmt.Fprintf(&b, "  (%d skipped)", n.Skipped)
	}
	return strings.TrimRight(b.String(), " ") + "\n"
}

// notificationJSON is a notification in JSON. Its fields keep their names and meanings.
type notificationJSON struct {
	Time     string  `json:"time"`
	Number   int     `json:"number,omitempty"`
	State    string  `json:"state"`
	Sequence *uint32 `json:"sequence,omitempty"`
	Skipped  int     `json:"skipped,omitempty"`
	Cause    string  `json:"cause,omitempty"`
	Member   string  `json:"member,omitempty"`
	*responseJSON
}

func (w *watcher) object(now time.Time, n coap.Notification, member string) *notificationJSON {
	j := &notificationJSON{Time: now.Format(time.RFC3339Nano), State: n.State.String(), Skipped: n.Skipped, Cause: w.why(n), Member: member}
	if n.Response == nil {
		return j
	}
	j.Number = w.values
	j.responseJSON = newResponseJSON(&answer{uri: w.uri, resp: n.Response, elapsed: now.Sub(w.began)})
	if n.Response.Options.Has(message.OptionObserve) {
		j.Sequence = &n.Seq
	}
	return j
}
