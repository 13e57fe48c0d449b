package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/dtls"
	"github.com/coapkit/coap/transport/udp"
)

// security are the flags that say who we are over DTLS, and whom we trust.
type security struct {
	psk    []string
	cert   string
	key    string
	ca     string
	pins   []string
	keylog string
	wait   time.Duration // for everything, 0 for as long as it takes
}

const (
	pskHelp = "pre-shared key, as `identity:key`; the key is text,\nhex: and hexadecimal digits, or @ and the name of a file that has it"
	pinHelp = "trust who has the public key with this SHA-256 `hash`,\n64 hexadecimal digits, whatever its certificate says; repeatable"
	logHelp = "append the secrets of all sessions to a `file`, for Wireshark; who has\nit can read everything"
)

// register adds the flags of a client.
func (c *security) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&c.psk, "psk", nil, "coaps: "+pskHelp)
	f.StringVar(&c.ca, "ca", "", "coaps: trust servers whose certificates those in this PEM `file`\nhave signed; without this, --pin and --psk, those of this machine")
	f.StringArrayVar(&c.pins, "pin", nil, "coaps: "+pinHelp)
	c.registerCertificate(cmd, "coaps: ")
	c.complete(cmd)
}

// registerServer adds the flags of a server.
func (c *security) registerServer(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&c.psk, "psk", nil, "serve coaps, too: "+pskHelp+";\nrepeatable")
	c.registerCertificate(cmd, "serve coaps, too: ")
	f.StringVar(&c.ca, "ca", "", "want certificates of clients, signed by those in this PEM `file`")
	f.StringArrayVar(&c.pins, "pin", nil, "with --cert, "+pinHelp)
	c.complete(cmd)
}

func (c *security) registerCertificate(cmd *cobra.Command, coaps string) {
	f := cmd.Flags()
	f.StringVar(&c.cert, "cert", "", coaps+"our certificate, in a PEM `file`, and then those\nbetween it and the authority, if any")
	f.StringVar(&c.key, "key", "", "the private key of --cert, in a PEM `file`; else it is in the same one")
	f.StringVar(&c.keylog, "keylog", "", logHelp)
}

func (c *security) complete(cmd *cobra.Command) {
	must(cmd.RegisterFlagCompletionFunc("psk", noCompletion))
	must(cmd.RegisterFlagCompletionFunc("pin", noCompletion))
	for _, name := range [...]string{"cert", "key", "ca"} {
		must(cmd.MarkFlagFilename(name, "pem", "crt", "key"))
	}
	must(cmd.MarkFlagFilename("keylog"))
}

// isGiven reports whether one of the flags is used.
func (c *security) isGiven() bool {
	return len(c.psk) > 0 || c.cert != "" || c.key != "" || c.ca != "" || len(c.pins) > 0 || c.keylog != ""
}

// check compares the flags with the target.
func (c *security) check(t target) error {
	switch {
	case !t.isSecure() && c.isGiven():
		return usagef("%v is not protected, so credentials are of no use: write coaps://", t)
	case t.isSecure() && t.isGroup():
		return usagef("%v is a group, and DTLS is for one server: ask it unprotected by coap://, or each member", t)
	}
	return nil
}

// client returns the configuration of a client, and what has to be closed in the end.
func (c *security) client() (*dtls.Config, io.Closer, error) {
	cfg := new(dtls.Config)
	switch len(c.psk) {
	case 0:
	case 1:
		identity, key, err := parsePSK(c.psk[0])
		if err != nil {
			return nil, nil, err
		}
		cfg.Credentials = dtls.PSK(identity, key)
	default:
		return nil, nil, usagef("--psk is given %d times, and a client has one identity", len(c.psk))
	}
	var err error
	if cfg.RootCAs, err = loadCAs(c.ca); err != nil {
		return nil, nil, err
	}
	closer, err := c.common(cfg)
	return cfg, closer, err
}

