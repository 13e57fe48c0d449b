package coap_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	prove "github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/mem"
)

// fakeResolver answers from a table and counts.
type fakeResolver struct {
	mu    sync.Mutex
	hosts map[string][]string
	asked int
}

func (f *fakeResolver) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	var addrs []netip.Addr
	for _, a := range f.hosts[host] {
		if a == "fail" {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if network != "ip" {
		return nil, errors.New("network " + network)
	}
	return addrs, nil
}

// newClient returns a client in a simulated network, for both families, and a server at
// each address, which answers with the address, method, path, query and Uri-Host.
func newClient(t *testing.T, servers ...string) (*coap.Client, *fakeResolver, *mem.Network) {
	t.Helper()
	network := mem.NewNetwork(mem.Config{})
	for _, a := range servers {
		newTeller(t, network, a)
	}
	host, err := network.Host(mem.Interface{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")}})
	require.NoError(t, err)
	conn, err := host.Listen(netip.AddrPort{})
	require.NoError(t, err)
	resolver := &fakeResolver{hosts: make(map[string][]string)}
	c := &coap.Client{Endpoint: endpoint(t, conn, nil, nil), Resolver: resolver}
	t.Cleanup(func() { c.Close() })
	return c, resolver, network
}

func newTeller(t *testing.T, network *mem.Network, at string) *coap.Endpoint {
	t.Helper()
	return endpoint(t, listen(t, network, netip.MustParseAddrPort(at)), coap.HandlerFunc(func(w *coap.Response, r *coap.Request) error {
		says := []string{at, r.Code.Name(), r.Options.Target()}
		if h, ok := r.Options.String(message.OptionURIHost); ok {
			says = append(says, h)
		}
		if f, ok := r.Options.ContentFormat(); ok {
			says = append(says, f.String(), string(r.Payload))
		}
		return w.Text(strings.Join(says, " "))
	}), &coap.Config{ServeEcho: prove.ServerConfig{Mode: prove.Off}})
}

// A FETCH always says what format its body has, also one that is empty or in the format 0.
//
// Proves 8132-2.3.1-01.
func TestClientMethods(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c, _, _ := newClient(t, "192.0.2.1:5683", "192.0.2.1:61616", "[2001:db8::1]:5683")
		ctx := context.Background()
		for want, call := range map[string]func() (*coap.Response, error){
			"192.0.2.1:5683 GET /a/b?q=1":   func() (*coap.Response, error) { return c.Get(ctx, "coap://192.0.2.1/a/b?q=1") },
			"192.0.2.1:61616 GET /":         func() (*coap.Response, error) { return c.Get(ctx, "coap://192.0.2.1:61616") },
			"[2001:db8::1]:5683 GET /x%2Fy": func() (*coap.Response, error) { return c.Get(ctx, "coap://[2001:DB8::1]/x%2fy") },
			"192.0.2.1:5683 DELETE /a":      func() (*coap.Response, error) { return c.Delete(ctx, "coap://192.0.2.1/a") },
			"192.0.2.1:5683 POST /a":        func() (*coap.Response, error) { return c.Post(ctx, "coap://192.0.2.1/a", 0, nil) },
			"192.0.2.1:5683 POST /b # ":     func() (*coap.Response, error) { return c.Post(ctx, "coap://192.0.2.1/b", message.JSON, nil) },
			"192.0.2.1:5683 POST /a # body": func() (*coap.Response, error) { return c.Post(ctx, "coap://192.0.2.1/a", message.JSON, []byte("body")) },
			"192.0.2.1:5683 PUT /a # body":  func() (*coap.Response, error) { return c.Put(ctx, "coap://192.0.2.1/a", message.JSON, []byte("body")) },
			"192.0.2.1:5683 FETCH /a # body": func() (*coap.Response, error) {
				return c.Fetch(ctx, "coap://192.0.2.1/a", message.JSON, []byte("body"))
			},
			"192.0.2.1:5683 FETCH /b " + message.TextPlain.String() + " ": func() (*coap.Response, error) {
				return c.Fetch(ctx, "coap://192.0.2.1/b", message.TextPlain, nil)
			},
			"192.0.2.1:5683 PATCH /a # body": func() (*coap.Response, error) {
				return c.Patch(ctx, "coap://192.0.2.1/a", message.JSON, []byte("body"))
			},
			"192.0.2.1:5683 iPATCH /a # body": func() (*coap.Response, error) {
				return c.IPatch(ctx, "coap://192.0.2.1/a", message.JSON, []byte("body"))
			},
		} {
			resp, err := call()
			require.NoError(t, err, want)
			require.Equal(t, strings.Replace(want, "#", message.JSON.String(), 1), string(resp.Payload))
			require.NoError(t, resp.Err())
		}
		require.EqualValues(t, 12, c.Stats().Responses)
		require.NoError(t, c.Ping(ctx, "coap://192.0.2.1"))
		var mistake coap.RequestError
		require.ErrorAs(t, c.Ping(ctx, ""), &mistake)
		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
		_, err := c.Get(ctx, "coap://192.0.2.1/")
		require.NoError(t, err, "an Endpoint that it was given stays open")
	})
}

// A client that is bound to a server takes paths, and says the name of the server.
//
// Proves 7252-6.4-s09.
func TestClientBase(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c, resolver, _ := newClient(t, "192.0.2.1:5683", "192.0.2.2:5683")
		ctx := context.Background()
		_, err := c.Get(ctx, "/a")
		require.ErrorContains(t, err, "Dial", "it says what to do")
		c.Base = coap.Authority{Scheme: "coap", Host: "device.example", Port: 5683}
		resolver.hosts["device.example"] = []string{"192.0.2.1"}
		resolver.hosts["other.example"] = []string{"192.0.2.2"}
		tell := func(uri string) string {
			t.Helper()
			resp, err := c.Get(ctx, uri)
			require.NoError(t, err)
			return string(resp.Payload)
		}
		require.Equal(t, "192.0.2.1:5683 GET /a device.example", tell("/a"))
		require.Equal(t, "192.0.2.2:5683 GET /a other.example", tell("coap://other.example/a"))
		require.NoError(t, c.Ping(ctx, ""))

		req := request(t, coap.GET, netip.AddrPort{}, "/a")
		req.Options.SetString(message.OptionURIHost, "virtual.example")
		require.Equal(t, "192.0.2.1:5683 GET /a virtual.example", string(do(t, c, req).Payload))
		req = request(t, coap.GET, netip.AddrPort{}, "/a")
		for range 2 {
			require.Equal(t, "192.0.2.1:5683 GET /a device.example", string(do(t, c, req).Payload))
			require.False(t, req.Options.Has(message.OptionURIHost), "the caller's request stays as it is")
		}
		req.To = netip.MustParseAddrPort("192.0.2.2:5683")
		require.Equal(t, "192.0.2.2:5683 GET /a", string(do(t, c, req).Payload), "To goes before all else")
		require.Equal(t, 2, resolver.asked, "names are remembered")
		pass(2 * time.Minute)
		tell("/a")
		require.Equal(t, 3, resolver.asked, "but not for ever")
	})
}

