package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/dtls"
	"github.com/coapkit/coap/transport/udp"
)

const serveHelp = `Serve some resources to try clients on, until interrupted:

` + index + `
--psk and --cert serve the same by coaps, over DTLS, on the next port: 5684. /whoami
tells clients who they have proven to be.

--group joins the groups of all CoAP nodes, so that coap discover coap://224.0.1.187
finds the server: 224.0.1.187, ff02::fd and ff05::fd, on all interfaces or those that
--interface names. What is asked of a group is answered after a random time, so that not
all members answer at once; --leisure says within which.

--loss and --delay put a bad network in front of the server: each datagram, in both
directions, is lost with that probability and takes that much longer. -v shows what
was sent, received and lost. All output goes to standard error. Being interrupted is the
usual end: the exit status is 0 then.`

type serveFlags struct {
	listen  string
	member  membership
	leisure time.Duration
	prove   string
	loss    share
	delay   time.Duration
	seed    uint64
	verbose bool
	secure  security
}

// defaultLeisure is DEFAULT_LEISURE (RFC 7252 section 4.8).
const defaultLeisure = 5 * time.Second

func newServeCommand(s *streams) *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:               "serve",
		Short:             "Serve some resources to try clients on",
		Long:              serveHelp,
		Example:           "  coap serve\n  coap serve --psk lamp-7:secret\n  coap serve --group --interface eth0\n  coap serve --listen 127.0.0.1:5683 --loss 20% --delay 50ms -v",
		Args:              noArguments,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				flags.seed = rand.Uint64()
			}
			return flags.run(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&flags.listen, "listen", "l", ":5683", "listen on this `address`, host:port; without host on all addresses,\nport 0 lets the system choose")
	flags.secure.registerServer(cmd)
	flags.member.register(cmd)
	f.DurationVar(&flags.leisure, "leisure", defaultLeisure, "with --group, answer a group within this time; 0 is at once")
	f.StringVar(&flags.prove, "prove", "large", "`when` clients have to prove their address: large, before large answers\nand observing; always; off, for those that do not know the Echo option;\n")
	f.Var(&flags.loss, "loss", "lose this share of all datagrams, 20% or 0.2")
	f.DurationVar(&flags.delay, "delay", 0, "delay each datagram by this much, such as 50ms")
	f.Uint64Var(&flags.seed, "seed", 0, "lose the same datagrams each time (random if not given)")
	f.BoolVarP(&flags.verbose, "verbose", "v", false, "show a chart of all messages")
	must(cmd.RegisterFlagCompletionFunc("prove", cobra.FixedCompletions([]string{"large", "always", "off"}, cobra.ShellCompDirectiveNoFileComp)))
	for _, name := range [...]string{"listen", "leisure", "loss", "delay", "seed"} {
		must(cmd.RegisterFlagCompletionFunc(name, noCompletion))
	}
	return cmd
}

// run serves until ctx ends.
func (f *serveFlags) run(ctx context.Context, s *streams) error {
	if f.delay < 0 || f.delay > time.Minute {
		return usagef("--delay %v: want 0 to 1m", f.delay)
	}
	if f.leisure < 0 || f.leisure > time.Minute {
		return usagef("--leisure %v: want 0 to 1m", f.leisure)
	}
	proof, ok := map[string]echo.Mode{"large": echo.Large, "always": echo.Always, "off": echo.Off}[f.prove]
	if !ok {
		return usagef("--prove %s: want large, always or off", f.prove)
	}
	if err := f.member.check(f.listen); err != nil {
		return err
	}
	at, err := f.open()
	if err != nil {
		return err
	}
	defer at.keylog.Close()
	groups, err := f.member.join(at.plain)
	if err != nil {
		at.close()
		return err
	}
	cfg := &coap.Config{Params: coap.Params{DefaultLeisure: f.leisure}}
	cfg.ServeEcho.Mode = proof
	if f.leisure == 0 {
		cfg.Params.DefaultLeisure = -1 // no delay
	}
	var watch func(*transport.Datagram, bool, bool)
	if f.verbose {
		chart := newChart(s.err, "", "this server")
		chart.lossy = f.isBad()
		cfg.Trace, watch = chart.trace, chart.fate
	}
	conns, networks, err := f.transports(at, watch)
	if err != nil {
		at.close()
		return err
	}
	f.announce(s.err, addresses(conns), groups)
	if at.cfg != nil {
		announcePins(s.err, at.cfg)
	}
	server := coap.Server{Config: cfg, Groups: groups, Interfaces: f.member.links}
	server.Handler = newObservable(server.Notify)
	stop := tick(func() { server.Notify("/time") })
	err = server.Serve(ctx, conns...)
	stop()
	f.report(s.err, server.Stats(), networks)
	if err != nil {
		return noAnswerf("the server failed: %v", err)
	}
	return nil
}

// tick calls notify each second until stop is called, which waits for the last call.
func tick(notify func()) (stop func()) {
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				notify()
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		done.Wait()
	}
}

// isBad reports whether there is to be a bad network.
func (f *serveFlags) isBad() bool { return f.loss > 0 || f.delay > 0 }

// sockets are what to serve on.
type sockets struct {
	plain, secured *udp.Conn    // secured is nil without DTLS
	cfg            *dtls.Config // of secured
	keylog         io.Closer
}

