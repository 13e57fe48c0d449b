package interop

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport/dtls"
)

// californiumFolder is the environment variable that says where Californium and our program for it are: see californium/pom.xml.
const californiumFolder = "COAPKIT_CALIFORNIUM"

// requireCalifornium skips the test, or fails it, if Californium is missing.
func requireCalifornium(t *testing.T) {
	t.Helper()
	_, err := os.Stat(filepath.Join(os.Getenv(californiumFolder), "Peer.class"))
	if os.Getenv(californiumFolder) == "" || err != nil {
		missing(t, "COAPKIT_REQUIRE_CALIFORNIUM", californiumFolder, "Californium as californium/pom.xml says")
	}
	if _, err := exec.LookPath("java"); err != nil {
		missing(t, "COAPKIT_REQUIRE_CALIFORNIUM", "java", "default-jre-headless (Debian)")
	}
}

// californium is our program for Californium, as a running process.
type californium struct {
	*process
	port uint16 // of a server
}

// startCalifornium starts a server or a client with words that Peer.java explains.
func startCalifornium(t *testing.T, role string, words ...string) *californium {
	t.Helper()
	requireCalifornium(t)
	folder := os.Getenv(californiumFolder)
	args := []string{
		"-Xshare:auto", "-XX:TieredStopAtLevel=1", // it does not live long
		"-cp", filepath.Join(folder, "*") + string(filepath.ListSeparator) + folder, "Peer", "role=" + role,
	}
	c := &californium{process: start(t, "java", append(args, words...)...)}
	if role == "server" {
		port, err := strconv.ParseUint(c.line(t, "listening "), 10, 16)
		require.NoError(t, err)
		c.port = uint16(port)
	}
	return c
}

// pskWord is the word for a name and a key.
func pskWord(name string, key []byte) string { return "psk=" + name + ":" + hex.EncodeToString(key) }

// addr is where a server listens.
func (c *californium) addr() netip.AddrPort { return netip.AddrPortFrom(loopback, c.port) }

// base is the URI of a server, by a name for its host.
func (c *californium) base(host string) string { return fmt.Sprintf("coaps://%s:%d", host, c.port) }

// request has a client send a request and returns the code and body of the response.
func (c *californium) request(t *testing.T, line string) (code string, body []byte) {
	t.Helper()
	c.tell(t, line)
	got := c.await(t, "what became of "+line[:min(len(line), 80)], func(line string) bool {
		return strings.HasPrefix(line, "response ") || strings.HasPrefix(line, "failed ")
	})
	answer, ok := strings.CutPrefix(got, "response ")
	require.True(t, ok, "%s", got)
	return parseAnswer(t, answer)
}

// get has a client get what is at a URI.
func (c *californium) get(t *testing.T, uri string) string {
	t.Helper()
	code, body := c.request(t, "get "+uri)
	require.Equal(t, "2.05", code)
	return string(body)
}

// put has a client put a body.
func (c *californium) put(t *testing.T, uri string, body []byte) {
	t.Helper()
	code, _ := c.request(t, "put "+uri+" #"+base64.StdEncoding.EncodeToString(body))
	require.Equal(t, "2.04", code)
}

// notification waits for the next notification of an observing client.
func (c *californium) notification(t *testing.T) string {
	t.Helper()
	code, body := parseAnswer(t, c.line(t, "notification "))
	require.Equal(t, "2.05", code)
	return string(body)
}

func parseAnswer(t *testing.T, answer string) (code string, body []byte) {
	t.Helper()
	code, text, ok := strings.Cut(answer, " #")
	require.True(t, ok, "answer %s", answer)
	body, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	return code, body
}

// sessions returns how many sessions the process has begun.
func (c *californium) sessions() int { return strings.Count(c.written(), "session ") }

// Californium's client asks our server who it is, puts and gets a body in blocks, and observes, in one session. When our server closes,
// it says so.
//
// Proves 7252-9.1.1-01.
func TestCaliforniumClientOurServer(t *testing.T) {
	t.Parallel()
	requireCalifornium(t)
	inEachWay(t, func(t *testing.T, w way) {
		s := startSite(t, w.server)
		c := startCalifornium(t, "client", append(w.californiumClient, "cid=0")...)
		who := c.get(t, s.base+"/who")
		require.Equal(t, fmt.Sprintf("%s at /%v", w.who, s.event(t, dtls.SessionBegins).Addr), who)
		body := longBody(5000)
		c.put(t, s.base+"/large", body)
		require.Equal(t, string(body), c.get(t, s.base+"/large"))

		c.tell(t, "observe "+s.base+"/value")
		require.Equal(t, "start", c.notification(t))
		for i := range 3 {
			value := fmt.Sprintf("value %d", i)
			s.set(value)
			require.Equal(t, value, c.notification(t))
		}
		requireOneSession(t, s.conn)
		require.NoError(t, s.server.Close())
		c.line(t, "alert CLOSE_NOTIFY")
	})
}

