package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/examples/tradfri/ipso"
	"github.com/coapkit/coap/transport/dtls"
)

const pairing = ipso.PairingIdentity

const securePort = 5684

// gatewayClient asks one gateway.
type gatewayClient struct {
	client *coap.Client
	as     credentials
}

// dial returns a client for a gateway. It connects with the first request.
func (p *program) dial(c credentials) *gatewayClient {
	host, port, _ := net.SplitHostPort(c.Gateway)
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		host, n = c.Gateway, securePort
	}
	secure := p.secure(&dtls.Config{Credentials: dtls.PSK(c.Identity, []byte(c.Key))})
	return &gatewayClient{as: c, client: &coap.Client{
		Base:   coap.Authority{Scheme: "coaps", Host: host, Port: uint16(n)},
		Config: &coap.Config{Secure: secure},
	}}
}

func (g *gatewayClient) close() { g.client.Close() }

// parseGateway checks an address, and adds the port where it is missing.
func parseGateway(address string) (string, error) {
	if strings.Contains(address, "/") {
		return "", fmt.Errorf("%q: want the host name or address of the gateway, without coaps://", address)
	}
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address, nil
	}
	host := strings.Trim(address, "[]")
	if _, err := netip.ParseAddr(host); err != nil && strings.Contains(host, ":") || host == "" {
		return "", fmt.Errorf("%q: want the host name or address of the gateway", address)
	}
	return net.JoinHostPort(host, strconv.Itoa(securePort)), nil
}

// pair gets the key of a new identity.
func (g *gatewayClient) pair(ctx context.Context, identity string) (key string, err error) {
	body, err := json.Marshal(ipso.Pair{Identity: identity})
	if err != nil {
		return "", err
	}
	resp, err := g.client.Post(ctx, ipso.Pairing, coap.JSON, body)
	if err != nil {
		return "", g.explain(err)
	}
	if resp.Code == coap.BadRequest {
		return "", fmt.Errorf("the gateway gives no key to %s, probably because it has given one before: take another name with -identity, or none", identity)
	}
	var p ipso.Paired
	if err := g.decode(resp, &p); err != nil {
		return "", err
	}
	if p.Key == "" {
		return "", errors.New("the gateway has answered without a key")
	}
	return p.Key, nil
}

func (g *gatewayClient) info(ctx context.Context) (info ipso.Info, err error) {
	return info, g.get(ctx, ipso.About, &info)
}

func (g *gatewayClient) devices(ctx context.Context) ([]ipso.Device, error) {
	return list[ipso.Device](ctx, g, ipso.Devices)
}

func (g *gatewayClient) groups(ctx context.Context) ([]ipso.Group, error) {
	return list[ipso.Group](ctx, g, ipso.Groups)
}

// list gets a list of numbers, and then each object. One that is gone meanwhile is left out.
func list[T any](ctx context.Context, g *gatewayClient, path string) ([]T, error) {
	var ids []int
	if err := g.get(ctx, path, &ids); err != nil {
		return nil, err
	}
	var objects []T
	for _, id := range ids {
		var o T
		err := g.get(ctx, path+"/"+strconv.Itoa(id), &o)
		if e, ok := errors.AsType[*coap.Error](err); ok && e.Code == coap.NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// target is a bulb or a group.
type target struct {
	group bool
	id    int
}

// parseTarget reads "65537" or "group 131073".
func parseTarget(args []string) (t target, err error) {
	if len(args) == 2 && args[0] == "group" {
		t.group, args = true, args[1:]
	}
	if len(args) == 1 {
		if t.id, err = strconv.Atoi(args[0]); err == nil {
			return t, nil
		}
	}
	return t, fmt.Errorf("%q is no bulb and no group: want a number as in the list, or group and a number", strings.Join(args, " "))
}

func (t target) path() string {
	if t.group {
		return ipso.Groups + "/" + strconv.Itoa(t.id)
	}
	return ipso.Devices + "/" + strconv.Itoa(t.id)
}

type change = ipso.Change

// turn is a change that switches.
func turn(on bool) (c change) {
	b := ipso.Bool(on)
	c.On = &b
	return c
}

// dim is a change of brightness, to "50%" or 127.
func dim(to string, over time.Duration) (c change, err error) {
	number, isPercent := strings.CutSuffix(to, "%")
	n, err := strconv.Atoi(number)
	most := ipso.MaxLevel
	if isPercent {
		most = 100
	}
	if err != nil || n < 0 || n > most {
		return c, fmt.Errorf("%q is no brightness: want 0%% to 100%%, or 0 to %d", to, ipso.MaxLevel)
	}
	if isPercent {
		n = (n*ipso.MaxLevel + 99) / 100 // 1% is not off
	}
	c.Level = &n
	const longest = 10 * time.Minute
	if over < 0 || over > longest {
		return c, fmt.Errorf("-over %v: want 0 to %v", over, longest)
	}
	if over > 0 {
		tenths := int(math.Round(over.Seconds() * 10))
		c.Transition = &tenths
	}
	return c, nil
}

// change has a bulb or the bulbs of a group do something. It fails if a bulb is known not to hear it.
func (g *gatewayClient) change(ctx context.Context, t target, c change) error {
	var body any = ipso.DeviceChange{Lights: []ipso.Change{c}}
	if t.group {
		body = ipso.GroupChange{Change: c}
	}
	if err := g.put(ctx, t.path(), body); err != nil || t.group {
		return err
	}
	var d ipso.Device
	if err := g.get(ctx, t.path(), &d); err != nil {
		return err
	}
	if !d.Reachable {
		return fmt.Errorf("%s (%d) cannot be reached by the gateway: is it switched off at the wall, or too far away?", printable(d.Name), d.ID)
	}
	return nil
}

func (g *gatewayClient) get(ctx context.Context, path string, v any) error {
	resp, err := g.client.Get(ctx, path)
	if err != nil {
		return g.explain(err)
	}
	return g.decode(resp, v)
}

func (g *gatewayClient) put(ctx context.Context, path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	resp, err := g.client.Put(ctx, path, coap.JSON, body)
	if err != nil {
		return g.explain(err)
	}
	return g.explain(resp.Err())
}

// decode reads the object in a response.
func (g *gatewayClient) decode(resp *coap.Response, v any) error {
	if err := resp.Err(); err != nil {
		return g.explain(err)
	}
	if err := json.Unmarshal(resp.Payload, v); err != nil {
		return fmt.Errorf("the gateway has sent something unexpected: %w", err)
	}
	return nil
}

// describe says in a few words what a device does.
func describe(d *ipso.Device) string {
	var words []string
	for _, l := range d.Lights {
		words = append(words, describeState(l.State))
	}
	if b := d.Product.Battery; b != nil {
		words = append(words, fmt.Sprintf("battery %d%%", *b))
	}
	if !d.Reachable {
		words = append(words, "not reachable")
	}
	return strings.Join(words, ", ")
}

func describeState(s ipso.State) string {
	switch {
	case s.On == nil:
		return "unknown"
	case !bool(*s.On):
		return "off"
	}
	text := "on"
	if s.Level != nil {
		text += fmt.Sprintf(" %d%%", (*s.Level*100+ipso.MaxLevel/2)/ipso.MaxLevel)
	}
	if s.Color != "" && s.Color != "0" {
		text += " #" + printable(s.Color)
	}
	return text
}

// printable returns text that a terminal only shows.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		return strconv.Quote(s)
	}
	return s
}
