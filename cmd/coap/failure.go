package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/dtls"
)

// failure is an error with an exit status. Its text says what is wrong and what to do, in
// one line.
type failure struct {
	status int
	text   string // empty: everything was said
}

func (f *failure) Error() string { return f.text }

// usagef is a mistake in the command line.
func usagef(format string, args ...any) error {
	return &failure{exitUsage, fmt.Sprintf(format, args...)}
}

// reportFailure writes what err says and returns the exit status. Errors of the flag
// parser are mistakes in the command line.
func reportFailure(w io.Writer, err error) int {
	if err == nil {
		return exitSuccess
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{exitUsage, err.Error()}
	}
	if f.text != "" {
		fmt.Fprintln(w, "coap:", f.text)
	}
	return f.status
}

// whyNoAnswer turns the error of a request or a ping to server into a failure. wait is how
// long the caller was ready to wait, 0 if he left it to the library; stats are those of an
// endpoint that did nothing else.
func whyNoAnswer(err error, server string, wait time.Duration, stats coap.Stats) error {
	var dns *net.DNSError
	var said *failure
	var broken *blockwise.Error
	var handshake *dtls.HandshakeError
	switch {
	case errors.As(err, &said): // by what is read or written
		return said
	case errors.As(err, &handshake): // some match context.DeadlineExceeded
		return whyNoSession(handshake, server)
	case errors.Is(err, context.Canceled):
		return &failure{exitInterrupted, "interrupted"}
	case errors.Is(err, context.DeadlineExceeded) && errors.As(err, &broken) && broken.Position.Offset > 0:
		return noAnswerf("the transfer with %s was not over within %v: wait longer with -B", server, wait)
	case errors.Is(err, context.DeadlineExceeded) && stats.Received > 0:
		return noAnswerf("%s is there, but did not answer within %v: wait longer with -B; -v shows what it sent", server, wait)
	case errors.Is(err, context.DeadlineExceeded):
		return noAnswerf("no answer from %s within %v: is it running, is the address right? -B waits longer, -v shows what was sent", server, wait)
	case errors.As(err, &dns):
		return noAnswerf("no address for host %q (%s): check the name, or write an IP address", dns.Name, dns.Err)
	case errors.Is(err, coap.ErrTooLarge) && !errors.Is(err, coap.ErrResponseTooLarge):
		return usagef("the request does not fit into one datagram of 1152 bytes: send a shorter payload or fewer options")
	}
	var end coap.EndError
	if errors.As(err, &broken) && !errors.As(err, &end) {
		return whyBroken(broken, server)
	}
	if !errors.As(err, &end) {
		return usagef("%s", plain(err))
	}
	return noAnswerf("%s", endText(end, err, server))
}

func noAnswerf(format string, args ...any) error {
	return &failure{exitNoAnswer, fmt.Sprintf(format, args...)}
}

// endText says for an exchange that ended without a response what happened and what to do.
func endText(end coap.EndError, err error, server string) string {
	switch end {
	case coap.ErrNotAcknowledged:
		return "no answer from " + server + ", though the message was repeated: is it running, is the address right, does a firewall drop UDP?"
	case coap.ErrNoSeparateResponse:
		return server + " acknowledged the request, but never sent the response: ask again"
	case coap.ErrNotAnswered:
		return "no answer from " + server + ": a non-confirmable request is sent only once, so ask again, or without -N"
	case coap.ErrReset:
		return server + " rejected the message with a Reset: it speaks CoAP, but has no use for this; -v shows the exchange"
	case coap.ErrBadOption:
		return "the response of " + server + " has a critical option that this program does not understand, so it was rejected; -v shows it"
	case coap.ErrResponseTooLarge:
		return "the response of " + server + " does not fit into one datagram: ask for less"
	case coap.ErrUnreachable:
		return unreachable(err, server)
	case coap.ErrSessionEnded:
		return "the secure session with " + server + " ended before there was an answer; the server may have done what was asked: ask again"
	}
	return plain(err)
}

// whyNoSession says why there is no secure session with server.
func whyNoSession(err *dtls.HandshakeError, server string) error {
	switch err.Cause {
	case dtls.NoAnswer:
		return noAnswerf("no answer from %s: is it running, is the address right, does it speak DTLS on this port? The default port of coaps is 5684", server)
	case dtls.Unfinished:
		return noAnswerf("%s stopped answering in the middle of the handshake: try again; if it stays so, it may want other credentials, --psk or --ca and --cert", server)
	case dtls.NotSent:
		return noAnswerf("%s", unreachable(err.Err, server))
	case dtls.WrongKey:
		return noAnswerf("%s has another key for this identity, or none: check --psk", server)
	case dtls.UnknownIdentity:
		return noAnswerf("%s does not know this identity: check --psk", server)
	case dtls.NoCredentials:
		return usagef("nothing to prove to %s who we are: --psk IDENTITY:KEY, or --cert FILE", server)
	case dtls.NoCommonSuite:
		return noAnswerf("%s shares no cipher suite with us: it may want a pre-shared key (--psk) where we have certificates (--ca, --pin, --cert), or the other way round", server)
	case dtls.CertificateExpired:
		return noAnswerf("the certificate of %s is not valid now%s: renew it, or check the clock", server, inBrackets(err.Err))
	case dtls.CertificateName:
		return noAnswerf("the certificate of %s is for somebody else%s: write the URI with the name in it, or trust its key with --pin", server, inBrackets(err.Err))
	case dtls.CertificateUntrusted:
		return noAnswerf("the certificate of %s is signed by nobody whom we trust%s: --ca FILE says whom to trust, --pin trusts this key only", server, inBrackets(err.Err))
	case dtls.CertificateRefused:
		return noAnswerf("%s wants a certificate of ours, or another one: --cert FILE --key FILE", server)
	case dtls.Refused:
		return noAnswerf("%s refused the handshake%s", server, inBrackets(err.Err))
	}
	return noAnswerf("no secure session with %s: %s", server, plain(err))
}

// inBrackets returns the text of an error with more about something, if there is one.
func inBrackets(err error) string {
	if err == nil {
		return ""
	}
	return " (" + plain(err) + ")"
}

// unreachable says why the network refused.
func unreachable(err error, server string) string {
	detail, port := "", "5683"
	if strings.HasPrefix(server, "coaps:") {
		port = "5684"
	}
	var op *coap.OpError
	if errors.As(err, &op) {
		if op.Cause != nil {
			detail = op.Cause.Error()
		}
		if op.Peer.IsValid() {
			server = op.Peer.String()
		}
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "nothing listens at " + server + " (connection refused): start the server, or check address and port; the default port is " + port
	}
	return strings.TrimSuffix("cannot reach "+server+": "+detail, ": ") + "; check the address and the network"
}

// whyBadURI says what is wrong with a URI.
func whyBadURI(err error) error {
	var bad *message.URIError
	if errors.As(err, &bad) && bad.URI != "" {
		return usagef("%q is no CoAP URI: %s", bad.URI, bad.Reason)
	}
	return usagef("%s", plain(err))
}

// plain is the text of an error without the names of packages in front.
func plain(err error) string {
	text := err.Error()
	for _, prefix := range [...]string{"coap: ", "message: ", "dtls: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}
