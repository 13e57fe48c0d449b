package dtls

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/coaptest"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
)

// requireCause expects that dialing fails for a reason.
func requireCause(t *testing.T, p *pair, want Cause) *HandshakeError {
	t.Helper()
	_, err := p.client.Dial(context.Background(), serverAddr, "")
	e, ok := errors.AsType[*HandshakeError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, want, e.Cause, "%v", err)
	return e
}

// Whoever has the wrong credentials is told which.
//
// Proves 7252-9.1.3.3-06, 7252-9.1.3.3-07.
func TestRefusals(t *testing.T) {
	ca, other := newAuthority(t, "ours"), newAuthority(t, "others")
	withCert := func(c tls.Certificate) *Config { return &Config{Certificates: []tls.Certificate{c}} }
	good := ca.issue("192.0.2.1")
	mutual := withCert(good)
	mutual.ClientCAs = ca.pool()
	pinned := &Config{Pins: [][32]byte{Pin(good.Leaf)}}
	clientOf := func(c tls.Certificate) *Config {
		cfg := withCert(c)
		cfg.RootCAs = ca.pool()
		return cfg
	}
	for name, c := range map[string]struct {
		client, server *Config
		want           Cause
		atServer       Cause
	}{
		"unknown identity": {pskClient("nobody"), pskServer(), UnknownIdentity, UnknownIdentity},
		"wrong key":        {&Config{Credentials: PSK("lamp", []byte("wrong"))}, pskServer(), WrongKey, WrongKey},
		"no suite":         {&Config{RootCAs: ca.pool()}, pskServer(), NoCommonSuite, NoCommonSuite},
		"untrusted":        {&Config{RootCAs: other.pool()}, withCert(good), CertificateUntrusted, CertificateRefused},
		"expired":          {&Config{RootCAs: ca.pool()}, withCert(ca.issue("192.0.2.1", expired)), CertificateExpired, CertificateRefused},
		"misnamed":         {&Config{RootCAs: ca.pool()}, withCert(ca.issue("192.0.2.9")), CertificateName, CertificateRefused},
		"for clients only": {&Config{RootCAs: ca.pool()}, withCert(ca.issue("192.0.2.1", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] })), CertificateUntrusted, CertificateRefused},
		"another pin":      {pinned, withCert(ca.issue("192.0.2.1")), CertificateUntrusted, CertificateRefused},
		"no certificate":   {&Config{RootCAs: ca.pool()}, mutual, CertificateRefused, CertificateMissing},
		"client untrusted": {clientOf(other.issue("lamp")), mutual, CertificateRefused, CertificateUntrusted},
		"client expired":   {clientOf(ca.issue("lamp", expired)), mutual, CertificateRefused, CertificateExpired},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, c.client, c.server)
				e := requireCause(t, p, c.want)
				require.NotEmpty(t, e.Error())
				synctest.Wait()
				coaptest.Pass(time.Minute)
				st := p.server.Stats()
				require.Zero(t, st.Handshakes)
				require.Zero(t, st.Sessions)
				require.EqualValues(t, 1, st.Failed[c.atServer], "%v", st.Failed)
				p.close()
			})
		})
	}
}

// Some servers are silent about a wrong key for a while, and close then what never was open.
func TestHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, &Config{Credentials: PSK("lamp", []byte("wrong"))}, pskServer())
		failed := make(chan error, 1)
		go func() {
			_, err := p.client.Dial(context.Background(), serverAddr, "")
			failed <- err
		}()
		coaptest.Pass(time.Second)
		bye := []byte{byte(typeAlert), 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, alertWarning, closeNotify}
		_, err := p.server.inner.WriteBatch([]transport.Datagram{{Data: bye, Remote: clientAddr}})
		require.NoError(t, err)
		coaptest.Pass(time.Second)
		synctest.Wait()
		select {
		case err := <-failed:
			e, ok := errors.AsType[*HandshakeError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, WrongKey, e.Cause)
		default:
			t.Fatal("it still waits")
		}
		p.close()
	})
}

