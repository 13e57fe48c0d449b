// Tradfri lists, switches, dims and watches the bulbs of an IKEA Tradfri gateway, which speaks CoAP over DTLS with
// pre-shared keys:
//
//	go run ./examples/tradfri pair 192.168.1.20        asks for the security code on the label of the gateway
//	go run ./examples/tradfri devices
//	go run ./examples/tradfri on 65537
//	go run ./examples/tradfri dim 65537 50%
//	go run ./examples/tradfri dim -over 3s group 131073 10
//	go run ./examples/tradfri watch 65537              a line for each change, until ^C
//
// Without a gateway, "go run ./examples/tradfri emulate" is one, with bulbs that give no light; pair with localhost then.
//
// # How a client gets its key
//
// The security code is good for one thing only: with the identity Client_identity and the code as key, a client may ask for
// an identity of its own, by POST of {"9090":"NAME"} to /15011/9063. The answer has the key of that
// name in "9091", once: asked again for the same name the gateway answers 4.00. "pair" does that, under a name that
// nobody else has unless -identity gives one, and keeps address, name and key in a file that only its owner can
// read, tradfri.json in the folder for configurations of the user, or where -file says. The security code is kept
// nowhere. It is read from standard input, since arguments show in the list of processes.
//
// A gateway forgets an identity that was not used for six weeks, and all of them when it is reset. It refuses the
// handshake then, and "pair" makes another.
//
// # What to know about the gateway
//
// It takes commands for bulbs that are without power, and says that they are not reachable only after it
// has tried. It promises that a state is good for a week unless it notifies, and forgets observers when it restarts; so
// "watch" asks every few minutes whether all is as it was told. It does not tell observers of a group about
// switching; "watch" is for bulbs.
//
// Where to look:
//
//	main.go         commands
//	client.go       requests to the gateway
//	watch.go        observing a bulb
//	credentials.go  the file
//	failure.go      errors that say what to do
//	emulate.go      the emulated gateway on a socket; package gateway has its resources
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/dtls"
)

