package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/examples/tradfri/gateway"
	"github.com/coapkit/coap/transport/dtls"
)

// emulate is a gateway until ctx ends.
func (p *program) emulate(ctx context.Context, f *flag.FlagSet, args []string) error {
	listen := f.String("listen", ":5684", "`address` to listen on, host:port; without host all addresses")
	code := f.String("code", "0123456789abcdef", "security `code`; anybody knows the default one")
	if _, err := p.parse(f, args, 0, 0); err != nil {
		return err
	}
	g := gateway.New(*code)
	conn, err := dtls.Listen(*listen, &dtls.Config{PSK: g.Key})
	if err != nil {
		return err
	}
	var server coap.Server
	server.Handler = g.Handler(server.Notify)
	bulbs := []int{
		g.AddBulb("Hall", "TRADFRI bulb E27 W opal 1000lm"),
		g.AddBulb("Kitchen", "TRADFRI bulb E27 WS opal 980lm"),
		g.AddBulb("Cellar", "TRADFRI bulb GU10 WS 400lm"),
	}
	g.AddGroup("Upstairs", bulbs[0], bulbs[1])
	g.SetPower(bulbs[2], false) // to see what happens to those
	fmt.Fprintf(p.out, "a gateway on %v; its security code is %s; the bulb in the cellar has no power\n", conn.LocalAddr(), *code)
	return server.Serve(ctx, conn)
}