// Both ends prove who they are by certificates.
//
// Proves 7252-9.1.3.3-02, 7252-9.1.3.3-03, 7252-9.1.3.3-04.
func TestCertificates(t *testing.T) {
	ca := newAuthority(t, "ours")
	server := &Config{Certificates: []tls.Certificate{ca.issue("192.0.2.1")}, ClientCAs: ca.pool()}
	client := &Config{Certificates: []tls.Certificate{ca.issue("lamp-7")}, RootCAs: ca.pool()}
	pinned := &Config{Certificates: client.Certificates, Pins: [][32]byte{Pin(server.Certificates[0].Leaf)}}
	for name, cfg := range map[string]*Config{"signed": client, "pinned": pinned} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, cfg, server)
				s := p.dial()
				send(t, p.client, s, "ping")
				d := receive(t, p.server)
				require.Equal(t, "lamp-7", d.Session.Identity.(*Identity).Certificates[0].Subject.CommonName)
				require.Equal(t, server.Certificates[0].Leaf.Raw, s.Identity.(*Identity).Certificates[0].Raw)
				p.close()
			})
		})
	}
}

// All cipher suites work, in both directions. The first of each sort are mandatory.
//
// Proves 7252-9.1.3.1-01, 7252-9.1.3.3-01.
func TestCipherSuites(t *testing.T) {
	ca := newAuthority(t, "ours")
	for _, id := range CipherSuites() {
		t.Run(id.String(), func(t *testing.T) {
			cert := ca.issue("192.0.2.1")
			if id == ECDHERSAWithAES128GCMSHA256 || id == ECDHERSAWithAES256GCMSHA384 {
				cert = ca.issueRSA("192.0.2.1")
			}
			synctest.Test(t, func(t *testing.T) {
				client, server := pskClient("lamp"), pskServer()
				client.RootCAs, server.Certificates = ca.pool(), []tls.Certificate{cert}
				client.CipherSuites = []CipherSuite{id}
				p := newPair(t, client, server)
				s := p.dial()
				for i := range 3 {
					send(t, p.client, s, string(make([]byte, 100*i)))
					d := receive(t, p.server)
					require.Len(t, d.Data, 100*i)
					send(t, p.server, d.Session, "pong")
					require.Equal(t, "pong", string(receive(t, p.client).Data))
				}
				p.close()
			})
		})
	}
}

// A server can pin the certificates of its clients, too.
func TestPinnedClients(t *testing.T) {
	ca := newAuthority(t, "nobody's")
	known, unknown := ca.issue("lamp-7"), ca.issue("lamp-8")
	server := &Config{Certificates: []tls.Certificate{ca.issue("192.0.2.1")}, RootCAs: ca.pool(), Pins: [][32]byte{Pin(known.Leaf)}}
	synctest.Test(t, func(t *testing.T) {
		client := func(certs ...tls.Certificate) *Config { return &Config{Certificates: certs, RootCAs: ca.pool()} }
		p := newPair(t, client(unknown), server)
		requireCause(t, p, CertificateRefused)
		p.client.Close()
		p.client = p.listen(clientAddr, client())
		requireCause(t, p, CertificateRefused)
		p.client.Close()
		p.client = p.listen(clientAddr, client(known))
		p.dial()
		require.EqualValues(t, 1, p.server.Stats().Failed[CertificateUntrusted])
		require.EqualValues(t, 1, p.server.Stats().Failed[CertificateMissing])
		p.close()
	})
}

