package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport/udp"
)

// gauge is a server of ours with one observable resource, /gauge.
type gauge struct {
	endpoint *coap.Endpoint
	uri      string // of the resource
	wire     *recorder
	ends     chan observe.End // of the observers that were removed

	mu    sync.Mutex
	value string
}

// startGauge starts a gauge on a port of host.
func startGauge(t *testing.T, host netip.Addr, value string, cfg observe.ServerConfig) *gauge {
	t.Helper()
	conn, err := udp.Listen(netip.AddrPortFrom(host, 0).String(), nil)
	require.NoError(t, err)
	g := &gauge{
		uri: "coap://" + conn.LocalAddr().String() + "/gauge", wire: newRecorder(true),
		ends: make(chan observe.End, 10), value: value,
	}
	mux := coap.NewMux()
	mux.HandleFunc("GET /gauge", func(w *coap.Response, _ *coap.Request) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		return w.Text(g.value)
	}, coap.Route{Observable: true})
	cfg.OnEnd = func(_ exchange.Peer, _ string, why observe.End) { g.ends <- why }
	g.endpoint, err = coap.NewEndpoint(conn, mux, &coap.Config{ServeObserve: cfg, Trace: g.wire.trace, ServeEcho: trusting})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.endpoint.Close()) })
	return g
}

// change makes value the value of the resource.
func (g *gauge) change(value string) {
	g.mu.Lock()
	g.value = value
	g.mu.Unlock()
	g.endpoint.Notify("/gauge")
}

// requireEnd waits until the only observer has been removed.
func (g *gauge) requireEnd(t *testing.T, want observe.End) {
	t.Helper()
	select {
	case why := <-g.ends:
		require.Equal(t, want.String(), why.String(), "why the observer was removed")
	case <-within(t).Done():
		t.Fatal("the observer was not removed")
	}
	require.Zero(t, g.endpoint.Observers("/gauge"), "observers")
}

// observer is a client of others that observes, as a running process.
type observer struct {
	*process
	lines chan string // that it has written
	rest  []byte
}

// startObserver starts a client, which is killed when the test ends.
func startObserver(t *testing.T, command ...string) *observer {
	t.Helper()
	o := &observer{
		process: &process{cmd: exec.Command(command[0], command[1:]...), done: make(chan struct{})},
		lines:   make(chan string, 100),
	}
	o.cmd.Stdout, o.cmd.Stderr = o, &o.output
	_, err := o.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, o.cmd.Start())
	go func() {
		o.cmd.Wait() // that it was killed is no error
		close(o.done)
	}()
	t.Cleanup(func() {
		o.kill()
		if t.Failed() {
			t.Logf("output of %v:\n%s", o.cmd, &o.output)
		}
	})
	return o
}

// Write takes what the process writes.
func (o *observer) Write(b []byte) (int, error) {
	o.output.Write(b)
	o.rest = append(o.rest, b...)
	for {
		line, rest, ok := bytes.Cut(o.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		select {
		case o.lines <- string(line):
		default: // nobody expects that many
		}
		o.rest = rest
	}
}

// next waits for the next line.
func (o *observer) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-o.lines:
		return line
	case <-within(t).Done():
		t.Fatal("the client shows no other value")
	}
	return ""
}

// observeRequest is what the client scripts take to observe, and observeResult what they print.
type observeRequest struct {
	scriptRequest
	Observe    int  `json:"observe"`              // how many values to wait for
	Deregister bool `json:"deregister,omitempty"` // by a request, if the script knows both ways
}

type observeResult struct {
	Code, Payload string
	Ended         bool
}

// startScript has a client script observe a resource until it has had a number of values.
func startScript(t *testing.T, command []string, uri string, values int, deregister bool) *observer {
	t.Helper()
	s := scenario{method: message.GET, code: message.Content}
	b, err := json.Marshal(observeRequest{
		scriptRequest: scriptRequest{aiocoapRequest: aiocoapRequestOf(uri, &s)}, Observe: values, Deregister: deregister,
	})
	require.NoError(t, err)
	return startObserver(t, append(slices.Clone(command), string(b))...)
}

