package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/transport/dtls"
)

// transfer are the flags about bodies that take several messages.
type transfer struct {
	blockSize int
	ahead     int
	output    string
}

// The sizes of blocks (RFC 7959 section 2.2).
const (
	smallestBlock = 16
	largestBlock  = 1024
)

const mostBlocks = 64 // at a time

func (x *transfer) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVarP(&x.blockSize, "block-size", "b", 0, "send and ask for bodies in blocks of this many `bytes`, 16, 32, 64\nto 1024; without it, up to 1024 are sent and the server chooses")
	f.IntVar(&x.ahead, "ahead", 1, "ask for up to this `number` of blocks of a long body at a time, 1 to\n64 (NSTART), where the network has room for them")
	f.StringVarP(&x.output, "output", "O", "", "write the body of the response to a `file` as it arrives;\n- is standard output")
	must(cmd.RegisterFlagCompletionFunc("block-size", completeBlockSize))
	must(cmd.RegisterFlagCompletionFunc("ahead", noCompletion))
}

// check compares the flags with others and with the target.
func (x *transfer) check(cmd *cobra.Command, t target, asJSON bool) error {
	given := cmd.Flags().Changed
	switch n := x.blockSize; {
	case given("block-size") && (n < smallestBlock || n > largestBlock || n&(n-1) != 0):
		return usagef("-b %d: want a power of two from 16 to 1024: 16, 32, 64, 128, 256, 512 or 1024", n)
	case x.ahead < 1 || x.ahead > mostBlocks:
		return usagef("--ahead %d: want 1 to %d blocks", x.ahead, mostBlocks)
	case !given("output"):
		return nil
	case x.output == "":
		return usagef("-O: the name of the file is empty; - is standard output")
	case t.isGroup():
		return usagef("-O is for one body, and the members of %v have one each: leave it out", t)
	case x.output == "-" && asJSON:
		return usagef("--json and -O - both want standard output: give -O a file, or leave one out")
	}
	return nil
}

// outlet opens what the body goes to; nil gathers it in memory.
func (x *transfer) outlet(s *streams, uri string, req *coap.Request, asJSON bool) (outlet, error) {
	switch {
	case x.output == "" && asJSON:
		return nil, nil
	case x.output == "":
		return &pipe{w: s.out, hold: heldBack}, nil
	case x.output == "-":
		return &pipe{w: s.out}, nil
	case isSpecial(x.output):
		f, err := os.OpenFile(x.output, os.O_WRONLY, 0)
		if err != nil {
			return nil, usagef("-O %s: %v", x.output, err)
		}
		return &pipe{w: f}, nil // the end of the program closes it
	}
	if info, err := os.Stat(x.output); err == nil && info.IsDir() {
		return nil, usagef("-O %s: this is a folder, want a file", x.output)
	}
	return openPart(x.output, uri, req)
}

// delivery is a request to one server with the streams that its bodies come from and go to.
type delivery struct {
	to  target
	req *coap.Request
	src *source // nil: Payload of req
	out outlet  // nil: Payload of the response
}

// maxRestarts is how often a body may change on the way before it is given up.
const maxRestarts = 3

// deliver sends the request and waits for the response and all of its body. It closes the
// session.
func (f *requestFlags) deliver(ctx context.Context, s *streams, session *session, d *delivery) (*answer, error) {
	defer session.close()
	ctx, cancel, wait := f.limit(ctx)
	defer cancel()
	began := time.Now()
	progress := f.bar(s, d, began)
	defer progress.stop()
	d.prepare(f.blockSize, progress)
	for tries := 0; ; tries++ {
		a := &answer{resp: new(coap.Response)}
		err := session.send(ctx, d, a.resp)
		a.elapsed = time.Since(began)
		if tries < maxRestarts && d.startsAgain(a.resp, err) {
			continue
		}
		progress.stop()
		if err != nil {
			return nil, d.why(whyNoAnswer(err, d.to.String(), wait, session.ep.Stats()), err)
		}
		return a, nil
	}
}

// bar returns the bar of a transfer, nil if nobody would see it, or something else is on the
// terminal meanwhile.
func (f *requestFlags) bar(s *streams, d *delivery, now time.Time) *bar {
	if f.json || f.verbose || !isTerminal(s.err) {
		return nil
	}
	var before int64
	if d.out != nil {
		before = d.out.position().Offset
	}
	b := newBar(s.err, now, before)
	if o, ok := d.out.(*pipe); ok && isTerminal(o.w) {
		o.begin = b.stop
	}
	return b
}