const usage = `usage: tradfri [flags] COMMAND

  pair [-identity NAME] GATEWAY      get a key from a gateway, by its security code
  info                               who the gateway is
  devices                            list devices
  groups                             list groups
  on, off ID | group ID              switch a bulb or a group
  dim [-over TIME] ID | group ID LEVEL
                                     dim it to 50%, or 0 to 254
  watch ID                           a line for each change of a bulb
  emulate [-listen ADDRESS] [-code CODE]
                                     be a gateway

flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	p := &program{in: os.Stdin, out: os.Stdout, errs: os.Stderr, secure: dtls.Dialer}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// program is the program without its process.
type program struct {
	in        io.Reader
	out, errs io.Writer
	// secure returns what opens the transport of a client.
	secure func(*dtls.Config) func() (transport.Conn, error)

	file string        // of the credentials
	wait time.Duration // for an answer
}

// errUsage is a mistake in the command line that was reported.
var errUsage = errors.New("usage")

// run returns the exit status: 0, 1 if the command failed, 2 for a mistake in the command line.
func (p *program) run(ctx context.Context, args []string) int {
	flags := p.flags("tradfri", usage)
	flags.StringVar(&p.file, "file", "", "`file` with address, identity and key (default tradfri.json in the user's folder for configurations)")
	flags.DurationVar(&p.wait, "wait", 15*time.Second, "give up after this `time`")
	args, err := p.parse(flags, args, 0, len(args))
	if err == nil && p.file == "" {
		p.file, err = defaultFile()
	}
	if err == nil {
		err = p.command(ctx, args)
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintln(p.errs, "tradfri:", err)
	return 1
}

// flags returns a set of flags that reports mistakes as errUsage.
func (p *program) flags(name, help string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(p.errs)
	f.Usage = func() {
		fmt.Fprint(p.errs, help)
		f.PrintDefaults()
	}
	return f
}

// wrong reports a mistake in the command line.
func (p *program) wrong(format string, args ...any) error {
	fmt.Fprintf(p.errs, "tradfri: "+format+"; -help shows the commands\n", args...)
	return errUsage
}

// parse parses the flags of a command and returns its arguments, of which there have to be n, or up to as many.
func (p *program) parse(f *flag.FlagSet, args []string, least, most int) ([]string, error) {
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, errUsage
	}
	if n := f.NArg(); n < least || n > most {
		return nil, p.wrong("%s does not take %d arguments", f.Name(), n)
	}
	return f.Args(), nil
}

func (p *program) command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return p.wrong("what to do?")
	}
	name, args := args[0], args[1:]
	f := p.flags(name, "")
	switch name {
	case "pair":
		return p.pair(ctx, f, args)
	case "emulate":
		return p.emulate(ctx, f, args)
	case "on", "off", "dim":
		return p.change(ctx, f, args)
	case "watch":
		return p.watch(ctx, f, args)
	case "info", "devices", "groups":
		if _, err := p.parse(f, args, 0, 0); err != nil {
			return err
		}
		return p.show(ctx, name)
	}
	return p.wrong("unknown command %q", name)
}

// pair gets an identity from a gateway and keeps it.
func (p *program) pair(ctx context.Context, f *flag.FlagSet, args []string) error {
	identity := f.String("identity", "coapkit-"+rand.Text()[:8], "`name` under which the gateway shall know us")
	args, err := p.parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	at, err := parseGateway(args[0])
	if err != nil {
		return err
	}
	fmt.Fprint(p.errs, "Security code, as on the label under the gateway: ")
	code, err := readLine(p.in)
	if err != nil {
		return fmt.Errorf("cannot read the security code from standard input: %w", err)
	}
	// The gateway gives the key only once, so first of all there has to be a place to keep it.
	d, err := newDraft(p.file)
	if err != nil {
		return err
	}
	defer d.discard()
	g := p.dial(credentials{Gateway: at, Identity: pairing, Key: code})
	defer g.close()
	ctx, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	key, err := g.pair(ctx, *identity)
	if err != nil {
		return err
	}
	if err := d.keep(credentials{Gateway: at, Identity: *identity, Key: key}); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "paired with %s as %s, see %s\n", at, *identity, p.file)
	return nil
}

// readLine reads one line, not more than a code can be long, and returns what is printable at its ends.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < 100; {
		n, err := r.Read(b)
		if n == 1 && b[0] == '\n' || err == io.EOF && len(line) > 0 {
			break
		}
		if err != nil && n == 0 {
			return "", err
		}
		line = append(line, b[:n]...)
	}
	text := strings.TrimSpace(string(line))
	if text == "" {
		return "", errors.New("it is empty")
	}
	return text, nil
}

// open returns the gateway that was paired with.
func (p *program) open() (*gatewayClient, error) {
	c, err := load(p.file)
	if err != nil {
		return nil, err
	}
	return p.dial(c), nil
}

// show lists devices or groups, or says who the gateway is.
func (p *program) show(ctx context.Context, what string) error {
	g, err := p.open()
	if err != nil {
		return err
	}
	defer g.close()
	ctx, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	t := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	switch what {
	case "info":
		info, err := g.info(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(t, "gateway\t%s\nfirmware\t%s\ntime\t%v\n", printable(info.ID), printable(info.Firmware), time.Unix(info.Time, 0).Format(time.DateTime))
	case "devices":
		devices, err := g.devices(ctx)
		if err != nil {
			return err
		}
		for _, d := range devices {
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", d.ID, printable(d.Name), describe(&d), printable(d.Product.Model))
		}
	case "groups":
		groups, err := g.groups(ctx)
		if err != nil {
			return err
		}
		for _, group := range groups {
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", group.ID, printable(group.Name), describeState(group.State), strings.Trim(fmt.Sprint(group.Members.Link.IDs), "[]"))
		}
	}
	return t.Flush()
}

// change switches or dims.
func (p *program) change(ctx context.Context, f *flag.FlagSet, args []string) error {
	name, most := f.Name(), 2
	var over time.Duration
	if name == "dim" {
		most = 3
		f.DurationVar(&over, "over", 0, "take this `time`, in tenths of a second")
	}
	args, err := p.parse(f, args, most-1, most)
	if err != nil {
		return err
	}
	var c change
	if name == "dim" {
		c, err = dim(args[len(args)-1], over)
		args = args[:len(args)-1]
	} else {
		c = turn(name == "on")
	}
	if err != nil {
		return p.wrong("%v", err)
	}
	what, err := parseTarget(args)
	if err != nil {
		return p.wrong("%v", err)
	}
	g, err := p.open()
	if err != nil {
		return err
	}
	defer g.close()
	ctx, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	return g.change(ctx, what, c)
}