// What cannot be sent is refused with a reason, without asking a resolver.
//
// Proves 7252-6.2-01.
func TestClientRefuses(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c, resolver, _ := newClient(t)
		for uri, reason := range map[string]string{
			"coaps://192.0.2.1/x":      "DTLS",
			"coap://224.0.1.187/x":     "multicast",
			"coap://[ff02::fd%251]/x":  "multicast",
			"http://192.0.2.1/x":       "scheme",
			"coap://192.0.2.1/x#frag":  "fragment",
			"coap:///x":                "host",
			"coap://192.0.2.1:70000/x": "port",
			"192.0.2.1/x":              "",
			"":                         "",
		} {
			_, err := c.Get(context.Background(), uri)
			require.Error(t, err, uri)
			require.ErrorContains(t, err, reason, uri)
		}
		require.Zero(t, resolver.asked)
		require.Zero(t, c.Stats().Sent)
		err := c.Do(context.Background(), &coap.Request{Code: message.Content, To: serverAddr}, new(coap.Response))
		require.ErrorContains(t, err, "method")
		err = c.Do(context.Background(), &coap.Request{Code: coap.GET, To: netip.MustParseAddrPort("0.0.0.0:5683")}, new(coap.Response))
		require.ErrorContains(t, err, "destination")
		err = c.Endpoint.RoundTrip(context.Background(), request(t, coap.GET, netip.AddrPort{}, "coap://name.example/x"), new(coap.Response))
		require.ErrorContains(t, err, "To", "an Endpoint does not look up names")
		req := request(t, coap.GET, serverAddr, "coaps://192.0.2.1/x")
		require.ErrorContains(t, c.Endpoint.RoundTrip(context.Background(), req, new(coap.Response)), "DTLS")
		_, err = c.Endpoint.Open(context.Background(), req)
		require.ErrorContains(t, err, "DTLS")
		require.Zero(t, c.Stats().Sent)
	})
}