// nextResult waits for the next line of a script.
func (o *observer) nextResult(t *testing.T) (r observeResult) {
	t.Helper()
	line := o.next(t)
	require.NoError(t, json.Unmarshal([]byte(line), &r), "result %s", line)
	return r
}

// valueOf returns value i, which is of a length or what the number needs.
func valueOf(i, length int) string {
	v := fmt.Sprintf("value %d ", i)
	return v + strings.Repeat("x", max(0, length-len(v)))
}

// scriptObserves is how a client script observes a gauge.
type scriptObserves struct {
	length     int // of the values
	values     int // how many, 0 means 4
	deregister bool
	end        observe.End // what our server makes of the end
	late       int         // how many more notifications are acknowledged after it
	cfg        observe.ServerConfig
}

// require has a script observe a gauge: the present value, others, and the end.
func (x scriptObserves) require(t *testing.T, host netip.Addr, command []string) {
	t.Helper()
	values := 4
	if x.values > 0 {
		values = x.values
	}
	g := startGauge(t, host, valueOf(0, x.length), x.cfg)
	o := startScript(t, command, g.uri, values, x.deregister)
	for i := range values {
		require.Equal(t, observeResult{Code: message.Content.Dotted(), Payload: valueOf(i, x.length)}, o.nextResult(t))
		if i < values-1 {
			require.Equal(t, 1, g.endpoint.Observers("/gauge"), "observers")
			g.change(valueOf(i+1, x.length))
		}
	}
	require.Equal(t, observeResult{Ended: true}, o.nextResult(t))
	if x.end != observe.EndDeregistered {
		for i := range x.late {
			g.change("late")
			_, err := g.wire.until(within(t), func(s []step) bool { return count(s, "> ACK 0.00") == values+i })
			require.NoError(t, err)
		}
		g.change("unwanted")
	}
	g.requireEnd(t, x.end)
}

// lengths are those of values that fit one message, and that take three.
var lengths = map[string]int{"one message": 0, "blocks": 3000}

// libcoap's client observes for some seconds and says when it has had enough.
func TestLibcoapClientObserves(t *testing.T) {
	t.Parallel()
	client := requireTool(t, libcoapClient, libcoapPackage)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		for name, length := range lengths {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				g := startGauge(t, host, valueOf(0, length), observe.ServerConfig{})
				o := startObserver(t, client, "-w", "-s", "3", g.uri)
				for i := range 4 {
					if i > 0 {
						g.change(valueOf(i, length))
					}
					require.Equal(t, valueOf(i, length), o.next(t))
				}
				g.requireEnd(t, observe.EndDeregistered)
			})
		}
	})
}

// A client that goes away without a word is removed when the next notification does not reach it.
func TestLibcoapClientObservesAndGoes(t *testing.T) {
	t.Parallel()
	client := requireTool(t, libcoapClient, libcoapPackage)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		g := startGauge(t, host, "first", observe.ServerConfig{})
		o := startObserver(t, client, "-w", "-s", "60", g.uri)
		require.Equal(t, "first", o.next(t))
		g.change("second")
		require.Equal(t, "second", o.next(t))
		require.NoError(t, o.cmd.Process.Signal(syscall.SIGKILL))
		<-o.done
		g.change("third")
		g.requireEnd(t, observe.EndUnreachable)
	})
}

// aiocoap's client observes, and rejects notifications that it does not want any more. aiocoap 0.4.17
// acknowledges one before.
func TestAiocoapClientObserves(t *testing.T) {
	t.Parallel()
	command := []string{requireAiocoap(t), script("aiocoap_client.py")}
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		for name, length := range lengths {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scriptObserves{length: length, end: observe.EndReset, late: 1}.require(t, host, command)
			})
		}
	})
}

