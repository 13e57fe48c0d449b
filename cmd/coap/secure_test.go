package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport/dtls"
)

func TestParsePSK(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	for _, test := range []struct{ arg, file, identity, key string }{
		{"lamp-7:secret", "", "lamp-7", "secret"},
		{"a:b:c", "", "a", "b:c"},
		{"a:hex:0001FE", "", "a", "\x00\x01\xfe"},
		{"a:@FILE", "from a file\r\n", "a", "from a file"},
		{"a:@FILE", "hex:00\n", "a", "\x00"},
		{"a:@FILE", "@no/such", "a", "@no/such"}, // only once
		{"küche:x", "", "küche", "x"},
	} {
		require.NoError(t, os.WriteFile(file, []byte(test.file), 0o600))
		identity, key, err := parsePSK(strings.ReplaceAll(test.arg, "FILE", file))
		require.NoError(t, err, test.arg)
		assert.Equal(t, test.identity, identity)
		assert.Equal(t, test.key, string(key), test.arg)
	}
	require.NoError(t, os.WriteFile(file, []byte("\n"), 0o600))
	for _, arg := range []string{"", ":", ":x", "a", "a:", "a:hex:", "a:hex:0", "a:hex:zz", "a:@" + file} {
		_, _, err := parsePSK(arg)
		assert.Error(t, err, arg)
	}
}

// authority signs certificates and keeps everything in files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.make("ca", &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// make makes a certificate in the file name.pem, which has its private key, too. The first signs itself and the others.
func (a *authority) make(name string, c *x509.Certificate) *x509.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if a.cert == nil {
		a.cert, a.key = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	made, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	require.NoError(a.t, os.WriteFile(a.file(name), text, 0o600))
	return made
}

// leaf makes a certificate for 127.0.0.1, that is valid for so long.
func (a *authority) leaf(name string, valid time.Duration) *x509.Certificate {
	a.t.Helper()
	return a.make(name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name+".pem") }

// securely runs "coap serve" with args until the test ends, and returns the URI of coaps.
func securely(t *testing.T, args ...string) string {
	t.Helper()
	s := serving(t, args...)
	t.Cleanup(func() { s.stop() })
	log := s.waitFor("/.well-known/core") // behind the addresses
	_, uri, ok := strings.Cut(log, "serving coaps://")
	require.True(t, ok, log)
	uri, _, _ = strings.Cut(uri, "/")
	return "coaps://" + uri
}

func TestServePSK(t *testing.T) {
	uri := securely(t, "--psk", "lamp-7:secret", "--psk", "lamp-8:hex:00ff")
	r := runCLI(t, "get", "--psk", "lamp-7:secret", uri+"/whoami")
	assert.Equal(t, exitSuccess, r.status, r.err)
	assert.Regexp(t, `^PSK identity "lamp-7", from 127\.0\.0\.1:[0-9]+\n$`, r.out)
	r = runCLI(t, "get", "--psk", "lamp-8:hex:00ff", uri+"/whoami")
	assert.Regexp(t, `^PSK identity "lamp-8", from `, r.out)

	// All commands can do it.
	key := []string{"--psk", "lamp-7:secret"}
	for _, args := range [][]string{
		{"put", uri + "/text", "-p", "x"}, {"post", uri + "/text", "-p", "x"}, {"delete", uri + "/text"}, {"fetch", uri + "/echo"},
		{"ping", uri}, {"discover", uri}, {"observe", "-n", "2", uri + "/time"}, {"get", "-O", filepath.Join(t.TempDir(), "large"), uri + "/large?size=100000"},
	} {
		r := runCLI(t, append(args, key...)...)
		assert.Equal(t, exitSuccess, r.status, "%v: %s", args, r.err)
	}
	r = runCLI(t, "get", "--json", "--psk", "lamp-7:secret", uri+"/whoami")
	assert.Contains(t, r.out, `"uri":"`+uri+`/whoami"`)
	r = runCLI(t, "get", "-v", "--psk", "lamp-7:secret", uri+"/whoami")
	assert.Contains(t, r.err, "/whoami  (Token", "the chart shows what is inside")
}

