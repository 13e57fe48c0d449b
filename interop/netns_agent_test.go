//go:build linux

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/rpc"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/udp"
)

// The program that runs on each host of a lab: a server, a client and a bare socket at the
// command of the test, which calls the methods of Agent by net/rpc.

// agentVariable is set in the environment of the processes that are hosts.
const agentVariable = "COAPKIT_NETNS_AGENT"

// agentFile is the file descriptor on which a host is commanded.
const agentFile = 3

// TestNetnsHelper is no test, but the main function of the processes that are hosts.
func TestNetnsHelper(t *testing.T) {
	if os.Getenv(agentVariable) == "" {
		return
	}
	commands, err := net.FileConn(os.NewFile(agentFile, "commands"))
	if err != nil {
		t.Fatal(err)
	}
	s := rpc.NewServer()
	if err := s.Register(new(Agent)); err != nil {
		t.Fatal(err)
	}
	s.ServeConn(commands) // until the test closes its end, or is no more
}

// Agent is one host. Its methods are called concurrently.
type Agent struct {
	client coap.Client
	server coap.Server
	conn   *udp.Conn // of the server, if the agent listens by itself
	bare   *udp.Conn // for messages that no client sends
	// bystander is a member of groups that the server need not be a member of.
	bystander *udp.Conn

	mu   sync.Mutex
	seen []Seen
}

// None stands where a method has no argument or result.
type None struct{}

// Seen is what a handler was told of a request.
type Seen struct {
	Path           string
	Peer, Local    netip.AddrPort
	Group          netip.Addr
	IfIndex        int
	NonConfirmable bool
}

// deadline bounds every wait on a host.
func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// await waits until a condition holds.
func await(what string, holds func() bool) error {
	ctx, cancel := deadline()
	defer cancel()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s", what)
		}
	}
	return nil
}

// IP runs commands of ip, one a line.
func (a *Agent) IP(commands string, _ *None) error {
	ctx, cancel := deadline()
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(commands)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s in:\n%s", err, out, commands)
	}
	return nil
}

// Reach waits until a server answers pings. The state of an interface does not tell that
// everything on the way forwards.
func (a *Agent) Reach(addr netip.Addr, _ *None) error {
	ctx, cancel := deadline()
	defer cancel()
	c := coap.Client{Config: &coap.Config{Params: coap.Params{AckTimeout: 20 * time.Millisecond}}}
	defer c.Close()
	return await(addr.String(), func() bool { return c.Ping(ctx, who(addr)) == nil })
}

// ServeArgs configures the server of a host, which listens on port 5683 of all addresses.
type ServeArgs struct {
	Groups     []netip.Addr
	Interfaces []string
	Leisure    time.Duration
	// ByHand has the agent open the socket and join, so that [Agent.Join] works.
	ByHand bool
}

// Serve starts the server and returns when it serves.
func (a *Agent) Serve(args ServeArgs, _ *None) error {
	a.server.Handler = coap.HandlerFunc(a.answer)
	a.server.Config = &coap.Config{Params: coap.Params{DefaultLeisure: args.Leisure}, ServeEcho: trusting}
	serve := a.server.ListenAndServe
	if a.server.Groups, a.server.Interfaces = args.Groups, args.Interfaces; args.ByHand {
		var err error
		if a.conn, err = udp.Listen(":5683", nil); err != nil {
			return err
		}
		serve = func(ctx context.Context) error { return a.server.Serve(ctx, a.conn) }
		if err := a.Join(args.Groups, nil); err != nil {
			return err
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(context.Background()) }() // as long as the process lives
	var failed error
	err := await("the server", func() bool {
		select {
		case failed = <-ended:
			return true
		default:
			return a.server.LocalAddr().IsValid()
		}
	})
	return errors.Join(err, failed)
}

// Join has the server join groups on all interfaces.
func (a *Agent) Join(groups []netip.Addr, _ *None) error { return joinAll(a.conn, groups) }

// Bystander has a socket that is not the server's join groups on all interfaces.
func (a *Agent) Bystander(groups []netip.Addr, _ *None) error {
	conn, err := udp.Listen(":0", nil) // open as long as the process lives
	if err != nil {
		return err
	}
	a.bystander = conn
	return joinAll(conn, groups)
}

func joinAll(conn *udp.Conn, groups []netip.Addr) error {
	for _, g := range groups {
		if err := conn.Join(g, 0); err != nil {
			return err
		}
	}
	return nil
}

// answer is the handler of the server. /who tells what it knows of the request, /heard the most
// important of it in so few bytes that everybody gets them at once; /move runs commands of ip before it
// answers.
func (a *Agent) answer(w *coap.Response, r *coap.Request) error {
	s := Seen{
		Path: r.Path(), Peer: r.Peer().Addr, Local: r.Local(), Group: r.Group(),
		IfIndex: r.Peer().IfIndex, NonConfirmable: r.NonConfirmable,
	}
	a.mu.Lock()
	a.seen = append(a.seen, s)
	a.mu.Unlock()
	switch s.Path {
	case "/who":
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		return w.JSON(b)
	case "/heard":
		return w.Text(heard(s.IfIndex, s.Group))
	case "/move":
		return a.IP(string(r.Payload), nil)
	}
	return &coap.Error{Code: coap.NotFound}
}

// heard is what a server says at /heard: the interface and the group that it was asked by.
func heard(ifIndex int, group netip.Addr) string { return fmt.Sprintf("%d %v", ifIndex, group) }

// Seen returns the requests that the server got, since the last call.
func (a *Agent) Seen(_ None, seen *[]Seen) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	*seen, a.seen = a.seen, nil
	return nil
}

