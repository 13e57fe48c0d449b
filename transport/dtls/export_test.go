package dtls

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/coaptest"
)

// A server restarts, and its clients do not notice: their sessions go on, in both directions. A copy of something from before the
// restart is still a copy.
func TestExport(t *testing.T) {
	ca := newAuthority(t, "ours")
	withCerts := &Config{Certificates: []tls.Certificate{ca.issue("192.0.2.1")}, ClientCAs: ca.pool()}
	clientCert := &Config{Certificates: []tls.Certificate{ca.issue("lamp")}, RootCAs: ca.pool()}
	noCID := pskServer()
	noCID.ConnectionID = -1
	for name, c := range map[string]struct{ client, server *Config }{
		"PSK": {pskClient("lamp"), pskServer()}, "certificates": {clientCert, withCerts}, "no connection ID": {pskClient("lamp"), noCID},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, atClient, atServer := established(t, c.client, c.server)
				for range 5 {
					send(t, p.server, atServer, "before")
					receive(t, p.client)
				}
				var saved bytes.Buffer
				require.NoError(t, p.server.Export(&saved))
				require.ErrorIs(t, p.server.Export(&saved), net.ErrClosed)
				p.server = p.listen(serverAddr, c.server)
				n, err := p.server.Import(bytes.NewReader(saved.Bytes()))
				require.NoError(t, err)
				require.Equal(t, 1, n)
				n, err = p.server.Import(bytes.NewReader(saved.Bytes()))
				require.NoError(t, err)
				require.Zero(t, n, "once")

				send(t, p.client, atClient, "after")
				d := receive(t, p.server)
				require.Equal(t, "after", string(d.Data))
				require.Equal(t, atServer.Identity, d.Session.Identity)
				send(t, p.server, d.Session, "yes")
				require.Equal(t, "yes", string(receive(t, p.client).Data))
				require.Zero(t, p.server.Stats().Started, "without a handshake")
				require.Zero(t, p.client.Stats().NotAuthentic)
				p.close()
			})
		})
	}
}

// Without an export, a server that has restarted is silent when it is spoken to in a session from before. Once that is
// doubted, Dial brings another.
func TestRestartWithoutExport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, atClient, _ := established(t, pskClient("lamp"), pskServer())
		p.lose(func([]byte) bool { return true })
		p.server.Close() // it crashes: nobody hears of it
		p.lose(func([]byte) bool { return false })
		p.server = p.listen(serverAddr, pskServer())
		send(t, p.client, atClient, "lost")
		synctest.Wait()
		coaptest.Pass(time.Minute)
		require.EqualValues(t, 1, p.server.Stats().Unknown)
		p.client.Doubt(atClient, time.Minute)
		requireEnd(t, p.client, atClient, Silent)
		s := p.dial()
		send(t, p.client, s, "there")
		d := receive(t, p.server)
		require.Equal(t, "there", string(d.Data))
		send(t, p.server, d.Session, "and back")
		receive(t, p.client)
		coaptest.Pass(time.Minute)
		p.client.Doubt(s, 61*time.Second)
		require.Equal(t, 1, p.client.Stats().Sessions, "something has come meanwhile")
		p.close()
	})
}

func TestImportErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, pskClient("lamp"), pskServer())
		for _, b := range [][]byte{nil, []byte("rubbish"), {3, 4, 0, 9}} {
			_, err := p.server.Import(bytes.NewReader(b))
			require.Error(t, err)
		}
		p.close()
	})
}
