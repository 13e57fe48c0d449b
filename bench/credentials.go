package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	pion "github.com/pion/dtls/v3"

	"github.com/coapkit/coap/transport/dtls"
)

// credentials are the cipher suite that both ends shall use, and what they need for it. The zero value stands for plain UDP.
type credentials struct {
	Suite       dtls.CipherSuite
	Certificate []byte `json:",omitempty"` // of the server, DER; nil for a pre-shared key
	Key         []byte `json:",omitempty"` // to Certificate, DER
}

const pskIdentity = "device"

var pskKey = []byte("sixteen bytes...")

// withCertificate returns credentials with a certificate that nobody has signed but its owner.
func withCertificate(suite dtls.CipherSuite) (*credentials, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	c := &credentials{Suite: suite}
	if c.Certificate, err = x509.CreateCertificate(rand.Reader, t, t, key.Public(), key); err != nil {
		return nil, err
	}
	c.Key, err = x509.MarshalPKCS8PrivateKey(key)
	return c, err
}

func (c *credentials) certificates() ([]tls.Certificate, error) {
	if c.Certificate == nil {
		return nil, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, err
	}
	return []tls.Certificate{{Certificate: [][]byte{c.Certificate}, PrivateKey: key}}, nil
}

// server returns what a server of ours is configured with.
func (c *credentials) server() (*dtls.Config, error) {
	cfg := &dtls.Config{CipherSuites: []dtls.CipherSuite{c.Suite}}
	var err error
	if cfg.Certificates, err = c.certificates(); cfg.Certificates == nil {
		cfg.PSK = dtls.Keys{pskIdentity: pskKey}.Lookup
	}
	return cfg, err
}

// client returns what the load is configured with.
func (c *credentials) client() (*dtls.Config, error) {
	cfg := &dtls.Config{CipherSuites: []dtls.CipherSuite{c.Suite}, MaxSessions: 1 << 20}
	if c.Certificate == nil {
		cfg.Credentials = dtls.PSK(pskIdentity, pskKey)
		return cfg, nil
	}
	cert, err := x509.ParseCertificate(c.Certificate)
	if err != nil {
		return nil, err
	}
	cfg.Pins = [][32]byte{dtls.Pin(cert)}
	return cfg, nil
}

// pion returns what a server of go-coap is configured with.
func (c *credentials) pion() ([]pion.ServerOption, error) {
	opts := []pion.ServerOption{pion.WithCipherSuites(pion.CipherSuiteID(c.Suite))}
	certificates, err := c.certificates()
	if certificates != nil {
		return append(opts, pion.WithCertificates(certificates...)), err
	}
	return append(opts, pion.WithPSK(func(identity []byte) ([]byte, error) {
		if string(identity) != pskIdentity {
			return nil, fmt.Errorf("nobody is called %q", identity)
		}
		return pskKey, nil
	})), err
}