func (s *sockets) close() {
	s.plain.Close()
	if s.secured != nil {
		s.secured.Close()
	}
}

// open opens the sockets.
func (f *serveFlags) open() (at sockets, err error) {
	at.keylog = io.NopCloser(nil)
	if f.secure.isGiven() {
		if at.cfg, at.keylog, err = f.secure.server(); err != nil {
			return at, err
		}
	}
	if at.plain, err = udp.Listen(f.listen, nil); err != nil {
		at.keylog.Close()
		return at, whyNotListening(f.listen, err)
	}
	if at.cfg == nil {
		return at, nil
	}
	next, err := nextPort(f.listen, at.plain.LocalAddr().Port())
	if err == nil {
		if at.secured, err = udp.Listen(next, nil); err != nil {
			err = whyNotListening(next, err)
		}
	}
	if err != nil {
		at.plain.Close()
		at.keylog.Close()
	}
	return at, err
}

// nextPort returns the address to listen on for coaps, if coap has port: the next one, or any if that was to
// be any.
func nextPort(listen string, port uint16) (string, error) {
	host, text, err := net.SplitHostPort(listen)
	switch {
	case err != nil:
		return "", usagef("--listen %s: want host:port", listen)
	case text == "0":
		return listen, nil
	case port == math.MaxUint16:
		return "", usagef("--listen %s: coaps takes the next port, and there is none after %d", listen, port)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)+1)), nil
}

// transports puts DTLS and the bad network, if there is to be one, on the sockets.
func (f *serveFlags) transports(at sockets, watch func(*transport.Datagram, bool, bool)) (conns []transport.Conn, networks []*badNetwork, err error) {
	conns = []transport.Conn{at.plain}
	if at.secured != nil {
		conns = append(conns, at.secured)
	}
	if f.isBad() {
		for i, conn := range conns {
			if i == 1 {
				watch = nil // nobody can read what is encrypted
			}
			bad := newBadNetwork(conn, f.delay, randomLoss(float64(f.loss), f.seed+uint64(i)), watch)
			conns[i], networks = bad, append(networks, bad)
		}
	}
	if at.secured == nil {
		return conns, networks, nil
	}
	secure, err := dtls.New(conns[1], at.cfg)
	if err != nil {
		return nil, nil, usagef("%s", plain(err))
	}
	conns[1] = secure
	return conns, networks, nil
}

func addresses(conns []transport.Conn) []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(conns))
	for i, c := range conns {
		addrs[i] = c.LocalAddr()
	}
	return addrs
}

// announce says where the server is and what it has. The second address is that of coaps.
func (f *serveFlags) announce(w io.Writer, addrs []netip.AddrPort, groups []netip.Addr) {
	for i, at := range addrs {
		host := at.Addr().String()
		if at.Addr().IsUnspecified() {
			host = "localhost"
		}
		a := coap.Authority{Scheme: [...]string{"coap", "coaps"}[i], Host: host, Port: at.Port()}
		fmt.Fprintf(w, "serving %v/ (on %v); end with ^C\n", a, at)
	}
	f.member.announce(w, groups, addrs[0].Port())
	if f.isBad() {
		fmt.Fprintf(w, "bad network: loss %v, delay %v, seed %d\n", f.loss.String(), f.delay, f.seed)
	}
	fmt.Fprint(w, "\n"+index+"\n")
}

// announcePins says how clients can trust the server without any authority.
func announcePins(w io.Writer, cfg *dtls.Config) {
	for _, c := range cfg.Certificates {
		fmt.Fprintf(w, "certificate of %q, for clients with --pin %x\n", c.Leaf.Subject, dtls.Pin(c.Leaf))
	}
}

// report says what has happened.
func (f *serveFlags) report(w io.Writer, stats coap.Stats, networks []*badNetwork) {
	fmt.Fprintf(w, "requests: %d, duplicates: %d, separate responses: %d, retransmissions: %d\n", stats.Requests, stats.Duplicates, stats.Separate, stats.Retransmitted)
	if len(networks) == 0 {
		return
	}
	var lost, all uint64
	for _, network := range networks {
		l, a := network.counts()
		lost, all = lost+l, all+a
	}
	fmt.Fprintf(w, "datagrams lost on purpose: %d of %d\n", lost, all)
}

// whyNotListening says why an address cannot be listened on and what to do.
func whyNotListening(address string, err error) error {
	if _, _, bad := net.SplitHostPort(address); bad != nil {
		return usagef("--listen %s: want host:port, such as :5683 or [::1]:5683", address)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return usagef("--listen %s: another program listens there: end it, or take another port; 0 lets the system choose", address)
	}
	return usagef("--listen %s: %v", address, err)
}

// share is a flag for a probability: 20% or 0.2.
type share float64

// String returns the share in per cent.
func (s *share) String() string { return strconv.FormatFloat(float64(*s)*100, 'g', 6, 64) + "%" }

// Type is the word for the value in the help text.
func (s *share) Type() string { return "share" }

// Set reads a share.
func (s *share) Set(text string) error {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return fmt.Errorf("want 0%% to 100%%, or 0 to 1")
	}
	*s = share(v)
	return nil
}
