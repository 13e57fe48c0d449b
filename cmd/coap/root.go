package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap/message"
)

const rootHelp = `coap talks to servers that speak CoAP (RFC 7252), the REST of small devices, over UDP,
and over DTLS where the URI begins with coaps.

The body of a response goes to standard output as it is, everything else to
standard error: first the response code, then the options, then what -v shows.

Exit status: 0 for 2.xx, 4 for 4.xx, 5 for 5.xx, 1 for a mistake in the command
line, 2 for no answer, 130 when interrupted.`

const rootExample = `  coap demo                                   see it work, message by message
  coap serve                                  a server to try things on
  coap discover coap://localhost              what it has
  coap get coap://localhost/time
  coap put -t text -p "hello" coap://localhost/text
  coap observe coap://localhost/time          what it says from now on
  coap get -v coap://localhost/slow           with a chart of all messages
  coap get --psk lamp-7:secret coaps://localhost/whoami`

// newRoot returns the tree of commands.
func newRoot(s *streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "coap",
		Short:         "Talk to CoAP servers, be one, read messages",
		Long:          rootHelp,
		Example:       rootExample,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		// Of unknownCommand: two typing errors are forgiven.
		SuggestionsMinimumDistance: 2,
		Args:                       unknownCommand,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v; %q lists the flags", err, cmd.CommandPath()+" --help")
	})
	root.Flags().Bool("version", false, "say which build this is") // without -v, which means verbose
	for _, m := range methods {
		root.AddCommand(newRequestCommand(s, m))
	}
	root.AddCommand(newObserveCommand(s), newDiscoverCommand(s), newPingCommand(s), newServeCommand(s), newDecodeCommand(s), newDemoCommand(s))
	return root
}

// unknownCommand explains an argument where a command should be.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if _, err := message.ParseURI(args[0]); err == nil {
		return usagef("what to do with %s? Write, for one: coap get %s", args[0], args[0])
	}
	names := root.SuggestionsFor(args[0])
	if len(names) == 0 {
		return usagef("unknown command %q; \"coap --help\" lists the commands", args[0])
	}
	return usagef("unknown command %q, did you mean %s?", args[0], strings.Join(names, " or "))
}

// oneURI wants one argument and says so in words.
func oneURI(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("the URI is missing, write: %s coap://host/path", cmd.CommandPath())
	case len(args) > 1:
		return usagef("want one URI, have %s; quote what belongs together", strings.Join(quoted(args), " and "))
	}
	return nil
}

// noArguments wants none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, have %s", cmd.CommandPath(), strings.Join(quoted(args), " "))
	}
	return nil
}

func quoted(args []string) []string {
	q := make([]string, len(args))
	for i, a := range args {
		q[i] = fmt.Sprintf("%q", a)
	}
	return q
}

// version says which build this is, as far as the build knows.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version + " " + info.GoVersion
}
