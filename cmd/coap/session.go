package main

import (
	"context"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
)

// talk are the flags of every command that asks a server.
type talk struct {
	wait    float64
	verbose bool
	json    bool
	secure  security
}

func (t *talk) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Float64VarP(&t.wait, "wait", "B", 0, "give up after this many `seconds`; 0 leaves it to the protocol, which\nrepeats a confirmable message for some 93 seconds")
	f.BoolVarP(&t.verbose, "verbose", "v", false, "show a chart of all messages sent and received, after the rest; on a\nterminal while it happens")
	f.BoolVar(&t.json, "json", false, "write the result as one JSON object in one line")
	t.secure.register(cmd)
	must(cmd.RegisterFlagCompletionFunc("wait", noCompletion))
}

// patience returns the time of -B, 0 for none.
func (t *talk) patience() time.Duration { return time.Duration(t.wait * float64(time.Second)) }

// limit returns a context that ends after the time of -B, and that time, 0 for none.
func (t *talk) limit(ctx context.Context) (context.Context, context.CancelFunc, time.Duration) {
	d := t.patience()
	if d == 0 {
		return ctx, func() {}, 0
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, cancel, d
}

// maxWait is a year: beyond it, a time in seconds does more harm than good.
const maxWait = 365 * 24 * 3600

func (t *talk) check(to target) error {
	if math.IsNaN(t.wait) || t.wait < 0 || t.wait > maxWait {
		return usagef("-B %v: want a number of seconds, or 0 to leave it to the protocol", t.wait)
	}
	t.secure.wait = t.patience()
	return t.secure.check(to)
}

// session is an endpoint for the requests of one run, with a chart if asked for.
type session struct {
	client coap.Client
	ep     *coap.Endpoint
	err    io.Writer // what there is to say besides results
	keylog io.Closer // closed last
}

// longestDatagram is what a response may have: the client has room for all that UDP carries.
const longestDatagram = 65535

// newSession opens an endpoint to ask t, with what sec has if that is over DTLS, that may have as many requests to a server under way as window says, of which
// only a download makes use.
func newSession(s *streams, t target, sec *security, verbose bool, window int) (*session, error) {
	conn, keylog, err := sec.open(t)
	if err != nil {
		return nil, err
	}
	cfg := &coap.Config{
		Limits: coap.Limits{ReceiveSize: longestDatagram},
		Params: coap.Params{NStart: window}, SendBlocks: blockwise.ClientConfig{Window: window},
	}
	if verbose {
		var w io.Writer = &s.late
		if isTerminal(s.err) {
			w = s.err
		}
		cfg.Trace = newChart(w, "client", "").trace
	}
	ep, err := coap.NewEndpoint(conn, nil, cfg)
	if err != nil {
		conn.Close()
		keylog.Close()
		return nil, err
	}
	return &session{client: coap.Client{Endpoint: ep}, ep: ep, err: s.err, keylog: keylog}, nil
}

// ask sends req to one server and waits for the response. It closes the session.
func (t *talk) ask(ctx context.Context, session *session, to target, req *coap.Request) (*answer, error) {
	ctx, cancel, wait := t.limit(ctx)
	defer cancel()
	a := &answer{resp: new(coap.Response)}
	began := time.Now()
	err := session.client.Do(ctx, req, a.resp)
	a.elapsed = time.Since(began)
	session.close()
	if err != nil {
		return nil, whyNoAnswer(err, to.String(), wait, session.ep.Stats())
	}
	return a, nil
}

// close sends what is left to be sent, such as the acknowledgement of a separate response, and
// waits until the chart is complete.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.ep.Shutdown(ctx)
	if s.keylog != nil {
		s.keylog.Close()
	}
}

// must is for calls that fail only if the program is wrong.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
