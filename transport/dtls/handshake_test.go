package dtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
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

// Whoever has the wrong credentials is told which; and the next client is served.
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
				time.Sleep(time.Minute)
				st := p.server.Stats()
				require.Zero(t, st.Handshakes)
				require.Zero(t, st.Sessions)
				require.EqualValues(t, 1, st.Failed[c.atServer], "%v", st.Failed)
				p.close()
			})
		})
	}
}

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

// All cipher suites work, in both directions.
func TestCipherSuites(t *testing.T) {
	ca := newAuthority(t, "ours")
	for _, id := range CipherSuites() {
		t.Run(id.String(), func(t *testing.T) {
			if id == ECDHERSAWithAES128GCMSHA256 || id == ECDHERSAWithAES256GCMSHA384 {
				t.Skip("see TestRSA")
			}
			synctest.Test(t, func(t *testing.T) {
				client, server := pskClient("lamp"), pskServer()
				client.RootCAs, server.Certificates = ca.pool(), []tls.Certificate{ca.issue("192.0.2.1")}
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
				time.Sleep(time.Second)
				send(t, p.client, s, "ping")
			}
			require.Equal(t, "ping", string(receive(t, p.server).Data))
			p.close()
		})
	}
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
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		_, err := p.client.Dial(ctx, netip.MustParseAddrPort("192.0.2.77:5684"), "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(begin))
		synctest.Wait()
		require.Zero(t, p.client.Stats().Handshakes)
		p.close()
	})
}
