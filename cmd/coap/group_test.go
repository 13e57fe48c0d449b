package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/transport/mem"
	"github.com/coapkit/coap/transport/udp"
)

// anyInterface returns the name of an interface that is up.
func anyInterface() string {
	all, _ := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 {
			return i.Name
		}
	}
	return "none"
}

// allNodes is the group of all CoAP nodes for IPv4.
var allNodes = coap.AllNodes()[0]

// hearsGroups finds an interface on which this machine hears what it sends to a group itself.
func hearsGroups(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 && hearsOn(t, i.Index) {
			return i.Name
		}
	}
	t.Skip("no interface of this machine carries multicast; a loopback interface with an IPv4 address usually does")
	return ""
}

// hearsOn sends a request to a group on an interface, where a server waits for it.
func hearsOn(t *testing.T, link int) bool {
	t.Helper()
	conn, err := udp.Listen(":0", nil)
	require.NoError(t, err)
	port := conn.LocalAddr().Port()
	if conn.Join(allNodes, link) != nil {
		conn.Close()
		return false
	}
	server := coap.Server{Config: atOnce, Handler: coap.HandlerFunc(func(w *coap.Response, _ *coap.Request) error { return w.Text("here") })}
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), conn) }()
	defer func() {
		server.Close()
		<-served
	}()
	var c coap.Client
	defer c.Close()
	req := &coap.Request{Code: coap.GET, To: netip.AddrPortFrom(allNodes, port), IfIndex: link, Window: time.Second}
	for _, err := range c.Multicast(t.Context(), req) {
		return err == nil
	}
	return false
}

// atOnce has groups answered without delay.
var atOnce = &coap.Config{Params: coap.Params{DefaultLeisure: -1}}

// simulated is a group on a simulated network and a client of it.
type simulated struct {
	network *mem.Network
	client  *session
	target  target
	log     bytes.Buffer
}

// newSimulated starts a member for each handler, from 192.0.2.1 on. It is for bubbles of synctest.
func newSimulated(t *testing.T, members ...coap.HandlerFunc) *simulated {
	t.Helper()
	g := &simulated{network: mem.NewNetwork(mem.Config{})}
	for i, h := range members {
		conn, err := g.network.Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), coap.DefaultPort))
		require.NoError(t, err)
		require.NoError(t, conn.Join(allNodes, 0))
		ep, err := coap.NewEndpoint(conn, h, atOnce)
		require.NoError(t, err)
		t.Cleanup(func() { ep.Close() })
	}
	conn, err := g.network.Listen(netip.MustParseAddrPort("192.0.2.99:0"))
	require.NoError(t, err)
	ep, err := coap.NewEndpoint(conn, nil, nil)
	require.NoError(t, err)
	g.client = &session{client: coap.Client{Endpoint: ep}, ep: ep, err: &g.log}
	g.target, err = checkTarget("coap://"+allNodes.String(), "")
	require.NoError(t, err)
	g.target.link = 1 // of the simulated host
	return g
}

// streams are those of the command that asks the group.
func (g *simulated) streams(out *bytes.Buffer) *streams { return &streams{out: out, err: &g.log} }

// after answers with a text when a time has passed, which gives the answers an order.
func after(d time.Duration, text string) coap.HandlerFunc {
	return func(w *coap.Response, r *coap.Request) error {
		pause(r.Context(), d)
		return w.Text(text)
	}
}

// unnamed replaces the names of interfaces, which each machine has its own.
func unnamed(text string) string {
	return regexp.MustCompile(` by [^\s]+\n`).ReplaceAllString(text, " by link\n")
}

func TestAskGroup(t *testing.T) { synctest.Test(t, testAskGroup) }

func testAskGroup(t *testing.T) {
	g := newSimulated(t, after(time.Second, "one"), after(2*time.Second, "two"),
		func(*coap.Response, *coap.Request) error { return &coap.Error{Code: coap.NotFound} },
		after(time.Minute, "too late"))
	req, err := coap.NewRequest(coap.GET, "coap://224.0.1.187/a")
	require.NoError(t, err)
	var out bytes.Buffer
	f := reach{window: 10 * time.Second}
	err = f.askGroup(t.Context(), g.client, g.target, req, func(a *answer) error {
		return writeResponse(g.streams(&out), a, false)
	})
	require.NoError(t, err)
	assert.Equal(t, "onetwo", out.String())
	assert.Equal(t, `2.05 Content from 192.0.2.1:5683 by link
Content-Format: 0 (text/plain; charset=utf-8)

2.05 Content from 192.0.2.2:5683 by link
Content-Format: 0 (text/plain; charset=utf-8)

2 answers within 10s
`, unnamed(g.log.String()))
}

func TestAskGroupJSON(t *testing.T) { synctest.Test(t, testAskGroupJSON) }

