package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport/dtls"
)

// explain says what an error means to somebody who talks to a gateway.
func (g *gatewayClient) explain(err error) error {
	if err == nil {
		return nil
	}
	at := g.as.Gateway
	if handshake, ok := errors.AsType[*dtls.HandshakeError](err); ok {
		return g.explainHandshake(handshake)
	}
	if answer, ok := errors.AsType[*coap.Error](err); ok {
		return explainCode(answer)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("no address for %s: write the IP address of the gateway; the router knows it (%w)", dns.Name, err)
	}
	switch {
	case errors.Is(err, coap.ErrUnreachable):
		return fmt.Errorf("no gateway at %s: is the address right? (%w)", at, err)
	case errors.Is(err, coap.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from %s: is the address right, is the gateway on the same network? (%w)", at, err)
	}
	return err
}

// explainHandshake says why there is no session.
func (g *gatewayClient) explainHandshake(err *dtls.HandshakeError) error {
	pairs := g.as.Identity == pairing
	switch err.Cause {
	case dtls.NoAnswer:
		return fmt.Errorf("no answer from %s: is the address right, is the gateway on the same network? (%w)", g.as.Gateway, err)
	case dtls.NotSent:
		return fmt.Errorf("no gateway at %s: is the address right? (%w)", g.as.Gateway, err)
	case dtls.WrongKey, dtls.UnknownIdentity, dtls.Refused:
		if pairs {
			return fmt.Errorf("the gateway does not accept the security code: capital I and small l look alike on the label (%w)", err)
		}
		return fmt.Errorf("the gateway does not know %s any more, or by another key; it forgets who was away for six weeks: pair again (%w)", g.as.Identity, err)
	}
	return fmt.Errorf("no secure connection to %s: %w", g.as.Gateway, err)
}

// explainCode says what an error code of a gateway means.
func explainCode(err *coap.Error) error {
	switch err.Code {
	case coap.Unauthorized, coap.Forbidden:
		return fmt.Errorf("the gateway does not allow that to us: pair again (%w)", err)
	case coap.NotFound:
		return fmt.Errorf("the gateway has nothing with this number: see devices and groups (%w)", err)
	case coap.BadRequest:
		return fmt.Errorf("the gateway does not understand the command, perhaps the device cannot do it (%w)", err)
	}
	return fmt.Errorf("the gateway has answered %w", err)
}
