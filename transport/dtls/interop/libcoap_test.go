package interop

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport/dtls"
)

// The programs of libcoap with DTLS. Tried with libcoap 4.3.1.
const (
	libcoapPackage = "libcoap3-bin (Debian)"
	libcoapClient  = "coap-client-"
	libcoapServer  = "coap-server-"
)

// onEachLibrary runs a test with each of the libraries that libcoap uses for DTLS, as a subtest each.
func onEachLibrary(t *testing.T, program string, test func(t *testing.T, library string)) {
	t.Helper()
	for _, library := range []string{"openssl", "gnutls"} {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			requireTool(t, program+library, libcoapPackage)
			test(t, library)
		})
	}
}

// libcoap is libcoap's example server, as a running process. It makes a resource of what is put anywhere, and has
// /time, which changes with each second.
type libcoap struct {
	*process
	addr    netip.AddrPort
	base    string // its coaps URI, without a path
	library string
	args    []string
}

// startLibcoap starts the server, and waits until it answers a ping without DTLS.
func startLibcoap(t *testing.T, library string, args ...string) *libcoap {
	t.Helper()
	for range 10 {
		port := freePorts(t)
		at := netip.AddrPortFrom(loopback, port+1)
		s := &libcoap{addr: at, base: "coaps://" + at.String(), library: library, args: append([]string{
			"-A", loopback.String(), "-p", strconv.Itoa(int(port)), "-v", "7", "-d", "10",
		}, args...)}
		if s.start(t) {
			return s
		}
	}
	t.Fatal("libcoap's server does not answer")
	return nil
}

// start starts the process. It reports false if that does not work out, since somebody else has taken the port meanwhile.
func (s *libcoap) start(t *testing.T) bool {
	t.Helper()
	s.process = start(t, requireTool(t, libcoapServer+s.library, libcoapPackage), s.args...)
	ctx := within(t)
	c := coap.Client{Config: &coap.Config{Params: coap.Params{AckTimeout: time.Second / 2}}}
	defer c.Close()
	for ctx.Err() == nil && s.running() {
		// Until the port is open, the system says at once that the ping is not delivered.
		if c.Ping(ctx, "coap://"+netip.AddrPortFrom(loopback, s.addr.Port()-1).String()) == nil {
			return true
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.done:
		}
	}
	s.kill()
	return false
}

// running reports whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// runLibcoap has libcoap's example client send a request, and returns the body of the response. It waits for it for some
// seconds.
func runLibcoap(t *testing.T, library string, seconds int, args ...string) string {
	t.Helper()
	saved := filepath.Join(t.TempDir(), "saved")
	p := start(t, requireTool(t, libcoapClient+library, libcoapPackage),
		append([]string{"-v", "6", "-B", strconv.Itoa(seconds), "-o", saved}, args...)...)
	p.end(t)
	b, err := os.ReadFile(saved)
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(t, err)
	return string(b)
}

// libcoap's client asks our server who it is, puts and gets a body in blocks, observes, and says when it goes: our server
// has closed the session then.
//
// Proves 7252-9.1.1-01.
func TestLibcoapClientOurServer(t *testing.T) {
	t.Parallel()
	onEachLibrary(t, libcoapClient, func(t *testing.T, library string) {
		inEachWay(t, func(t *testing.T, w way) {
			s := startSite(t, w.server)
			who := runLibcoap(t, library, 10, append(w.libcoapClient, s.base+"/who")...)
			began := s.event(t, dtls.SessionBegins)
			require.Equal(t, fmt.Sprintf("%s at /%v", w.who, began.Addr), who)
			require.ErrorIs(t, s.event(t, dtls.SessionEnds).Err, dtls.ClosedByPeer)

			body := longBody(5000)
			file := filepath.Join(t.TempDir(), "body")
			require.NoError(t, os.WriteFile(file, body, 0o600))
			runLibcoap(t, library, 10, append(w.libcoapClient, "-m", "put", "-b", "256", "-f", file, s.base+"/large")...)
			require.Equal(t, string(body), runLibcoap(t, library, 10, append(w.libcoapClient, "-b", "512", s.base+"/large")...))

			o := start(t, requireTool(t, libcoapClient+library, libcoapPackage),
				append(w.libcoapClient, "-w", "-s", "3", s.base+"/value")...)
			o.line(t, "start")
			for i := range 3 {
				value := fmt.Sprintf("value %d", i)
				s.set(value)
				o.line(t, value)
			}
			o.end(t)
			require.Equal(t, observe.EndDeregistered.String(), (<-s.ends).String())
			for range 3 {
				require.ErrorIs(t, s.event(t, dtls.SessionEnds).Err, dtls.ClosedByPeer)
			}
			stats := s.conn.Stats()
			require.EqualValues(t, 4, stats.Begun)
			require.Zero(t, stats.Sessions)
		})
	})
}

