package main

import (
	"context"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/linkformat"
	"github.com/coapkit/coap/message"
)

const discoverHelp = `Ask a server which resources it has, or a group who is there and what they have: get
the links at /.well-known/core (RFC 6690), or at the path of the URI if it has one.

Standard output gets a table with a line for each link: the target, then what is said
of it: resource types (rt), interfaces (if), content formats by name (ct), size in
bytes (sz), whether observing it makes sense (obs), title, and other attributes. Columns
that nobody has anything for are left out. The answers of a group come one by one, each
below the start of its URIs and the interface that it came by. Standard error gets
the response code.

--filter asks only for links with an attribute: rt=light finds a resource type, rt=li*
those that begin so, href=/lamps* does the same for targets. A server that cannot
search sends all links (RFC 6690 section 4.1).

With --json, standard output gets one object in one line for each link:

  peer        the address that answered
  interface   the one that the answer of a group came by
  target      an absolute URI
  attributes  an object: text by name in small letters; true where there is no value;
              a list where an attribute is repeated

Links that break the format are shown as far as they can be read. Exit status: 0 if
links came, 4 for 4.xx, 5 for 5.xx, 1 for a mistake in the command line, 2 for no
answer or one that is no links; of a group one good answer is enough.`

const discoverExamples = `  coap discover coap://localhost
  coap discover --filter rt=temp* coap://[2001:db8::1]
  coap discover coap://224.0.1.187                  whoever hears it
  coap discover --interface eth0 'coap://[ff02::fd]'
  coap discover --json coap://localhost | jq -r .target`

// discoverFlags are the flags of discover.
type discoverFlags struct {
	talk
	reach
	filters []string
}

func newDiscoverCommand(s *streams) *cobra.Command {
	var flags discoverFlags
	cmd := &cobra.Command{
		Use:               "discover URI",
		Short:             "List the resources of a server, or of a group",
		Long:              discoverHelp,
		Example:           discoverExamples,
		Args:              oneURI,
		ValidArgsFunction: completeDiscover,
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd, s, args[0])
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringArrayVar(&flags.filters, "filter", nil, "ask only for links with this attribute, `name=value` or\nname=prefix*; repeatable")
	must(cmd.RegisterFlagCompletionFunc("filter", completeFilter))
	flags.reach.register(cmd)
	flags.talk.register(cmd)
	cmd.Flags().Lookup("json").Usage = "write one JSON object in one line for each link"
	return cmd
}

// run asks for links and writes them.
func (f *discoverFlags) run(cmd *cobra.Command, s *streams, uri string) error {
	t, err := checkTarget(uri, f.link)
	if err != nil {
		return err
	}
	if err := f.talk.check(t); err != nil {
		return err
	}
	if err := f.reach.check(cmd, t, f.patience()); err != nil {
		return err
	}
	where, err := wellKnown(uri)
	if err != nil {
		return err
	}
	req, err := f.request(where, t)
	if err != nil {
		return err
	}
	session, err := newSession(s, t, &f.secure, f.verbose, 1)
	if err != nil {
		return err
	}
	if t.isGroup() {
		return f.askAll(cmd.Context(), s, session, t, req, where)
	}
	a, err := f.ask(cmd.Context(), session, t, req)
	if err != nil {
		return err
	}
	return f.write(s, a, where)
}

// wellKnown returns the URI with the default path if it has none (RFC 6690 section 4).
func wellKnown(uri string) (message.URI, error) {
	u, err := message.ParseURI(uri)
	if err != nil {
		return u, whyBadURI(err)
	}
	if len(u.Path) == 0 {
		u.Path = []string{".well-known", "core"}
	}
	return u, nil
}

