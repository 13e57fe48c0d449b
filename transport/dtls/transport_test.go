package dtls

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/mem"
	"github.com/coapkit/coap/transport/transporttest"
)

// dialing is a Conn that begins sessions when they are needed, as the layers above do.
type dialing struct{ *Conn }

func (c dialing) WriteBatch(ds []transport.Datagram) (int, error) {
	var reached []transport.Datagram
	for i, d := range ds {
		s, err := c.Dial(context.Background(), d.Remote, "")
		if err == nil {
			d.Session = s
			reached = append(reached, d)
		} else if e, ok := errors.AsType[*HandshakeError](err); !ok || e.Cause != NotSent {
			return i, err
		}
	}
	if n, err := c.Conn.WriteBatch(reached); err != nil {
		return n, err
	}
	return len(ds), nil
}

// What is wrong with a configuration is said before anything is opened.
func TestConfigErrors(t *testing.T) {
	for name, cfg := range map[string]*Config{
		"none":                nil,
		"connection ID":       {ConnectionID: 17},
		"MTU":                 {MTU: 100},
		"handshakes":          {MaxHandshakes: -1},
		"sessions":            {MaxSessions: -1},
		"cipher suite":        {CipherSuites: []CipherSuite{1}},
		"without private key": {Certificates: []tls.Certificate{{Certificate: [][]byte{{1}}}}},
	} {
		_, err := New(pipeless{}, cfg)
		require.ErrorContains(t, err, "dtls: ", name)
	}
}

// It is a transport like any other, but for the size of what it carries.
func TestContract(t *testing.T) {
	both := &Config{PSK: Keys{"lamp": key}.Lookup, Credentials: PSK("lamp", key)}
	transporttest.TestConn(t, func(t *testing.T) (a, b transport.Conn) {
		network := mem.NewNetwork(mem.Config{Delay: time.Millisecond})
		t.Cleanup(func() { network.Close() })
		open := func(at string) transport.Conn {
			inner, err := network.Listen(netip.MustParseAddrPort(at))
			require.NoError(t, err)
			c, err := New(inner, both)
			require.NoError(t, err)
			return dialing{c}
		}
		return open("192.0.2.1:5684"), open("192.0.2.2:5684")
	}, transporttest.Options{
		Run: synctest.Test, MaxSize: maxPlaintext, TooLarge: maxPlaintext + 1, NoErrors: true, Dead: netip.MustParseAddrPort("192.0.2.3:5684"),
	})
}