// node-coap's client observes, and says when it has had enough, or rejects the first notification that it does not
// want any more.
//
// node-coap 1.5.0 deviates: of a value in blocks it takes the sequence number from the response with the last
// block, which has none (RFC 7959 section 3.4), so that it takes all values after the first for old ones.
func TestNodeClientObserves(t *testing.T) {
	t.Parallel()
	command := requireNode(t, "node_client.js")
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		for name, x := range map[string]scriptObserves{
			"deregister": {end: observe.EndDeregistered, deregister: true},
			"reset":      {end: observe.EndReset},
			"blocks":     {end: observe.EndDeregistered, deregister: true, length: 3000, values: 1},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				x.require(t, host, command)
			})
		}
	})
}

// CoAPthon3's client observes.
//
// CoAPthon3 1.0.2 deviates: it acknowledges a confirmable notification by an Empty message with a token, which is
// a message format error (RFC 7252 section 4.1), so that it gets it again. Here notifications are not
// confirmable.
func TestCoapthonClientObserves(t *testing.T) {
	t.Parallel()
	command := requireCoapthon(t, "coapthon_client.py")
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		for name, length := range lengths {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scriptObserves{
					length: length, end: observe.EndDeregistered,
					cfg: observe.ServerConfig{ConfirmEvery: 1000, NonInterval: time.Millisecond, Settle: time.Hour},
				}.require(t, host, command)
			})
		}
	})
}

// weObserve is how our client observes a resource of a server of others.
type weObserve struct {
	path   string
	length int // of the values
}

// require observes the resource while another client of ours changes it, first in a loop that is left, then until
// the server is told.
func (x weObserve) require(t *testing.T, base string) {
	t.Helper()
	admin, _ := newClient(t, coap.Params{})
	want := func(i int) string { return valueOf(i, x.length) }
	put := func(i int) string {
		resp, err := admin.Put(within(t), base+x.path, message.TextPlain, []byte(want(i)))
		require.NoError(t, err)
		require.True(t, resp.Code.IsSuccess(), "%v: %s", resp.Code, resp.Payload)
		return want(i)
	}

	c, wire := newClient(t, coap.Params{})
	put(0)
	seen := 0
	for n, err := range c.Observe(within(t), base+x.path) {
		require.NoError(t, err)
		if n.Response == nil {
			continue
		}
		require.Equal(t, want(seen), string(n.Response.Payload), "value %d", seen)
		require.Equal(t, observe.Live, n.State)
		seen++
		if seen == 4 {
			break
		}
		put(seen)
	}
	require.Equal(t, 4, seen, "values")
	put(4)
	_, err := wire.until(within(t), contains("> RST 0.00"))
	require.NoError(t, err, "a notification after the loop was left, rejected")
	settled(t, c, wire, base) // or a server queues a notification of 5 before it reads the Reset
	put(5)
	put(6)
	steps := settled(t, c, wire, base)
	require.Equal(t, 1, count(steps, "> RST 0.00"), "notifications after the loop was left: %v", chart(steps))

	c, wire = newClient(t, coap.Params{})
	req, err := coap.NewRequest(message.GET, base+x.path)
	require.NoError(t, err)
	o, err := c.ObserveRequest(within(t), req)
	require.NoError(t, err)
	requireNext(t, o, want(6))
	requireNext(t, o, put(7))
	requireNext(t, o, put(8))
	require.NoError(t, o.Cancel(within(t)))
	put(9)
	put(10)
	steps = settled(t, c, wire, base)
	require.Zero(t, count(steps, "> RST 0.00"), "notifications after the observation was canceled: %v", chart(steps))
}

// requireNext waits for a value.
func requireNext(t *testing.T, o *observe.Observation, want string) {
	t.Helper()
	ctx := within(t)
	for {
		n, err := o.Next(ctx)
		require.NoError(t, err)
		if n.Response != nil {
			require.Equal(t, want, string(n.Response.Payload))
			return
		}
	}
}