// Who cannot show who it is gets no session of our server, and it counts why.
//
// Proves 7252-9.1.3.3-06, 7252-9.1.3.3-07.
func TestLibcoapClientRefused(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	server := ca.issue(t, claims{name: "lamp.example", ip: true})
	mutual := dtls.Config{Certificates: certificates(server), ClientCAs: ca.pool()}
	key := dtls.Config{PSK: dtls.Keys{lamp: lampKey}.Lookup}
	show := func(a *authority, c claims) []string {
		id := a.issue(t, c)
		return []string{"-c", id.cert, "-j", id.key, "-R", ca.file}
	}
	for _, x := range []struct {
		name   string
		server dtls.Config
		client []string
		want   dtls.Cause
	}{
		{"wrong key", key, []string{"-u", lamp, "-k", "another"}, dtls.WrongKey},
		{"unknown identity", key, []string{"-u", "stranger", "-k", string(lampKey)}, dtls.UnknownIdentity},
		{"no certificate", mutual, []string{"-R", ca.file}, dtls.CertificateMissing},
		{"certificate of a stranger", mutual, show(stranger, claims{name: "stranger"}), dtls.CertificateUntrusted},
		{"expired certificate", mutual, show(ca, claims{name: "controller", expired: true}), dtls.CertificateExpired},
		{"a key for a certificate", mutual, []string{"-u", lamp, "-k", string(lampKey)}, dtls.NoCommonSuite},
		{"a certificate for a key", key, show(ca, claims{name: "controller"}), dtls.NoCommonSuite},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			onEachLibrary(t, libcoapClient, func(t *testing.T, library string) {
				cfg := x.server
				cfg.HandshakeTimeout = 2 * time.Second
				s := startSite(t, cfg)
				require.Empty(t, runLibcoap(t, library, 3, append(slices.Clone(x.client), s.base+"/who")...))
				s.requireFailure(t, x.want)
			})
		})
	}
}

// Our client gets, puts and gets a body in blocks, and observes, in one session, which it closes.
//
// Proves 7252-9.1.1-01.
func TestOurClientLibcoapServer(t *testing.T) {
	t.Parallel()
	onEachLibrary(t, libcoapServer, func(t *testing.T, library string) {
		inEachWay(t, func(t *testing.T, w way) {
			server := startLibcoap(t, library, w.libcoapServer...)
			c := newClient(t, w.client)
			require.Contains(t, c.get(t, server.base+"/"), "made with libcoap")
			body := longBody(5000)
			require.Equal(t, message.Created, c.put(t, server.base+"/new", body))
			require.Equal(t, string(body), c.get(t, server.base+"/new"))

			o := c.observe(t, server.base+"/time")
			seen := ""
			for range 3 {
				seen = until(t, o, func(payload string) bool { return payload != seen })
			}
			requireOneSession(t, c.conn)
			require.NoError(t, c.Close())
			if library == "openssl" { // what GnuTLS makes of it is not in the log
				server.lineWith(t, "alert read:warning:close notify")
			}
		})
	})
}