// Our client puts and gets a body in blocks, and observes, in one session. When the server closes it, the next request
// resumes it; when our client does, the server hears of it.
//
// Proves 7252-9.1.1-01.
func TestOurClientCaliforniumServer(t *testing.T) {
	t.Parallel()
	requireCalifornium(t)
	for _, cid := range []string{"cid=6", "cid=0"} {
		t.Run(cid, func(t *testing.T) {
			inEachWay(t, func(t *testing.T, w way) {
				server := startCalifornium(t, "server", append(w.californiumServer, cid)...)
				c := newClient(t, w.client)
				base := server.base(loopback.String())
				body := longBody(5000)
				c.put(t, base+"/large", body)
				require.Equal(t, string(body), c.get(t, base+"/large"))
				o := c.observe(t, base+"/value")
				requireNext(t, o, "start")
				for i := range 3 {
					value := fmt.Sprintf("value %d", i)
					server.tell(t, "set "+value)
					requireNext(t, o, value)
				}
				requireOneSession(t, c.conn)
				require.NoError(t, o.Close())

				server.tell(t, "close")
				require.ErrorIs(t, nextEvent(t, c.events, dtls.SessionEnds).Err, dtls.ClosedByPeer)
				require.Equal(t, string(body), c.get(t, base+"/large"))
				require.EqualValues(t, 2, c.conn.Stats().Begun)
				require.EqualValues(t, 1, c.conn.Stats().Resumed)
				server.line(t, "alert CLOSE_NOTIFY") // its own
				require.NoError(t, c.Close())
				server.line(t, "alert CLOSE_NOTIFY")
			})
		})
	}
}

// A client and a server that have the curve secp256r1 and the cipher suite that RFC 7252 makes mandatory, and no others, have
// sessions with ours.
//
// Proves 7252-9.1.3.3-01, 7252-9.1.3.3-04.
func TestCaliforniumMandatory(t *testing.T) {
	t.Parallel()
	requireCalifornium(t)
	w := ways(t)[2]
	only := []string{"curves=secp256r1", "suites=TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"}
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		s := startSite(t, w.server)
		c := startCalifornium(t, "client", slices.Concat(w.californiumClient, only)...)
		require.Contains(t, c.get(t, s.base+"/who"), w.who)
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		server := startCalifornium(t, "server", slices.Concat(w.californiumServer, only)...)
		require.Contains(t, newClient(t, w.client).get(t, server.base(loopback.String())+"/who"), w.who)
	})
}

// Californium's client resumes its session (RFC 5246 section 7.3), and our server still knows who it is. Clients with certificates
// have to show them again, and those that have connection IDs begin anew.
func TestCaliforniumClientResumes(t *testing.T) {
	t.Parallel()
	requireCalifornium(t)
	for _, x := range []struct {
		name string
		more []string
		want [3]uint64 // sessions that were resumed, in each way
	}{{"no connection ID", nil, [3]uint64{1, 1, 0}}, {"connection ID", []string{"cid=4"}, [3]uint64{0, 0, 0}}} {
		for i, w := range ways(t) {
			t.Run(x.name+", "+w.name, func(t *testing.T) {
				t.Parallel()
				s := startSite(t, w.server)
				c := startCalifornium(t, "client", slices.Concat(w.californiumClient, x.more)...)
				who := c.get(t, s.base+"/who")
				c.tell(t, "resume")
				require.Equal(t, who, c.get(t, s.base+"/who"))
				stats := s.conn.Stats()
				require.EqualValues(t, 2, stats.Begun)
				require.Equal(t, x.want[i], stats.Resumed)
				require.Equal(t, 2, c.sessions())
			})
		}
	}
}

// Californium's client refuses an expired certificate, and our server says so.
func TestCaliforniumClientRefuses(t *testing.T) {
	t.Parallel()
	requireCalifornium(t)
	ca := newAuthority(t)
	s := startSite(t, dtls.Config{Certificates: certificates(ca.issue(t, claims{name: "lamp.example", ip: true, expired: true}))})
	c := startCalifornium(t, "client", "ca="+ca.file)
	c.tell(t, "get "+s.base+"/who")
	c.line(t, "failed ")
	s.requireFailure(t, dtls.CertificateRefused)
}

// Our client says clearly why it has no session with Californium's server.
//
// Proves 7252-9.1.3.3-06.
func TestOurClientCaliforniumRefused(t *testing.T) {
	t.Parallel()
	requireCalifornium(t)
	ca := newAuthority(t)
	old := ca.issue(t, claims{name: "lamp.example", ip: true, expired: true})
	for _, x := range []struct {
		name   string
		server string
		client dtls.Config
		want   dtls.Cause
	}{
		{"wrong key", pskWord(lamp, lampKey), dtls.Config{Credentials: dtls.PSK(lamp, []byte("another"))}, dtls.WrongKey},
		// Californium is silent about both.
		{"unknown identity", pskWord(lamp, lampKey), dtls.Config{Credentials: dtls.PSK("stranger", lampKey)}, dtls.WrongKey},
		{"expired certificate", "cert=" + old.both, dtls.Config{RootCAs: ca.pool()}, dtls.CertificateExpired},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			server := startCalifornium(t, "server", x.server)
			cfg := x.client
			cfg.HandshakeTimeout = 3 * time.Second
			c := newClient(t, cfg)
			_, err := c.Get(within(t), server.base(loopback.String())+"/who")
			var failed *dtls.HandshakeError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, x.want.String(), failed.Cause.String(), "%v", err)
		})
	}
}
