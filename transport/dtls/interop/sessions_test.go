package interop

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/transport/dtls"
)

// Each side hears that the other one closes a session. Our client goes on with the next request.
func TestLibcoapCloses(t *testing.T) {
	t.Parallel()
	w := ways(t)[0]
	onEachLibrary(t, libcoapServer, func(t *testing.T, library string) {
		s := startSite(t, w.server)
		client := start(t, requireTool(t, libcoapClient+library, libcoapPackage),
			append(slices.Clone(w.libcoapClient), "-w", "-v", "7", "-s", "60", s.base+"/value")...)
		client.line(t, "start")
		require.NoError(t, s.server.Close())
		if library == "openssl" { // what GnuTLS makes of it is not in the log
			client.lineWith(t, "alert read:warning:close notify")
		}

		server := startLibcoap(t, library, w.libcoapServer...)
		c := newClient(t, w.client)
		require.Contains(t, c.get(t, server.base+"/"), "made with libcoap")
		require.NoError(t, server.cmd.Process.Signal(os.Interrupt))
		require.ErrorIs(t, nextEvent(t, c.events, dtls.SessionEnds).Err, dtls.ClosedByPeer)
		server.end(t)
		require.True(t, server.start(t))
		require.Contains(t, c.get(t, server.base+"/"), "made with libcoap")
	})
}

// A client that comes back with the address that it has had, and knows nothing of its session, gets another one, and the old one is closed
// (RFC 6347 section 4.2.8).
func TestLibcoapClientComesBack(t *testing.T) {
	t.Parallel()
	w := ways(t)[0]
	onEachLibrary(t, libcoapClient, func(t *testing.T, library string) {
		s := startSite(t, w.server)
		args := append(slices.Clone(w.libcoapClient), "-p", strconv.Itoa(int(freePorts(t))))
		first := start(t, requireTool(t, libcoapClient+library, libcoapPackage), append(slices.Clone(args), "-w", "-s", "60", s.base+"/value")...)
		first.line(t, "start")
		began := s.event(t, dtls.SessionBegins)
		first.kill()
		require.Equal(t, fmt.Sprintf("%s at /%v", w.who, began.Addr), runLibcoap(t, library, 10, append(slices.Clone(args), s.base+"/who")...))
		require.ErrorIs(t, s.event(t, dtls.SessionEnds).Err, dtls.Replaced)
		require.Equal(t, began.Addr, s.event(t, dtls.SessionBegins).Addr)
	})
}

// A server that has died and come back knows nothing of our client's session and is silent: a request fails in time, and
// the next one goes over another session.
func TestOurClientLibcoapRestarts(t *testing.T) {
	t.Parallel()
	w := ways(t)[0]
	onEachLibrary(t, libcoapServer, func(t *testing.T, library string) {
		server := startLibcoap(t, library, w.libcoapServer...)
		c := newClient(t, w.client)
		c.Config.Params = coap.Params{AckTimeout: time.Second / 4, MaxRetransmit: 1}
		require.Contains(t, c.get(t, server.base+"/"), "made with libcoap")
		server.kill()
		require.True(t, server.start(t))
		_, err := c.Get(within(t), server.base+"/")
		require.ErrorIs(t, err, coap.ErrTimeout)
		require.Contains(t, c.get(t, server.base+"/"), "made with libcoap")
		require.EqualValues(t, 2, c.conn.Stats().Begun)
	})
}