// request makes the request.
func (f *discoverFlags) request(where message.URI, t target) (*coap.Request, error) {
	req, err := coap.NewRequest(coap.GET, where.String())
	if err != nil {
		return nil, whyBadURI(err)
	}
	req.Authority, req.IfIndex = t.authority, t.link
	for _, arg := range f.filters {
		if _, err := linkformat.ParseFilter([]byte(arg)); err != nil {
			return nil, usagef("--filter %s: want name=value or name=prefix*, such as rt=light", arg)
		}
		if err := req.Options.AddQuery(arg); err != nil {
			return nil, usagef("--filter %s: %s", arg, plain(err))
		}
	}
	return req, nil
}

// askAll asks a group. One good answer is enough; what is wrong with others is said.
func (f *discoverFlags) askAll(ctx context.Context, s *streams, session *session, t target, req *coap.Request, where message.URI) error {
	good := 0
	err := f.askGroup(ctx, session, t, req, func(a *answer) error {
		from := where
		from.Host, from.Port = a.resp.Peer().Addr.Addr().String(), a.resp.Peer().Addr.Port()
		err := f.write(s, a, from)
		if err == nil {
			good++
		} else if !isAnswerFault(err) {
			return err
		} else if err.Error() != "" {
			fmt.Fprintln(s.err, "coap:", err)
		}
		return nil
	})
	if err == nil && good == 0 {
		return &failure{status: exitNoAnswer}
	}
	return err
}

// isAnswerFault reports whether it is an answer that is at fault, and not this program.
func isAnswerFault(err error) bool {
	f, ok := err.(*failure)
	return ok && f.status != exitUsage && f.status != exitInterrupted
}

// write writes the links of an answer, which came from the URI where. The error carries the
// exit status.
func (f *discoverFlags) write(s *streams, a *answer, where message.URI) error {
	failed := whyNoLinks(a.resp)
	if f.json || failed != nil || !a.ofGroup() { // else the table has a heading
		fmt.Fprintln(s.err, a.heading())
	}
	if failed != nil {
		return failed
	}
	links, bad := linkformat.Parse(a.resp.Payload)
	if err := f.writeLinks(s, a, links, where); err != nil {
		return err
	}
	switch {
	case bad != nil:
		return noAnswerf("%v breaks the link format: %s, %s could be read", a.resp.Peer(), plainLink(bad), counted(len(links), "link"))
	case len(links) == 0 && len(f.filters) > 0:
		fmt.Fprintln(s.err, "no link matches")
	case len(links) == 0:
		fmt.Fprintln(s.err, "no links")
	}
	return nil
}

// writeLinks writes links as lines of JSON or as a table.
func (f *discoverFlags) writeLinks(s *streams, a *answer, links []linkformat.Link, where message.URI) error {
	if f.json {
		base, err := url.Parse(where.String())
		if err != nil {
			return usagef("%v", err) // cannot be: it is a URI
		}
		for i := range links {
			if err := writeJSON(s.out, newLinkJSON(a, &links[i], base)); err != nil {
				return err
			}
		}
		return nil
	}
	text := linkTable(links)
	if a.ofGroup() {
		origin := coap.Authority{Scheme: where.Scheme, Host: where.Host, Port: where.Port}.String()
		text = groupHeading(origin, linkOf(a.resp)) + text
	}
	if a.number > 1 {
		text = "\n" + text
	}
	if _, err := s.out.Write([]byte(text)); err != nil {
		return usagef("cannot write the links: %v", err)
	}
	return nil
}

// whyNoLinks says why a response is no list of links, nil if it is one.
func whyNoLinks(resp *coap.Response) error {
	if err := resp.Err(); err != nil {
		status := &failure{status: int(resp.Code.Class())}
		if e, ok := err.(*coap.Error); ok && e.Diagnostic != "" {
			status.text = "the server says: " + printable(e.Diagnostic)
		}
		return status
	}
	if format, ok := resp.Options.ContentFormat(); ok && format != message.LinkFormat {
		return noAnswerf("%v answered in %v, which is no list of links; coap get shows it", resp.Peer(), format)
	}
	return nil
}