// server returns the configuration of a server, and what has to be closed in the end.
func (c *security) server() (*dtls.Config, io.Closer, error) {
	cfg := new(dtls.Config)
	if len(c.psk) == 0 && c.cert == "" {
		return nil, nil, usagef("what is served by coaps needs --psk IDENTITY:KEY or --cert FILE")
	}
	keys := make(dtls.Keys)
	for _, arg := range c.psk {
		identity, key, err := parsePSK(arg)
		if err != nil {
			return nil, nil, err
		}
		if keys[identity] != nil {
			return nil, nil, usagef("--psk: identity %q has two keys", identity)
		}
		keys[identity] = key
	}
	if len(keys) > 0 {
		cfg.PSK = keys.Lookup
	}
	if c.cert == "" && (c.ca != "" || len(c.pins) > 0) {
		return nil, nil, usagef("--ca and --pin are about the certificates of clients, who want one of the server: add --cert FILE")
	}
	var err error
	if cfg.ClientCAs, err = loadCAs(c.ca); err != nil {
		return nil, nil, err
	}
	closer, err := c.common(cfg)
	return cfg, closer, err
}

// common fills in what clients and servers have in common.
func (c *security) common(cfg *dtls.Config) (io.Closer, error) {
	switch key := c.key; {
	case c.cert == "" && key != "":
		return nil, usagef("--key is the key of a certificate: add --cert FILE")
	case c.cert != "":
		if key == "" {
			key = c.cert
		}
		pair, err := tls.LoadX509KeyPair(c.cert, key)
		if err != nil {
			return nil, usagef("--cert %s, --key %s: %s", c.cert, key, strings.TrimPrefix(err.Error(), "tls: "))
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	for _, text := range c.pins {
		pin, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil || len(pin) != len([32]byte{}) {
			return nil, usagef("--pin %s: want 64 hexadecimal digits, the SHA-256 of a public key", text)
		}
		cfg.Pins = append(cfg.Pins, [32]byte(pin))
	}
	if c.keylog == "" {
		return io.NopCloser(nil), nil
	}
	f, err := os.OpenFile(c.keylog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, usagef("--keylog: %v", err)
	}
	cfg.KeyLog = f
	return f, nil
}

// parsePSK reads identity:key. The identity has no colon.
func parsePSK(arg string) (identity string, key []byte, err error) {
	identity, text, ok := strings.Cut(arg, ":")
	if !ok || identity == "" || text == "" {
		return "", nil, usagef("--psk: want identity:key, such as lamp-7:secret, lamp-7:hex:00112233 or lamp-7:@FILE")
	}
	if file, ok := strings.CutPrefix(text, "@"); ok {
		key, err = os.ReadFile(file)
		if err != nil {
			return "", nil, usagef("--psk: the key of %s: %v", identity, err)
		}
		if text = strings.TrimRight(string(key), "\r\n"); text == "" {
			return "", nil, usagef("--psk: the key of %s: %s is empty", identity, file)
		}
	}
	if digits, ok := strings.CutPrefix(text, "hex:"); ok {
		if key, err = hex.DecodeString(digits); err != nil || len(key) == 0 {
			return "", nil, usagef("--psk: the key of %s: after hex:, want an even number of hexadecimal digits", identity)
		}
		return identity, key, nil
	}
	return identity, []byte(text), nil
}

// loadCAs reads certificates of authorities, nil for no file.
func loadCAs(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("--ca: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, usagef("--ca %s: there is no certificate in PEM form in it", file)
	}
	return pool, nil
}

// usualHandshake is how long a handshake may take.
const usualHandshake = 10 * time.Second

// open opens the socket to ask t, and returns what is to be closed after it.
func (c *security) open(t target) (transport.Conn, io.Closer, error) {
	if !t.isSecure() {
		conn, err := udp.Listen(":0", nil)
		if err != nil {
			return nil, nil, noAnswerf("cannot open a UDP socket: %v", err)
		}
		return conn, io.NopCloser(nil), nil
	}
	cfg, keylog, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	// A handshake that fails for lack of an answer knows more than that the time is over.
	if most := c.wait * 9 / 10; most > 0 && most < usualHandshake {
		cfg.HandshakeTimeout = most
	}
	conn, err := dtls.Listen(":0", cfg)
	if err != nil {
		keylog.Close()
		return nil, nil, noAnswerf("cannot open a socket: %s", plain(err))
	}
	return conn, keylog, nil
}
