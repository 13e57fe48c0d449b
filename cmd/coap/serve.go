package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"github.com/coapkit/coap/transport/udp"
)

const serveHelp = `Serve some resources to try clients on, until interrupted:

` + index + `
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
}

// defaultLeisure is DEFAULT_LEISURE (RFC 7252 section 4.8).
const defaultLeisure = 5 * time.Second

func newServeCommand(s *streams) *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:               "serve",
		Short:             "Serve some resources to try clients on",
		Long:              serveHelp,
		Example:           "  coap serve\n  coap serve --group --interface eth0\n  coap serve --listen 127.0.0.1:5683 --loss 20% --delay 50ms -v",
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
	socket, err := udp.Listen(f.listen, nil)
	if err != nil {
		return whyNotListening(f.listen, err)
	}
	groups, err := f.member.join(socket)
	if err != nil {
		socket.Close()
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
	conn, network := f.network(socket, watch)
	f.announce(s.err, conn.LocalAddr(), groups)
	server := coap.Server{Config: cfg, Groups: groups, Interfaces: f.member.links}
	server.Handler = newObservable(server.Notify)
	stop := tick(func() { server.Notify("/time") })
	err = server.Serve(ctx, conn)
	stop()
	f.report(s.err, server.Stats(), network)
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

// network puts a bad network in front of conn, if there is to be one.
func (f *serveFlags) network(conn transport.Conn, watch func(*transport.Datagram, bool, bool)) (transport.Conn, *badNetwork) {
	if !f.isBad() {
		return conn, nil
	}
	bad := newBadNetwork(conn, f.delay, randomLoss(float64(f.loss), f.seed), watch)
	return bad, bad
}

// announce says where the server is and what it has.
func (f *serveFlags) announce(w io.Writer, at netip.AddrPort, groups []netip.Addr) {
	host := at.Addr().String()
	if at.Addr().IsUnspecified() {
		host = "localhost"
	}
	a := coap.Authority{Scheme: "coap", Host: host, Port: at.Port()}
	fmt.Fprintf(w, "serving %v/ (on %v); end with ^C\n", a, at)
	f.member.announce(w, groups, at.Port())
	if f.isBad() {
		fmt.Fprintf(w, "bad network: loss %v, delay %v, seed %d\n", f.loss.String(), f.delay, f.seed)
	}
	fmt.Fprint(w, "\n"+index+"\n")
}

// report says what has happened.
func (f *serveFlags) report(w io.Writer, stats coap.Stats, network *badNetwork) {
	fmt.Fprintf(w, "requests: %d, duplicates: %d, separate responses: %d, retransmissions: %d\n", stats.Requests, stats.Duplicates, stats.Separate, stats.Retransmitted)
	if network != nil {
		lost, all := network.counts()
		fmt.Fprintf(w, "datagrams lost on purpose: %d of %d\n", lost, all)
	}
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
