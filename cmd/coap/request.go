package main

import (
	"context"
	"fmt"

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

Bodies of any length are sent and received in blocks (RFC 7959); those of more than
64 KiB go to standard output as they arrive, and on a terminal a line shows how far they
are. -O FILE keeps what has come in FILE.part and FILE.part.json until it is complete:
FILE is then made or replaced at once. If a GET breaks off, the same command goes
on there, provided that the ETag is still the same, else it starts again and says so. -B
is about all of a transfer.

coaps is CoAP over DTLS: with a pre-shared key (--psk), or with certificates: that of
the server has to be signed by one of --ca, or to have a key of --pin; our own is
that of --cert. No secure session is no answer: the exit status is 2.

With --json, standard output gets one object in one line:

  uri, peer  what was asked, and the address that answered
  elapsed    from request to response in seconds
  code, name such as "2.05" and "Content"
  options    a list of objects: number, name, value in hexadecimal, and decoded:
             the number or the text, left out for bytes
  payload    in hexadecimal
  text       the payload, if it is UTF-8 text
  file, size in place of text with -O: the file that has the payload, and its length`

const requestExamples = `  coap @ coap://localhost/text
  coap @ -v -N coap://[fe80::1%25eth0]/temp        on the link of eth0
  coap @ -o If-Match=0x1f2e -o 65001=0xcafe coap://localhost/text`

const getExamples = `
  coap get --psk lamp-7:secret coaps://localhost/whoami
  coap get -O large.bin coap://localhost/large      goes on where it broke off
  coap get 'coap://[ff02::fd]/time'                  whoever has one on the link`

const payloadExamples = `  coap @ -t json -p '{"on":true}' coap://localhost/echo
  date | coap @ -t text -f - coap://localhost/echo
  coap @ -f firmware.bin coap://localhost/echo           in blocks
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
	transfer
	non      bool
	silent   bool
	payload  string
	file     string
	fromFile bool // file is given
	format   string
	accept   string
	options  []string
}

func newRequestCommand(s *streams, m method) *cobra.Command {
	var flags requestFlags
	examples := payloadExamples
	switch m.code {
	case coap.GET:
		examples = requestExamples + getExamples
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
	fs.BoolVar(&f.silent, "no-response", false, "ask for no response, and wait for none: with -N, and from a group,\nnobody learns whether the request has arrived")
	fs.StringVarP(&f.payload, "payload", "p", "", "send this `text` as payload")
	fs.StringVarP(&f.file, "file", "f", "", "send the content of a `file` as payload; - is standard input")
	fs.StringVarP(&f.format, "format", "t", "", "content `format` of the payload by name or number: text, json, 50;\nnone is stated without it")
	fs.StringVarP(&f.accept, "accept", "a", "", "content `format` wanted in the response")
	fs.StringArrayVarP(&f.options, "option", "o", nil, optionHelp)
	f.transfer.register(cmd)
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
	if err := f.talk.check(t); err != nil {
		return err
	}
	if err := f.check(cmd, t); err != nil {
		return err
	}
	req.Authority, req.IfIndex = t.authority, t.link
	req.NonConfirmable = req.NonConfirmable || t.isGroup()
	src, err := f.attach(cmd.Context(), s.in, req, t.isGroup())
	if err != nil {
		return err
	}
	if src != nil {
		defer src.close()
	}
	if t.isGroup() && !f.silent {
		return f.askMembers(cmd.Context(), s, t, req, uri)
	}
	return f.askOne(cmd.Context(), s, t, req, src, uri)
}

// check compares the flags with each other and with the target.
func (f *requestFlags) check(cmd *cobra.Command, t target) error {
	f.fromFile = cmd.Flags().Changed("file")
	if f.fromFile && cmd.Flags().Changed("payload") {
		return usagef("-p and -f are two payloads: give one of them")
	}
	if err := f.transfer.check(cmd, t, f.json); err != nil {
		return err
	}
	return f.reach.check(cmd, t, f.patience())
}

// askMembers asks a group and writes the answers.
func (f *requestFlags) askMembers(ctx context.Context, s *streams, t target, req *coap.Request, uri string) error {
	session, err := newSession(s, t, &f.secure, f.verbose, 1)
	if err != nil {
		return err
	}
	if f.blockSize > 0 {
		req.Transfer = &coap.Transfer{BlockSize: f.blockSize}
	}
	return f.askGroup(ctx, session, t, req, func(a *answer) error {
		a.uri = uri
		return writeResponse(s, a, f.json)
	})
}

// askOne asks one server and writes the answer.
func (f *requestFlags) askOne(ctx context.Context, s *streams, t target, req *coap.Request, src *source, uri string) error {
	out, err := f.outlet(s, uri, req, f.json)
	if err != nil {
		return err
	}
	session, err := newSession(s, t, &f.secure, f.verbose, f.ahead)
	if err != nil {
		if out != nil {
			out.breakOff(nil)
		}
		return err
	}
	a, err := f.deliver(ctx, s, session, &delivery{to: t, req: req, src: src, out: out})
	if err != nil {
		return err
	}
	a.uri = uri
	if out == nil {
		return writeResponse(s, a, f.json)
	}
	if err := out.finish(a.resp); err != nil {
		return err
	}
	if p, ok := out.(*part); ok && hasBody(a.resp) {
		a.file, a.size = p.name, p.size
	}
	err = writeResponse(s, a, f.json)
	if text := out.remark(); text != "" && hasBody(a.resp) {
		fmt.Fprintln(s.err, text)
	}
	return err
}

// request makes the request without its payload.
func (f *requestFlags) request(code coap.Code, uri string) (*coap.Request, error) {
	req, err := coap.NewRequest(code, uri)
	if err != nil {
		return nil, whyBadURI(err)
	}
	req.NonConfirmable = f.non
	if f.silent {
		const all = 2 | 8 | 16 // the classes of responses (RFC 7967 section 2.1)
		req.Options.SetUint(message.OptionNoResponse, all)
	}
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

// interrupted is the failure of a program that was interrupted, nil if it was not.
func interrupted(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return &failure{exitInterrupted, "interrupted"}
}