// The name that our client knows the server by goes to the server, which asks for it in its log, and has to stand in its certificate.
//
// Proves 7252-9.1.3-01.
func TestOurClientLibcoapName(t *testing.T) {
	t.Parallel()
	onEachLibrary(t, libcoapServer, func(t *testing.T, library string) {
		w := ways(t)[1]
		server := startLibcoap(t, library, w.libcoapServer...)
		w.client.ServerName = "lamp.example"
		c := newClient(t, w.client)
		require.Contains(t, c.get(t, server.base+"/"), "made with libcoap")
		server.lineWith(t, "SNI 'lamp.example' requested")
	})
}

// Our client says clearly why it has no session.
//
// Proves 7252-9.1.3.3-06, 7252-9.1.3.3-07.
func TestOurClientRefused(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	good := ca.issue(t, claims{name: "lamp.example", dns: []string{"lamp.example"}, ip: true})
	show := func(c *credential) []string { return []string{"-c", c.cert, "-j", c.key, "-n"} }
	keyed := []string{"-k", string(lampKey)}
	trust := dtls.Config{RootCAs: ca.pool()}
	for _, x := range []struct {
		name   string
		server []string
		client dtls.Config
		want   dtls.Cause
		silent bool // GnuTLS is silent about it
	}{
		{"wrong key", keyed, dtls.Config{Credentials: dtls.PSK(lamp, []byte("another"))}, dtls.WrongKey, false},
		{"certificate of a stranger", show(stranger.issue(t, claims{name: "lamp.example", ip: true})), trust, dtls.CertificateUntrusted, false},
		{"expired certificate", show(ca.issue(t, claims{name: "lamp.example", ip: true, expired: true})), trust, dtls.CertificateExpired, false},
		{"wrong name", show(good), dtls.Config{RootCAs: ca.pool(), ServerName: "pump.example"}, dtls.CertificateName, false},
		{"wrong address", show(ca.issue(t, claims{name: "lamp.example", dns: []string{"lamp.example"}})), trust, dtls.CertificateName, false},
		{"no certificate of ours", []string{"-c", good.cert, "-j", good.key, "-C", ca.file}, trust, dtls.CertificateRefused, false},
		{"a certificate for a key", keyed, trust, dtls.NoCommonSuite, true},
		{"a key for a certificate", show(good), dtls.Config{Credentials: dtls.PSK(lamp, lampKey)}, dtls.NoCommonSuite, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			onEachLibrary(t, libcoapServer, func(t *testing.T, library string) {
				server := startLibcoap(t, library, x.server...)
				cfg := x.client
				cfg.HandshakeTimeout = 3 * time.Second
				c := newClient(t, cfg)
				_, err := c.Get(within(t), server.base+"/")
				var failed *dtls.HandshakeError
				require.ErrorAs(t, err, &failed)
				want := x.want
				if x.silent && library == "gnutls" {
					want = dtls.Unfinished
				}
				require.Equal(t, want.String(), failed.Cause.String(), "%v", err)
				require.EqualValues(t, 1, c.conn.Stats().Failed[want])
				require.Zero(t, c.conn.Stats().Begun)
			})
		})
	}
}

// libcoapCannot says which cipher suites a library does not have.
var libcoapCannot = map[string][]dtls.CipherSuite{
	"gnutls": {dtls.PSKWithAES256CCM8},
}

