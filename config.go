package coap

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/engine"
	"github.com/coapkit/coap/internal/entropy"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport"
)

// Config configures an [Endpoint], and with it a [Server] or a [Client]. The zero value is
// ready to use, and so is a nil pointer. It must not be changed once it is in use.
type Config struct {
	// Params are the transmission parameters of RFC 7252 section 4.8.
	Params Params
	// ParamsFor, if not nil, returns the parameters for requests to a destination, or nil
	// for Params. It may be called concurrently.
	ParamsFor func(to netip.AddrPort) *Params
	// Limits bound what is kept in memory.
	Limits Limits
	// ServeBlocks and SendBlocks configure how bodies that do not fit one message are received
	// and sent, in the role of the server and of the client (RFC 7959). BlockSize defaults to
	// what fits Limits.MessageSize, Lifetime to EXCHANGE_LIFETIME of Params, for a server plus
	// MAX_TRANSMIT_WAIT; Mode is set by the routes of a Mux, NStart by Params and ParamsFor.
	ServeBlocks blockwise.ServerConfig
	SendBlocks  blockwise.ClientConfig
	// ServeObserve and SendObserve configure observation, in the role of the server and of the
	// client (RFC 7641). Observable is set by the routes of a Mux; other handlers have to say
	// what is observable. Complete is set.
	ServeObserve observe.ServerConfig
	SendObserve  observe.ClientConfig
	// ServeEcho says when peers have to prove that their address is not forged (RFC 9175
	// section 2): by default before they get long answers and before they observe. Clients that
	// do not know the Echo option want it off. AckDelay is set.
	ServeEcho echo.ServerConfig
	// Options, if not nil, knows options besides the registered ones.
	Options *message.Registry
	// Secure, if not nil, opens the transport for coaps URIs, which has to be a transport.Dialer, with the first such
	// request of a [Client] that has no Endpoint; the client closes it. Package transport/dtls has one. Without it, such a
	// request is an error.
	Secure func() (transport.Conn, error)
	// Placement is that of the routes, and of handlers that are no Mux, whose own is Adaptive.
	Placement Placement
	// Logger gets errors of handlers, panics, and failures of the transport; at level
	// debug it gets every trace event. Nil is silent.
	Logger *slog.Logger
	// Trace, if not nil, gets every datagram and what became of it, one event at a time and
	// in order. It delays sending while it runs and must not call the endpoint.
	Trace func(TraceEvent)
}

func (c *Config) orDefault() *Config {
	if c == nil {
		return &Config{}
	}
	return c
}

func (c *Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// debug reports whether trace events go to the logger.
func (c *Config) debug() bool {
	return c.Logger != nil && c.Logger.Enabled(context.Background(), slog.LevelDebug)
}

// engine returns the configuration of the message layer, with a seed that nobody can guess,
// since tokens come from it (RFC 7252 section 11.4).
func (c *Config) engine() engine.Config {
	e := engine.Config{
		Params: c.Params, Limits: c.Limits, Trace: c.Trace != nil || c.debug(), LimitUnverified: c.ServeEcho.Mode != echo.Off,
	}
	entropy.Read(e.Seed[:])
	return e
}

// blocks returns the configurations of block-wise transfer for a handler, with defaults that
// fit the rest.
func (c *Config) blocks(h Handler) (blockwise.ServerConfig, blockwise.ClientConfig) {
	s, cl := c.ServeBlocks, c.SendBlocks
	// Header, token and options of usual length want some 128 bytes besides the block
	// (RFC 7252 section 4.6).
	fits := max(c.Limits.WithDefaults().MessageSize-128, 16)
	for _, size := range [...]*int{&s.BlockSize, &cl.BlockSize} {
		if *size == 0 {
			*size = min(fits, 1024)
		}
	}
	if cl.NStart == nil {
		cl.NStart = c.nstart
	}
	p := c.Params.WithDefaults()
	if cl.Lifetime == 0 {
		cl.Lifetime = p.ExchangeLifetime()
	}
	if s.Lifetime == 0 {
		// A client that has used up its message IDs pauses for EXCHANGE_LIFETIME, and its
		// next block may need all retransmissions.
		s.Lifetime = p.ExchangeLifetime() + p.MaxTransmitWait()
	}
	if s.Logger == nil {
		s.Logger = c.Logger
	}
	if m, ok := h.(router); ok && s.Mode == nil {
		s.Mode = m.bodyMode
	}
	return s, cl
}

// echo returns the configuration of challenges.
func (c *Config) echo() echo.ServerConfig {
	s := c.ServeEcho
	s.AckDelay = c.Params.WithDefaults().EmptyAckDelay
	return s
}

// observe returns the configuration of observation for a handler.
func (c *Config) observe(h Handler) observe.ServerConfig {
	s := c.ServeObserve
	if s.Logger == nil {
		s.Logger = c.Logger
	}
	if s.Leisure == 0 {
		s.Leisure = c.Params.WithDefaults().DefaultLeisure
	}
	if s.Observable == nil {
		// An observer that nobody notifies would wait for ever.
		s.Observable = func(*Request) bool { return false }
		if m, ok := h.(router); ok {
			s.Observable = m.observable
		}
	}
	return s
}

func (c *Config) validate() error {
	if err := c.Params.Validate(); err != nil {
		return err
	}
	if c.Placement > OnWorker {
		return errors.New("coap: Config.Placement is none of Adaptive, Inline and OnWorker")
	}
	return c.Limits.Validate()
}

// nstart returns NSTART for a request.
func (c *Config) nstart(req *exchange.Request) int {
	p := &c.Params
	if to, err := destination(req); err == nil {
		if own, err := c.paramsFor(to, req); err == nil && own != nil {
			p = own
		}
	}
	return p.WithDefaults().NStart
}

func (c *Config) paramsFor(to netip.AddrPort, req *exchange.Request) (*Params, error) {
	p := req.Params
	if p == nil && c.ParamsFor != nil {
		p = c.ParamsFor(to)
	}
	if p == nil {
		return nil, nil
	}
	return p, p.Validate()
}