// Whoever has another key is told so soon, if both ends are ours.
func TestWrongKeySoon(t *testing.T) {
	for _, cid := range []int{0, -1} {
		synctest.Test(t, func(t *testing.T) {
			server := pskServer()
			server.ConnectionID = cid
			p := newPair(t, &Config{Credentials: PSK("lamp", []byte("wrong"))}, server)
			begin := time.Now()
			requireCause(t, p, WrongKey)
			require.Less(t, time.Since(begin), 2*time.Second)
			synctest.Wait()
			coaptest.Pass(time.Second)
			require.EqualValues(t, 1, p.server.Stats().Failed[WrongKey])
			p.close()
		})
	}
}

// A handshake in which the network doubles everything is none with a wrong key.
func TestDoubledHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pskClient("lamp"), pskServer())
		p.net.SetConfig(mem.Config{Delay: 10 * time.Millisecond, Duplicate: 1})
		p.dial()
		coaptest.Pass(time.Minute)
		require.Equal(t, 1, p.server.Stats().Sessions)
		require.Zero(t, p.server.Stats().Failed[WrongKey])
		p.close()
	})
}

// A server with a hint gets the identity that is for it.
func TestHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := pskServer()
		server.Hint = "house 7"
		var asked []ServerInfo
		client := &Config{Credentials: func(s ServerInfo) (string, []byte, error) {
			asked = append(asked, s)
			if s.Hint == "house 7" {
				return "lamp", key, nil
			}
			return "visitor", []byte("?"), nil
		}}
		p := newPair(t, client, server)
		s := p.dial()
		require.Equal(t, "lamp", s.Identity.(*Identity).PSK)
		require.Len(t, asked, 4)
		send(t, p.client, s, "ping")
		require.Equal(t, "lamp", receive(t, p.server).Session.Identity.(*Identity).PSK)
		p.close()
	})
}

// Loss of any message of a handshake delays it, and no more.
func TestHandshakeLoss(t *testing.T) {
	for lost := range 14 {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, pskClient("lamp"), pskServer())
			n := 0
			p.lose(func([]byte) bool { n++; return n-1 == lost })
			s := p.dial()
			send(t, p.client, s, "ping")
			if lost >= 6 { // the datagram itself, if not the end of the handshake again
				coaptest.Pass(time.Second)
				send(t, p.client, s, "ping")
			}
			require.Equal(t, "ping", string(receive(t, p.server).Data))
			p.close()
		})
	}
}

// What a client repeats of the end of its handshake is no copy: each has a sequence number of its own, and the session goes on
// behind the last.
func TestFinishedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pskClient("lamp"), pskServer())
		var sequences []uint64
		p.lose(func(b []byte) bool {
			for rest := b; len(rest) > 0; {
				r, after, ok := nextRecord(rest, defaultCIDLength)
				if !ok {
					break
				}
				if r.typ == typeCID {
					sequences = append(sequences, r.sequence)
				}
				if r.typ == typeChangeCipherSpec && len(rest) == len(b) && len(sequences) < 3 {
					return true // the end of the server's, which begins with it
				}
				rest = after
			}
			return false
		})
		s := p.dial()
		require.Equal(t, []uint64{0, 1, 2}, sequences)
		send(t, p.client, s, "ping")
		require.Equal(t, "ping", string(receive(t, p.server).Data))
		require.EqualValues(t, 3, sequences[3])
		require.Zero(t, p.server.Stats().NotAuthentic)
		p.close()
	})
}

// A session is there only once for all who ask for it at the same time; and nobody is waited for by those who do not
// want to wait.
func TestDialTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pskClient("lamp"), pskServer())
		got := make(chan *transport.Session)
		for range 10 {
			go func() { got <- p.dial() }()
		}
		first := <-got
		for range 9 {
			require.Same(t, first, <-got)
		}
		require.EqualValues(t, 1, p.server.Stats().Started)
		p.lose(func([]byte) bool { return true })
		for range 2 { // the second is not told of what has ended for the first
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			begin := time.Now()
			_, err := p.client.Dial(ctx, netip.MustParseAddrPort("192.0.2.77:5684"), "")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 3*time.Second, time.Since(begin))
			require.Zero(t, p.client.Stats().Handshakes)
		}
		p.close()
	})
}