// Each cipher suite carries requests of either side.
//
// Proves 7252-9.1.3.1-01, 7252-9.1.3.3-01.
func TestLibcoapSuites(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ecdsa := ca.issue(t, claims{name: "lamp.example", ip: true})
	rsa := ca.issue(t, claims{name: "lamp.example", ip: true, rsa: true})
	for _, suite := range dtls.CipherSuites() {
		t.Run(suite.String(), func(t *testing.T) {
			t.Parallel()
			w := way{
				server: dtls.Config{PSK: dtls.Keys{lamp: lampKey}.Lookup}, client: dtls.Config{Credentials: dtls.PSK(lamp, lampKey)},
				libcoapServer: []string{"-k", string(lampKey)}, libcoapClient: []string{"-u", lamp, "-k", string(lampKey)},
			}
			if !strings.Contains(suite.String(), "_PSK_") {
				id := ecdsa
				if strings.Contains(suite.String(), "_RSA_") {
					id = rsa
				}
				w = way{
					server: dtls.Config{Certificates: certificates(id)}, client: dtls.Config{RootCAs: ca.pool()},
					libcoapServer: []string{"-c", id.cert, "-j", id.key, "-n"}, libcoapClient: []string{"-R", ca.file},
				}
			}
			w.server.CipherSuites, w.client.CipherSuites = []dtls.CipherSuite{suite}, []dtls.CipherSuite{suite}
			onEachLibrary(t, libcoapServer, func(t *testing.T, library string) {
				if slices.Contains(libcoapCannot[library], suite) {
					return
				}
				s := startSite(t, w.server)
				require.NotEmpty(t, runLibcoap(t, library, 10, append(slices.Clone(w.libcoapClient), s.base+"/who")...))
				server := startLibcoap(t, library, w.libcoapServer...)
				require.Contains(t, newClient(t, w.client).get(t, server.base+"/"), "made with libcoap")
			})
		})
	}
}

// Whichever datagram of a handshake gets lost, it is sent again, and there is a session: in particular the last ones of each side, which
// our server sends again though it has ended its part (RFC 6347 section 4.2.4).
func TestLibcoapHandshakeLoss(t *testing.T) {
	t.Parallel()
	w := ways(t)[2]
	for _, toServer := range []bool{true, false} {
		for nth := 1; nth <= 8; nth++ {
			t.Run(fmt.Sprintf("to the server %v, datagram %d", toServer, nth), func(t *testing.T) {
				t.Parallel()
				onEachLibrary(t, libcoapServer, func(t *testing.T, library string) {
					lost := loss{toServer, nth}
					s := startSite(t, w.server)
					n := startNAT(t, s.conn.LocalAddr(), lost)
					uri := fmt.Sprintf("coaps://%v/who", n.addr)
					require.Equal(t, fmt.Sprintf("%s at /%v", w.who, n.seen()), runLibcoap(t, library, 20, append(slices.Clone(w.libcoapClient), uri)...))
					require.EqualValues(t, 1, s.conn.Stats().Begun)

					server := startLibcoap(t, library, w.libcoapServer...)
					n = startNAT(t, server.addr, lost)
					c := newClient(t, w.client)
					require.Contains(t, c.get(t, fmt.Sprintf("coaps://%v/", n.addr)), "made with libcoap")
					requireOneSession(t, c.conn)
				})
			})
		}
	}
}

// Handshakes with chains of certificates that take several datagrams, which our side makes small.
func TestLibcoapLongChain(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	long := claims{name: "lamp.example", ip: true, rsa: true}
	for i := range 40 {
		long.dns = append(long.dns, fmt.Sprintf("lamp-%d.house.example", i))
	}
	server := ca.issue(t, long)
	long.name = "controller"
	client := ca.issue(t, long)
	ours := dtls.Config{Certificates: certificates(server), ClientCAs: ca.pool(), MTU: 300}
	onEachLibrary(t, libcoapServer, func(t *testing.T, library string) {
		s := startSite(t, ours)
		require.Contains(t, runLibcoap(t, library, 10, "-c", client.cert, "-j", client.key, "-C", ca.file, s.base+"/who"), "CN=controller")
		peer := startLibcoap(t, library, "-c", server.cert, "-j", server.key, "-C", ca.file)
		c := newClient(t, dtls.Config{Certificates: certificates(client), RootCAs: ca.pool(), MTU: 300})
		require.Contains(t, c.get(t, peer.base+"/"), "made with libcoap")
	})
}