// prepare makes the request one about streams.
func (d *delivery) prepare(blockSize int, progress *bar) {
	x := &coap.Transfer{BlockSize: blockSize}
	if d.out != nil {
		x.Sink, x.Resume = d.out, d.out.position()
	}
	if progress != nil {
		x.Progress = func(p coap.Progress) { progress.update(time.Now(), p) }
	}
	d.req.Transfer = x
}

// startsAgain reports whether the body has changed and is to be had from its beginning.
func (d *delivery) startsAgain(resp *coap.Response, err error) bool {
	resumed := d.req.Transfer.Resume.Offset > 0
	switch {
	case d.out == nil || !isSafe(d.req.Code):
		return false
	case errors.Is(err, blockwise.ErrBodyChanged):
	case err == nil && resumed && hasRestCause(resp):
	default:
		return false
	}
	why := "the body has changed on the way"
	if resumed {
		why = "the body has changed since the earlier try"
	}
	if !d.src.again() || !d.out.rewind(why) {
		return false
	}
	d.req.Transfer.Resume = coap.Position{}
	return true
}

// why adds to a failure how far the transfer has come, and what to do about it.
func (d *delivery) why(failed, err error) error {
	var at *coap.Position
	var broken *blockwise.Error
	if errors.As(err, &broken) {
		at = &broken.Position
	}
	hint := ""
	if d.out != nil {
		hint = d.out.breakOff(at)
	}
	f, ok := failed.(*failure)
	if !ok {
		return failed
	}
	if at != nil && at.Offset > 0 && hint == "" {
		hint = "it broke off at byte " + strconv.FormatInt(at.Offset, 10)
		if at.Upload {
			hint += " of the payload"
		}
	}
	if hint == "" {
		return f
	}
	return &failure{f.status, f.text + "; " + hint}
}

// whyBroken says why a transfer in blocks failed, for other reasons than the end of an exchange.
func whyBroken(broken *blockwise.Error, server string) error {
	switch broken.Reason {
	case blockwise.ErrBodyChanged:
		return noAnswerf("the body changed while %s sent it: ask again", server)
	case blockwise.ErrIncomplete:
		return noAnswerf("%s loses what it was sent before it has all: send it again", server)
	case blockwise.ErrNoRestart:
		return noAnswerf("%s wants the payload from its beginning, and a stream cannot be read again: send it again, best from a file", server)
	case blockwise.ErrTooLarge:
		return noAnswerf("the body that %s sends exceeds 16 MiB, which is too much for one piece: -O FILE has room for it", server)
	case blockwise.ErrBody:
		return usagef("the payload cannot be read: %v", broken.Err)
	case blockwise.ErrTooLong:
		return usagef("this takes more blocks than can be numbered, 1048576: a larger -b, or a shorter payload")
	}
	return noAnswerf("%s: %s", server, plain(broken))
}

// send sends the request of a delivery. A server that has a name may have several addresses; the
// next is asked only if nothing has been moved yet, since streams cannot be moved twice.
func (s *session) send(ctx context.Context, d *delivery, resp *coap.Response) error {
	if d.to.addr.IsValid() {
		return s.client.Do(ctx, d.req, resp)
	}
	host := d.to.authority.Host
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	err = &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	for i, a := range addrs {
		r := *d.req
		r.To = netip.AddrPortFrom(a.Unmap(), d.to.authority.Port)
		err = s.client.Do(ctx, &r, resp)
		if err == nil || i+1 == len(addrs) || !d.mayGoElsewhere(err) {
			break
		}
	}
	return err
}

// mayGoElsewhere reports whether another address may be asked after an error: what was not delivered
// may go there, what was perhaps delivered only if doing it twice does no harm.
func (d *delivery) mayGoElsewhere(err error) bool {
	var broken *blockwise.Error
	if errors.As(err, &broken) && broken.Position.Offset > d.req.Transfer.Resume.Offset {
		return false
	}
	undelivered := errors.Is(err, coap.ErrUnreachable) || isUnconnected(err) || errors.Is(err, coap.ErrNotAcknowledged) && d.req.Code.IsIdempotent()
	return undelivered && d.src.again()
}

// isUnconnected reports whether nobody was there to connect to.
func isUnconnected(err error) bool {
	var handshake *dtls.HandshakeError
	return errors.As(err, &handshake) && (handshake.Timeout() || handshake.Cause == dtls.NotSent)
}

// completeBlockSize proposes the sizes there are.
func completeBlockSize(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var sizes []cobra.Completion
	for n := smallestBlock; n <= largestBlock; n *= 2 {
		sizes = append(sizes, fmt.Sprint(n))
	}
	return sizes, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