// ServerStats returns the counters of the server.
func (a *Agent) ServerStats(_ None, s *coap.Stats) error {
	*s = a.server.Stats()
	return nil
}

// ClientStats returns the counters of the client.
func (a *Agent) ClientStats(_ None, s *coap.Stats) error {
	*s = a.client.Endpoint.Stats()
	return nil
}

// Drops is a number of datagrams that were dropped for a reason.
type Drops struct {
	Reason coap.DropReason
	Count  uint64
}

// Dropped waits until the server has dropped so many.
func (a *Agent) Dropped(d Drops, _ *None) error {
	err := await(d.Reason.String(), func() bool { return a.server.Stats().Dropped[d.Reason] >= d.Count })
	if err != nil {
		return fmt.Errorf("%w: %+v", err, a.server.Stats())
	}
	return nil
}

// Ask is a request.
type Ask struct {
	URI            string
	IfIndex        int
	NonConfirmable bool
	// Want is how many responses of a group to wait for, at most for Window.
	Want   int
	Window time.Duration
}

// request makes it a request that fails rather than wait for ever.
func (a Ask) request() (*coap.Request, error) {
	req, err := coap.NewRequest(coap.GET, a.URI)
	if err == nil {
		req.IfIndex, req.NonConfirmable, req.Window = a.IfIndex, a.NonConfirmable, a.Window
	}
	return req, err
}

// Answer is a response, or why there is none.
type Answer struct {
	Peer, Local netip.AddrPort
	IfIndex     int
	Payload     []byte
	Seen        Seen          // the payload, if that is JSON
	After       time.Duration // since the request

	Err   string // "" for a response
	End   coap.EndError
	Errno syscall.Errno
}

// fill takes over a response or an error.
func (a *Answer) fill(resp *coap.Response, err error) {
	if err == nil {
		err = resp.Err()
	}
	if err == nil {
		a.Peer, a.Local, a.IfIndex = resp.Peer().Addr, resp.Peer().Local, resp.Peer().IfIndex
		a.Payload = resp.Payload
		if format, _ := resp.Options.ContentFormat(); format == coap.JSON {
			err = json.Unmarshal(resp.Payload, &a.Seen)
		}
	}
	if err != nil {
		a.Err = err.Error()
		errors.As(err, &a.End)
		errors.As(err, &a.Errno)
	}
}

// open opens the socket of the client, if that has not happened.
func (a *Agent) open() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client.Endpoint != nil {
		return nil
	}
	conn, err := udp.Listen(":0", nil)
	if err == nil {
		a.client.Endpoint, err = coap.NewEndpoint(conn, nil, nil)
	}
	return err
}

// Do sends a request to one server.
func (a *Agent) Do(ask Ask, answer *Answer) error {
	ctx, cancel := deadline()
	defer cancel()
	req, err := ask.request()
	if err == nil {
		err = a.open()
	}
	if err != nil {
		return err
	}
	resp := new(coap.Response)
	answer.fill(resp, a.client.Do(ctx, req, resp))
	return nil
}

// Multicast sends a request to a group and returns as many answers as are wanted.
func (a *Agent) Multicast(ask Ask, answers *[]Answer) error {
	ctx, cancel := deadline()
	defer cancel()
	req, err := ask.request()
	if err == nil {
		err = a.open()
	}
	if err != nil {
		return err
	}
	start := time.Now()
	for resp, err := range a.client.Multicast(ctx, req) {
		answer := Answer{After: time.Since(start)}
		answer.fill(resp, err)
		*answers = append(*answers, answer)
		if len(*answers) == ask.Want || ctx.Err() != nil {
			break
		}
	}
	return nil
}

// Packet is a datagram as it is on the wire.
type Packet struct {
	Remote  netip.AddrPort // the other end
	IfIndex int
	Data    []byte
}

// Send sends datagrams from a bare socket.
func (a *Agent) Send(packets []Packet, _ *None) error {
	if a.bare == nil {
		var err error
		if a.bare, err = udp.Listen(":0", nil); err != nil {
			return err
		}
	}
	for _, p := range packets {
		d := transport.Datagram{Remote: p.Remote, IfIndex: p.IfIndex, Data: p.Data}
		if _, err := a.bare.WriteBatch([]transport.Datagram{d}); err != nil {
			return fmt.Errorf("to %v: %w", p.Remote, err)
		}
	}
	return nil
}

// Last says when to stop reading: when so many datagrams with these bytes have come.
type Last struct {
	Data  []byte
	Count int
}

// Receive returns what the bare socket gets, until the last.
func (a *Agent) Receive(last Last, packets *[]Packet) error {
	ctx, cancel := deadline()
	defer cancel()
	defer context.AfterFunc(ctx, func() { a.bare.Close() })()
	for count := 0; count < last.Count; {
		d := []transport.Datagram{{Data: make([]byte, 2048)}}
		if _, err := a.bare.ReadBatch(d); err != nil {
			return err
		}
		*packets = append(*packets, Packet{Remote: d[0].Remote, IfIndex: d[0].IfIndex, Data: slices.Clone(d[0].Data)})
		if bytes.Equal(d[0].Data, last.Data) {
			count++
		}
	}
	return nil
}