func TestWhoamiUnprotected(t *testing.T) {
	r := runCLI(t, "get", startServer(t, newResources())+"/whoami")
	assert.Regexp(t, `^anybody, since coap proves nothing; ask by coaps, from 127\.0\.0\.1:[0-9]+\n$`, r.out)
}

func TestServeCertificate(t *testing.T) {
	a := newAuthority(t)
	pin := dtls.Pin(a.leaf("server", time.Hour))
	a.leaf("client", time.Hour)
	server := serving(t, "--cert", a.file("server"))
	log := server.waitFor("certificate of")
	assert.Contains(t, log, `certificate of "CN=server", for clients with --pin `+hex.EncodeToString(pin[:])+"\n")
	server.stop()

	uri := securely(t, "--cert", a.file("server"))
	r := runCLI(t, "get", "--ca", a.file("ca"), uri+"/whoami")
	assert.Equal(t, exitSuccess, r.status, r.err)
	assert.Contains(t, r.out, "anybody: a secure session without key or certificate")
	r = runCLI(t, "get", "--pin", hex.EncodeToString(pin[:]), uri+"/whoami")
	assert.Equal(t, exitSuccess, r.status, r.err)

	uri = securely(t, "--cert", a.file("server"), "--key", a.file("server"), "--ca", a.file("ca"))
	r = runCLI(t, "get", "--ca", a.file("ca"), "--cert", a.file("client"), uri+"/whoami")
	assert.Equal(t, exitSuccess, r.status, r.err)
	assert.Contains(t, r.out, `certificate of "CN=client", signed by "CN=test authority", valid until 2`)
	r = runCLI(t, "get", "--ca", a.file("ca"), uri+"/whoami")
	assert.Equal(t, exitNoAnswer, r.status)
	assert.Contains(t, r.err, "wants a certificate of ours, or another one: --cert FILE --key FILE\n")
}

// TestNoSession has all the reasons why there may be no session.
func TestNoSession(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	a.leaf("server", time.Hour)
	a.leaf("expired", -time.Minute)
	a.make("elsewhere", &x509.Certificate{
		Subject: pkix.Name{CommonName: "elsewhere"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"elsewhere.example"},
	})
	withKey := securely(t, "--psk", "lamp-7:secret")
	withCertificate := securely(t, "--cert", a.file("server"))
	silent := strings.Replace(silentServer(t), "coap:", "coaps:", 1)
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"wrong key", []string{withKey, "--psk", "lamp-7:wrong", "-B", "1"}, "has another key for this identity, or none: check --psk"},
		{"unknown identity", []string{withKey, "--psk", "lamp-9:secret"}, "does not know this identity: check --psk"},
		{"no credentials", []string{withKey}, "shares no cipher suite with us: it may want a pre-shared key (--psk)"},
		{"certificate for key", []string{withKey, "--ca", a.file("ca")}, "shares no cipher suite with us: it may want a pre-shared key (--psk)"},
		{"key for certificate", []string{withCertificate, "--psk", "lamp-7:secret"}, "shares no cipher suite with us"},
		{"untrusted", []string{withCertificate, "--ca", other.file("ca")}, "is signed by nobody whom we trust"},
		{"untrusted by the system", []string{withCertificate}, "is signed by nobody whom we trust"},
		{"pin", []string{withCertificate, "--pin", strings.Repeat("00", 32)}, "is signed by nobody whom we trust (its key is not one of those that are pinned)"},
		{"expired", []string{securely(t, "--cert", a.file("expired")), "--ca", a.file("ca")}, "is not valid now"},
		{"misnamed", []string{securely(t, "--cert", a.file("elsewhere")), "--ca", a.file("ca")}, "is for somebody else"},
		{"not there", []string{strings.Replace(closedPort(t), "coap:", "coaps:", 1), "--psk", "a:b"}, "(connection refused): start the server, or check address and port; the default port is 5684"},
		{"silent", []string{silent, "--psk", "a:b", "-B", "0.2"}, "no answer from coaps://127.0.0.1:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := runCLI(t, append([]string{"get"}, test.args...)...)
			assert.Equal(t, exitNoAnswer, r.status)
			assert.Contains(t, r.firstLine(), test.want)
			assert.Equal(t, 1, strings.Count(r.err, "\n"), r.err)
			assert.Empty(t, r.out)
			assert.NotContains(t, r.err, "secret", "a key is for nobody to read")
		})
	}
}