// settled asks the server for something else, so that what it has sent before has probably arrived, and
// returns the steps so far.
func settled(t *testing.T, c *coap.Client, wire *recorder, base string) []step {
	t.Helper()
	_, err := c.Get(within(t), base+"/nothing")
	require.NoError(t, err)
	steps, err := wire.until(context.Background(), func([]step) bool { return true })
	require.NoError(t, err)
	return steps
}

// count returns how many steps look like line.
func count(steps []step, line string) (n int) {
	for _, s := range steps {
		if s.String() == line {
			n++
		}
	}
	return n
}

// Our client observes resources that it has made in libcoap's server. With -N not all notifications are
// confirmable.
func TestOurClientObservesLibcoap(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		for _, more := range [][]string{nil, {"-N"}} {
			server := startLibcoap(t, host, more...)
			weObserve{path: "/new"}.require(t, server.base)
			weObserve{path: "/long", length: 3000}.require(t, server.base)
		}
	})
}

// The time of libcoap's server changes every second.
func TestOurClientObservesLibcoapTime(t *testing.T) {
	t.Parallel()
	requireTool(t, libcoapServer, libcoapPackage)
	server := startLibcoap(t, loopback4)
	c, _ := newClient(t, coap.Params{})
	seen := make(map[string]bool)
	for n, err := range c.Observe(within(t), server.base+"/time") {
		require.NoError(t, err)
		if n.Response != nil {
			seen[string(n.Response.Payload)] = true
		}
		if len(seen) == 3 {
			break
		}
	}
}

// Our client observes a resource of aiocoap's server.
func TestOurClientObservesAiocoap(t *testing.T) {
	t.Parallel()
	requireAiocoap(t)
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startAiocoap(t, host)
		weObserve{path: "/obs"}.require(t, server.base)
		weObserve{path: "/obs", length: 3000}.require(t, server.base)
	})
}

// Our client observes a resource of node-coap's server. node-coap 1.5.0 does not cut notifications into blocks.
func TestOurClientObservesNode(t *testing.T) {
	t.Parallel()
	requireNode(t, "node_server.js")
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		weObserve{path: "/obs"}.require(t, startNode(t, host).base)
	})
}

// Our client observes a resource of CoAPthon3's server.
func TestOurClientObservesCoapthon(t *testing.T) {
	t.Parallel()
	requireCoapthon(t, "coapthon_server.py")
	onEachHost(t, func(t *testing.T, host netip.Addr) {
		server := startCoapthon(t, host)
		weObserve{path: "/obs"}.require(t, server.base)
	})
}

// CoAPthon3 1.0.2 deviates: the server goes on counting blocks, so that a notification of a long representation has
// another than the first one. Our client has no use for it and registers again, at last under another
// token, by which it gets the values nevertheless.
func TestOurClientObservesCoapthonBlocks(t *testing.T) {
	t.Parallel()
	requireCoapthon(t, "coapthon_server.py")
	server := startCoapthon(t, loopback4)
	admin, _ := newClient(t, coap.Params{})
	put := func(i int) {
		_, err := admin.Put(within(t), server.base+"/obslong", message.TextPlain, []byte(valueOf(i, 0)))
		require.NoError(t, err)
	}
	c := &coap.Client{Config: &coap.Config{SendObserve: observe.ClientConfig{Jitter: 10 * time.Millisecond}}}
	defer c.Close()
	put(0)
	seen := 0
	for n, err := range c.Observe(within(t), server.base+"/obslong") {
		require.NoError(t, err)
		if n.Response == nil {
			continue
		}
		require.Equal(t, strings.Repeat(valueOf(seen, 0), 1000), string(n.Response.Payload), "value %d", seen)
		seen++
		if seen == 3 {
			break
		}
		put(seen)
	}
	require.Equal(t, 3, seen, "values")
}