// A certificate is for the names that it bears: URIs of CoAP, DNS names and addresses, or else its common name as it stands.
//
// Proves 7252-9.1.3.3-08, 7252-9.1.3.3-09.
func TestNames(t *testing.T) {
	ca := newAuthority(t, "ours")
	uri := func(s string) func(*x509.Certificate) {
		u, err := url.Parse(s)
		require.NoError(t, err)
		return func(c *x509.Certificate) { c.DNSNames, c.URIs = nil, []*url.URL{u} }
	}
	bare := func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }
	for _, c := range []struct {
		cert tls.Certificate
		host string
		want bool
	}{
		{ca.issue("lamp.example"), "lamp.example", true},
		{ca.issue("lamp.example"), "LAMP.example", true},
		{ca.issue("lamp.example"), "other.example", false},
		{ca.issue("192.0.2.1"), "192.0.2.1", true},
		{ca.issue("2001:db8::1"), "2001:db8::1", true},
		{ca.issue("192.0.2.1"), "192.0.2.2", false},
		{ca.issue("x", uri("coaps://lamp.example/")), "lamp.example", true},
		{ca.issue("x", uri("coap://lamp.example:5683")), "lamp.example", true},
		{ca.issue("x", uri("coaps://lamp.example")), "x", false},
		{ca.issue("x", uri("https://lamp.example")), "lamp.example", false},
		{ca.issue("lamp.example", bare), "lamp.example", true},
		{ca.issue("other.example", bare), "lamp.example", false},
		{ca.issue("*.example", bare), "*.example", false},
	} {
		require.Equal(t, c.want, isNamed(c.cert.Leaf, c.host), "%s for %v, %v", c.host, c.cert.Leaf.Subject, c.cert.Leaf.URIs)
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, &Config{RootCAs: ca.pool()}, &Config{Certificates: []tls.Certificate{ca.issue("lamp.example")}})
		_, err := p.client.Dial(context.Background(), serverAddr, "other.example")
		e, ok := errors.AsType[*HandshakeError](err)
		require.True(t, ok)
		require.Equal(t, CertificateName, e.Cause)
		s, err := p.client.Dial(context.Background(), serverAddr, "lamp.example")
		require.NoError(t, err)
		_, err = p.client.Dial(context.Background(), serverAddr, "other.example")
		require.ErrorIs(t, err, ErrOtherName)
		again, err := p.client.Dial(context.Background(), serverAddr, "lamp.example")
		require.NoError(t, err)
		require.Same(t, s, again)
		p.close()
	})
}

// The server is told the name that is wanted of it, and the curves that can be used: P-256 among them, with points that are not compressed.
//
// Proves 7252-9.1.3-01, 7252-9.1.3.3-05.
func TestExtensions(t *testing.T) {
	ca := newAuthority(t, "ours")
	synctest.Test(t, func(t *testing.T) {
		one, two := ca.issue("one.example"), ca.issue("two.example")
		p := newPair(t, &Config{RootCAs: ca.pool()}, &Config{Certificates: []tls.Certificate{one, two}})
		var hello []byte
		p.lose(func(b []byte) bool {
			if hello == nil {
				hello = bytes.Clone(b)
			}
			return false
		})
		s, err := p.client.Dial(context.Background(), serverAddr, "two.example")
		require.NoError(t, err)
		require.Equal(t, two.Leaf.Raw, s.Identity.(*Identity).Certificates[0].Raw)
		require.Contains(t, string(hello), "two.example")
		require.Contains(t, string(hello), "\x00\x0a\x00\x08\x00\x06\x00\x1d\x00\x17\x00\x18", "supported groups")
		require.Contains(t, string(hello), "\x00\x0b\x00\x02\x01\x00", "point formats")
		p.close()
	})
}