// Of several addresses the next is tried when one cannot be reached; the one that worked is
// tried first then, and when none works the name is looked up again.
func TestClientSeveralAddresses(t *testing.T) {
	ctx := context.Background()
	bubble(t, "unreachable", func(t *testing.T) {
		c, resolver, network := newClient(t, "192.0.2.3:5683")
		resolver.hosts["h.example"] = []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}
		start := time.Now()
		for range 3 {
			resp, err := c.Get(ctx, "coap://h.example/")
			require.NoError(t, err)
			require.Equal(t, "192.0.2.3:5683 GET / h.example", string(resp.Payload))
		}
		require.Zero(t, time.Since(start), "unreachable is noticed at once")
		require.EqualValues(t, 2, c.Stats().Unreachable, "once for each that is not there")
		require.Equal(t, 1, resolver.asked)

		// The host moves: all addresses fail, so the next request asks again.
		resolver.hosts["h.example"] = []string{"192.0.2.9"}
		newTeller(t, network, "192.0.2.9:5683")
		network.SetConfig(mem.Config{Filter: func(p *mem.Packet) mem.Verdict {
			if p.Dst.Addr() == netip.MustParseAddr("192.0.2.3") {
				return mem.Verdict{Err: syscall.EHOSTUNREACH}
			}
			return mem.Verdict{}
		}})
		_, err := c.Get(ctx, "coap://h.example/")
		require.ErrorIs(t, err, coap.ErrUnreachable)
		resp, err := c.Get(ctx, "coap://h.example/")
		require.NoError(t, err)
		require.Equal(t, "192.0.2.9:5683 GET / h.example", string(resp.Payload))
		require.Equal(t, 2, resolver.asked)
	})
	for _, method := range []coap.Code{coap.GET, coap.POST} {
		bubble(t, "silent "+method.Name(), func(t *testing.T) {
			c, resolver, network := newClient(t, "192.0.2.2:5683")
			network.SetConfig(mem.Config{NoUnreachable: true})
			resolver.hosts["h.example"] = []string{"192.0.2.1", "192.0.2.2"}
			start := time.Now()
			req := request(t, method, netip.AddrPort{}, "coap://h.example/")
			resp := new(coap.Response)
			err := c.Do(ctx, req, resp)
			require.GreaterOrEqual(t, time.Since(start), 62*time.Second)
			if method == coap.POST {
				require.ErrorIs(t, err, coap.ErrNotAcknowledged, "it may have been performed")
				resolver.hosts["h.example"] = []string{"192.0.2.2"}
				require.NoError(t, c.Do(ctx, req, resp), "the name is looked up again")
				return
			}
			require.NoError(t, err)
			require.Equal(t, "192.0.2.2:5683 GET / h.example", string(resp.Payload))
		})
	}
	bubble(t, "both families", func(t *testing.T) {
		c, resolver, _ := newClient(t, "192.0.2.2:5683")
		resolver.hosts["h.example"] = []string{"2001:db8::2", "::ffff:192.0.2.2"}
		resp, err := c.Get(ctx, "coap://h.example/")
		require.NoError(t, err)
		require.Equal(t, "192.0.2.2:5683 GET / h.example", string(resp.Payload))
	})
	bubble(t, "no name", func(t *testing.T) {
		c, resolver, _ := newClient(t)
		resolver.hosts["gone.example"] = []string{"fail"}
		var dns *net.DNSError
		_, err := c.Get(ctx, "coap://gone.example/")
		require.ErrorAs(t, err, &dns)
		require.ErrorContains(t, err, "gone.example")
		_, err = c.Get(ctx, "coap://empty.example/")
		require.ErrorAs(t, err, &dns)
		require.Equal(t, 2, resolver.asked)
	})
	bubble(t, "in parallel", func(t *testing.T) {
		c, resolver, _ := newClient(t, "192.0.2.3:5683")
		resolver.hosts["h.example"] = []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for range 3 {
					resp, err := c.Get(ctx, "coap://h.example/")
					if err != nil || !slices.Equal(strings.Fields(string(resp.Payload))[:1], []string{"192.0.2.3:5683"}) {
						t.Errorf("%v %v", resp, err)
					}
				}
			})
		}
		all.Wait()
		before := c.Stats().Unreachable
		_, err := c.Get(ctx, "coap://h.example/")
		require.NoError(t, err)
		require.Equal(t, before, c.Stats().Unreachable, "the one that works is the first")
	})
}

