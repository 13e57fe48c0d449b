package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
)

// method is a command that sends a request.
type method struct {
	code  coap.Code
	use   string
	short string
	long  string
}

var methods = []method{
	{coap.GET, "get", "Get a representation of a resource", "Get a representation of the resource at URI."},
	{coap.POST, "post", "Have a resource process a payload", "Have the resource at URI process the payload. What that means is up to the resource."},
	{coap.PUT, "put", "Create or replace a resource", "Make the payload the representation of the resource at URI, which is created if need be."},
	{coap.DELETE, "delete", "Delete a resource", "Delete the resource at URI."},
	{coap.FETCH, "fetch", "Get parts of a resource", "Get the parts of the resource at URI that the payload selects (RFC 8132)."},
	{coap.PATCH, "patch", "Change parts of a resource", "Change parts of the resource at URI as the payload says (RFC 8132)."},
	{coap.IPATCH, "ipatch", "Change parts of a resource, repeatably", "Change parts of the resource at URI as the payload says, such that doing it twice\nhas the effect of once (RFC 8132)."},
}

const requestHelp = `

The body of the response goes to standard output untouched, also that of an error.
Standard error gets the response code, then the options. Exit status: 0 for 2.xx,
4 for 4.xx, 5 for 5.xx, 1 for a mistake in the command line, 2 for no answer.

With --json, standard output gets one object in one line:

  uri, peer  what was asked, and the address that answered
  elapsed    from request to response in seconds
  code, name such as "2.05" and "Content"
  options    a list of objects: number, name, value in hexadecimal, and decoded:
             the number or the text, left out for bytes
  payload    in hexadecimal
  text       the payload, if it is UTF-8 text`

const requestExamples = `  coap @ coap://localhost/text
  coap @ -v -N coap://[fe80::1%25eth0]/temp        on the link of eth0
  coap @ -o If-Match=0x1f2e -o 65001=0xcafe coap://localhost/text`

const groupExample = `
  coap get 'coap://[ff02::fd]/time'                  whoever has one on the link`

const payloadExamples = `  coap @ -t json -p '{"on":true}' coap://localhost/echo
  date | coap @ -t text -f - coap://localhost/echo
  coap @ -v -a text -p 21 coap://[fe80::1%25eth0]/temp   on the link of eth0`

const groupHelp = `

A group such as coap://224.0.1.187 or coap://[ff02::fd] is asked non-confirmable, and
whoever has an answer gives it: each body goes to standard output as it comes, its
code, sender and interface to standard error. --json has one object for each answer,
with the name of the interface. Exit status: 0 if there was an answer, 2 if not. What
changes something is done by each member that hears it, also by those that stay silent.`

// requestFlags are the flags of a request.
type requestFlags struct {
	talk
	reach
	non     bool
	payload string
	file    string
	format  string
	accept  string
	options []string
}

func newRequestCommand(s *streams, m method) *cobra.Command {
	var flags requestFlags
	examples := payloadExamples
	switch m.code {
	case coap.GET:
		examples = requestExamples + groupExample
	case coap.DELETE:
		examples = requestExamples
	}
	cmd := &cobra.Command{
		Use:               m.use + " URI",
		Short:             m.short,
		Long:              m.long + requestHelp + groupHelp,
		Example:           replaceAt(examples, m.use),
		Args:              oneURI,
		ValidArgsFunction: completeURI,
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd, s, m.code, args[0])
		},
	}
	flags.register(cmd)
	return cmd
}

func (f *requestFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.BoolVarP(&f.non, "non", "N", false, "send the request non-confirmable: once, not repeated if it gets lost")
	fs.StringVarP(&f.payload, "payload", "p", "", "send this `text` as payload")
	fs.StringVarP(&f.file, "file", "f", "", "send the content of a `file` as payload; - is standard input")
	fs.StringVarP(&f.format, "format", "t", "", "content `format` of the payload by name or number: text, json, 50;\nnone is stated without it")
	fs.StringVarP(&f.accept, "accept", "a", "", "content `format` wanted in the response")
	fs.StringArrayVarP(&f.options, "option", "o", nil, optionHelp)
	f.reach.register(cmd)
	f.talk.register(cmd)
	must(cmd.RegisterFlagCompletionFunc("payload", noCompletion))
	must(cmd.RegisterFlagCompletionFunc("format", completeFormat))
	must(cmd.RegisterFlagCompletionFunc("accept", completeFormat))
	must(cmd.RegisterFlagCompletionFunc("option", completeOption))
}

// run sends the request and writes the response.
func (f *requestFlags) run(cmd *cobra.Command, s *streams, code coap.Code, uri string) error {
	t, err := checkTarget(uri, f.link)
	if err != nil {
		return err
	}
	req, err := f.request(code, uri)
	if err != nil {
		return err
	}
	if err := f.reach.check(cmd, t, f.patience()); err != nil {
		return err
	}
	req.Authority, req.IfIndex = t.authority, t.link
	if err := f.body(cmd, s.in, req); err != nil {
		return err
	}
	session, err := newSession(s, f.verbose)
	if err != nil {
		return err
	}
	write := func(a *answer) error {
		a.uri = uri
		return writeResponse(s, a, f.json)
	}
	if t.isGroup() {
		return f.askGroup(cmd.Context(), session, t, req, write)
	}
	a, err := f.ask(cmd.Context(), session, t, req)
	if err != nil {
		return err
	}
	return write(a)
}

// request makes the request without its payload.
func (f *requestFlags) request(code coap.Code, uri string) (*coap.Request, error) {
	if err := f.talk.check(); err != nil {
		return nil, err
	}
	req, err := coap.NewRequest(code, uri)
	if err != nil {
		return nil, whyBadURI(err)
	}
	req.NonConfirmable = f.non
	if f.format != "" {
		format, err := parseFormat("-t", f.format)
		if err != nil {
			return nil, err
		}
		req.Options.SetContentFormat(format)
	}
	if f.accept != "" {
		format, err := parseFormat("-a", f.accept)
		if err != nil {
			return nil, err
		}
		req.Options.SetAccept(format)
	}
	return req, addOptions(&req.Options, f.options)
}

func parseFormat(flag, text string) (coap.ContentFormat, error) {
	format, err := message.ParseContentFormat(text)
	if err != nil {
		return 0, usagef("%s: %s", flag, plain(err))
	}
	return format, nil
}

// body sets the payload.
func (f *requestFlags) body(cmd *cobra.Command, in io.Reader, req *coap.Request) (err error) {
	switch fromFile := cmd.Flags().Changed("file"); {
	case fromFile && cmd.Flags().Changed("payload"):
		return usagef("-p and -f are two payloads: give one of them")
	case !fromFile:
		req.Payload = []byte(f.payload)
		return nil
	}
	if f.file == "-" {
		req.Payload, err = readAll(cmd.Context(), in)
	} else {
		req.Payload, err = os.ReadFile(f.file)
	}
	if err != nil && cmd.Context().Err() == nil {
		return usagef("-f %s: %v", f.file, err)
	}
	return interrupted(cmd.Context())
}

// readAll is io.ReadAll that ends with ctx; the reader may go on until the program ends.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(r)
		done <- result{b, err}
	}()
	select {
	case got := <-done:
		return got.b, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// interrupted is the failure of a program that was interrupted, nil if it was not.
func interrupted(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return &failure{exitInterrupted, "interrupted"}
}