func testAskGroupJSON(t *testing.T) {
	g := newSimulated(t, after(time.Second, "one"), after(2*time.Second, "two"))
	req, err := coap.NewRequest(coap.GET, "coap://224.0.1.187/a")
	require.NoError(t, err)
	var out bytes.Buffer
	f := reach{window: 10 * time.Second}
	require.NoError(t, f.askGroup(t.Context(), g.client, g.target, req, func(a *answer) error {
		return writeResponse(g.streams(&out), a, true)
	}))
	var got []string
	for line := range strings.Lines(out.String()) {
		var r responseJSON
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		got = append(got, fmt.Sprintf("%s %s %s %v", r.Peer, r.Code, *r.Text, r.Elapsed))
	}
	assert.Equal(t, []string{"192.0.2.1:5683 2.05 one 1", "192.0.2.2:5683 2.05 two 2"}, got)
}

func TestObserveGroup(t *testing.T) { synctest.Test(t, testObserveGroup) }

func testObserveGroup(t *testing.T) {
	observed := *atOnce
	observed.ServeEcho.Mode = echo.Off
	observed.ServeObserve.Observable = func(*coap.Request) bool { return true }
	g := newSimulated(t)
	defer g.client.close()
	var servers []*coap.Endpoint
	for i := range byte(2) {
		conn, err := g.network.Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 11 + i}), coap.DefaultPort))
		require.NoError(t, err)
		require.NoError(t, conn.Join(allNodes, 0))
		var values atomic.Int32
		ep, err := coap.NewEndpoint(conn, coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
			pause(r.Context(), time.Duration(i+1)*time.Second)
			n := values.Add(1)
			if n > 1 && i == 1 {
				return &coap.Error{Code: coap.NotFound}
			}
			return w.Text(fmt.Sprintf("%c%d", 'a'+i, n))
		}), &observed)
		require.NoError(t, err)
		t.Cleanup(func() { ep.Close() })
		servers = append(servers, ep)
	}
	time.AfterFunc(10*time.Second, func() { servers[0].Notify("/x") })
	time.AfterFunc(15*time.Second, func() { servers[1].Notify("/x") })
	watch := func(f observeFlags) (string, error) {
		req, err := coap.NewRequest(coap.GET, "coap://224.0.1.187/x")
		require.NoError(t, err)
		req.IfIndex = 1
		var out bytes.Buffer
		err = f.watchGroup(t.Context(), &watcher{s: g.streams(&out), t: g.target, json: f.json, began: time.Now()}, &g.client.client, req)
		return out.String(), err
	}
	out, err := watch(observeFlags{duration: 20 * time.Second})
	require.NoError(t, err)
	require.Equal(t, `00:00:01.000    1  live         192.0.2.11:5683  2 bytes "a1"
00:00:02.000    2  live         192.0.2.12:5683  2 bytes "b1"
00:00:11.000    3  live         192.0.2.11:5683  2 bytes "a2"
00:00:17.000    4  ended        192.0.2.12:5683  4.04 Not Found  0 bytes ""
`, out)
	out, err = watch(observeFlags{count: 1, json: true})
	require.NoError(t, err)
	require.Contains(t, out, `"number":1,"state":"live"`)
	require.Contains(t, out, `"member":"192.0.2.11:5683"`)

	require.NoError(t, servers[0].Close())
	require.NoError(t, servers[1].Close())
	_, err = watch(observeFlags{duration: time.Minute})
	require.ErrorContains(t, err, "no value from coap://224.0.1.187 within 1m0s")
}

// TestNobody has groups that stay silent, and one that is left in the middle.
func TestNobody(t *testing.T) { synctest.Test(t, testNobody) }

func testNobody(t *testing.T) {
	for _, test := range []struct {
		method coap.Code
		want   string
	}{
		{coap.GET, "nobody at coap://224.0.1.187 answered within 3s: who has nothing to say to a group stays silent; --window waits longer, -v shows"},
		{coap.PUT, "nobody at coap://224.0.1.187 answered within 3s: members may have done it all the same"},
	} {
		g := newSimulated(t)
		f := reach{window: 3 * time.Second}
		req := &coap.Request{Code: test.method, Authority: g.target.authority}
		err := f.askGroup(t.Context(), g.client, g.target, req, nil)
		assert.ErrorContains(t, err, test.want)
		assert.Equal(t, exitNoAnswer, reportFailure(&g.log, err))
	}

	stop := errors.New("enough")
	g := newSimulated(t, after(0, "one"), after(0, "two"))
	f := reach{window: time.Hour}
	req := &coap.Request{Code: coap.GET, Authority: g.target.authority}
	assert.Equal(t, stop, f.askGroup(t.Context(), g.client, g.target, req, func(*answer) error { return stop }))

	g = newSimulated(t, after(0, "one"))
	ctx, cancel := context.WithCancel(t.Context())
	err := f.askGroup(ctx, g.client, g.target, req, func(*answer) error { cancel(); return nil })
	assert.Equal(t, exitInterrupted, reportFailure(&g.log, err))
}