// Error responses are no errors of Go unless asked for.
func TestResponseErr(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, newResources(), nil)
		c := &coap.Client{Endpoint: endpoint(t, listen(t, r.net, peerAddr2), nil, nil)}
		resp, err := c.Get(context.Background(), "coap://192.0.2.1/forbidden")
		require.NoError(t, err)
		var e *coap.Error
		require.ErrorAs(t, resp.Err(), &e)
		require.Equal(t, coap.Error{Code: message.Forbidden, Diagnostic: "not you"}, *e)
		require.EqualError(t, resp.Err(), "coap: 4.03 Forbidden: not you")
		resp, err = c.Get(context.Background(), "coap://192.0.2.1/plain")
		require.NoError(t, err)
		require.NoError(t, resp.Err())
		resp, err = c.Get(context.Background(), "coap://192.0.2.1/id/a%2Fb%00")
		require.NoError(t, err)
		require.Equal(t, `"a/b\x00"`, string(resp.Payload))
	})
}

// Request and Response can be used again; a response that is reused holds nothing of the last.
func TestReuse(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, newResources(), nil)
		c := &coap.Client{Endpoint: endpoint(t, listen(t, r.net, peerAddr2), nil, nil)}
		req, resp := request(t, coap.POST, serverAddr, "/echo"), new(coap.Response)
		for _, body := range []string{strings.Repeat("long ", 100), "short", "", "middle-sized"} {
			req.Payload = []byte(body)
			require.NoError(t, c.Do(context.Background(), req, resp))
			require.Equal(t, body, string(resp.Payload))
		}
		r.ep.Close()
		require.Error(t, c.Do(context.Background(), req, resp))
	})
}

// A request that was refused is not made again, neither at this server nor at its next address.
//
// Proves 7252-5.9.2.2-01, 7252-5.9.2.3-01.
func TestRefusedIsNotRepeated(t *testing.T) {
	for _, code := range []coap.Code{coap.Unauthorized, coap.BadOption} {
		bubble(t, code.String(), func(t *testing.T) {
			c, resolver, network := newClient(t)
			resolver.hosts["h.example"] = []string{"192.0.2.1", "192.0.2.2"}
			asked := 0
			for _, addr := range resolver.hosts["h.example"] {
				endpoint(t, listen(t, network, netip.MustParseAddrPort(addr+":5683")), coap.HandlerFunc(func(*coap.Response, *coap.Request) error {
					asked++
					return &coap.Error{Code: code}
				}), nil)
			}
			resp, err := c.Get(t.Context(), "coap://h.example/")
			require.NoError(t, err)
			require.Equal(t, code, resp.Code)
			pass(time.Hour)
			require.Equal(t, 1, asked)
		})
	}
}

// The payload of an error is a diagnostic unless it has a format.
//
// Proves 7252-5.5.1-s07, 7252-5.5.1-s08.
func TestDiagnosticOrRepresentation(t *testing.T) {
	resp := coap.Response{Code: coap.Conflict, Payload: []byte("later")}
	require.EqualError(t, resp.Err(), "coap: 4.09 Conflict: later")
	resp.Options.SetContentFormat(coap.TextPlain)
	require.EqualError(t, resp.Err(), "coap: 4.09 Conflict")
}