// An observation tries for ever, but not where nobody will ever let it in.
func TestObserveRefused(t *testing.T) {
	r := runCLI(t, "observe", "--psk", "lamp-9:secret", securely(t, "--psk", "lamp-7:secret")+"/time")
	assert.Equal(t, exitNoAnswer, r.status)
	assert.Contains(t, r.err, "does not know this identity")
}

// What is in the key log opens the session: each line has the random number of a client and a secret.
func TestKeyLog(t *testing.T) {
	uri := securely(t, "--psk", "lamp-7:secret")
	file := filepath.Join(t.TempDir(), "keys")
	for range 2 {
		require.Equal(t, exitSuccess, runCLI(t, "get", "--psk", "lamp-7:secret", "--keylog", file, uri+"/time").status)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Regexp(t, `^(CLIENT_RANDOM [0-9a-f]{64} [0-9a-f]{96}\n){2}$`, string(text))
	info, err := os.Stat(file)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Equal(t, os.FileMode(0o600), info.Mode())
	}
}

func TestServeSecurelyOnBadNetwork(t *testing.T) {
	s := serving(t, "--psk", "lamp-7:secret", "--loss", "0.1%", "--delay", "1ms", "--seed", "1", "-v")
	log := s.waitFor("/.well-known/core")
	_, uri, _ := strings.Cut(log, "serving coaps://")
	uri, _, _ = strings.Cut(uri, "/")
	r := runCLI(t, "get", "--psk", "lamp-7:secret", "coaps://"+uri+"/time")
	assert.Equal(t, exitSuccess, r.status, r.err)
	status, log := s.stop()
	assert.Equal(t, exitSuccess, status)
	assert.Regexp(t, `datagrams lost on purpose: [01] of [1-9][0-9]*\n`, log)
	assert.Contains(t, log, "/time  (Token")
}

// A name may have addresses where nobody speaks DTLS; the next one is asked then. Who was there and refused is
// not asked twice.
func TestNextAddress(t *testing.T) {
	d := &delivery{req: &coap.Request{Code: coap.POST, Transfer: new(coap.Transfer)}}
	for cause, want := range map[dtls.Cause]bool{dtls.NoAnswer: true, dtls.Unfinished: true, dtls.NotSent: true, dtls.WrongKey: false, dtls.CertificateName: false} {
		err := &coap.OpError{Op: "connect", Err: &dtls.HandshakeError{Peer: netip.MustParseAddrPort("[::1]:5684"), Cause: cause}}
		assert.Equal(t, want, d.mayGoElsewhere(err), cause)
	}
}

func TestNextPort(t *testing.T) {
	for listen, want := range map[string]string{":5683": ":5684", "[::1]:1": "[::1]:2", "127.0.0.1:0": "127.0.0.1:0"} {
		port := map[string]uint16{":5683": 5683, "[::1]:1": 1, "127.0.0.1:0": 40000}[listen]
		got, err := nextPort(listen, port)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestObserveExplainsSessions(t *testing.T) {
	w := &watcher{t: target{authority: coap.Authority{Scheme: "coaps", Host: "h", Port: 5684}}}
	assert.Equal(t, "the secure session has ended; there will be another", w.explain(&coap.OpError{Op: "GET", Err: coap.ErrSessionEnded}))
	assert.Contains(t, w.explain(&dtls.HandshakeError{Cause: dtls.NoAnswer}), "no answer from coaps://h: is it running")
}