func TestCounted(t *testing.T) {
	for want, got := range map[string]string{
		"0 links": counted(0, "link"), "1 link": counted(1, "link"),
		"1 address": counted(1, "address"), "2 addresses": counted(2, "address"),
	} {
		assert.Equal(t, want, got)
	}
}

func TestChooseInterface(t *testing.T) {
	link := anyInterface()
	i, err := net.InterfaceByName(link)
	if err != nil {
		t.Skip("this machine has no interface that is up")
	}
	for uri, host := range map[string]string{
		"coap://[fe80::1]":                "fe80::1%" + link,
		"coap://[fe80::1%25" + link + "]": "fe80::1%" + link,
		"coap://[ff02::fd]":               "ff02::fd",
		"coap://127.0.0.1":                "127.0.0.1",
		"coap://example.com":              "example.com",
	} {
		target, err := checkTarget(uri, link)
		require.NoError(t, err, uri)
		assert.Equal(t, host, target.authority.Host)
		assert.Equal(t, i.Index, target.link)
	}
}

// TestGroup asks "coap serve --group" on a real network.
func TestGroup(t *testing.T) {
	link := hearsGroups(t)
	server := serving(t, "--listen", ":0", "--group", "--interface", link, "--leisure", "0")
	_, port, _ := strings.Cut(strings.TrimPrefix(server.base, "coap://"), ":")
	uri := "coap://224.0.1.187:" + port
	assert.Contains(t, server.waitFor("\n\n"), "on "+link+"\nto be found by: coap discover "+uri+"\n")
	args := []string{"--interface", link, "--window", "1s"}

	r := runCLI(t, append(args, "get", uri+"/slow?ms=0")...)
	require.Equal(t, exitSuccess, r.status, r.err)
	assert.Equal(t, "this took 0 ms\n", r.out)
	assert.Regexp(t, `^2\.05 Content from [0-9.]+:`+port+` by \S+`+"\n(?s:.*)\n\n1 answer within 1s\n$", r.err)

	r = runCLI(t, append(args, "discover", "--filter", "rt=echo", uri)...)
	require.Equal(t, exitSuccess, r.status, r.err)
	assert.Regexp(t, `^coap://[0-9.]+:`+port+` by \S+`+"\ntarget .*\n/echo .*\n$", r.out)
	assert.Equal(t, "\n1 answer within 1s\n", r.err)

	r = runCLI(t, append(args, "discover", "--json", "--filter", "rt=echo", uri)...)
	require.Equal(t, exitSuccess, r.status, r.err)
	var got linkJSON
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	assert.NotEmpty(t, got.Link, "which need not be the one that the request went by")
	assert.Equal(t, "coap://"+got.Peer+"/echo", got.Target)

	r = runCLI(t, "discover", "-v", "--interface", link, "--window", "50ms", "--filter", "rt=nothing", uri)
	assert.Equal(t, exitNoAnswer, r.status)
	assert.Contains(t, r.firstLine(), "nobody at "+uri+" answered within 50ms")
	assert.Contains(t, r.err, "/.well-known/core?rt=nothing")
	assert.NotContains(t, r.err, "ended")
	status, _ := server.stop()
	assert.Equal(t, exitSuccess, status)
}

// deafSocket joins only what it is told to be able to join.
type deafSocket struct {
	hears func(group netip.Addr, link int) bool
}

func (d deafSocket) Join(group netip.Addr, link int) error {
	if d.hears(group, link) {
		return nil
	}
	return errors.New("udp: join: no such device")
}

func TestJoin(t *testing.T) {
	only4 := deafSocket{func(g netip.Addr, link int) bool { return g.Is4() && link == 0 }}
	m := membership{wanted: true}
	joined, err := m.join(only4)
	require.NoError(t, err)
	assert.Equal(t, []netip.Addr{allNodes}, joined)
	var b strings.Builder
	m.announce(&b, joined, coap.DefaultPort)
	assert.Equal(t, "member of 224.0.1.187 on all interfaces\nto be found by: coap discover coap://224.0.1.187\n", b.String())

	_, err = m.join(deafSocket{func(netip.Addr, int) bool { return false }})
	assert.ErrorContains(t, err, "--group: no group can be joined: join: no such device; --interface asks for one of ")

	m.links = []string{"no-such", anyInterface()}
	_, err = m.join(only4)
	assert.ErrorContains(t, err, "no group can be joined")
	joined, err = m.join(deafSocket{func(_ netip.Addr, link int) bool { return link > 0 }})
	require.NoError(t, err, "one of the interfaces")
	assert.Equal(t, coap.AllNodes(), joined)

	joined, err = new(membership).join(nil)
	assert.NoError(t, err)
	assert.Empty(t, joined)
}
