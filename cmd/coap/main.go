// Command coap is a client for CoAP servers (RFC 7252), a demonstration server, and a
// decoder for messages:
//
//	coap get coap://[2001:db8::1]/sensors/temp
//	coap put -t text -p "hello" coap://localhost/text
//	coap discover coap://224.0.1.187
//	coap get -O large.bin coap://localhost/large
//	coap observe coap://localhost/time
//	coap ping coap://localhost
//	coap get --psk lamp-7:secret coaps://localhost/whoami
//	coap serve --loss 20% --delay 50ms
//	coap serve --psk lamp-7:secret
//	coap decode 44017d340f1e2d3cbb74656d7065726174757265
//	coap demo
//
// The body of a response goes to standard output as it is, everything else to standard
// error, first the response code. The exit status tells scripts the rest: 0 for 2.xx, 4 for
// 4.xx, 5 for 5.xx, 1 for a mistake in the command line, 2 for no answer, 130 when
// interrupted.
//
// Where to look:
//
//	main.go      the program as a function, exit status
//	root.go      the command tree and its help
//	failure.go   errors that say what is wrong and what to do
//	request.go   get, put, post, delete, fetch, patch, ipatch
//	transfer.go  bodies in blocks: one request with its streams
//	upload.go    where payloads come from
//	outlet.go    where bodies go; part.go has files that are not complete yet
//	progress.go  the line that shows how far a transfer is
//	observe.go   observe
//	target.go    which URIs can be asked
//	group.go     asking a group
//	discover.go  discover; links.go writes the links
//	options.go   -o NAME=VALUE
//	complete.go  completion in the shell
//	session.go   the endpoint behind a request or a ping
//	secure.go    credentials for coaps
//	ping.go      ping
//	output.go    code, options, body, --json
//	describe.go  messages in words
//	chart.go     the message chart of -v
//	decode.go    decode
//	serve.go     serve; resources.go has what it serves
//	join.go      membership in groups for serve
//	badnet.go    a network that loses and delays datagrams on purpose
//	demo.go      demo
//
// What is missing: TCP.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit status. Responses of class 4 and 5 give their class.
const (
	exitSuccess     = 0
	exitUsage       = 1
	exitNoAnswer    = 2
	exitInterrupted = 130 // as shells have it: 128 + SIGINT
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second ^C ends a program that hangs
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
	// late goes to err after everything else, so that the first line there is
	// the response code, or what went wrong.
	late bytes.Buffer
}

// run is the program without its process: it returns the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	s := &streams{in: in, out: out, err: errs}
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	status := reportFailure(errs, root.ExecuteContext(ctx))
	if s.late.Len() > 0 {
		fmt.Fprintf(errs, "\n%s", s.late.Bytes())
	}
	return status
}

// isTerminal reports whether people read what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
