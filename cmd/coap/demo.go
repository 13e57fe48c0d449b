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
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/udp"
)

const demoHelp = `Start the server of "coap serve" on a loopback port, ask it for things, and show
every message that is sent and received, with what it means. Some are lost on
purpose. It takes some three seconds, needs no network, and checks what comes back: the
exit status is 0 if all was as it should be.`

func newDemoCommand(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:               "demo",
		Short:             "See CoAP work, message by message",
		Long:              demoHelp,
		Args:              noArguments,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := runDemo(cmd.Context(), s.out)
			if stop := interrupted(cmd.Context()); stop != nil {
				return stop
			}
			if err != nil {
				return noAnswerf("the demonstration went wrong: %v", err)
			}
			return nil
		},
	}
}

// demoStep is one chart with what there is to see in it.
type demoStep struct {
	title, rfc string
	text       string
	requests   []demoRequest
	// lose, if not nil, says which datagrams of the step get lost.
	lose lossScript
	// did returns whether what the step is about has happened.
	did func(client, server coap.Stats) bool
}

// demoRequest is a request and what has to come back.
type demoRequest struct {
	code    coap.Code
	target  string
	payload string
	want    coap.Code
	body    string // empty: not checked
}

// lossScript says which datagram of a step is lost: the first in one direction.
type lossScript uint8

const (
	loseNothing lossScript = iota
	loseFirstSent
	loseFirstReceived
)

// lose is the script as a badNetwork wants it.
func (l lossScript) lose() func(*transport.Datagram, bool) bool {
	done := l == loseNothing
	return func(_ *transport.Datagram, incoming bool) bool {
		if done || incoming != (l == loseFirstReceived) {
			return false
		}
		done = true
		return true
	}
}

// demoAckTimeout is the ACK_TIMEOUT of the steps with losses. Nobody likes to wait.
const demoAckTimeout = 400 * time.Millisecond

var demoSteps = []demoStep{
	{
		title: "One request, one response", rfc: "RFC 7252 sections 2.2 and 5.2.1",
		text: `The request is a Confirmable message (CON), so it has to be acknowledged. The
response is there at once and rides in the acknowledgement (ACK): the number in
brackets, the message ID, is the same. The token says which request it answers.`,
		requests: []demoRequest{{code: coap.GET, target: "/time", want: message.Content}},
	},
	{
		title: "Write, then read back", rfc: "RFC 7252 sections 5.8.3 and 5.10",
		text: `PUT creates the resource: 2.01. The options say what the payload is, and the ETag
names this version of it.`,
		requests: []demoRequest{
			{code: coap.PUT, target: "/text", payload: "hello", want: message.Created},
			{code: coap.GET, target: "/text", want: message.Content, body: "hello"},
		},
	},
	{
		title: "A slow resource", rfc: "RFC 7252 section 5.2.2",
		text: `The server needs 0.8 s. Before the client gets impatient it acknowledges the request
with an empty message. The response follows in a Confirmable message of its own,
with an ID of its own, and the client acknowledges that. The token is still the same.`,
		requests: []demoRequest{{code: coap.GET, target: "/slow?ms=800", want: message.Content}},
		did:      func(_, server coap.Stats) bool { return server.Separate == 1 },
	},
	{
		title: "The request gets lost", rfc: "RFC 7252 section 4.2",
		text: `No acknowledgement comes, so the client repeats the message with the same ID. By default
that happens after 2 to 3 s and then at twice the distance each time, up to four
times; here the first time-out is 0.4 to 0.6 s.`,
		requests: []demoRequest{{code: coap.GET, target: "/time", want: message.Content}},
		lose:     loseFirstSent,
		did:      func(client, _ coap.Stats) bool { return client.Retransmitted == 1 },
	},
	{
		title: "The response gets lost", rfc: "RFC 7252 section 4.5",
		text: `The client cannot tell the difference and repeats the request. The server has seen that
message ID before: it answers as before, without doing the work again. Appending
twice would be wrong, so the GET looks whether it happened once.`,
		requests: []demoRequest{
			{code: coap.POST, target: "/text", payload: " again", want: message.Changed},
			{code: coap.GET, target: "/text", want: message.Content, body: "hello again"},
		},
		lose: loseFirstReceived,
		did:  func(_, server coap.Stats) bool { return server.Duplicates == 1 },
	},
}

// runDemo runs all steps against a server of its own.
func runDemo(ctx context.Context, w io.Writer) (err error) {
	conn, err := udp.Listen("127.0.0.1:0", nil)
	if err != nil {
		return err
	}
	server := coap.Server{Handler: newResources()}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, conn) }()
	defer func() { err = errors.Join(err, server.Close(), <-served) }()

	base := "coap://" + conn.LocalAddr().String()
	fmt.Fprintf(w, "A CoAP server has started in this process, at %s\n", base)
	for i, step := range demoSteps {
		fmt.Fprintf(w, "\n%d. %s (%s)\n\n%s\n\n", i+1, step.title, step.rfc, step.text)
		before := server.Stats()
		client, err := step.run(ctx, w, base)
		if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
		if step.did != nil && !step.did(client, since(before, server.Stats())) {
			return fmt.Errorf("step %d: it did not happen as the chart should show", i+1)
		}
	}
	fmt.Fprint(w, demoEnd)
	return nil
}

const demoEnd = `
That is all there is to the message layer of CoAP. To go on:

  coap serve --loss 20% -v                    this server on the default port, losing messages
  coap get -v coap://localhost/slow           ask it, from another terminal
  coap decode 44017d340f1e2d3cbb74656d7065726174757265
                                              look at the bytes of a message
`

// since returns the counters that the steps look at, from one moment to another.
func since(before, after coap.Stats) coap.Stats {
	after.Separate -= before.Separate
	after.Duplicates -= before.Duplicates
	return after
}

// run draws the chart of a step, which has a client of its own.
func (d *demoStep) run(ctx context.Context, w io.Writer, base string) (coap.Stats, error) {
	conn, err := udp.Listen("127.0.0.1:0", nil)
	if err != nil {
		return coap.Stats{}, err
	}
	chart := newChart(w, "client", "")
	chart.lossy = true
	network := newBadNetwork(conn, 0, d.lose.lose(), chart.fate)
	cfg := &coap.Config{Trace: chart.trace}
	if d.lose != loseNothing {
		cfg.Params.AckTimeout = demoAckTimeout
	}
	ep, err := coap.NewEndpoint(network, nil, cfg)
	if err != nil {
		network.Close()
		return coap.Stats{}, err
	}
	client := session{client: coap.Client{Endpoint: ep}, ep: ep}
	for _, r := range d.requests {
		if err = r.run(ctx, &client.client, base); err != nil {
			break
		}
	}
	client.close() // completes the chart
	return ep.Stats(), err
}

// run sends the request and compares the response with what is wanted.
func (r *demoRequest) run(ctx context.Context, c *coap.Client, base string) error {
	req, err := coap.NewRequest(r.code, base+r.target)
	if err != nil {
		return err
	}
	if r.payload != "" {
		req.Options.SetContentFormat(message.TextPlain)
		req.Payload = []byte(r.payload)
	}
	var resp coap.Response
	if err := c.Do(ctx, req, &resp); err != nil {
		return err
	}
	if body := string(resp.Payload); resp.Code != r.want || r.body != "" && body != r.body {
		return fmt.Errorf("%v %s was answered with %v %q, want %v %q", r.code, r.target, resp.Code, strings.TrimSpace(body), r.want, r.body)
	}
	return nil
}
